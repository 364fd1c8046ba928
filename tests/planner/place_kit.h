/* What tests of single placers share: the end of each. */
#ifndef FATHOM_TESTS_PLACE_KIT_H
#define FATHOM_TESTS_PLACE_KIT_H

#include <criterion/criterion.h>

#include "mem.h"
#include "place_check.h"
#include "place_fast.h"

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
