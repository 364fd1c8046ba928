/* Packings without waste: rectangles cut into tiles are put together again, with some tiles missing as well; the tree
 * of orders against all permutations. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_kit.h"
#include "place_loose.h"
#include "place_perfect.h"
#include "place_pq.h"
#include "place_splits.h"
#include "random.h"
#include "rounds.h"
#include "tilings_kit.h"

static struct place_result solve(struct place_buffer *buffers, size_t count, double seconds)
{
    return place_kit_solve(buffers, count, &(struct place_options){.seconds = seconds});
}

Test(place_perfect, tilings_are_put_together_again)
{
    static const size_t sizes[] = {50, 200, 1000, 4000};
    struct place_buffer *buffers = malloc(4010 * sizeof *buffers);
    for (size_t k = 0; k < 4; k++)
        for (uint64_t seed = 0; seed < rounds(10); seed++) {
            size_t count = make_tiling(buffers, sizes[k], SIDE, seed % 2, seed);
            struct place_result result = solve(buffers, count, 0);
            cr_expect_eq(result.arena_bytes, SIDE, "%zu tiles, seed %zu", sizes[k], (size_t)seed);
            cr_expect(result.proved_optimal);
        }
    free(buffers);
}

Test(place_perfect, thirty_thousand_tiles_are_put_together_again)
{
    struct place_buffer *buffers = malloc(30010 * sizeof *buffers);
    for (uint64_t seed = 0; seed < rounds(2); seed++) {
        size_t count = make_tiling(buffers, 30000, SIDE, seed % 2, seed);
        cr_assert_eq(solve(buffers, count, 20).arena_bytes, SIDE);
    }
    free(buffers);
}

/* At one instant in forty several ranges change hands, some by guesses that show as wrong thousands of instants later:
 * in one pass, whatever the machine is busy with. */
Test(place_perfect, a_hundred_thousand_tiles_are_put_together_again)
{
    struct place_buffer *buffers = malloc(100010 * sizeof *buffers);
    for (uint64_t seed = 0; seed < rounds(1); seed++) {
        size_t count = make_tiling(buffers, 100000, SIDE, seed % 2, seed);
        struct place_result result = solve(buffers, count, 0);
        cr_assert_eq(result.arena_bytes, SIDE, "seed %zu", (size_t)seed);
        cr_assert(result.proved_optimal);
    }
    free(buffers);
}

/* The live sum is the bound no longer everywhere. */
Test(place_perfect, missing_tiles_are_air)
{
    struct place_buffer *buffers = malloc(2010 * sizeof *buffers);
    uint32_t met = 0;
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 2, 2);
        size_t count = make_tiling(buffers, 2000, SIDE, seed % 2, seed), kept = 0;
        for (size_t i = 0; i < count; i++)
            if (random_below(&random, 100) > 0) buffers[kept++] = buffers[i];
        struct place_result result = solve(buffers, kept, 0);
        met += result.arena_bytes == result.lower_bound_bytes;
    }
    cr_assert_geq(met, 8);
    free(buffers);
}

/* Few instants, so that many change hands at each: often not solved this way, but whatever comes is a placement. */
Test(place_perfect, crowded_instants_do_no_harm)
{
    struct place_buffer buffers[410];
    for (uint64_t seed = 0; seed < 60; seed++) {
        static uint64_t offset[410];
        struct problem problem;
        struct error err = {0};
        struct placement best = {offset, UINT64_MAX};
        size_t count = make_tiling(buffers, 20 + 6 * seed, 16 + 4 * (uint32_t)seed, seed % 2, seed);
        cr_assert(problem_init(&problem, buffers, count, &err));
        cr_assert(perfect_improve(&problem, &(struct place_options){.seed = seed}, &best, &err), "%s", err.text);
        for (size_t i = 0; best.arena < UINT64_MAX && i < problem.count; i++)
            buffers[problem.origin[i]].offset = offset[i];
        if (best.arena < UINT64_MAX) cr_assert_eq(best.arena, SIDE);
        cr_assert(best.arena == UINT64_MAX || place_check(buffers, count, SIDE, &err), "seed %zu: %s", (size_t)seed,
                  err.text);
        problem_finish(&problem);
    }
}

Test(place_perfect, each_failed_allocation_is_survived)
{
    static uint64_t offset[410];
    struct place_buffer buffers[410];
    struct problem problem;
    struct error err = {0};
    size_t count = make_tiling(buffers, 300, 80, true, 1);
    cr_assert(problem_init(&problem, buffers, count, &err));
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    for (uint64_t n = 1;; n++) {
        struct placement best = {offset, UINT64_MAX};
        err = (struct error){0};
        mem_fail_at(n);
        struct place_options options = {.memory_bytes = 400000}; /* the oldest guesses are given up */
        bool ok = perfect_improve(&problem, &options, &best, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_lt(n, 20000);
    }
    problem_finish(&problem);
}

/* Little memory keeps fewer ways at each instant, and ends the drawing where guesses are too many. `own`: what 4000
 * buffers, sums of sizes and room to grow take. */
Test(place_perfect, guesses_take_no_more_than_their_share_of_memory)
{
    const uint64_t memory = 1 << 20, shares = memory / 8, own = 2560 << 10;
    struct place_buffer *buffers = malloc(4010 * sizeof *buffers);
    uint64_t *offset = malloc(4010 * sizeof *offset);
    struct problem problem;
    struct error err = {0};
    size_t count = make_tiling(buffers, 4000, 1000, false, 1);
    struct placement best = {offset, UINT64_MAX};
    cr_assert(problem_init(&problem, buffers, count, &err));
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    cr_assert(perfect_improve(&problem, &(struct place_options){.memory_bytes = memory}, &best, &err));
    cr_assert_lt(mem_peak_bytes(MEM_SEARCH) - before, own + shares);
    problem_finish(&problem);
    free(buffers);
    free(offset);
}

/* Few instants for many tiles: no guess makes all good, and the drawing goes on loosely. */
static size_t make_crowded(struct place_buffer *buffers) { return make_tiling(buffers, 4400, 1000, true, 2); }

/* What is found is a placement, the same each time, and far from what other placers find (1.3 of the optimum and more).
 */
Test(place_perfect, what_cannot_be_drawn_is_stacked)
{
    struct place_buffer *buffers = malloc(4410 * sizeof *buffers);
    uint64_t *offset = malloc(4410 * sizeof *offset), first = 0;
    size_t count = make_crowded(buffers);
    for (int again = 0; again < 2; again++) {
        struct problem problem;
        struct error err = {0};
        struct placement best = {offset, UINT64_MAX};
        cr_assert(problem_init(&problem, buffers, count, &err));
        cr_assert(perfect_improve(&problem, &(struct place_options){.seed = 1}, &best, &err), "%s", err.text);
        cr_assert(best.arena > SIDE && best.arena < SIDE + SIDE / 10 * 3);
        for (size_t i = 0; i < problem.count; i++) buffers[problem.origin[i]].offset = offset[i];
        cr_assert(place_check(buffers, count, best.arena, &err), "%s", err.text);
        if (again) cr_assert_eq(best.arena, first);
        first = best.arena;
        problem_finish(&problem);
    }
    free(buffers);
    free(offset);
}

Test(place_perfect, some_failed_allocations_of_loose_drawings_are_survived)
{
    struct place_buffer *buffers = malloc(4410 * sizeof *buffers);
    uint64_t *offset = malloc(4410 * sizeof *offset);
    struct problem problem;
    struct error err = {0};
    size_t count = make_crowded(buffers);
    cr_assert(problem_init(&problem, buffers, count, &err));
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    for (uint64_t n = 20;; n += n / 2) {
        struct placement best = {offset, UINT64_MAX};
        err = (struct error){0};
        mem_fail_at(n);
        bool ok = perfect_improve(&problem, &(struct place_options){.seed = 1}, &best, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
    }
    problem_finish(&problem);
    free(buffers);
    free(offset);
}

/* So many of one size end and begin at one instant, beside some that live on: each part of the ones may hand over to
 * each of as many of the others, and no more than a few of these ways are looked at. */
static void check_equal_sizes(uint32_t number)
{
    enum { BESIDE = 6, MOST_WORK = 300000 };
    static uint64_t size[2 * 200 + BESIDE];
    uint32_t all = 2 * number + BESIDE;
    struct error err = {0};
    struct pq pq;
    struct splits splits = {
        .pq = &pq, .size = size, .unit = 1, .item_count = all, .item_capacity = all, .most_ways = SPLITS_MOST};
    cr_assert(pq_init(&pq, all, 2, number + BESIDE, &err));
    splits.items = mem_alloc(MEM_SEARCH, all, sizeof *splits.items);
    splits.block = mem_alloc(MEM_SEARCH, all, sizeof *splits.block);
    for (uint32_t i = 0; i < all; i++) {
        size[i] = 1000;
        splits.items[i] = i;
    }
    pq_begin(&pq, splits.items, number + BESIDE);
    struct vertex vertex = {0, number + BESIDE, number, number, PQ_NONE};
    cr_assert(splits_find(&splits, &vertex, &err));
    cr_assert_gt(splits.count, 1, "%u buffers", number);
    cr_assert_lt(splits.work, MOST_WORK, "%u buffers", number);
    splits_finish(&splits);
    pq_finish(&pq);
}

Test(place_perfect, equal_sizes_take_no_more_work_than_others)
{
    static const uint32_t numbers[] = {3, 12, 13, 26, 60, 64, 65, 128, 200};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) check_equal_sizes(numbers[k]);
}

static bool is_over(const void *looks) { return (*(uint32_t *)looks)-- == 0; }

/* Four fifths of what lives end at one instant, and any of them can stand together. It ends at the look after so many;
 * returns the work. */
static uint64_t take_large_knot(uint32_t looks)
{
    enum { LIVE = 25000, ENDS = 20000 };
    static uint64_t size[LIVE + 1];
    struct error err = {0};
    struct pq pq;
    struct splits splits = {.pq = &pq, .size = size, .item_count = LIVE + 1, .item_capacity = LIVE + 1};
    struct loose loose = {0};
    struct vertex taken;
    cr_assert(pq_init(&pq, LIVE + 1, 2, LIVE, &err));
    splits.items = mem_alloc(MEM_SEARCH, LIVE + 1, sizeof *splits.items);
    for (uint32_t i = 0; i <= LIVE; i++) {
        size[i] = 1000 + i % 77;
        splits.items[i] = i;
    }
    pq_begin(&pq, splits.items, LIVE);
    struct vertex vertex = {0, LIVE, ENDS, 1, PQ_NONE};
    cr_assert(loose_take(&loose, &splits, &vertex, &(struct loose_limits){is_over, &looks}, &taken, &err));
    cr_assert_geq(taken.end_count, 1);
    cr_assert_eq(taken.end_count + loose.lost_count, ENDS);
    cr_assert(!isinf(pq_join_loss(&pq, splits.items + taken.ends, taken.end_count)));
    cr_assert_eq(pq.nodes[pq.root].leaves, LIVE - loose.lost_count);
    loose_finish(&loose);
    splits_finish(&splits);
    pq_finish(&pq);
    return splits.work;
}

/* All questions would take 200,000,000 for one seed. */
Test(place_perfect, what_ends_in_a_large_knot_is_gathered_in_bounded_work)
{
    uint64_t most = take_large_knot(UINT32_MAX), less = take_large_knot(0);
    cr_assert(most > 0 && most < 1100000, "%llu", (unsigned long long)most);
    cr_assert(less > 0 && less < 64 * 65, "%llu", (unsigned long long)less);
}

/* ---- The tree against all permutations ---- */

#define LEAVES 6
#define ORDERS 720

/* All orders of what is live that are still possible. */
struct orders {
    uint32_t order[ORDERS][LEAVES];
    size_t count, live;
};

static bool stand_together(const uint32_t *order, size_t live, const bool *chosen)
{
    size_t runs = 0;
    for (size_t i = 0; i < live; i++) runs += chosen[order[i]] && (i == 0 || !chosen[order[i - 1]]);
    return runs == 1;
}

static void add_order(struct orders *orders, const uint32_t *order)
{
    for (size_t k = 0; k < orders->count; k++)
        if (memcmp(orders->order[k], order, orders->live * sizeof *order) == 0) return;
    memcpy(orders->order[orders->count++], order, orders->live * sizeof *order);
}

static void permute(struct orders *orders, uint32_t *order, size_t from, size_t to)
{
    if (from + 1 >= to) {
        add_order(orders, order);
        return;
    }
    for (size_t i = from; i < to; i++) {
        uint32_t swap = order[from];
        order[from] = order[i];
        order[i] = swap;
        permute(orders, order, from + 1, to);
        order[i] = order[from];
        order[from] = swap;
    }
}

/* What is left when the chosen stand together, and others, in any order, take their place. */
static void replace_by_hand(struct orders *orders, const bool *chosen, const uint32_t *others, size_t number)
{
    static struct orders before;
    before = *orders;
    orders->count = 0;
    for (size_t k = 0; k < before.count; k++) {
        uint32_t *order = before.order[k];
        if (!stand_together(order, before.live, chosen)) continue;
        size_t first = 0;
        while (!chosen[order[first]]) first++;
        memcpy(order + first, others, number * sizeof *others);
        permute(orders, order, first, first + number);
    }
}

static void check_tree(uint32_t seed)
{
    static struct orders orders;
    struct random random = random_begin(seed, RANDOM_SEARCH, 3, 3);
    struct error err = {0};
    struct pq pq;
    uint32_t live[LEAVES], next = LEAVES;
    cr_assert(pq_init(&pq, 200, 40, LEAVES, &err));
    for (uint32_t i = 0; i < LEAVES; i++) live[i] = i;
    orders.live = LEAVES;
    orders.count = 0;
    permute(&orders, (uint32_t[]){0, 1, 2, 3, 4, 5}, 0, LEAVES);
    pq_begin(&pq, live, LEAVES);
    for (int step = 0; step < 12; step++) {
        bool chosen[200] = {false};
        uint32_t ends[LEAVES], others[LEAVES], number = 2 + random_below(&random, LEAVES - 2);
        for (uint32_t i = 0; i < number; i++) { /* a shuffle's beginning */
            uint32_t at = i + random_below(&random, LEAVES - i), leaf = live[at];
            live[at] = live[i];
            live[i] = leaf;
            chosen[leaf] = true;
            ends[i] = leaf;
        }
        size_t possible = 0;
        for (size_t k = 0; k < orders.count; k++) possible += stand_together(orders.order[k], LEAVES, chosen);
        double loss = pq_join_loss(&pq, ends, number);
        cr_assert_eq(!isinf(loss), possible > 0, "seed %u, step %d", seed, step);
        if (possible == 0) continue;
        cr_assert_float_eq(exp(-loss) * (double)orders.count, (double)possible, 1e-6, "seed %u, step %d", seed, step);
        for (uint32_t i = 0; i < number; i++) live[i] = others[i] = next++;
        replace_by_hand(&orders, chosen, others, number);
        pq_replace(&pq, ends, number, others, number);
        if (next + LEAVES > 200) break;
    }
    pq_finish(&pq);
}

Test(place_perfect, a_tree_stands_for_all_orders_that_are_left)
{
    for (uint32_t seed = 0; seed < rounds(200); seed++) check_tree(seed);
}

static void drop_by_hand(struct orders *orders, uint32_t leaf)
{
    static struct orders before;
    before = *orders;
    orders->count = 0;
    orders->live--;
    for (size_t k = 0; k < before.count; k++) {
        uint32_t order[LEAVES];
        for (size_t i = 0, kept = 0; i < before.live; i++)
            if (before.order[k][i] != leaf) order[kept++] = before.order[k][i];
        add_order(orders, order);
    }
}

/* Two of what is live stand together from now on, where they can, and one is dropped. */
static void check_drops(uint32_t seed)
{
    static struct orders orders;
    struct random random = random_begin(seed, RANDOM_SEARCH, 3, 4);
    struct error err = {0};
    struct pq pq;
    uint32_t live[LEAVES], next = LEAVES;
    cr_assert(pq_init(&pq, 40, 40, LEAVES, &err));
    for (uint32_t i = 0; i < LEAVES; i++) live[i] = i;
    orders.live = LEAVES;
    orders.count = 0;
    permute(&orders, (uint32_t[]){0, 1, 2, 3, 4, 5}, 0, LEAVES);
    pq_begin(&pq, live, LEAVES);
    while (orders.live > 2) {
        bool chosen[40] = {false};
        size_t possible = 0;
        uint32_t at = random_below(&random, (uint32_t)orders.live - 1), others[2] = {next, next + 1};
        chosen[live[at]] = chosen[live[at + 1]] = true;
        for (size_t k = 0; k < orders.count; k++) possible += stand_together(orders.order[k], orders.live, chosen);
        cr_assert_eq(!isinf(pq_join_loss(&pq, live + at, 2)), possible > 0, "seed %u, %zu live", seed, orders.live);
        if (possible > 0) {
            replace_by_hand(&orders, chosen, others, 2);
            pq_replace(&pq, live + at, 2, others, 2);
            memcpy(live + at, others, sizeof others);
            next += 2;
        }
        at = random_below(&random, (uint32_t)orders.live);
        pq_drop(&pq, live[at]);
        drop_by_hand(&orders, live[at]);
        live[at] = live[orders.live];
        cr_assert_eq(pq.nodes[pq.root].leaves, orders.live);
    }
    pq_finish(&pq);
}

Test(place_perfect, a_tree_without_a_leaf_stands_for_the_orders_of_the_others)
{
    for (uint32_t seed = 0; seed < rounds(200); seed++) check_drops(seed);
}
