/* Problems that are two or more, one on top of the other at all times: each is as hard as by itself. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_fast.h"
#include "place_kit.h"
#include "place_mixes.h"
#include "place_search.h"
#include "place_solve.h"
#include "tiles_kit.h"

#define PARTS 5
#define TILES 90
#define FEW   40

#define LONG     9 /* buffers */
#define INSTANTS 10

#define NODES_SLACK  16 /* a search sees that its nodes are spent one or two late */
#define LATE_SECONDS 10 /* of a millisecond: sanitizers, and a machine that others use */

/* Tilings of which some tiles are gone or shorter, so that there is room that nobody needs. */
static void make_parts(struct place_buffer tiles[PARTS][TILES], struct mix_part *parts, uint64_t seed)
{
    struct random random = random_begin(seed, RANDOM_SYNTHETIC, 23, 0);
    struct error err = {0};
    for (uint32_t p = 0; p < PARTS; p++) {
        size_t count = 0;
        cut_tiles(tiles[p], TILES, 10000 + random_below(&random, 10000), &random);
        for (size_t i = 0; i < TILES; i++) {
            struct place_buffer tile = tiles[p][i];
            uint32_t fate = random_below(&random, 10);
            if (fate == 0) continue;
            if (fate < 3) tile.upper -= random_below(&random, (uint32_t)(tile.upper - tile.lower));
            tiles[p][count++] = tile;
        }
        parts[p] = (struct mix_part){.buffers = tiles[p], .count = count};
        cr_assert(mix_measure(&parts[p], &err), "%s", err.text);
    }
}

/* Each is at its bound, alone, and so is the mix; what ends by itself is the same each time. */
Test(place_cuts, mixes_are_placed_at_their_bound)
{
    static struct place_buffer tiles[PARTS][TILES];
    struct mix_part parts[PARTS];
    struct error err = {0};
    struct place_options options = {.seconds = 100, .threads = 1};
    make_parts(tiles, parts, 1);
    for (uint32_t p = 0; p < PARTS; p++)
        cr_assert_eq(place_kit_solve(tiles[p], parts[p].count, &options).arena_bytes, parts[p].bound, "part %d",
                     (int)p);
    for (uint64_t seed = 0; seed < 18; seed++) {
        struct mix mix, again;
        if (seed % MIX_KINDS == MIX_SEQUENCE) continue;
        cr_assert(mix_make(&mix, parts, PARTS, seed, &err) && mix_make(&again, parts, PARTS, seed, &err));
        struct place_result result = place_kit_solve(mix.buffers, mix.count, &options);
        cr_assert_eq(result.arena_bytes, mix.bound, "seed %d", (int)seed);
        cr_assert(result.proved_optimal);
        place_kit_solve(again.buffers, again.count, &options);
        for (size_t i = 0; i < mix.count; i++) cr_assert_eq(mix.buffers[i].offset, again.buffers[i].offset);
        mem_free(mix.buffers);
        mem_free(again.buffers);
    }
}

static void make_small(struct place_buffer *buffers, size_t count, struct random *random)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t lower = random_below(random, 24), length = 1 + random_below(random, 6);
        uint64_t size = 1 + random_below(random, 9);
        buffers[i] = (struct place_buffer){lower, lower + length, size, 1, PLACE_UNPLACED, 0, 0};
    }
}

/* The optimum by the exact search alone, which thousands of cases are compared with all placements by elsewhere. */
static uint64_t search_alone(const struct problem *problem, struct error *err)
{
    struct place_options options = {.seconds = 100, .threads = 1};
    struct placement best = {mem_alloc(MEM_SEARCH, problem->count, sizeof *best.offset), UINT64_MAX};
    uint64_t bound = problem->bound, nodes;
    cr_assert(best.offset && sweep_improve(problem, SWEEP_ALL, bound, &best, err), "%s", err->text);
    if (best.arena > bound) cr_assert(ladder_improve(problem, &options, &best, &bound, &nodes, err), "%s", err->text);
    cr_assert_eq(best.arena, bound);
    mem_free(best.offset);
    return bound;
}

/* Rounds of cuts alone, from a placement as bad as can be: none is below the optimum, and many are there. */
Test(place_cuts, no_cut_is_below_the_optimum)
{
    uint32_t met = 0, improved = 0;
    for (uint32_t seed = 0; seed < 400; seed++) {
        struct random random = random_begin(seed, RANDOM_SYNTHETIC, 24, 0);
        struct place_buffer buffers[FEW];
        struct problem problem;
        struct error err = {0};
        uint64_t offset[FEW], nodes = 0, charged = 0, sum = 0;
        size_t count = 12 + random_below(&random, FEW - 12);
        make_small(buffers, count, &random);
        cr_assert(problem_init(&problem, buffers, count, &err), "%s", err.text);
        for (size_t i = 0; i < count; i++) sum += problem.size[i];
        struct placement best = {offset, sum};
        problem.deadline_ns = clock_now_ns() + UINT64_C(100000000000);
        uint64_t optimum = search_alone(&problem, &err);
        struct place_options options = {.seconds = 100, .threads = 1, .seed = seed};
        struct cuts *cuts = cuts_create(&problem, &options, optimum, &err);
        cr_assert(cuts && cuts_improve(cuts, &best, &charged, &nodes, &err), "%s", err.text);
        cuts_destroy(cuts);
        cr_assert_geq(best.arena, optimum);
        met += best.arena == optimum;
        improved += best.arena < sum;
        for (size_t i = 0; best.arena < sum && i < count; i++) buffers[problem.origin[i]].offset = offset[i];
        if (best.arena < sum) cr_assert(place_check(buffers, count, best.arena, &err), "%s", err.text);
        problem_finish(&problem);
    }
    cr_assert_gt(improved, 50, "%d improved", (int)improved);
    cr_assert_gt(met, 20, "%d at their optimum", (int)met);
}

Test(place_cuts, twins_are_placed_one_on_the_other)
{
    static struct place_buffer tiles[PARTS][TILES], twice[2 * TILES];
    struct mix_part parts[PARTS];
    make_parts(tiles, parts, 3);
    for (size_t i = 0; i < 2 * parts[0].count; i++) twice[i] = tiles[0][i / 2];
    struct place_options options = {.seconds = 100, .threads = 1};
    cr_assert_eq(place_kit_solve(twice, 2 * parts[0].count, &options).arena_bytes, 2 * parts[0].bound);
}

Test(place_cuts, limits_of_nodes_and_of_time_are_kept)
{
    static struct place_buffer tiles[PARTS][TILES];
    struct mix_part parts[PARTS];
    struct mix mix;
    struct error err = {0};
    make_parts(tiles, parts, 1);
    cr_assert(mix_make(&mix, parts, PARTS, 1, &err));
    struct place_options few = {.seconds = 100, .threads = 1, .nodes = 50}, brief = {.seconds = 0.001, .threads = 1};
    cr_assert_leq(place_kit_solve(mix.buffers, mix.count, &few).nodes, few.nodes + NODES_SLACK);
    cr_assert_lt(place_kit_solve(mix.buffers, mix.count, &brief).seconds, LATE_SECONDS);
    mem_free(mix.buffers);
}

/* Sides within sides, and the search of each: none takes more than the first was given, up to what is checked late. */
Test(place_cuts, a_side_takes_no_more_nodes_than_it_is_given)
{
    static struct place_buffer tiles[PARTS][TILES];
    struct mix_part parts[PARTS];
    struct error err = {0};
    uint32_t searched = 0;
    make_parts(tiles, parts, 1);
    for (uint64_t seed = 0; seed < 18; seed++) {
        struct place_options options = {.seconds = 100, .threads = 1, .nodes = 30000};
        struct place_result result = {0};
        struct placement best = {0};
        struct problem problem;
        struct mix mix;
        if (seed % MIX_KINDS == MIX_SEQUENCE) continue;
        cr_assert(mix_make(&mix, parts, PARTS, seed, &err));
        cr_assert(problem_init(&problem, mix.buffers, mix.count, &err), "%s", err.text);
        problem.deadline_ns = clock_now_ns() + UINT64_C(100000000000);
        problem.effort = 48;
        cr_assert(problem_solve(&problem, &options, &best, &result, &err), "%s", err.text);
        searched += result.nodes > 0;
        cr_assert_leq(result.nodes, options.nodes + options.nodes / 10, "seed %d: %d", (int)seed, (int)result.nodes);
        mem_free(best.offset);
        problem_finish(&problem);
        mem_free(mix.buffers);
    }
    cr_assert_gt(searched, 0);
}

/* Long buffers and one in every instant that fills it up: no slack anywhere, so that in many no placement meets the
 * live sum. */
static size_t make_full(struct random *random, struct place_buffer *buffers)
{
    uint64_t live[INSTANTS] = {0}, most = 0;
    size_t count = LONG;
    for (size_t i = 0; i < LONG; i++) {
        uint64_t lower = random_below(random, INSTANTS - 4), upper = lower + 1 + random_below(random, 4);
        uint64_t size = 1000 * (uint64_t)(1 + random_below(random, 4)) + random_below(random, 3);
        buffers[i] = (struct place_buffer){lower, upper, size, 1, PLACE_UNPLACED, 0, 0};
        for (uint64_t t = lower; t < upper; t++) live[t] += size;
    }
    for (size_t t = 0; t < INSTANTS; t++)
        if (live[t] > most) most = live[t];
    for (size_t t = 0; t < INSTANTS; t++)
        if (live[t] > 0 && live[t] < most)
            buffers[count++] = (struct place_buffer){t, t + 1, most - live[t], 1, PLACE_UNPLACED, 0, 0};
    return count;
}

/* The search proves that the live sum cannot be met, and its nodes end before it has what can be: no cut is of use
 * then, and nothing is left to search with. */
Test(place_cuts, a_target_proved_impossible_ends_with_the_nodes)
{
    uint32_t cut_short = 0;
    for (uint32_t seed = 0; seed < 300; seed++) {
        struct random random = random_begin(seed, RANDOM_SYNTHETIC, 25, 0);
        struct place_buffer buffers[LONG + INSTANTS];
        size_t count = make_full(&random, buffers);
        struct place_options options = {.seconds = 100, .threads = 1, .nodes = 50 + 20 * seed};
        struct place_result result = place_kit_solve(buffers, count, &options);
        cr_assert_lt(result.seconds, options.seconds / 2);
        cut_short += result.lower_bound_bytes > result.live_bytes && !result.proved_optimal;
    }
    cr_assert_gt(cut_short, 5, "%d cut short", (int)cut_short);
}

Test(place_cuts, each_failed_allocation_is_survived)
{
    static struct place_buffer tiles[PARTS][TILES];
    struct mix_part parts[PARTS];
    struct mix mix;
    struct error err = {0};
    struct place_options options = {.seconds = 100, .threads = 1};
    make_parts(tiles, parts, 1);
    cr_assert(mix_make(&mix, parts, PARTS, 1, &err));
    uint64_t before = mem_current_bytes(MEM_SEARCH), offset = mix.buffers[0].offset = 12345;
    bool ok = false;
    for (uint64_t n = 1; !ok; n += 1 + n / 20) {
        struct place_result result = {.arena_bytes = 77};
        err = (struct error){0};
        mem_fail_at(n);
        ok = place_solve(mix.buffers, mix.count, &options, &result, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %d leaks", (int)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert(result.arena_bytes == 77 && mix.buffers[0].offset == offset);
        cr_assert_lt(n, 20000);
    }
    mem_free(mix.buffers);
}
