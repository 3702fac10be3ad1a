/*
 * parigot for C: a thin library over the kernel's functions (parigot_abi.h; schemas/abi.md says all about them).
 *
 *   static void greet(parigot_call_t call, const void *req, size_t len) {
 *       parigot_reply(call, req, len);
 *   }
 *
 *   int main(void) {
 *       parigot_require("log.v1.LogService");                        // what it calls
 *       int32_t greeting = parigot_service("demo.GreetingService");  // what it offers
 *       parigot_method(greeting, "Greet", greet);
 *       parigot_launch();                                            // all that is required is up
 *       parigot_serve();                                             // greet() is called from here on
 *   }
 *
 *   zig cc -target wasm32-wasi -O2 -I sdk/c -s -o greeting.wasm greeting.c sdk/c/parigot.c sdk/c/parigot_builtin.c
 *
 * Rules that hold throughout:
 * - A function that can fail returns a status: 0 or one of enum parigot_code. Those that return an id give it >= 0, or minus the
 *   code. Texts and names are UTF-8 with a terminator; requests and replies are bytes with a length.
 * - Nothing runs at the same time as anything else, but between a handler's return and its answer other calls may come in.
 * - Before parigot_launch nothing may depend on a clock, on random numbers or on input: the declarations are the app's graph.
 * - main never ends in a service (parigot_serve does not return): so no atexit, and stdio is flushed by the library.
 */
#ifndef PARIGOT_H
#define PARIGOT_H

#include "parigot_abi.h"
#include "parigot_pb.h"

/* A call that came in and has not been answered yet. */
typedef int32_t parigot_call_t;

enum parigot_code {
	PARIGOT_OK,
	PARIGOT_CANCELED,
	PARIGOT_UNKNOWN,
	PARIGOT_INVALID_ARGUMENT,
	PARIGOT_DEADLINE_EXCEEDED,
	PARIGOT_NOT_FOUND,
	PARIGOT_ALREADY_EXISTS,
	PARIGOT_PERMISSION_DENIED,
	PARIGOT_RESOURCE_EXHAUSTED,
	PARIGOT_FAILED_PRECONDITION,
	PARIGOT_ABORTED,
	PARIGOT_OUT_OF_RANGE,
	PARIGOT_UNIMPLEMENTED,
	PARIGOT_INTERNAL,
	PARIGOT_UNAVAILABLE,
	PARIGOT_DATA_LOSS,
	PARIGOT_UNAUTHENTICATED,
};

/* "NOT_FOUND" and so on; takes codes and negative results alike. "CODE_?" for what is none. */
const char *parigot_code_name(int32_t code);

/* ---- Declaring: before parigot_launch --------------------------------------------------------------------------------------
 * The results may be ignored: parigot_launch ends a guest that had a declaration refused, and says which one on stderr.
 */

/* At most so many methods in one guest. */
#define PARIGOT_MAX_METHODS 1024

/*
 * Answers a call. `req` is the library's: it is freed when the handler returns, unless parigot_keep took it over; NULL where
 * `len` is 0. The handler answers by parigot_reply or parigot_fail, before it returns or later.
 */
typedef void (*parigot_handler_t)(parigot_call_t call, const void *req, size_t len);

/* This guest calls `service`, a protobuf full name: "demo.vvv.StoreService". */
int32_t parigot_require(const char *service);

/* This guest offers `service`. Its number, for parigot_method. */
int32_t parigot_service(const char *service);

/* Calls of method `name` go to `handler`; the name must outlive the guest (a literal does). */
int32_t parigot_method(int32_t service, const char *name, parigot_handler_t handler);

/* Called once when the app ends; a second is left to tidy up. */
void parigot_on_stop(void (*stop)(void));

/* Returns when everything required is up and ready. It ends the guest (exit 1) where a declaration has failed. */
void parigot_launch(void);

/* Leaves main for good: from here on the handlers are called. */
_Noreturn void parigot_serve(void);

/* ---- Answering -------------------------------------------------------------------------------------------------------------
 * PARIGOT_NOT_FOUND: the call is answered already, or past its deadline. PARIGOT_RESOURCE_EXHAUSTED: longer than the manifest's
 * limits.message; the caller has been told.
 */

static inline int32_t parigot_reply(parigot_call_t call, const void *data, size_t len) {
	int32_t result = parigot_sys_answer(call, PARIGOT_OK, data, len);
	return result < 0 ? -result : PARIGOT_OK;
}

/* Answers with an error: a code other than 0, and its text, as printf has it (cut at 1023 bytes). */
__attribute__((format(printf, 3, 4))) int32_t parigot_fail(parigot_call_t call, int32_t code, const char *format, ...);

/* Answers with what another call came to, as a callback of parigot_dispatch has it: its reply, or its code and whole text. */
int32_t parigot_answer(parigot_call_t call, int32_t status, const parigot_buf_t *reply);

/* A detail beside the error that the call will be answered with: a serialised message, and its type's full name. */
int32_t parigot_add_detail(parigot_call_t call, const char *type, const void *message, size_t len);

/* Takes the request over from the library, within its handler: what it returns, in place of `req`, stays valid until free(). NULL
 * for an empty one, and where memory has run out. */
void *parigot_keep(const void *req);

/* Says whose work is done from here to the end of this entry: calls, timers and log records belong to it. 0: nobody's. */
int32_t parigot_enter(parigot_call_t call);

/* ---- Calling: after parigot_launch ----------------------------------------------------------------------------------------*/

/* A handle of a required service, for parigot_resolve and the calls. */
int32_t parigot_locate(const char *service);

/* The id of one of its methods: the same for as long as the process runs, so once is enough. */
int32_t parigot_resolve(int32_t handle, const char *method);

/*
 * Calls and waits. `reply`, which may be NULL, is made as large as is needed: it holds the reply, or with a status other than 0
 * the error's text. Its former content is overwritten before the call, so `req` must not lie in it; free it with parigot_buf_free.
 * `timeout_ms` 0: what is left of the work that this belongs to, or the manifest's timeouts.call.
 */
static inline int32_t parigot_call(int32_t handle, int32_t method, const void *req, size_t len, parigot_buf_t *reply,
                                   int32_t timeout_ms);

/* The last parigot_call failed, or the callback at hand is for a call that failed, and nothing was executed: try again safely. */
bool parigot_not_executed(void);

/* What a dispatched call came to: `reply` as parigot_call gives it, the library's, valid until the callback returns. */
typedef void (*parigot_done_t)(int32_t status, const parigot_buf_t *reply, void *arg);

/*
 * Starts a call and does not wait: its id > 0, or minus a code (then `done` is never called). `done` is called once, in an entry
 * of its own, as the work of whoever dispatched: so only after main has reached parigot_serve, and never in a program, which uses
 * parigot_wait. NULL: the result is dropped, unless parigot_wait gets it.
 */
int32_t parigot_dispatch(int32_t handle, int32_t method, const void *req, size_t len, int32_t timeout_ms, parigot_done_t done,
                         void *arg);

/* Waits for a dispatched call here, and `done` will not be called. -1: not ended within `timeout_ms` (0: look only, -1: as long
 * as the deadline leaves). */
int32_t parigot_wait(int32_t id, parigot_buf_t *reply, int32_t timeout_ms);

/* Calls `then` after so many milliseconds, as parigot_dispatch does: an id > 0, or minus a code. */
int32_t parigot_after(int32_t ms, void (*then)(void *arg), void *arg);

/* ---- Metadata: the keys are those of schemas/abi.md, "header:NAME" for example; call 0 is this guest's own last or next call;
 * in a callback of parigot_dispatch the last call is the one at hand, until the next. -----------------------------------------*/

/* `value` is overwritten. PARIGOT_NOT_FOUND: there is none. */
int32_t parigot_get(parigot_call_t call, const char *key, parigot_buf_t *value);
int32_t parigot_set(parigot_call_t call, const char *key, const char *value);

/* The first detail of a type beside the last error, serialised. PARIGOT_NOT_FOUND: there is none. */
int32_t parigot_get_detail(const char *type, parigot_buf_t *message);

/* ---- The built-in services: parigot_require("log.v1.LogService") or ("file.v1.FileService") first ----------------------------
 * They are calls like any other: what parigot_get(0, ...) tells about the last call is then about these.
 */

enum parigot_level { PARIGOT_DEBUG = 1, PARIGOT_INFO, PARIGOT_WARN, PARIGOT_ERROR };

/* One record: parigot_log(PARIGOT_INFO, "sold", "artist", artist, "title", title, NULL). Where the log service is not required,
 * the record goes to stderr, which the kernel turns into a record as well. */
__attribute__((sentinel)) int32_t parigot_log(enum parigot_level level, const char *text, ...);

/* PARIGOT_NOT_FOUND: no such file. With an error `content` holds its text. */
int32_t parigot_file_read(const char *path, parigot_buf_t *content);
int32_t parigot_file_write(const char *path, const void *data, size_t len);
int32_t parigot_file_append(const char *path, const void *data, size_t len);
int32_t parigot_file_delete(const char *path);

/* The paths that start with `prefix`, sorted, a zero byte after each. */
int32_t parigot_file_list(const char *prefix, parigot_buf_t *paths);

/* ---- What is done in line, since a call of a function costs as much as all of it: not for use by itself ---------------------- */

enum { PARIGOT_FIRST_ROOM = 512 };
extern bool parigot_last_not_executed;
int32_t parigot_call_anew(int32_t handle, int32_t method, const void *req, size_t len, parigot_buf_t *reply, int32_t timeout_ms);
int32_t parigot_take_anew(int64_t result, parigot_buf_t *reply);

/* A reply that fits into what the buffer has; a buffer without room, a longer reply and an error are the library's. */
static inline int32_t parigot_call(int32_t handle, int32_t method, const void *req, size_t len, parigot_buf_t *reply,
                                   int32_t timeout_ms) {
	if (reply == NULL || reply->cap <= PARIGOT_FIRST_ROOM)
		return parigot_call_anew(handle, method, req, len, reply, timeout_ms);
	int64_t result = parigot_sys_call(handle, method, req, len, reply->data, reply->cap - 1, timeout_ms);
	if ((uint64_t)result >= reply->cap)
		return parigot_take_anew(result, reply);
	parigot_last_not_executed = false;
	reply->failed = false;
	reply->len = (size_t)result;
	reply->data[reply->len] = 0;
	return PARIGOT_OK;
}

#endif
