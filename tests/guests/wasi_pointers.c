/* A program that gives every function of WASI that takes a pointer one that leaves the memory, and prints the errors. */
#include <parigot.h>
#include <stdio.h>
#include <wasi/api.h>

#define BAD ((void *)(intptr_t)-2)

static void say(const char *what, int error) { printf("%s %d\n", what, error); }

int main(void) {
	static uint8_t room[64];
	__wasi_ciovec_t out = {.buf = BAD, .buf_len = 4};
	__wasi_iovec_t in = {.buf = BAD, .buf_len = 4};
	__wasi_ciovec_t huge = {.buf = room, .buf_len = UINT32_MAX};
	__wasi_subscription_t sleep = {.u.tag = __WASI_EVENTTYPE_CLOCK};
	__wasi_event_t event;
	__wasi_size_t count;
	parigot_launch();
	say("args_get", __wasi_args_get(BAD, BAD));
	say("args_sizes_get", __wasi_args_sizes_get(BAD, BAD));
	say("environ_get", __wasi_environ_get(BAD, BAD));
	say("environ_sizes_get", __wasi_environ_sizes_get(BAD, BAD));
	say("clock_res_get", __wasi_clock_res_get(0, BAD));
	say("clock_time_get", __wasi_clock_time_get(0, 1, BAD));
	say("fd_fdstat_get", __wasi_fd_fdstat_get(1, BAD));
	say("fd_filestat_get", __wasi_fd_filestat_get(1, BAD));
	say("fd_read", __wasi_fd_read(0, BAD, 1, &count));
	say("fd_read buffer", __wasi_fd_read(0, &in, 1, &count));
	say("fd_read count", __wasi_fd_read(0, &in, 0, BAD));
	say("fd_write", __wasi_fd_write(2, BAD, 1, &count));
	say("fd_write buffer", __wasi_fd_write(2, &out, 1, &count));
	say("fd_write huge", __wasi_fd_write(2, &huge, 1, &count));
	say("fd_write count", __wasi_fd_write(2, &out, 0, BAD));
	say("poll_oneoff in", __wasi_poll_oneoff(BAD, &event, 1, &count));
	say("poll_oneoff out", __wasi_poll_oneoff(&sleep, BAD, 1, &count));
	say("poll_oneoff count", __wasi_poll_oneoff(&sleep, &event, 1, BAD));
	say("random_get", __wasi_random_get(BAD, 4));
	say("random_get huge", __wasi_random_get(room, UINT32_MAX));
	printf("done\n");
	return 0;
}
