/* A table from numbers above 0 to pointers: open addressing, at most half full. */
#ifndef PARIGOT_TABLE_H
#define PARIGOT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
	struct slot {
		int32_t number; /* 0: free */
		void *value;
	} *slots;
	uint32_t room; /* a power of two, or 0 */
	uint32_t count;
} table_t;

void *table_find(const table_t *table, int32_t number);
/* Room for one more; false: there is no memory. */
bool table_reserve(table_t *table);
/* After `table_reserve`. */
void table_add(table_t *table, int32_t number, void *value);
void table_remove(table_t *table, int32_t number);

#endif
