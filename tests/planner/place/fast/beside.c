/* Placing beside neighbours that end together: the set it looks through against a plain array, soundness by the checker
 * that shares nothing with it, and what it is for: large problems near their bound within a pass. */
#include <criterion/criterion.h>
#include <math.h>

#include "mem.h"
#include "place_bits.h"
#include "place_fast.h"
#include "place_kit.h"
#include "random.h"

static void compare_neighbours(const struct bits *bits, const bool *plain, size_t limit)
{
    size_t before = BITS_NONE, from = BITS_NONE;
    for (size_t i = 0; i < limit; i++) {
        cr_assert_eq(bits_before(bits, i), before, "before %zu of %zu", i, limit);
        if (plain[i]) before = i;
    }
    for (size_t i = limit; i-- > 0;) {
        if (plain[i]) from = i;
        cr_assert_eq(bits_from(bits, i), from, "from %zu of %zu", i, limit);
    }
    cr_assert_eq(bits_from(bits, limit), BITS_NONE);
    cr_assert_eq(bits_before(bits, limit), before);
}

Test(place_beside, sets_know_their_neighbours)
{
    static const size_t limits[] = {1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 9000};
    struct random random = random_begin(1, RANDOM_SEARCH, 0, 0);
    struct error err = {0};
    for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++) {
        struct bits bits;
        bool plain[9000] = {false};
        cr_assert(bits_init(&bits, limits[l], &err));
        for (int round = 0; round < 12; round++) {
            for (size_t k = 0; k < 1 + limits[l] / 40; k++) {
                size_t number = random_below(&random, (uint32_t)limits[l]);
                (round % 3 == 2 ? bits_take : bits_put)(&bits, number);
                plain[number] = round % 3 != 2;
            }
            compare_neighbours(&bits, plain, limits[l]);
        }
        bits_clear(&bits);
        cr_assert_eq(bits_from(&bits, 0), BITS_NONE);
        bits_finish(&bits);
    }
}

enum family { FAMILY_UNIFORM, FAMILY_SKEWED, FAMILY_LAYERED, FAMILY_ALIGNED, FAMILIES };

static struct place_buffer make_buffer(struct random *random, enum family family, uint32_t i, uint32_t count)
{
    uint64_t lower = random_below(random, count), length = 1 + random_below(random, 100);
    uint64_t size = 1 + random_below(random, 64), align = 1;
    if (family == FAMILY_SKEWED) {
        length = 1 + (uint64_t)pow(10, 4 * random_real(random));
        size = 1 + (uint64_t)pow(10, 5 * random_real(random));
    } else if (family == FAMILY_LAYERED) {
        uint64_t layers = count / 3 + 1, layer = i / 3;
        lower = i % 3 == 2 ? 2 * layers - layer : layer;
        length = i % 3 == 1 ? 2 * (layers - layer) : 1 + random_below(random, 4);
        size = 256 * (uint64_t)(1 + random_below(random, i % 3 == 1 ? 64 : 4096));
    } else if (family == FAMILY_ALIGNED) {
        align = UINT64_C(1) << random_below(random, 9);
        size = 1 + random_below(random, 5000);
    }
    return (struct place_buffer){lower, lower + length, size, align, PLACE_UNPLACED, 0, 0};
}

static struct place_buffer *make(enum family family, uint32_t count)
{
    struct place_buffer *buffers = mem_alloc(MEM_GENERAL, count, sizeof *buffers);
    struct random random = random_begin(family, RANDOM_SEARCH, 5, count);
    cr_assert(buffers);
    for (uint32_t i = 0; i < count; i++) buffers[i] = make_buffer(&random, family, i, count);
    return buffers;
}

/* A sweep, and then this: never more, and sound. Returns the arena over the bound. */
static double improve(struct place_buffer *buffers, uint32_t count)
{
    struct error err = {0};
    struct problem problem;
    cr_assert(problem_init(&problem, buffers, count, &err), "%s", err.text);
    struct placement best = {mem_alloc(MEM_GENERAL, count, sizeof *best.offset), UINT64_MAX};
    cr_assert(sweep_improve(&problem, SWEEP_FIRST, problem.bound, &best, &err), "%s", err.text);
    uint64_t swept = best.arena;
    cr_assert(beside_improve(&problem, problem.bound, &best, &err), "%s", err.text);
    cr_assert_leq(best.arena, swept);
    return place_kit_finish(&problem, &best, buffers, count);
}

Test(place_beside, placements_are_sound_and_never_worse)
{
    for (enum family family = 0; family < FAMILIES; family++)
        for (uint32_t count = 1; count < 400; count += count < 20 ? 1 : 37) {
            struct place_buffer *buffers = make(family, count);
            improve(buffers, count);
            mem_free(buffers);
        }
}

Test(place_beside, large_problems_come_near_their_bound)
{
    static const double most[] = {1.09, 1.09, 1.03, 1.20};
    for (enum family family = 0; family < FAMILIES; family++) {
        struct place_buffer *buffers = make(family, 60000);
        double ratio = improve(buffers, 60000);
        cr_assert_lt(ratio, most[family], "family %d: %.4f", (int)family, ratio);
        mem_free(buffers);
    }
}
