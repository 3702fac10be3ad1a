/*
 * A service in front of another one: passes each call on, is open to others meanwhile, and answers with what came of it.
 *
 *   SERVICE   what it offers, with the method Wait: "test.v1.Front" unless said otherwise
 *   CALLS     the other one, with a method of the same name: "test.v1.Delay" unless said otherwise
 */
#include <parigot.h>

static int32_t handle, method;

static void answer(int32_t status, const parigot_buf_t *reply, void *arg) {
	parigot_answer((parigot_call_t)(intptr_t)arg, status, reply);
}

static void pass_on(parigot_call_t call, const void *req, size_t len) {
	int32_t id = parigot_dispatch(handle, method, req, len, 0, answer, (void *)(intptr_t)call);
	if (id < 0)
		parigot_fail(call, -id, "not passed on");
}

int main(void) {
	const char *name = getenv("SERVICE"), *other = getenv("CALLS");
	if (other == NULL)
		other = "test.v1.Delay";
	parigot_require(other);
	parigot_method(parigot_service(name == NULL ? "test.v1.Front" : name), "Wait", pass_on);
	parigot_launch();
	handle = parigot_locate(other);
	method = parigot_resolve(handle, "Wait");
	parigot_serve();
}
