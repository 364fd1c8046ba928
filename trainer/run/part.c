/* The part of a run that this process has: its devices, and its processors for them. */
#define _GNU_SOURCE
#include <sched.h>
#include <unistd.h>

#include "system_limits.h"
#include "train.h"

struct train_part train_part(const struct plan *plan, const struct ranks *ranks)
{
    struct train_part part = {
        .count = (uint32_t)plan->device_count, .here = (uint32_t)plan->device_count, .processes = 1};
    if (!ranks) return part;
    struct ranks_place place = ranks_place(ranks);
    ranks_devices_of(ranks, place.rank, &part.first, &part.count);
    part.here = ranks_devices_here(ranks);
    part.processes = place.host_size;
    part.ranks = ranks;
    return part;
}

/* Whether each process of the host was given processors of its own (mpirun --bind-to). */
static bool has_own_processors(const struct train_part *part)
{
    cpu_set_t set;
    long all = sysconf(_SC_NPROCESSORS_ONLN);
    if (part->processes == 1 || sched_getaffinity(0, sizeof set, &set) != 0) return part->processes == 1;
    return (long)part->processes * CPU_COUNT(&set) <= all;
}

uint32_t train_device_threads(const struct train_part *part)
{
    uint32_t each = limits_processors() / (has_own_processors(part) ? part->count : part->here);
    return each > 1 ? each : 1;
}
