/* The greeting service: a name comes in, a greeting goes out. */
#include <parigot.h>

/* The name in a hello.v1.GreetRequest, not terminated. False: no such message. */
static bool read_request(const void *req, size_t len, const uint8_t **name, size_t *name_len) {
	pb_reader_t r = pb_read(req, len);
	*name_len = 0;
	while (pb_next(&r)) {
		if (r.field == 1 && r.type == PB_BYTES) {
			*name = r.data;
			*name_len = r.len;
		}
	}
	return !r.malformed;
}

static void greet(parigot_call_t call, const void *req, size_t len) {
	const uint8_t *name;
	size_t name_len;
	if (!read_request(req, len, &name, &name_len)) {
		parigot_fail(call, PARIGOT_INVALID_ARGUMENT, "the request is no hello.v1.GreetRequest");
		return;
	}
	if (name_len == 0) {
		parigot_fail(call, PARIGOT_INVALID_ARGUMENT, "there is nobody to greet: the name is empty");
		return;
	}
	parigot_buf_t reply = {0};
	size_t text = pb_begin(&reply, 1);
	parigot_buf_add(&reply, "Hello, ", 7);
	parigot_buf_add(&reply, name, name_len);
	parigot_buf_add(&reply, "!", 1);
	pb_end(&reply, text);
	if (reply.failed)
		parigot_fail(call, PARIGOT_RESOURCE_EXHAUSTED, "no memory for the greeting");
	else
		parigot_reply(call, reply.data, reply.len);
	parigot_buf_free(&reply);
}

int main(void) {
	int32_t service = parigot_service("hello.v1.GreetingService");
	parigot_method(service, "Greet", greet);
	parigot_launch();
	parigot_serve();
}
