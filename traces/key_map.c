#include "key_map.h"

#include "mem.h"

#define FIRST_SLOTS 16

struct key_slot {
    uint64_t key;
    uint32_t number; /* + 1; 0 = free */
};

/* Keys are numbers of streams, too, which follow each other or are multiples of a power of two: all their bits count.
 * The finalizer of MurmurHash3 (Appleby, 2011). */
static uint64_t mix(uint64_t key)
{
    key = (key ^ key >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    key = (key ^ key >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
    return key ^ key >> 33;
}

/* The key's slot, or the free one where it would be. */
static struct key_slot *look(struct key_map *map, uint64_t key)
{
    for (uint64_t at = mix(key);; at++) {
        struct key_slot *slot = &map->slots[at & (map->capacity - 1)];
        map->looks++;
        if (slot->number == 0 || slot->key == key) return slot;
    }
}

bool key_map_find(struct key_map *map, uint64_t key, uint32_t *number)
{
    if (map->count == 0) return false;
    const struct key_slot *slot = look(map, key);
    if (slot->number == 0) return false;
    *number = slot->number - 1;
    return true;
}

static bool grow(struct key_map *map)
{
    struct key_map larger = {.count = map->count, .capacity = map->capacity ? map->capacity * 2 : FIRST_SLOTS};
    larger.looks = map->looks;
    larger.slots = mem_zalloc(MEM_TRACE, larger.capacity, sizeof *larger.slots);
    if (!larger.slots) return false;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].number) *look(&larger, map->slots[i].key) = map->slots[i];
    mem_free(map->slots);
    *map = larger;
    return true;
}

bool key_map_add(struct key_map *map, uint64_t key, uint32_t number)
{
    if (map->count * 2 >= map->capacity && !grow(map)) return false;
    *look(map, key) = (struct key_slot){key, number + 1};
    map->count++;
    return true;
}

void key_map_finish(struct key_map *map)
{
    mem_free(map->slots);
    *map = (struct key_map){0};
}
