/* How long a net takes to run forward and backward here: no images are read, nothing is learned. */
#ifndef FATHOM_PASSES_H
#define FATHOM_PASSES_H

#include "train.h"

struct passes_time {
    double seconds;         /* the median */
    double least, most;     /* of those that count */
    char remark[DEVICE_REMARK]; /* of the backend; empty = none */
};

/* Runs the passes of a step over pixels of noise `repeats` times, after some that do not count, with weights as a
 * training begins with. The way of the images to the device is part of it, the update is not. The plan has one
 * device. Of the options those count that say how a device computes. ERROR_FAILED when it was asked to stop. */
bool passes_measure(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    uint32_t repeats, struct passes_time *time, struct error *err);

#endif
