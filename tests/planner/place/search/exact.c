/* The exact search against a brute force that shares nothing with it: what is called optimal is optimal. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_kit.h"
#include "random.h"

#define MOST        16
#define MOST_RANDOM 8

static uint64_t round_up(uint64_t value, uint64_t align)
{
    return align > 1 ? (value + align - 1) / align * align : value;
}

static bool live_together(const struct place_buffer *a, const struct place_buffer *b)
{
    return a->lower < b->upper && b->lower < a->upper;
}

struct brute {
    struct place_buffer buffers[MOST];
    bool placed[MOST];
    size_t count;
    uint64_t best;
};

/* The lowest place above everything placed by the enumeration, and beside fixed ones. */
static uint64_t resting_place(const struct brute *brute, size_t index)
{
    const struct place_buffer *buffer = &brute->buffers[index];
    uint64_t size = round_up(buffer->size, buffer->align), at = 0;
    for (size_t i = 0; i < brute->count; i++) {
        const struct place_buffer *other = &brute->buffers[i];
        if (i == index || !brute->placed[i] || other->fixed != PLACE_UNPLACED || !live_together(buffer, other))
            continue;
        if (other->offset + round_up(other->size, other->align) > at)
            at = other->offset + round_up(other->size, other->align);
    }
    for (bool moved = true; moved;) {
        moved = false;
        at = round_up(at, buffer->align);
        for (size_t i = 0; i < brute->count; i++) {
            const struct place_buffer *other = &brute->buffers[i];
            uint64_t end = other->fixed + round_up(other->size, other->align);
            if (other->fixed == PLACE_UNPLACED || i == index || other->size == 0) continue;
            if (!live_together(buffer, other) || at + size <= other->fixed || end <= at) continue;
            at = end;
            moved = true;
        }
    }
    return at;
}

/* Every compact placement arises from its buffers taken by rising offset, each put above the earlier ones it lives
 * with. Finds the smallest arena below brute->best. */
static void enumerate(struct brute *brute, uint64_t arena, uint64_t level)
{
    if (arena >= brute->best) return;
    bool all = true;
    for (size_t i = 0; i < brute->count; i++) {
        struct place_buffer *buffer = &brute->buffers[i];
        if (brute->placed[i]) continue;
        all = false;
        brute->placed[i] = true;
        buffer->offset = resting_place(brute, i);
        uint64_t end = buffer->offset + round_up(buffer->size, buffer->align);
        if (buffer->offset >= level) enumerate(brute, end > arena ? end : arena, buffer->offset);
        brute->placed[i] = false;
    }
    if (all) brute->best = arena;
}

/* The optimum, if it is below `below`; otherwise `below`. */
static uint64_t optimum(const struct place_buffer *buffers, size_t count, uint64_t below)
{
    struct brute brute = {.count = count, .best = below};
    memcpy(brute.buffers, buffers, count * sizeof *buffers);
    uint64_t arena = 0;
    for (size_t i = 0; i < count; i++) {
        brute.placed[i] = buffers[i].fixed != PLACE_UNPLACED || buffers[i].size == 0;
        if (buffers[i].size == 0 || !brute.placed[i]) continue;
        uint64_t end = buffers[i].fixed + round_up(buffers[i].size, buffers[i].align);
        if (end > arena) arena = end;
    }
    enumerate(&brute, arena, 0);
    return brute.best;
}

enum shape { SHAPE_PLAIN, SHAPE_POWERS, SHAPE_EQUAL, SHAPE_GIANT, SHAPE_FEW_SPANS, SHAPE_ALIGNED, SHAPE_FIXED, SHAPES };

static struct place_buffer make_buffer(struct random *random, enum shape shape, size_t i)
{
    uint64_t lower = random_below(random, 10), upper = lower + 1 + random_below(random, 6);
    uint64_t size = 1 + random_below(random, 12);
    if (shape == SHAPE_POWERS) size = 1ull << random_below(random, 5);
    if (shape == SHAPE_EQUAL) size = 4;
    if (shape == SHAPE_GIANT && i == 0) size = 1000;
    if (shape == SHAPE_FEW_SPANS) {
        lower = random_below(random, 3);
        upper = lower + 1 + random_below(random, 2);
        size = 1 + random_below(random, 3);
    }
    uint64_t align = shape == SHAPE_ALIGNED ? 1 + random_below(random, 6) : 1;
    return (struct place_buffer){lower, upper, size, align, PLACE_UNPLACED, 0};
}

/* Puts up to two buffers at offsets where they clash with nothing fixed before. */
static void fix_some(struct random *random, struct place_buffer *buffers)
{
    buffers[0].fixed = random_below(random, 12);
    buffers[1].fixed = buffers[0].fixed + buffers[0].size + random_below(random, 6);
}

static void compare_shape(enum shape shape, uint32_t seeds)
{
    static const struct place_options options = {.seconds = 60, .threads = 1};
    for (uint32_t seed = 0; seed < seeds; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, shape, 1);
        struct place_buffer buffers[MOST];
        size_t count = 2 + random_below(&random, MOST_RANDOM - 2);
        for (size_t i = 0; i < count; i++) buffers[i] = make_buffer(&random, shape, i);
        if (shape == SHAPE_FIXED) fix_some(&random, buffers);
        uint64_t best = optimum(buffers, count, UINT64_MAX);
        struct place_result result = place_kit_solve(buffers, count, &options);
        cr_assert(result.proved_optimal, "shape %d seed %" PRIu32, (int)shape, seed);
        cr_assert_eq(result.arena_bytes, best, "shape %d seed %" PRIu32 ": %" PRIu64 " where %" PRIu64 " is possible",
                     (int)shape, seed, result.arena_bytes, best);
    }
}

Test(place_exact, agrees_with_brute_force_on_any_sizes) { compare_shape(SHAPE_PLAIN, 1500); }
Test(place_exact, agrees_with_brute_force_on_powers_of_two) { compare_shape(SHAPE_POWERS, 1000); }
Test(place_exact, agrees_with_brute_force_on_equal_sizes) { compare_shape(SHAPE_EQUAL, 500); }
Test(place_exact, agrees_with_brute_force_with_one_giant) { compare_shape(SHAPE_GIANT, 500); }
Test(place_exact, agrees_with_brute_force_on_few_lifetimes) { compare_shape(SHAPE_FEW_SPANS, 1000); }
Test(place_exact, agrees_with_brute_force_on_alignments) { compare_shape(SHAPE_ALIGNED, 1500); }
Test(place_exact, agrees_with_brute_force_on_fixed_offsets) { compare_shape(SHAPE_FIXED, 1500); }

/* Six long buffers and one in every section that fills it up: no slack anywhere, so that in some no placement meets the
 * live sum. With sizes up to 4 about one in a hundred is such a one. */
static size_t make_full(struct random *random, struct place_buffer *buffers)
{
    uint64_t live[9] = {0}, most = 0;
    size_t count = 6;
    for (size_t i = 0; i < count; i++) {
        uint64_t lower = random_below(random, 6), upper = lower + 1 + random_below(random, 3);
        buffers[i] = (struct place_buffer){lower, upper, 1 + random_below(random, 4), 1, PLACE_UNPLACED, 0};
        for (uint64_t t = lower; t < upper; t++) live[t] += buffers[i].size;
    }
    for (size_t t = 0; t < 9; t++)
        if (live[t] > most) most = live[t];
    for (size_t t = 0; t < 9; t++)
        if (live[t] > 0 && live[t] < most)
            buffers[count++] = (struct place_buffer){t, t + 1, most - live[t], 1, PLACE_UNPLACED, 0};
    return count;
}

Test(place_exact, an_optimum_above_the_live_sum_is_one)
{
    static const struct place_options options = {.seconds = 60, .threads = 1};
    size_t gaps = 0;
    for (uint32_t seed = 0; seed < 700; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 6, 6);
        struct place_buffer buffers[MOST];
        size_t count = make_full(&random, buffers);
        struct place_result result = place_kit_solve(buffers, count, &options);
        struct error err = {0};
        uint64_t live, instant;
        cr_assert(place_lower_bound(buffers, count, &live, &instant, &err));
        cr_assert(result.proved_optimal, "seed %" PRIu32, seed);
        if (result.arena_bytes == live) continue;
        gaps++;
        cr_assert_eq(optimum(buffers, count, result.arena_bytes), result.arena_bytes, "seed %" PRIu32, seed);
        struct place_options tight = {.seconds = 60, .threads = 1, .capacity = live};
        cr_assert_gt(place_kit_solve(buffers, count, &tight).lower_bound_bytes, live, "seed %" PRIu32, seed);
    }
    cr_assert_gt(gaps, 3);
}

/* A problem whose optimum is above the live sum, so that the search has to end it. */
static size_t make_hard(struct place_buffer *buffers)
{
    static const struct place_options fast = {.threads = 1};
    for (uint32_t seed = 0;; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, SHAPE_ALIGNED, 1);
        for (size_t i = 0; i < MOST_RANDOM; i++) buffers[i] = make_buffer(&random, SHAPE_ALIGNED, i);
        if (!place_kit_solve(buffers, MOST_RANDOM, &fast).proved_optimal) return MOST_RANDOM;
    }
}

Test(place_exact, each_failed_allocation_is_survived)
{
    static const struct place_options options = {.seconds = 60, .threads = 1};
    struct place_buffer buffers[MOST];
    size_t count = make_hard(buffers);
    uint64_t before = mem_current_bytes(MEM_SEARCH), offset = buffers[0].offset = 12345;
    for (uint64_t n = 1;; n++) {
        struct error err = {0};
        struct place_result result = {.arena_bytes = 77};
        mem_fail_at(n);
        bool ok = place_solve(buffers, count, &options, &result, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %" PRIu64 " leaks", n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_eq(result.arena_bytes, 77);
        cr_assert_eq(buffers[0].offset, offset);
        cr_assert_lt(n, 300);
    }
}

Test(place_exact, stops_when_told_and_at_its_limits)
{
    static const atomic_bool stop = true;
    struct place_buffer buffers[MOST];
    size_t count = make_hard(buffers);
    struct place_options told = {.seconds = 60, .threads = 2, .stop = &stop};
    cr_assert_eq(place_kit_solve(buffers, count, &told).nodes, 0);
    struct place_options few = {.seconds = 60, .threads = 1, .nodes = 5};
    cr_assert_leq(place_kit_solve(buffers, count, &few).nodes, 8);
    struct place_options unlimited = {.seconds = 60, .threads = 2};
    cr_assert(place_kit_solve(buffers, count, &unlimited).proved_optimal);
}
