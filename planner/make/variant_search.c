/* The fastest way to keep a variant's blocks that fits its device.
 *
 * The chain counts blocks, the arena counts bytes after placement: which of the chain's limits is the largest whose
 * placed arena fits has to be tried. The limits are steps of a ladder that depends on the chain alone, and the largest
 * that fits is found by halving it: with more memory each answer on the way is the same or "fits" instead of not, so
 * that the search ends on the same step or a higher one, whose schedule is never slower.
 *
 * Copies to host memory end when the link lets them, so for schedules with copies that holds of their time by the
 * chain's prices, not of the simulated one: with them every step up to that highest one is a candidate, and the one
 * that is the fastest by simulated streams is taken of those that fit. More memory only adds candidates. Passed over
 * are those alone of which a bound shows that they are no faster than what is at hand. (Of deep chains the steps from
 * 7/8 of the limit on are looked at: tables for all would take longer.) */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "block_costs.h"
#include "copy_bounds.h"
#include "mem.h"
#include "timeline.h"
#include "variant_private.h"

void candidate_finish(struct candidate *candidate)
{
    draft_finish(&candidate->draft);
    *candidate = (struct candidate){0};
}

/* A step of the ladder is this part of the limit; up to so many quanta it is one. */
#define STEP_DIVISOR 96u
#define FINE_QUANTA  1024u
/* An arena is within these parts of what the chain says, and needs no trial to be told from limits beyond: eighths. */
#define SURELY_FITS   7u
#define SURELY_NOT    9u
#define SURELY_EIGHTH 8u

static uint64_t least_expected(uint64_t quanta) { return quanta / SURELY_EIGHTH * SURELY_FITS; }
static uint64_t most_expected(uint64_t quanta) { return quanta / SURELY_EIGHTH * SURELY_NOT + SURELY_EIGHTH; }

/* Limits of the chain: steps[0] is the least, the last lets everything be kept. */
struct ladder {
    uint64_t *steps;
    size_t count, capacity;
};

static bool build_ladder(const struct chain *chain, uint64_t least, uint64_t fine, struct ladder *ladder,
                         struct error *err)
{
    struct chain_schedule all;
    TRY(chain_solve(chain, UINT64_MAX, 0, &all, err));
    uint64_t most = all.peak_quanta;
    chain_schedule_finish(&all);
    for (uint64_t limit = least;; limit += 1 + (limit > fine ? limit / STEP_DIVISOR : 0)) {
        if (!mem_grow(MEM_PLAN, (void **)&ladder->steps, &ladder->capacity, ladder->count + 1, sizeof limit))
            return error_memory(err, (ladder->count + 1) * sizeof limit, "a search");
        ladder->steps[ladder->count++] = limit < most ? limit : most;
        if (limit >= most) return true;
    }
}

/* What a quantum's way to the host and back takes, if nothing hides it. */
static double copy_seconds(const struct making *making, const struct block_costs *blocks)
{
    double rate = making->request->device->host_bandwidth;
    return 2 * (double)blocks->quantum_bytes / (rate > 0 ? rate : TIMELINE_STANDIN_HOST_BANDWIDTH);
}

static struct copy_bounds bounds_of(const struct making *making, const struct block_costs *blocks)
{
    const struct variant_request *request = making->request;
    return (struct copy_bounds){&blocks->chain, copy_seconds(making, blocks), request->micro_batches,
                                blocks->quantum_bytes, request->plan->offload_bytes};
}

/* The search over one chain. */
struct search {
    const struct making *making;
    const struct chain *chain;
    struct ladder ladder;
    struct chain_table *table;
    uint64_t table_bytes;
    bool copies; /* some blocks wait in host memory */
    struct copy_bounds bounds;
    size_t bottom;          /* the table's first step */
    size_t sure;            /* taken to fit */
    size_t fitting;         /* the highest step known to fit, when best is not empty */
    size_t hopeless;        /* from this on none is tried; all may be where it is their number */
    struct candidate *best; /* of the steps tried, the highest that fits */
    uint64_t expected;      /* quanta that the arena's limit stands for */
    bool exceeded; /* a limit within them did not fit, whose schedule needs more than the limit: a loose chain's */
};

/* The fastest of all searches, by simulated streams. */
struct fastest {
    struct candidate *best;
    bool *fits;
    bool dearer_too; /* the last search found none faster, nor would one where copies have a higher price */
};

/* Tables of chains of so many blocks may have all limits. */
#define SHALLOW_CHAIN 72

/* A table for the step and all below it: little dearer than one for a few of them. */
static bool lower_table(struct search *search, size_t step, struct error *err)
{
    const uint64_t *steps = search->ladder.steps;
    chain_table_destroy(search->table);
    search->table = chain_table_create(search->chain, steps[0], steps[step], search->table_bytes, err);
    search->bottom = 0;
    return search->table != NULL;
}

static bool schedule_step(struct search *search, size_t step, struct chain_schedule *schedule, struct error *err)
{
    if (step < search->bottom) TRY(lower_table(search, step, err));
    return chain_table_schedule(search->table, search->ladder.steps[step], schedule, err);
}

static bool try_step(struct search *search, size_t step, bool *fits, struct error *err)
{
    struct chain_schedule schedule;
    struct candidate candidate = {0};
    TRY(schedule_step(search, step, &schedule, err));
    bool exceeds = schedule.peak_quanta > search->ladder.steps[step] && search->ladder.steps[step] <= search->expected;
    bool ok = making_try(search->making, &schedule, false, &candidate, fits, err);
    chain_schedule_finish(&schedule);
    search->exceeded |= exceeds && !*fits;
    if (ok && *fits) {
        candidate_finish(search->best);
        *search->best = candidate;
        return true;
    }
    candidate_finish(&candidate);
    return ok;
}

/* The first step above a number of quanta, or the last. */
static size_t find_step(const struct ladder *ladder, uint64_t quanta)
{
    size_t step = 0;
    while (step + 1 < ladder->count && ladder->steps[step] <= quanta) step++;
    return step;
}

/* Halving [low, high): low is taken to fit, high not. */
static bool halve(struct search *search, struct error *err)
{
    size_t low = 0, high = search->ladder.count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        bool fits = middle <= search->sure;
        if (middle > search->sure && middle < search->hopeless) TRY(try_step(search, middle, &fits, err));
        if (fits)
            low = middle;
        else
            high = middle;
    }
    search->fitting = low;
    return true;
}

/* Should not even what was taken for sure fit, smaller steps do. */
static bool step_down(struct search *search, struct error *err)
{
    bool fits = search->best->draft.home != NULL;
    for (size_t step = search->fitting, by = 1; !fits; by *= 2) {
        TRY(try_step(search, step, &fits, err));
        if (step == 0) return true;
        step = step > by ? step - by : 0;
    }
    return true;
}

/* Which steps cannot be told from those that fit without a trial. */
static void set_range(struct search *search, uint64_t expected)
{
    size_t sure = find_step(&search->ladder, least_expected(expected));
    search->sure = sure > 0 ? sure - 1 : 0;
    search->hopeless = find_step(&search->ladder, most_expected(expected));
    if (search->hopeless + 1 == search->ladder.count) search->hopeless++;
}

/* All limits between the two that are not told apart without a trial. */
static bool search_ladder(struct search *search, struct error *err)
{
    const struct ladder *ladder = &search->ladder;
    bool all = search->copies && search->chain->count <= SHALLOW_CHAIN;
    search->bottom = all ? 0 : search->sure;
    uint64_t high = search->hopeless < ladder->count ? ladder->steps[search->hopeless] : UINT64_MAX;
    search->table = chain_table_create(search->chain, ladder->steps[search->bottom], high, search->table_bytes, err);
    return search->table && halve(search, err) && step_down(search, err);
}

/* The schedule of least memory: where that is near the limit it decides, without any table, whether others need be
 * looked at. Of a deep network it runs millions of ops, and is not drafted where it is sure to fit. */
static bool try_least(const struct making *making, const struct chain *chain, bool in_any_case,
                      struct candidate *candidate, bool *fits, struct error *err)
{
    struct chain_schedule schedule;
    TRY(chain_solve_least(chain, &schedule, err));
    bool ok = making_try(making, &schedule, in_any_case, candidate, fits, err);
    chain_schedule_finish(&schedule);
    return ok;
}

/* Prices of copies are guesses, and several are tried: exact quanta would be lost on them. */
#define PRICED_TABLE_BYTES ((uint64_t)64 << 20)

/* All that the arena's limit stands for; and all limits below the next step, which did not fit, where that is more. */
static uint64_t bounded_limit(const struct search *search, uint64_t expected)
{
    const struct ladder *ladder = &search->ladder;
    size_t next = search->fitting + 1;
    uint64_t limit = next < ladder->count ? ladder->steps[next] - 1 : ladder->steps[search->fitting];
    return expected > limit ? expected : limit;
}

/* The least time, by the blocks' measures, of schedules within a limit, if it is known from the fastest one found. */
static void take_bound(struct candidate *best, uint64_t limit, const struct chain_schedule *fastest)
{
    double seconds = fastest->seconds < best->chain_seconds ? fastest->seconds : best->chain_seconds;
    best->chain_limit = limit;
    best->bound_seconds = fastest->optimal ? seconds : 0;
}

static bool bound_best(const struct search *search, uint64_t expected, struct error *err)
{
    uint64_t limit = bounded_limit(search, expected);
    struct chain_schedule fastest;
    TRY(chain_table_schedule(search->table, limit, &fastest, err));
    take_bound(search->best, limit, &fastest);
    chain_schedule_finish(&fastest);
    return true;
}

/* Longer chains are searched less, as each search takes long: with rows of inputs that are made again for the lower
 * prices of copies alone, the parts without. */
#define SHORT_CHAIN 64

/* ---- Schedules for less memory ---- */

/* Whether a bound shows, without any table, that none of the steps is of use. */
static bool is_in_vain(const struct search *search, const struct fastest *fastest, bool *vain, struct error *err)
{
    size_t top = search->hopeless < search->ladder.count ? search->hopeless : search->ladder.count - 1;
    double seconds = *fastest->fits ? fastest->best->seconds : HUGE_VAL;
    return copy_bounds_vain(&search->bounds, search->ladder.steps[top], seconds, vain, err);
}

static bool same_schedule(const struct chain_schedule *a, const struct chain_schedule *b)
{
    return a->count == b->count && memcmp(a->steps, b->steps, a->count * sizeof *a->steps) == 0;
}

/* A schedule that is faster than its bound says would have been passed over where more is at hand: it is not taken. */
static bool try_below(const struct search *search, const struct chain_schedule *schedule, struct fastest *fastest,
                      struct error *err)
{
    double least = copy_bounds_schedule(&search->bounds, schedule);
    if (*fastest->fits && least >= fastest->best->seconds) return true;
    return copy_bounds_overflow(&search->bounds, (double)schedule->copied_quanta) ||
           variant_try_faster(search->making, schedule, least, fastest->best, fastest->fits, err);
}

/* A schedule without copies that is too slow. At a higher price of copies those of its limit have none either, and are
 * as slow. */
static bool is_slow_without(const struct search *search, const struct chain_schedule *schedule,
                            const struct fastest *fastest)
{
    return *fastest->fits && schedule->copied_quanta == 0 &&
           copy_bounds_schedule(&search->bounds, schedule) >= fastest->best->seconds;
}

/* From the highest step that fits down, until none can be faster. Those above are only looked at for higher prices. */
static bool look_below(struct search *search, struct fastest *fastest, struct error *err)
{
    struct chain_schedule before = {0}, schedule;
    bool ok = true, over = false, slow = search->chain->copy_seconds > 0 && search->hopeless < search->ladder.count;
    size_t above = slow ? search->hopeless : search->fitting;
    size_t lowest = search->chain->count > SHALLOW_CHAIN ? search->bottom : 0;
    for (size_t step = above + 1; ok && !over && step > lowest; before = schedule) {
        if (!slow && step > search->fitting + 1) step = search->fitting + 1;
        ok = schedule_step(search, --step, &schedule, err);
        if (!ok) break;
        over = *fastest->fits && copy_bounds_all(&search->bounds, schedule.seconds) >= fastest->best->seconds;
        slow = slow && (over || is_slow_without(search, &schedule, fastest));
        if (!over && step <= search->fitting && !same_schedule(&schedule, &before))
            ok = try_below(search, &schedule, fastest, err);
        chain_schedule_finish(&before);
    }
    chain_schedule_finish(&before);
    fastest->dearer_too = slow;
    return ok;
}

/* The schedule of least memory may be all that fits. */
static bool search_below(struct search *search, struct fastest *fastest, struct candidate *highest, struct error *err)
{
    TRY(look_below(search, fastest, err));
    if (search->fitting > 0 || !making_host_fits(search->making, highest)) return true;
    return variant_take_faster(search->making, fastest->best, fastest->fits, highest, err);
}

/* `fastest`: of a chain with copies, or NULL. */
static bool search_chain(const struct making *making, const struct block_costs *blocks, uint64_t table_bytes,
                         struct fastest *fastest, struct candidate *best, bool *fits, struct error *err)
{
    struct search search = {.making = making,
                            .chain = &blocks->chain,
                            .table_bytes = table_bytes,
                            .copies = fastest != NULL,
                            .bounds = bounds_of(making, blocks),
                            .best = best};
    uint64_t limit = making_arena_limit(making, 2 * making->variant->graph->op_count, 0);
    uint64_t expected = block_costs_quanta(blocks, limit), least = chain_least_limit(&blocks->chain);
    *fits = false;
    search.expected = expected;
    if (least == UINT64_MAX) return error_memory(err, blocks->chain.count * sizeof *blocks->chain.blocks, "a search");
    if (least > most_expected(expected)) return true;
    if (least > least_expected(expected)) {
        TRY(try_least(making, &blocks->chain, false, best, fits, err));
        if (!*fits) return true;
    }
    uint64_t fine = fastest ? 0 : FINE_QUANTA;
    bool ok = build_ladder(&blocks->chain, least, fine, &search.ladder, err), vain = false;
    if (ok) set_range(&search, expected);
    if (ok && fastest) ok = is_in_vain(&search, fastest, &vain, err);
    if (ok && !vain) ok = search_ladder(&search, err);
    *fits = ok && !vain && best->draft.home != NULL;
    if (*fits && !fastest) ok = bound_best(&search, expected, err);
    if (*fits && fastest) ok = search_below(&search, fastest, best, err);
    if (vain) fastest->dearer_too = true;
    best->exceeded = search.exceeded;
    chain_table_destroy(search.table);
    mem_free(search.ladder.steps);
    return ok;
}

/* ---- Copies to host memory ---- */

/* What the blocks are set to cost. */
static bool search_other(const struct making *making, struct block_costs *blocks, struct fastest *fastest,
                         struct error *err)
{
    struct candidate highest = {0};
    bool unused;
    fastest->dearer_too = false;
    bool ok = search_chain(making, blocks, PRICED_TABLE_BYTES, fastest, &highest, &unused, err);
    candidate_finish(&highest);
    return ok;
}

/* Parts of the blocks that wait in host memory, while the others are kept or run again, as is fastest. */
#define PARTS 8

static bool search_parts(const struct making *making, struct block_costs *blocks, struct fastest *fastest,
                         struct error *err)
{
    static const uint32_t keeps[] = {KEEP_CONVOLUTIONS | KEEP_ON_HOST, KEEP_ALL | KEEP_ON_HOST};
    static const size_t parts[PARTS - 1] = {4, 5, 3, 6, 2, 7, 1}; /* what is fast early spares others */
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof keeps / sizeof keeps[0]; i++)
        for (size_t p = 0; ok && p < PARTS - 1; p++) {
            block_costs_send(blocks, keeps[i], blocks->chain.count * parts[p] / PARTS);
            ok = search_other(making, blocks, fastest, err);
        }
    block_costs_send(blocks, 0, 0);
    return ok;
}

static bool search_prices(const struct making *making, struct block_costs *blocks, struct fastest *fastest,
                          struct error *err)
{
    static const double prices[] = {0.25, 0.5, 1, 2, 4};
    size_t count = blocks->chain.count > SHORT_CHAIN ? 3 : sizeof prices / sizeof prices[0];
    bool ok = true;
    fastest->dearer_too = false;
    for (size_t i = 0; ok && i < count && !fastest->dearer_too; i++) {
        block_costs_set_price(blocks, prices[i] * copy_seconds(making, blocks));
        ok = search_other(making, blocks, fastest, err);
    }
    block_costs_set_price(blocks, 0);
    return ok;
}

/* Copies hide behind computing as far as the link lets them, so what they cost lies between nothing and their length:
 * schedules for several prices are tried, and the fastest on simulated streams is taken. Where host memory is limited,
 * higher prices send less, but blocks that are alike would all leave or none: so parts of them are sent, too. Without
 * rows of inputs that are made again quanta are finer, and streams fare otherwise. What is tried does not depend on
 * that limit, so that more host memory never makes a slower plan. More of the device's may where the chain is deep, and
 * where blocks that wait alone decide (variant_host.c). */
static bool search_host(const struct making *making, struct block_costs *blocks, struct candidate *best, bool *fits,
                        struct error *err)
{
    struct fastest fastest = {best, fits, false};
    const uint32_t most_remade = blocks->chain.most_remade;
    const bool loose = blocks->chain.loose;
    bool brief = blocks->chain.count > SHORT_CHAIN;
    if (*fits) TRY(variant_time(making, best, err));
    blocks->chain.loose = true;
    bool ok = brief || (search_prices(making, blocks, &fastest, err) && search_parts(making, blocks, &fastest, err));
    blocks->chain.most_remade = 0;
    ok = ok && (brief || search_prices(making, blocks, &fastest, err)) && search_parts(making, blocks, &fastest, err);
    blocks->chain.most_remade = most_remade;
    ok = ok && (!brief || search_prices(making, blocks, &fastest, err));
    blocks->chain.loose = loose;
    return ok;
}

/* Of the faster of two candidates, when `chain` is the first's, which has more schedules, and `limit` and `bound` are
 * what was known of it. The second may have been given more memory. */
static bool bound_faster(const struct chain *chain, uint64_t limit, double bound, struct candidate *best,
                         struct error *err)
{
    if (best->chain_limit <= limit) {
        best->chain_limit = limit;
        best->bound_seconds = bound < best->chain_seconds ? bound : best->chain_seconds;
        return true;
    }
    best->bound_seconds = 0;
    if (chain->count > SHORT_CHAIN) return true;
    struct chain_schedule fastest;
    TRY(chain_solve(chain, best->chain_limit, 0, &fastest, err));
    take_bound(best, best->chain_limit, &fastest);
    chain_schedule_finish(&fastest);
    return true;
}

/* For what may be faster than *best. */
static bool search_again(const struct making *making, const struct block_costs *blocks, struct candidate *best,
                         bool *fits, struct error *err)
{
    struct candidate other = {0};
    bool other_fits = false;
    bool ok = search_chain(making, blocks, 0, NULL, &other, &other_fits, err);
    if (ok && other_fits) ok = variant_take_faster(making, best, fits, &other, err);
    candidate_finish(&other);
    return ok;
}

/* What comes back with inputs that are made again is estimated, and their schedules of least memory need not fit. A
 * long chain is searched once, if that finds something. A short one is loose, and where that is seen to cost room it is
 * searched as if it were not. */
static bool search_resident(const struct making *making, struct block_costs *blocks, struct candidate *best, bool *fits,
                            struct error *err)
{
    TRY(search_chain(making, blocks, 0, NULL, best, fits, err));
    if (*fits && blocks->chain.count > SHORT_CHAIN) return true;
    struct chain first = blocks->chain;
    uint64_t limit = *fits ? best->chain_limit : 0;
    double bound = best->bound_seconds;
    bool ok = true;
    blocks->chain.loose = false;
    if (*fits && best->exceeded) ok = search_again(making, blocks, best, fits, err);
    blocks->chain.most_remade = 0;
    ok = ok && search_again(making, blocks, best, fits, err);
    blocks->chain.most_remade = first.most_remade;
    blocks->chain.loose = first.loose;
    return ok && (!*fits || bound_faster(&first, limit, bound, best, err));
}

/* Of the arena, not more than a plan would have. */
static uint64_t guess_least(const struct block_costs *blocks)
{
    uint64_t least = chain_least_limit(&blocks->chain);
    return least == UINT64_MAX ? 0 : blocks->fixed_bytes + least_expected(least) * blocks->quantum_bytes;
}

static bool search_blocks(const struct making *making, struct block_costs *blocks, struct candidate *best, bool *fits,
                          struct error *err)
{
    TRY(search_resident(making, blocks, best, fits, err));
    if (making->request->plan->offload_bytes > 0) {
        TRY(search_host(making, blocks, best, fits, err));
        best->chain_limit = 0; /* of what has copies it says nothing */
        best->bound_seconds = 0;
    }
    if (*fits) return true;
    candidate_finish(best);
    block_costs_set_price(blocks, 0);
    blocks->chain.most_remade = 0;
    if (making->request->plan->only_if_fits) {
        best->arena_bytes = guess_least(blocks);
        return true;
    }
    bool unused;
    return try_least(making, &blocks->chain, true, best, &unused, err);
}

bool variant_search(const struct making *making, struct candidate *best, bool *fits, struct error *err)
{
    struct block_costs blocks;
    bool ok = block_costs_measure(making->request, making->variant->graph, &blocks, err) &&
              search_blocks(making, &blocks, best, fits, err);
    block_costs_finish(&blocks);
    return ok;
}

bool variant_bound(const struct variant_request *request, struct plan_variant *variant, struct error *err)
{
    struct block_costs blocks;
    double seconds = variant->chain_seconds, bound = seconds;
    bool ok = block_costs_measure(request, variant->graph, &blocks, err) &&
              chain_bound(&blocks.chain, variant->chain_limit, seconds, 0, &bound, err);
    block_costs_finish(&blocks);
    if (ok) variant->spare_seconds = bound < seconds ? seconds - bound : 0;
    return ok;
}
