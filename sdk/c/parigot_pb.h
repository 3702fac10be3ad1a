/*
 * Bytes that grow, and the wire format of protobuf over them: enough to write and read messages by hand. Header only.
 * Source of the format: https://protobuf.dev/programming-guides/encoding/
 *
 *   parigot_buf_t b = {0};                          for (pb_reader_t r = pb_read(data, len); pb_next(&r);)
 *   pb_put_text(&b, 1, "Ella");                         if (r.field == 1 && r.type == PB_BYTES) use(r.data, r.len);
 *   pb_put_uint(&b, 2, 7);                              else if (r.field == 2 && r.type == PB_VARINT) use(r.number);
 *   if (b.failed) ...                               if (r.malformed) ...
 *   parigot_buf_free(&b);
 *
 * Writers never fail one by one: when memory runs out `failed` is set and stays, so one look at the end is enough.
 * As in proto3, a field with its type's zero value is left out; write elements of repeated fields with the pb_add_ functions.
 */
#ifndef PARIGOT_PB_H
#define PARIGOT_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes on the heap; all zero is empty and ready. A zero byte beyond `len` makes them usable as text, once `data` is not NULL. */
typedef struct {
	uint8_t *data;
	size_t len;
	size_t cap;
	bool failed; /* memory ran out: what was added since is missing */
} parigot_buf_t;

/* Makes room for `more` bytes beyond `len`, and the zero byte. False: no memory, and `failed` is set. */
static inline bool parigot_buf_reserve(parigot_buf_t *b, size_t more) {
	if (b->failed || more > SIZE_MAX - b->len - 1)
		return !(b->failed = true);
	size_t needed = b->len + more + 1;
	if (needed <= b->cap)
		return true;
	size_t cap = b->cap <= SIZE_MAX / 2 && b->cap * 2 > needed ? b->cap * 2 : needed < 128 ? 128 : needed;
	uint8_t *data = realloc(b->data, cap);
	if (data == NULL)
		return !(b->failed = true);
	b->data = data;
	b->cap = cap;
	b->data[b->len] = 0;
	return true;
}

/* memcpy; a few bytes, as names and numbers have, are moved here, for the engine's own copy is a function far away. */
static inline void parigot_buf_copy(uint8_t *to, const uint8_t *from, size_t len) {
	if (len > 32) {
		memcpy(to, from, len);
	} else if (len >= 16) {
		uint64_t head[2], tail[2];
		memcpy(head, from, 16), memcpy(tail, from + len - 16, 16);
		memcpy(to, head, 16), memcpy(to + len - 16, tail, 16);
	} else if (len >= 8) {
		uint64_t head, tail;
		memcpy(&head, from, 8), memcpy(&tail, from + len - 8, 8);
		memcpy(to, &head, 8), memcpy(to + len - 8, &tail, 8);
	} else if (len >= 4) {
		uint32_t head, tail;
		memcpy(&head, from, 4), memcpy(&tail, from + len - 4, 4);
		memcpy(to, &head, 4), memcpy(to + len - 4, &tail, 4);
	} else if (len > 0) {
		uint8_t first = from[0], middle = from[len / 2], last = from[len - 1];
		to[0] = first, to[len / 2] = middle, to[len - 1] = last;
	}
}

static inline void parigot_buf_add(parigot_buf_t *b, const void *bytes, size_t len) {
	if (!parigot_buf_reserve(b, len))
		return;
	parigot_buf_copy(b->data + b->len, (const uint8_t *)bytes, len);
	b->len += len;
	b->data[b->len] = 0;
}

/* Empties it and keeps its memory for reuse. */
static inline void parigot_buf_clear(parigot_buf_t *b) {
	b->len = 0;
	b->failed = false;
	if (b->data != NULL)
		b->data[0] = 0;
}

static inline void parigot_buf_free(parigot_buf_t *b) {
	free(b->data);
	*b = (parigot_buf_t){0};
}

/* The content as text: never NULL. */
static inline const char *parigot_buf_text(const parigot_buf_t *b) {
	return b->data == NULL ? "" : (const char *)b->data;
}

enum { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

static inline size_t pb_varint(uint8_t *out, uint64_t value) {
	size_t n = 0;
	for (; value > 0x7f; value >>= 7)
		out[n++] = (uint8_t)(value | 0x80);
	out[n++] = (uint8_t)value;
	return n;
}

static inline void pb_put_varint(parigot_buf_t *b, uint64_t value) {
	if (!parigot_buf_reserve(b, 10))
		return;
	b->len += pb_varint(b->data + b->len, value);
	b->data[b->len] = 0;
}

/* uint32, uint64, int32, int64, bool and enums; a negative number is cast to uint64_t by way of int64_t. */
static inline void pb_add_uint(parigot_buf_t *b, uint32_t field, uint64_t value) {
	pb_put_varint(b, (uint64_t)field << 3 | PB_VARINT);
	pb_put_varint(b, value);
}

static inline void pb_put_uint(parigot_buf_t *b, uint32_t field, uint64_t value) {
	if (value != 0)
		pb_add_uint(b, field, value);
}

/* string, bytes, and messages that are serialised already. */
static inline void pb_add_bytes(parigot_buf_t *b, uint32_t field, const void *data, size_t len) {
	if (!parigot_buf_reserve(b, len > SIZE_MAX - 20 ? SIZE_MAX : len + 20))
		return;
	uint8_t *at = b->data + b->len;
	at += pb_varint(at, (uint64_t)field << 3 | PB_BYTES);
	at += pb_varint(at, len);
	parigot_buf_copy(at, (const uint8_t *)data, len);
	at[len] = 0;
	b->len = (size_t)(at - b->data) + len;
}

static inline void pb_put_bytes(parigot_buf_t *b, uint32_t field, const void *data, size_t len) {
	if (len != 0)
		pb_add_bytes(b, field, data, len);
}

static inline void pb_put_text(parigot_buf_t *b, uint32_t field, const char *text) {
	pb_put_bytes(b, field, text, strlen(text));
}

static inline void pb_put_double(parigot_buf_t *b, uint32_t field, double value) {
	uint64_t bits;
	memcpy(&bits, &value, sizeof bits);
	if (bits == 0)
		return;
	pb_put_varint(b, (uint64_t)field << 3 | PB_FIXED64);
	parigot_buf_add(b, &bits, sizeof bits); /* WebAssembly is little-endian, as the format is */
}

/* A message within: size_t at = pb_begin(&b, 3); ...its fields...; pb_end(&b, at); */
static inline size_t pb_begin(parigot_buf_t *b, uint32_t field) {
	pb_put_varint(b, (uint64_t)field << 3 | PB_BYTES);
	return b->len;
}

static inline void pb_end(parigot_buf_t *b, size_t at) {
	uint8_t length[10];
	size_t body = b->len - at, n = pb_varint(length, body);
	if (!parigot_buf_reserve(b, n))
		return;
	memmove(b->data + at + n, b->data + at, body + 1);
	memcpy(b->data + at, length, n);
	b->len += n;
}

/* One walk over a message's fields. `data` points into what is read. Fields that are not known are simply passed by. */
typedef struct {
	const uint8_t *at;
	const uint8_t *end;
	uint32_t field;
	uint32_t type;       /* PB_VARINT, PB_FIXED64 or PB_FIXED32: see `number`; PB_BYTES: see `data` and `len` */
	uint64_t number;
	const uint8_t *data; /* not terminated */
	size_t len;
	bool malformed; /* the walk ended before the end */
} pb_reader_t;

static inline pb_reader_t pb_read(const void *data, size_t len) {
	const uint8_t *at = data;
	return (pb_reader_t){.at = at, .end = at == NULL ? at : at + len};
}

static inline bool pb_take_long_varint(pb_reader_t *r, uint64_t *value) {
	*value = 0;
	for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
		uint8_t byte = *r->at++;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	return false;
}

static inline bool pb_take_varint(pb_reader_t *r, uint64_t *value) {
	if (r->at == r->end || *r->at > 0x7f)
		return pb_take_long_varint(r, value);
	*value = *r->at++; /* as nearly all are */
	return true;
}

static inline bool pb_take_fixed(pb_reader_t *r, size_t size) {
	if ((size_t)(r->end - r->at) < size)
		return false;
	r->number = 0;
	memcpy(&r->number, r->at, size);
	r->at += size;
	return true;
}

static inline bool pb_take_bytes(pb_reader_t *r) {
	uint64_t len;
	if (!pb_take_varint(r, &len) || len > (uint64_t)(r->end - r->at))
		return false;
	r->data = r->at;
	r->len = (size_t)len;
	r->at += r->len;
	return true;
}

/* Goes to the next field. False: there is none, or the bytes are no protobuf (`malformed`). */
static inline bool pb_next(pb_reader_t *r) {
	if (r->malformed || r->at == r->end)
		return false;
	uint64_t tag;
	bool ok = pb_take_varint(r, &tag) && tag >> 3 != 0 && tag >> 3 < 1u << 29;
	r->field = (uint32_t)(tag >> 3);
	r->type = (uint32_t)(tag & 7);
	if (ok && r->type == PB_VARINT)
		ok = pb_take_varint(r, &r->number);
	else if (ok && r->type == PB_BYTES)
		ok = pb_take_bytes(r);
	else if (ok && r->type == PB_FIXED64)
		ok = pb_take_fixed(r, 8);
	else if (ok && r->type == PB_FIXED32)
		ok = pb_take_fixed(r, 4);
	else
		ok = false; /* groups, long deprecated, are not read */
	r->malformed = !ok;
	return ok;
}

#endif
