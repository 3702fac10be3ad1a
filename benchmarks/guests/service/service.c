/*
 * The service that is measured. Its environment says what it is called and whom it calls:
 *
 *   NAME      the service it exports: "bench.v1.Echo"
 *   TARGETS   the services that Front (the first of them) and Fan (all of them) call: "bench.v1.A,bench.v1.B"
 *   DELAY_MS  how long Delay takes
 *   ROUNDS    how much Burn computes
 */
#include "record.h"

enum { MAX_TARGETS = 16 };

static struct {
	int32_t handle;
	int32_t method;
} targets[MAX_TARGETS];
static char *target_names[MAX_TARGETS];
static int target_count;

static int number(const char *key) {
	const char *value = getenv(key);
	return value == NULL ? 0 : atoi(value);
}

static void echo(parigot_call_t call, const void *req, size_t len) { parigot_reply(call, req, len); }

static void typed(parigot_call_t call, const void *req, size_t len) {
	record_t record = {0};
	if (!record_read(&record, req, len)) {
		parigot_fail(call, PARIGOT_INVALID_ARGUMENT, "no record");
	} else {
		parigot_buf_t reply = {0};
		record.year++;
		record_write(&reply, &record);
		parigot_reply(call, reply.data, reply.len);
		parigot_buf_free(&reply);
	}
	record_free(&record);
}

/* A call that is answered later, and how many replies it still waits for. */
typedef struct {
	parigot_call_t call;
	int waiting;
} open_call_t;

static open_call_t *open_call(parigot_call_t call, int waiting) {
	open_call_t *open = malloc(sizeof *open);
	if (open == NULL)
		abort();
	*open = (open_call_t){.call = call, .waiting = waiting};
	return open;
}

static void delayed(void *arg) {
	open_call_t *open = arg;
	parigot_reply(open->call, NULL, 0);
	free(open);
}

static void delay(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	if (parigot_after(number("DELAY_MS"), delayed, open_call(call, 0)) < 0)
		abort();
}

static void arrived(int32_t status, const parigot_buf_t *reply, void *arg) {
	open_call_t *open = arg;
	if (status != PARIGOT_OK)
		parigot_fail(open->call, status, "%s", parigot_buf_text(reply)); /* the first answer counts */
	if (--open->waiting > 0)
		return;
	parigot_reply(open->call, NULL, 0);
	free(open);
}

static void ask(parigot_call_t call, const void *req, size_t len, int count) {
	open_call_t *open = open_call(call, count);
	for (int i = 0; i < count; i++)
		if (parigot_dispatch(targets[i].handle, targets[i].method, req, len, 0, arrived, open) < 0)
			abort();
}

static void front(parigot_call_t call, const void *req, size_t len) { ask(call, req, len, 1); }

static void fan(parigot_call_t call, const void *req, size_t len) { ask(call, req, len, target_count); }

static void burn(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	uint64_t state = 88172645463325252u;
	for (int round = number("ROUNDS"); round > 0; round--) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	parigot_reply(call, &state, sizeof state);
}

int main(void) {
	const char *listed = getenv("TARGETS");
	char *rest = strdup(listed == NULL ? "" : listed);
	for (char *name; (name = strsep(&rest, ",")) != NULL && *name != 0 && target_count < MAX_TARGETS;) {
		parigot_require(name);
		target_names[target_count++] = name;
	}
	int32_t service = parigot_service(getenv("NAME"));
	parigot_method(service, "Echo", echo);
	parigot_method(service, "Typed", typed);
	parigot_method(service, "Delay", delay);
	parigot_method(service, "Front", front);
	parigot_method(service, "Fan", fan);
	parigot_method(service, "Burn", burn);
	parigot_launch();
	for (int i = 0; i < target_count; i++) {
		targets[i].handle = parigot_locate(target_names[i]);
		targets[i].method = parigot_resolve(targets[i].handle, "Delay");
	}
	parigot_serve();
}
