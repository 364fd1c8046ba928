/* What it costs to time steps, from the steps of a run: timed ones against others that ended right before or after them.
 *
 * One step is compared with one, or, where steps overlap in flight, two with two: between a step that is timed and one that
 * is not nothing is in flight, so the step after a timed one begins late too. Both come before the other equally often,
 * so a drift falls out; and as both are alike, the median of the ratios is 1 where timing costs nothing, whatever the
 * shape of the noise. */
#ifndef FATHOM_TIMING_COST_H
#define FATHOM_TIMING_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum step_sort {
    STEP_PLAIN, /* not timed, nor was the one before, where steps overlap */
    STEP_TIMED,
    STEP_AFTER, /* not timed, but the one before was; only where steps overlap */
    STEP_OTHER  /* not to be compared */
};

#define COST_RATIOS 512 /* the newest ones count */
#define COST_LEAST  8   /* ratios before which nothing is known */
#define COST_STEPS  5   /* two pairs, and one between them */
#define COST_SKIPS  4   /* steps at first: whether they were timed was decided before */

struct timing_cost {
    struct {
        uint64_t ns;
        enum step_sort sort;
    } last[COST_STEPS]; /* the newest one last */
    double ratios[COST_RATIOS]; /* timed over plain, minus 1: a ring */
    size_t count, told, seen;   /* ratios so far; when an estimate was due last; steps */
    bool overlap, in_rows;      /* two steps a block; timed steps follow timed steps */
};

/* Forgets all. in_rows: timed steps come in rows, with a few others between. */
void timing_cost_begin(struct timing_cost *cost, bool overlap, bool in_rows);
/* A step that ended `ns` after the one before; after a pause it is STEP_OTHER. True when there is a new estimate: every
 * eight ratios, later rarer. */
bool timing_cost_see(struct timing_cost *cost, enum step_sort sort, uint64_t ns);

struct timing_estimate {   /* fractions of a plain step (of two, where steps overlap) */
    double median;
    double least, most; /* between which the true median is, 95 times of 100 */
};
/* Needs COST_LEAST ratios. */
struct timing_estimate timing_cost_estimate(const struct timing_cost *cost);

#endif
