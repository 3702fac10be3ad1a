/*
 * hello [--exit N] [NAME...]: greets each name, or the world, and then nobody, which is an error.
 * The exit code is N, or 1 when a name could not be greeted.
 */
#include <parigot.h>
#include <stdio.h>

static int32_t greeting, greet_method;

/* Prints the text of a hello.v1.GreetResponse. */
static void print_response(const parigot_buf_t *reply) {
	for (pb_reader_t r = pb_read(reply->data, reply->len); pb_next(&r);) {
		if (r.field == 1 && r.type == PB_BYTES) {
			fwrite(r.data, 1, r.len, stdout);
			putchar('\n');
		}
	}
}

static int32_t greet(const char *name) {
	parigot_buf_t request = {0}, reply = {0};
	pb_put_text(&request, 1, name);
	int32_t status = parigot_call(greeting, greet_method, request.data, request.len, &reply, 0);
	if (status == PARIGOT_OK)
		print_response(&reply);
	else
		printf("Greeting \"%s\" failed: %s: %s\n", name, parigot_code_name(status), parigot_buf_text(&reply));
	parigot_buf_free(&request);
	parigot_buf_free(&reply);
	return status;
}

int main(int argc, char **argv) {
	parigot_require("hello.v1.GreetingService");
	parigot_launch();
	greeting = parigot_locate("hello.v1.GreetingService");
	greet_method = parigot_resolve(greeting, "Greet");

	int first = 1, exit_code = 0;
	if (argc > 2 && strcmp(argv[1], "--exit") == 0) {
		exit_code = atoi(argv[2]);
		first = 3;
	}
	bool failed = first == argc && greet("world") != PARIGOT_OK;
	for (int i = first; i < argc; i++)
		failed |= greet(argv[i]) != PARIGOT_OK;
	greet("");
	return exit_code != 0 ? exit_code : failed;
}
