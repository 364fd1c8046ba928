/* Placing from the peak outwards: the buffers of the fullest section are stacked without a gap, the longest at the
 * bottom; then a sweep to the right and one to the left take and free space in time order, as an allocator would that
 * knows every lifetime. Buffers of the two sides never live together, so the sweeps do not meet. Long buffers are taken
 * from the bottom and short ones from the top, so that a stack of kept tensors and a churn of transients do not mix.
 * Near-nested lifetimes, which is what training steps have, reach the bound this way in O(n log n). */
#include <string.h>

#include "mem.h"
#include "place_holes.h"
#include "place_problem.h"
#include "place_sort.h"

#define LOOK_EVERY 1024 /* buffers between two looks at the clock */

struct sweep {
    const struct problem *problem;
    struct sort_pair *starts, *ends, *scratch; /* in the direction of the sweep */
    struct holes holes;
    uint64_t *offset;
    bool mirrored;
    bool may_stop; /* a placement is there already */
    bool stopped;
};

/* How the sweep chooses a hole. */
struct manner {
    uint32_t long_from; /* lifetimes of at least so many sections go to the bottom, shorter ones to the top */
    bool flipped;       /* the other way round: what is taken on the way from the peak outlives what is given back */
    bool tightest;      /* the smallest hole that takes the buffer, not the first */
};

static uint32_t begin_of(const struct sweep *sweep, size_t buffer)
{
    const struct problem *problem = sweep->problem;
    return sweep->mirrored ? problem->sections - problem->last[buffer] : problem->first[buffer];
}

static uint32_t end_of(const struct sweep *sweep, size_t buffer)
{
    const struct problem *problem = sweep->problem;
    return sweep->mirrored ? problem->sections - problem->first[buffer] : problem->last[buffer];
}

static uint32_t length_of(const struct problem *problem, size_t buffer)
{
    return problem->last[buffer] - problem->first[buffer];
}

static void take(struct sweep *sweep, size_t buffer, const struct manner *manner)
{
    const struct problem *problem = sweep->problem;
    uint64_t size = problem->size[buffer], align = problem->align[buffer];
    bool low = (length_of(problem, buffer) >= manner->long_from) != manner->flipped;
    struct hole_place place = manner->tightest ? holes_tightest(&sweep->holes, size, align)
                              : low            ? holes_lowest(&sweep->holes, size, align)
                                               : holes_highest(&sweep->holes, size, align);
    const struct hole *hole = holes_get(&sweep->holes, place);
    bool at_top = !low && !holes_is_last(&sweep->holes, place);
    uint64_t offset = at_top ? (hole->high - size) / align * align : align_up(hole->low, align);
    sweep->offset[buffer] = offset;
    holes_cut(&sweep->holes, place, offset, offset + size);
}

static void give(struct sweep *sweep, size_t buffer)
{
    uint64_t low = sweep->offset[buffer], high = low + sweep->problem->size[buffer];
    holes_give(&sweep->holes, low, high);
}

/* Starts by section, the longest first within one; ends by section. */
static void sort_events(struct sweep *sweep)
{
    size_t count = sweep->problem->count;
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = begin_of(sweep, i);
        sweep->starts[i] = (struct sort_pair){begin << 32 | (UINT32_MAX - length_of(sweep->problem, i)), (uint32_t)i};
        sweep->ends[i] = (struct sort_pair){end_of(sweep, i), (uint32_t)i};
    }
    sort_pairs(sweep->starts, sweep->scratch, count);
    sort_pairs(sweep->ends, sweep->scratch, count);
}

/* One side: everything that begins after the peak, over the stack of `height` bytes at the peak. */
static void sweep_side(struct sweep *sweep, uint64_t height, uint32_t peak, const struct manner *manner)
{
    sort_events(sweep);
    holes_reset(&sweep->holes, height);
    size_t ended = 0, count = sweep->problem->count;
    for (size_t i = 0; i < count; i++) {
        size_t buffer = sweep->starts[i].index;
        uint32_t begin = begin_of(sweep, buffer);
        if (begin <= peak) continue;
        for (; ended < count && sweep->ends[ended].key <= begin; ended++)
            if (sweep->ends[ended].key > peak) give(sweep, sweep->ends[ended].index);
        take(sweep, buffer, manner);
        if (sweep->may_stop && i % LOOK_EVERY == 0 && problem_halted(sweep->problem)) sweep->stopped = true;
        if (sweep->stopped) return;
    }
}

static uint64_t stack_peak(struct sweep *sweep)
{
    const struct problem *problem = sweep->problem;
    size_t count = 0;
    for (size_t i = 0; i < problem->count; i++)
        if (problem->first[i] <= problem->peak && problem->peak < problem->last[i])
            sweep->starts[count++] = (struct sort_pair){UINT32_MAX - length_of(problem, i), (uint32_t)i};
    sort_pairs(sweep->starts, sweep->scratch, count);
    uint64_t height = 0;
    for (size_t i = 0; i < count; i++) {
        size_t buffer = sweep->starts[i].index;
        sweep->offset[buffer] = align_up(height, problem->align[buffer]);
        height = sweep->offset[buffer] + problem->size[buffer];
    }
    return height;
}

static void sweep_once(struct sweep *sweep, const struct manner *manner, struct placement *best)
{
    const struct problem *problem = sweep->problem;
    uint64_t height = stack_peak(sweep);
    sweep->mirrored = false;
    sweep_side(sweep, height, problem->peak, manner);
    sweep->mirrored = true;
    sweep_side(sweep, height, problem->sections - 1 - problem->peak, manner);
    uint64_t arena = sweep->stopped ? UINT64_MAX : problem_arena(problem, sweep->offset);
    if (arena >= best->arena) return;
    best->arena = arena;
    memcpy(best->offset, sweep->offset, problem->count * sizeof *best->offset);
}

static bool sweep_reserve(struct sweep *sweep, size_t count, struct error *err)
{
    sweep->starts = mem_alloc(MEM_SEARCH, count, sizeof *sweep->starts);
    sweep->ends = mem_alloc(MEM_SEARCH, count, sizeof *sweep->ends);
    sweep->scratch = mem_alloc(MEM_SEARCH, count, sizeof *sweep->scratch);
    sweep->offset = mem_alloc(MEM_SEARCH, count, sizeof *sweep->offset);
    bool ok = sweep->starts && sweep->ends && sweep->scratch && sweep->offset;
    if (!ok) return error_memory(err, count * 56, "placement by sweeping");
    return holes_init(&sweep->holes, count, err);
}

static void sweep_finish(struct sweep *sweep)
{
    mem_free(sweep->starts);
    mem_free(sweep->ends);
    mem_free(sweep->scratch);
    holes_finish(&sweep->holes);
    mem_free(sweep->offset);
}

bool sweep_improve(const struct problem *problem, uint64_t target, struct placement *best, struct error *err)
{
    struct sweep sweep = {.problem = problem};
    bool ok = sweep_reserve(&sweep, problem->count, err);
    const struct manner manners[] = {{4, false, false},  {8, true, false},  {16, false, false}, {64, true, false},
                                     {64, false, false}, {0, false, false}, {0, false, true},   {0, true, false}};
    for (size_t i = 0; ok && i < sizeof manners / sizeof manners[0] && best->arena > target && !sweep.stopped; i++) {
        sweep.may_stop = best->arena < UINT64_MAX;
        sweep_once(&sweep, &manners[i], best);
    }
    sweep_finish(&sweep);
    return ok;
}
