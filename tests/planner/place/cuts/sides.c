/* Strands against all ways to lay a problem on two sides, and guessed cuts against counting them anew. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include "mem.h"
#include "place_sides.h"
#include "random.h"
#include "tiles_kit.h"

#define MOST_TILES 200
#define FEW_TILES  10

static void begin(struct problem *problem, const struct place_buffer *buffers, size_t count)
{
    struct error err = {0};
    cr_assert(problem_init(problem, buffers, count, &err), "%s", err.text);
    cr_assert(strands_suit(problem));
}

/* Whether the buffers of each side that end at an instant have the sizes of those that begin there, as all of them do.
 */
static bool balances(const struct place_buffer *buffers, size_t count, uint32_t ones)
{
    for (size_t k = 0; k < 2 * count; k++) {
        uint64_t at = k % 2 ? buffers[k / 2].lower : buffers[k / 2].upper;
        int64_t change[2] = {0, 0};
        for (size_t i = 0; i < count; i++) {
            if (buffers[i].lower == at) change[ones >> i & 1] += (int64_t)buffers[i].size;
            if (buffers[i].upper == at) change[ones >> i & 1] -= (int64_t)buffers[i].size;
        }
        if (change[0] + change[1] == 0 && change[0] != 0) return false;
    }
    return true;
}

static bool share_lifetimes(const struct place_buffer *buffers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (buffers[i].lower == buffers[j].lower && buffers[i].upper == buffers[j].upper) return true;
    return false;
}

static void check_against_all(const struct place_buffer *buffers, size_t count, bool by_lifetime, uint32_t *joined)
{
    struct problem problem;
    struct strands strands;
    struct error err = {0};
    begin(&problem, buffers, count);
    cr_assert(strands_init(&strands, &problem, by_lifetime, UINT64_MAX, &err), "%s", err.text);
    *joined += (uint32_t)(count - strands.count);
    for (uint32_t ones = 0; ones < 1u << count; ones++) {
        if (!balances(buffers, count, ones)) continue;
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < i; j++)
                cr_assert(strands.of[i] != strands.of[j] || (ones >> i & 1) == (ones >> j & 1));
    }
    strands_finish(&strands);
    problem_finish(&problem);
}

/* What balances on two sides leaves every strand whole, but where buffers of one lifetime are to be one strand whatever
 * their sizes. */
Test(place_sides, no_balanced_cut_parts_a_strand)
{
    uint32_t joined[2] = {0, 0}, tried = 0;
    for (uint32_t seed = 0; seed < 4000; seed++) {
        struct random random = random_begin(seed, RANDOM_SYNTHETIC, 21, 0);
        struct place_buffer buffers[FEW_TILES];
        cut_tiles(buffers, FEW_TILES, 40, &random);
        for (size_t i = 0; i < FEW_TILES; i++) { /* some neither begin nor end with others */
            buffers[i].lower = buffers[i].lower / 64;
            buffers[i].upper = buffers[i].upper / 64 + 1 - (random_below(&random, 4) > 0);
            if (buffers[i].upper <= buffers[i].lower) buffers[i].upper = buffers[i].lower + 1;
        }
        check_against_all(buffers, FEW_TILES, false, &joined[0]);
        if (share_lifetimes(buffers, FEW_TILES)) continue;
        check_against_all(buffers, FEW_TILES, true, &joined[1]);
        tried++;
    }
    cr_assert_gt(tried, 500, "%d tried", (int)tried);
    cr_assert_gt(joined[1], 1000, "%d joined", (int)joined[1]);
    cr_assert_gt(joined[0], joined[1]);
}

static uint64_t height_of(const struct place_buffer *buffers, const uint8_t *side, size_t count, uint8_t which)
{
    uint64_t height = 0;
    for (size_t k = 0; k < count; k++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < count; i++)
            if (side[i] == which && buffers[i].lower <= buffers[k].lower && buffers[k].lower < buffers[i].upper)
                sum += buffers[i].size;
        if (sum > height) height = sum;
    }
    return height;
}

/* How many cuts are told of a problem, once in each round; each has something on both sides, as high as it says and no
 * higher together than they may be. */
static uint32_t check_cuts(const struct place_buffer *buffers, size_t count, uint64_t target, uint64_t seed)
{
    struct problem problem;
    struct strands strands;
    struct error err = {0};
    uint8_t side[MOST_TILES];
    uint64_t height[2];
    uint32_t told = 0;
    begin(&problem, buffers, count);
    cr_assert(strands_init(&strands, &problem, true, UINT64_MAX, &err), "%s", err.text);
    struct sides *sides = sides_create(&strands, &problem, target, seed, &err);
    cr_assert(sides, "%s", err.text);
    cr_assert_not(sides_take(sides, 1, side, height));
    cr_assert_eq(sides_best(sides, 1), INFINITY);
    sides_guess(sides, 20, 20, seed % 2, 0);
    cr_assert_not(sides_take(sides, count, side, height)); /* no cut leaves all buffers on both sides */
    for (bool any = sides_any(sides, 1); sides_take(sides, 1, side, height); told++) {
        size_t ones = 0;
        for (size_t i = 0; i < count; i++) ones += side[i];
        cr_assert(any && ones > 0 && ones < count);
        cr_assert_leq(height_of(buffers, side, count, 0), height[0]);
        cr_assert_leq(height_of(buffers, side, count, 1), height[1]);
        cr_assert_leq(height[0] + height[1], target);
        cr_assert_lt(told, 100);
    }
    sides_begin(sides);
    for (uint32_t again = 0; again < told; again++) cr_assert(sides_take(sides, 1, side, height));
    cr_assert_not(sides_take(sides, 1, side, height));
    sides_destroy(sides);
    strands_finish(&strands);
    problem_finish(&problem);
    return told;
}

Test(place_sides, cuts_are_as_high_as_they_say)
{
    static struct place_buffer buffers[MOST_TILES];
    uint32_t told = 0;
    for (uint32_t seed = 0; seed < 60; seed++) {
        struct random random = random_begin(seed, RANDOM_SYNTHETIC, 22, 0);
        size_t count = 10 + random_below(&random, MOST_TILES - 10);
        cut_tiles(buffers, count, 20000, &random);
        for (size_t i = 0; i < count; i++)
            if (buffers[i].size > 1) buffers[i].size -= random_below(&random, 10) == 0;
        told += check_cuts(buffers, count, 20000 + (seed % 3) * 100, seed) > 0;
    }
    cr_assert_geq(told, 35, "cuts of %d of 60", (int)told);
}

Test(place_sides, a_problem_without_two_buffers_at_once_has_no_cut)
{
    struct place_buffer row[8];
    for (uint64_t i = 0; i < 8; i++) row[i] = (struct place_buffer){i, i + 1, 5, 1, PLACE_UNPLACED, 0, 0};
    cr_assert_eq(check_cuts(row, 8, 5, 1), 0);
    cr_assert_eq(check_cuts(row, 1, 5, 1), 0);
}
