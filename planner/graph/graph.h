/* The ops and tensors of one training step on one device: forward, backward, all-reduce, update.
 *
 * A model builder adds forward ops; graph_finish derives the rest. The graph says what must be computed from what; when
 * it runs, what is recomputed and where its bytes lie is the planner's (plan.h). Immutable after graph_finish.
 *
 * A logical graph says what is computed; a lowered one (lower.h) has the ops that a device really runs, some of which do
 * the work of several.
 *
 * Layouts: activations are NHWC, dims = {N, H, W, C}; convolution weights {K, R, S, C} (output channels, rows, columns,
 * input channels); fully connected weights {classes, 1, 1, features}; vectors {1, 1, 1, C}. */
#ifndef FATHOM_GRAPH_H
#define FATHOM_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "model.h"
#include "optimizer.h"

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I32, DTYPE_U8, DTYPE_BIT, DTYPE_F64 };
const char *dtype_name(enum dtype dtype);
/* Bytes of `count` elements (bits are rounded up to whole bytes). */
uint64_t dtype_bytes(enum dtype dtype, uint64_t count);

enum tensor_class {
    CLASS_WEIGHT,     /* parameters; persistent */
    CLASS_GRADIENT,   /* parameter gradients; live from backward to update */
    CLASS_OPTIMIZER,  /* what an optimizer keeps of weights, and averages of them; persistent */
    CLASS_STATISTIC,  /* BN: running statistics (persistent), batch mean and variance; metrics */
    CLASS_ACTIVATION, /* forward results and their gradients */
    CLASS_INPUT,      /* images and labels */
    CLASS_WORKSPACE,  /* an op's scratch; exists in plans only */
    CLASS_COMM,       /* gradients on their way between devices */
    TENSOR_CLASSES
};

enum tensor_role {
    ROLE_IMAGE, ROLE_LABEL, ROLE_OUTPUT, ROLE_MASK, ROLE_MEAN, ROLE_VARIANCE, ROLE_WEIGHT, ROLE_BIAS, ROLE_GAMMA,
    ROLE_BETA, ROLE_RUNNING_MEAN, ROLE_RUNNING_VARIANCE, ROLE_METRICS, ROLE_BUCKET,
    ROLE_SUMS, ROLE_NORM, ROLE_GRADIENT_SUMS, ROLE_COEFFICIENTS, /* of a lowered BN */
    ROLE_LOSS_SCALE,
    ROLE_WEIGHT_COPY, /* in 16 bits: of a weight bucket, and of the weights in it */
    ROLE_PIXELS, ROLE_PLACEMENTS, /* of OP_INPUT */
    ROLE_GRADIENT_NORM
};

#define NO_TENSOR UINT32_MAX
#define NO_OP UINT32_MAX

struct tensor {
    enum tensor_class class;
    enum tensor_role role;
    enum dtype dtype;
    uint32_t dims[4];
    uint64_t bytes;
    bool persistent;      /* keeps its value beyond one run of the ops: from micro-batch to micro-batch, step to step */
    bool gradient;        /* is d(loss)/d(`of`) */
    bool apart;           /* what devices add up, where that is to lie in memory of its own: at the arena's end, in the same
                           * places on all devices, for the whole program (graph_options.reduce_apart) */
    /* A gradient's tensor (with several readers, every contribution and partial sum is its gradient), the weight bucket
     * of a gradient, state or average bucket, the gradient bucket of a partial one or of one in 16 bits, what a copy is of;
     * else NO_TENSOR. */
    uint32_t of;
    uint32_t view_of;     /* its bytes are [view_offset, view_offset + bytes) of that tensor; else NO_TENSOR */
    uint64_t view_offset;
    uint32_t layer;       /* index into graph.layers */
};

enum op_kind {
    /* forward                in                                    out                                              */
    OP_CONV,               /* x, w [, bias]                         y                                                */
    OP_BN,                 /* x, gamma, beta, running mean, var     y [, mean, variance] [, mask if attr.bn.relu];
                            *                                       {1, 1, groups, C}: of each group of images       */
    OP_RELU,               /* x                                     y                                                */
    OP_ADD,                /* a, b                                  y                                                */
    OP_MUL,                /* a, b                                  y                                                */
    OP_SCALE,              /* x                                     y = alpha x + beta                               */
    OP_SIGMOID,            /* x                                     y                                                */
    OP_DROPOUT,            /* x                                     y; the mask is drawn anew from (seed, step, op)  */
    OP_MAXPOOL,            /* x                                     y, mask (index of the maximum, u8)               */
    OP_AVGPOOL,            /* x                                     y                                                */
    OP_SHORTCUT_PAD,       /* x                                     y: every stride-th pixel, channels zero-padded   */
    OP_FC,                 /* x, w, bias                            y                                                */
    OP_SOFTMAX_LOSS,       /* logits, labels                        probabilities, metrics                           */
    OP_CONCAT,             /* a, b, ...                             y, along C                                       */
    /* backward                                                                                                      */
    OP_CONV_BWD_DATA,      /* dy, w                                 dx                                               */
    OP_CONV_BWD_WEIGHTS,   /* x, dy                                 dw [, dbias]                                     */
    OP_BN_BWD,             /* x, dy, gamma, mean, var [, mask]      dx [, dgamma, dbeta]                             */
    OP_RELU_BWD,           /* y, dy                                 dx                                               */
    OP_MUL_BWD,            /* other, dy                             d(one factor)                                    */
    OP_SCALE_BWD,          /* dy                                    dx                                               */
    OP_SIGMOID_BWD,        /* y, dy                                 dx                                               */
    OP_DROPOUT_BWD,        /* dy                                    dx                                               */
    OP_MAXPOOL_BWD,        /* dy, mask                              dx                                               */
    OP_AVGPOOL_BWD,        /* dy                                    dx                                               */
    OP_SHORTCUT_PAD_BWD,   /* dy                                    dx                                               */
    OP_FC_BWD_DATA,        /* dy, w                                 dx                                               */
    OP_FC_BWD_WEIGHTS,     /* x, dy                                 dw, dbias                                        */
    OP_SOFTMAX_LOSS_BWD,   /* probabilities, labels [, loss scale]  dlogits, times the loss scale                    */
    OP_CONCAT_BWD,         /* dy                                    d(one input): channels from attr.concat.first    */
    OP_ADD_GRADIENT,       /* a, b                                  a + b: gradients of a tensor with two readers    */
    /* the rest                                                                                                      */
    OP_ACCUMULATE,         /* partial bucket                        bucket (in and out): first micro-batch copies    */
    OP_ALL_REDUCE,         /* gradient bucket (in and out)          [, what goes between devices: it in 16 bits]     */
    OP_UPDATE,             /* weight bucket, gradient bucket, state buckets [, loss scale] [, gradient norm]
                            *                                       weights, states (in and out): gradients are divided by
                            *                                       the scale, and clipped by the norm; nothing where
                            *                                       overflow was found                               */
    /* a lowered BN (lower.h says what its tensors hold)                                                             */
    OP_BN_SUMS,            /* x                                     sums; runs once, and not in evaluation           */
    OP_BN_FINALIZE,        /* sums (frozen: the running mean again), gamma, beta, running mean, var  norm; runs once */
    OP_BN_APPLY,           /* x, norm [, other]                     y [+ other], then ReLU where attr.bn.relu        */
    OP_BN_BWD_SUMS,        /* x, dy, norm                           gradient sums                                    */
    OP_BN_BWD_FINALIZE,    /* gradient sums (BN_FROZEN: norm again), gamma, norm  coefficients [, dgamma, dbeta]     */
    OP_BN_BWD_APPLY,       /* x, dy, norm [, gradient sums, which it takes itself where attr.bn.whole] [, other]
                            *                                       dx [+ other gradient of x], dgamma, dbeta [, y
                            *                                       where attr.bn.whole]                             */
    /* f16: the loss is scaled so that small gradients do not vanish; struct loss_scale                              */
    OP_GRADIENT_CHECK,     /* gradient bucket, loss scale           loss scale: found, where a gradient is no number */
    OP_LOSS_SCALE_UPDATE,  /* loss scale                            loss scale, for the next step                    */
    /* of LOWER_WEIGHTS: every element rounded to the nearest, ties to even; runs once, in evaluation too            */
    OP_WEIGHTS_COPY,       /* weight bucket (f32)                   the same in the activations' 16-bit type         */
    OP_INPUT,              /* pixels (u8), placements (i32)         images; may run again (lower.h has the formula)  */
    /* of LOWER_HALF_GRADIENTS                                                                                       */
    OP_GRADIENTS_WIDEN,    /* 16-bit bucket [, bucket: as out]      bucket (in and out): the gradients there are put */
    OP_GRADIENT_NORM,      /* gradient bucket, gradient norm        gradient norm: squares of the gradients are added */
    OP_WEIGHTS_AVERAGE,    /* weight bucket, average bucket [, loss scale]  average (in and out): moves towards the weights,
                            *                                       unless overflow was found                        */
    OP_KINDS
};
const char *op_kind_name(enum op_kind kind);

/* The last three exist in plans only (plan.h says what such an op does). */
enum op_pass {
    PASS_FORWARD, PASS_RECOMPUTE, PASS_BACKWARD, PASS_COMM, PASS_UPDATE, PASS_EVALUATE,
    PASS_OFFLOAD, PASS_FETCH, PASS_RECONSTRUCT, OP_PASSES
};
const char *op_pass_name(enum op_pass pass);

/* What a lowered convolution does besides (lower.h). Optional operands follow the others in this order:
 * OP_CONV: norm, residual; sums as a second output.  OP_CONV_BWD_WEIGHTS: norm, y, coefficients.
 * OP_CONV_BWD_DATA: y, coefficients, then other, rectified, then x, norm; outputs: gradient sums, dy as it is read. */
enum conv_fusion {
    CONV_NORMALIZED = 1,    /* x is read through a BN: as `norm` normalises it */
    CONV_RECTIFIED = 2,     /* and through ReLU */
    CONV_ADDS = 4,          /* the result is the convolution's plus `residual`: of a gradient, x's other one */
    CONV_SUMS = 8,          /* a BN's sums of y are written, in the first run in training alone */
    CONV_GRADIENT = 16,     /* dy is read as a BN's gradient: from the gradient of its result, y and `coefficients` */
    CONV_GRADIENT_SHUT = 32,/* where ReLU was shut (as y and the coefficients show) that gradient counts as 0 */
    CONV_GRADIENT_SUMS = 64,/* a BN's gradient sums of the result and x are written */
    CONV_SHUTS = 128,       /* the result is 0 where ReLU was shut, as x and norm show */
    CONV_RECTIFIES = 256,   /* it is 0 where ReLU was shut that made x, as `rectified`, that x, shows: after CONV_ADDS */
    CONV_KEEPS = 512,       /* what CONV_GRADIENT reads is written as the last output */
};

/* Indices of a convolution's optional operands among its inputs; NO_OPERAND = it has none. */
#define NO_OPERAND UINT8_MAX
struct conv_operands {
    uint8_t bias, norm, residual, y, coefficients, x, rectified;
    uint8_t kept;            /* among its outputs */
    uint8_t inputs, outputs; /* how many in all its attributes make */
};

#define OP_MOST_INPUTS 6
#define OP_MOST_OUTPUTS 4

union op_attr {
    /* {rows, columns}, the padding before and after them; fused: bits of enum conv_fusion */
    struct { uint32_t kernel[2], padding[2], stride, fused; } conv;
    /* Square; kernel 0 = the whole image. ceil: a last window that reaches beyond the image counts, cut. */
    struct { uint32_t kernel, stride, padding; bool ceil; } pool;
    /* sync: statistics over all devices of the step. relu, of a lowered BN's op: it takes part in ReLU, forward or
     * backward. frozen: enum bn_freeze. whole: no op before it took the gradient sums. rows: pixels of all images, of those that divide by them,
     * the two FINALIZE and OP_BN_BWD_APPLY; else 0. */
    struct { float epsilon; bool relu, sync, whole; uint8_t frozen; uint64_t rows; } bn;
    struct { float alpha, beta; } scale;
    struct { float drop; } dropout;
    struct { uint32_t stride; } shortcut;
    struct { uint64_t images; } loss; /* gradients are divided by this: the images of the whole step on all devices */
    struct { uint32_t first; } concat;
    struct { bool first; } check; /* the first check, or norm, of a step forgets what the step before found */
    struct { bool scaled, clips; } update; /* also an average's: which of the optional operands there are */
};

struct op {
    enum op_kind kind;
    enum op_pass pass;
    uint32_t layer;
    uint32_t block;    /* the recomputation block it belongs to (forward and its backward); NO_OP outside any */
    uint32_t forward;  /* backward op: the forward op it derives from; else NO_OP */
    uint8_t inputs, outputs;
    uint8_t in_place;  /* bit i: op_in_place_output may take the bytes of in[i] when in[i] is not read later */
    uint32_t in[OP_MOST_INPUTS];
    uint32_t out[OP_MOST_OUTPUTS];
    union op_attr attr;
    uint32_t stands_first, stands_count; /* in graph.stands: the logical ops whose work it does, its main one first */
    uint64_t flops;
    uint64_t bytes_moved; /* every input read and every output written once */
};

/* A unit of recomputation: forward ops [first, last). Exactly one activation enters (NO_TENSOR for the first: the image)
 * and one leaves, so blocks form a chain; out of the last, which ends in the loss, the probabilities. */
struct graph_block {
    uint32_t first, last;
    uint32_t input, output;
    uint32_t layer;
};

/* Batch normalisation by its running statistics, which stay as they are: a scale and a shift of each channel. Then there are
 * no mean and variance among its outputs (the mask is the last still), its backward pass reads the running ones, and no
 * device has to wait for another. Where gamma and beta are frozen too dx = dy gamma / deviation: x is not kept; where an op
 * has x among its operands and needs none, to find what ReLU shut, dy is there in its place. */
enum bn_freeze { BN_TRAINED, BN_STATISTICS_FROZEN, BN_FROZEN };
/* "none", "statistics", "all". */
const char *bn_freeze_name(enum bn_freeze freeze);

/* What a device fuses: bits of graph_options.lowering. BNs are taken apart where any of LOWER_BN_PARTS is set. */
enum graph_lowering {
    LOWER_BN = 1,                 /* BNs are ops of their own: sums, finalize, apply; ReLU keeps no mask */
    LOWER_SUMS = 2,               /* convolutions write a BN's sums of their result */
    LOWER_NORMALIZE = 4,          /* convolutions read their input through a BN and ReLU */
    LOWER_NORMALIZE_WEIGHTS = 8,  /* so do the gradients of weights */
    LOWER_GRADIENT = 16,          /* both gradients of convolutions read dy through a BN's backward pass */
    LOWER_GRADIENT_SUMS = 32,     /* gradients of data apply ReLU's mask and write a BN's gradient sums */
    LOWER_ADD = 64,               /* convolutions, and a BN's gradient, add another tensor to their result */
    LOWER_WEIGHTS = 128,          /* weights are rounded to 16 bits once a pass, not by each op that reads them; of no
                                   * effect on f32 activations. For GPUs */
    LOWER_INPUT = 256,            /* images come as bytes, and are placed and normalised by an op. For GPUs */
    LOWER_BN_ADD = 512,           /* a BN's result, the addition that alone reads it and ReLU after that are one op */
    LOWER_HALF_GRADIENTS = 1024,  /* gradients of weights that read through a BN come in 16 bits, and are widened bucket by
                                   * bucket; of no effect on f32 activations, or without LOWER_NORMALIZE_WEIGHTS. For GPUs,
                                   * whose engines give them so */
    LOWER_GRADIENT_ADD = 2048,    /* gradients of data add x's other gradient, and do the backward pass of the ReLU that
                                   * made x */
    LOWER_GRADIENT_KEEP = 4096,   /* where LOWER_GRADIENT does not: gradients of data alone read dy through a BN's backward
                                   * pass, and write what they read for the gradients of weights */
    LOWER_BN_PARTS = 63 | LOWER_BN_ADD | LOWER_GRADIENT_KEEP,
    LOWER_GROUPS_LACK = LOWER_BN_PARTS | LOWER_HALF_GRADIENTS, /* what holds for a whole batch's statistics alone */
    LOWER_ALL = 8191,
    LOWER_EXACT = LOWER_ALL & ~LOWER_HALF_GRADIENTS /* what rounds no more than the ops do one by one */
};

struct graph_layer {
    const char *path;  /* "stage2/unit17/conv2"; owned by the graph */
    uint32_t stage;    /* 0 = stem, 1 ..., last = head */
};

/* Leading stages that are not trained (graph_options.frozen): everything before the last fully connected layer. */
#define FROZEN_ALL_BUT_CLASSIFIER UINT32_MAX

struct graph_options {
    uint32_t batch;         /* images of one micro-batch on this device */
    uint32_t micro_batches; /* > 1: gradients are accumulated through a partial bucket */
    uint64_t step_images;   /* images of a whole step on all devices (0 = batch * micro_batches) */
    enum dtype dtype;       /* of activations; parameters, statistics and gradients stay f32 */
    bool all_reduce;        /* emit OP_ALL_REDUCE (several devices) */
    enum dtype reduce_dtype; /* in which gradients go between devices: f32, or rounded to f16 or bf16 for the way */
    bool reduce_apart;      /* what they add up has tensor.apart */
    bool sync_bn;
    enum bn_freeze freeze_bn;
    uint32_t bn_group;      /* BN takes its statistics over so many images each, a divisor of batch; 0 = over all of them. With
                             * several groups no BN is taken apart: none of LOWER_GROUPS_LACK goes with it */
    uint64_t bucket_bytes;  /* gradients are cut into buckets of about this size, in the order backward makes them; 0 = one */
    uint32_t lowering;      /* bits of enum graph_lowering; 0 = the logical graph */
    struct update_needs update;
    uint32_t frozen;        /* so many stages from the stem on are frozen: their ops are of PASS_EVALUATE and of no block, and
                             * their parameters have neither gradients nor momentum; 0 = all is trained */
};

/* Of an OP_ALL_REDUCE: what is added up over the devices. */
#define ALL_REDUCE_MESSAGE(op) ((op)->out[(op)->outputs - 1])

struct graph {
    struct model_spec spec;
    struct graph_options options;
    struct graph_layer *layers;
    size_t layer_count;
    struct tensor *tensors;
    size_t tensor_count;
    struct op *ops; /* [0, forward_end) forward, then backward to backward_end, then comm, then update */
    size_t op_count;
    uint32_t *stands;       /* logical ops (of the graph with lowering 0), by op.stands_first; NULL: each for itself */
    size_t stands_count;
    uint32_t forward_end, backward_end, comm_end;
    struct graph_block *blocks;
    size_t block_count;
    uint32_t *parameters; /* views into the weight buckets, in the order of the forward pass */
    size_t parameter_count;
    /* Tensors. images: given, or made by OP_INPUT. metrics: f32 {loss sum, top-1 hits, top-5 hits, images}, summed over
     * micro-batches. */
    uint32_t images, labels, metrics;
    uint32_t loss_scale; /* tensor: a struct loss_scale; NO_TENSOR unless activations are f16 */
    uint32_t gradient_norm; /* tensor: a struct gradient_norm; NO_TENSOR unless gradients are clipped */
    uint32_t pixels, placements; /* tensors, given: what OP_INPUT makes images of; NO_TENSOR where images are given */
    uint64_t parameter_elements;
    uint64_t forward_macs; /* of one image; convolutions and fully connected layers, as the papers count */
    struct graph_state *state; /* the builder's own, and the text of the paths */
};

/* Gradients in f16 below 6e-8 are zero: so the loss is multiplied by a scale, and the update divides by it. It halves when
 * a gradient overflows (the step is then skipped) and doubles after many good steps. The same on all devices. */
struct loss_scale {
    float scale;
    float streak;  /* good steps since it changed last */
    float found;   /* 1: the last step overflowed and changed no parameter */
    float skipped; /* such steps in all */
};
#define LOSS_SCALE_FIRST  65536.0f          /* Micikevicius et al., arXiv:1710.03740, and every library since */
#define LOSS_SCALE_STREAK 2000u             /* good steps before it doubles */
#define LOSS_SCALE_LEAST  (1 / 16384.0f)
#define LOSS_SCALE_MOST   (65536.0f * 256)
/* What a step does to it. */
void loss_scale_move(struct loss_scale *scale, uint32_t streak);

/* Of all gradients of a step, for clipping by their norm; the same bits on all devices. */
struct gradient_norm {
    double squares; /* their sum; with a loss scale that of the scaled gradients */
    double unused;  /* tensors are of whole vectors */
};

/* Where an update's operands are; a state that is not there, or an optional one, is NO_OPERAND. */
struct update_operands {
    uint8_t states, state[OPTIMIZER_MOST_BUFFERS], scale, norm;
};
struct update_operands update_operands(const struct op *op);

/* Builds and finishes the graph of a model; the caller ends it with graph_destroy. */
struct graph *graph_build(const struct model_spec *spec, const struct graph_options *options, struct error *err);
void graph_destroy(struct graph *graph);

/* Hash of everything a plan depends on: spec, options, ops, tensors. */
uint64_t graph_hash(const struct graph *graph);

/* Checks the whole structure (indices, shapes against kinds, one writer per tensor, blocks a chain, views inside their
 * bases). For tests, and run by graph_build when FATHOM_CHECK is set. */
bool graph_check(const struct graph *graph, struct error *err);

/* "stage2/unit17/conv2.weight", "...output.gradient", into out; returns out. */
#define TENSOR_NAME 160
char *graph_tensor_name(const struct graph *graph, uint32_t tensor, char out[TENSOR_NAME]);

/* Where the optional operands of a convolution (forward or backward) are. */
struct conv_operands conv_operands(const struct op *op);

/* What a loader has of one image: f32 pixels, or bytes and a placement; and its label. */
uint64_t graph_loaded_bytes(const struct graph *graph);
/* How many convolutions are there that differ in what they read, in their weights or in their stride: for so many a library
 * compiles kernels. */
uint32_t graph_convolution_shapes(const struct graph *graph);

/* Where an OP_BN_BWD_APPLY has x's other gradient; NO_OPERAND = nowhere. */
static inline uint8_t bn_other_gradient(const struct op *op)
{
    uint8_t others = op->attr.bn.whole ? 3 : 4;
    return op->inputs > others ? others : NO_OPERAND;
}

/* The output that may take the bytes of input i, where in_place has it: the first; with CONV_KEEPS what is kept takes dy's,
 * and the gradient y's, since an image of them is read before one of it is written. */
static inline uint32_t op_in_place_output(const struct op *op, uint32_t i)
{
    bool keeps = op->kind == OP_CONV_BWD_DATA && op->attr.conv.fused & CONV_KEEPS;
    return keeps && i == 0 ? op->outputs - 1u : 0;
}

/* Of a BN's mean or variance: over how many groups of images they are. The first group has the first images. */
static inline uint32_t bn_groups(const struct tensor *statistics) { return statistics->dims[2]; }

/* Whether this op, of a BN, normalises by running statistics in this pass. */
static inline bool bn_is_frozen(const struct op *op, enum op_pass pass)
{
    return pass == PASS_EVALUATE || op->attr.bn.frozen != BN_TRAINED;
}

/* Whether the graph has batch normalisation by the statistics of a batch, whole or lowered. */
bool graph_normalizes(const struct graph *graph);

/* Runs once for a micro-batch, though blocks run again: what it makes stays. */
static inline bool op_runs_once(enum op_kind kind)
{
    return kind == OP_BN_SUMS || kind == OP_BN_FINALIZE || kind == OP_WEIGHTS_COPY;
}

/* The logical op that an op stands for above all: itself in a logical graph, NO_OP where there is none (a copy of weights,
 * the input). */
static inline uint32_t graph_logical_op(const struct graph *graph, uint32_t op)
{
    if (!graph->stands) return op;
    return graph->ops[op].stands_count ? graph->stands[graph->ops[op].stands_first] : NO_OP;
}

static inline uint64_t tensor_elements(const struct tensor *t)
{
    return (uint64_t)t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
}

#endif
