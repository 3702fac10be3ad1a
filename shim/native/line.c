/* What the line knows: its connections, and those that are idle. */

#include "line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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
EXPORTED void line_listen(line_t *line, int fd, int32_t door, int sealed) {
	if (connection_reserve(line, fd))
		*connection_of(line, fd) = (connection_t){.kind = LISTENS, .door = door, .sealed = sealed != 0};
}

ssize_t receive(line_t *line, int fd) {
	if (!connection_of(line, fd)->sealed)
		return recv(fd, line->data, PIECE + 1, MSG_DONTWAIT);
	ssize_t got = recv(fd, line->sealed, PIECE, MSG_DONTWAIT);
	if (got <= 0)
		return got;
	int opened = line->hooks.open(fd, (uint32_t)got);
	errno = EAGAIN; /* if it is none: how TLS has ended, Python knows */
	return opened > 0 ? opened : -1;
}

text_t send_out(line_t *line, int fd, size_t len) {
	const char *at = line->out;
	if (connection_of(line, fd)->sealed) {
		len = (size_t)line->hooks.seal(fd, (uint32_t)len);
		at = line->sealed;
	}
	ssize_t sent = send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	size_t done = sent < 0 ? 0 : (size_t)sent;
	return (text_t){at + done, (uint32_t)(len - done)};
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

EXPORTED peer_t *line_peer(int sealed) {
	peer_t *peer = calloc(1, sizeof(peer_t));
	if (peer != NULL)
		peer->sealed = sealed != 0;
	return peer;
}

/* The connection can carry a call to the peer; 0: there are enough. */
EXPORTED int line_idle(line_t *line, peer_t *peer, int fd) {
	if (peer->count >= POOL || !connection_reserve(line, fd))
		return 0;
	*connection_of(line, fd) = (connection_t){.kind = IDLE, .peer = peer, .sealed = peer->sealed};
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

/* The buffers that TLS goes through: `data`, `out`, `sealed`. */
EXPORTED text_t line_buffer(const line_t *line, int which) {
	const text_t buffers[] = {{line->data, sizeof line->data}, {line->out, sizeof line->out}, {line->sealed, sizeof line->sealed}};
	return buffers[which];
}

EXPORTED const ready_t *line_ready(const line_t *line) { return line->ready; }

EXPORTED void peer_wants(peer_t *peer, int wanted) { peer->wanted = wanted; }
