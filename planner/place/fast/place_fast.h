/* The fast placers: sweeps over time, levels beside each other, first fit in one order after another. */
#ifndef FATHOM_PLACE_FAST_H
#define FATHOM_PLACE_FAST_H

#include "place_problem.h"

#define MANY_BUFFERS 100000 /* from here on the cheapest placers come first */

/* What sweeps and first fit may each look at where no time is given, so that one pass takes a fraction of a second for
 * a few thousand buffers, however they lie, and time in proportion for more. 0 = any, there is a deadline. */
static inline uint64_t problem_pass_steps(const struct problem *problem)
{
    return problem->deadline_ns > 0 ? 0 : 400000000 + 1000 * (uint64_t)problem->count;
}

/* Each improves *best (whose arena is UINT64_MAX at first) and stops early at `target`. Sweeps may be
 * had in two parts: the first, which is cheap, and the rest. */
enum sweep_part { SWEEP_ALL, SWEEP_FIRST, SWEEP_REST };
bool sweep_improve(const struct problem *problem, enum sweep_part part, uint64_t target, struct placement *best,
                   struct error *err);
bool beside_improve(const struct problem *problem, uint64_t target, struct placement *best, struct error *err);

/* How far first fit goes on trying orders: until one meets the target, or until a limit or the problem's
 * deadline; where there is no placement yet, one is made all the same. */
struct squeeze_limits {
    uint64_t work;                       /* buffers placed, in all attempts together, but for the first of each order */
    uint64_t steps;                      /* of all attempts together, on one thread (place_firstfit.h); 0 = any */
    uint32_t threads;                    /* 0 = one */
    const struct place_options *options; /* seed, stop and progress */
};

bool squeeze_improve(const struct problem *problem, uint64_t target, const struct squeeze_limits *limits,
                     struct placement *best, struct error *err);

#endif
