/* The usual form of requests and replies between nodes, and the logical clock that travels with them. */
#ifndef PARIGOT_TEXT_H
#define PARIGOT_TEXT_H

#include "native.h"

typedef struct {
	const char *at;
	uint32_t len;
} text_t;

enum {
	READING = 21, /* characters of a reading of the clock: 16 hexadecimal digits, a dot, 4 more */
	HEAD_MAX = 4096,
};

/* A hybrid logical clock (shim/clock.py): microseconds since 1970, and 16 bits of a counter, in one number. */
typedef struct {
	int64_t shift; /* nanoseconds that the wall clock is to be off */
	volatile char lock;
	unsigned __int128 latest;
} logical_t;

logical_t *clock_new(int64_t shift);
/* So many new readings, later than all before: the first as text. Returns the wall clock's nanoseconds. */
int64_t clock_tick(logical_t *clock, uint32_t count, char text[READING]);
/* The latest reading. */
void clock_read(logical_t *clock, char text[READING]);
/* A reading of another node's has come in; one that is none, or too far off, is left alone. */
void clock_see(logical_t *clock, text_t text);

/* Nanoseconds that never go back: Python's time.monotonic_ns. */
int64_t monotonic(void);

char *put(char *out, text_t text);
char *put_number(char *out, uint64_t number);

typedef struct {
	text_t path, call, caller, clock; /* the last three are empty in requests from outside */
	uint64_t timeout_ms;              /* 0: it says none */
	uint32_t head, length;            /* bytes of the head, and of the body */
} request_t;

/* Reads a head in its usual form; false: it is not, or not here in whole. `inside`: from another node. */
bool read_request(const char *data, size_t count, bool inside, request_t *request);

/* What all requests for a path begin with. */
size_t start_request(char *out, text_t path, text_t host);
/* The head that begins so. `call` is what the call's id begins with, `child` the number that ends it. */
size_t write_request(char *out, text_t start, const request_t *request, uint64_t child, logical_t *clock);

/* The head of a reply without metadata; `clock` is NULL for the outside. */
size_t write_reply(char *out, uint32_t length, logical_t *clock);
/* The body of a reply in that form that is all there, else NULL. `limit`: bytes that it may have. */
const char *read_reply(const char *data, size_t count, uint32_t limit, logical_t *clock, uint32_t *length);

#endif
