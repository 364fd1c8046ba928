/* Numbers by keys of 64 bits: where in an array the thing of a key is. One thread. */
#ifndef FATHOM_KEY_MAP_H
#define FATHOM_KEY_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A zeroed one is empty. */
struct key_map {
    struct key_slot *slots;
    size_t count, capacity; /* capacity: a power of two, at least twice the count */
    uint64_t looks;         /* slots that were looked at, of all searches: what a search costs */
};

/* False when the key has no number. */
bool key_map_find(struct key_map *map, uint64_t key, uint32_t *number);
/* Of a key that has none yet; number < UINT32_MAX. False when out of memory: nothing has changed then. */
bool key_map_add(struct key_map *map, uint64_t key, uint32_t number);
void key_map_finish(struct key_map *map);

#endif
