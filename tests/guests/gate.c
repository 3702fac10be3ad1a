/*
 * A service that lets calls through together: answers none until so many are open, and then the last one first, each with its request.
 *
 *   SERVICES   what it offers, each with the method Wait: "test.v1.A,test.v1.B"
 *   MEET       how many
 */
#include <parigot.h>

static struct {
	parigot_call_t call;
	void *data;
	size_t len;
} open[1024];
static int count, wanted;

static void wait_for(parigot_call_t call, const void *req, size_t len) {
	open[count].call = call;
	open[count].len = len;
	open[count++].data = parigot_keep(req);
	if (count < wanted)
		return;
	while (count > 0) {
		count--;
		parigot_reply(open[count].call, open[count].data, open[count].len);
		free(open[count].data);
	}
}

int main(void) {
	const char *names = getenv("SERVICES"), *meet = getenv("MEET");
	char *rest = strdup(names == NULL ? "" : names);
	wanted = meet == NULL ? 1 : atoi(meet);
	for (char *name; (name = strsep(&rest, ",")) != NULL;)
		parigot_method(parigot_service(name), "Wait", wait_for);
	parigot_launch();
	parigot_serve();
}
