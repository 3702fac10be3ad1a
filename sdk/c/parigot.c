/* The library of parigot.h: the guest's exports, a table of its methods, a table of its open events; the rest is spelling. */
#include "parigot.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>

enum { ERROR_TEXT_MAX = 1024 };

#define TYPE_PREFIX "type.googleapis.com/"

static const char *const CODE_NAMES[] = {
    "OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
};

const char *parigot_code_name(int32_t code) {
	uint32_t index = code < 0 ? 0u - (uint32_t)code : (uint32_t)code;
	return index < sizeof CODE_NAMES / sizeof *CODE_NAMES ? CODE_NAMES[index] : "CODE_?";
}

static int32_t status_of(int32_t result) { return result < 0 ? -result : PARIGOT_OK; }

/* ---- Declaring --------------------------------------------------------------------------------------------------------------*/

static parigot_handler_t handlers[PARIGOT_MAX_METHODS]; /* the id given to bind is the index */
static uint32_t handler_count;
static void (*stop_hook)(void);

/* The first declaration that was refused, for parigot_launch to report. */
static struct {
	const char *what;
	const char *name;
	int32_t status;
} refused;

static int32_t declared(const char *what, const char *name, int32_t result) {
	if (result < 0 && refused.status == PARIGOT_OK) {
		refused.what = what;
		refused.name = name;
		refused.status = -result;
	}
	return result;
}

int32_t parigot_require(const char *service) {
	return status_of(declared("require", service, parigot_sys_require(service, strlen(service))));
}

int32_t parigot_service(const char *service) {
	return declared("export", service, parigot_sys_export(service, strlen(service)));
}

int32_t parigot_method(int32_t service, const char *name, parigot_handler_t handler) {
	if (handler_count == PARIGOT_MAX_METHODS)
		return status_of(declared("bind", name, -PARIGOT_RESOURCE_EXHAUSTED));
	int32_t result = declared("bind", name, parigot_sys_bind(service, name, strlen(name), (int32_t)handler_count));
	if (result >= 0)
		handlers[handler_count++] = handler;
	return status_of(result);
}

void parigot_on_stop(void (*stop)(void)) { stop_hook = stop; }

void parigot_launch(void) {
	int32_t status = refused.status;
	if (status != PARIGOT_OK) {
		fprintf(stderr, "parigot: %s of %s was refused: %s\n", refused.what, refused.name, parigot_code_name(status));
		exit(1);
	}
	fflush(NULL);
	status = status_of(parigot_sys_launch());
	if (status != PARIGOT_OK) {
		fprintf(stderr, "parigot: launch was refused: %s\n", parigot_code_name(status));
		exit(1);
	}
}

_Noreturn void parigot_serve(void) {
	fflush(NULL);
	parigot_sys_serve();
}

/* A guest that nowhere says stdout, by printf or by name, has it not linked, and nothing in it. */
extern FILE *const stdout __attribute__((weak));

/* A line that a handler has begun is not to wait for the next call. Looking first is much cheaper than flushing for nothing. */
static void flush(void) {
	if (&stdout != NULL && __fpending(stdout) > 0)
		fflush(stdout);
}

/* ---- Entries of the kernel --------------------------------------------------------------------------------------------------*/

static void *owned_request; /* the request at hand, while it is the library's */
static size_t owned_len;

PARIGOT_EXPORT("parigot_alloc") void *parigot_entry_alloc(uint32_t len);
PARIGOT_EXPORT("parigot_handle")
void parigot_entry_handle(int32_t call, int32_t service, int32_t method, void *req, uint32_t len);
PARIGOT_EXPORT("parigot_resume") void parigot_entry_resume(int32_t id);
PARIGOT_EXPORT("parigot_stop") void parigot_entry_stop(void);

/* Room for one small request: nearly all are handled before the next one comes in. Beyond it, and beside it, the heap's. */
static _Alignas(16) uint8_t room[4096];
static bool room_taken;

void *parigot_entry_alloc(uint32_t len) {
	if (room_taken || len > sizeof room)
		return malloc(len);
	room_taken = true;
	return room;
}

/* Apart from parigot_entry_handle, which would else make room on the stack for its arguments on every call. */
__attribute__((noinline)) static void no_handler(int32_t call, int32_t method) {
	parigot_fail(call, PARIGOT_UNIMPLEMENTED, "no handler for method number %d", (int)method);
}

void parigot_entry_handle(int32_t call, int32_t service, int32_t method, void *req, uint32_t len) {
	(void)service;
	owned_request = req;
	owned_len = len;
	if ((uint32_t)method < handler_count)
		handlers[method](call, req, len);
	else
		no_handler(call, method);
	if (owned_request == room)
		room_taken = false;
	else if (owned_request != NULL)
		free(owned_request);
	owned_request = NULL;
	flush();
}

void parigot_entry_stop(void) {
	if (stop_hook != NULL)
		stop_hook();
	flush();
}

/* ---- Answering --------------------------------------------------------------------------------------------------------------*/

int32_t parigot_answer(parigot_call_t call, int32_t status, const parigot_buf_t *reply) {
	return status_of(parigot_sys_answer(call, status, reply->data, reply->len));
}

int32_t parigot_fail(parigot_call_t call, int32_t code, const char *format, ...) {
	char text[ERROR_TEXT_MAX];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	size_t written = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
	return status_of(parigot_sys_answer(call, code, text, written));
}

void *parigot_keep(const void *req) {
	if (req == NULL || req != owned_request)
		return NULL;
	void *kept = (void *)req;
	if (kept == room) {
		kept = malloc(owned_len);
		if (kept == NULL)
			return NULL;
		memcpy(kept, req, owned_len);
		room_taken = false;
	}
	owned_request = NULL;
	return kept;
}

int32_t parigot_enter(parigot_call_t call) { return status_of(parigot_sys_enter(call)); }

/* ---- Calling ----------------------------------------------------------------------------------------------------------------*/

bool parigot_last_not_executed;

int32_t parigot_locate(const char *service) { return parigot_sys_locate(service, strlen(service)); }

int32_t parigot_resolve(int32_t handle, const char *method) {
	return parigot_sys_method(handle, method, strlen(method));
}

/* Room for a first try: what the buffer has, or a little; 0 where nobody wants the reply. */
static uint32_t room_in(parigot_buf_t *reply) {
	if (reply == NULL)
		return 0;
	parigot_buf_clear(reply);
	return parigot_buf_reserve(reply, PARIGOT_FIRST_ROOM) ? reply->cap - 1 : 0;
}

/* Takes a result of `call` or `wait` apart: its status, and in `reply` all its bytes, fetched where they did not fit. */
static int32_t take(int64_t result, parigot_buf_t *reply, uint32_t room) {
	int32_t status = (int32_t)(result >> 32);
	uint32_t len = (uint32_t)result;
	parigot_last_not_executed = (status & 0x10000) != 0;
	status &= 0xff;
	if (reply == NULL)
		return status;
	if (status != PARIGOT_OK || len > room) {
		if (!parigot_buf_reserve(reply, len))
			return status != PARIGOT_OK ? status : PARIGOT_RESOURCE_EXHAUSTED;
		if (parigot_sys_fetch(reply->data, len) != (int32_t)len)
			return status != PARIGOT_OK ? status : PARIGOT_INTERNAL;
	}
	reply->len = len;
	if (reply->data != NULL)
		reply->data[len] = 0;
	return status;
}

int32_t parigot_call_anew(int32_t handle, int32_t method, const void *req, size_t len, parigot_buf_t *reply, int32_t timeout_ms) {
	uint32_t room = room_in(reply);
	uint8_t *resp = reply == NULL ? NULL : reply->data;
	return take(parigot_sys_call(handle, method, req, len, resp, room, timeout_ms), reply, room);
}

/* The result of a call into all of the buffer's room. */
int32_t parigot_take_anew(int64_t result, parigot_buf_t *reply) {
	parigot_buf_clear(reply);
	return take(result, reply, reply->cap - 1);
}

bool parigot_not_executed(void) { return parigot_last_not_executed; }

/* ---- Events: a hash table from the kernel's ids to callbacks, at most three quarters full ------------------------------------*/

typedef struct {
	int32_t id; /* 0: free */
	parigot_done_t done;
	void (*then)(void *arg);
	void *arg;
} event_t;

static event_t *events;
static uint32_t event_room; /* a power of two */
static uint32_t event_count;

static uint32_t event_slot(int32_t id) {
	uint32_t slot = (uint32_t)id * 2654435769u & (event_room - 1);
	while (events[slot].id != 0 && events[slot].id != id)
		slot = (slot + 1) & (event_room - 1);
	return slot;
}

/* Makes sure that one more event can be kept: before the kernel is asked for it. */
static bool event_reserve(void) {
	if ((event_count + 1) * 4 <= event_room * 3)
		return true;
	event_t *old = events;
	uint32_t old_room = event_room;
	event_t *grown = calloc(old_room == 0 ? 16 : old_room * 2, sizeof *grown);
	if (grown == NULL)
		return false;
	events = grown;
	event_room = old_room == 0 ? 16 : old_room * 2;
	for (uint32_t i = 0; i < old_room; i++)
		if (old[i].id != 0)
			events[event_slot(old[i].id)] = old[i];
	free(old);
	return true;
}

static int32_t event_keep(event_t event) {
	if (event.id <= 0)
		return event.id;
	events[event_slot(event.id)] = event;
	event_count++;
	return event.id;
}

/* Takes an event out, and closes the gap: what follows in its run is put where it is found. All zero: unknown. */
static event_t event_take(int32_t id) {
	if (event_room == 0)
		return (event_t){0};
	uint32_t slot = event_slot(id);
	event_t taken = events[slot];
	if (taken.id == 0)
		return taken;
	events[slot].id = 0;
	event_count--;
	for (slot = (slot + 1) & (event_room - 1); events[slot].id != 0; slot = (slot + 1) & (event_room - 1)) {
		event_t moved = events[slot];
		events[slot].id = 0;
		events[event_slot(moved.id)] = moved;
	}
	return taken;
}

int32_t parigot_dispatch(int32_t handle, int32_t method, const void *req, size_t len, int32_t timeout_ms, parigot_done_t done,
                         void *arg) {
	if (!event_reserve())
		return -PARIGOT_RESOURCE_EXHAUSTED;
	int32_t id = parigot_sys_dispatch(handle, method, req, len, timeout_ms);
	return event_keep((event_t){.id = id, .done = done, .arg = arg});
}

int32_t parigot_after(int32_t ms, void (*then)(void *arg), void *arg) {
	if (!event_reserve())
		return -PARIGOT_RESOURCE_EXHAUSTED;
	return event_keep((event_t){.id = parigot_sys_timer(ms), .then = then, .arg = arg});
}

int32_t parigot_wait(int32_t id, parigot_buf_t *reply, int32_t timeout_ms) {
	uint32_t room = room_in(reply);
	int64_t result = parigot_sys_wait(id, reply == NULL ? NULL : reply->data, room, timeout_ms);
	if (result == -1)
		return -1;
	event_take(id);
	return take(result, reply, room);
}

void parigot_entry_resume(int32_t id) {
	event_t event = event_take(id);
	if (event.then != NULL) {
		event.then(event.arg);
	} else {
		parigot_buf_t reply = {0};
		int32_t status = parigot_wait(id, &reply, 0);
		if (event.done != NULL && status >= 0)
			event.done(status, &reply, event.arg);
		parigot_buf_free(&reply);
	}
	flush();
}

/* ---- Metadata ---------------------------------------------------------------------------------------------------------------*/

int32_t parigot_get(parigot_call_t call, const char *key, parigot_buf_t *value) {
	uint32_t room = room_in(value);
	int32_t len = parigot_sys_get(call, key, strlen(key), value->data, room);
	if (len > (int32_t)room) {
		if (!parigot_buf_reserve(value, (size_t)len))
			return PARIGOT_RESOURCE_EXHAUSTED;
		len = parigot_sys_get(call, key, strlen(key), value->data, (uint32_t)len);
	}
	if (len < 0)
		return -len;
	value->len = (size_t)len;
	if (value->data != NULL)
		value->data[len] = 0;
	return PARIGOT_OK;
}

int32_t parigot_set(parigot_call_t call, const char *key, const char *value) {
	return status_of(parigot_sys_set(call, key, strlen(key), value, strlen(value)));
}

/* A google.protobuf.Any: type_url = 1, value = 2. */
int32_t parigot_add_detail(parigot_call_t call, const char *type, const void *message, size_t len) {
	static const char key[] = "error-details";
	parigot_buf_t url = {0}, any = {0};
	parigot_buf_add(&url, TYPE_PREFIX, strlen(TYPE_PREFIX));
	parigot_buf_add(&url, type, strlen(type));
	pb_add_bytes(&any, 1, url.data, url.len);
	pb_put_bytes(&any, 2, message, len);
	int32_t status = PARIGOT_RESOURCE_EXHAUSTED;
	if (!url.failed && !any.failed)
		status = status_of(parigot_sys_set(call, key, sizeof key - 1, any.data, any.len));
	parigot_buf_free(&url);
	parigot_buf_free(&any);
	return status;
}

static bool is_of_type(const pb_reader_t *url, const char *type) {
	size_t prefix = strlen(TYPE_PREFIX);
	return url->len == prefix + strlen(type) && memcmp(url->data + prefix, type, strlen(type)) == 0;
}

int32_t parigot_get_detail(const char *type, parigot_buf_t *message) {
	parigot_buf_t details = {0}; /* a google.rpc.Status with nothing but details = 3 */
	int32_t status = parigot_get(0, "error-details", &details);
	parigot_buf_clear(message);
	bool found = false;
	for (pb_reader_t all = pb_read(details.data, details.len); !found && pb_next(&all);) {
		for (pb_reader_t any = pb_read(all.data, all.len); pb_next(&any);)
			if (any.field == 1)
				found = is_of_type(&any, type);
			else if (found && any.field == 2)
				parigot_buf_add(message, any.data, any.len);
	}
	parigot_buf_free(&details);
	return status != PARIGOT_OK || found ? status : PARIGOT_NOT_FOUND;
}
