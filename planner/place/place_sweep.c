/* Placing from the peak outwards: the buffers of the fullest section are stacked without a gap, the longest at the
 * bottom; then a sweep to the right and one to the left take and free space in time order, as an allocator would that
 * knows every lifetime. Buffers of the two sides never live together, so the sweeps do not meet. Long buffers are taken
 * from the bottom and short ones from the top, so that a stack of kept tensors and a churn of transients do not mix.
 * Near-nested lifetimes, which is what training steps have, reach the bound this way in O(n log n). */
#include <string.h>

#include "mem.h"
#include "place_problem.h"
#include "place_sort.h"

struct hole {
    uint64_t low, high;
};

struct sweep {
    const struct problem *problem;
    struct sort_pair *starts, *ends, *scratch; /* in the direction of the sweep */
    struct hole *holes;                        /* free space, rising; the last one has no end */
    size_t hole_count;
    uint64_t *offset;
    bool mirrored;
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

static bool hole_takes(const struct hole *hole, uint64_t size, uint64_t align)
{
    uint64_t low = align_up(hole->low, align);
    return low < hole->high && hole->high - low >= size;
}

static size_t lowest_hole(const struct sweep *sweep, uint64_t size, uint64_t align)
{
    size_t i = 0;
    while (!hole_takes(&sweep->holes[i], size, align)) i++;
    return i;
}

static size_t tightest_hole(const struct sweep *sweep, uint64_t size, uint64_t align)
{
    size_t best = sweep->hole_count - 1;
    for (size_t i = 0; i < sweep->hole_count; i++) {
        const struct hole *hole = &sweep->holes[i], *held = &sweep->holes[best];
        if (hole_takes(hole, size, align) && hole->high - hole->low < held->high - held->low) best = i;
    }
    return best;
}

/* The highest hole under the last, which is the space above everything; the last when none takes it. */
static size_t highest_hole(const struct sweep *sweep, uint64_t size, uint64_t align)
{
    for (size_t i = sweep->hole_count - 1; i-- > 0;)
        if (hole_takes(&sweep->holes[i], size, align)) return i;
    return sweep->hole_count - 1;
}

/* Cuts [low, high) out of a hole. */
static void cut_hole(struct sweep *sweep, size_t i, uint64_t low, uint64_t high)
{
    struct hole hole = sweep->holes[i], parts[2];
    size_t count = 0;
    if (hole.low < low) parts[count++] = (struct hole){hole.low, low};
    if (high < hole.high) parts[count++] = (struct hole){high, hole.high};
    memmove(sweep->holes + i + count, sweep->holes + i + 1, (sweep->hole_count - i - 1) * sizeof *sweep->holes);
    memcpy(sweep->holes + i, parts, count * sizeof *parts);
    sweep->hole_count += count;
    sweep->hole_count--;
}

static void take(struct sweep *sweep, size_t buffer, const struct manner *manner)
{
    const struct problem *problem = sweep->problem;
    uint64_t size = problem->size[buffer], align = problem->align[buffer];
    bool low = (length_of(problem, buffer) >= manner->long_from) != manner->flipped;
    size_t i = manner->tightest ? tightest_hole(sweep, size, align)
               : low            ? lowest_hole(sweep, size, align)
                                : highest_hole(sweep, size, align);
    const struct hole *hole = &sweep->holes[i];
    bool at_top = !low && i + 1 < sweep->hole_count;
    uint64_t offset = at_top ? (hole->high - size) / align * align : align_up(hole->low, align);
    sweep->offset[buffer] = offset;
    cut_hole(sweep, i, offset, offset + size);
}

static void give(struct sweep *sweep, size_t buffer)
{
    uint64_t low = sweep->offset[buffer], high = low + sweep->problem->size[buffer];
    size_t from = 0, to = sweep->hole_count;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (sweep->holes[middle].low < low)
            from = middle + 1;
        else
            to = middle;
    }
    struct hole *next = &sweep->holes[from], *before = from ? next - 1 : NULL;
    bool joins_before = before && before->high == low, joins_next = next->low == high;
    if (joins_before && joins_next) {
        before->high = next->high;
        memmove(next, next + 1, (sweep->hole_count - from - 1) * sizeof *next);
        sweep->hole_count--;
    } else if (joins_before) {
        before->high = high;
    } else if (joins_next) {
        next->low = low;
    } else {
        memmove(next + 1, next, (sweep->hole_count - from) * sizeof *next);
        *next = (struct hole){low, high};
        sweep->hole_count++;
    }
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
    sweep->holes[0] = (struct hole){height, UINT64_MAX / 2};
    sweep->hole_count = 1;
    size_t ended = 0, count = sweep->problem->count;
    for (size_t i = 0; i < count; i++) {
        size_t buffer = sweep->starts[i].index;
        uint32_t begin = begin_of(sweep, buffer);
        if (begin <= peak) continue;
        for (; ended < count && sweep->ends[ended].key <= begin; ended++)
            if (sweep->ends[ended].key > peak) give(sweep, sweep->ends[ended].index);
        take(sweep, buffer, manner);
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
    uint64_t arena = problem_arena(problem, sweep->offset);
    if (arena >= best->arena) return;
    best->arena = arena;
    memcpy(best->offset, sweep->offset, problem->count * sizeof *best->offset);
}

static bool sweep_reserve(struct sweep *sweep, size_t count, struct error *err)
{
    sweep->starts = mem_alloc(MEM_SEARCH, count, sizeof *sweep->starts);
    sweep->ends = mem_alloc(MEM_SEARCH, count, sizeof *sweep->ends);
    sweep->scratch = mem_alloc(MEM_SEARCH, count, sizeof *sweep->scratch);
    sweep->holes = mem_alloc(MEM_SEARCH, 2 * count + 2, sizeof *sweep->holes);
    sweep->offset = mem_alloc(MEM_SEARCH, count, sizeof *sweep->offset);
    bool ok = sweep->starts && sweep->ends && sweep->scratch && sweep->holes && sweep->offset;
    return ok || error_memory(err, count * 90, "placement by sweeping");
}

static void sweep_finish(struct sweep *sweep)
{
    mem_free(sweep->starts);
    mem_free(sweep->ends);
    mem_free(sweep->scratch);
    mem_free(sweep->holes);
    mem_free(sweep->offset);
}

bool sweep_improve(const struct problem *problem, uint64_t target, struct placement *best, struct error *err)
{
    struct sweep sweep = {.problem = problem};
    bool ok = sweep_reserve(&sweep, problem->count, err);
    const struct manner manners[] = {{4, false, false},  {8, true, false},  {16, false, false}, {64, true, false},
                                     {64, false, false}, {0, false, false}, {0, false, true},   {0, true, false}};
    for (size_t i = 0; ok && i < sizeof manners / sizeof manners[0] && best->arena > target; i++)
        sweep_once(&sweep, &manners[i], best);
    sweep_finish(&sweep);
    return ok;
}
