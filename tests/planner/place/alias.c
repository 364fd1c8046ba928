/* Names of one storage: against a brute force over every offset, which shares nothing with the solver. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_kit.h"
#include "random.h"
#include "rounds.h"

#define MOST  9
#define TIMES 16

static struct place_buffer buffer_of(uint64_t lower, uint64_t upper, uint64_t size, uint64_t alias)
{
    return (struct place_buffer){lower, upper, size, 1, PLACE_UNPLACED, PLACE_UNPLACED, alias};
}

static uint64_t round_up(uint64_t value, uint64_t align)
{
    return align > 1 ? (value + align - 1) / align * align : value;
}

static struct place_result solve_with(struct place_buffer *buffers, size_t count, const struct place_options *options)
{
    struct place_result result = place_kit_solve(buffers, count, options);
    cr_assert_eq(result.proved_optimal, result.lower_bound_bytes == result.arena_bytes);
    return result;
}

static struct place_result solve(struct place_buffer *buffers, size_t count)
{
    static const struct place_options options = {.seconds = 60, .threads = 1};
    return solve_with(buffers, count, &options);
}

/* Every offset of every storage, bytes and instants as a grid of owners; only for offsets and instants below 64. */
struct brute {
    const struct place_buffer *buffers;
    size_t count, storages;
    uint64_t align[MOST], fixed[MOST], height[MOST][TIMES], tallest[MOST];
    uint64_t used[TIMES]; /* bits of bytes */
    uint64_t best;
};

static void describe(struct brute *brute)
{
    uint64_t number[MOST];
    for (size_t i = 0; i < brute->count; i++) {
        const struct place_buffer *buffer = &brute->buffers[i];
        size_t s = 0;
        while (s < brute->storages && (buffer->alias == 0 || number[s] != buffer->alias)) s++;
        if (s == brute->storages) {
            number[brute->storages++] = buffer->alias;
            brute->align[s] = 1;
            brute->fixed[s] = PLACE_UNPLACED;
        }
        uint64_t align = buffer->align > 1 ? buffer->align : 1, common = brute->align[s];
        while (common % align) common += brute->align[s];
        brute->align[s] = common;
        if (buffer->fixed != PLACE_UNPLACED) brute->fixed[s] = buffer->fixed;
        for (uint64_t t = buffer->lower; t < buffer->upper; t++)
            if (buffer->size > brute->height[s][t]) brute->height[s][t] = buffer->size;
    }
    for (size_t s = 0; s < brute->storages; s++)
        for (size_t t = 0; t < TIMES; t++) {
            brute->height[s][t] = round_up(brute->height[s][t], brute->align[s]);
            if (brute->height[s][t] > brute->tallest[s]) brute->tallest[s] = brute->height[s][t];
        }
}

static uint64_t bits(uint64_t offset, uint64_t bytes) { return ((UINT64_C(1) << bytes) - 1) << offset; }

static void try_storage(struct brute *brute, size_t storage, uint64_t arena)
{
    if (arena >= brute->best) return;
    if (storage == brute->storages) {
        brute->best = arena;
        return;
    }
    uint64_t tallest = brute->tallest[storage];
    for (uint64_t offset = 0; tallest > 0 && offset + tallest < brute->best; offset += brute->align[storage]) {
        if (brute->fixed[storage] != PLACE_UNPLACED && brute->fixed[storage] != offset) continue;
        uint64_t before[TIMES];
        bool clear = true;
        memcpy(before, brute->used, sizeof before);
        for (size_t t = 0; t < TIMES; t++) {
            uint64_t mine = bits(offset, brute->height[storage][t]);
            clear &= (brute->used[t] & mine) == 0;
            brute->used[t] |= mine;
        }
        if (clear) try_storage(brute, storage + 1, offset + tallest > arena ? offset + tallest : arena);
        memcpy(brute->used, before, sizeof before);
    }
    if (tallest == 0) try_storage(brute, storage + 1, arena);
}

/* The optimum, from one that the solver found: nothing smaller may exist, and its own is a placement by place_check. */
static uint64_t optimum(const struct place_buffer *buffers, size_t count, uint64_t found)
{
    struct brute brute = {.buffers = buffers, .count = count, .best = found + 1};
    describe(&brute);
    try_storage(&brute, 0, 0);
    return brute.best;
}

struct shape {
    uint32_t storages; /* alias numbers are drawn from 0 … storages */
    uint32_t span, size;
    bool aligned, fixed;
};

static size_t make(struct random *random, const struct shape *shape, struct place_buffer *buffers)
{
    static const uint64_t aligns[] = {1, 1, 2, 3, 4};
    size_t count = 2 + random_below(random, MOST - 3);
    for (size_t i = 0; i < count; i++) {
        uint64_t lower = random_below(random, 8), upper = lower + 1 + random_below(random, shape->span);
        buffers[i] =
            buffer_of(lower, upper, random_below(random, shape->size + 1), random_below(random, shape->storages + 1));
        if (shape->aligned) buffers[i].align = aligns[random_below(random, 5)];
    }
    if (!shape->fixed) return count;
    size_t at = random_below(random, (uint32_t)count);
    buffers[at].fixed = 12 * random_below(random, 2);
    return count;
}

static void compare_shape(const struct shape *shape, uint32_t seeds)
{
    size_t gaps = 0;
    for (uint32_t seed = 0; seed < rounds(seeds); seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, shape->storages, shape->span);
        struct place_buffer buffers[MOST];
        size_t count = make(&random, shape, buffers);
        struct place_result result = solve(buffers, count);
        cr_assert(result.proved_optimal, "seed %" PRIu32, seed);
        cr_assert_leq(result.arena_bytes, 60);
        cr_assert_eq(optimum(buffers, count, result.arena_bytes), result.arena_bytes, "seed %" PRIu32, seed);
        gaps += result.arena_bytes > result.live_bytes;
    }
    cr_assert_gt(gaps, 0, "every bound was met: the shape asks nothing of the search");
}

Test(place_alias, agrees_with_brute_force_on_one_storage)
{
    compare_shape(&(struct shape){1, 6, 6, false, false}, 3000);
}
Test(place_alias, agrees_with_brute_force_on_several_storages)
{
    compare_shape(&(struct shape){3, 5, 6, false, false}, 3000);
}
Test(place_alias, agrees_with_brute_force_on_long_lives)
{
    compare_shape(&(struct shape){4, 8, 5, false, false}, 2000);
}
Test(place_alias, agrees_with_brute_force_on_alignments) { compare_shape(&(struct shape){2, 6, 5, true, false}, 2000); }
Test(place_alias, agrees_with_brute_force_on_fixed_offsets)
{
    compare_shape(&(struct shape){2, 6, 5, true, true}, 2000);
}

Test(place_alias, a_view_costs_nothing)
{
    struct place_buffer buffers[] = {buffer_of(0, 4, 100, 7), buffer_of(2, 6, 40, 7), buffer_of(6, 9, 100, 7),
                                     buffer_of(4, 9, 60, 0)};
    struct place_result result = solve(buffers, 4);
    cr_assert_eq(result.arena_bytes, 160);
    cr_assert(buffers[0].offset == buffers[1].offset && buffers[1].offset == buffers[2].offset);
}

/* The hull of the storage would take 10 + 10: its step leaves the room. */
Test(place_alias, the_room_over_a_small_name_is_used)
{
    struct place_buffer buffers[] = {buffer_of(0, 2, 10, 1), buffer_of(2, 4, 2, 1), buffer_of(2, 4, 8, 0),
                                     buffer_of(5, 6, 10, 1), buffer_of(4, 5, 10, 0)};
    struct place_result result = solve(buffers, 5);
    cr_assert(result.proved_optimal);
    cr_assert_eq(result.arena_bytes, 10);
    cr_assert_eq(buffers[1].offset, 0);
}

Test(place_alias, contradictions_are_named)
{
    struct {
        struct place_buffer buffers[2];
        const char *says;
    } rows[] = {{{buffer_of(0, 2, 8, 5), buffer_of(1, 3, 8, 5)}, "buffer 1: fixed at 8 where another of alias group 5"},
                {{buffer_of(0, 2, 8, 5), buffer_of(1, 3, 8, 5)}, "not a multiple of the group's alignment 6"},
                {{buffer_of(0, 2, 8, 5), buffer_of(1, 3, 8, 0)}, "buffers 0 and 1: their fixed offsets"},
                {{buffer_of(0, 2, 8, 5), buffer_of(3, 3, 8, 5)}, "buffer 1: lives from 3 to 3"},
                {{buffer_of(0, 2, 8, 5), buffer_of(1, 3, 8, 5)}, "no offset is a multiple of all alignments"}};
    rows[0].buffers[0].fixed = 0;
    rows[0].buffers[1].fixed = 8;
    rows[1].buffers[0].fixed = 8;
    rows[1].buffers[0].align = 2;
    rows[1].buffers[1].align = 3;
    rows[2].buffers[0].fixed = rows[2].buffers[1].fixed = 16;
    rows[4].buffers[0].align = (UINT64_C(1) << 40) - 1;
    rows[4].buffers[1].align = UINT64_C(1) << 40;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static const struct place_options options = {.seconds = 1};
        struct error err = {0};
        struct place_result result = {.arena_bytes = 77};
        cr_expect_not(place_solve(rows[i].buffers, 2, &options, &result, &err), "row %zu", i);
        cr_expect_eq(err.kind, ERROR_INPUT);
        cr_expect(strstr(err.text, rows[i].says), "row %zu: %s", i, err.text);
        cr_expect_eq(result.arena_bytes, 77);
    }
}

Test(place_alias, names_fixed_on_top_of_each_other_agree)
{
    struct place_buffer buffers[] = {buffer_of(0, 4, 8, 5), buffer_of(1, 3, 8, 5), buffer_of(0, 4, 8, 0)};
    buffers[0].fixed = buffers[1].fixed = 4;
    cr_assert_eq(solve(buffers, 3).arena_bytes, 20);
}

static size_t make_steps(struct place_buffer *buffers, size_t count, uint32_t seed)
{
    struct random random = random_begin(seed, RANDOM_SEARCH, 5, 5);
    for (size_t i = 0; i < count; i++) {
        uint64_t lower = random_below(&random, 300);
        buffers[i] = buffer_of(lower, lower + 1 + random_below(&random, 40), 1 + random_below(&random, 1000),
                               random_below(&random, 3) ? 0 : 1 + random_below(&random, 40));
    }
    return count;
}

Test(place_alias, the_same_seed_and_threads_give_the_same_offsets)
{
    struct place_buffer first[300], again[300];
    for (uint32_t seed = 0; seed < 5; seed++) {
        struct place_options options = {.seconds = 100, .nodes = 30000, .threads = 1 + seed % 2 * 2};
        size_t count = make_steps(first, 300, seed);
        memcpy(again, first, sizeof first);
        solve_with(first, count, &options);
        solve_with(again, count, &options);
        for (size_t i = 0; i < count; i++) cr_assert_eq(first[i].offset, again[i].offset, "seed %" PRIu32, seed);
    }
}

Test(place_alias, each_failed_allocation_is_survived)
{
    static const struct place_options options = {.seconds = 60, .threads = 1, .nodes = 3000};
    struct place_buffer buffers[24];
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    for (uint64_t n = 1;; n++) {
        struct error err = {0};
        struct place_result result = {.arena_bytes = 77};
        make_steps(buffers, 24, 3);
        mem_fail_at(n);
        bool ok = place_solve(buffers, 24, &options, &result, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %" PRIu64 " leaks", n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_eq(result.arena_bytes, 77);
        cr_assert_eq(buffers[0].offset, PLACE_UNPLACED);
        cr_assert_lt(n, 3000);
    }
}
