/*
 * A service that does harm: SERVICE/Do, with SERVICE from the environment, does what its request says and answers with the request.
 *
 *   nothing                   answers
 *   pointers lengths          gives the kernel and WASI pointers that leave the memory, and lengths without end
 *   loop recursion            does not come back
 *   memory                    takes and writes all that there is, and keeps it
 *   lines                     a million lines of output
 *   late sleep                answers a second after its time is over: woken by a timer, or slept through in the handler
 */
#include <parigot.h>
#include <stdio.h>
#include <unistd.h>
#include <wasi/api.h>

#define BAD ((void *)(intptr_t)-2)
#define HUGE 0xfffffff0u

/* What was refused counts up; what was not is a trap, which the caller hears of. */
static void refused(int64_t result) {
	if (result >= 0 && result >> 32 == 0)
		__builtin_trap();
}

static void bad_pointers(parigot_call_t call) {
	static uint8_t room[8];
	__wasi_ciovec_t out = {.buf = BAD, .buf_len = 4};
	__wasi_size_t count;
	refused(parigot_sys_require(BAD, 4));
	refused(parigot_sys_export(BAD, 4));
	refused(parigot_sys_bind(0, BAD, 4, 1));
	refused(parigot_sys_locate(BAD, 4));
	refused(parigot_sys_method(0, BAD, 4));
	refused(parigot_sys_call(0, 0, BAD, 4, room, 8, 0));
	refused(parigot_sys_call(7, 7, room, 4, BAD, 8, 0));
	refused(parigot_sys_dispatch(0, 0, BAD, 4, 0));
	refused(parigot_sys_wait(1 << 20, BAD, 4, 0));
	refused(parigot_sys_fetch(BAD, 4));
	refused(parigot_sys_answer(call, 0, BAD, 4));
	refused(parigot_sys_get(call, BAD, 4, room, 8));
	refused(parigot_sys_set(call, BAD, 4, room, 8));
	refused(-__wasi_fd_write(2, BAD, 1, &count));
	refused(-__wasi_fd_write(2, &out, 1, &count));
	refused(-__wasi_random_get(BAD, 4));
}

static void huge_lengths(parigot_call_t call) {
	static uint8_t room[8];
	__wasi_ciovec_t out = {.buf = room, .buf_len = HUGE};
	__wasi_size_t count;
	refused(parigot_sys_locate((const char *)room, HUGE));
	refused(parigot_sys_call(0, 0, room, HUGE, room, 8, 0));
	refused(parigot_sys_call(0, 0, room, 4, room, HUGE, 0));
	refused(parigot_sys_dispatch(0, 0, room, HUGE, 0));
	refused(parigot_sys_answer(call, 0, room, HUGE));
	refused(parigot_sys_set(call, "header:a", 8, room, HUGE));
	refused(-__wasi_fd_write(2, &out, 1, &count));
	refused(-__wasi_random_get(room, HUGE));
}

static int dive(volatile int depth) { return depth < 0 ? 0 : dive(depth + 1) + depth; }

static void take_all(void) {
	for (size_t page; (page = __builtin_wasm_memory_grow(0, 1)) != SIZE_MAX;)
		memset((void *)(page << 16), 1, 1 << 16);
}

static void write_lines(void) {
	char block[8000];
	for (int line = 0; line < 1000000; line += 1000) {
		size_t len = 0;
		for (int i = 0; i < 1000; i++)
			len += (size_t)snprintf(block + len, sizeof block - len, "%06d\n", line + i);
		fwrite(block, 1, len, stderr);
	}
}

static int over_ms(parigot_call_t call) {
	parigot_buf_t left = {0};
	int ms = parigot_get(call, "deadline", &left) == PARIGOT_OK ? atoi(parigot_buf_text(&left)) : 0;
	parigot_buf_free(&left);
	return ms + 1000;
}

static void answer_late(void *arg) { parigot_reply((parigot_call_t)(intptr_t)arg, "late", 4); }

static void act(parigot_call_t call, const void *req, size_t len) {
	char what[16] = "";
	memcpy(what, req, len < sizeof what - 1 ? len : sizeof what - 1);
	if (strcmp(what, "pointers") == 0)
		bad_pointers(call);
	else if (strcmp(what, "lengths") == 0)
		huge_lengths(call);
	else if (strcmp(what, "loop") == 0)
		for (volatile int i = 0;; i++)
			;
	else if (strcmp(what, "recursion") == 0)
		dive(0);
	else if (strcmp(what, "memory") == 0)
		take_all();
	else if (strcmp(what, "lines") == 0)
		write_lines();
	else if (strcmp(what, "sleep") == 0)
		usleep((useconds_t)over_ms(call) * 1000);
	else if (strcmp(what, "late") == 0) {
		parigot_after(over_ms(call), answer_late, (void *)(intptr_t)call);
		return;
	}
	parigot_reply(call, req, len);
}

int main(void) {
	parigot_method(parigot_service(getenv("SERVICE")), "Do", act);
	parigot_launch();
	parigot_serve();
}
