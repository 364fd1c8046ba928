/* Patches: sound, never worse, and where lifetimes are short the few places that a sweep fails in are mended. */
#include <criterion/criterion.h>

#include "mem.h"
#include "place_fast.h"
#include "place_kit.h"
#include "place_solve.h"
#include "random.h"

enum family { FAMILY_CHAIN, FAMILY_SHORT, FAMILY_ALIGNED, FAMILY_LONG, FAMILIES };

static struct place_buffer *make(enum family family, uint32_t count, uint64_t seed)
{
    struct place_buffer *buffers = mem_alloc(MEM_GENERAL, count, sizeof *buffers);
    struct random random = random_begin(seed, RANDOM_SEARCH, 6, family);
    cr_assert(buffers);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t lower = family == FAMILY_CHAIN ? i : random_below(&random, count);
        uint64_t length = family == FAMILY_CHAIN  ? 8
                          : family == FAMILY_LONG ? 1 + random_below(&random, count)
                                                  : 1 + random_below(&random, 20);
        uint64_t align = family == FAMILY_ALIGNED ? UINT64_C(1) << random_below(&random, 5) : 1;
        buffers[i] =
            (struct place_buffer){lower, lower + length, 1 + random_below(&random, 64), align, PLACE_UNPLACED, 0, 0};
    }
    return buffers;
}

/* A sweep and patches, with some buffers fixed where the sweep has them; the arena over the bound. */
static double improve(struct place_buffer *buffers, uint32_t count, bool fix)
{
    static const struct place_options options = {.seed = 1};
    struct error err = {0};
    struct problem problem;
    cr_assert(problem_init(&problem, buffers, count, &err), "%s", err.text);
    struct placement best = {mem_alloc(MEM_GENERAL, count, sizeof *best.offset), UINT64_MAX};
    cr_assert(sweep_improve(&problem, SWEEP_FIRST, problem.bound, &best, &err), "%s", err.text);
    for (size_t i = 0; fix && i < problem.count; i += 3) {
        problem.fixed[i] = best.offset[i];
        problem.any_fixed = true;
        buffers[problem.origin[i]].fixed = best.offset[i];
    }
    uint64_t before = best.arena;
    cr_assert(patch_improve(&problem, problem.bound, &options, &best, &err), "%s", err.text);
    cr_assert_leq(best.arena, before);
    return place_kit_finish(&problem, &best, buffers, count);
}

Test(place_patch, placements_are_sound_and_never_worse)
{
    for (enum family family = 0; family < FAMILIES; family++)
        for (uint64_t seed = 0; seed < 12; seed++) {
            struct place_buffer *buffers = make(family, 2500, seed);
            improve(buffers, 2500, seed % 3 == 2);
            mem_free(buffers);
        }
}

Test(place_patch, short_lifetimes_are_mended)
{
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct place_buffer *chain = make(FAMILY_CHAIN, 20000, seed), *brief = make(FAMILY_SHORT, 20000, seed);
        cr_assert_lt(improve(chain, 20000, false), 1.03);
        cr_assert_lt(improve(brief, 20000, false), 1.01);
        mem_free(chain);
        mem_free(brief);
    }
}
