/*
 * A service that does what its request says, letter by letter up to a `|`; what follows that is the answer.
 *
 *   e   answer            l   answer after 2 ms       z   answer after 0 ms       f   fail with ABORTED
 *   n   send the rest on, and answer with what comes back        N   the same, waiting for it
 *   2   send the rest on twice at once, and answer with the first that comes back, when both have
 *   o   write a line      t   write the call's id as a line      h   the next call has a header
 *   a   answer, and write the id of what is being done after that
 *
 *   SERVICE   what it offers, with the method Do
 *   NEXT      the service that it sends on to, if any
 */
#include <parigot.h>
#include <stdio.h>

typedef struct {
	parigot_call_t call;
	int waiting;
	int32_t status;
	parigot_buf_t answer;
} open_call_t;

static int32_t next, method;

static void act(parigot_call_t call, const char *req, size_t len);

static void set_answer(open_call_t *open, const void *data, size_t len) {
	if (!parigot_buf_reserve(&open->answer, len))
		abort();
	memcpy(open->answer.data, data, len);
	open->answer.len = len;
}

static open_call_t *open_call(parigot_call_t call, int waiting) {
	open_call_t *open = calloc(1, sizeof *open);
	if (open == NULL)
		abort();
	open->call = call;
	open->waiting = waiting;
	return open;
}

static void close_call(open_call_t *open) {
	parigot_answer(open->call, open->status, &open->answer);
	parigot_buf_free(&open->answer);
	free(open);
}

static void later(void *arg) { close_call(arg); }

static void came_back(int32_t status, const parigot_buf_t *reply, void *arg) {
	open_call_t *open = arg;
	if (open->answer.data == NULL) {
		open->status = status;
		set_answer(open, reply->data, reply->len);
	}
	if (--open->waiting == 0)
		close_call(open);
}

static void answer(parigot_call_t call, int32_t status, const char *req, size_t len, int32_t ms) {
	const char *body = memchr(req, '|', len);
	open_call_t *open = open_call(call, 0);
	open->status = status;
	if (body == NULL)
		abort();
	set_answer(open, body + 1, len - (size_t)(body + 1 - req));
	if (ms < 0)
		close_call(open);
	else if (parigot_after(ms, later, open) < 0)
		abort();
}

static void send_on(parigot_call_t call, const char *req, size_t len, int times) {
	open_call_t *open = open_call(call, times);
	for (int i = 0; i < times; i++)
		if (parigot_dispatch(next, method, req, len, 0, came_back, open) < 0)
			abort();
}

static void ask(parigot_call_t call, const char *req, size_t len) {
	parigot_buf_t reply = {0};
	int32_t status = parigot_call(next, method, req, len, &reply, 0);
	parigot_answer(call, status, &reply);
	parigot_buf_free(&reply);
}

static void tell(parigot_call_t call, const char *what) {
	parigot_buf_t value = {0};
	parigot_get(call, "trace", &value);
	fprintf(stderr, "%s %s\n", what, what[0] != 'l' ? parigot_buf_text(&value) : "");
	parigot_buf_free(&value);
}

static void act(parigot_call_t call, const char *req, size_t len) {
	switch (req[0]) {
	case 'e': answer(call, PARIGOT_OK, req, len, -1); break;
	case 'l': answer(call, PARIGOT_OK, req, len, 2); break;
	case 'z': answer(call, PARIGOT_OK, req, len, 0); break;
	case 'f': answer(call, PARIGOT_ABORTED, req, len, -1); break;
	case 'n': send_on(call, req + 1, len - 1, 1); break;
	case '2': send_on(call, req + 1, len - 1, 2); break;
	case 'N': ask(call, req + 1, len - 1); break;
	case 'a': answer(call, PARIGOT_OK, req, len, -1); tell(0, "after"); break;
	case 'o': tell(call, "line"); act(call, req + 1, len - 1); break;
	case 't': tell(call, "id"); act(call, req + 1, len - 1); break;
	case 'h': parigot_set(0, "header:x-mix", "1"); act(call, req + 1, len - 1); break;
	default: abort();
	}
}

static void take(parigot_call_t call, const void *req, size_t len) { act(call, req, len); }

int main(void) {
	const char *following = getenv("NEXT");
	if (following != NULL)
		parigot_require(following);
	parigot_method(parigot_service(getenv("SERVICE")), "Do", take);
	parigot_launch();
	if (following != NULL) {
		next = parigot_locate(following);
		method = parigot_resolve(next, "Do");
	}
	parigot_serve();
}
