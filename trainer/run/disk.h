/* Is there room on disk for what a run will write? */
#ifndef FATHOM_DISK_H
#define FATHOM_DISK_H

#include "train.h"

#define DISK_WORDS 1024

/* What a run writes from a step on, all of its processes together. */
struct disk_need {
    uint64_t checkpoint_bytes; /* of one, with the average where one is kept; 0 = none is written */
    uint64_t checkpoints;      /* at most so many more than there are now lie in the folder at a time, the one that is being
                                * written among them */
    uint64_t trace_bytes, log_bytes; /* at most; 0 = none is written */
};

/* Of a run that goes on after step `done`; options->dataset is open. trace: NULL = none. */
bool disk_need_find(const struct plan *plan, const struct train_options *options, const char *trace, uint64_t done,
                    struct disk_need *need, struct error *err);

/* Compares that with what is free where the folder of checkpoints, the trace and the log lie. ERROR_INPUT where not even one
 * checkpoint can be written; where one can, but not all that will be kept beside trace and log, `warning` is a sentence,
 * else it is empty. What cannot be found out limits nothing. */
bool train_check_disk(const struct plan *plan, const struct train_options *options, const char *trace, uint64_t done,
                      char warning[DISK_WORDS], struct error *err);

#endif
