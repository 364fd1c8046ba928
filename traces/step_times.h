/* Where the time of timed steps goes: what each group of ops or kernels takes in each of them, and what the device did
 * for how long. Three passes over the file: which steps there are, which are timed, what ran in those chosen. */
#ifndef FATHOM_STEP_TIMES_H
#define FATHOM_STEP_TIMES_H

#include "summary.h"

#define STEP_TIMES_MOST 64 /* at most so many are looked at, spread evenly, the newest among them */

struct step_range {
    uint64_t first, last; /* numbers from 1; last 0 = to the end */
};
/* "RUN.trace@100-200", "@100", "@100-": the path without the range goes into `path`, which holds `size` bytes. A file whose
 * name ends like that is meant itself. ERROR_INPUT when what follows the last @ is no range of a file that exists. */
bool step_range_parse(const char *word, char *path, size_t size, struct step_range *range, struct error *err);

struct step_times_step {
    uint64_t number;
    double ns;                /* from its begin, or from where its images were loaded; a mean over devices, as all is */
    double part_ns[STEP_PARTS]; /* add up to ns */
};

struct step_times_group {
    const char *name; /* owned by the times; as in a summary */
    double *step_ns;  /* in each step, on one device */
};

/* How GPUs were doing in the range: over all readings, of all devices. */
struct step_times_gpus {
    double clock_hz;    /* of the SMs, the mean; NAN = unknown, as below */
    double held_part;   /* of the readings, in which something held a GPU back */
    uint64_t held_bits; /* what did, in any of them: as COUNTER_GPU_THROTTLED */
};

struct step_times {
    struct step_times_step *steps;
    size_t step_count;
    struct step_times_group *groups;
    size_t group_count;
    uint64_t timed_steps;    /* in the range, of which step_count are looked at */
    uint64_t from_ns, to_ns; /* of all steps in the range, timed or not */
    struct step_times_gpus gpus;
    void *own;
};

/* Take a zeroed object; on failure it stays so. A trace without timed steps in the range gives none. */
bool step_times_read(const char *path, enum summary_by by, struct step_range range, struct step_times *times,
                    struct error *err);
void step_times_finish(struct step_times *times);

/* A middle value and how far off it may be for lack of steps: the standard error of a median, from the steps' own middle
 * half. */
struct step_times_estimate {
    double median_ns, error_ns;
};
/* Of a group, or of the whole step (group NULL). Needs a step at least. */
struct step_times_estimate step_times_estimate(const struct step_times *times, const struct step_times_group *group);
/* NULL when there is none of that name. */
const struct step_times_group *step_times_find(const struct step_times *times, const char *name);

#endif
