/*
 * The call path in native code: what is usual about a call goes this way, without Python. Whatever is not usual is handed to
 * Python, before or in the middle, and has the same result there: shim/guests/edges.py, shim/line.py. docs/decisions/019.
 *
 * Rules: nothing here raises or blocks but `line_poll` and a call that waits for its reply, both with a limit; guests' pointers
 * and lengths are checked against their memory as it is then; nothing is kept of what a guest or a peer can change.
 */
#ifndef PARIGOT_NATIVE_H
#define PARIGOT_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

/* A wasmtime_val_raw_t: arguments and results of functions (wasmtime/val.h). */
typedef union {
	int32_t i32;
	int64_t i64;
	_Alignas(16) uint8_t bytes[16];
} cell_t;

/* A wasmtime_func_unchecked_callback_t (wasmtime/func.h): returns a trap, or NULL. */
typedef void *(*callback_t)(void *env, void *caller, cell_t *cells, size_t count);

/* A store, with what is needed of wasmtime's library. */
typedef struct {
	void *(*call)(void *context, const void *function, cell_t *cells, size_t count, void **trap);
	size_t (*memory_size)(void *context, const void *memory);
	void *context;
	void *trap;      /* of the entry that failed last */
	uintptr_t top;   /* the highest address of the stack that arguments were seen at */
	uintptr_t floor; /* a guest that calls another one from below has left it too little */
	uintptr_t span;  /* top - floor */
} store_t;

/* Whether a guest that calls, with arguments here, has used up the stack. */
static inline bool is_deep(store_t *store, const cell_t *cells) {
	uintptr_t at = (uintptr_t)cells;
	if (at > store->top) {
		store->top = at;
		store->floor = at > store->span ? at - store->span : 0;
	}
	return at < store->floor;
}

#endif
