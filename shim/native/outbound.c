/* Calls that go out, by a handle that leads to another node: sent and waited for where the guest has called. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "line.h"

bool is_quiet(int fd) {
	char byte;
	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

/* A connection that can carry a call: it stands, and nothing has come in on it that was not asked for. -1: none is known. */
static int take_idle(line_t *line, peer_t *peer) {
	while (peer->count > 0) {
		int fd = peer->idle[--peer->count];
		connection_of(line, fd)->kind = PYTHONS;
		if (is_quiet(fd))
			return fd;
		line->hooks.spare(fd); /* Python closes it */
	}
	return -1;
}

static size_t write_head(way_t *way, int32_t method, int64_t left, uint32_t len, int32_t child) {
	guest_t *guest = way->guest;
	char *out = guest->line->out;
	request_t request = {
	    .call = {guest->work->text, guest->work->prefix},
	    .caller = guest->name,
	    .timeout_ms = (uint64_t)((left + MS - 1) / MS), /* rounded up: the caller finds that it is late */
	    .length = len,
	};
	return write_request(out, way->methods[method].head, &request, (uint64_t)child, guest->line->clock);
}

sent_t send_request(way_t *way, int32_t method, int64_t left, const void *body, uint32_t len) {
	guest_t *guest = way->guest;
	line_t *line = guest->line;
	sent_t sent = {.fd = take_idle(line, way->peer)};
	if (sent.fd < 0)
		return sent;
	sent.child = next_child(guest);
	size_t head = write_head(way, method, left, len, sent.child);
	memcpy(line->out + head, body, len);
	sent.unsent = send_out(line, sent.fd, head + len);
	return sent;
}

const char *receive_reply(line_t *line, int fd, uint32_t *len) {
	ssize_t got = receive(line, fd);
	line->data_len = got > 0 ? (uint32_t)got : 0;
	return got > 0 ? read_reply(line->data, (size_t)got, line->limit, line->clock, len) : NULL;
}

/* Waits for the reply alone: NULL as soon as there is anything else to do. */
static const char *await_reply(line_t *line, int fd, int64_t deadline, uint32_t *len) {
	int64_t until = deadline < line->cells.due ? deadline : line->cells.due;
	int64_t next = next_timer(line);
	struct epoll_event events[BATCH];
	int count = wait_until(line, events, until < next ? until : next);
	if (count != 1 || events[0].data.fd != fd)
		return NULL;
	return receive_reply(line, fd, len);
}

/* Whether a call by the way is a usual one, of the work that the line knows. */
bool is_usual(const way_t *way, uint32_t method, uint32_t req, uint32_t len, int32_t timeout) {
	guest_t *guest = way->guest;
	const int32_t *control = guest->control;
	return guest->base != NULL && control[ODD] == 0 && control[KNOWN] != 0 && guest->work != NULL && timeout == 0 &&
	       method < (uint32_t)way->method_count && way->methods[method].known && len <= guest->line->limit && len <= PIECE - HEAD_MAX &&
	       in_bounds(guest, req, len);
}

static int64_t deadline_of(guest_t *guest, int64_t now) {
	work_t *work = guest->work;
	int64_t own = now + guest->line->allowed;
	return work->number != 0 || own > work->deadline ? work->deadline : own;
}

/* `call` by the way: handle method req req_len resp resp_cap timeout_ms -> status<<32 | len. */
EXPORTED void *line_call(void *env, void *caller, cell_t *cells, size_t count) {
	way_t *way = env;
	guest_t *guest = way->guest;
	line_t *line = guest->line;
	uint32_t method = (uint32_t)cells[1].i32, req = (uint32_t)cells[2].i32, len = (uint32_t)cells[3].i32;
	uint32_t resp = (uint32_t)cells[4].i32, room = (uint32_t)cells[5].i32, got = 0;
	if (is_deep(line->store, cells) || line->queued > 0 || !is_usual(way, method, req, len, cells[6].i32) || !in_bounds(guest, resp, room))
		return way->python(NULL, caller, cells, count);
	int64_t now = monotonic(), deadline = deadline_of(guest, now);
	sent_t sent = {.fd = -1};
	if (deadline > now)
		sent = send_request(way, (int32_t)method, deadline - now, guest->base + req, len);
	int fd = sent.fd;
	if (fd < 0)
		return way->python(NULL, caller, cells, count);
	connection_t *connection = connection_of(line, fd);
	connection->kind = WAITED;
	line->data_len = 0;
	const char *reply = sent.unsent.len > 0 ? NULL : await_reply(line, fd, deadline, &got);
	connection = connection_of(line, fd);
	if (reply == NULL || got > room) {
		connection->kind = PYTHONS;
		if (sent.unsent.len > 0)
			line->hooks.unsent(fd, sent.unsent.at, sent.unsent.len);
		return line->hooks.go_on(guest->index, cells, fd, sent.child, deadline);
	}
	memcpy(guest->base + resp, reply, got);
	guest->control[REPLY] = (int32_t)resp;
	guest->control[FITTED] = (int32_t)got + 1;
	keep_idle(line, fd);
	cells[0].i64 = got;
	return NULL;
}
