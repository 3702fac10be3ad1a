/* The watchdog's looks at what runs on each thread: shim/guests/engine.py. */

#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "line.h"

enum {
	IDLE_LOOKS = 10, /* that see nothing run, before it is left to whoever enters a guest to wake it */
	MOST = 64        /* threads of which it is seen at once that something has come in; of more, at the next look */
};

/*
 * A thread's cells, and the limit of the entry that ran at the last look, by which it is known; 0: none did. `used`: nanoseconds that
 * the thread had used of the processor when that entry was seen first. `thread`, `clock`: its id, and the clock of what it uses;
 * `batch`: whether it is known to the system as one that computes; `events`: the epoll of what comes in for others there, or -1.
 */
typedef struct {
	const cells_t *cells;
	int64_t seen, used;
	int32_t thread, clock, batch, events;
} watched_t;

/*
 * Says to the system whether the thread computes (sched(7), SCHED_BATCH): then it takes the processor from nobody when it wakes. Only
 * where nobody else has chosen a policy for it. By system calls, as the function of that name does nothing in musl.
 */
static void schedule(watched_t *thread, bool computes) {
	if (thread->batch == computes)
		return;
	struct sched_param none = {0};
	int from = computes ? SCHED_OTHER : SCHED_BATCH, to = computes ? SCHED_BATCH : SCHED_OTHER;
	if (syscall(SYS_sched_getscheduler, thread->thread) == from)
		syscall(SYS_sched_setscheduler, thread->thread, to, &none);
	thread->batch = computes;
}

/*
 * Until the next look. Where something comes in for others on a thread that computes, it has half that time to see to it from when
 * the epoch is moved.
 */
static void wait_for_look(watched_t *const *threads, size_t count, int64_t apart, void (*move)(void *engine), void *engine) {
	struct timespec whole = {apart / (1000 * MS), apart % (1000 * MS)}, half = {apart / 2 / (1000 * MS), apart / 2 % (1000 * MS)};
	struct pollfd waited[MOST];
	nfds_t many = 0;
	for (size_t i = 0; i < count && many < MOST; i++)
		if (threads[i]->batch && threads[i]->events >= 0)
			waited[many++] = (struct pollfd){.fd = threads[i]->events, .events = POLLIN};
	if (ppoll(waited, many, &whole, NULL) > 0) {
		move(engine);
		nanosleep(&half, NULL);
	}
}

/*
 * Looks every so many nanoseconds, and moves the engine's epoch where an entry runs that did so at the look before, and from then on
 * when something comes in as well. Returns when nothing has run for a while. Not in Python, where it would have to wait for whoever
 * is busy there.
 */
EXPORTED void watch(watched_t *const *threads, size_t count, int64_t apart, void (*move)(void *engine), void *engine) {
	for (int idle = 0; idle < IDLE_LOOKS; idle++) {
		wait_for_look(threads, count, apart, move, engine);
		bool still = false;
		for (size_t i = 0; i < count; i++) {
			watched_t *thread = threads[i];
			bool runs = __atomic_load_n(&thread->cells->runs, __ATOMIC_SEQ_CST) != 0;
			int64_t limit = runs ? __atomic_load_n(&thread->cells->limit, __ATOMIC_SEQ_CST) : 0;
			bool same = runs && limit == thread->seen;
			still = still || same;
			schedule(thread, same);
			struct timespec used;
			if (runs && !same && clock_gettime(thread->clock, &used) == 0)
				thread->used = used.tv_sec * 1000 * MS + used.tv_nsec;
			__atomic_store_n(&thread->seen, limit, __ATOMIC_SEQ_CST);
			idle = runs ? -1 : idle;
		}
		if (still)
			move(engine);
	}
}
