/* What convolutions want to work in on GPUs, where no backend can be asked, and what they lose with less. */
#ifndef FATHOM_WORKSPACE_H
#define FATHOM_WORKSPACE_H

#include "cost.h"
#include "plan.h"

/* Asks the backend for an op's workspace (pass says whether it is a recompute or evaluation), without allocating anything.
 * NULL in a request = the planner's own estimate for GPUs. */
typedef bool (*plan_workspace_fn)(void *context, const struct graph *graph, const struct op *op, enum op_pass pass,
                                  uint64_t *bytes, struct error *err);

/* What a lean op gets (KEEP_LEAN): as much as made ResNet-18 slow in the figures below. */
#define WORKSPACE_LEAN_BYTES (8u << 20)

struct workspace_tier {
    const struct device_spec *device;
    uint64_t cap_bytes; /* the plan's own limit; 0 = the device's */
};

/* Both are plan_workspace_fn, over a struct workspace_tier. A convolution that is not a plain matrix product wants its
 * operands unfolded once, up to the cap. With 16-bit activations products and convolutions take a 16-bit copy of
 * f32 weights beside that, and convolutions whose channels are no multiple of 8 a padded one of their input, whatever the
 * cap. */
bool workspace_estimate(void *tier, const struct graph *graph, const struct op *op, enum op_pass pass, uint64_t *bytes,
                        struct error *err);
bool workspace_estimate_lean(void *tier, const struct graph *graph, const struct op *op, enum op_pass pass,
                             uint64_t *bytes, struct error *err);

/* The most of the unfolding that an op of the graph gets where the device alone sets the limit: a cap of so many bytes, or
 * more, changes no op's workspace. */
uint64_t workspace_most_unfolded(const struct device_spec *device, const struct graph *graph);

/* Part of it: with 16-bit activations convolutions and products take 16-bit weights, and give gradients of them: a copy of
 * the f32 ones, as large as the op's. 0 where the op reads weights that were copied (LOWER_WEIGHTS). */
uint64_t workspace_weights_copy(const struct graph *graph, const struct op *op);

/* By how much an op of the program, which a backend was not asked about, is slower than with all the workspace that it
 * could use; 1 when it has that. */
double workspace_slowdown(const struct graph *graph, const struct plan_program *program, const struct plan_op *op);

/* How many convolutions of a device's training program have less workspace than they could use: 0 where its backend was
 * asked. */
uint32_t workspace_count_lean(const struct device_spec *device, const struct plan_variant *variant);

/* cost_op_seconds, slowed down. */
double workspace_op_seconds(const struct cost_speed *speed, const struct graph *graph,
                            const struct plan_program *program, const struct plan_op *op);

#endif
