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

/* What begins after the peak, in the direction of the sweep, and what ends after it. */
struct side {
    struct sort_pair *starts, *ends; /* by section; of the starts in one section the longest first */
    size_t start_count, end_count;
};

struct sweep {
    const struct problem *problem;
    struct side right, left;
    struct sort_pair *peak, *scratch; /* the buffers of the fullest section, the longest first */
    size_t peak_count;
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

static void take(struct sweep *sweep, size_t buffer, const struct manner *manner)
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

static void give(struct sweep *sweep, size_t buffer)
{
    uint64_t low = sweep->offset[buffer], high = low + sweep->problem->size[buffer];
    holes_give(&sweep->holes, low, high);
}

/* One buffer by its run in the direction of the side's sweep, whose peak is a section. */
static void list_event(struct side *side, uint64_t begin, uint64_t end, uint64_t peak, uint32_t buffer)
{
    if (begin > peak)
        side->starts[side->start_count++] = (struct sort_pair){begin << 32 | (UINT32_MAX - (end - begin)), buffer};
    if (end > peak) side->ends[side->end_count++] = (struct sort_pair){end, buffer};
}

static void sort_events(struct sweep *sweep)
{
    const struct problem *problem = sweep->problem;
    uint64_t sections = problem->sections, peak = problem->peak;
    for (uint32_t i = 0; i < problem->count; i++) {
        uint64_t first = problem->first[i], last = problem->last[i];
        list_event(&sweep->right, first, last, peak, i);
        list_event(&sweep->left, sections - last, sections - first, sections - 1 - peak, i);
        if (first <= peak && peak < last)
            sweep->peak[sweep->peak_count++] = (struct sort_pair){UINT32_MAX - (last - first), i};
    }
    struct side *sides[] = {&sweep->right, &sweep->left};
    for (size_t i = 0; i < 2; i++) {
        sort_pairs(sides[i]->starts, sweep->scratch, sides[i]->start_count);
        sort_pairs(sides[i]->ends, sweep->scratch, sides[i]->end_count);
    }
    sort_pairs(sweep->peak, sweep->scratch, sweep->peak_count);
}

/* Looks at the limits. */
static bool must_end(struct sweep *sweep)
{
    if (!sweep->may_stop) return false;
    if (problem_halted(sweep->problem)) sweep->stopped = true;
    sweep->given_up = sweep->stopped || (sweep->most_steps > 0 && sweep->holes.steps > sweep->most_steps);
    return sweep->given_up;
}

/* Lays the buffers of the fullest section one on the other, as low as chunks let them; the holes are what is left. */
static void stack_peak(struct sweep *sweep)
{
    const struct problem *problem = sweep->problem;
    uint64_t height = 0;
    if (problem->chunk > 0) holes_reset(&sweep->holes, 0);
    for (size_t i = 0; i < sweep->peak_count; i++) {
        size_t buffer = sweep->peak[i].index;
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

/* One side: everything that begins after the peak, over and between what lives there. */
static void sweep_side(struct sweep *sweep, const struct side *side, const struct manner *manner)
{
    stack_peak(sweep);
    size_t ended = 0;
    for (size_t i = 0; i < side->start_count; i++) {
        uint64_t begin = side->starts[i].key >> 32;
        for (; ended < side->end_count && side->ends[ended].key <= begin; ended++) give(sweep, side->ends[ended].index);
        take(sweep, side->starts[i].index, manner);
        if (i % LOOK_EVERY == 0 && must_end(sweep)) return;
    }
}

static void sweep_once(struct sweep *sweep, const struct manner *manner, struct placement *best)
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

static bool sweep_reserve(struct sweep *sweep, size_t count, struct error *err)
{
    struct sort_pair **lists[] = {&sweep->right.starts, &sweep->right.ends, &sweep->left.starts,
                                  &sweep->left.ends,    &sweep->peak,       &sweep->scratch};
    bool ok = true;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        *lists[i] = mem_alloc(MEM_SEARCH, count, sizeof **lists[i]);
        ok &= *lists[i] != NULL;
    }
    sweep->offset = mem_alloc(MEM_SEARCH, count, sizeof *sweep->offset);
    if (!ok || !sweep->offset) return error_memory(err, count * 104, "placement by sweeping");
    return holes_init(&sweep->holes, count, sweep->problem->chunk, err);
}

static void sweep_finish(struct sweep *sweep)
{
    mem_free(sweep->right.starts);
    mem_free(sweep->right.ends);
    mem_free(sweep->left.starts);
    mem_free(sweep->left.ends);
    mem_free(sweep->peak);
    mem_free(sweep->scratch);
    mem_free(sweep->offset);
    holes_finish(&sweep->holes);
}

bool sweep_improve(const struct problem *problem, enum sweep_part part, uint64_t target, struct placement *best,
                   struct error *err)
{
    struct sweep sweep = {.problem = problem};
    uint64_t pass = 4 * problem_pass_steps(problem); /* steps over holes are quick ones */
    bool ok = sweep_reserve(&sweep, problem->count, err);
    if (ok) sort_events(&sweep);
    const struct manner manners[] = {{4, false, false},  {8, true, false},  {16, false, false}, {64, true, false},
                                     {64, false, false}, {0, false, false}, {0, false, true},   {0, true, false}};
    size_t from = part == SWEEP_REST, to = part == SWEEP_FIRST ? 1 : sizeof manners / sizeof manners[0];
    for (size_t i = from; ok && i < to && best->arena > target && !sweep.stopped; i++) {
        uint64_t used = sweep.holes.steps;
        if (pass > 0) sweep.most_steps = used + (pass > used ? pass - used : 0) / 2 + 1;
        sweep.may_stop = best->arena < UINT64_MAX;
        sweep_once(&sweep, &manners[i], best);
    }
    sweep_finish(&sweep);
    return ok;
}
