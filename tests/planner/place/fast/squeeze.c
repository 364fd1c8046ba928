/* First fit on the tree of taken space against a first fit that looks at every pair, and the squeezing of its orders:
 * valid, never above its first orders, the same for a seed whatever the threads, within its limits. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_fast.h"
#include "place_firstfit.h"
#include "random.h"

#define MOST 300

static const struct firstfit_limits no_limits;

static size_t make_buffers(struct random *random, struct place_buffer *buffers, bool aligned, bool fixed)
{
    static const uint64_t aligns[] = {0, 1, 2, 8, 12, 256};
    size_t count = 1 + random_below(random, MOST);
    uint32_t span = 1 + random_below(random, 600);
    uint64_t shelf = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t lower = random_below(random, span), length = 1 + random_below(random, i % 5 ? 6 : span);
        buffers[i] = (struct place_buffer){lower, lower + length, 1 + random_below(random, 100), 1, PLACE_UNPLACED, 0};
        if (aligned) buffers[i].align = aligns[random_below(random, 6)];
        if (!fixed || random_below(random, 8)) continue;
        buffers[i].fixed = align_up(shelf, buffers[i].align ? buffers[i].align : 1);
        shelf = buffers[i].fixed + 300;
    }
    return count;
}

static uint64_t settle(uint64_t at, uint64_t size, uint64_t align, uint64_t chunk)
{
    uint64_t base = chunk ? at / chunk * chunk : 0, offset = align_up(at - base, align);
    return chunk && offset + size > chunk ? base + chunk : base + offset;
}

/* Moves up over whatever is in the way until nothing is. */
static uint64_t lowest_by_hand(const struct problem *problem, const uint64_t *offset, const bool *placed, size_t buffer)
{
    uint64_t size = problem->size[buffer], at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < problem->count; i++) {
            if (!placed[i] || !problem_overlap(problem, i, buffer)) continue;
            if (offset[i] >= at + size || offset[i] + problem->size[i] <= at) continue;
            at = settle(offset[i] + problem->size[i], size, problem->align[buffer], problem->chunk);
            moved = true;
        }
    }
    return at;
}

static void place_by_hand(const struct problem *problem, const uint32_t *order, uint64_t *offset)
{
    bool placed[MOST] = {false};
    for (size_t i = 0; i < problem->count; i++) {
        placed[i] = problem->fixed[i] != PLACE_UNPLACED;
        offset[i] = problem->fixed[i];
    }
    for (size_t i = 0; i < problem->count; i++) {
        if (!placed[order[i]]) offset[order[i]] = lowest_by_hand(problem, offset, placed, order[i]);
        placed[order[i]] = true;
    }
}

Test(place_squeeze, first_fit_is_first_fit_in_every_order)
{
    static uint64_t load[MOST], offset[MOST];
    static uint32_t order[MOST];
    for (uint32_t seed = 0; seed < 400; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 1, 0);
        struct place_buffer buffers[MOST];
        struct problem problem;
        struct firstfit firstfit;
        struct error err = {0};
        size_t count = make_buffers(&random, buffers, seed % 2, seed % 3 == 2);
        cr_assert(problem_init(&problem, buffers, count, &err), "%s", err.text);
        if (seed % 3 == 1) problem.chunk = 360;
        cr_assert(firstfit_init(&firstfit, &problem, &err));
        cr_assert(firstfit_find_load(&problem, load, &err));
        enum firstfit_order kind = (enum firstfit_order)(seed % FIRSTFIT_ORDERS);
        for (uint32_t round = 0; round < 2; round++) {
            uint64_t arena;
            bool seen[MOST] = {false};
            firstfit_make_order(&firstfit, load, kind, round ? 0.3 : 0, seed, order);
            for (size_t i = 0; i < problem.count; i++) {
                cr_assert_not(seen[order[i]]);
                seen[order[i]] = true;
            }
            cr_assert_eq(firstfit_place(&firstfit, order, &no_limits, &arena), FIRSTFIT_PLACED);
            place_by_hand(&problem, order, offset);
            cr_assert_arr_eq(firstfit.offset, offset, problem.count * sizeof *offset, "seed %u", seed);
            cr_assert_eq(arena, problem_arena(&problem, offset));
        }
        firstfit_finish(&firstfit);
        problem_finish(&problem);
    }
}

/* Layers of a network with several kept tensors each, of few sizes; weights and their gradients; transients. */
static size_t make_step(struct place_buffer **buffers, uint64_t layers, uint64_t seed)
{
    struct random random = random_begin(seed, RANDOM_SEARCH, 2, 0);
    uint64_t end = 8 * layers, sizes[6];
    size_t count = 0;
    for (size_t i = 0; i < 6; i++) sizes[i] = 4096 + random_below(&random, 1u << 24);
    struct place_buffer *list = malloc(layers * 14 * sizeof *list);
    for (uint64_t k = 0; k < layers; k++) {
        uint64_t go = 4 * k, back = end - 4 * k - 4;
        for (uint32_t i = 0; i < 3; i++) list[count++] = (struct place_buffer){.lower = go + i, .upper = back + 2};
        for (uint32_t i = 0; i < 4; i++) list[count++] = (struct place_buffer){.lower = go + i, .upper = go + i + 2};
        for (uint32_t i = 0; i < 4; i++)
            list[count++] = (struct place_buffer){.lower = back + i, .upper = back + i + 2};
        for (uint32_t i = 0; i < 2; i++) list[count++] = (struct place_buffer){.lower = back + i, .upper = end + 9};
        list[count++] = (struct place_buffer){.lower = 0, .upper = back + random_below(&random, 40)};
    }
    for (size_t i = 0; i < count; i++) {
        list[i].size = sizes[random_below(&random, 6)] >> (i % 14 == 13 ? 4 : 0);
        list[i].fixed = PLACE_UNPLACED;
        if (list[i].upper <= list[i].lower) list[i].upper = list[i].lower + 1;
    }
    *buffers = list;
    return count;
}

static struct place_result solve(struct place_buffer *buffers, size_t count, const struct place_options *options)
{
    struct error err = {0};
    struct place_result result;
    cr_assert(place_solve(buffers, count, options, &result, &err), "%s", err.text);
    cr_assert(place_check(buffers, count, result.arena_bytes, &err), "%s", err.text);
    return result;
}

Test(place_squeeze, large_steps_come_close_to_the_bound)
{
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct place_buffer *buffers;
        size_t count = make_step(&buffers, 900, seed);
        struct place_result result =
            solve(buffers, count, &(struct place_options){.seconds = 20, .nodes = 1, .threads = 2});
        cr_assert_leq(result.arena_bytes, result.lower_bound_bytes + result.lower_bound_bytes / 100);
        free(buffers);
    }
}

Test(place_squeeze, threads_do_not_change_the_result)
{
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct place_buffer *buffers, *again;
        size_t count = make_step(&buffers, 60, seed);
        make_step(&again, 60, seed);
        struct place_options options = {.seconds = 100, .nodes = 1, .threads = 1, .seed = seed};
        struct place_result one = solve(buffers, count, &options);
        options.threads = 3;
        struct place_result three = solve(again, count, &options);
        cr_assert_eq(one.arena_bytes, three.arena_bytes);
        for (size_t i = 0; i < count; i++) cr_assert_eq(buffers[i].offset, again[i].offset, "buffer %zu", i);
        free(buffers);
        free(again);
    }
}

static void fail_each(struct problem *problem, uint64_t *offset)
{
    static const struct place_options options = {.seed = 1};
    struct squeeze_limits limits = {.work = 64 * problem->count, .options = &options};
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    for (uint64_t n = 1;; n++) {
        struct error err = {0};
        struct placement best = {.offset = offset, .arena = UINT64_MAX};
        mem_fail_at(n);
        bool ok = squeeze_improve(problem, problem->bound, &limits, &best, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_lt(n, 500);
    }
}

Test(place_squeeze, each_failed_allocation_is_survived)
{
    static uint64_t offset[MOST];
    for (uint32_t seed = 0; seed < 3; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 3, 0);
        struct place_buffer buffers[MOST];
        struct problem problem;
        struct error err = {0};
        size_t count = make_buffers(&random, buffers, true, seed == 2);
        cr_assert(problem_init(&problem, buffers, count, &err));
        fail_each(&problem, offset);
        problem_finish(&problem);
    }
}

Test(place_squeeze, a_placement_is_made_when_there_is_no_time)
{
    struct place_buffer *buffers;
    size_t count = make_step(&buffers, 4000, 1);
    for (int fixed = 0; fixed < 2; fixed++) {
        if (fixed) buffers[5].fixed = 1000;
        uint64_t start = clock_process_cpu_ns();
        solve(buffers, count, &(struct place_options){.seconds = 0.001, .threads = 1});
        cr_assert_lt(clock_process_cpu_ns() - start, 3000000000ull);
    }
    free(buffers);
}
