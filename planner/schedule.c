#include "schedule.h"

#include "mem.h"

bool schedule_uniform(const struct graph *graph, uint32_t keep, struct chain_schedule *schedule, struct error *err)
{
    size_t count = graph->block_count;
    *schedule = (struct chain_schedule){0};
    schedule->steps = mem_alloc(MEM_PLAN, 2 * count, sizeof *schedule->steps);
    if (!schedule->steps) return error_memory(err, 2 * count * sizeof *schedule->steps, "a schedule");
    schedule->count = 2 * count;
    for (uint32_t b = 0; b < count; b++) {
        schedule->steps[b] = (struct chain_step){CHAIN_SAVE, b, keep & KEEP_MODE_MASK, keep};
        schedule->steps[2 * count - 1 - b] = (struct chain_step){CHAIN_BACKWARD, b, keep & KEEP_MODE_MASK, keep};
    }
    return true;
}
