/*
 * The program that measures: it calls the service named by TARGET as stdin tells it, a line a command, and answers each with
 * a line of nanoseconds, by its own clock:
 *
 *   calls METHOD SIZE PER BATCHES       for each batch: PER calls, one after the other; "calls Typed 0 ..." has typed messages
 *   open METHOD SIZE CALLERS PER BATCHES  for each batch: PER calls, of which CALLERS are open at any time
 *   clock PER BATCHES                   for each batch: PER readings of the clock
 *
 * Every reply is looked at: a call that fails, or a reply of another length, ends it with a text on stderr.
 */
#include "../service/record.h"
#include <stdio.h>
#include <time.h>

enum { MAX_OPEN = 256, MAX_SIZE = 1 << 20 };

static int32_t handle;
static uint8_t *request;

static uint64_t now(void) {
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static _Noreturn void give_up(const char *what, int32_t status) {
	fprintf(stderr, "%s: %s\n", what, parigot_code_name(status));
	exit(1);
}

static int32_t method_named(const char *name) {
	int32_t method = parigot_resolve(handle, name);
	if (method < 0)
		give_up(name, -method);
	return method;
}

static bool is_echo(const char *name) { return strcmp(name, "Echo") == 0; }

static void check(const char *name, int32_t status, const parigot_buf_t *reply, size_t size) {
	if (status != PARIGOT_OK)
		give_up(name, status);
	if (is_echo(name) && (reply->len != size || (size > 0 && memcmp(reply->data, request, size) != 0)))
		give_up("the reply is not the request", PARIGOT_DATA_LOSS);
}

static void calls(const char *name, size_t size, int per, int batches) {
	int32_t method = method_named(name);
	parigot_buf_t reply = {0};
	bool echoes = is_echo(name);
	for (uint64_t before = now(); batches > 0; batches--) {
		for (int i = 0; i < per; i++) {
			int32_t status = parigot_call(handle, method, request, size, &reply, 0);
			if (status != PARIGOT_OK || (echoes && reply.len != size))
				give_up(name, status);
		}
		uint64_t after = now();
		printf("%llu ", (unsigned long long)(after - before));
		before = after;
	}
	check(name, PARIGOT_OK, &reply, size);
	parigot_buf_free(&reply);
}

static void typed(int per, int batches) {
	int32_t method = method_named("Typed");
	parigot_buf_t written = {0}, reply = {0};
	record_t asked = {.title = "The Köln Concert", .artist = "Keith Jarrett", .year = 1975, .cents = 2799, .in_stock = true,
	                  .tags = {"jazz", "piano", "live", "double album"}, .tag_count = 4};
	for (uint64_t before = now(); batches > 0; batches--) {
		for (int i = 0; i < per; i++) {
			parigot_buf_clear(&written);
			record_write(&written, &asked);
			int32_t status = parigot_call(handle, method, written.data, written.len, &reply, 0);
			record_t got = {0};
			if (status != PARIGOT_OK || !record_read(&got, reply.data, reply.len) || got.year != asked.year + 1)
				give_up("Typed", status);
			record_free(&got);
		}
		uint64_t after = now();
		printf("%llu ", (unsigned long long)(after - before));
		before = after;
	}
	parigot_buf_free(&written);
	parigot_buf_free(&reply);
}

static int32_t begin(int32_t method, size_t size) {
	int32_t id = parigot_dispatch(handle, method, request, size, 0, NULL, NULL);
	if (id < 0)
		give_up("dispatch", -id);
	return id;
}

static void open_at_once(const char *name, size_t size, int callers, int per, int batches) {
	int32_t method = method_named(name), ids[MAX_OPEN];
	if (callers > MAX_OPEN || callers > per)
		give_up("callers", PARIGOT_OUT_OF_RANGE);
	parigot_buf_t reply = {0};
	for (; batches > 0; batches--) {
		uint64_t before = now();
		for (int i = 0; i < callers; i++)
			ids[i] = begin(method, size);
		for (int i = 0; i < per; i++) {
			check(name, parigot_wait(ids[i % callers], &reply, -1), &reply, size);
			if (i + callers < per)
				ids[i % callers] = begin(method, size);
		}
		printf("%llu ", (unsigned long long)(now() - before));
	}
	parigot_buf_free(&reply);
}

static void read_clock(int per, int batches) {
	for (uint64_t before = now(); batches > 0; batches--) {
		for (int i = 1; i < per; i++)
			now();
		uint64_t after = now();
		printf("%llu ", (unsigned long long)(after - before));
		before = after;
	}
}

static void obey(const char *line) {
	char name[32];
	int size, callers, per, batches;
	if (sscanf(line, "calls %31s %d %d %d", name, &size, &per, &batches) == 4 && size <= MAX_SIZE) {
		if (strcmp(name, "Typed") == 0)
			typed(per, batches);
		else
			calls(name, (size_t)size, per, batches);
	} else if (sscanf(line, "open %31s %d %d %d %d", name, &size, &callers, &per, &batches) == 5 && size <= MAX_SIZE) {
		open_at_once(name, (size_t)size, callers, per, batches);
	} else if (sscanf(line, "clock %d %d", &per, &batches) == 2) {
		read_clock(per, batches);
	} else {
		give_up(line, PARIGOT_INVALID_ARGUMENT);
	}
	printf("\n");
	fflush(stdout);
}

int main(void) {
	const char *target = getenv("TARGET");
	parigot_require(target);
	parigot_launch();
	handle = parigot_locate(target);
	request = malloc(MAX_SIZE);
	if (request == NULL)
		abort();
	for (size_t i = 0; i < MAX_SIZE; i++)
		request[i] = (uint8_t)(i * 7 + i / 251);
	printf("ready\n");
	fflush(stdout);
	char *line = NULL;
	for (size_t room = 0; getline(&line, &room, stdin) > 0;)
		obey(line);
	return 0;
}
