/* The Torch release's table of nets (torch.ch/blog/2016/02/04/resnets.html), for any device: what each net takes to run
 * forward and backward, as published and as predicted. */
#ifndef FATHOM_SPEED_H
#define FATHOM_SPEED_H

#include "cost_table.h"
#include "plan.h"

#define SPEED_PUBLISHED_BATCH 32u

/* A row of the post: top-1 error of one crop on ImageNet's validation images, and how long 32 images take forward and
 * backward on one Titan X (Maxwell) with Torch and cuDNN R4. */
struct speed_published {
    const char *model;
    double error, seconds;
};
/* The post's rows in its order, by falling error; NULL behind the last. */
const struct speed_published *speed_published_at(size_t i);
/* The row of a model with its usual images and classes; NULL = the post has none. */
const struct speed_published *speed_published_of(const struct model_spec *spec);

/* What a plan says of its net; the plan has one device. */
struct speed_row {
    const char *model; /* the plan's */
    uint64_t parameters;
    uint64_t forward_flops; /* of one image; a multiplication and an addition count as two */
    bool fits;
    uint64_t peak_bytes; /* of the device, as planned for a whole training step */
    uint32_t micro_batches, recomputed; /* passes over parts of the batch; forward convolutions that run twice */
    double predicted_seconds; /* forward and backward of the batch, without the update; 0 = unknown */
    const struct speed_published *published; /* NULL = none */
};
/* measured: ops' times from a run, NULL = the roofline's. ERROR_INPUT for several devices, ERROR_MEMORY. */
bool speed_row_of(const struct plan *plan, const struct cost_table *measured, struct speed_row *row, struct error *err);

#endif
