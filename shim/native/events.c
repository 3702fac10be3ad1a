/* What a guest has dispatched by a way, and its timers: each ends once, and the guest waits for it or is resumed. */

#include <stdlib.h>
#include <string.h>

#include "line.h"

enum { EVENTS_MAX = 4096 }; /* of one guest; more are Python's */

void event_free(event_t *event) {
	work_release(event->work);
	free(event->request);
	free(event->reply);
	free(event);
}

/* A new event of the guest's present work; NULL: it is Python's to have. */
static event_t *event_new(guest_t *guest, uint32_t request_len) {
	if (guest->events.count >= EVENTS_MAX || !table_reserve(&guest->events))
		return NULL;
	event_t *event = calloc(1, sizeof *event);
	if (event == NULL)
		return NULL;
	event->request = request_len > 0 ? malloc(request_len) : NULL;
	if ((request_len > 0 && event->request == NULL) || (event->number = next_number(guest)) == 0) {
		event_free(event);
		return NULL;
	}
	event->request_len = request_len;
	event->fd = -1;
	event->guest = guest;
	event->work = guest->work;
	event->work->refs++;
	return event;
}

static void event_add(guest_t *guest, event_t *event) {
	table_add(&guest->events, event->number, event);
	guest->control[HELD] |= HOLDS;
}

/* Whether the line knows the guest's work to the end, and not for this call alone. */
static bool is_own_work(const guest_t *guest) {
	return guest->base != NULL && !guest->barred && guest->control[KNOWN] != 0 && guest->work != NULL && !guest->work->pythons &&
	       guest->work->prefix <= ID_MAX;
}

/* Whether Python has the metadata of the guest's last call, if any: it had a reply in the usual form otherwise. */
static bool is_metadata_pythons(const guest_t *guest) {
	return guest->control[FITTED] == 0 || guest->control[FITTED] == GONE;
}

/* ---- Dispatch --------------------------------------------------------------------------------------------------------------- */

/* Sends a call to another node. */
static sent_t send_event(way_t *way, event_t *event, int64_t left) {
	guest_t *guest = way->guest;
	line_t *line = guest->line;
	sent_t sent = send_request(way, event->method, left, event->request, event->request_len);
	if (sent.fd < 0)
		return sent;
	event->fd = sent.fd;
	event->child = sent.child;
	connection_t *connection = connection_of(line, sent.fd);
	connection->kind = CARRIES;
	connection->guest = guest;
	connection->event = event;
	return sent;
}

/* A call to a guest of this line waits for it. */
static bool called(const way_t *way, event_t *event, const uint8_t *body, uint32_t len) {
	guest_t *guest = way->guest;
	char id[ID_MAX + 20];
	event->child = next_child(guest);
	char *end = put(id, (text_t){event->work->text, event->work->prefix});
	uint32_t id_len = (uint32_t)(put_number(end, (uint64_t)event->child) - id);
	work_t *call = work_new((text_t){id, id_len}, '.', guest->name);
	if (call == NULL || !queue_call(way->callee, call, body, len)) {
		work_release(call);
		guest->control[MADE] -= guest->work->number != 0;
		return false;
	}
	call->event = event;
	call->service = way->service;
	call->method = way->methods[event->method].number;
	call->since = event->since;
	call->deadline = event->when;
	event->call = call;
	return true;
}

static bool dispatched(way_t *way, cell_t *cells) {
	guest_t *guest = way->guest;
	line_t *line = guest->line;
	uint32_t method = (uint32_t)cells[1].i32, req = (uint32_t)cells[2].i32, len = (uint32_t)cells[3].i32;
	if (!is_own_work(guest) || !is_usual(way, method, req, len, cells[4].i32) ||
	    (way->callee == NULL ? way->peer->count == 0 : !may_wait(way->callee)))
		return false;
	int64_t now = monotonic(), deadline = guest->work->number != 0 ? guest->work->deadline : now + line->allowed;
	event_t *event = deadline <= now ? NULL : event_new(guest, way->callee == NULL ? len : 0);
	if (event == NULL)
		return false;
	if (event->request_len > 0)
		memcpy(event->request, guest->base + req, len);
	event->way = way;
	event->method = (int32_t)method;
	event->since = now;
	event->when = deadline;
	sent_t sent = {0};
	if (way->callee == NULL)
		sent = send_event(way, event, deadline - now);
	if (way->callee != NULL ? !called(way, event, guest->base + req, len) : sent.fd < 0) {
		event_free(event); /* its number stays unused, as one may */
		return false;
	}
	event_add(guest, event);
	if (deadline < line->soonest)
		line->soonest = deadline;
	guest->control[FITTED] = is_metadata_pythons(guest) ? GONE : BARE;
	cells[0].i64 = event->number;
	if (sent.unsent.len > 0) {
		line->hooks.unsent(event->fd, sent.unsent.at, sent.unsent.len);
		line->hooks.take_over(guest->index);
	}
	return true;
}

EXPORTED void *line_dispatch(void *env, void *caller, cell_t *cells, size_t count) {
	guest_t *guest = env;
	way_t *way = table_find(&guest->ways, cells[0].i32 + 1);
	if (way != NULL && dispatched(way, cells))
		return NULL;
	return guest->python_dispatch(NULL, caller, cells, count);
}

/* ---- Timers -------------------------------------------------------------------------------------------------------------------- */

static bool timed(guest_t *guest, cell_t *cells) {
	line_t *line = guest->line;
	if (!is_own_work(guest) || guest->control[ODD] != 0 || !timer_reserve(line))
		return false;
	event_t *event = event_new(guest, 0);
	if (event == NULL)
		return false;
	event->is_timer = true;
	event->when = monotonic() + (int64_t)(uint32_t)cells[0].i32 * MS;
	event_add(guest, event);
	timer_set(line, event);
	cells[0].i64 = event->number;
	return true;
}

EXPORTED void *line_timer(void *env, void *caller, cell_t *cells, size_t count) {
	guest_t *guest = env;
	return timed(guest, cells) ? NULL : guest->python_timer(NULL, caller, cells, count);
}

/* ---- Ends ------------------------------------------------------------------------------------------------------------------- */

void event_ended(guest_t *guest, event_t *event) {
	event->ended = true;
	event->turn = next_turn(guest);
	event->next = NULL;
	if (guest->last != NULL)
		guest->last->next = event;
	else
		guest->first = event;
	guest->last = event;
	guest->control[HELD] |= RUNG;
}

outcome_t arrived(line_t *line, int fd) {
	connection_t *connection = connection_of(line, fd);
	guest_t *guest = connection->guest;
	event_t *event = connection->event;
	uint32_t len = 0;
	const char *reply = receive_reply(line, fd, &len);
	if (reply == NULL || !keep(reply, len, &event->reply)) {
		if (line->hooks.take_over(guest->index))
			return FAILED;
		return line->data_len == 0 ? PASSED : line->hooks.came(fd) ? FAILED : KERNELS;
	}
	event->reply_len = len;
	event->fd = -1;
	connection->event = NULL;
	keep_idle(line, fd);
	event_ended(guest, event);
	return DONE;
}

void unqueue(guest_t *guest, event_t *event) {
	event_t *before = NULL;
	for (event_t *at = guest->first; at != NULL && at != event; at = at->next)
		before = at;
	if (before != NULL)
		before->next = event->next;
	else
		guest->first = event->next;
	if (guest->last == event)
		guest->last = before;
}

/* ---- Wait ------------------------------------------------------------------------------------------------------------------- */

/* Waits for the event, as long as nothing but replies comes in. */
static void await_event(line_t *line, guest_t *guest, event_t *event) {
	struct epoll_event events[BATCH];
	while (!event->ended) {
		int64_t next = next_timer(line), until = line->cells.due < next ? line->cells.due : next;
		until = until < guest->work->deadline ? until : guest->work->deadline;
		if (until <= monotonic())
			return;
		int count = wait_until(line, events, until);
		bool others = count <= 0;
		for (int i = 0; i < count; i++) {
			connection_t *connection = connection_of(line, events[i].data.fd);
			if (connection->kind != CARRIES || connection->event == NULL || connection->guest != guest)
				others = true;
			else if (arrived(line, events[i].data.fd) != DONE)
				return;
		}
		if (others)
			return;
	}
}

static void give(guest_t *guest, event_t *event, uint32_t resp, cell_t *cells) {
	if (event->reply_len > 0)
		memcpy(guest->base + resp, event->reply, event->reply_len);
	guest->control[REPLY] = (int32_t)resp;
	guest->control[FITTED] = (int32_t)event->reply_len + 1;
	cells[0].i64 = event->reply_len;
	table_remove(&guest->events, event->number);
	if (guest->resumed == event)
		guest->resumed = NULL;
	else
		unqueue(guest, event);
	event_free(event);
	note_held(guest);
}

static bool waited(guest_t *guest, cell_t *cells) {
	line_t *line = guest->line;
	uint32_t resp = (uint32_t)cells[1].i32, room = (uint32_t)cells[2].i32;
	event_t *event = guest->base == NULL ? NULL : table_find(&guest->events, cells[0].i32);
	if (event == NULL || !in_bounds(guest, resp, room))
		return false;
	if (!event->ended && cells[3].i32 == -1 && is_own_work(guest) && line->queued == 0) {
		int32_t number = event->number;
		await_event(line, guest, event);
		event = table_find(&guest->events, number); /* Python may have it by now */
	}
	if (event == NULL || !event->ended || event->reply_len > room)
		return false;
	give(guest, event, resp, cells);
	return true;
}

EXPORTED void *line_wait(void *env, void *caller, cell_t *cells, size_t count) {
	guest_t *guest = env;
	return waited(guest, cells) ? NULL : guest->python_wait(NULL, caller, cells, count);
}

/* ---- Resume ----------------------------------------------------------------------------------------------------------------- */

static outcome_t resume(guest_t *guest, event_t *event) {
	line_t *line = guest->line;
	int64_t now = monotonic();
	int64_t limit = event->work->number != 0 ? event->work->deadline : now + line->allowed;
	cell_t cells[1] = {{.i64 = event->number}};
	void *error = NULL;
	begin(guest, event->work);
	guest->resumed = event;
	bool whole = enter(line, guest->resume, cells, 1, (limit > now ? limit : now) + GRACE * MS, &error);
	if (guest->resumed == event) { /* Python has not taken it over */
		guest->resumed = NULL;
		table_remove(&guest->events, event->number);
		event_free(event);
		note_held(guest);
	}
	return leave(guest, whole, error);
}

/* Enters the guest with what waits for it first, an event or a call; false: there is nothing. */
static bool enter_next(guest_t *guest, outcome_t *outcome) {
	event_t *event = guest->first;
	if (event == NULL && guest->next_call == NULL)
		return false;
	if (event != NULL && guest->resume == NULL) { /* that is its crash, as soon as it is the kernel's */
		*outcome = guest->line->hooks.take_over(guest->index) ? FAILED : KERNELS;
		return true;
	}
	if (event != NULL)
		unqueue(guest, event);
	*outcome = event != NULL ? resume(guest, event) : deliver(guest);
	return true;
}

outcome_t enter_all(line_t *line) {
	outcome_t outcome = DONE;
	for (int32_t i = 0; i < line->guest_count && outcome == DONE; i++)
		while (outcome == DONE && is_enterable(line->guests[i]) && enter_next(line->guests[i], &outcome))
			line->entered = true;
	return outcome;
}

/*
 * Python is about to enter the guest: what has waited for longer than its first event and its first call, by their turns or 0,
 * comes first, events before calls. Returns 0, or 1 where something in Python's kernel has changed or failed meanwhile.
 */
EXPORTED int guest_enter(guest_t *guest, int32_t event, int32_t call) {
	outcome_t outcome = DONE;
	while (outcome == DONE && guest->base != NULL && !(guest->control[SHUT] & ENTERED)) {
		bool first = guest->first != NULL ? is_before(guest->first->turn, event)
		                     : event == 0 && guest->next_call != NULL && is_before(guest->next_call->turn, call);
		if (!first || !enter_next(guest, &outcome))
			break;
	}
	return outcome != DONE;
}
