/*
 * A program that does what its arguments say, in their order, and prints what came of it. It requires the services that its
 * arguments name, or those of the variable REQUIRES, "a.v1.B,c.v1.D".
 *
 *   a.v1.B/M:TEXT[:TIMEOUT_MS]   calls, and prints "a.v1.B/M OK 4 TEXT": status, length, and the reply or the error's text. A text
 *                                "@N" is N bytes of a pattern; a reply over 200 bytes is printed as "same" or "different" from the
 *                                request. "(not executed)" follows where the kernel says so.
 *   --dispatch a.v1.B/M:TEXT     starts a call; --wait prints what became of all of them, in the order of their start
 *   --log TEXT, --err TEXT, --out TEXT     a record, a line to stderr, text to stdout without a newline
 *   --env KEY, --args, --stdin   prints a variable, the arguments; copies stdin to stdout
 *   --sleep MS, --exit N, --trap, --loop
 */
#include <parigot.h>
#include <stdio.h>
#include <unistd.h>

enum { MAX_PENDING = 1024, SHOWN = 200 };

/* One call, as an argument writes it. */
typedef struct {
	char *service;
	char *method;
	uint8_t *data;
	size_t len;
	int32_t timeout_ms;
	int32_t id;
} request_t;

static request_t pending[MAX_PENDING];
static int pending_count;

static void fill(request_t *r, char *text) {
	r->len = strlen(text);
	r->data = (uint8_t *)text;
	if (*text != '@')
		return;
	r->len = strtoul(text + 1, NULL, 10);
	r->data = malloc(r->len + 1);
	if (r->data == NULL)
		abort();
	for (size_t i = 0; i < r->len; i++)
		r->data[i] = (uint8_t)(i * 7 + i / 251);
}

/* False: the argument is no call. */
static bool parse(const char *arg, request_t *r) {
	char *rest = strdup(arg);
	*r = (request_t){.service = strsep(&rest, "/")};
	if (rest == NULL)
		return false;
	r->method = strsep(&rest, ":");
	char *text = rest == NULL ? strdup("") : strsep(&rest, ":");
	r->timeout_ms = rest == NULL ? 0 : atoi(rest);
	fill(r, text);
	return true;
}

static void print_result(const request_t *r, int32_t status, const parigot_buf_t *reply) {
	printf("%s/%s %s %zu ", r->service, r->method, parigot_code_name(status), reply->len);
	if (reply->len <= SHOWN)
		printf("%s", parigot_buf_text(reply));
	else
		printf("%s", reply->len == r->len && memcmp(reply->data, r->data, r->len) == 0 ? "same" : "different");
	printf(status != PARIGOT_OK && parigot_not_executed() ? " (not executed)\n" : "\n");
	fflush(stdout);
}

static int32_t resolve(const request_t *r, int32_t *handle) {
	*handle = parigot_locate(r->service);
	int32_t method = *handle < 0 ? *handle : parigot_resolve(*handle, r->method);
	if (method < 0)
		printf("%s/%s %s at %s\n", r->service, r->method, parigot_code_name(method), *handle < 0 ? "locate" : "method");
	return method;
}

static void call(request_t *r) {
	int32_t handle, method = resolve(r, &handle);
	if (method < 0)
		return;
	parigot_buf_t reply = {0};
	int32_t status = parigot_call(handle, method, r->data, r->len, &reply, r->timeout_ms);
	print_result(r, status, &reply);
	parigot_buf_free(&reply);
}

static void dispatch(request_t r) {
	int32_t handle, method = resolve(&r, &handle);
	if (method < 0)
		return;
	r.id = parigot_dispatch(handle, method, r.data, r.len, r.timeout_ms, NULL, NULL);
	if (r.id <= 0)
		printf("%s/%s %s at dispatch\n", r.service, r.method, parigot_code_name(r.id));
	else if (pending_count < MAX_PENDING)
		pending[pending_count++] = r;
}

static void wait_for_all(void) {
	parigot_buf_t reply = {0};
	for (int i = 0; i < pending_count; i++)
		print_result(&pending[i], parigot_wait(pending[i].id, &reply, -1), &reply);
	pending_count = 0;
	parigot_buf_free(&reply);
}

static void copy_stdin(void) {
	char bytes[4096];
	for (size_t n; (n = fread(bytes, 1, sizeof bytes, stdin)) > 0;)
		fwrite(bytes, 1, n, stdout);
}

/* Does an option that takes no value. */
static bool act(const char *option, int argc, char **argv) {
	if (strcmp(option, "--wait") == 0)
		wait_for_all();
	else if (strcmp(option, "--stdin") == 0)
		copy_stdin();
	else if (strcmp(option, "--args") == 0)
		for (int i = 0; i < argc; i++)
			printf("argv[%d]=%s\n", i, argv[i]);
	else if (strcmp(option, "--trap") == 0)
		__builtin_trap();
	else if (strcmp(option, "--loop") == 0)
		for (volatile int i = 0;; i++)
			;
	else
		return false;
	fflush(stdout);
	return true;
}

/* Does an option that takes a value. */
static void act_with(const char *option, const char *value) {
	request_t r;
	if (strcmp(option, "--log") == 0)
		parigot_log(PARIGOT_INFO, value, NULL);
	else if (strcmp(option, "--err") == 0)
		fprintf(stderr, "%s\n", value);
	else if (strcmp(option, "--out") == 0)
		printf("%s", value);
	else if (strcmp(option, "--env") == 0)
		printf("%s=%s\n", value, getenv(value) == NULL ? "(not set)" : getenv(value));
	else if (strcmp(option, "--sleep") == 0)
		usleep((useconds_t)atoi(value) * 1000);
	else if (strcmp(option, "--exit") == 0)
		exit(atoi(value));
	else if (strcmp(option, "--dispatch") == 0 && parse(value, &r))
		dispatch(r);
	else
		fprintf(stderr, "caller: no option %s with %s\n", option, value);
	fflush(stdout);
}

static void require_all(int argc, char **argv) {
	request_t r;
	const char *set = getenv("REQUIRES");
	char *rest = strdup(set == NULL ? "" : set);
	for (char *name; (name = strsep(&rest, ",")) != NULL;)
		if (*name != 0)
			parigot_require(name);
	for (int i = 1; set == NULL && i < argc; i++) {
		if (strcmp(argv[i], "--log") == 0)
			parigot_require("log.v1.LogService");
		if (argv[i][0] != '-' && parse(argv[i], &r))
			parigot_require(r.service);
	}
}

int main(int argc, char **argv) {
	request_t r;
	require_all(argc, argv);
	parigot_launch();
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-' && act(argv[i], argc, argv))
			continue;
		if (argv[i][0] == '-' && i + 1 < argc)
			act_with(argv[i], argv[i + 1]), i++;
		else if (parse(argv[i], &r))
			call(&r);
		else
			fprintf(stderr, "caller: no such option or call: %s\n", argv[i]);
	}
	return 0;
}
