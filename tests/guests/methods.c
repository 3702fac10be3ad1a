/*
 * A service with as many methods as METHODS says, M0 and so on, each replying its own name; NAME is the service. A request
 * "a.v1.B/M1" has that method answer instead, of a service that REQUIRES names, located only then; "!trap" traps.
 */
#include <parigot.h>
#include <stdio.h>

static void forward(parigot_call_t call, char *where) {
	char *service = strsep(&where, "/");
	int32_t handle = parigot_locate(service), method = parigot_resolve(handle, where);
	parigot_buf_t reply = {0};
	parigot_answer(call, parigot_call(handle, method, NULL, 0, &reply, 0), &reply);
	parigot_buf_free(&reply);
}

static void answer(int number, parigot_call_t call, const void *req, size_t len) {
	char text[64] = {0};
	memcpy(text, req, len < sizeof text ? len : sizeof text - 1);
	if (strcmp(text, "!trap") == 0)
		__builtin_trap();
	if (strchr(text, '/') != NULL) {
		forward(call, text);
		return;
	}
	snprintf(text, sizeof text, "M%d", number);
	parigot_reply(call, text, strlen(text));
}

static void m0(parigot_call_t call, const void *req, size_t len) { answer(0, call, req, len); }
static void m1(parigot_call_t call, const void *req, size_t len) { answer(1, call, req, len); }
static void m2(parigot_call_t call, const void *req, size_t len) { answer(2, call, req, len); }

int main(void) {
	static const parigot_handler_t handlers[] = {m0, m1, m2};
	static const char *const names[] = {"M0", "M1", "M2"};
	char *rest = strdup(getenv("REQUIRES"));
	for (char *service; (service = strsep(&rest, ",")) != NULL;)
		if (*service != 0)
			parigot_require(service);
	int32_t service = parigot_service(getenv("NAME"));
	for (int i = 0; i < atoi(getenv("METHODS")); i++)
		parigot_method(service, names[i], handlers[i]);
	parigot_launch();
	parigot_serve();
}
