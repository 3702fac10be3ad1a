/*
 * A program that keeps so many calls open at once until it has made them all, and prints what came of it.
 *
 *   load a.v1.B/M CALLERS CALLS TEXT     prints "OK 640 of 640 in 100000 us" (the wall clock's), and the first error if there was one
 */
#include <parigot.h>
#include <stdio.h>
#include <time.h>

static int64_t now_us(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int main(int argc, char **argv) {
	if (argc != 5)
		return 2;
	char *rest = argv[1], *service = strsep(&rest, "/");
	int callers = atoi(argv[2]), calls = atoi(argv[3]), ok = 0;
	parigot_require(service);
	parigot_launch();
	int32_t handle = parigot_locate(service), method = parigot_resolve(handle, rest);
	int32_t *open = calloc((size_t)callers, sizeof *open);
	if (open == NULL)
		abort();
	parigot_buf_t reply = {0}, error = {0};
	int64_t begin = now_us();
	for (int i = 0; i < calls + callers; i++) { /* each caller waits for its call and makes the next */
		int32_t *id = &open[i % callers];
		if (*id > 0) {
			if (parigot_wait(*id, &reply, -1) == PARIGOT_OK)
				ok++;
			else if (error.len == 0)
				parigot_buf_add(&error, reply.data, reply.len);
		}
		*id = i < calls ? parigot_dispatch(handle, method, argv[4], strlen(argv[4]), 0, NULL, NULL) : 0;
	}
	printf("OK %d of %d in %lld us\n%s", ok, calls, (long long)(now_us() - begin), parigot_buf_text(&error));
	return ok == calls ? 0 : 1;
}
