#include "schedule.h"

#include "keep.h"
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

static void set_keep(struct chain_schedule *schedule, uint32_t block, uint32_t keep)
{
    struct chain_step *save = &schedule->steps[block], *backward = &schedule->steps[schedule->count - 1 - block];
    save->option = backward->option = keep & KEEP_MODE_MASK;
    save->keep = backward->keep = keep;
}

bool schedule_each(const struct graph *graph, const uint32_t *keep, struct chain_schedule *schedule, struct error *err)
{
    TRY(schedule_uniform(graph, KEEP_ALL, schedule, err));
    for (uint32_t b = 0; b < graph->block_count; b++) set_keep(schedule, b, keep[b]);
    return true;
}

bool schedule_spread(const struct graph *graph, size_t count, uint32_t some, uint32_t rest,
                     struct chain_schedule *schedule, struct error *err)
{
    size_t blocks = graph->block_count;
    TRY(schedule_uniform(graph, rest, schedule, err));
    for (uint32_t b = 0; b < blocks; b++)
        if ((b + 1) * count / blocks > b * count / blocks) set_keep(schedule, b, some);
    return true;
}
