/* Turns: who waits for sockets, and lets them have their say. */

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "line.h"

enum { EPOLL_PWAIT2 = 441 }; /* the system call, which has the same number on all machines */

/* What comes in on the connection is Python's, and so is the call that it carries. */
static outcome_t disturbed(line_t *line, int fd) {
	connection_t *connection = connection_of(line, fd);
	if (connection->kind == IDLE && is_quiet(fd)) /* what was ready has been read since, by a guest that waited for it */
		return DONE;
	if (connection->kind == CARRIES && line->hooks.take_over(connection->guest->index))
		return FAILED;
	line_forget(line, fd);
	return PASSED;
}

/* Gives each socket that is ready its say. Those that Python is to look at are kept in `ready`. */
static outcome_t turn(line_t *line, const struct epoll_event *events, int count, int *passed) {
	outcome_t outcome = DONE;
	for (int i = 0; i < count && outcome < KERNELS; i++) {
		int fd = events[i].data.fd;
		const connection_t *connection = connection_of(line, fd);
		if (connection->kind == CARRIES && connection->event != NULL)
			outcome = arrived(line, fd);
		else if (connection->kind == LISTENS && line->cells.alone && *passed == 0)
			outcome = (outcome = serve(line, fd)) == DONE && line->queued > 0 ? enter_all(line) : outcome;
		else
			outcome = disturbed(line, fd);
		if (outcome == PASSED)
			line->ready[(*passed)++] = (ready_t){fd, (int32_t)events[i].events};
	}
	return outcome;
}

/* To the nanosecond, where the system can do that (epoll_wait(2), since Linux 5.11), else to the millisecond. */
static int wait_exactly(int epoll, struct epoll_event *events, int64_t left) {
	static bool unknown;
	if (!unknown) {
		struct timespec span = {left / (1000 * MS), left % (1000 * MS)};
		long count = syscall(EPOLL_PWAIT2, epoll, events, BATCH, &span, NULL, 0);
		if (count >= 0 || errno != ENOSYS)
			return (int)count;
		unknown = true;
	}
	return epoll_wait(epoll, events, BATCH, (int)((left + MS - 1) / MS));
}

int wait_until(line_t *line, struct epoll_event *events, int64_t until) {
	int64_t left = until == 0 ? 0 : until - monotonic();
	left = left < 0 ? 0 : left > HOUR ? HOUR : left;
	if (left > 0) {
		__atomic_store_n(&line->cells.waits, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&line->cells.posted, __ATOMIC_SEQ_CST))
			left = 0;
	}
	int count = left == 0 ? epoll_wait(line->epoll, events, BATCH, 0) : wait_exactly(line->epoll, events, left);
	__atomic_store_n(&line->cells.waits, 0, __ATOMIC_SEQ_CST);
	return count;
}

/*
 * Lets sockets have their say, at most `timeout` nanoseconds (below 0: as long as it takes), until there is something for
 * Python: how many are `ready`, or -1: something in Python has failed.
 */
EXPORTED int line_poll(line_t *line, int64_t timeout) {
	struct epoll_event events[BATCH];
	int64_t until = timeout < 0 ? NEVER : timeout == 0 ? 0 : monotonic() + timeout;
	int passed = 0;
	for (;;) {
		line->entered = false;
		outcome_t outcome = line->cells.alone ? enter_all(line) : DONE;
		if (outcome == DONE) {
			int64_t next = next_timer(line), first = until < next ? until : next;
			first = line->cells.due < first ? line->cells.due : first; /* a timer may have been set meanwhile */
			int count = wait_until(line, events, line->entered ? 0 : first);
			outcome = turn(line, events, count, &passed);
			if (next != NEVER && outcome < KERNELS) {
				outcome_t rung = ring_timers(line, monotonic());
				outcome = rung != DONE ? rung : outcome;
			}
		}
		if (outcome == FAILED)
			return -1;
		if (outcome == KERNELS || passed > 0 || line->cells.posted || until == 0)
			return passed;
		if ((until != NEVER || line->cells.due != NEVER) && monotonic() >= (until < line->cells.due ? until : line->cells.due))
			return passed;
	}
}
