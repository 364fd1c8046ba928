/* Parameters, multiply-accumulates, FLOPs and bytes. */
#include <string.h>

#include "graph_private.h"
#include "lower.h"

static const struct tensor *input(const struct graph *graph, const struct op *op, uint32_t i)
{
    return &graph->tensors[op->in[i]];
}

static const struct tensor *output(const struct graph *graph, const struct op *op, uint32_t i)
{
    return &graph->tensors[op->out[i]];
}

/* Every output pixel times every weight; windows over the border count in full, as the papers count. */
static uint64_t window_macs(const struct tensor *y, const struct tensor *w)
{
    return tensor_elements(w) * y->dims[0] * y->dims[1] * y->dims[2];
}

uint64_t op_count_macs(const struct graph *graph, const struct op *op)
{
    switch (op->kind) {
    case OP_CONV:
    case OP_FC: return window_macs(output(graph, op, 0), input(graph, op, 1));
    case OP_CONV_BWD_DATA:
    case OP_FC_BWD_DATA: return window_macs(input(graph, op, 0), input(graph, op, 1));
    case OP_CONV_BWD_WEIGHTS:
    case OP_FC_BWD_WEIGHTS: return window_macs(input(graph, op, 1), output(graph, op, 0));
    default: return 0;
    }
}

/* Three terms (5), an addition, ReLU's comparison; the sums (3), where they are not there; y (2). */
static uint64_t bn_gradient_flops(const struct op *op)
{
    uint64_t adds = bn_other_gradient(op) != NO_OPERAND, relu = op->attr.bn.relu;
    if (op->attr.bn.frozen == BN_FROZEN) return 1 + adds + 4 * relu;
    return 5 + adds + relu + (op->attr.bn.whole ? 3 : 0) + (op->outputs > 3 ? 2 : 0);
}

/* Of elementwise ops: what each element costs at least. Batch normalisation: one addition for the mean, two for the
 * variance, two to normalise, one comparison with ReLU; backward: two sums (3), three terms (5). */
static uint64_t element_flops(const struct graph *graph, const struct op *op)
{
    uint64_t elements = tensor_elements(output(graph, op, 0));
    switch (op->kind) {
    case OP_BN: return elements * (op->attr.bn.relu ? 6 : 5);
    case OP_BN_BWD:
        if (op->attr.bn.frozen == BN_FROZEN) return elements * (op->attr.bn.relu ? 2 : 1);
        return elements * (op->attr.bn.relu ? 9 : 8);
    case OP_BN_SUMS: return 3 * tensor_elements(input(graph, op, 0));
    case OP_BN_APPLY: return elements * (op->inputs + (op->attr.bn.relu ? 1u : 0u));
    case OP_BN_BWD_SUMS: return tensor_elements(input(graph, op, 0)) * (op->attr.bn.relu ? 4 : 3);
    case OP_BN_BWD_APPLY: return elements * bn_gradient_flops(op);
    case OP_SCALE: return 2 * elements;
    case OP_SIGMOID:
    case OP_SIGMOID_BWD: return 3 * elements;
    case OP_DROPOUT:
    case OP_DROPOUT_BWD: return 2 * elements;
    case OP_SOFTMAX_LOSS: return 5 * elements;
    case OP_SOFTMAX_LOSS_BWD: return 2 * elements;
    case OP_MAXPOOL:
    case OP_AVGPOOL:
    case OP_GRADIENT_CHECK: return tensor_elements(input(graph, op, 0));
    case OP_GRADIENT_NORM: return 2 * tensor_elements(input(graph, op, 0));
    case OP_INPUT: return 3 * elements;
    case OP_UPDATE: return (2 + 4 * (uint64_t)(op->outputs - 1)) * elements;
    case OP_WEIGHTS_AVERAGE: return 3 * elements;
    case OP_WEIGHTS_COPY:
    case OP_GRADIENTS_WIDEN:
    case OP_SHORTCUT_PAD:
    case OP_SHORTCUT_PAD_BWD:
    case OP_CONCAT:
    case OP_CONCAT_BWD: return 0;
    default: return elements;
    }
}

static bool has_bias(const struct op *op)
{
    return op->kind == OP_FC ? op->inputs == 3 : op->kind == OP_CONV && conv_operands(op).bias != NO_OPERAND;
}

/* A bias is one addition per element, forward and backward. */
static uint64_t bias_flops(const struct graph *graph, const struct op *op)
{
    if (has_bias(op)) return tensor_elements(output(graph, op, 0));
    if ((op->kind == OP_CONV_BWD_WEIGHTS || op->kind == OP_FC_BWD_WEIGHTS) && op->outputs == 2)
        return tensor_elements(input(graph, op, 1));
    return 0;
}

/* What a lowered convolution does besides, element by element as the ops above would. */
static uint64_t fused_flops(const struct graph *graph, const struct op *op)
{
    bool data = op->kind == OP_CONV_BWD_DATA, weights = op->kind == OP_CONV_BWD_WEIGHTS;
    if (op->kind != OP_CONV && !data && !weights) return 0;
    uint32_t fused = op->attr.conv.fused;
    uint64_t read = tensor_elements(input(graph, op, 0)), made = tensor_elements(output(graph, op, 0)), flops = 0;
    uint64_t gradient = weights ? tensor_elements(input(graph, op, 1)) : read;
    if (fused & CONV_NORMALIZED) flops += read * (fused & CONV_RECTIFIED ? 3 : 2);
    if (fused & CONV_ADDS) flops += made;
    if (fused & CONV_SUMS) flops += 3 * made;
    if (fused & CONV_GRADIENT) flops += gradient * (fused & CONV_GRADIENT_SHUT ? 6 : 5);
    if (fused & CONV_RECTIFIES) flops += made;
    if (fused & CONV_GRADIENT_SUMS) flops += made * (fused & CONV_SHUTS ? 4 : 3);
    return flops;
}

uint64_t op_count_flops(const struct graph *graph, const struct op *op)
{
    uint64_t macs = op_count_macs(graph, op);
    return macs ? 2 * macs + bias_flops(graph, op) + fused_flops(graph, op) : element_flops(graph, op);
}

uint64_t op_count_bytes(const struct graph *graph, const struct op *op)
{
    uint64_t bytes = 0;
    if (op->kind == OP_ALL_REDUCE) return 2 * graph->tensors[ALL_REDUCE_MESSAGE(op)].bytes;
    uint32_t inputs = op->kind == OP_GRADIENTS_WIDEN ? 1 : op->inputs; /* of the bucket it reads nothing */
    for (uint32_t i = 0; i < inputs; i++) bytes += input(graph, op, i)->bytes;
    for (uint32_t i = 0; i < op->outputs; i++) bytes += output(graph, op, i)->bytes;
    /* x and dy twice: first for the sums. */
    if (op->kind == OP_BN_BWD_APPLY && op->attr.bn.whole && op->attr.bn.frozen != BN_FROZEN)
        bytes += 2 * output(graph, op, 0)->bytes;
    return bytes;
}

void graph_count(struct graph *graph)
{
    for (size_t i = 0; i < graph->parameter_count; i++)
        graph->parameter_elements += tensor_elements(&graph->tensors[graph->parameters[i]]);
    for (uint32_t i = 0; i < graph->forward_end; i++)
        graph->forward_macs += op_count_macs(graph, &graph->ops[i]) / graph->options.batch;
}

uint64_t graph_loaded_bytes(const struct graph *graph)
{
    const uint32_t *dims = graph->tensors[graph->images].dims;
    uint64_t pixels = (uint64_t)dims[1] * dims[2] * dims[3];
    bool made = graph->pixels != NO_TENSOR;
    return dtype_bytes(made ? DTYPE_U8 : DTYPE_F32, pixels) + dtype_bytes(DTYPE_I32, made ? INPUT_PLACEMENT + 1 : 1);
}

static bool same_dims(const struct tensor *a, const struct tensor *b)
{
    return memcmp(a->dims, b->dims, sizeof a->dims) == 0;
}

static bool same_shape(const struct graph *graph, const struct op *a, const struct op *b)
{
    const struct tensor *t = graph->tensors;
    return a->attr.conv.stride == b->attr.conv.stride && same_dims(&t[a->in[0]], &t[b->in[0]]) &&
           same_dims(&t[a->in[1]], &t[b->in[1]]);
}

/* Nets repeat a few shapes: whether one was there is soon found when one looks at the latest first. */
uint32_t graph_convolution_shapes(const struct graph *graph)
{
    uint32_t shapes = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        if (graph->ops[i].kind != OP_CONV) continue;
        bool known = false;
        for (size_t k = i; k-- > 0 && !known;)
            known = graph->ops[k].kind == OP_CONV && same_shape(graph, &graph->ops[i], &graph->ops[k]);
        shapes += !known;
    }
    return shapes;
}
