#include <stdlib.h>
#include <string.h>

#include "line.h"

work_t *work_new(text_t id, char sign, text_t caller) {
	work_t *work = malloc(sizeof *work + id.len + 1 + caller.len);
	if (work == NULL)
		return NULL;
	*work = (work_t){.refs = 1, .fd = -1, .prefix = id.len + 1, .caller = caller.len};
	char *end = put(work->text, id);
	*end = sign;
	put(end + 1, caller);
	return work;
}

void work_release(work_t *work) {
	if (work == NULL || --work->refs > 0)
		return;
	free(work->body);
	free(work);
}

void begin(guest_t *guest, work_t *work) {
	int32_t *control = guest->control;
	control[SHUT] = ENTERED;
	control[MADE] = control[SETTLED] = 0;
	control[ODD] &= ~PRESSING; /* everybody has had a turn */
	control[KNOWN] = 1;
	control[HELD] |= RUNS;
	work->refs++;
	work_release(guest->work); /* of an entry of Python's, if any */
	guest->work = work;
}

bool keep(const void *data, uint32_t len, char **kept) {
	*kept = len > 0 ? malloc(len) : NULL;
	if (*kept != NULL)
		memcpy(*kept, data, len);
	return len == 0 || *kept != NULL;
}

bool in_bounds(guest_t *guest, uint32_t at, uint32_t len) {
	store_t *store = guest->line->store;
	return (uint64_t)at + len <= store->memory_size(store->context, guest->memory);
}

bool is_enterable(const guest_t *guest) { return guest->base != NULL && guest->control[SHUT] == 0; }

int32_t next_number(guest_t *guest) {
	if (guest->control[NUMBER] == INT32_MAX)
		return 0;
	return ++guest->control[NUMBER];
}

int32_t next_turn(guest_t *guest) {
	int32_t *turn = &guest->control[TURN];
	return *turn = *turn % INT32_MAX + 1;
}

bool is_before(int32_t turn, int32_t other) { /* they count around */
	int32_t apart = (int32_t)(((int64_t)other - turn + INT32_MAX) % INT32_MAX);
	return other == 0 || (apart > 0 && apart < INT32_MAX / 2);
}

int32_t next_child(guest_t *guest) {
	int32_t *made = &guest->control[MADE];
	if (guest->work->number != 0)
		return guest->work->children + ++*made;
	guest->line->cells.roots += *made + 1; /* others number theirs by it, too */
	*made = 0;
	return (int32_t)guest->line->cells.roots;
}

void note_held(guest_t *guest) {
	int32_t held = guest->control[HELD] & RUNS;
	if (guest->open.count + guest->events.count > 0)
		held |= HOLDS;
	if (guest->first != NULL || guest->next_call != NULL)
		held |= RUNG;
	guest->control[HELD] = held;
}

bool enter(line_t *line, const void *function, cell_t *cells, size_t count, int64_t limit, void **error) {
	store_t *store = line->store;
	int64_t outer = line->cells.limit;
	line->cells.limit = limit;
	__atomic_fetch_add(&line->cells.runs, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(line->awake, __ATOMIC_SEQ_CST) == 0)
		line->hooks.wake();
	*error = store->call(store->context, function, cells, count, &store->trap);
	__atomic_fetch_sub(&line->cells.runs, 1, __ATOMIC_SEQ_CST);
	line->cells.limit = outer;
	if (outer != NEVER) { /* whoever waited for a guest that was late has the time to say so */
		int64_t excused = monotonic() + GRACE * MS;
		line->cells.limit = outer > excused ? outer : excused;
	}
	return *error == NULL && store->trap == NULL;
}

outcome_t leave(guest_t *guest, bool whole, void *error) {
	int32_t *control = guest->control;
	line_t *line = guest->line;
	if (!whole)
		return line->hooks.left(guest->index, LEFT_BROKEN, error) ? FAILED : KERNELS;
	control[SHUT] &= ~ENTERED;
	if (control[SETTLED])
		return line->hooks.left(guest->index, LEFT_SETTLED, NULL) ? FAILED : KERNELS;
	if (guest->work->number != 0)
		guest->work->children += control[MADE];
	else
		line->cells.roots += control[MADE];
	control[MADE] = control[KNOWN] = 0;
	control[HELD] &= ~RUNS;
	work_release(guest->work);
	guest->work = NULL;
	return DONE;
}
