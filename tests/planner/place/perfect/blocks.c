/* Blocks of buffers: tilings are put together again in work that is in proportion to their tiles, and whatever is made
 * of other problems is a placement. */
#include <criterion/criterion.h>

#include <stdlib.h>

#include "mem.h"
#include "place_blocks.h"
#include "place_kit.h"
#include "random.h"
#include "rounds.h"
#include "tilings_kit.h"

#define WORK_OF_TILE 120 /* at most, to make blocks of a tiling */
#define STREAMS      48

static struct blocks *begin_blocks(struct problem *problem, const struct place_buffer *buffers, size_t count)
{
    struct error err = {0};
    cr_assert(problem_init(problem, buffers, count, &err), "%s", err.text);
    struct blocks *blocks = blocks_create(problem, &err);
    cr_assert_not_null(blocks, "%s", err.text);
    return blocks;
}

static void remake(struct blocks *blocks, uint32_t most)
{
    struct error err = {0};
    for (uint32_t round = 0; round < most && blocks_left(blocks) > 1; round++)
        cr_assert(blocks_remake(blocks, round, 0, &err), "%s", err.text);
}

Test(place_blocks, wheels_in_wheels_become_one_in_one_pass)
{
    struct place_buffer *buffers = malloc(20010 * sizeof *buffers);
    for (uint64_t seed = 0; seed < rounds(4); seed++) {
        struct problem problem;
        size_t count = make_tiling(buffers, 20000, SIDE, true, seed);
        struct blocks *blocks = begin_blocks(&problem, buffers, count);
        cr_assert(blocks_suit(&problem));
        blocks_make(blocks);
        cr_assert_eq(blocks_left(blocks), 1);
        cr_assert_lt(blocks_work(blocks), WORK_OF_TILE * count);
        blocks_destroy(blocks);
        problem_finish(&problem);
    }
    free(buffers);
}

/* Of rows and piles some are wrong at first. */
Test(place_blocks, straight_cuts_are_found_again)
{
    struct place_buffer *buffers = malloc(20010 * sizeof *buffers);
    for (uint64_t seed = 0; seed < rounds(4); seed++) {
        struct problem problem;
        size_t count = make_tiling(buffers, 20000, SIDE, false, seed);
        struct blocks *blocks = begin_blocks(&problem, buffers, count);
        blocks_make(blocks);
        cr_assert_lt(blocks_left(blocks), count / 20);
        remake(blocks, 40);
        cr_assert_lt(blocks_left(blocks), 20, "seed %zu", (size_t)seed);
        cr_assert_lt(blocks_work(blocks), WORK_OF_TILE * count);
        blocks_destroy(blocks);
        problem_finish(&problem);
    }
    free(buffers);
}

/* As many tiles as instants: at most instants where any change hands several do. */
Test(place_blocks, tiles_as_many_as_instants_are_put_together_again)
{
    struct place_buffer *buffers = malloc(20010 * sizeof *buffers);
    for (uint64_t seed = 0; seed < rounds(2); seed++) {
        size_t count = make_tiling(buffers, 20000, 20000, seed % 2 == 0, seed);
        struct place_result result = place_kit_solve(buffers, count, &(struct place_options){.seconds = 0});
        cr_expect_leq(result.arena_bytes, SIDE + SIDE / 20, "seed %zu", (size_t)seed);
    }
    free(buffers);
}

/* Left as they are after any number of rounds, each block's parts lie within it and apart: what is left, one on the
 * other, makes a placement. */
Test(place_blocks, what_is_left_may_lie_anywhere)
{
    static struct place_buffer buffers[2010], left[2010];
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct problem problem;
        size_t count = make_tiling(buffers, 100 * (seed + 1), 64 + 64 * (uint32_t)seed, seed % 2, seed);
        struct blocks *blocks = begin_blocks(&problem, buffers, count);
        struct placement best = {mem_alloc(MEM_SEARCH, count, sizeof *best.offset), 0};
        if (seed % 3 != 0) blocks_make(blocks);
        remake(blocks, (uint32_t)seed);
        cr_assert(blocks_list(blocks, left, &(struct error){0}));
        for (size_t i = 0; i < blocks_left(blocks); i++) {
            left[i].offset = best.arena;
            best.arena += left[i].size;
        }
        blocks_spread(blocks, left, best.offset);
        blocks_destroy(blocks);
        place_kit_finish(&problem, &best, buffers, count);
    }
}

/* Makes blocks within a limit, twice. Inside of one question up to 48 x 48 steps may come after it. */
static void expect_bounded(const struct place_buffer *buffers, size_t count, uint64_t limit, bool over)
{
    struct problem problem;
    struct blocks *blocks = begin_blocks(&problem, buffers, count);
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t before = blocks_work(blocks);
        blocks_limit(blocks, limit, 0);
        blocks_make(blocks);
        cr_expect_eq(blocks_over(blocks), over);
        for (uint32_t round = 0; round < 10 && !blocks_over(blocks); round++)
            cr_assert(blocks_remake(blocks, round, 0, &(struct error){0}));
        cr_expect_lt(blocks_work(blocks) - before, limit + 10000);
    }
    blocks_destroy(blocks);
    problem_finish(&problem);
}

/* 8,000 of a few sizes all change hands at one instant. */
Test(place_blocks, crowded_instants_take_bounded_work)
{
    struct place_buffer *buffers = malloc(16000 * sizeof *buffers);
    struct random random = random_begin(1, RANDOM_SEARCH, 0, 0);
    for (size_t i = 0; i < 16000; i++)
        buffers[i] = (struct place_buffer){.lower = i % 2 * (1 + i / 2 % 3),
                                           .upper = 1 + i / 2 % 3 + i % 2 * 4,
                                           .size = 1 + random_below(&random, 50),
                                           .fixed = PLACE_UNPLACED};
    expect_bounded(buffers, 16000, 16000 * 1000, false);
    free(buffers);
}

/* Streams in lockstep of one size and its double: each buffer may be in the middle of very many wheels that lack one
 * part. One sweep places them. */
Test(place_blocks, streams_in_lockstep_take_bounded_work)
{
    static const struct place_buffer stream[] = {
        {.lower = 0, .upper = 16, .size = 2},  {.lower = 0, .upper = 32, .size = 1},
        {.lower = 16, .upper = 32, .size = 1}, {.lower = 16, .upper = 48, .size = 1},
        {.lower = 32, .upper = 64, .size = 2}, {.lower = 48, .upper = 64, .size = 1}};
    struct place_buffer *buffers = malloc(16000 * sizeof *buffers);
    size_t count = 0;
    for (uint64_t at = 0; count + 64 + 6 * STREAMS <= 16000; at += 64) {
        for (uint64_t i = 0; i < 64; i++)
            buffers[count++] = (struct place_buffer){.lower = at + i, .upper = at + i + 1, .size = 1};
        for (size_t i = 0; i < 6 * STREAMS; i++) {
            buffers[count] = stream[i % 6];
            buffers[count].lower += at;
            buffers[count++].upper += at;
        }
    }
    for (size_t i = 0; i < count; i++) buffers[i].fixed = PLACE_UNPLACED;
    expect_bounded(buffers, count, 100 * count, true);
    struct place_result result = place_kit_solve(buffers, count, &(struct place_options){.seconds = 0});
    cr_expect_eq(result.arena_bytes, 3 * STREAMS + 1);
    free(buffers);
}

Test(place_blocks, each_failed_allocation_is_survived)
{
    struct place_buffer *buffers = malloc(4210 * sizeof *buffers);
    size_t count = make_tiling(buffers, 4200, 4200, false, 1);
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    for (uint64_t n = 1;; n++) {
        struct place_result result;
        struct error err = {0};
        mem_fail_at(n);
        bool ok = place_solve(buffers, count, &(struct place_options){.seconds = 0}, &result, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_lt(n, 20000);
    }
    free(buffers);
}
