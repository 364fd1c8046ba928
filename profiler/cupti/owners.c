#include "owners.h"

#include <pthread.h>
#include <string.h>

#include "mem.h"

#define FIRST_SLOTS   1024u
#define MOST_LAUNCHES 65536u
#define LAUNCH_KEY    (1ull << 63) /* nodes' ids have a graph's in their high half, which does not get there */

struct entry {
    uint64_t key;        /* 0 = free */
    uint64_t retired_ns; /* of a node that is no more; 0 = in use */
    struct owner owner;
};

/* A node of a graph that is no more. */
struct retired {
    uint64_t node, ns;
};

struct owners {
    pthread_mutex_t lock;
    struct entry *entries; /* linear probing */
    size_t slots, count;
    uint64_t *launches; /* keys, as a ring */
    size_t launched;
    struct retired *retired; /* in the order of time */
    size_t retired_count, retired_capacity;
};

/* ---- The table ---- */

static size_t home(const struct owners *owners, uint64_t key)
{
    return (size_t)((key * 0x9E3779B97F4A7C15ull) >> 32) & (owners->slots - 1);
}

/* Of the key, or the free one where it would be. */
static struct entry *look(const struct owners *owners, uint64_t key)
{
    size_t slot = home(owners, key);
    while (owners->entries[slot].key && owners->entries[slot].key != key) slot = (slot + 1) & (owners->slots - 1);
    return &owners->entries[slot];
}

static bool grow(struct owners *owners)
{
    struct owners larger = {.slots = owners->slots ? 2 * owners->slots : FIRST_SLOTS};
    larger.entries = mem_zalloc(MEM_TRACE, larger.slots, sizeof *larger.entries);
    if (!larger.entries) return false;
    for (size_t i = 0; i < owners->slots; i++)
        if (owners->entries[i].key) *look(&larger, owners->entries[i].key) = owners->entries[i];
    mem_free(owners->entries);
    owners->entries = larger.entries;
    owners->slots = larger.slots;
    return true;
}

static bool put(struct owners *owners, uint64_t key, const struct owner *owner)
{
    if (2 * (owners->count + 1) > owners->slots && !grow(owners)) return false;
    struct entry *entry = look(owners, key);
    owners->count += entry->key == 0;
    *entry = (struct entry){.key = key, .owner = *owner};
    return true;
}

/* What follows moves up, so that searches find no hole. */
static void drop(struct owners *owners, uint64_t key)
{
    size_t mask = owners->slots - 1, hole = (size_t)(look(owners, key) - owners->entries);
    if (!owners->entries[hole].key) return;
    owners->count--;
    for (size_t next = (hole + 1) & mask; owners->entries[next].key; next = (next + 1) & mask) {
        size_t away = (next - home(owners, owners->entries[next].key)) & mask;
        if (away < ((next - hole) & mask)) continue;
        owners->entries[hole] = owners->entries[next];
        hole = next;
    }
    owners->entries[hole].key = 0;
}

struct owners *owners_create(void)
{
    struct owners *owners = mem_zalloc(MEM_TRACE, 1, sizeof *owners);
    if (!owners) return NULL;
    pthread_mutex_init(&owners->lock, NULL);
    owners->launches = mem_zalloc(MEM_TRACE, MOST_LAUNCHES, sizeof *owners->launches);
    if (owners->launches && grow(owners)) return owners;
    owners_destroy(owners);
    return NULL;
}

void owners_destroy(struct owners *owners)
{
    if (!owners) return;
    pthread_mutex_destroy(&owners->lock);
    mem_free(owners->entries);
    mem_free(owners->launches);
    mem_free(owners->retired);
    mem_free(owners);
}

/* ---- Nodes and launches ---- */

void owners_lock(struct owners *owners) { pthread_mutex_lock(&owners->lock); }
void owners_unlock(struct owners *owners) { pthread_mutex_unlock(&owners->lock); }

bool owners_add_node(struct owners *owners, uint64_t node, const struct owner *owner)
{
    owners_lock(owners);
    bool ok = node == 0 || put(owners, node, owner);
    owners_unlock(owners);
    return ok;
}

bool owners_clone_node(struct owners *owners, uint64_t node, uint64_t original)
{
    owners_lock(owners);
    const struct entry *from = look(owners, original);
    struct owner copy = from->owner;
    bool ok = node == 0 || from->key == 0 || put(owners, node, &copy);
    owners_unlock(owners);
    return ok;
}

bool owners_retire_node(struct owners *owners, uint64_t node, uint64_t now_ns)
{
    owners_lock(owners);
    bool ok = true;
    struct entry *entry = look(owners, node);
    if (node && entry->key) {
        entry->retired_ns = now_ns;
        ok = mem_grow(MEM_TRACE, (void **)&owners->retired, &owners->retired_capacity, owners->retired_count + 1,
                      sizeof *owners->retired);
        if (ok) owners->retired[owners->retired_count++] = (struct retired){node, now_ns};
    }
    owners_unlock(owners);
    return ok;
}

void owners_forget(struct owners *owners, uint64_t before_ns)
{
    owners_lock(owners);
    size_t i = 0;
    for (; i < owners->retired_count && owners->retired[i].ns < before_ns; i++)
        if (look(owners, owners->retired[i].node)->retired_ns == owners->retired[i].ns) /* not given away again since */
            drop(owners, owners->retired[i].node);
    owners->retired_count -= i;
    if (i > 0) memmove(owners->retired, owners->retired + i, owners->retired_count * sizeof *owners->retired);
    owners_unlock(owners);
}

bool owners_add_launch(struct owners *owners, uint32_t correlation, const struct owner *owner)
{
    owners_lock(owners);
    uint64_t key = LAUNCH_KEY | correlation, *oldest = &owners->launches[owners->launched % MOST_LAUNCHES];
    bool again = look(owners, key)->key != 0; /* a runtime call and the driver call that it makes */
    if (!again && *oldest) drop(owners, *oldest);
    bool ok = put(owners, key, owner);
    if (!again) {
        *oldest = ok ? key : 0;
        owners->launched++;
    }
    owners_unlock(owners);
    return ok;
}

static struct owner *find(struct owners *owners, uint64_t key)
{
    struct entry *entry = look(owners, key);
    return entry->key ? &entry->owner : NULL;
}

struct owner *owners_find_node(struct owners *owners, uint64_t node) { return node ? find(owners, node) : NULL; }
struct owner *owners_find_launch(struct owners *owners, uint32_t correlation)
{
    return find(owners, LAUNCH_KEY | correlation);
}
