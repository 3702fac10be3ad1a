/* bench.v1.Record, the message of typed calls: benchmarks/proto/bench.proto. */
#ifndef RECORD_H
#define RECORD_H

#include <parigot.h>

enum { MAX_TAGS = 8 };

/* Texts are copies, as a library that generates code makes them. */
typedef struct {
	char *title;
	char *artist;
	int32_t year;
	int32_t cents;
	bool in_stock;
	char *tags[MAX_TAGS];
	int tag_count;
} record_t;

static inline char *record_text(const pb_reader_t *r) {
	char *text = malloc(r->len + 1);
	if (text == NULL)
		abort();
	memcpy(text, r->data, r->len);
	text[r->len] = 0;
	return text;
}

static inline void record_free(record_t *record) {
	free(record->title);
	free(record->artist);
	for (int i = 0; i < record->tag_count; i++)
		free(record->tags[i]);
	*record = (record_t){0};
}

/* Fills an empty record. False: the bytes are none. */
static inline bool record_read(record_t *record, const void *data, size_t len) {
	pb_reader_t r = pb_read(data, len);
	while (pb_next(&r)) {
		if (r.field == 1 && r.type == PB_BYTES && record->title == NULL)
			record->title = record_text(&r);
		else if (r.field == 2 && r.type == PB_BYTES && record->artist == NULL)
			record->artist = record_text(&r);
		else if (r.field == 3 && r.type == PB_VARINT)
			record->year = (int32_t)r.number;
		else if (r.field == 4 && r.type == PB_VARINT)
			record->cents = (int32_t)r.number;
		else if (r.field == 5 && r.type == PB_VARINT)
			record->in_stock = r.number != 0;
		else if (r.field == 6 && r.type == PB_BYTES && record->tag_count < MAX_TAGS)
			record->tags[record->tag_count++] = record_text(&r);
	}
	return !r.malformed;
}

static inline void record_write(parigot_buf_t *b, const record_t *record) {
	pb_put_text(b, 1, record->title == NULL ? "" : record->title);
	pb_put_text(b, 2, record->artist == NULL ? "" : record->artist);
	pb_put_uint(b, 3, (uint64_t)(int64_t)record->year);
	pb_put_uint(b, 4, (uint64_t)(int64_t)record->cents);
	pb_put_uint(b, 5, record->in_stock);
	for (int i = 0; i < record->tag_count; i++)
		pb_add_bytes(b, 6, record->tags[i], strlen(record->tags[i]));
}

#endif
