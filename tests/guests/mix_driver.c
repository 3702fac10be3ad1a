/*
 * A program that sends what it reads to the method Do of test.v1.Mix0: so many requests at once, or (`sync`) one after the other.
 * Its stdin, and what it writes of each in their order, to stdout: four bytes of length (before that, in the output, four of
 * the status), and so many bytes.
 */
#include <parigot.h>
#include <stdio.h>

enum { MAX_OPEN = 256 };

typedef struct {
	uint8_t *data;
	uint32_t len;
} bytes_t;

static int32_t handle, method;

static bool next_request(bytes_t *request) {
	if (fread(&request->len, 4, 1, stdin) != 1)
		return false;
	request->data = malloc(request->len + 1);
	return request->data != NULL && fread(request->data, 1, request->len, stdin) == request->len;
}

static void tell(int32_t status, const parigot_buf_t *reply) {
	uint32_t len = (uint32_t)reply->len;
	fwrite(&status, 4, 1, stdout);
	fwrite(&len, 4, 1, stdout);
	fwrite(reply->data, 1, len, stdout);
}

static void wait_for(int32_t id) {
	parigot_buf_t reply = {0};
	int32_t status = parigot_wait(id, &reply, -1);
	tell(status, &reply);
	parigot_buf_free(&reply);
}

int main(int argc, char **argv) {
	parigot_require("test.v1.Mix0");
	parigot_launch();
	handle = parigot_locate("test.v1.Mix0");
	method = parigot_resolve(handle, "Do");
	bool sync = argc > 1 && strcmp(argv[1], "sync") == 0;
	int at_once = argc > 1 && !sync ? atoi(argv[1]) : 1, sent = 0, waited = 0;
	int32_t ids[MAX_OPEN];
	bytes_t request;
	for (; next_request(&request); free(request.data)) {
		if (sync) {
			parigot_buf_t reply = {0};
			int32_t status = parigot_call(handle, method, request.data, request.len, &reply, 0);
			tell(status, &reply);
			parigot_buf_free(&reply);
			continue;
		}
		if (sent - waited == at_once)
			wait_for(ids[waited++ % MAX_OPEN]);
		ids[sent++ % MAX_OPEN] = parigot_dispatch(handle, method, request.data, request.len, 0, NULL, NULL);
		if (ids[(sent - 1) % MAX_OPEN] < 0)
			abort();
	}
	while (waited < sent)
		wait_for(ids[waited++ % MAX_OPEN]);
	return fflush(stdout);
}
