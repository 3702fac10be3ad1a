/* The suspect: a service that says what it sees, and misbehaves as it is told. Each handler is one method of suspect.proto. */
#include <errno.h>
#include <parigot.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/* What earlier answers came to, one line each: told by Confess. */
static parigot_buf_t notes;
static int calls;

__attribute__((format(printf, 2, 3))) static void add_line(parigot_buf_t *to, const char *format, ...) {
	char line[512];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (len > 0)
		parigot_buf_add(to, line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1);
	parigot_buf_add(to, "\n", 1);
}

/* Answers with a Statement. */
static int32_t state(parigot_call_t call, const parigot_buf_t *text) {
	parigot_buf_t reply = {0};
	pb_put_bytes(&reply, 1, text->data, text->len);
	int32_t status = parigot_reply(call, reply.data, reply.len);
	parigot_buf_free(&reply);
	return status;
}

static uint32_t amount(const void *req, size_t len) {
	uint32_t number = 0;
	for (pb_reader_t r = pb_read(req, len); pb_next(&r);)
		if (r.field == 1 && r.type == PB_VARINT)
			number = (uint32_t)r.number;
	return number;
}

static void add_value(parigot_buf_t *to, parigot_call_t call, const char *key) {
	parigot_buf_t value = {0};
	int32_t status = parigot_get(call, key, &value);
	if (status != PARIGOT_OK)
		parigot_buf_add(&value, parigot_code_name(status), strlen(parigot_code_name(status)));
	while (value.len > 0 && value.data[value.len - 1] == '\n')
		value.data[--value.len] = 0;
	add_line(to, "%s:%s%s", key, value.len > 0 ? " " : "", parigot_buf_text(&value));
	parigot_buf_free(&value);
}

static void add_deadline(parigot_buf_t *to, parigot_call_t call) {
	parigot_buf_t left = {0};
	int32_t status = parigot_get(call, "deadline", &left);
	long ms = strtol(parigot_buf_text(&left), NULL, 10);
	add_line(to, "deadline: %s", status != PARIGOT_OK ? parigot_code_name(status) : ms > 0 && ms <= 5000 ? "within 5 s" : "odd");
	parigot_buf_free(&left);
}

static void describe(parigot_call_t call, const void *req, size_t len) {
	parigot_buf_t text = {0}, trace = {0};
	add_line(&text, "call number %d, number %d since its start, %zu bytes at %s", (int)call, calls, len,
	         req == NULL ? "nowhere" : "somewhere");
	add_value(&text, call, "caller");
	add_value(&text, call, "header:x-clue");
	add_value(&text, call, "header:x-none");
	add_value(&text, call, "request-headers");
	add_value(&text, call, "no-such-key");
	add_deadline(&text, call);
	add_deadline(&text, 0);
	parigot_get(call, "trace", &trace);
	add_line(&text, "trace: %s", trace.len > 0 ? "there" : "none");
	char byte;
	add_line(&text, "stdin: %zu bytes", fread(&byte, 1, 1, stdin));
	state(call, &text);
	parigot_buf_free(&text);
	parigot_buf_free(&trace);
}

static void repeat(parigot_call_t call, const void *req, size_t len) { parigot_reply(call, req, len); }

static void talk(parigot_call_t call, const void *req, size_t len) {
	uint32_t size = amount(req, len);
	char *bytes = malloc(size + 1);
	if (bytes == NULL) {
		parigot_fail(call, PARIGOT_RESOURCE_EXHAUSTED, "no room for %u bytes", (unsigned)size);
		return;
	}
	memset(bytes, 'x', size);
	add_line(&notes, "a reply of %u bytes: %s", (unsigned)size, parigot_code_name(parigot_reply(call, bytes, size)));
	free(bytes);
}

static void sleep_for(parigot_call_t call, const void *req, size_t len) {
	uint32_t ms = amount(req, len);
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	nanosleep(&time, NULL);
	int32_t status = parigot_reply(call, NULL, 0);
	add_line(&notes, "an answer after a sleep of %u ms: %s", (unsigned)ms, parigot_code_name(status));
}

static void stalled(void *arg) {
	int32_t status = parigot_reply((parigot_call_t)(intptr_t)arg, NULL, 0);
	add_line(&notes, "an answer by a timer: %s", parigot_code_name(status));
}

static void stall(parigot_call_t call, const void *req, size_t len) {
	if (parigot_after((int32_t)amount(req, len), stalled, (void *)(intptr_t)call) < 0)
		parigot_fail(call, PARIGOT_INTERNAL, "no timer");
}

/* One detail of an error: a google.protobuf.Any that holds a Statement. */
static void add_detail(parigot_call_t call) {
	static const char detail[] = "\x0a\x2atype.googleapis.com/detective.v1.Statement\x12\x07\x0a\x05" "alibi";
	parigot_sys_set(call, "error-details", 13, detail, sizeof detail - 1);
}

static void refuse(parigot_call_t call, const void *req, size_t len) {
	uint32_t code = amount(req, len);
	parigot_set(call, "header:X-Mood", "sullen");
	parigot_set(call, "trailer:x-exit", "slammed door");
	add_detail(call);
	parigot_fail(call, (int32_t)code, "refused with code %u", (unsigned)code);
}

static void cheat(parigot_call_t call, const void *req, size_t len) {
	(void)req;
	(void)len;
	static const char *const keys[] = {"header:content-type",    "header:parigot-caller", "header:connection", "header:a b",
	                                   "trailer:connect-x",      "deadline",              "caller",            "nonsense"};
	parigot_buf_t text = {0};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		add_line(&text, "set %s: %s", keys[i], parigot_code_name(parigot_set(call, keys[i], "mine")));
	add_line(&text, "set with a line break: %s", parigot_code_name(parigot_set(call, "header:x-a", "one\ntwo")));
	add_line(&text, "answer of call 4711: %s", parigot_code_name(parigot_reply(4711, "x", 1)));
	add_line(&text, "enter of call 4711: %s", parigot_code_name(parigot_enter(4711)));
	add_line(&text, "locate of a service not required: %s", parigot_code_name(parigot_locate("log.v1.LogService")));
	add_line(&text, "require now: %s", parigot_code_name(parigot_sys_require("a.B", 3)));
	add_line(&text, "launch now: %s", parigot_code_name(parigot_sys_launch()));
	state(call, &text);
	parigot_buf_free(&text);
	add_line(&notes, "a second answer: %s", parigot_code_name(parigot_reply(call, "x", 1)));
	add_line(&notes, "its header after the answer: %s", parigot_code_name(parigot_set(call, "header:x-late", "x")));
}

static void faint(parigot_call_t call, const void *req, size_t len) {
	(void)call, (void)req, (void)len;
	__builtin_trap();
}

static void flee(parigot_call_t call, const void *req, size_t len) {
	(void)call, (void)req, (void)len;
	exit(3);
}

static void confess(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	state(call, &notes);
	parigot_buf_clear(&notes);
}

static void count(parigot_call_t call, const void *req, size_t len) {
	calls++;
	describe(call, req, len);
}

int main(int argc, char **argv) {
	int32_t service = parigot_service("detective.v1.SuspectService");
	parigot_method(service, "Describe", count);
	parigot_method(service, "Repeat", repeat);
	parigot_method(service, "Talk", talk);
	parigot_method(service, "Sleep", sleep_for);
	parigot_method(service, "Stall", stall);
	parigot_method(service, "Refuse", refuse);
	parigot_method(service, "Cheat", cheat);
	parigot_method(service, "Faint", faint);
	parigot_method(service, "Flee", flee);
	parigot_method(service, "Confess", confess);
	parigot_launch();
	for (int i = 0; i < argc; i++)
		add_line(&notes, "argv[%d]: %s", i, argv[i]);
	add_line(&notes, "MOTIVE: %s", getenv("MOTIVE") == NULL ? "none" : getenv("MOTIVE"));
	parigot_serve();
}
