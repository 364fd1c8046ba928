#include "workspace.h"

#include <math.h>

/* The twenty convolutions of ResNet-18's forward pass took 9.80, 6.30, 5.23 and 5.24 ms with 8, 64, 128 and 256 MB
 * (github.com/sonots/cumo/pull/502); steps of ResNet-34 took 1.8 times as long on a Titan X and twice on a GTX 1080 Ti
 * with the algorithms that need least (github.com/davisking/dlib/pull/695). So: up to 1.9 times, at a sixteenth of what
 * is wanted or less, and in between as the logarithm goes, which gives 1.17 for 64 of 128 MB (6.30 / 5.23 = 1.20). */
#define ENOUGH_BYTES    (128u << 20)
#define MOST_SLOWDOWN   1.9
#define LEAST_DOUBLINGS 4.0

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static bool is_half(const struct graph *graph) { return graph->options.dtype != DTYPE_F32; }

static bool is_convolution(const struct op *op)
{
    return op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
}

uint64_t workspace_weights_copy(const struct graph *graph, const struct op *op)
{
    uint32_t weights = NO_TENSOR;
    if (op->kind == OP_CONV || op->kind == OP_FC || op->kind == OP_CONV_BWD_DATA || op->kind == OP_FC_BWD_DATA)
        weights = op->in[1];
    if (op->kind == OP_CONV_BWD_WEIGHTS || op->kind == OP_FC_BWD_WEIGHTS) weights = op->out[0];
    if (weights == NO_TENSOR || !is_half(graph) || graph->tensors[weights].dtype != DTYPE_F32) return 0;
    return dtype_bytes(graph->options.dtype, tensor_elements(&graph->tensors[weights]));
}

/* 16-bit kernels read channels by eights: the image's three are copied to eight first, 205 MB for 256 images of 224 x
 * 224 (cuDNN 9's answer for that stem). */
static uint64_t padded_input_bytes(const struct graph *graph, const struct op *op)
{
    if (!is_half(graph) || (op->kind != OP_CONV && op->kind != OP_CONV_BWD_WEIGHTS)) return 0;
    const struct tensor *x = &graph->tensors[op->in[0]];
    uint64_t channels = x->dims[3], padded = (channels + 7) / 8 * 8;
    return channels == padded ? 0 : dtype_bytes(graph->options.dtype, tensor_elements(x) / channels * padded);
}

/* What it would unfold: its own two operands and result, whatever else it does besides. */
static uint64_t wanted_bytes(const struct graph *graph, const struct op *op)
{
    bool product = op->attr.conv.kernel[0] == 1 && op->attr.conv.kernel[1] == 1 && op->attr.conv.stride == 1;
    if (!is_convolution(op) || product) return 0;
    if (op->attr.conv.fused == 0) return op->bytes_moved;
    return graph->tensors[op->in[0]].bytes + graph->tensors[op->in[1]].bytes + graph->tensors[op->out[0]].bytes;
}

static uint64_t estimate(const struct workspace_tier *tier, const struct graph *graph, const struct op *op,
                         uint64_t most)
{
    if (tier->device->kind != DEVICE_GPU) return 0;
    uint64_t cap = least(tier->device->workspace_bytes, tier->cap_bytes > 0 ? tier->cap_bytes : UINT64_MAX);
    uint64_t unfolded = least(wanted_bytes(graph, op), least(cap, most)), padded = padded_input_bytes(graph, op);
    return (unfolded > padded ? unfolded : padded) + workspace_weights_copy(graph, op);
}

bool workspace_estimate(void *tier, const struct graph *graph, const struct op *op, enum op_pass pass, uint64_t *bytes,
                        struct error *err)
{
    (void)pass;
    (void)err;
    *bytes = estimate(tier, graph, op, UINT64_MAX);
    return true;
}

bool workspace_estimate_lean(void *tier, const struct graph *graph, const struct op *op, enum op_pass pass,
                             uint64_t *bytes, struct error *err)
{
    (void)pass;
    (void)err;
    *bytes = estimate(tier, graph, op, WORKSPACE_LEAN_BYTES);
    return true;
}

uint64_t workspace_most_unfolded(const struct device_spec *device, const struct graph *graph)
{
    uint64_t most = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        uint64_t wanted = least(wanted_bytes(graph, &graph->ops[i]), device->workspace_bytes);
        if (wanted > most) most = wanted;
    }
    return most;
}

double workspace_slowdown(const struct graph *graph, const struct plan_program *program, const struct plan_op *op)
{
    const struct op *graph_op = &graph->ops[op->op];
    if (!is_convolution(graph_op)) return 1;
    uint64_t wanted = least(wanted_bytes(graph, graph_op), ENOUGH_BYTES),
             weights = workspace_weights_copy(graph, graph_op);
    uint64_t given = op->workspace == NO_TENSOR ? 0 : program->tensors[op->workspace].bytes;
    given = given > weights ? given - weights : 0;
    if (given >= wanted) return 1;
    double doublings = given > 0 ? log2((double)wanted / (double)given) : LEAST_DOUBLINGS;
    return pow(MOST_SLOWDOWN, (doublings < LEAST_DOUBLINGS ? doublings : LEAST_DOUBLINGS) / LEAST_DOUBLINGS);
}

uint32_t workspace_count_lean(const struct device_spec *device, const struct plan_variant *variant)
{
    uint32_t count = 0;
    if (device->kind != DEVICE_GPU || device->cudnn_version) return 0;
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct plan_op *op = &variant->train.ops[i];
        count += !plan_op_copies(op) && workspace_slowdown(variant->graph, &variant->train, op) > 1;
    }
    return count;
}

double workspace_op_seconds(const struct cost_speed *speed, const struct graph *graph,
                            const struct plan_program *program, const struct plan_op *op)
{
    double slowdown = speed->asked ? 1 : workspace_slowdown(graph, program, op);
    return slowdown * cost_op_seconds(speed, graph, &graph->ops[op->op]);
}
