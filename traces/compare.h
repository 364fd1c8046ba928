/* How the steps of two traces differ, group by group, and whether by more than they differ among themselves. */
#ifndef FATHOM_COMPARE_H
#define FATHOM_COMPARE_H

#include "step_times.h"

struct comparison_row {
    const char *name;           /* of one of the step times */
    double before_ns, after_ns; /* medians over steps; 0 = not in that trace */
    double noise_ns;            /* what the difference may be by chance; NAN = unknown, of too few steps or of a group that
                                 * one of them has not */
    bool slower;                /* by more than the gate and the noise */
};

struct comparison {
    struct comparison_row step;
    struct comparison_row *rows; /* the largest change first */
    size_t count;
    bool slower; /* the step or a row */
};

#define COMPARISON_LEAST_STEPS 3 /* in either trace, below which nothing is known of the noise */

/* `gate`: a fraction of a group's own time by which it may grow; below 0: none. The noise is so many standard errors that
 * among all groups of two like runs one is above it in one comparison of a hundred (for normal noise; a device that warms up
 * is no noise). Take a zeroed object; ERROR_MEMORY leaves it so. Both step times must outlive it and have steps. */
bool comparison_make(const struct step_times *before, const struct step_times *after, double gate,
                     struct comparison *comparison, struct error *err);
void comparison_finish(struct comparison *comparison);

#endif
