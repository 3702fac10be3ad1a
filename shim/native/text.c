#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT(literal) ((text_t){literal, sizeof(literal) - 1})

/* ---- The clock ------------------------------------------------------------------------------------------------------------- */

static int64_t nanoseconds(clockid_t which) {
	struct timespec now;
	clock_gettime(which, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t monotonic(void) { return nanoseconds(CLOCK_MONOTONIC); }

static void lock(logical_t *clock) {
	while (__atomic_test_and_set(&clock->lock, __ATOMIC_ACQUIRE))
		;
}

static void unlock(logical_t *clock) { __atomic_clear(&clock->lock, __ATOMIC_RELEASE); }

static void hexadecimal(char *out, uint64_t value, int digits) {
	for (int i = digits - 1; i >= 0; i--, value >>= 4)
		out[i] = "0123456789abcdef"[value & 15];
}

static void write_reading(char text[READING], unsigned __int128 reading) {
	hexadecimal(text, (uint64_t)(reading >> 16), 16);
	text[16] = '.';
	hexadecimal(text + 17, (uint64_t)reading & 0xffff, 4);
}

EXPORTED logical_t *clock_new(int64_t shift) {
	logical_t *clock = calloc(1, sizeof *clock);
	if (clock != NULL)
		clock->shift = shift;
	return clock;
}

EXPORTED int64_t clock_tick(logical_t *clock, uint32_t count, char text[READING]) {
	int64_t wall = nanoseconds(CLOCK_REALTIME) + clock->shift;
	unsigned __int128 reading = (unsigned __int128)(uint64_t)(wall / 1000) << 16;
	lock(clock);
	if (reading <= clock->latest)
		reading = clock->latest + 1;
	clock->latest = reading + count - 1;
	unlock(clock);
	write_reading(text, reading);
	return wall;
}

EXPORTED void clock_read(logical_t *clock, char text[READING]) {
	lock(clock);
	unsigned __int128 reading = clock->latest;
	unlock(clock);
	write_reading(text, reading);
}

static bool read_hexadecimal(const char *text, int digits, uint64_t *value) {
	*value = 0;
	for (int i = 0; i < digits; i++) {
		char c = text[i];
		int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
		if (digit < 0)
			return false;
		*value = *value << 4 | (uint64_t)digit;
	}
	return true;
}

EXPORTED void clock_see(logical_t *clock, text_t text) {
	uint64_t micros, counter;
	if (text.len != READING || text.at[16] != '.' || !read_hexadecimal(text.at, 16, &micros) ||
	    !read_hexadecimal(text.at + 17, 4, &counter) || micros >> 52 != 0) /* beyond what is left of this century */
		return;
	unsigned __int128 seen = (unsigned __int128)micros << 16 | counter;
	lock(clock);
	if (seen > clock->latest)
		clock->latest = seen;
	unlock(clock);
}

/* ---- Writing --------------------------------------------------------------------------------------------------------------- */

char *put(char *out, text_t text) {
	memcpy(out, text.at, text.len);
	return out + text.len;
}

char *put_number(char *out, uint64_t number) {
	char digits[20];
	int count = 0;
	do
		digits[count++] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	while (count > 0)
		*out++ = digits[--count];
	return out;
}

/* ---- Reading --------------------------------------------------------------------------------------------------------------- */

static bool starts(const char *at, const char *end, text_t with) {
	return (size_t)(end - at) >= with.len && memcmp(at, with.at, with.len) == 0;
}

static bool same(text_t one, text_t other) { return one.len == other.len && memcmp(one.at, other.at, one.len) == 0; }

/* Decimal, of at most ten digits; -1: none. */
static int64_t number_of(text_t text) {
	int64_t number = 0;
	if (text.len == 0 || text.len > 10)
		return -1;
	for (uint32_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return -1;
		number = number * 10 + (text.at[i] - '0');
	}
	return number;
}

/* Letters, digits and a few signs, as names, ids and addresses have them. */
static bool is_plain(text_t text, const char *signs) {
	for (uint32_t i = 0; i < text.len; i++) {
		char c = text.at[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
		if (!plain && (c == 0 || strchr(signs, c) == NULL))
			return false;
	}
	return true;
}

/* One header of a request: true where it has a place in the usual form, and says what is usual. */
static bool take_header(request_t *request, text_t name, text_t value, bool inside, int64_t *length) {
	if (same(name, TEXT("content-length")))
		return *length < 0 && (*length = number_of(value)) >= 0 && *length <= 0x7fffffff;
	if (same(name, TEXT("content-type")))
		return same(value, TEXT("application/proto"));
	if (same(name, TEXT("connect-protocol-version")))
		return same(value, TEXT("1"));
	if (same(name, TEXT("host")))
		return is_plain(value, ".:-[]");
	if (same(name, TEXT("connect-timeout-ms"))) {
		int64_t timeout = number_of(value);
		request->timeout_ms = (uint64_t)timeout;
		return timeout > 0;
	}
	if (!inside)
		return false;
	if (same(name, TEXT("parigot-call")))
		return (request->call = value).len > 0 && is_plain(value, ".-");
	if (same(name, TEXT("parigot-caller")))
		return (request->caller = value).len == 0 || is_plain(value, ".-");
	if (same(name, TEXT("parigot-clock")))
		return (request->clock = value).len == READING;
	return false;
}

bool read_request(const char *data, size_t count, bool inside, request_t *request) {
	static const text_t post = TEXT("POST "), version = TEXT(" HTTP/1.1\r\n");
	const char *at = data + post.len, *end = data + (count < HEAD_MAX ? count : HEAD_MAX);
	if (!starts(data, end, post))
		return false;
	*request = (request_t){0};
	const char *space = memchr(at, ' ', (size_t)(end - at));
	if (space == NULL || !starts(space, end, version))
		return false;
	request->path = (text_t){at, (uint32_t)(space - at)};
	int64_t length = -1;
	bool typed = false;
	for (at = space + version.len; !starts(at, end, TEXT("\r\n"));) {
		const char *line = memchr(at, '\r', (size_t)(end - at));
		const char *colon = line == NULL ? NULL : memchr(at, ':', (size_t)(line - at));
		if (colon == NULL || !starts(line, end, TEXT("\r\n")) || colon[1] != ' ')
			return false;
		text_t name = {at, (uint32_t)(colon - at)}, value = {colon + 2, (uint32_t)(line - colon - 2)};
		if (line < colon + 2 || !take_header(request, name, value, inside, &length))
			return false;
		typed |= same(name, TEXT("content-type"));
		at = line + 2;
	}
	request->head = (uint32_t)(at + 2 - data);
	request->length = (uint32_t)length;
	if (length < 0 || !typed || count - request->head != (size_t)length)
		return false;
	return !inside || (request->call.len > 0 && request->clock.len > 0 && request->timeout_ms > 0);
}

size_t start_request(char *out, text_t path, text_t host) {
	char *at = put(put(put(out, TEXT("POST ")), path), TEXT(" HTTP/1.1\r\nhost: "));
	at = put(put(at, host), TEXT("\r\ncontent-type: application/proto\r\nconnect-protocol-version: 1\r\nconnect-timeout-ms: "));
	return (size_t)(at - out);
}

size_t write_request(char *out, text_t start, const request_t *request, uint64_t child, logical_t *clock) {
	char *at = put_number(put(out, start), request->timeout_ms);
	at = put_number(put(put(at, TEXT("\r\nparigot-call: ")), request->call), child);
	at = put(put(at, TEXT("\r\nparigot-caller: ")), request->caller);
	at = put(at, TEXT("\r\nparigot-clock: "));
	clock_tick(clock, 1, at);
	at = put_number(put(at + READING, TEXT("\r\ncontent-length: ")), request->length);
	return (size_t)(put(at, TEXT("\r\n\r\n")) - out);
}

static const text_t answered = TEXT("HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\n");
static const text_t clocked = TEXT("parigot-clock: ");
static const text_t sized = TEXT("content-length: ");
static const text_t over = TEXT("\r\n\r\n");

size_t write_reply(char *out, uint32_t length, logical_t *clock) {
	char *at = put(out, answered);
	if (clock != NULL) {
		at = put(at, clocked);
		clock_tick(clock, 1, at);
		at = put(at + READING, TEXT("\r\n"));
	}
	at = put_number(put(at, sized), length);
	return (size_t)(put(at, over) - out);
}

const char *read_reply(const char *data, size_t count, uint32_t limit, logical_t *clock, uint32_t *length) {
	const char *at = data, *end = data + count;
	if (!starts(at, end, answered) || !starts(at += answered.len, end, clocked))
		return NULL;
	text_t reading = {at + clocked.len, READING};
	if ((size_t)(end - at) < clocked.len + READING + 2 || !starts(at += clocked.len + READING, end, TEXT("\r\n")) ||
	    !starts(at += 2, end, sized))
		return NULL;
	at += sized.len;
	const char *line = memchr(at, '\r', (size_t)(end - at));
	if (line == NULL || !starts(line, end, over))
		return NULL;
	int64_t said = number_of((text_t){at, (uint32_t)(line - at)});
	if (said < 0 || said > limit || (size_t)(end - line) - over.len != (size_t)said)
		return NULL;
	clock_see(clock, reading);
	*length = (uint32_t)said;
	return line + over.len;
}
