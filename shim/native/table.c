#include "table.h"

#include <stdlib.h>

static uint32_t slot_of(const table_t *table, int32_t number) {
	uint32_t slot = (uint32_t)number * 2654435769u & (table->room - 1);
	while (table->slots[slot].number != 0 && table->slots[slot].number != number)
		slot = (slot + 1) & (table->room - 1);
	return slot;
}

void *table_find(const table_t *table, int32_t number) {
	if (table->count == 0 || number <= 0)
		return NULL;
	struct slot *slot = &table->slots[slot_of(table, number)];
	return slot->number == number ? slot->value : NULL;
}

bool table_reserve(table_t *table) {
	if ((table->count + 1) * 2 <= table->room)
		return true;
	table_t grown = {.room = table->room == 0 ? 64 : table->room * 2};
	grown.slots = calloc(grown.room, sizeof *grown.slots);
	if (grown.slots == NULL)
		return false;
	for (uint32_t i = 0; i < table->room; i++)
		if (table->slots[i].number != 0)
			table_add(&grown, table->slots[i].number, table->slots[i].value);
	free(table->slots);
	*table = grown;
	return true;
}

void table_add(table_t *table, int32_t number, void *value) {
	table->slots[slot_of(table, number)] = (struct slot){number, value};
	table->count++;
}

/* The gap is closed: what follows in its run is put where it is found. */
void table_remove(table_t *table, int32_t number) {
	if (table_find(table, number) == NULL)
		return;
	uint32_t mask = table->room - 1, slot = slot_of(table, number);
	table->slots[slot].number = 0;
	table->count--;
	for (slot = (slot + 1) & mask; table->slots[slot].number != 0; slot = (slot + 1) & mask) {
		struct slot moved = table->slots[slot];
		table->slots[slot].number = 0;
		table->slots[slot_of(table, moved.number)] = moved;
	}
}
