/*
 * A service that answers later: a request is a number of milliseconds, which comes back after so long, by a timer.
 *
 *   SERVICE   what it offers, with the method Wait: "test.v1.Delay" unless said otherwise
 */
#include <parigot.h>
#include <stdio.h>

typedef struct {
	parigot_call_t call;
	int32_t ms;
} open_call_t;

static void answer(void *arg) {
	open_call_t *open = arg;
	char text[16];
	parigot_reply(open->call, text, (size_t)snprintf(text, sizeof text, "%d", (int)open->ms));
	free(open);
}

static void wait_for(parigot_call_t call, const void *req, size_t len) {
	open_call_t *open = malloc(sizeof *open);
	if (open == NULL)
		abort();
	*open = (open_call_t){.call = call};
	for (size_t i = 0; i < len; i++)
		open->ms = open->ms * 10 + ((const char *)req)[i] - '0';
	int32_t timer = parigot_after(open->ms, answer, open);
	if (timer < 0) {
		parigot_fail(call, -timer, "no timer");
		free(open);
	}
}

int main(void) {
	const char *name = getenv("SERVICE");
	parigot_method(parigot_service(name == NULL ? "test.v1.Delay" : name), "Wait", wait_for);
	parigot_launch();
	parigot_serve();
}
