/* What tests of placers share: all placers asked, and the end of what asks one. */
#ifndef FATHOM_TESTS_PLACE_KIT_H
#define FATHOM_TESTS_PLACE_KIT_H

#include <criterion/criterion.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_fast.h"

/* place_solve, held against the checker: the placement is sound, and live bytes, bound and arena are in this order. */
static inline struct place_result place_kit_solve(struct place_buffer *buffers, size_t count,
                                                  const struct place_options *options)
{
    struct error err = {0};
    struct place_result result;
    uint64_t live, instant;
    cr_assert(place_solve(buffers, count, options, &result, &err), "%s", err.text);
    cr_assert(place_check(buffers, count, result.arena_bytes, &err), "%s", err.text);
    cr_assert(place_check_live(buffers, count, &live, &instant, &err), "%s", err.text);
    cr_assert_eq(result.live_bytes, live);
    cr_assert_leq(live, result.lower_bound_bytes);
    cr_assert_leq(result.lower_bound_bytes, result.arena_bytes);
    return result;
}

/* Takes over a placement of these buffers: sound by the checker, which shares nothing with who made it. Gives problem and
 * placement back. Returns the arena over the bound. */
static inline double place_kit_finish(struct problem *problem, struct placement *best, struct place_buffer *buffers,
                                      size_t count)
{
    struct error err = {0};
    for (size_t i = 0; i < problem->count; i++) buffers[problem->origin[i]].offset = best->offset[i];
    cr_assert(place_check(buffers, count, best->arena, &err), "%s", err.text);
    double ratio = (double)best->arena / (double)problem->bound;
    mem_free(best->offset);
    problem_finish(problem);
    return ratio;
}

#endif
