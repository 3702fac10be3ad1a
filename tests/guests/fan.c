/*
 * A service that asks several others at once, and answers when the last one has: their replies, one a line, in their order.
 *
 *   SERVICE   what it offers, with the method Wait: "test.v1.Fan" unless said otherwise
 *   CALLS     the others, each with a method of the same name: "a.v1.B,c.v1.D"
 */
#include <parigot.h>

enum { MOST = 16 };

static int32_t handles[MOST], methods[MOST];
static int count;

typedef struct {
	parigot_call_t call;
	int missing; /* answers */
	int32_t status;
	parigot_buf_t error;
	parigot_buf_t replies[MOST];
} join_t;

/* One of the calls of a join. */
typedef struct {
	join_t *join;
	int number;
} part_t;

static void finish(join_t *join) {
	parigot_buf_t all = {0};
	for (int i = 0; i < count; i++) {
		parigot_buf_add(&all, join->replies[i].data, join->replies[i].len);
		parigot_buf_add(&all, "\n", 1);
		parigot_buf_free(&join->replies[i]);
	}
	parigot_answer(join->call, join->status, join->status == PARIGOT_OK ? &all : &join->error);
	parigot_buf_free(&all);
	parigot_buf_free(&join->error);
	free(join);
}

static void answered(int32_t status, const parigot_buf_t *reply, void *arg) {
	part_t part = *(part_t *)arg;
	free(arg);
	parigot_buf_t *into = status == PARIGOT_OK ? &part.join->replies[part.number] : &part.join->error;
	if (status != PARIGOT_OK) {
		parigot_buf_clear(into);
		part.join->status = status;
	}
	parigot_buf_add(into, reply->data, reply->len);
	if (--part.join->missing == 0)
		finish(part.join);
}

static void ask_all(parigot_call_t call, const void *req, size_t len) {
	join_t *join = calloc(1, sizeof *join);
	if (join == NULL)
		abort();
	join->call = call;
	join->missing = count;
	for (int i = 0; i < count; i++) {
		part_t *part = malloc(sizeof *part);
		if (part == NULL)
			abort();
		*part = (part_t){join, i};
		int32_t id = parigot_dispatch(handles[i], methods[i], req, len, 0, answered, part);
		if (id < 0)
			answered(-id, &(parigot_buf_t){0}, part);
	}
}

int main(void) {
	const char *name = getenv("SERVICE"), *calls = getenv("CALLS");
	char *others[MOST], *rest = strdup(calls == NULL ? "" : calls);
	for (char *other; count < MOST && (other = strsep(&rest, ",")) != NULL;)
		others[count++] = other;
	for (int i = 0; i < count; i++)
		parigot_require(others[i]);
	parigot_method(parigot_service(name == NULL ? "test.v1.Fan" : name), "Wait", ask_all);
	parigot_launch();
	for (int i = 0; i < count; i++) {
		handles[i] = parigot_locate(others[i]);
		methods[i] = parigot_resolve(handles[i], "Wait");
	}
	parigot_serve();
}
