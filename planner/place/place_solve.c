#include "place.h"

#include <math.h>

#include "clock.h"
#include "mem.h"
#include "place_eject.h"
#include "place_fast.h"
#include "place_groups.h"
#include "place_perfect.h"
#include "place_search.h"
#include "place_solve.h"
#include "place_sort.h"

#define LEAST_TRIES  64
#define MOST_TRIES   640
#define FAST_WORK    200000 /* buffers placed: a fraction of a second */
#define NEAR_DIVISOR 16
#define FEW_BUFFERS  400 /* below it the exact search comes before cuts: it may end by itself */
#define FEW_OF_SIDE  48  /* the same of a side */
#define SIDE_SHARE   4   /* of what a side has, the exact search may take a fourth */
#define SEARCH_UNITS 40  /* of a descent: what the exact search has between two rounds of cuts, at first */
#define FEW_UNITS    12  /* the same of HARD_BUFFERS */
#define UNITS_GROWTH 4   /* of that, from one round to the next */
#define SLOW_GROWTH  3   /* the same beside ejection */
#define STEPS_SHARE  3   /* of ejection's steps at first to that */
#define STEPS_GROWTH 12  /* of them, from one round to the next */

/* How long first fit may try orders before the exact search begins: to the end where that search is of no use, a
 * moment for a few hundred buffers. In buffers placed and not in time, so that the same is found each time. */
static uint64_t choose_work(const struct problem *problem, const struct place_options *options, bool exact)
{
    uint64_t count = problem->count, tries = count / 8;
    uint64_t least = LEAST_TRIES * count < FAST_WORK ? LEAST_TRIES * count : FAST_WORK;
    if (options->seconds <= 0 || options->nodes > 0) return least;
    if (!exact) return UINT64_MAX;
    return count * (tries < LEAST_TRIES ? LEAST_TRIES : tries > MOST_TRIES ? MOST_TRIES : tries);
}

static bool is_enough(const struct problem *problem, uint64_t target, const struct placement *best)
{
    return problem_content(problem, target, best->arena) || (best->arena < UINT64_MAX && problem_halted(problem));
}

/* The placers in rising order of cost; each stops at the target. Of many buffers, a brief pass that has come near ends
 * before those that take longer than all before them. */
static bool place_fast(const struct problem *problem, uint64_t target, const struct squeeze_limits *limits,
                       struct placement *best, struct error *err)
{
    bool many = problem->count >= MANY_BUFFERS;
    bool brief = many && limits->options->brief && problem->deadline_ns == 0;
    uint64_t near = problem->bound + problem->bound / NEAR_DIVISOR;
    if (!problem->any_fixed) TRY(sweep_improve(problem, many ? SWEEP_FIRST : SWEEP_ALL, target, best, err));
    if (is_enough(problem, target, best)) return true;
    uint64_t swept = best->arena;
    TRY(tiles_improve(problem, target, limits->options, best, err));
    if (is_enough(problem, target, best) || (brief && best->arena < swept && best->arena <= near)) return true;
    if (many) TRY(beside_improve(problem, target, best, err));
    if (!is_enough(problem, target, best) && many) TRY(patch_improve(problem, target, limits->options, best, err));
    if (is_enough(problem, target, best) || (brief && best->arena <= near)) return true;
    if (many && !problem->any_fixed) TRY(sweep_improve(problem, SWEEP_REST, target, best, err));
    if (is_enough(problem, target, best)) return true;
    TRY(perfect_improve(problem, limits->options, best, err));
    if (is_enough(problem, target, best) || (brief && best->arena <= near)) return true;
    TRY(core_improve(problem, target, best, err));
    if (is_enough(problem, target, best)) return true;
    if (!many) TRY(beside_improve(problem, target, best, err));
    if (!is_enough(problem, target, best) && !many) TRY(patch_improve(problem, target, limits->options, best, err));
    if (is_enough(problem, target, best)) return true;
    return squeeze_improve(problem, target, limits, best, err);
}

static void write_offsets(const struct problem *problem, const struct placement *best, struct place_buffer *buffers,
                          size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (buffers[i].size == 0) buffers[i].offset = buffers[i].fixed == PLACE_UNPLACED ? 0 : buffers[i].fixed;
    for (size_t i = 0; i < problem->count; i++) buffers[problem->origin[i]].offset = best->offset[i];
}

/* Whether the exact search may end: the aim is met, or cannot be. */
static bool is_settled(const struct place_options *options, uint64_t bound, const struct placement *best)
{
    return best->arena <= bound || best->arena <= options->capacity ||
           (options->capacity > 0 && bound > options->capacity);
}

/* What one of them finds at once the others take long for. */
struct turns {
    struct cuts *cuts;
    struct eject *eject; /* NULL where it is of no use */
};

static bool start_turns(struct turns *turns, const struct problem *problem, const struct place_options *options,
                        uint64_t target, struct error *err)
{
    *turns = (struct turns){.cuts = cuts_create(problem, options, target, err)};
    if (!turns->cuts) return false;
    if (problem->effort > 0 || !eject_fits(problem)) return true;
    turns->eject = eject_create(problem, options, ladder_lanes(options), err);
    return turns->eject != NULL;
}

static void finish_turns(struct turns *turns)
{
    cuts_destroy(turns->cuts);
    eject_destroy(turns->eject);
}

/* Rounds of guessed cuts, of the exact search and of ejection in turn; of few buffers and of many ejection waits until
 * there are no more cuts: the former soon fall to the search, the latter to cuts. Without another round of the others
 * the search has all that is left. Of a side's nodes all that either is given counts. */
static bool take_turns(const struct problem *problem, const struct place_options *options, uint64_t target,
                       struct placement *best, struct place_result *result, struct error *err)
{
    struct turns turns;
    uint64_t quota = problem->effort > 0             ? problem->effort / SIDE_SHARE
                     : problem->count < HARD_BUFFERS ? SEARCH_UNITS
                                                     : FEW_UNITS;
    uint64_t charged = 0;
    quota *= 512 + 2 * (uint64_t)problem->count;
    uint64_t steps = STEPS_SHARE * quota;
    bool ok = start_turns(&turns, problem, options, target, err), last = false, limits = options->nodes > 0;
    while (ok && !last && !is_settled(options, result->lower_bound_bytes, best) && !problem_halted(problem)) {
        struct place_options limited = *options;
        uint64_t nodes = 0;
        bool begin = charged > 0 || problem->count >= (problem->effort > 0 ? FEW_OF_SIDE : FEW_BUFFERS);
        if (begin && result->lower_bound_bytes <= target)
            ok = cuts_improve(turns.cuts, best, &charged, &result->nodes, err);
        if (!ok || is_settled(options, result->lower_bound_bytes, best)) break;
        if (limits && charged >= options->nodes) break;
        uint64_t left = limits ? options->nodes - charged : 0;
        last =
            (!cuts_more(turns.cuts) && !turns.eject) || result->lower_bound_bytes > target || (limits && quota >= left);
        limited.nodes = last ? left : quota;
        ok = ladder_improve(problem, &limited, best, &result->lower_bound_bytes, &nodes, err);
        result->nodes += nodes;
        charged += limited.nodes;
        bool early = problem->count >= FEW_BUFFERS && problem->count < HARD_BUFFERS;
        bool ejects = turns.eject && (early || !cuts_more(turns.cuts));
        if (ok && !last && ejects && !is_settled(options, result->lower_bound_bytes, best)) {
            eject_improve(turns.eject, target, steps, best, &result->nodes);
            problem_report(problem, options, result->lower_bound_bytes, best->arena);
        }
        uint64_t growth = ejects ? SLOW_GROWTH : UNITS_GROWTH;
        quota = quota < UINT64_MAX / growth ? growth * quota : UINT64_MAX;
        if (ejects) steps = steps < UINT64_MAX / STEPS_GROWTH ? STEPS_GROWTH * steps : UINT64_MAX;
    }
    finish_turns(&turns);
    return ok;
}

/* Where nodes are limited there are too few for guesses: the search has them all. */
static bool solve_exactly(const struct problem *problem, const struct place_options *options, uint64_t target,
                          struct placement *best, struct place_result *result, struct error *err)
{
    if (problem->effort > 0 || options->nodes == 0) return take_turns(problem, options, target, best, result, err);
    return ladder_improve(problem, options, best, &result->lower_bound_bytes, &result->nodes, err);
}

bool problem_solve(const struct problem *problem, const struct place_options *options, struct placement *best,
                   struct place_result *result, struct error *err)
{
    if (problem->count == 0) {
        result->proved_optimal = true;
        return true;
    }
    best->arena = UINT64_MAX;
    best->offset = mem_alloc(MEM_SEARCH, problem->count, sizeof *best->offset);
    if (!best->offset) return error_memory(err, problem->count * sizeof *best->offset, "offsets");
    TRY(problem_check_fixed(problem, err));
    uint64_t target = options->capacity > problem->bound ? options->capacity : problem->bound;
    result->lower_bound_bytes = problem->bound;
    bool possible = options->capacity == 0 || options->capacity >= problem->bound;
    bool more = possible && options->seconds > 0, apart = false, exact = more;
    if (more) TRY(parts_any(problem, &apart, err));
    if (more && !apart) TRY(ladder_fits(problem, options, &exact, err));
    struct squeeze_limits limits = {.work = choose_work(problem, options, exact),
                                    .steps = problem_pass_steps(problem),
                                    .threads = options->seconds > 0 ? ladder_lanes(options) : 1,
                                    .options = options};
    TRY(place_fast(problem, target, &limits, best, err));
    bool settled = problem_content(problem, target, best->arena);
    if (!settled && exact && apart)
        TRY(parts_improve(problem, options, best, &result->lower_bound_bytes, &result->nodes, err));
    else if (!settled && exact)
        TRY(solve_exactly(problem, options, target, best, result, err));
    result->arena_bytes = best->arena;
    result->peak_instant = problem->instant[problem->peak];
    result->first_bound_bytes = problem->bound;
    result->live_bytes = problem->live[problem->peak];
    result->proved_optimal = best->arena == result->lower_bound_bytes;
    return true;
}

bool place_solve(struct place_buffer *buffers, size_t count, const struct place_options *options,
                 struct place_result *result, struct error *err)
{
    if (groups_any(buffers, count)) return groups_solve(buffers, count, options, result, err);
    uint64_t start = clock_now_ns();
    struct problem problem;
    struct placement best = {0};
    struct place_result found = {0};
    TRY(problem_init(&problem, buffers, count, err));
    problem.quit = options->stop;
    problem.enough = options->enough;
    if (options->seconds > 0) problem.deadline_ns = start + (uint64_t)(fmin(options->seconds, 1e9) * 1e9);
    bool ok = problem_solve(&problem, options, &best, &found, err);
    if (ok) {
        write_offsets(&problem, &best, buffers, count);
        found.seconds = (double)(clock_now_ns() - start) * 1e-9;
        *result = found;
    }
    mem_free(best.offset);
    problem_finish(&problem);
    return ok;
}

static bool bound_storages(const struct place_buffer *buffers, size_t count, uint64_t *bytes, uint64_t *instant,
                           struct error *err)
{
    struct groups groups;
    TRY(groups_init(&groups, buffers, count, err));
    bool ok = place_lower_bound(groups.pieces, groups.piece_count, bytes, instant, err);
    groups_finish(&groups);
    return ok;
}

bool place_lower_bound(const struct place_buffer *buffers, size_t count, uint64_t *bytes, uint64_t *instant,
                       struct error *err)
{
    struct problem problem;
    if (groups_any(buffers, count)) return bound_storages(buffers, count, bytes, instant, err);
    TRY(problem_init(&problem, buffers, count, err));
    *bytes = problem.bound;
    *instant = problem.count ? problem.instant[problem.peak] : 0;
    problem_finish(&problem);
    return true;
}

bool place_live_at(const struct place_buffer *buffers, size_t count, uint64_t instant, uint32_t *indices, size_t *live,
                   struct error *err)
{
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * count, sizeof *pairs);
    if (!pairs) return error_memory(err, 2 * count * sizeof *pairs, "the live buffers");
    *live = 0;
    for (size_t i = 0; i < count; i++)
        if (buffers[i].size > 0 && buffers[i].lower <= instant && instant < buffers[i].upper)
            pairs[(*live)++] = (struct sort_pair){~buffers[i].size, (uint32_t)i};
    sort_pairs(pairs, pairs + count, *live);
    for (size_t i = 0; i < *live; i++) indices[i] = pairs[i].index;
    mem_free(pairs);
    return true;
}
