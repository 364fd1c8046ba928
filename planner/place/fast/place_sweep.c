/* Placing from the peak outwards: the buffers of the fullest section are stacked without a gap, the longest at the
 * bottom; then a sweep to the right and one to the left take and free space in time order, as an allocator would that
 * knows every lifetime. Buffers of the two sides never live together, so the sweeps do not meet. Long buffers are taken
 * from the bottom and short ones from the top, so that a stack of kept tensors and a churn of transients do not mix.
 * Near-nested lifetimes, which is what training steps have, reach the bound this way in O(n log n). */
#include <string.h>

#include "mem.h"
#include "place_fast.h"
#include "place_holes.h"

#define LOOK_EVERY 1024 /* buffers between two looks at the clock */

/* What begins after the peak, in the direction of the sweep, and what ends after it: buffers by section, of those that
 * start in one section the longest first. */
struct side {
    uint32_t *starts, *ends;
    size_t start_count, end_count;
    bool mirrored; /* the sweep to the left */
};

struct two_sweeps {
    const struct problem *problem;
    struct side right, left;
    uint32_t *peak; /* the buffers of the fullest section, the longest first */
    size_t peak_count;
    uint32_t *lists; /* where all of these lie */
    struct holes holes;
    uint64_t *offset;
    uint64_t most_steps; /* of the holes, at which this manner is given up; 0 = none */
    bool may_stop;       /* a placement is there already */
    bool given_up;       /* this manner */
    bool stopped;        /* all that would follow as well */
};

/* How the sweep chooses a hole. */
struct manner {
    uint32_t long_from; /* lifetimes of at least so many sections go to the bottom, shorter ones to the top */
    bool flipped;       /* the other way round: what is taken on the way from the peak outlives what is given back */
    bool tightest;      /* the smallest hole that takes the buffer, not the first */
};

static uint32_t length_of(const struct problem *problem, size_t buffer)
{
    return problem->last[buffer] - problem->first[buffer];
}

static void take(struct two_sweeps *sweep, size_t buffer, const struct manner *manner)
{
    const struct problem *problem = sweep->problem;
    uint64_t size = problem->size[buffer], align = problem->align[buffer];
    bool low = (length_of(problem, buffer) >= manner->long_from) != manner->flipped;
    struct hole_place place = manner->tightest ? holes_tightest(&sweep->holes, size, align)
                              : low            ? holes_lowest(&sweep->holes, size, align)
                                               : holes_highest(&sweep->holes, size, align);
    bool at_top = !low && !holes_is_last(&sweep->holes, place);
    uint64_t offset = (at_top ? holes_top : holes_bottom)(&sweep->holes, place, size, align);
    sweep->offset[buffer] = offset;
    holes_cut(&sweep->holes, place, offset, offset + size);
}

static void give(struct two_sweeps *sweep, size_t buffer)
{
    uint64_t low = sweep->offset[buffer], high = low + sweep->problem->size[buffer];
    holes_give(&sweep->holes, low, high);
}

/* When a buffer begins and ends in the direction of the side's sweep. */
static uint32_t begin_of(const struct problem *problem, const struct side *side, size_t buffer)
{
    return side->mirrored ? problem->sections - problem->last[buffer] : problem->first[buffer];
}

static uint32_t end_of(const struct problem *problem, const struct side *side, size_t buffer)
{
    return side->mirrored ? problem->sections - problem->first[buffer] : problem->last[buffer];
}

/* The longest first. */
static uint32_t brevity_of(const struct problem *problem, const struct side *side, size_t buffer)
{
    (void)side;
    return problem->sections - length_of(problem, buffer);
}

/* From one list into another by a number of each buffer's that is at most problem->sections, stable. place[] has room
 * for two more. */
static void sort_list(const struct problem *problem, const struct side *side,
                      uint32_t (*key)(const struct problem *, const struct side *, size_t), const uint32_t *from,
                      uint32_t *to, size_t count, uint32_t *place)
{
    memset(place, 0, ((size_t)problem->sections + 2) * sizeof *place);
    for (size_t i = 0; i < count; i++) place[key(problem, side, from[i]) + 1]++;
    for (size_t k = 1; k <= problem->sections; k++) place[k] += place[k - 1];
    for (size_t i = 0; i < count; i++) to[place[key(problem, side, from[i])]++] = from[i];
}

/* Returns where the next list begins. */
static uint32_t *list_side(const struct problem *problem, struct side *side, uint32_t *list, uint32_t *scratch,
                           uint32_t *place)
{
    uint32_t peak = side->mirrored ? problem->sections - 1 - problem->peak : problem->peak;
    side->starts = list;
    for (uint32_t i = 0; i < problem->count; i++)
        if (begin_of(problem, side, i) > peak) side->starts[side->start_count++] = i;
    sort_list(problem, side, brevity_of, side->starts, scratch, side->start_count, place);
    sort_list(problem, side, begin_of, scratch, side->starts, side->start_count, place);
    side->ends = side->starts + side->start_count;
    for (uint32_t i = 0; i < problem->count; i++)
        if (end_of(problem, side, i) > peak) scratch[side->end_count++] = i;
    sort_list(problem, side, end_of, scratch, side->ends, side->end_count, place);
    return side->ends + side->end_count;
}

/* A buffer begins after the peak, ends before it or lives then, and then alone it is in three lists: all lists have
 * three numbers for each buffer at most. */
static bool list_events(struct two_sweeps *sweep, struct error *err)
{
    const struct problem *problem = sweep->problem;
    uint64_t numbers = problem->count + (uint64_t)problem->sections + 2;
    uint32_t *scratch = mem_alloc(MEM_SEARCH, numbers, sizeof *scratch);
    if (!scratch) return error_memory(err, numbers * sizeof *scratch, "placement by sweeping");
    uint32_t *place = scratch + problem->count;
    sweep->left.mirrored = true;
    uint32_t *list = list_side(problem, &sweep->right, sweep->lists, scratch, place);
    sweep->peak = list_side(problem, &sweep->left, list, scratch, place);
    for (uint32_t i = 0; i < problem->count; i++)
        if (problem->first[i] <= problem->peak && problem->peak < problem->last[i]) scratch[sweep->peak_count++] = i;
    sort_list(problem, NULL, brevity_of, scratch, sweep->peak, sweep->peak_count, place);
    mem_free(scratch);
    return true;
}

/* Looks at the limits. */
static bool must_end(struct two_sweeps *sweep)
{
    if (!sweep->may_stop) return false;
    if (problem_halted(sweep->problem)) sweep->stopped = true;
    sweep->given_up = sweep->stopped || (sweep->most_steps > 0 && sweep->holes.steps > sweep->most_steps);
    return sweep->given_up;
}

/* Lays the buffers of the fullest section one on the other, as low as chunks let them; the holes are what is left. */
static void stack_peak(struct two_sweeps *sweep)
{
    const struct problem *problem = sweep->problem;
    uint64_t height = 0;
    if (problem->chunk > 0) holes_reset(&sweep->holes, 0);
    for (size_t i = 0; i < sweep->peak_count; i++) {
        size_t buffer = sweep->peak[i];
        uint64_t size = problem->size[buffer], align = problem->align[buffer];
        sweep->offset[buffer] = align_up(height, align);
        height = sweep->offset[buffer] + size;
        if (problem->chunk == 0) continue;
        struct hole_place place = holes_lowest(&sweep->holes, size, align);
        sweep->offset[buffer] = holes_bottom(&sweep->holes, place, size, align);
        holes_cut(&sweep->holes, place, sweep->offset[buffer], sweep->offset[buffer] + size);
    }
    if (problem->chunk == 0) holes_reset(&sweep->holes, height);
}

static inline __attribute__((always_inline)) void fetch(const struct two_sweeps *sweep, const uint32_t *list, size_t at,
                                                        size_t count)
{
    if (at >= count) return;
    problem_fetch(sweep->problem, list[at]);
    __builtin_prefetch(&sweep->offset[list[at]]);
}

/* One side: everything that begins after the peak, over and between what lives there. */
static void sweep_side(struct two_sweeps *sweep, const struct side *side, const struct manner *manner)
{
    const struct problem *problem = sweep->problem;
    stack_peak(sweep);
    size_t ended = 0;
    for (size_t i = 0; i < side->start_count; i++) {
        uint32_t begin = begin_of(problem, side, side->starts[i]);
        fetch(sweep, side->starts, i + PROBLEM_AHEAD, side->start_count);
        for (; ended < side->end_count && end_of(problem, side, side->ends[ended]) <= begin; ended++) {
            fetch(sweep, side->ends, ended + PROBLEM_AHEAD, side->end_count);
            give(sweep, side->ends[ended]);
        }
        take(sweep, side->starts[i], manner);
        if (i % LOOK_EVERY == 0 && must_end(sweep)) return;
    }
}

static void sweep_once(struct two_sweeps *sweep, const struct manner *manner, struct placement *best)
{
    const struct problem *problem = sweep->problem;
    sweep->given_up = false;
    sweep_side(sweep, &sweep->right, manner);
    if (!sweep->given_up) sweep_side(sweep, &sweep->left, manner);
    if (sweep->given_up) return;
    uint64_t arena = problem_arena(problem, sweep->offset);
    if (arena >= best->arena) return;
    best->arena = arena;
    memcpy(best->offset, sweep->offset, problem->count * sizeof *best->offset);
}

static bool two_sweeps_init(struct two_sweeps *sweep, const struct problem *problem, struct error *err)
{
    *sweep = (struct two_sweeps){.problem = problem};
    sweep->lists = mem_alloc(MEM_SEARCH, 3 * problem->count, sizeof *sweep->lists);
    if (!sweep->lists) return error_memory(err, 3 * problem->count * sizeof *sweep->lists, "placement by sweeping");
    TRY(list_events(sweep, err));
    sweep->offset = mem_alloc(MEM_SEARCH, problem->count, sizeof *sweep->offset);
    if (!sweep->offset) return error_memory(err, problem->count * sizeof *sweep->offset, "placement by sweeping");
    return holes_init(&sweep->holes, problem->count, problem->chunk, err);
}

static void two_sweeps_finish(struct two_sweeps *sweep)
{
    mem_free(sweep->lists);
    mem_free(sweep->offset);
    holes_finish(&sweep->holes);
}

bool sweep_improve(const struct problem *problem, enum sweep_part part, uint64_t target, struct placement *best,
                   struct error *err)
{
    struct two_sweeps sweep;
    uint64_t pass = 4 * problem_pass_steps(problem); /* steps over holes are quick ones */
    bool ok = two_sweeps_init(&sweep, problem, err);
    const struct manner manners[] = {{4, false, false},  {8, true, false},  {16, false, false}, {64, true, false},
                                     {64, false, false}, {0, false, false}, {0, false, true},   {0, true, false}};
    size_t from = part == SWEEP_REST, to = part == SWEEP_FIRST ? 1 : sizeof manners / sizeof manners[0];
    for (size_t i = from; ok && i < to && !problem_content(problem, target, best->arena) && !sweep.stopped; i++) {
        uint64_t used = sweep.holes.steps;
        if (pass > 0) sweep.most_steps = used + (pass > used ? pass - used : 0) / 2 + 1;
        sweep.may_stop = best->arena < UINT64_MAX;
        sweep_once(&sweep, &manners[i], best);
    }
    two_sweeps_finish(&sweep);
    return ok;
}
