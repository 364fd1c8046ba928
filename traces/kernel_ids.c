#include "kernel_ids.h"

#include <string.h>

#include "format.h"
#include "hash.h"
#include "mem.h"

#define FIRST_SLOTS 1024

/* Keys are taken for the kernels themselves: that two of a million have the same one is as likely as 1 in 2^25. */
struct slot {
    uint64_t key; /* 0 = free */
    uint32_t id;
};

struct kernel_ids {
    struct trace_sink *sink;
    struct slot *slots;
    size_t count, capacity; /* a power of two */
    uint32_t next[TRACE_MOST_DEVICES];
};

struct kernel_ids *kernel_ids_create(struct trace_sink *sink)
{
    struct kernel_ids *ids = mem_zalloc(MEM_TRACE, 1, sizeof *ids);
    if (ids) ids->slots = mem_zalloc(MEM_TRACE, FIRST_SLOTS, sizeof *ids->slots);
    if (!ids || !ids->slots) {
        mem_free(ids);
        return NULL;
    }
    ids->sink = sink;
    ids->capacity = FIRST_SLOTS;
    return ids;
}

void kernel_ids_destroy(struct kernel_ids *ids)
{
    if (!ids) return;
    mem_free(ids->slots);
    mem_free(ids);
}

static struct slot *find_slot(struct slot *slots, size_t capacity, uint64_t key)
{
    size_t at = key & (capacity - 1);
    while (slots[at].key != 0 && slots[at].key != key) at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static bool grow(struct kernel_ids *ids)
{
    size_t capacity = ids->capacity * 2;
    struct slot *slots = mem_zalloc(MEM_TRACE, capacity, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < ids->capacity; i++)
        if (ids->slots[i].key) *find_slot(slots, capacity, ids->slots[i].key) = ids->slots[i];
    mem_free(ids->slots);
    ids->slots = slots;
    ids->capacity = capacity;
    return true;
}

static uint64_t key_of(const struct trace_kernel *kernel, uint64_t place)
{
    const uint64_t numbers[] = {kernel->device, kernel->op, place};
    uint64_t seed = hash_bytes(numbers, sizeof numbers, 0);
    uint64_t key = hash_bytes(kernel->name, strlen(kernel->name), seed);
    return key ? key : 1;
}

bool kernel_ids_find(struct kernel_ids *ids, const struct trace_kernel *kernel, uint64_t place, uint32_t *id)
{
    uint64_t key = key_of(kernel, place);
    struct slot *slot = find_slot(ids->slots, ids->capacity, key);
    if (slot->key != key) {
        if (ids->count * 2 >= ids->capacity) {
            if (!grow(ids)) return false;
            slot = find_slot(ids->slots, ids->capacity, key);
        }
        *slot = (struct slot){key, ids->next[kernel->device]++};
        ids->count++;
        struct trace_kernel described = *kernel;
        described.id = slot->id;
        if (ids->sink->kernel_table) ids->sink->kernel_table(ids->sink->context, &described, 1);
    }
    *id = slot->id;
    return true;
}
