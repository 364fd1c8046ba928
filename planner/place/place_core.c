/* Placing from a window of time: what lives throughout the window lies at the bottom of the arena, where it is in
 * nobody's way, and the few others in it are placed by the exact search, so that the fullest sections meet the bound;
 * first fit adds the rest around them. In a deep network's step, where thousands of buffers live at the peak, all but a
 * few dozen of them live for so long that their order is of no account, and those few are a puzzle that orders alone
 * solve by chance. */
#include <string.h>

#include "mem.h"
#include "place_fast.h"
#include "place_firstfit.h"
#include "place_search.h"
#include "place_solve.h"

#define MOST_INNER 256 /* buffers that the exact search is asked about */
#define TRIES      128 /* of it: short ones, since an order that works makes few mistakes */
#define FIRST_SIDE 8   /* sections on each side of the peak */
#define LAST_SIDE  24
#define TRY_NODES  2 /* of a try, for each buffer */

struct core {
    const struct problem *problem;
    uint64_t target;
    uint32_t from, to; /* the window, in sections */
    struct place_buffer inner[MOST_INNER];
    uint32_t inner_index[MOST_INNER];
    size_t inner_count;
    uint64_t base;           /* what lives throughout the window takes so much */
    struct sort_pair *pairs; /* those buffers, the longest first; then scratch */
    size_t pair_count;
    uint64_t *fixed; /* of each buffer: its offset, or PLACE_UNPLACED where it is left to first fit */
    uint64_t *load;
    uint32_t *order;
};

/* Who meets the window; false where they are too many. */
static bool look_through(struct core *core)
{
    const struct problem *problem = core->problem;
    core->inner_count = core->pair_count = 0;
    core->base = 0;
    for (uint32_t i = 0; i < problem->count; i++) {
        uint32_t first = problem->first[i], last = problem->last[i];
        if (first >= core->to || last <= core->from) continue;
        if (first <= core->from && last >= core->to) {
            core->base += problem->size[i];
            core->pairs[core->pair_count++] = (struct sort_pair){UINT32_MAX - (last - first), i};
            continue;
        }
        if (core->inner_count == MOST_INNER) return false;
        core->inner_index[core->inner_count] = i;
        core->inner[core->inner_count++] = (struct place_buffer){.lower = first > core->from ? first : core->from,
                                                                 .upper = last < core->to ? last : core->to,
                                                                 .size = problem->size[i],
                                                                 .align = problem->align[i],
                                                                 .fixed = PLACE_UNPLACED};
    }
    return true;
}

/* Every order once, then orders that are all but random: where sizes and lengths lead astray, they do it always. */
static struct search_job make_job(const struct core *core, uint32_t number)
{
    bool plain = number<SEARCH_ORDERS, random = number % 4> 0;
    return (struct search_job){.capacity = core->target - core->base,
                               .most_nodes = TRY_NODES * core->inner_count + 16,
                               .order = plain    ? (enum search_order)number
                                        : random ? SEARCH_BY_LOAD
                                                 : (enum search_order)(number / 4 % SEARCH_ORDERS),
                               .noise = plain ? 0 : 0.7,
                               .seed = number,
                               .quit = core->problem->quit,
                               .deadline_ns = core->problem->deadline_ns};
}

/* The window alone, above the base; offsets go to inner[]. */
static bool search_window(struct core *core, const struct problem *window, bool *found, struct error *err)
{
    struct search_tables tables;
    uint64_t offset[MOST_INNER], nodes;
    TRY(search_tables_init(&tables, window, err));
    tables.trail_bytes = PLACE_MEMORY_BYTES / 4;
    struct search *search = search_create(&tables, err);
    enum search_verdict verdict = search ? SEARCH_STOPPED : SEARCH_NO_MEMORY;
    for (uint32_t i = 0; verdict == SEARCH_STOPPED && i < TRIES; i++) {
        struct search_job job = make_job(core, i);
        verdict = search_run(search, &job, offset, &nodes);
    }
    *found = verdict == SEARCH_FOUND;
    for (size_t i = 0; *found && i < window->count; i++) core->inner[window->origin[i]].offset = offset[i];
    if (search && verdict == SEARCH_NO_MEMORY) error_memory(err, window->count * sizeof *offset, "a window's search");
    search_destroy(search);
    search_tables_finish(&tables);
    return verdict != SEARCH_NO_MEMORY;
}

static bool solve_window(struct core *core, bool *found, struct error *err)
{
    struct problem window;
    TRY(problem_init(&window, core->inner, core->inner_count, err));
    bool ok = search_window(core, &window, found, err);
    problem_finish(&window);
    return ok;
}

static void fix_window(struct core *core)
{
    const struct problem *problem = core->problem;
    uint64_t height = 0;
    for (size_t i = 0; i < problem->count; i++) core->fixed[i] = PLACE_UNPLACED;
    sort_pairs(core->pairs, core->pairs + problem->count, core->pair_count);
    for (size_t i = 0; i < core->pair_count; i++) {
        uint32_t buffer = core->pairs[i].index;
        core->fixed[buffer] = height;
        height += problem->size[buffer];
    }
    for (size_t i = 0; i < core->inner_count; i++)
        core->fixed[core->inner_index[i]] = core->base + core->inner[i].offset;
}

/* First fit of all that is not fixed, in one order after another until one meets the target. */
static bool place_rest(struct core *core, const struct problem *problem, const enum firstfit_order *orders,
                       size_t order_count, struct placement *best, struct error *err)
{
    struct firstfit firstfit;
    struct firstfit_limits limits = {
        .deadline_ns = problem->deadline_ns, .steps = problem_pass_steps(problem) / 8, .quit = problem->quit};
    enum firstfit_outcome outcome = FIRSTFIT_PLACED;
    TRY(firstfit_init(&firstfit, problem, err));
    for (size_t i = 0; i < order_count && outcome == FIRSTFIT_PLACED; i++) {
        uint64_t arena;
        if (problem_content(problem, core->target, best->arena)) break;
        firstfit_make_order(&firstfit, core->load, orders[i], 0, 0, core->order);
        outcome = firstfit_place(&firstfit, core->order, &limits, &arena);
        if (outcome != FIRSTFIT_PLACED || arena >= best->arena) continue;
        best->arena = arena;
        memcpy(best->offset, firstfit.offset, problem->count * sizeof *best->offset);
    }
    firstfit_finish(&firstfit);
    return outcome != FIRSTFIT_NO_MEMORY ||
           error_memory(err, problem->count * sizeof *core->fixed, "first-fit placement");
}

/* The window's placement, with the rest around it. */
static bool place_around(struct core *core, struct placement *best, struct error *err)
{
    static const enum firstfit_order orders[] = {FIRSTFIT_AREA, FIRSTFIT_LOAD};
    struct problem around = *core->problem;
    fix_window(core);
    around.fixed = core->fixed;
    around.any_fixed = true;
    return place_rest(core, &around, orders, sizeof orders / sizeof orders[0], best, err);
}

/* The window of so many sections on each side of the peak. False where it is all there is, and where few live
 * throughout it: there is nothing then that it tells apart. */
static bool choose_window(struct core *core, uint32_t side)
{
    const struct problem *problem = core->problem;
    core->from = problem->peak > side ? problem->peak - side : 0;
    core->to = problem->sections - problem->peak > side + 1 ? problem->peak + side + 1 : problem->sections;
    if (core->from == 0 && core->to == problem->sections) return false;
    return look_through(core) && core->pair_count >= core->inner_count;
}

/* Windows each three times as wide as the one before, until the search has no answer: what stands in the way of a
 * narrow one stands in that of a wide one. Before them the one order that mostly makes them needless. */
static bool improve(struct core *core, struct placement *best, struct error *err)
{
    static const enum firstfit_order plain[] = {FIRSTFIT_PEAK_END};
    bool found = choose_window(core, FIRST_SIDE);
    if (found) TRY(place_rest(core, core->problem, plain, 1, best, err));
    for (uint32_t side = FIRST_SIDE; found && side <= LAST_SIDE; side *= 3) {
        if (problem_content(core->problem, core->target, best->arena) || problem_halted(core->problem)) break;
        if (!choose_window(core, side)) break;
        if (core->inner_count > 0) TRY(solve_window(core, &found, err));
        if (found) TRY(place_around(core, best, err));
    }
    return true;
}

bool core_improve(const struct problem *problem, uint64_t target, struct placement *best, struct error *err)
{
    if (problem->any_fixed || problem->mixed_align || problem->chunk > 0) return true;
    struct core *core = mem_zalloc(MEM_SEARCH, 1, sizeof *core);
    if (!core) return error_memory(err, sizeof *core, "placement from a window");
    core->problem = problem;
    core->target = target;
    core->pairs = mem_alloc(MEM_SEARCH, 2 * problem->count, sizeof *core->pairs);
    core->fixed = mem_alloc(MEM_SEARCH, problem->count, sizeof *core->fixed);
    core->load = mem_alloc(MEM_SEARCH, problem->count, sizeof *core->load);
    core->order = mem_alloc(MEM_SEARCH, problem->count, sizeof *core->order);
    bool ok = core->pairs && core->fixed && core->load && core->order;
    if (!ok) error_memory(err, problem->count * 52, "placement from a window");
    ok = ok && firstfit_find_load(problem, core->load, err) && improve(core, best, err);
    mem_free(core->pairs);
    mem_free(core->fixed);
    mem_free(core->load);
    mem_free(core->order);
    mem_free(core);
    return ok;
}
