/*
 * A link of a chain: answers, or has the next link answer. NAME in its environment is the service it offers, NEXT the one that
 * it calls, if any.
 *
 * Request: how many links follow (u8), what the last one does (u8: 0 replies, 1 replies later, 2 fails, 3 fails later, 4 is
 * asked twice, 5 traps, 6 computes for ever, 7 ends itself, 8 makes a record, 9 replies and then sleeps and makes a record, 10
 * sets a flag in 100 ms, 11 replies with the flag), by how many pages of 64 KiB each link grows its memory first (u8), one byte
 * unused, and the payload. Each link adds one to each byte of the payload on its way back, so that
 * none can have been left out.
 */
#include "parigot.h"

#include <unistd.h>

static uint8_t flag;

static void set_flag(void *arg) {
	(void)arg;
	flag = 1;
}

static int32_t next_handle, next_method;

typedef struct {
	parigot_call_t call;
	uint8_t *request;
	size_t len;
} later_t;

static void add_one(uint8_t *bytes, size_t len) {
	for (size_t i = 0; i < len; i++)
		bytes[i]++;
}

static void answer(parigot_call_t call, uint8_t *request, size_t len) {
	uint8_t action = request[1];
	if (action == 5)
		__builtin_trap();
	for (volatile int forever = action == 6; forever;)
		continue;
	if (action == 7)
		exit(3);
	if (action == 8)
		parigot_log(PARIGOT_INFO, "asked", NULL);
	if (action == 10)
		parigot_after(100, set_flag, NULL);
	add_one(request + 4, len - 4);
	if (action == 11)
		parigot_reply(call, &flag, 1);
	else if (action == 2 || action == 3)
		parigot_fail(call, PARIGOT_OUT_OF_RANGE, "%zu bytes", len - 4);
	else
		parigot_reply(call, request + 4, len - 4);
	if (action == 9) {
		usleep(20000);
		parigot_log(PARIGOT_INFO, "afterwards", NULL);
	}
}

static void answer_later(void *arg) {
	later_t *later = arg;
	answer(later->call, later->request, later->len);
	free(later->request);
	free(later);
}

static void forward(parigot_call_t call, uint8_t *request, size_t len) {
	parigot_buf_t reply = {0};
	request[0]--;
	int times = request[1] == 4 ? 2 : 1;
	int32_t status = PARIGOT_OK;
	for (int i = 0; i < times && status == PARIGOT_OK; i++)
		status = parigot_call(next_handle, next_method, request, len, &reply, 0);
	if (status == PARIGOT_OK) {
		add_one(reply.data, reply.len);
		parigot_reply(call, reply.data, reply.len);
	} else {
		parigot_fail(call, status, "%s", (const char *)reply.data);
	}
	parigot_buf_free(&reply);
}

static void relay(parigot_call_t call, const void *req, size_t len) {
	uint8_t *request = parigot_keep(req);
	if (request[2] > 0 && __builtin_wasm_memory_grow(0, request[2]) == (size_t)-1) {
		parigot_fail(call, PARIGOT_RESOURCE_EXHAUSTED, "no more memory");
	} else if (request[0] > 0) {
		forward(call, request, len);
	} else if (request[1] == 1 || request[1] == 3) {
		later_t *later = malloc(sizeof *later);
		*later = (later_t){.call = call, .request = request, .len = len};
		if (parigot_after(0, answer_later, later) > 0)
			return;
	} else {
		answer(call, request, len);
	}
	free(request);
}

int main(void) {
	const char *next = getenv("NEXT");
	if (next != NULL)
		parigot_require(next);
	parigot_require("log.v1.LogService");
	parigot_method(parigot_service(getenv("NAME")), "Relay", relay);
	parigot_launch();
	if (next != NULL) {
		next_handle = parigot_locate(next);
		next_method = parigot_resolve(next_handle, "Relay");
	}
	parigot_serve();
}
