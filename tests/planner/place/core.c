/* Placing from a window around the peak: valid on steps of every shape, met at the bound where a puzzle of few buffers
 * stands among many long ones, left alone where no window tells long from short, and nothing leaks. */
#include <criterion/criterion.h>

#include <stdlib.h>

#include "mem.h"
#include "place_check.h"
#include "place_solve.h"
#include "random.h"

#define LAYERS 120
#define MOST   (6 * LAYERS)

static void add(struct place_buffer *buffers, size_t *count, uint64_t lower, uint64_t upper, uint64_t size)
{
    buffers[(*count)++] =
        (struct place_buffer){.lower = lower, .upper = upper, .size = size, .align = 1, .fixed = PLACE_UNPLACED};
}

/* What is kept from a layer to its backward op, and what passes between neighbours: at the turn, where all is kept,
 * some dozen that live for a few instants each. */
static size_t make_step(struct place_buffer *buffers, struct random *random)
{
    size_t count = 0;
    for (uint64_t k = 0; k < LAYERS; k++) {
        uint64_t size = UINT64_C(64) << random_below(random, 3), back = 4 * LAYERS + 8 - 2 * k;
        add(buffers, &count, 2 * k, back - random_below(random, 4), size);
        add(buffers, &count, 2 * k, 2 * k + 2 + random_below(random, 3), UINT64_C(64) << random_below(random, 2));
        add(buffers, &count, back - 2, back + 4, UINT64_C(64) << random_below(random, 2));
        add(buffers, &count, back - 2, back, 16 + random_below(random, 100));
    }
    return count;
}

static void improve(const struct place_buffer *buffers, size_t count, struct placement *best)
{
    struct problem problem;
    struct error err = {0};
    cr_assert(problem_init(&problem, buffers, count, &err));
    cr_assert(core_improve(&problem, problem.bound, best, &err), "%s", err.text);
    problem_finish(&problem);
}

Test(place_core, placements_are_valid_and_the_same_each_time)
{
    static uint64_t offset[MOST], again[MOST];
    uint32_t placed = 0;
    for (uint32_t seed = 0; seed < 60; seed++) {
        struct place_buffer buffers[MOST];
        struct random random = random_begin(seed, RANDOM_SEARCH, 7, 0);
        struct placement best = {offset, UINT64_MAX}, second = {again, UINT64_MAX};
        size_t count = make_step(buffers, &random);
        improve(buffers, count, &best);
        improve(buffers, count, &second);
        cr_assert_eq(best.arena, second.arena);
        if (best.arena == UINT64_MAX) continue;
        struct error err = {0};
        for (size_t i = 0; i < count; i++) {
            cr_assert_eq(offset[i], again[i]);
            buffers[i].offset = offset[i];
        }
        cr_assert(place_check(buffers, count, best.arena, &err), "seed %u: %s", seed, err.text);
        placed++;
    }
    cr_assert_geq(placed, 50);
}

/* What is left of the turn of a fused ResNet-164's step when all is taken away without which it is easy. */
static size_t make_puzzle(struct place_buffer *buffers)
{
    static const uint64_t rows[][3] = {{116, 136, 4096},  {118, 131, 16384}, {127, 141, 16384}, {132, 136, 4096},
                                       {135, 136, 8768},  {135, 139, 4096},  {138, 151, 16384}, {142, 144, 4},
                                       {144, 145, 8768},  {145, 146, 8768},  {145, 147, 4},     {146, 149, 5},
                                       {148, 160, 16384}, {149, 151, 20},    {152, 154, 4},     {154, 155, 8768}};
    size_t count = 0;
    for (uint64_t k = 0; k < 60; k++) add(buffers, &count, k, 470 - k, (1 + k % 3) * 16384);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) add(buffers, &count, rows[i][0], rows[i][1], rows[i][2]);
    return count;
}

Test(place_core, a_puzzle_among_long_ones_is_met_at_its_bound)
{
    static uint64_t offset[MOST];
    struct place_buffer buffers[MOST];
    struct error err = {0};
    struct problem problem;
    size_t count = make_puzzle(buffers);
    struct placement best = {offset, UINT64_MAX};
    improve(buffers, count, &best);
    cr_assert(problem_init(&problem, buffers, count, &err));
    cr_assert_eq(best.arena, problem.bound);
    problem_finish(&problem);
}

Test(place_core, what_lives_shortly_is_left_alone)
{
    static uint64_t offset[MOST];
    struct place_buffer buffers[MOST];
    size_t count = 0;
    struct placement best = {offset, UINT64_MAX};
    for (uint64_t i = 0; i < 200; i++) add(buffers, &count, i, i + 4, 1 + i % 7);
    improve(buffers, count, &best);
    cr_assert_eq(best.arena, UINT64_MAX);
}

Test(place_core, each_failed_allocation_is_survived)
{
    static uint64_t offset[MOST];
    struct place_buffer buffers[MOST];
    struct problem problem;
    struct error err = {0};
    size_t count = make_puzzle(buffers);
    cr_assert(problem_init(&problem, buffers, count, &err));
    uint64_t before = mem_current_bytes(MEM_SEARCH);
    for (uint64_t n = 1;; n++) {
        struct placement best = {offset, UINT64_MAX};
        err = (struct error){0};
        mem_fail_at(n);
        bool ok = core_improve(&problem, problem.bound, &best, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_SEARCH), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_lt(n, 500);
    }
    problem_finish(&problem);
}
