/* How a batch is shared between the devices of a machine. */
#ifndef FATHOM_SPLIT_ESTIMATE_H
#define FATHOM_SPLIT_ESTIMATE_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"

struct split_device {
    uint64_t memory_bytes;
    uint64_t fixed_bytes;     /* taken whatever the number of images: weights, context, reserve ... */
    uint64_t bytes_per_image; /* of an image beside the fixed ones; 0 = none */
    double seconds_per_image; /* 0 = unknown */
};

/* Fills images[count]: whole images, at least one each, that sum to batch. Bounded by each device's memory and, when
 * all speeds are known, with the least largest step time; else every device's memory is filled to the same share. Equal
 * devices differ by one image at most, the first ones having more. When the memories cannot take the batch the shares
 * are again those that fill (and exceed) all of them alike: recomputation or micro-batches may still make the plan fit.
 * Deterministic. ERROR_INPUT when there are fewer images than devices. */
bool split_estimate(const struct split_device *devices, size_t count, uint32_t batch, uint32_t *images, struct error *err);

#endif
