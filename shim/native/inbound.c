/* Calls that come in: a request is read, its guest entered, its answer sent, with nobody else in between. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "line.h"

static outcome_t refuse(guest_t *guest) {
	guest->control[SHUT] &= ~ENTERED;
	return guest->line->hooks.left(guest->index, LEFT_REFUSED, NULL) ? FAILED : KERNELS;
}

/* The body is this function's to free: not the line's buffer, for the guest may call while it makes room. */
static outcome_t handle(guest_t *guest, work_t *work, char *body, uint32_t len) {
	line_t *line = guest->line;
	int64_t limit = work->deadline + GRACE * MS;
	cell_t cells[5];
	void *error = NULL;
	uint32_t at = 0;
	begin(guest, work);
	table_add(&guest->open, work->number, work);
	guest->control[HELD] |= HOLDS;
	int32_t number = work->number, service = work->service, method = work->method;
	if (len > 0) {
		cells[0].i64 = len;
		bool whole = guest->alloc == NULL || enter(line, guest->alloc, cells, 1, limit, &error);
		at = guest->alloc == NULL || !whole ? 0 : (uint32_t)cells[0].i32;
		bool fits = at != 0 && in_bounds(guest, at, len);
		if (fits)
			memcpy(guest->base + at, body, len);
		free(body);
		if (!whole)
			return leave(guest, false, error);
		if (!fits)
			return refuse(guest);
	}
	cells[0].i64 = number, cells[1].i64 = service, cells[2].i64 = method, cells[3].i64 = at,
	cells[4].i64 = len;
	return leave(guest, enter(line, guest->handle, cells, 5, limit, &error), error);
}

/* Nanoseconds. How long a handler may run is the manifest's to say, not a stranger's. */
static int64_t allowed(const line_t *line, const connection_t *connection, uint64_t timeout_ms) {
	int64_t said = (int64_t)timeout_ms * MS;
	return timeout_ms == 0 || (!is_inside(connection) && said > line->allowed) ? line->allowed : said;
}

/* What has come in is for Python to understand. */
static outcome_t unusual(line_t *line, int fd) {
	connection_of(line, fd)->kind = PYTHONS;
	return line->hooks.came(fd) ? FAILED : KERNELS;
}

/* A call that has come in: the guest is entered with it, or it waits. */
static outcome_t begin_request(line_t *line, connection_t *connection, route_t *route, request_t *request, int fd) {
	guest_t *guest = route->guest;
	const char *body = line->data + request->head;
	char *kept = NULL;
	char own[64];
	if (!is_inside(connection)) {
		char *end = put(own, (text_t){line->run, (uint32_t)strlen(line->run)});
		request->call = (text_t){own, (uint32_t)(put_number(end, (uint64_t)++line->cells.roots) - own)};
	}
	bool waits = !is_enterable(guest) || guest->next_call != NULL || guest->first != NULL;
	work_t *work = work_new(request->call, '.', request->caller);
	if (work == NULL || (waits ? !queue_call(guest, work, body, request->length)
	                           : !keep(body, request->length, &kept) || (work->number = next_number(guest)) == 0)) {
		free(kept);
		work_release(work);
		return unusual(line, fd);
	}
	if (is_inside(connection))
		clock_see(line->clock, request->clock);
	work->fd = fd;
	work->route = (int32_t)(route - line->routes);
	work->service = route->service;
	work->method = route->method;
	work->since = monotonic();
	work->deadline = work->since + allowed(line, connection, request->timeout_ms);
	if (work->deadline < line->soonest)
		line->soonest = work->deadline;
	connection->kind = CARRIES; /* the next request waits until this one is answered */
	connection->guest = guest;
	connection->event = NULL;
	connection->call = work;
	connection->used = true;
	return waits ? DONE : handle(guest, work, kept, request->length);
}

outcome_t serve(line_t *line, int fd) {
	connection_t *connection = connection_of(line, fd);
	ssize_t got = receive(line, fd);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return DONE;
	if (got <= 0)
		return PASSED; /* Python finds the same */
	line->data_len = (uint32_t)got;
	request_t request;
	if (!read_request(line->data, (size_t)got, is_inside(connection), &request) || request.length > line->limit)
		return unusual(line, fd);
	route_t *route = route_of(line, request.path, connection->door);
	guest_t *guest = route == NULL ? NULL : route->guest;
	if (guest == NULL || !may_wait(guest) || request.call.len >= ID_MAX || !table_reserve(&guest->open))
		return unusual(line, fd);
	return begin_request(line, connection, route, &request, fd);
}

enum { CALLS_MAX = 4096, WAITING_MAX = 64 << 20 }; /* calls, and bytes, that wait in one line */

/* Not for one that is barred: whoever is beneath may wait for just this call, and whose that is Python knows. */
bool may_wait(const guest_t *guest) {
	return guest->base != NULL && !(guest->control[SHUT] & (DOWN | BARRED)) && guest->line->queued < CALLS_MAX;
}

bool queue_call(guest_t *guest, work_t *call, const void *body, uint32_t len) {
	line_t *line = guest->line;
	if (!may_wait(guest) || line->queued_bytes + len > WAITING_MAX || !keep(body, len, &call->body))
		return false;
	call->body_len = len;
	call->turn = next_turn(guest);
	if (guest->last_call != NULL)
		guest->last_call->next = call;
	else
		guest->next_call = call;
	guest->last_call = call;
	line->queued++;
	line->queued_bytes += len;
	guest->control[HELD] |= RUNG;
	return true;
}

void unqueue_call(guest_t *guest, work_t *call) {
	work_t *before = NULL;
	for (work_t *at = guest->next_call; at != NULL && at != call; at = at->next)
		before = at;
	if (before != NULL)
		before->next = call->next;
	else
		guest->next_call = call->next;
	if (guest->last_call == call)
		guest->last_call = before;
	call->next = NULL;
	guest->line->queued--;
	guest->line->queued_bytes -= call->body_len;
	note_held(guest);
}

outcome_t deliver(guest_t *guest) {
	work_t *call = guest->next_call;
	if (!table_reserve(&guest->open) || (call->number = next_number(guest)) == 0)
		return guest->line->hooks.take_over(guest->index) ? FAILED : KERNELS;
	unqueue_call(guest, call);
	char *body = call->body;
	call->body = NULL;
	return handle(guest, call, body, call->body_len);
}

/* The answer of a guest of this line; false: there is no memory. */
static bool give_answer(event_t *event, const uint8_t *body, uint32_t len) {
	if (!keep(body, len, &event->reply))
		return false;
	event->reply_len = len;
	event->call = NULL;
	event_ended(event->guest, event);
	return true;
}

/* The answer in pieces, for it is copied. */
static void send_sealed(line_t *line, connection_t *connection, int fd, size_t head, const uint8_t *body, uint32_t len) {
	uint32_t done = 0;
	do {
		uint32_t room = (uint32_t)(sizeof line->out - head), piece = len - done < room ? len - done : room;
		memcpy(line->out + head, body + done, piece);
		text_t rest = connection->kind == LISTENS ? send_out(line, fd, head + piece)
		                                          : (text_t){line->sealed, (uint32_t)line->hooks.seal(fd, (uint32_t)head + piece)};
		if (rest.len > 0) {
			connection->kind = PYTHONS;
			line->hooks.unsent(fd, rest.at, rest.len);
		}
		done += piece;
		head = 0;
	} while (done < len);
	if (connection->kind == PYTHONS)
		line->hooks.unsent(fd, NULL, 0);
}

static void send_plain(line_t *line, connection_t *connection, int fd, size_t head, const uint8_t *body, uint32_t len) {
	struct iovec parts[] = {{line->out, head}, {(void *)body, len}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = len > 0 ? 2 : 1};
	ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent == (ssize_t)(head + len))
		return;
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return; /* it is gone, as the next look at it will tell */
	size_t done = sent < 0 ? 0 : (size_t)sent;
	connection->kind = PYTHONS;
	if (done < head)
		line->hooks.unsent(fd, line->out + done, (uint32_t)(head - done));
	size_t skipped = done < head ? 0 : done - head;
	if (skipped < len)
		line->hooks.unsent(fd, (const char *)body + skipped, (uint32_t)(len - skipped));
	line->hooks.unsent(fd, NULL, 0);
}

/* Sends the answer; the connection is free for the next request when all of it has left. */
static void send_answer(guest_t *guest, work_t *work, const uint8_t *body, uint32_t len) {
	line_t *line = guest->line;
	if (work->fd < 0)
		return; /* the caller is gone */
	connection_t *connection = connection_of(line, work->fd);
	size_t head = write_reply(line->out, len, is_inside(connection) ? line->clock : NULL);
	connection->kind = LISTENS;
	connection->used = true;
	(connection->sealed ? send_sealed : send_plain)(line, connection, work->fd, head, body, len);
}

/* `answer` of a guest (shim/abi.py): whether it was one of the line's calls, answered in the usual way. */
static bool answered(guest_t *guest, cell_t *cells) {
	uint32_t at = (uint32_t)cells[2].i32, len = (uint32_t)cells[3].i32;
	work_t *work = table_find(&guest->open, cells[0].i32);
	if (work == NULL || cells[1].i32 != 0 || len > guest->line->limit || !in_bounds(guest, at, len))
		return false;
	if (work->event == NULL)
		send_answer(guest, work, guest->base + at, len);
	else if (!give_answer(work->event, guest->base + at, len))
		return false;
	work->fd = -1;
	work->event = NULL;
	table_remove(&guest->open, work->number);
	work_release(work);
	note_held(guest);
	cells[0].i64 = 0;
	return true;
}

EXPORTED void *line_answer(void *env, void *caller, cell_t *cells, size_t count) {
	guest_t *guest = env;
	if (guest->base != NULL && answered(guest, cells))
		return NULL;
	return guest->python_answer(NULL, caller, cells, count);
}
