#include "kernel_ids.h"

#include <string.h>

#include "format.h"
#include "hash.h"
#include "key_map.h"
#include "mem.h"

/* Keys are taken for the kernels themselves: that two of a million have the same one is as likely as 1 in 2^25. */
struct kernel_ids {
    struct trace_sink *sink;
    struct key_map ids;
    uint32_t next[TRACE_MOST_DEVICES];
};

struct kernel_ids *kernel_ids_create(struct trace_sink *sink)
{
    struct kernel_ids *ids = mem_zalloc(MEM_TRACE, 1, sizeof *ids);
    if (ids) ids->sink = sink;
    return ids;
}

void kernel_ids_destroy(struct kernel_ids *ids)
{
    if (!ids) return;
    key_map_finish(&ids->ids);
    mem_free(ids);
}

static uint64_t key_of(const struct trace_kernel *kernel, uint64_t place)
{
    const uint64_t numbers[] = {kernel->device, kernel->op, place};
    uint64_t seed = hash_bytes(numbers, sizeof numbers, 0);
    return hash_bytes(kernel->name, strlen(kernel->name), seed);
}

bool kernel_ids_find(struct kernel_ids *ids, const struct trace_kernel *kernel, uint64_t place, uint32_t *id)
{
    uint64_t key = key_of(kernel, place);
    if (key_map_find(&ids->ids, key, id)) return true;
    if (!key_map_add(&ids->ids, key, ids->next[kernel->device])) return false;
    *id = ids->next[kernel->device]++;
    struct trace_kernel described = *kernel;
    described.id = *id;
    if (ids->sink->kernel_table) ids->sink->kernel_table(ids->sink->context, &described, 1);
    return true;
}
