/* Problems of which stretches of time share no buffer: each is as hard as by itself, and no harder. */
#include <criterion/criterion.h>

#include <string.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_kit.h"
#include "place_mixes.h"
#include "place_solve.h"
#include "tiles_kit.h"

#define TILES 150
#define PARTS 6
#define LOOSE 90 /* buffers at random, of which some problems keep the exact search busy */

static void make_parts(struct place_buffer tiles[PARTS][TILES], struct mix_part *parts, uint64_t seed)
{
    struct random random = random_begin(seed, RANDOM_SYNTHETIC, 8, 0);
    struct error err = {0};
    for (uint32_t p = 0; p < PARTS; p++) {
        cut_tiles(tiles[p], TILES, 10000 + random_below(&random, 10000), &random);
        parts[p] = (struct mix_part){.buffers = tiles[p], .count = TILES};
        cr_assert(mix_measure(&parts[p], &err), "%s", err.text);
    }
}

Test(place_parts, a_mix_has_the_bound_that_it_says)
{
    static struct place_buffer tiles[PARTS][TILES];
    struct mix_part parts[PARTS];
    struct error err = {0};
    make_parts(tiles, parts, 1);
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct mix mix, again;
        uint64_t bound, instant;
        cr_assert(mix_make(&mix, parts, PARTS, seed, &err) && mix_make(&again, parts, PARTS, seed, &err));
        cr_assert(place_lower_bound(mix.buffers, mix.count, &bound, &instant, &err), "%s", err.text);
        cr_assert_eq(bound, mix.bound, "seed %d", (int)seed);
        cr_assert(mix.count == again.count && !memcmp(mix.buffers, again.buffers, mix.count * sizeof *mix.buffers));
        mem_free(mix.buffers);
        mem_free(again.buffers);
    }
}

/* What ends by itself is the same each time. */
Test(place_parts, a_sequence_is_placed_at_its_bound)
{
    static struct place_buffer tiles[PARTS][TILES];
    struct mix_part parts[PARTS];
    struct error err = {0};
    for (uint64_t seed = 0; seed < 30; seed += MIX_KINDS) {
        struct mix mix, again;
        struct place_options options = {.seconds = 100, .threads = 1};
        make_parts(tiles, parts, seed);
        cr_assert(mix_make(&mix, parts, PARTS, seed, &err) && mix_make(&again, parts, PARTS, seed, &err));
        cr_assert_eq(mix.kind, MIX_SEQUENCE);
        struct place_result result = place_kit_solve(mix.buffers, mix.count, &options);
        cr_assert_eq(result.arena_bytes, mix.bound, "seed %d", (int)seed);
        cr_assert(result.proved_optimal);
        place_kit_solve(again.buffers, again.count, &options);
        for (size_t i = 0; i < mix.count; i++) cr_assert_eq(mix.buffers[i].offset, again.buffers[i].offset);
        mem_free(mix.buffers);
        mem_free(again.buffers);
    }
}

/* A buffer of size 2 that meets fixed ones at 0 and at 2 lies at 3 or above: 5 where 4 live at once. Twice in turn, the
 * bound of the whole rises to what one stretch needs. */
Test(place_parts, what_one_stretch_needs_is_a_bound_of_all)
{
    static const struct place_buffer one[] = {{0, 2, 1, 1, 0, 0, 0},
                                              {1, 4, 2, 1, PLACE_UNPLACED, 0, 0},
                                              {3, 5, 1, 1, 2, 0, 0},
                                              {0, 1, 3, 1, PLACE_UNPLACED, 0, 0}};
    struct place_buffer buffers[8];
    for (size_t i = 0; i < 8; i++) {
        buffers[i] = one[i % 4];
        buffers[i].lower += i / 4 * 10;
        buffers[i].upper += i / 4 * 10;
    }
    struct place_result alone, both;
    struct place_buffer first[4];
    memcpy(first, buffers, sizeof first);
    alone = place_kit_solve(first, 4, &(struct place_options){.seconds = 100, .threads = 1});
    both = place_kit_solve(buffers, 8, &(struct place_options){.seconds = 100, .threads = 1});
    cr_assert(alone.proved_optimal && both.proved_optimal);
    cr_assert_eq(alone.arena_bytes, 5);
    cr_assert_eq(alone.first_bound_bytes, 4);
    cr_assert_eq(both.arena_bytes, 5);
    cr_assert_eq(both.lower_bound_bytes, 5);
}

/* Twice the same, in turn. */
static void make_loose(struct place_buffer *buffers, struct random *random)
{
    for (uint32_t i = 0; i < LOOSE; i++) {
        uint64_t lower = random_below(random, 60), length = 4 + random_below(random, 12);
        buffers[i] = (struct place_buffer){.lower = lower,
                                           .upper = lower + length,
                                           .size = 3000 + random_below(random, 7000),
                                           .align = 1,
                                           .fixed = PLACE_UNPLACED};
        buffers[LOOSE + i] = buffers[i];
        buffers[LOOSE + i].lower += 100;
        buffers[LOOSE + i].upper += 100;
    }
}

/* Nodes that the stretches of a side of a cut take. */
static uint64_t improve_side(struct place_buffer *buffers, size_t count, uint32_t effort)
{
    struct place_result fast = place_kit_solve(buffers, count, &(struct place_options){.threads = 1});
    struct place_options options = {.seconds = 100, .threads = 1, .nodes = side_nodes(effort, count)};
    uint64_t offset[2 * LOOSE], nodes = 0;
    struct placement best = {.arena = fast.arena_bytes, .offset = offset};
    struct error err = {0};
    struct problem problem;
    cr_assert(problem_init(&problem, buffers, count, &err));
    uint64_t bound = problem.bound;
    problem.effort = effort;
    problem.deadline_ns = UINT64_MAX;
    for (size_t i = 0; i < problem.count; i++) offset[i] = buffers[problem.origin[i]].offset;
    cr_assert(parts_improve(&problem, &options, &best, &bound, &nodes, &err), "%s", err.text);
    cr_assert(best.arena <= fast.arena_bytes);
    for (size_t i = 0; i < problem.count; i++) buffers[problem.origin[i]].offset = offset[i];
    cr_assert(place_check(buffers, count, best.arena, &err), "%s", err.text);
    problem_finish(&problem);
    return nodes;
}

/* Each stretch has what a side of its size has, once, and all together no more than the side was given, which is more
 * than one may have. A descent ends a few nodes late. */
Test(place_parts, a_side_in_stretches_takes_what_it_was_given)
{
    const uint32_t effort = 4;
    uint64_t given = side_nodes(effort, 2 * LOOSE), most = 0;
    cr_assert_gt(given, side_nodes(effort, LOOSE) + LOOSE);
    for (uint64_t seed = 0; seed < 80; seed++) {
        struct random random = random_begin(seed, RANDOM_SYNTHETIC, 9, 0);
        struct place_buffer buffers[2 * LOOSE];
        make_loose(buffers, &random);
        uint64_t nodes = improve_side(buffers, 2 * LOOSE, effort);
        cr_assert_leq(nodes, given + LOOSE, "seed %d: %llu nodes", (int)seed, (unsigned long long)nodes);
        if (nodes > most) most = nodes;
    }
    cr_assert_geq(most, given, "no side had two stretches that take all it was given");
}
