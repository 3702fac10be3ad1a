#include "line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EPOLL_PWAIT2 = 441 }; /* the system call, which has the same number on all machines */

/* ---- What the line knows ---------------------------------------------------------------------------------------------------- */

EXPORTED line_t *line_new(int epoll, logical_t *clock, uint32_t limit, int64_t allowed, const char *run) {
	line_t *line = calloc(1, sizeof *line);
	if (line == NULL || strlen(run) >= sizeof line->run) {
		free(line);
		return NULL;
	}
	strcpy(line->run, run);
	line->cells.due = line->cells.limit = line->soonest = NEVER;
	line->epoll = epoll;
	line->clock = clock;
	line->limit = limit;
	line->allowed = allowed;
	return line;
}

connection_t *connection_of(line_t *line, int fd) {
	if (fd >= 0 && fd < line->room)
		return &line->connections[fd];
	line->unknown = (connection_t){.kind = PYTHONS};
	return &line->unknown;
}

/* Room for what is known of a connection; false: there is no memory. */
static bool connection_reserve(line_t *line, int fd) {
	if (fd < line->room)
		return true;
	int32_t room = line->room == 0 ? 256 : line->room;
	while (room <= fd)
		room *= 2;
	connection_t *grown = realloc(line->connections, (size_t)room * sizeof *grown);
	if (grown == NULL)
		return false;
	memset(grown + line->room, 0, (size_t)(room - line->room) * sizeof *grown);
	line->connections = grown;
	line->room = room;
	return true;
}

/* A request may come in on the connection, which has none. */
EXPORTED void line_listen(line_t *line, int fd, int32_t door) {
	if (connection_reserve(line, fd))
		*connection_of(line, fd) = (connection_t){.kind = LISTENS, .door = door};
}

/* The connection is to be closed: nobody here is to know it any more. */
EXPORTED void line_forget(line_t *line, int fd) {
	connection_t *connection = connection_of(line, fd);
	if (connection->kind == CARRIES && connection->call != NULL)
		connection->call->fd = -1;
	if (connection->kind == CARRIES && connection->event != NULL)
		connection->event->fd = -1;
	peer_t *peer = connection->kind == IDLE ? connection->peer : NULL;
	for (int i = 0; peer != NULL && i < peer->count; i++) {
		if (peer->idle[i] == fd) {
			memmove(&peer->idle[i], &peer->idle[i + 1], (size_t)(--peer->count - i) * sizeof(int));
			break;
		}
	}
	*connection = (connection_t){.kind = PYTHONS};
}

/* Whether a call has come in or has been answered since this was asked last. */
EXPORTED int line_used(line_t *line, int fd) {
	connection_t *connection = connection_of(line, fd);
	bool used = connection->used || connection->kind == CARRIES;
	connection->used = false;
	return used;
}

EXPORTED peer_t *line_peer(void) { return calloc(1, sizeof(peer_t)); }

/* The connection can carry a call to the peer; 0: there are enough. */
EXPORTED int line_idle(line_t *line, peer_t *peer, int fd) {
	if (peer->count >= POOL || !connection_reserve(line, fd))
		return 0;
	*connection_of(line, fd) = (connection_t){.kind = IDLE, .peer = peer};
	peer->idle[peer->count++] = fd;
	return 1;
}

/* An idle connection, which is Python's now; -1: there is none. */
EXPORTED int line_take_idle(line_t *line, peer_t *peer) {
	if (peer->count == 0)
		return -1;
	int fd = peer->idle[--peer->count];
	*connection_of(line, fd) = (connection_t){.kind = PYTHONS};
	return fd;
}

void keep_idle(line_t *line, int fd) {
	connection_t *connection = connection_of(line, fd);
	peer_t *peer = connection->peer;
	if (peer->wanted || !line_idle(line, peer, fd)) {
		connection->kind = PYTHONS;
		line->hooks.spare(fd);
	}
}

/* The store of the line's guests, the watchdog's flag, and Python's functions. */
EXPORTED void line_equip(line_t *line, store_t *store, int64_t *awake, const hooks_t *hooks) {
	line->store = store;
	line->awake = awake;
	line->hooks = *hooks;
}

EXPORTED void guest_bar(guest_t *guest) { guest->barred = true; }

EXPORTED const char *line_data(const line_t *line, uint32_t *len) {
	*len = line->data_len;
	return line->data;
}

EXPORTED const ready_t *line_ready(const line_t *line) { return line->ready; }

EXPORTED void peer_wants(peer_t *peer, int wanted) { peer->wanted = wanted; }

/* ---- Guests, routes and ways -------------------------------------------------------------------------------------------------- */

EXPORTED guest_t *line_guest(line_t *line, int32_t *control, text_t name) {
	guest_t **grown = realloc(line->guests, (size_t)(line->guest_count + 1) * sizeof(guest_t *));
	guest_t *guest = calloc(1, sizeof *guest + name.len);
	if (grown != NULL)
		line->guests = grown;
	if (grown == NULL || guest == NULL) {
		free(guest);
		return NULL;
	}
	put((char *)(guest + 1), name);
	guest->line = line;
	guest->index = line->guest_count;
	guest->control = control;
	guest->name = (text_t){(char *)(guest + 1), name.len};
	line->guests[line->guest_count++] = guest;
	return guest;
}

/* What the kernel does where a function of the guest's is not used in its usual way. */
EXPORTED void guest_kernels(guest_t *guest, const char *name, callback_t kernels) {
	static const char *const names[] = {"answer", "dispatch", "timer", "wait"};
	callback_t *const places[] = {&guest->python_answer, &guest->python_dispatch, &guest->python_timer, &guest->python_wait};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(names[i], name) == 0)
			*places[i] = kernels;
}

/* A fresh instance of the guest. */
EXPORTED void guest_starts(guest_t *guest, const void *memory, uint8_t *base, const void *const functions[3]) {
	guest->memory = memory;
	guest->base = base;
	guest->alloc = functions[0];
	guest->handle = functions[1];
	guest->resume = functions[2];
}

static void forget_methods(way_t *way) {
	for (int32_t method = 0; method < way->method_count; method++)
		way->methods[method].known = false;
}

/* The instance is gone: so is all that leads to it, and what the line holds of it, which Python has taken over. */
EXPORTED void guest_ends(guest_t *guest) {
	line_t *line = guest->line;
	guest->base = NULL;
	guest->barred = false;
	guest->instance++;
	work_release(guest->work);
	guest->work = NULL;
	for (uint32_t i = 0; i < line->route_count; i++)
		if (line->routes[i].guest == guest)
			line->routes[i].guest = NULL;
	for (uint32_t i = 0; i < guest->ways.room; i++) {
		way_t *way = guest->ways.slots[i].number != 0 ? guest->ways.slots[i].value : NULL;
		if (way != NULL)
			forget_methods(way);
	}
	for (int32_t i = 0; i < line->guest_count; i++) {
		const table_t *ways = &line->guests[i]->ways;
		for (uint32_t slot = 0; slot < ways->room; slot++) {
			way_t *way = ways->slots[slot].number != 0 ? ways->slots[slot].value : NULL;
			if (way != NULL && way->callee == guest)
				forget_methods(way);
		}
	}
}

static route_t *route_slot(line_t *line, text_t path, int32_t door) {
	for (uint32_t i = 0; i < line->route_count; i++) {
		route_t *route = &line->routes[i];
		if (route->path.len == path.len && route->door == door && memcmp(route->path.at, path.at, path.len) == 0)
			return route;
	}
	return NULL;
}

route_t *route_of(line_t *line, text_t path, int32_t door) {
	route_t *route = route_slot(line, path, door);
	return route != NULL && route->guest != NULL ? route : NULL;
}

/* A path at which a guest answers who comes in by the door. Returns its number, or -1. */
EXPORTED int32_t line_route(line_t *line, text_t path, int32_t door, guest_t *guest, int32_t service, int32_t method) {
	route_t *route = route_slot(line, path, door);
	if (route == NULL) {
		route_t *grown = realloc(line->routes, (line->route_count + 1) * sizeof *grown);
		char *copy = malloc(path.len);
		if (grown != NULL)
			line->routes = grown;
		if (grown == NULL || copy == NULL) {
			free(copy);
			return -1;
		}
		route = &line->routes[line->route_count++];
		put(copy, path);
		*route = (route_t){.path = {copy, path.len}, .door = door};
	}
	route->guest = guest;
	route->service = service;
	route->method = method;
	return (int32_t)(route - line->routes);
}

/* A handle of the guest's that leads to a peer, or to a guest of this line; NULL: there is no memory. */
EXPORTED way_t *line_way(
    guest_t *guest, int32_t handle, peer_t *peer, guest_t *callee, int32_t methods, callback_t python) {
	way_t *way = calloc(1, sizeof *way);
	if (way == NULL || (way->methods = calloc((size_t)methods, sizeof(method_t))) == NULL) {
		free(way);
		return NULL;
	}
	way->guest = guest;
	way->handle = handle;
	way->peer = peer;
	way->callee = callee;
	way->python = python;
	way->method_count = methods;
	return way;
}

/* The way stands for its handle, in place of any other; to an instance of a guest's that has given the service this number. */
EXPORTED void way_stands(way_t *way, int32_t service) {
	way->service = service;
	table_t *ways = &way->guest->ways;
	table_remove(ways, way->handle + 1);
	if (table_reserve(ways))
		table_add(ways, way->handle + 1, way);
}

/* A method that the guest has resolved: of a peer, by path and host; of a guest, by its own number. */
EXPORTED void way_method(way_t *way, int32_t index, text_t path, text_t host, int32_t number) {
	method_t *method = &way->methods[index];
	method->number = number;
	if (way->peer != NULL) {
		if (path.len + host.len + way->guest->name.len > START_MAX)
			return;
		if (method->head.at == NULL)
			method->head.at = malloc(path.len + host.len + 128);
		if (method->head.at == NULL)
			return;
		method->head.len = (uint32_t)start_request((char *)method->head.at, path, host);
	}
	method->known = true;
}

EXPORTED int guest_reaches(const guest_t *guest, int32_t handle, int32_t method) {
	const way_t *way = table_find(&guest->ways, handle + 1);
	return way != NULL && method < way->method_count && way->methods[method].known;
}

/* What the guest does is the work of this call, or (`sign` is '-') of none: its calls' ids begin so. */
EXPORTED void guest_works(guest_t *guest, text_t id, char sign, int32_t children, int64_t deadline) {
	work_release(guest->work);
	guest->work = id.len < ID_MAX ? work_new(id, sign, (text_t){"", 0}) : NULL; /* heads have room for so much */
	if (guest->work == NULL)
		return;
	guest->work->pythons = sign == '.';
	guest->work->number = sign == '.' ? -1 : 0; /* -1: no call of the line's */
	guest->work->children = children;
	guest->work->deadline = deadline;
	guest->control[KNOWN] = 1;
}

/* ---- What Python takes over --------------------------------------------------------------------------------------------------- */

static void taken_drop(line_t *line) {
	work_release(line->taken_work);
	if (line->taken_event != NULL)
		event_free(line->taken_event);
	line->taken_work = NULL;
	line->taken_event = NULL;
	line->taken = (taken_t){.kind = NOTHING, .fd = -1};
}

/* The call is Python's: so is what comes in on its connection. */
static void release_connection(line_t *line, int fd) {
	if (fd >= 0)
		connection_of(line, fd)->kind = PYTHONS;
}

EXPORTED const int32_t taken_size = sizeof(taken_t);

static taken_t *take_work(guest_t *guest, work_t *work, int32_t kind) {
	line_t *line = guest->line;
	taken_t *taken = &line->taken;
	*taken = (taken_t){
	    .kind = kind,
	    .guest = guest->index,
	    .number = work->number,
	    .fd = work->fd,
	    .callee = -1,
	    .route = work->route,
	    .work = work->number,
	    .id = {work->text, work->prefix - 1},
	    .caller = {work->text + work->prefix, work->caller},
	    .children = work->children,
	    .since = work->since,
	    .deadline = work->deadline,
	};
	return taken;
}

/* All events of a work go to Python with it: it is counted there what is called for it. */
static void settles(guest_t *guest, work_t *work) {
	if (work->number > 0)
		work->settled = guest->settled = true;
}

/* The guest's present work is Python's; true where that is this one. */
static bool take_present(guest_t *guest, work_t *work) {
	if (!(guest->control[HELD] & RUNS) || guest->work != work)
		return false;
	guest->control[KNOWN] = 0;
	guest->control[HELD] &= ~RUNS;
	guest->control[SETTLED] = 1;
	guest->work = NULL;
	work_release(work);
	return true;
}

static taken_t *take_event(guest_t *guest, event_t *event);

/* Whether the work is a call that is still the line's. */
static bool is_held(const guest_t *guest, const work_t *work) {
	if (work->number > 0)
		return table_find(&guest->open, work->number) == work;
	for (const work_t *at = guest->next_call; at != NULL; at = at->next)
		if (at == work)
			return true;
	return false;
}

/* The call is no longer among those that are open in the guest, or wait for it. */
static void drop_call(guest_t *guest, work_t *call) {
	if (call->number > 0)
		table_remove(&guest->open, call->number);
	else
		unqueue_call(guest, call);
	guest->line->taken_work = call;
}

/* A call: where it is another guest's of this line, that one's event, and first of all what this one was called for. */
static taken_t *take_open(guest_t *guest, work_t *work) {
	if (work->event != NULL) {
		guest_t *caller = work->event->guest;
		work_t *parent = work->event->work;
		return is_held(caller, parent) ? take_open(caller, parent) : take_event(caller, work->event);
	}
	release_connection(guest->line, work->fd);
	bool waits = work->number == 0;
	drop_call(guest, work);
	settles(guest, work);
	taken_t *taken = take_work(guest, work, OPEN);
	taken->waits = waits;
	taken->turn = work->turn;
	taken->request = (text_t){work->body, waits ? work->body_len : 0};
	taken->current = take_present(guest, work);
	return taken;
}

/* An event; the call that waits for a guest of this line, or that it has been entered with, goes along. */
static taken_t *take_event(guest_t *guest, event_t *event) {
	line_t *line = guest->line;
	work_t *parent = event->work, *call = event->call;
	if (is_held(guest, parent))
		return take_open(guest, parent);
	release_connection(line, event->fd);
	table_remove(&guest->events, event->number);
	if (event->ended && guest->resumed != event)
		unqueue(guest, event);
	line->taken_event = event;
	settles(guest, parent);
	taken_t *taken = take_work(guest, parent, event->is_timer ? TIMER : DISPATCHED);
	taken->number = event->number;
	taken->fd = event->fd;
	taken->handle = event->way == NULL ? -1 : event->way->handle;
	taken->method = event->method;
	taken->child = event->child;
	taken->ended = event->ended;
	taken->since = event->since;
	taken->when = event->when;
	taken->turn = event->turn;
	taken->request = (text_t){event->request, event->request_len};
	taken->reply = (text_t){event->reply, event->reply_len};
	if (guest->resumed == event) {
		guest->resumed = NULL;
		taken->current = 1;
	}
	if (call != NULL) {
		guest_t *callee = event->way->callee;
		taken->waits = call->number == 0;
		taken->callee = callee->index;
		taken->open = call->number;
		taken->children = call->children;
		call->event = NULL;
		taken->turn = call->turn;
		if (taken->waits)
			taken->request = (text_t){call->body, call->body_len};
		drop_call(callee, call);
		settles(callee, call);
		taken->entered = take_present(callee, call);
		note_held(callee);
	}
	return taken;
}

/* What the guest is entered for, where that is no open call: one that it has answered, or none. */
static taken_t *take_current(guest_t *guest) {
	line_t *line = guest->line;
	work_t *work = guest->work;
	if (is_held(guest, work))
		return take_open(guest, work);
	line->taken_work = work;
	work->refs++;
	settles(guest, work);
	taken_t *taken = take_work(guest, work, WORK);
	taken->current = take_present(guest, work);
	return taken;
}

/* Any event of the guest, or (`settled`) any whose work is Python's. */
static event_t *any_event(guest_t *guest, bool settled) {
	for (uint32_t i = 0; i < guest->events.room; i++) {
		event_t *event = guest->events.slots[i].number != 0 ? guest->events.slots[i].value : NULL;
		if (event != NULL && (!settled || event->work->settled))
			return event;
	}
	return NULL;
}

static work_t *any_open(guest_t *guest) {
	for (uint32_t i = 0; i < guest->open.room; i++)
		if (guest->open.slots[i].number != 0)
			return guest->open.slots[i].value;
	return NULL;
}

/*
 * The next thing that the line holds of the guest, which is Python's from now on: what it is entered for and what belongs to
 * that; with ENDED what waits for it, events in the order they have ended and calls; with ALL everything. A work and what
 * belongs to it go together, another guest's as well. NOTHING: that was all. What it points to is there until the next.
 */
EXPORTED const taken_t *guest_take(guest_t *guest, int32_t what) {
	line_t *line = guest->line;
	taken_drop(line);
	if (what != ENDED && guest->control[HELD] & RUNS)
		return take_current(guest);
	event_t *event = guest->settled ? any_event(guest, true) : NULL;
	if (event != NULL)
		return take_event(guest, event);
	guest->settled = false;
	work_t *open = what == ALL ? any_open(guest) : NULL;
	if (open != NULL)
		return take_open(guest, open);
	if (what != OWN)
		event = guest->first;
	if (what == ALL && event == NULL)
		event = guest->resumed != NULL ? guest->resumed : any_event(guest, false);
	if (event != NULL)
		return take_event(guest, event);
	if (what != OWN && guest->next_call != NULL)
		return take_open(guest, guest->next_call);
	note_held(guest);
	return &line->taken;
}

/* ---- Turns -------------------------------------------------------------------------------------------------------------------- */

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
