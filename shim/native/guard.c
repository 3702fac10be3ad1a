/* Guarded edges (shim/guests/edges.py): a call goes to its callee through an entry of its own, so that a crash ends there. */

#include "native.h"

typedef struct {
	store_t *store;
	const void *function; /* the glue's, a wasmtime_func_t */
	callback_t unusual;   /* Python's: with the function as its environment, and in place of the count why */
} guard_t;

enum { DEEP = 1 };

EXPORTED void *guarded(void *env, void *caller, cell_t *cells, size_t count) {
	guard_t *guard = env;
	store_t *store = guard->store;
	if (is_deep(store, cells))
		return guard->unusual((void *)guard->function, caller, cells, DEEP);
	void *error = store->call(store->context, guard->function, cells, count, &store->trap);
	if (error == NULL && store->trap == NULL)
		return NULL;
	return guard->unusual((void *)guard->function, caller, cells, (size_t)error);
}
