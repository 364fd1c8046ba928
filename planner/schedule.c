#include "schedule.h"

#include <stdlib.h>

#include "mem.h"

static bool save_all(size_t count, struct chain_schedule *schedule, uint32_t keep, struct error *err)
{
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

bool schedule_uniform(const struct graph *graph, uint32_t keep, struct chain_schedule *schedule, struct error *err)
{
    return save_all(graph->block_count, schedule, keep, err);
}

static void set_keep(struct chain_schedule *schedule, uint32_t block, uint32_t keep)
{
    struct chain_step *save = &schedule->steps[block], *backward = &schedule->steps[schedule->count - 1 - block];
    save->option = backward->option = keep & KEEP_MODE_MASK;
    save->keep = backward->keep = keep;
}

bool schedule_spread(const struct graph *graph, size_t count, uint32_t some, uint32_t rest,
                     struct chain_schedule *schedule, struct error *err)
{
    size_t blocks = graph->block_count;
    TRY(save_all(blocks, schedule, rest, err));
    for (uint32_t b = 0; b < blocks; b++)
        if ((b + 1) * count / blocks > b * count / blocks) set_keep(schedule, b, some);
    return true;
}

struct candidate {
    double seconds_per_quantum;
    uint32_t block, quanta;
};

/* Best first; equal ones in the order of blocks, so that the result is the same everywhere. */
static int compare_candidates(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->seconds_per_quantum != b->seconds_per_quantum)
        return a->seconds_per_quantum > b->seconds_per_quantum ? -1 : 1;
    return (a->block > b->block) - (a->block < b->block);
}

static struct candidate describe_block(const struct chain *chain, uint32_t block)
{
    const struct chain_option *all = &chain->blocks[block].option[KEEP_ALL];
    const struct chain_option *some = &chain->blocks[block].option[KEEP_CONVOLUTIONS];
    uint32_t more = all->saved > some->saved ? all->saved - some->saved : 0;
    return (struct candidate){(some->backward_seconds - all->backward_seconds) / (more ? more : 1), block, more};
}

bool schedule_mixed(const struct chain *chain, uint64_t quanta, struct chain_schedule *schedule, struct error *err)
{
    struct candidate *candidates = mem_alloc(MEM_PLAN, chain->count, sizeof *candidates);
    if (!candidates) return error_memory(err, chain->count * sizeof *candidates, "a schedule");
    for (uint32_t b = 0; b < chain->count; b++) candidates[b] = describe_block(chain, b);
    qsort(candidates, chain->count, sizeof *candidates, compare_candidates);
    bool ok = save_all(chain->count, schedule, KEEP_CONVOLUTIONS, err);
    for (size_t i = 0; ok && i < chain->count; i++) {
        if (candidates[i].quanta > quanta || candidates[i].seconds_per_quantum <= 0) continue;
        quanta -= candidates[i].quanta;
        set_keep(schedule, candidates[i].block, KEEP_ALL);
    }
    mem_free(candidates);
    return ok;
}
