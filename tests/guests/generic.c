/*
 * A service that does what its environment says: one wasm for graphs of any shape.
 *
 *   REQUIRES        services, "a.v1.B,c.v1.D"
 *   EXPORTS         services and their methods, "x.v1.Y:M1,M2;z.v1.W:M"
 *   LOG             a record written between launch and serve
 *   READY           "no": exit 1 after launch
 *   READY_DELAY_MS  sleeps so long between launch and serve
 *   MODE            what a call does: echo (default), double (its request twice), forward, name (of its caller), fail, trap, exit,
 *                   loop, sleep, doze (tells it first), later (answers by a timer), log, print (to stdout), memory (takes all)
 *   FORWARD         for forward: "a.v1.B/M", which gets the request and gives the reply
 *   DELAY_MS        for sleep, doze and later: 60000 unless said otherwise
 *
 * Called with a request that begins with "!", it does what follows in place of MODE: "!trap".
 */
#include <parigot.h>
#include <stdio.h>
#include <unistd.h>

static char *next_item(char **rest, const char *separators) {
	char *item;
	do
		item = strsep(rest, separators);
	while (item != NULL && *item == 0);
	return item;
}

/* A copy, for strsep to cut up. */
static char *setting(const char *key) {
	const char *value = getenv(key);
	return strdup(value == NULL ? "" : value);
}

static int delay_ms(void) {
	const char *value = getenv("DELAY_MS");
	return value == NULL ? 60000 : atoi(value);
}

static void forward(parigot_call_t call, const void *req, size_t len) {
	char *rest = setting("FORWARD");
	int32_t handle = parigot_locate(strsep(&rest, "/"));
	int32_t method = rest == NULL ? -PARIGOT_INVALID_ARGUMENT : parigot_resolve(handle, rest);
	parigot_buf_t reply = {0};
	int32_t status = parigot_call(handle, method, req, len, &reply, 0);
	if (status == PARIGOT_OK)
		parigot_reply(call, reply.data, reply.len);
	else
		parigot_fail(call, status, "%s", parigot_buf_text(&reply));
	parigot_buf_free(&reply);
}

typedef struct {
	parigot_call_t call;
	void *data;
	size_t len;
} open_call_t;

static void answer_later(void *arg) {
	open_call_t *open = arg;
	parigot_reply(open->call, open->data, open->len);
	free(open->data);
	free(open);
}

static void later(parigot_call_t call, const void *req, size_t len) {
	open_call_t *open = malloc(sizeof *open);
	if (open == NULL)
		abort();
	*open = (open_call_t){.call = call, .data = parigot_keep(req), .len = len};
	if (parigot_after(delay_ms(), answer_later, open) < 0)
		parigot_fail(call, PARIGOT_INTERNAL, "no timer");
}

static void answer_twice_the_bytes(parigot_call_t call, const void *req, size_t len) {
	parigot_buf_t reply = {0};
	parigot_buf_add(&reply, req, len);
	parigot_buf_add(&reply, req, len);
	parigot_reply(call, reply.data, reply.len);
	parigot_buf_free(&reply);
}

/* Takes memory until there is none, and says how much it has then. */
static void take_memory(parigot_call_t call) {
	while (__builtin_wasm_memory_grow(0, 1) != SIZE_MAX)
		;
	parigot_fail(call, PARIGOT_RESOURCE_EXHAUSTED, "%zu pages", __builtin_wasm_memory_size(0));
}

static void act(const char *mode, parigot_call_t call, const void *req, size_t len) {
	if (strcmp(mode, "echo") == 0) {
		parigot_reply(call, req, len);
	} else if (strcmp(mode, "double") == 0) {
		answer_twice_the_bytes(call, req, len);
	} else if (strcmp(mode, "print") == 0) {
		printf("printed by a service\n");
		parigot_reply(call, req, len);
	} else if (strcmp(mode, "name") == 0) {
		parigot_buf_t caller = {0};
		parigot_get(call, "caller", &caller);
		parigot_reply(call, caller.data, caller.len);
		parigot_buf_free(&caller);
	} else if (strcmp(mode, "forward") == 0) {
		forward(call, req, len);
	} else if (strcmp(mode, "log") == 0) {
		parigot_log(PARIGOT_INFO, "called", "mode", mode, NULL);
		parigot_reply(call, req, len);
	} else if (strcmp(mode, "fail") == 0) {
		parigot_fail(call, PARIGOT_ABORTED, "failed as told");
	} else if (strcmp(mode, "trap") == 0) {
		__builtin_trap();
	} else if (strcmp(mode, "exit") == 0) {
		exit(3);
	} else if (strcmp(mode, "loop") == 0) {
		for (volatile int i = 0;; i++)
			;
	} else if (strcmp(mode, "doze") == 0) {
		parigot_log(PARIGOT_INFO, "dozing", NULL);
		act("sleep", call, req, len);
	} else if (strcmp(mode, "sleep") == 0) {
		usleep((useconds_t)delay_ms() * 1000);
		parigot_reply(call, req, len);
	} else if (strcmp(mode, "later") == 0) {
		later(call, req, len);
	} else if (strcmp(mode, "memory") == 0) {
		take_memory(call);
	} else {
		parigot_fail(call, PARIGOT_INVALID_ARGUMENT, "there is no mode %s", mode);
	}
}

static void handle(parigot_call_t call, const void *req, size_t len) {
	char mode[32];
	if (len > 1 && len < sizeof mode && *(const char *)req == '!') {
		memcpy(mode, (const char *)req + 1, len - 1);
		mode[len - 1] = 0;
		act(mode, call, req, len);
	} else {
		const char *set = getenv("MODE");
		act(set == NULL ? "echo" : set, call, req, len);
	}
}

static void declare(void) {
	char *requires = setting("REQUIRES"), *exports = setting("EXPORTS");
	for (char *name; (name = next_item(&requires, ",")) != NULL;)
		parigot_require(name);
	for (char *methods; (methods = next_item(&exports, ";")) != NULL;) {
		int32_t service = parigot_service(next_item(&methods, ":"));
		for (char *name; (name = next_item(&methods, ",")) != NULL;)
			parigot_method(service, name, handle);
	}
}

int main(void) {
	declare();
	parigot_launch();
	const char *text = getenv("LOG"), *ready = getenv("READY"), *delay = getenv("READY_DELAY_MS");
	if (text != NULL)
		parigot_log(PARIGOT_INFO, text, NULL);
	if (delay != NULL)
		usleep((useconds_t)atoi(delay) * 1000);
	if (ready != NULL && strcmp(ready, "no") == 0)
		exit(1);
	parigot_serve();
}
