/* What a GPU's membership in a group does beside the slots of backend.h. */
#ifndef FATHOM_CUDA_GROUP_H
#define FATHOM_CUDA_GROUP_H

#include "cuda_device.h"

/* Sums for different purposes are under way side by side, each in the order of its stream: each has a communicator. */
enum group_purpose { GROUP_GRADIENTS, GROUP_STATISTICS, GROUP_PURPOSES };

/* Makes what sums for this purpose need: every rank calls it, each from its device's thread, before the first such sum. */
bool group_prepare(struct group *group, enum group_purpose purpose, struct error *err);
/* The sum of what each rank gives, the same at every call: of the first time. Every rank calls it, as group_prepare, while
 * nothing is under way on the device. */
bool group_total(struct group *group, uint64_t own, uint64_t *total, struct error *err);
/* out[i] = sum over ranks of in[i], of f64, f32, f16 or bf16, in stream order; out may be in. The same bits on all ranks, in an order of
 * NCCL's own. */
bool group_sum(struct group *group, enum group_purpose purpose, const void *in, void *out, uint64_t count,
               enum dtype dtype, struct stream *stream, struct error *err);
/* Whether nothing is known to be wrong with the group: asked while its sums are waited for. NULL: nothing is. */
bool group_is_well(struct group *group, struct error *err);
/* Memory for what devices add up, into device->apart: NCCL's where it has some to give, which group_join makes known to the
 * device's communicator; else CUDA's. group_give_memory comes after group_leave. */
bool group_take_memory(struct device *device, uint64_t bytes, struct error *err);
void group_give_memory(struct device *device);
/* The device ends: without a fault this waits for what its peers still need of it. False: what was given up has not ended
 * within the time-out, and may hold the device for ever. Takes NULL. */
bool group_leave(struct group *group, bool lost);

#endif
