/* What Python takes over. */

#include "line.h"

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
