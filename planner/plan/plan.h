/* The plan: the joint between planner and trainer. What each device runs, in which order, at which bytes of its arena.
 *
 * Here is the artefact alone: made by plan_make (make/make.h), proved by plan_verify (verify.h), stored as one JSON file
 * (plan_file.h, docs/formats.md), executed by the trainer exactly as it stands. */
#ifndef FATHOM_PLAN_H
#define FATHOM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "graph.h"
#include "machine.h"

#define PLAN_VERSION 2
#define PLAN_ALIGN 256u /* of every tensor in an arena, bytes */
#define PLAN_LOADER_BATCHES 3u /* of a step's images in a host's memory: those kept ready, and the one in use (data.h) */
#define PLAN_PICTURE_SIDE 32u /* images of this side may be CIFAR's; others are decoded from JPEGs */
#define PLAN_PICTURE_BYTES (UINT64_C(3) << 20) /* for decoding those, where nobody has looked at them */

/* Where a device's memory goes. */
enum memory_class {
    MEMORY_WEIGHTS,       /* and running statistics */
    MEMORY_GRADIENTS,
    MEMORY_OPTIMIZER,     /* what it keeps of each parameter, and averages of weights; "momentum" in older files */
    MEMORY_KEPT,          /* activations and statistics that live from the forward into the backward pass */
    MEMORY_TRANSIENT,     /* all other activations and their gradients */
    MEMORY_WORKSPACE,
    MEMORY_INPUT,
    MEMORY_COMMUNICATION, /* outside the arena: NCCL's buffers */
    MEMORY_CONTEXT,       /* outside: context and libraries */
    MEMORY_CLASSES
};
const char *memory_class_name(enum memory_class class);

/* One lifetime of one tensor of the graph (a recomputed activation has several), or an op's workspace. */
struct plan_tensor {
    uint32_t origin;      /* graph tensor, NO_TENSOR for workspace */
    enum memory_class class;
    bool host;            /* its bytes are in the device's pinned host memory, not in the arena */
    uint64_t offset, bytes;
    uint32_t first, last; /* the ops between which its bytes hold its value, inclusive; persistent: 0 to the last op */
};

/* Streams of a device. The executor orders them by the tensors they share. */
enum plan_stream { STREAM_COMPUTE, STREAM_COMMUNICATION, STREAM_TO_HOST, STREAM_FROM_HOST, PLAN_STREAMS };

/* PASS_RECOMPUTE: BN uses the saved statistics and touches no running ones; a convolution has no second output.
 * PASS_OFFLOAD copies in[0], made by graph op `op`, to out[0] in host memory; PASS_FETCH copies in[0] in host memory to
 * out[0], a new instance of the same graph tensor. Neither runs `op`. A copy begins as soon as its stream is free and no
 * earlier op stands against it by the bytes that both touch, however late its place in the program: an offload's place
 * says from where others may take its input's bytes, a fetch's from where its output's bytes are its own.
 * PASS_RECONSTRUCT: `op` is an OP_ADD y = a + b; in[0] is y, in[1] one of a and b, out[0] a new instance of the other,
 * y - in[1]: equal to what was added but for rounding. */
struct plan_op {
    uint32_t op;          /* graph op */
    enum op_pass pass;
    uint8_t stream;       /* enum plan_stream */
    bool lean;            /* is to do with a small workspace; while planning alone: a file says it by the workspace's size */
    uint32_t in[OP_MOST_INPUTS], out[OP_MOST_OUTPUTS]; /* plan tensors, in the order of the graph op's */
    uint32_t workspace;   /* plan tensor or NO_TENSOR */
};

static inline bool plan_op_copies(const struct plan_op *op)
{
    return op->pass == PASS_OFFLOAD || op->pass == PASS_FETCH;
}

/* Makes something again that was there before. */
static inline bool plan_op_repeats(const struct plan_op *op)
{
    return op->pass == PASS_RECOMPUTE || op->pass == PASS_RECONSTRUCT;
}

/* How many tensors an op reads and writes: as many as its graph op, but for those that exist in plans only. */
static inline uint32_t plan_op_inputs(const struct graph *graph, const struct plan_op *op)
{
    if (plan_op_copies(op)) return 1;
    return op->pass == PASS_RECONSTRUCT ? 2 : graph->ops[op->op].inputs;
}

/* A convolution that runs again writes no sums: the statistics made from them are there. */
static inline uint32_t plan_op_outputs(const struct graph *graph, const struct plan_op *op)
{
    bool again = op->pass == PASS_RECOMPUTE && graph->ops[op->op].kind == OP_CONV;
    return plan_op_copies(op) || op->pass == PASS_RECONSTRUCT || again ? 1 : graph->ops[op->op].outputs;
}

struct plan_program {
    struct plan_op *ops;
    size_t op_count;
    size_t body_count;    /* ops [0, body) run once per micro-batch, the rest once per step */
    struct plan_tensor *tensors;
    size_t tensor_count;
};
/* What one run of the body copies to host memory. */
uint64_t plan_offloaded_bytes(const struct plan_program *program);

/* What of an arena, at its end, is tensors that lie apart (tensor.apart): on GPUs memory that NCCL gives and knows. */
uint64_t plan_apart_bytes(const struct graph *graph);

/* Devices with the same micro-batch and memory share one variant. Both programs live in the same arena; persistent
 * tensors have the same offsets in both. */
struct plan_variant {
    struct graph *graph;  /* owned */
    uint64_t graph_hash;
    struct plan_program train;
    struct plan_program evaluate; /* forward only, BN with running statistics; ends with metrics */
    uint64_t arena_bytes;
    uint64_t host_bytes;        /* pinned host memory for offloaded tensors */
    uint64_t lower_bound_bytes; /* largest sum of live bytes at one instant of the training program */
    uint32_t peak_op;           /* where that is */
    bool proved_optimal;        /* no smaller arena exists: this one equals its bound, or was searched */
    bool searched;              /* a search found no smaller one; while planning alone: a file cannot show it */
    uint64_t classes[MEMORY_CLASSES]; /* arena classes live at peak_op; gaps between them are in MEMORY_TRANSIENT */
    double compute_seconds;     /* predicted, one step's micro-batches on this device; 0 = unknown */
    double bound_seconds;       /* of compute_seconds, for the same memory: no schedule of the same form takes less, by the
                                 * blocks' measures; 0 = unknown */
    double spare_seconds;       /* what a micro-batch's schedule takes beyond that; while planning alone, negative = unknown */
    double chain_seconds;       /* what it takes by the blocks' measures; while planning alone */
    uint64_t chain_limit;       /* and the limit of their chain that the bound is for; 0 = there is none */
    double extra_flops_fraction;  /* recomputed FLOPs over the FLOPs of forward and backward */
    double extra_time_fraction;   /* the same of predicted time, with waiting for copies */
    uint32_t recomputed_convolutions; /* forward convolutions that run a second time */
};

struct plan_device {
    struct device_spec spec; /* source is not kept */
    uint32_t variant;
    uint32_t images;         /* of the step's batch */
    uint32_t micro_batches;
    uint64_t peak_bytes;     /* arena + communication + context: to be at most device_usable_bytes */
    uint64_t classes[MEMORY_CLASSES]; /* sums to peak_bytes */
};

/* How activations are kept. */
enum recompute_policy {
    RECOMPUTE_AUTO,        /* the least time that fits */
    RECOMPUTE_NONE,        /* keep everything */
    RECOMPUTE_ELEMENTWISE, /* redo BN-ReLU from the convolution's output */
    RECOMPUTE_BUDGET,      /* blocks under recompute_budget_bytes */
};
const char *recompute_policy_name(enum recompute_policy policy);

struct plan {
    struct model_spec spec;
    enum dtype dtype;
    uint32_t batch;        /* of a step, all devices */
    bool sync_bn;
    enum bn_freeze freeze_bn;
    uint32_t bn_group;     /* images that a BN takes its statistics over; 0 = all of a micro-batch */
    uint32_t lowering;     /* what its devices fuse: bits of enum graph_lowering */
    struct update_needs update; /* what its updates can do */
    uint32_t frozen;       /* leading stages that are not trained (graph.h) */
    enum recompute_policy recompute; /* as resolved: never RECOMPUTE_AUTO */
    uint64_t recompute_budget_bytes;
    struct plan_variant *variants;
    size_t variant_count;
    struct plan_device *devices;
    size_t device_count;
    uint64_t decode_bytes; /* of a host's memory, in which its loader decodes pictures, all threads together: part of the first
                            * device's input where it is a cpu; else 0 */
    bool fits;             /* every device's peak is within its memory */
    bool changes_bn;       /* micro-batches or a split change the images over which BN takes its statistics */
    double step_seconds;   /* predicted: slowest device + what communication is not hidden; 0 = unknown */
    double plan_seconds;   /* how long planning took */
};

/* Takes NULL. */
void plan_destroy(struct plan *plan);
/* Both take zeroed objects. */
void plan_variant_finish(struct plan_variant *variant);
void plan_program_finish(struct plan_program *program);

#endif
