/* First fit in a given order: each buffer goes into the lowest gap among those already placed that live with it. */
#ifndef FATHOM_PLACE_FIRSTFIT_H
#define FATHOM_PLACE_FIRSTFIT_H

#include <stdatomic.h>

#include "place_gaps.h"
#include "place_sort.h"

/* The orders that do best on training steps come first. In the three that begin with the peak, the buffers of the
 * fullest section are placed before all others, as a stack without a gap. */
enum firstfit_order {
    FIRSTFIT_PEAK_SIZE, /* the peak by falling length, the rest by falling size */
    FIRSTFIT_LOAD,      /* by the largest live sum that a buffer takes part in, then by size */
    FIRSTFIT_PEAK_AREA, /* the peak by falling length, the rest by falling area */
    FIRSTFIT_SIZE,      /* falling */
    FIRSTFIT_PEAK_END,  /* the peak by falling end, the rest by falling area */
    FIRSTFIT_ROOT,      /* by size * sqrt(length) */
    FIRSTFIT_AREA,      /* by size * length */
    FIRSTFIT_CROWDED,   /* by area, that of buffers in nearly full sections weighing far more */
    FIRSTFIT_LENGTH,    /* falling, then by size */
    FIRSTFIT_ORDERS
};

/* What one thread needs to try orders. */
struct firstfit {
    const struct problem *problem;
    struct gaps gaps;
    uint64_t *offset; /* of the last order tried */
    struct sort_pair *pairs, *scratch;
};

/* Ended by firstfit_finish, which takes a zeroed object. On failure it is finished already. */
bool firstfit_init(struct firstfit *firstfit, const struct problem *problem, struct error *err);
void firstfit_finish(struct firstfit *firstfit);

/* The largest live sum that each buffer takes part in. */
bool firstfit_find_load(const struct problem *problem, uint64_t *load, struct error *err);

/* Fills order[count]; returns how many at its beginning are the peak's, 0 in orders that know no peak. Keys are scaled
 * by up to 1 ± noise. */
uint32_t firstfit_make_order(struct firstfit *firstfit, const uint64_t *load, enum firstfit_order kind, double noise,
                             uint64_t seed, uint32_t *order);

/* When to give up on an order: from outside, at a time on clock_now_ns, or after so many steps (0 = none). */
struct firstfit_limits {
    uint64_t deadline_ns, steps;
    const atomic_bool *quit;      /* may be NULL */
    const _Atomic uint32_t *stop; /* with `index`: given up once *stop is below it; may be NULL */
    uint32_t index;
    bool obliged; /* a placement is wanted all the same: the buffers that are left are stacked on the others */
};
bool firstfit_may_go_on(const struct firstfit_limits *limits);

enum firstfit_outcome { FIRSTFIT_PLACED, FIRSTFIT_GIVEN_UP, FIRSTFIT_NO_MEMORY };
/* Places every buffer in the order; offsets are in firstfit->offset. */
enum firstfit_outcome firstfit_place(struct firstfit *firstfit, const uint32_t *order,
                                     const struct firstfit_limits *limits, uint64_t *arena);

#endif
