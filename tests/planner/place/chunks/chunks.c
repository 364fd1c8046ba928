/* Placement into several chunks: judged by the checker, against exhaustive bin packing where everything lives at once,
 * and what it claims to have proved. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "mem.h"
#include "place_check.h"
#include "place_chunks.h"

#define MOST 300

struct world {
    struct place_buffer buffers[MOST];
    uint64_t chunk[MOST];
    size_t count;
};

static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33) % below;
}

static void add(struct world *world, uint64_t lower, uint64_t upper, uint64_t size, uint64_t align)
{
    world->chunk[world->count] = PLACE_UNPLACED;
    world->buffers[world->count++] =
        (struct place_buffer){.lower = lower, .upper = upper, .size = size, .align = align, .fixed = PLACE_UNPLACED};
}

static struct place_chunks_result solve(struct world *world, uint64_t chunk_bytes, uint64_t enough, double seconds)
{
    struct error err = {0};
    struct place_chunks_result result;
    struct place_options options = {.seconds = seconds, .threads = 1};
    cr_assert(
        place_chunks_solve(world->buffers, world->chunk, world->count, chunk_bytes, enough, &options, &result, &err),
        "%s", err.text);
    cr_assert(place_check_chunks(world->buffers, world->chunk, world->count, chunk_bytes, result.chunks, &err), "%s",
              err.text);
    cr_assert_geq(result.chunks, result.least_chunks);
    cr_assert_eq(result.proved_least, result.chunks == result.least_chunks);
    return result;
}

Test(place_chunks, random_problems_are_placed_soundly)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world world = {0};
        uint64_t state = seed;
        for (uint32_t i = 0, n = 1 + draw(&state, 60); i < n; i++) {
            uint64_t lower = draw(&state, 40);
            add(&world, lower, lower + 1 + draw(&state, 12), draw(&state, 90), draw(&state, 3) ? 1 : 8);
        }
        solve(&world, 96 + draw(&state, 100), 1 + draw(&state, 5), 0.01);
    }
}

/* Bins by exhaustion: each item into every open bin, or a new one. */
static uint32_t pack(const struct world *world, size_t item, uint64_t *bins, uint32_t used, uint64_t size,
                     uint32_t best)
{
    if (used >= best) return best;
    if (item == world->count) return used;
    for (uint32_t b = 0; b <= used; b++) {
        if (bins[b] + world->buffers[item].size > size) continue;
        bins[b] += world->buffers[item].size;
        best = pack(world, item + 1, bins, b == used ? used + 1 : used, size, best);
        bins[b] -= world->buffers[item].size;
    }
    return best;
}

Test(place_chunks, the_bound_never_exceeds_the_least_number_of_bins)
{
    uint32_t met = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct world world = {0};
        uint64_t state = seed * 77, bins[12] = {0};
        for (uint32_t i = 0, n = 2 + draw(&state, 7); i < n; i++) add(&world, 0, 5, 1 + draw(&state, 50), 1);
        uint32_t best = pack(&world, 0, bins, 0, 50, 10);
        struct place_chunks_result result = solve(&world, 50, best, 0.01);
        cr_assert_leq(result.least_chunks, best, "seed %llu", (unsigned long long)seed);
        cr_assert_geq(result.chunks, best);
        met += result.proved_least;
    }
    cr_assert_gt(met, 350);
}

/* Every chunk and offset for every storage, bytes as bits; nothing of the solver's. */
struct brute {
    const struct world *world;
    size_t storages;
    uint64_t height[8][8]; /* of storages, at instants */
    uint64_t used[6][8];   /* of chunks, at instants */
    uint32_t chunk_bytes;
    uint64_t best;
};

static void lay(struct brute *brute, size_t storage, uint64_t used)
{
    if (used >= brute->best) return;
    if (storage == brute->storages) {
        brute->best = used;
        return;
    }
    for (uint64_t c = 0; c <= used && c < 6; c++)
        for (uint32_t offset = 0; offset < brute->chunk_bytes; offset++) {
            uint64_t before[8];
            bool clear = true;
            memcpy(before, brute->used[c], sizeof before);
            for (size_t t = 0; t < 8; t++) {
                uint64_t height = brute->height[storage][t], mine = ((UINT64_C(1) << height) - 1) << offset;
                clear &= offset + height <= brute->chunk_bytes && (before[t] & mine) == 0;
                brute->used[c][t] |= mine;
            }
            if (clear) lay(brute, storage + 1, c == used ? used + 1 : used);
            memcpy(brute->used[c], before, sizeof before);
        }
}

static uint64_t least_by_hand(const struct world *world, uint32_t chunk_bytes)
{
    struct brute brute = {.world = world, .chunk_bytes = chunk_bytes, .best = 6};
    uint64_t number[8];
    for (size_t i = 0; i < world->count; i++) {
        const struct place_buffer *buffer = &world->buffers[i];
        size_t s = 0;
        while (s < brute.storages && (buffer->alias == 0 || number[s] != buffer->alias)) s++;
        if (s == brute.storages) number[brute.storages++] = buffer->alias;
        for (uint64_t t = buffer->lower; t < buffer->upper; t++)
            if (buffer->size > brute.height[s][t]) brute.height[s][t] = buffer->size;
    }
    lay(&brute, 0, 0);
    return brute.best;
}

static void compare_with_hand(uint32_t aliases, uint32_t seeds)
{
    uint32_t searched = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world world = {0};
        uint64_t state = seed * 7919 + aliases;
        uint32_t chunk_bytes = 6 + draw(&state, 4);
        for (uint32_t i = 0, n = 3 + draw(&state, 4); i < n; i++) {
            uint64_t lower = draw(&state, 5);
            add(&world, lower, lower + 1 + draw(&state, 3), 1 + draw(&state, chunk_bytes - 1), 1);
            world.buffers[i].alias = aliases ? draw(&state, aliases + 1) : 0;
        }
        uint64_t least = least_by_hand(&world, chunk_bytes);
        struct place_chunks_result result = solve(&world, chunk_bytes, least, 30);
        cr_assert_eq(result.chunks, least, "seed %llu", (unsigned long long)seed);
        cr_assert(result.proved_least, "seed %llu", (unsigned long long)seed);
        if (least == 1) continue;
        for (size_t i = 0; i < world.count; i++) world.chunk[i] = PLACE_UNPLACED;
        struct place_chunks_result fewer = solve(&world, chunk_bytes, least - 1, 30);
        cr_assert_eq(fewer.least_chunks, least, "seed %llu", (unsigned long long)seed);
        searched += fewer.nodes > 0;
    }
    cr_assert_gt(searched, seeds / 100);
}

Test(place_chunks, agrees_with_brute_force) { compare_with_hand(0, 1500); }
Test(place_chunks, agrees_with_brute_force_on_names_of_one_storage) { compare_with_hand(2, 1500); }

Test(place_chunks, large_buffers_count_by_the_chunk_not_by_bytes)
{
    struct world world = {0};
    for (int i = 0; i < 3; i++) add(&world, 0, 2, 60, 1);
    struct place_chunks_result result = solve(&world, 100, 2, 0);
    cr_assert(result.chunks == 3 && result.least_chunks == 3 && result.lower_bound_bytes == 180);
}

Test(place_chunks, chunks_are_reused_over_time_and_fixed_buffers_stay)
{
    struct world world = {0};
    for (uint64_t t = 0; t < 20; t++) add(&world, t, t + 2, 50, 1);
    add(&world, 0, 21, 100, 4);
    world.buffers[0].fixed = 50;
    world.chunk[0] = 1;
    struct place_chunks_result result = solve(&world, 100, 2, 1);
    cr_assert_eq(result.chunks, 2);
    cr_assert(result.proved_least);
    cr_assert(world.chunk[0] == 1 && world.buffers[0].offset == 50);
    cr_assert_eq(world.chunk[20], 0);
}

Test(place_chunks, filling_beats_first_fit_in_the_number_asked_for)
{
    uint32_t gained = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world first = {0};
        uint64_t state = seed * 991;
        for (uint32_t i = 0; i < 40; i++) {
            uint64_t lower = draw(&state, 20);
            add(&first, lower, lower + 1 + draw(&state, 15), 5 + draw(&state, 40), 1);
        }
        struct world second = first;
        struct place_chunks_result fast = solve(&first, 100, 1000, 0);
        if (fast.proved_least) continue;
        gained += solve(&second, 100, fast.chunks - 1, 0.5).chunks < fast.chunks;
    }
    cr_assert_gt(gained, 0);
}

Test(place_chunks, the_checker_names_what_is_wrong)
{
    struct error err = {0};
    struct world world = {0};
    add(&world, 0, 5, 60, 1);
    add(&world, 2, 6, 60, 1);
    solve(&world, 100, 2, 0);
    uint64_t kept = world.chunk[1];
    world.chunk[1] = world.chunk[0];
    cr_assert_not(place_check_chunks(world.buffers, world.chunk, 2, 100, 2, &err));
    cr_assert(strstr(err.text, "overlap while both live"), "%s", err.text);
    world.chunk[1] = kept;
    cr_assert_not(place_check_chunks(world.buffers, world.chunk, 2, 100, 1, &err));
    cr_assert(strstr(err.text, "chunk 1 where there are 1"), "%s", err.text);
    world.buffers[1].offset = 41;
    cr_assert_not(place_check_chunks(world.buffers, world.chunk, 2, 100, 2, &err));
    cr_assert(strstr(err.text, "end above the arena of 100"), "%s", err.text);
}

Test(place_chunks, wrong_problems_are_refused_and_untouched)
{
    static const struct {
        uint64_t size, fixed, chunk, chunk_bytes;
        const char *says;
    } rows[] = {{101, PLACE_UNPLACED, PLACE_UNPLACED, 100, "101 bytes; a chunk has 100"},
                {10, 95, 0, 100, "end above its chunk of 100"},
                {10, 5, PLACE_UNPLACED, 100, "go together"},
                {10, PLACE_UNPLACED, 1, 100, "go together"},
                {0, 5, PLACE_UNPLACED, 100, "go together"}, /* its storage's other names would be in no chunk */
                {10, 0, UINT64_MAX / 4, 100, "the most is"},
                {10, 0, 0, 0, "chunks of 0 bytes"},
                {10, 0, 0, UINT64_MAX, "are possible here"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct place_buffer buffer = {0, 1, rows[i].size, 1, rows[i].fixed, 77};
        uint64_t chunk = rows[i].chunk;
        struct place_options options = {0};
        struct place_chunks_result result;
        struct error err = {0};
        cr_expect_not(place_chunks_solve(&buffer, &chunk, 1, rows[i].chunk_bytes, 1, &options, &result, &err));
        cr_expect_eq(err.kind, ERROR_INPUT);
        cr_expect(strstr(err.text, rows[i].says), "%s", err.text);
        cr_expect(buffer.offset == 77 && chunk == rows[i].chunk);
    }
}

Test(place_chunks, each_failed_allocation_is_survived)
{
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    for (uint64_t n = 1;; n++) {
        struct world world = {0};
        for (uint32_t i = 0; i < 9; i++) add(&world, i % 3, i % 3 + 2, 20 + 9 * (i % 4), 1);
        struct place_options options = {.seconds = 0.05, .threads = 1};
        struct place_chunks_result result;
        struct error err = {0};
        mem_fail_at(n);
        bool ok = place_chunks_solve(world.buffers, world.chunk, world.count, 64, 4, &options, &result, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        cr_assert_eq(world.chunk[0], PLACE_UNPLACED);
        cr_assert_lt(n, 5000);
    }
}
