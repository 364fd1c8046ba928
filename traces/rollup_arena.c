/* Where a trace comes from, and what it says of arenas. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "rollup_private.h"

void rollup_take_origin(struct rollup *rollup, const struct trace_origin *origin)
{
    rollup->has_origin = true;
    rollup->rank = origin->rank;
    rollup->ranks = origin->ranks;
    rollup->first_device = origin->first_device;
    rollup->own_devices = origin->devices;
    snprintf(rollup->origin_host, sizeof rollup->origin_host, "%s", origin->host);
}

void rollup_take_hardware(struct rollup *rollup, uint32_t device, const char *slot)
{
    snprintf(rollup->devices[device].slot, sizeof rollup->devices[device].slot, "%s", slot);
}

/* ---- Clocks ---- */

void rollup_take_clock_pair(struct rollup *rollup, const struct trace_event *event)
{
    struct rollup_clock *clock = event->kind == 0 ? &rollup->wall : &rollup->devices[event->device].clock;
    if (clock->count++ == 0) {
        clock->first_ns = event->at_ns;
        clock->first_other_ns = event->other_ns;
    }
    clock->last_ns = event->at_ns;
    clock->last_other_ns = event->other_ns;
}

double rollup_clock_drift(const struct rollup_clock *clock)
{
    uint64_t ns = clock->last_ns - clock->first_ns, other = clock->last_other_ns - clock->first_other_ns;
    if (clock->count < 2 || ns < 1000000000 || ns >> 63) return NAN;
    return (double)(int64_t)(other - ns) / (double)ns;
}

/* ---- Tensors ---- */

/* Entries come in order; a table that is told anew begins anew. */
bool rollup_take_tensor(struct rollup *rollup, const struct trace_tensor_entry *entry, struct error *err)
{
    struct rollup_device *device = &rollup->devices[entry->device];
    const struct trace_tensor *t = &entry->tensor;
    void *tensors = device->tensors;
    if (entry->id == 0 && device->tensor_total != entry->total) device->tensor_count = 0;
    if (entry->id == 0) device->tensor_total = entry->total;
    device->tensors_like = entry->device + 1;
    if (entry->total != device->tensor_total || entry->id > device->tensor_count) return true; /* some are missing */
    if (!mem_grow(MEM_TRACE, &tensors, &device->tensor_capacity, (size_t)entry->id + 1, sizeof *device->tensors))
        return error_memory(err, ((size_t)entry->id + 1) * sizeof *device->tensors, "a trace's tensors");
    device->tensors = tensors;
    device->tensors[entry->id] =
        (struct rollup_tensor){t->layer, t->role, t->class_name, t->host, t->offset, t->bytes, t->first, t->last};
    if (entry->id == device->tensor_count) device->tensor_count++;
    return true;
}

const struct rollup_tensor *rollup_tensors(const struct rollup *rollup, uint32_t device, size_t *count)
{
    *count = 0;
    if (device >= ROLLUP_MOST_DEVICES || rollup->devices[device].tensors_like == 0) return NULL;
    const struct rollup_device *like = &rollup->devices[rollup->devices[device].tensors_like - 1];
    if (like->tensor_total == 0 || like->tensor_count < like->tensor_total) return NULL;
    *count = like->tensor_count;
    return like->tensors;
}

uint64_t rollup_arena_peak(const struct rollup *rollup, uint32_t device, uint32_t *op)
{
    uint64_t most = 0;
    *op = 0;
    for (size_t i = 0; i < rollup->op_count; i++) {
        if (rollup->ops[i].device != device || rollup->ops[i].live_bytes <= most) continue;
        most = rollup->ops[i].live_bytes;
        *op = rollup->ops[i].id;
    }
    return most;
}

size_t rollup_tensors_at(const struct rollup *rollup, uint32_t device, uint32_t op,
                         const struct rollup_tensor *largest[], size_t most)
{
    size_t count, found = 0;
    const struct rollup_tensor *tensors = rollup_tensors(rollup, device, &count);
    for (size_t i = 0; i < count; i++) {
        const struct rollup_tensor *t = &tensors[i];
        if (t->host || op < t->first || op > t->last) continue;
        if (found == most && (most == 0 || t->bytes <= largest[most - 1]->bytes)) continue;
        size_t at = found < most ? found++ : most - 1;
        for (; at > 0 && largest[at - 1]->bytes < t->bytes; at--) largest[at] = largest[at - 1];
        largest[at] = t;
    }
    return found;
}
