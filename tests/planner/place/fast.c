/* The fast placers alone: always valid, exact where lifetimes nest, wrong input refused, allocation failures survived.
 */
#include <criterion/criterion.h>

#include <string.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_kit.h"
#include "random.h"

#define MOST 400

static const struct place_options fast = {.threads = 1};

static struct place_buffer buffer_of(uint64_t lower, uint64_t upper, uint64_t size)
{
    return (struct place_buffer){lower, upper, size, 1, PLACE_UNPLACED, PLACE_UNPLACED};
}

static struct place_result solve(struct place_buffer *buffers, size_t count)
{
    struct place_result result = place_kit_solve(buffers, count, &fast);
    cr_assert_eq(result.proved_optimal, result.arena_bytes == result.lower_bound_bytes);
    return result;
}

/* The largest live sum by looking at every start. */
static uint64_t bound_by_hand(const struct place_buffer *buffers, size_t count)
{
    uint64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = 0;
        for (size_t j = 0; j < count; j++)
            if (buffers[j].lower <= buffers[i].lower && buffers[i].lower < buffers[j].upper) sum += buffers[j].size;
        if (sum > most) most = sum;
    }
    return most;
}

Test(place, random_problems_are_placed_without_overlap)
{
    static const uint64_t aligns[] = {0, 1, 2, 8, 12, 256};
    for (uint32_t seed = 0; seed < 1000; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 0, 0);
        struct place_buffer buffers[60];
        size_t count = 1 + random_below(&random, 60);
        bool aligned = seed % 3 == 1, fixed = seed % 3 == 2;
        uint64_t shelf = 0;
        for (size_t i = 0; i < count; i++) {
            uint64_t lower = random_below(&random, 30);
            buffers[i] = buffer_of(lower, lower + 1 + random_below(&random, 20), random_below(&random, 100));
            if (aligned) buffers[i].align = aligns[random_below(&random, 6)];
            if (!fixed || random_below(&random, 4)) continue;
            buffers[i].fixed = shelf;
            shelf += buffers[i].size + random_below(&random, 10);
        }
        struct place_result result = solve(buffers, count);
        uint64_t bound = bound_by_hand(buffers, count);
        if (seed % 3 == 0)
            cr_assert_eq(result.lower_bound_bytes, bound, "seed %u", seed);
        else
            cr_assert_geq(result.lower_bound_bytes, bound, "seed %u", seed);
    }
}

/* What is enough is met whenever the smallest arena found without it does, and never made smaller than that. */
Test(place, enough_changes_no_answer)
{
    size_t larger = 0, reached = 0;
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 0, 1);
        struct place_buffer buffers[MOST];
        for (size_t i = 0; i < MOST; i++) {
            uint64_t lower = random_below(&random, 200);
            buffers[i] = buffer_of(lower, lower + 1 + random_below(&random, 40), 1 + random_below(&random, 1000));
        }
        struct place_result least = solve(buffers, MOST);
        for (uint64_t more = 0; more < 4; more++) {
            struct place_options options = fast;
            options.enough = least.arena_bytes - 1 + more * more * least.lower_bound_bytes / 60;
            struct place_result found = place_kit_solve(buffers, MOST, &options);
            cr_assert_geq(found.arena_bytes, least.arena_bytes, "seed %u", seed);
            cr_assert_eq(found.arena_bytes <= options.enough, more > 0, "seed %u", seed);
            if (more == 0) cr_assert_eq(found.arena_bytes, least.arena_bytes, "seed %u", seed);
            larger += found.arena_bytes > least.arena_bytes;
            reached += found.arena_bytes <= options.enough;
        }
    }
    cr_expect_gt(larger, 6);
    cr_expect_eq(reached, 60);
}

Test(place, nested_lifetimes_reach_the_bound)
{
    struct place_buffer buffers[MOST];
    for (uint64_t i = 0; i < MOST; i++) buffers[i] = buffer_of(i, 2 * MOST - i, 1 + i * 7 % 50);
    cr_assert(solve(buffers, MOST).proved_optimal);
}

Test(place, a_chain_reaches_the_bound)
{
    struct place_buffer buffers[MOST];
    for (uint64_t i = 0; i < MOST; i++) buffers[i] = buffer_of(i, i + 2, 64);
    cr_assert(solve(buffers, MOST).proved_optimal);
}

Test(place, nothing_and_empty_buffers_take_nothing)
{
    struct place_buffer buffers[2] = {buffer_of(0, 5, 0), buffer_of(3, 9, 0)};
    cr_assert_eq(solve(buffers, 0).arena_bytes, 0);
    cr_assert_eq(solve(buffers, 2).arena_bytes, 0);
    cr_assert_eq(buffers[1].offset, 0);
}

Test(place, sizes_are_rounded_to_the_alignment)
{
    struct place_buffer buffers[2] = {buffer_of(0, 5, 100), buffer_of(3, 9, 300)};
    buffers[0].align = buffers[1].align = 256;
    struct place_result result = solve(buffers, 2);
    cr_assert_eq(result.arena_bytes, 768);
    cr_assert_eq(result.peak_instant, 3);
}

Test(place, malformed_buffers_are_named)
{
    struct place_buffer rows[][2] = {{buffer_of(0, 5, 1), buffer_of(5, 5, 1)},
                                     {buffer_of(0, 5, 1), buffer_of(6, 5, 1)},
                                     {buffer_of(0, 5, 1), buffer_of(0, 5, UINT64_MAX - 2)},
                                     {buffer_of(0, 5, UINT64_MAX / 4), buffer_of(0, 5, UINT64_MAX / 4)},
                                     {buffer_of(0, 5, 8), buffer_of(0, 5, 8)},
                                     {buffer_of(0, 5, 8), buffer_of(0, 5, 8)}};
    rows[4][0].fixed = 4;
    rows[4][1].fixed = 8;
    rows[5][1].fixed = 4;
    rows[5][1].align = 8;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        struct place_result result = {.arena_bytes = 77};
        cr_expect_not(place_solve(rows[i], 2, &fast, &result, &err), "row %zu", i);
        cr_expect_eq(err.kind, ERROR_INPUT, "row %zu", i);
        cr_expect(strstr(err.text, "1"), "row %zu: %s", i, err.text);
        cr_expect_eq(result.arena_bytes, 77);
    }
}

Test(place, each_failed_allocation_is_survived)
{
    struct place_buffer buffers[40];
    for (uint64_t i = 0; i < 40; i++) buffers[i] = buffer_of(i * 13 % 29, i * 13 % 29 + 5 + i % 7, 1 + i * 31 % 17);
    buffers[3].fixed = 50;
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    for (uint64_t n = 1;; n++) {
        struct error err = {0};
        struct place_result result = {.arena_bytes = 77};
        mem_fail_at(n);
        bool ok = place_solve(buffers, 40, &fast, &result, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_eq(result.arena_bytes, 77);
        cr_assert_eq(buffers[0].offset, PLACE_UNPLACED);
        cr_assert_lt(n, 200);
    }
}
