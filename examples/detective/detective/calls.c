/* Calls, what comes back, and what goes wrong on the way. */
#include "detective.h"

#include <stdio.h>

enum { LIMIT = 64 * 1024 };

static int32_t suspect;
static char room[LIMIT + 1];

static int64_t call(const char *method, const parigot_buf_t *req, int32_t timeout_ms) {
	return parigot_sys_call(suspect, parigot_resolve(suspect, method), req->data, req->len, room, sizeof room, timeout_ms);
}

/* Calls a method that takes an Amount, and says what came of it. */
static void try_amount(const char *what, const char *method, uint32_t number, int32_t timeout_ms) {
	parigot_buf_t req = {0};
	pb_put_uint(&req, 1, number);
	say_call(what, call(method, &req, timeout_ms));
	parigot_buf_free(&req);
}

/* Calls a method that gives a Statement, and prints its lines. */
static void hear(const char *method) {
	const parigot_buf_t nothing = {0};
	int64_t result = call(method, &nothing, 0);
	if (result >> 32 != 0) {
		say_call(method, result);
		return;
	}
	printf("  %s:\n", method);
	for (pb_reader_t r = pb_read(room, (uint32_t)result); pb_next(&r);) {
		bool start = true;
		for (size_t i = 0; i < r.len; i++) {
			printf(start ? "    %c" : "%c", r.data[i]);
			start = r.data[i] == '\n';
		}
	}
}

static void say_value(const char *key) {
	parigot_buf_t value = {0};
	int32_t status = parigot_get(0, key, &value);
	printf("  %s: ", key);
	if (status != PARIGOT_OK)
		printf("%s", parigot_code_name(status));
	for (size_t i = 0; i < value.len; i++)
		printf(value.data[i] >= ' ' && value.data[i] < 0x7f ? "%c" : "\\x%02x", value.data[i]);
	printf("\n");
	parigot_buf_free(&value);
}

static void look_at_metadata(void) {
	say_section("metadata");
	say_result("set of header:X-Clue", parigot_sys_set(0, "header:X-Clue", 13, "footprint", 9));
	hear("Describe");
	hear("Describe");
	say_value("header:x-mood");
	try_amount("an error with a header, a trailer and a detail", "Refuse", PARIGOT_PERMISSION_DENIED, 0);
	say_value("header:x-mood");
	say_value("header:X-MOOD");
	say_value("trailer:x-exit");
	say_value("error-details");
	say_value("deadline");
	say_value("caller");
	say_result("set of header:content-type", parigot_sys_set(0, "header:content-type", 19, "x", 1));
	say_result("set of header:parigot-clock", parigot_sys_set(0, "header:parigot-clock", 20, "x", 1));
	say_result("set of trailer:x", parigot_sys_set(0, "trailer:x", 9, "x", 1));
	say_result("set of deadline", parigot_sys_set(0, "deadline", 8, "1", 1));
	say_result("set of a header with a line break", parigot_sys_set(0, "header:x", 8, "a\nb", 3));
	say_result("set of 17 KiB", parigot_sys_set(0, "header:x", 8, room, 17 * 1024));
	hear("Cheat");
}

static void look_at_results(int32_t repeat) {
	char bytes[8] = "unheard";
	say_section("results");
	say_call("a call with little room", parigot_sys_call(suspect, repeat, "12345", 5, bytes, 4, 0));
	printf("  the room: %s\n", bytes);
	say_result("fetch with little room", parigot_sys_fetch(bytes, 4));
	printf("  the room: %s\n", bytes);
	say_result("fetch", parigot_sys_fetch(bytes, sizeof bytes));
	say_result("fetch again", parigot_sys_fetch(bytes, sizeof bytes));
	printf("  the room: %s\n", bytes);
	int32_t id = parigot_sys_dispatch(suspect, repeat, "abc", 3, 0);
	say_result("fetch after dispatch", parigot_sys_fetch(bytes, sizeof bytes));
	say_call("wait", parigot_sys_wait(id, bytes, sizeof bytes, -1));
	say_call("wait again", parigot_sys_wait(id, bytes, sizeof bytes, -1));
	int32_t timer = parigot_sys_timer(10);
	say_call("look at a timer", parigot_sys_wait(timer, NULL, 0, 0));
	say_call("wait for a timer", parigot_sys_wait(timer, NULL, 0, -1));
	parigot_buf_t req = {0};
	pb_put_uint(&req, 1, 200);
	id = parigot_sys_dispatch(suspect, parigot_resolve(suspect, "Sleep"), req.data, req.len, 0);
	say_call("wait 10 ms for a slow call", parigot_sys_wait(id, NULL, 0, 10));
	say_call("wait for it", parigot_sys_wait(id, NULL, 0, -1));
	parigot_buf_free(&req);
}

void look_at_calls(void) {
	suspect = parigot_locate(SUSPECT);
	hear("Confess");
	look_at_metadata();
	look_at_results(parigot_resolve(suspect, "Repeat"));
	say_section("codes");
	for (uint32_t code = 1; code <= 18; code++)
		try_amount("an error", "Refuse", code, 0);
}

static void look_at_sizes(void) {
	say_section("sizes");
	parigot_buf_t req = {0};
	for (uint32_t size = LIMIT - 1; size <= LIMIT + 1; size++) {
		parigot_buf_clear(&req);
		if (parigot_buf_reserve(&req, size))
			memset(req.data, 'x', req.len = size);
		say_call("a request and a reply near the limit", call("Repeat", &req, 0));
	}
	parigot_buf_free(&req);
	try_amount("a reply at the limit", "Talk", LIMIT, 0);
	try_amount("a reply over the limit", "Talk", LIMIT + 1, 0);
	hear("Confess");
}

void look_at_failures(void) {
	look_at_sizes();
	say_section("deadlines");
	try_amount("a callee that sleeps less than the timeout", "Sleep", 1, 4000);
	try_amount("a callee that sleeps longer", "Sleep", 60000, 50);
	try_amount("a callee that answers by a timer", "Stall", 1, 4000);
	try_amount("a callee that answers by a timer too late", "Stall", 200, 50);
	try_amount("a callee in good health", "Sleep", 300, 4000);
	hear("Confess");
	say_section("crashes");
	hear("Faint");
	hear("Describe");
	hear("Flee");
	hear("Describe");
}
