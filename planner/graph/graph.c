#define _GNU_SOURCE
#include "graph_private.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"

/* No sum over the tensors of a graph can then overflow. */
#define MOST_TENSOR_BYTES ((uint64_t)1 << 44)

static const struct op_shape shapes[OP_KINDS] = {
    [OP_CONV] = {"conv", 2, 5, 1, 2, 0},
    [OP_BN] = {"bn", 5, 5, 1, 4, 0},
    [OP_RELU] = {"relu", 1, 1, 1, 1, 1},
    [OP_ADD] = {"add", 2, 2, 1, 1, 3},
    [OP_MUL] = {"mul", 2, 2, 1, 1, 0},
    [OP_SCALE] = {"scale", 1, 1, 1, 1, 1},
    [OP_SIGMOID] = {"sigmoid", 1, 1, 1, 1, 1},
    [OP_DROPOUT] = {"dropout", 1, 1, 1, 1, 1},
    [OP_MAXPOOL] = {"maxpool", 1, 1, 2, 2, 0},
    [OP_AVGPOOL] = {"avgpool", 1, 1, 1, 1, 0},
    [OP_SHORTCUT_PAD] = {"shortcut_pad", 1, 1, 1, 1, 0},
    [OP_FC] = {"fc", 3, 3, 1, 1, 0},
    [OP_SOFTMAX_LOSS] = {"softmax_loss", 2, 2, 2, 2, 0},
    [OP_CONCAT] = {"concat", 2, OP_MOST_INPUTS, 1, 1, 0},
    [OP_CONV_BWD_DATA] = {"conv_bwd_data", 2, 6, 1, 3, 0},
    [OP_CONV_BWD_WEIGHTS] = {"conv_bwd_weights", 2, 5, 1, 2, 0},
    [OP_BN_BWD] = {"bn_bwd", 5, 6, 1, 3, 2},
    [OP_RELU_BWD] = {"relu_bwd", 2, 2, 1, 1, 2},
    [OP_MUL_BWD] = {"mul_bwd", 2, 2, 1, 1, 0},
    [OP_SCALE_BWD] = {"scale_bwd", 1, 1, 1, 1, 1},
    [OP_SIGMOID_BWD] = {"sigmoid_bwd", 2, 2, 1, 1, 2},
    [OP_DROPOUT_BWD] = {"dropout_bwd", 1, 1, 1, 1, 1},
    [OP_MAXPOOL_BWD] = {"maxpool_bwd", 2, 2, 1, 1, 0},
    [OP_AVGPOOL_BWD] = {"avgpool_bwd", 1, 1, 1, 1, 0},
    [OP_SHORTCUT_PAD_BWD] = {"shortcut_pad_bwd", 1, 1, 1, 1, 0},
    [OP_FC_BWD_DATA] = {"fc_bwd_data", 2, 2, 1, 1, 0},
    [OP_FC_BWD_WEIGHTS] = {"fc_bwd_weights", 2, 2, 2, 2, 0},
    [OP_SOFTMAX_LOSS_BWD] = {"softmax_loss_bwd", 2, 3, 1, 1, 0},
    [OP_CONCAT_BWD] = {"concat_bwd", 1, 1, 1, 1, 0},
    [OP_ADD_GRADIENT] = {"add_gradient", 2, 2, 1, 1, 3},
    [OP_ACCUMULATE] = {"accumulate", 1, 1, 1, 1, 0},
    [OP_ALL_REDUCE] = {"all_reduce", 1, 1, 1, 2, 1},
    [OP_UPDATE] = {"update", 2, 6, 1, 3, 1},
    [OP_BN_SUMS] = {"bn_sums", 1, 1, 1, 1, 0},
    [OP_BN_FINALIZE] = {"bn_finalize", 5, 5, 1, 1, 0},
    [OP_BN_APPLY] = {"bn_apply", 2, 3, 1, 1, 1},
    [OP_BN_BWD_SUMS] = {"bn_bwd_sums", 3, 3, 1, 1, 0},
    [OP_BN_BWD_FINALIZE] = {"bn_bwd_finalize", 3, 3, 1, 3, 0},
    [OP_BN_BWD_APPLY] = {"bn_bwd_apply", 3, 5, 1, 4, 26},
    [OP_GRADIENT_CHECK] = {"gradient_check", 2, 2, 1, 1, 0},
    [OP_LOSS_SCALE_UPDATE] = {"loss_scale_update", 1, 1, 1, 1, 1},
    [OP_WEIGHTS_COPY] = {"weights_copy", 1, 1, 1, 1, 0},
    [OP_INPUT] = {"input", 2, 2, 1, 1, 0},
    [OP_GRADIENTS_WIDEN] = {"gradients_widen", 1, 2, 1, 1, 0},
    [OP_GRADIENT_NORM] = {"gradient_norm", 2, 2, 1, 1, 0},
    [OP_WEIGHTS_AVERAGE] = {"weights_average", 2, 3, 1, 1, 0},
};

const struct op_shape *op_kind_shape(enum op_kind kind) { return &shapes[kind]; }

const char *op_kind_name(enum op_kind kind) { return shapes[kind].name; }

const char *op_pass_name(enum op_pass pass)
{
    static const char *const names[OP_PASSES] = {"forward",  "recompute", "backward", "comm",       "update",
                                                 "evaluate", "offload",   "fetch",    "reconstruct"};
    return names[pass];
}

const char *bn_freeze_name(enum bn_freeze freeze)
{
    static const char *const names[] = {"none", "statistics", "all"};
    return names[freeze];
}

const char *dtype_name(enum dtype dtype)
{
    static const char *const names[] = {"f32", "f16", "bf16", "i32", "u8", "bit", "f64"};
    return names[dtype];
}

uint64_t dtype_bytes(enum dtype dtype, uint64_t count)
{
    switch (dtype) {
    case DTYPE_F32:
    case DTYPE_I32: return 4 * count;
    case DTYPE_F16:
    case DTYPE_BF16: return 2 * count;
    case DTYPE_U8: return count;
    case DTYPE_BIT: return (count + 7) / 8;
    case DTYPE_F64: return 8 * count;
    }
    return 0;
}

void loss_scale_move(struct loss_scale *s, uint32_t streak)
{
    bool overflow = s->found != 0;
    s->skipped += overflow ? 1 : 0;
    s->streak = overflow ? 0 : s->streak + 1;
    if (overflow) s->scale = s->scale > LOSS_SCALE_LEAST ? s->scale / 2 : LOSS_SCALE_LEAST;
    if (s->streak < (float)streak) return;
    s->streak = 0;
    s->scale = s->scale < LOSS_SCALE_MOST ? s->scale * 2 : LOSS_SCALE_MOST;
}

struct update_operands update_operands(const struct op *op)
{
    struct update_operands o = {.states = (uint8_t)(op->outputs - 1), .scale = NO_OPERAND, .norm = NO_OPERAND};
    uint8_t at = 2;
    for (uint8_t i = 0; i < OPTIMIZER_MOST_BUFFERS; i++) o.state[i] = i < o.states ? at++ : NO_OPERAND;
    if (op->attr.update.scaled) o.scale = at++;
    if (op->attr.update.clips) o.norm = at;
    return o;
}

bool graph_fail(struct graph *graph, const char *format, ...)
{
    struct graph_state *state = graph->state;
    if (state->failed) return false;
    state->failed = true;
    va_list args;
    va_start(args, format);
    char text[sizeof state->err.text];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(&state->err, ERROR_INPUT, "%s", text);
}

bool graph_fail_memory(struct graph *graph, size_t bytes)
{
    if (graph->state->failed) return false;
    graph->state->failed = true;
    return error_memory(&graph->state->err, bytes, mem_purpose_name(MEM_GRAPH));
}

bool graph_grow(struct graph *graph, void **array, size_t *capacity, size_t count, size_t size)
{
    if (graph->state->failed) return false;
    if (mem_grow(MEM_GRAPH, array, capacity, count + 1, size)) return true;
    return graph_fail_memory(graph, (count + 1) * size);
}

void graph_destroy(struct graph *graph)
{
    if (!graph) return;
    for (struct text_chunk *chunk = graph->state->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        mem_free(chunk);
    }
    mem_free(graph->state);
    mem_free(graph->layers);
    mem_free(graph->tensors);
    mem_free(graph->ops);
    mem_free(graph->stands);
    mem_free(graph->blocks);
    mem_free(graph->parameters);
    mem_free(graph);
}

static bool count_bytes(struct tensor *tensor)
{
    uint64_t elements = 1;
    for (size_t i = 0; i < 4; i++)
        if (__builtin_mul_overflow(elements, (uint64_t)tensor->dims[i], &elements) || elements > MOST_TENSOR_BYTES)
            return false;
    tensor->bytes = dtype_bytes(tensor->dtype, elements);
    return tensor->bytes <= MOST_TENSOR_BYTES;
}

uint32_t graph_new_tensor(struct graph *graph, struct tensor tensor)
{
    struct graph_state *state = graph->state;
    if (!graph_grow(graph, (void **)&graph->tensors, &state->tensor_capacity, graph->tensor_count, sizeof tensor))
        return NO_TENSOR;
    tensor.layer = state->layer;
    if (!count_bytes(&tensor)) {
        graph_fail(graph, "%s: a tensor of %u x %u x %u x %u elements is larger than the limit of 16 TiB",
                   graph->layers[state->layer].path, tensor.dims[0], tensor.dims[1], tensor.dims[2], tensor.dims[3]);
        return NO_TENSOR;
    }
    graph->tensors[graph->tensor_count] = tensor;
    return (uint32_t)graph->tensor_count++;
}

/* dy's bytes, and y's where they are others and as many. */
static uint8_t kept_in_place(const struct graph *graph, const struct op *op)
{
    uint8_t y = conv_operands(op).y;
    const bool apart = op->in[y] != op->in[0] && graph->tensors[op->in[y]].bytes == graph->tensors[op->out[0]].bytes;
    return apart ? (uint8_t)(1u << y | 1u) : 1;
}

uint32_t graph_new_op(struct graph *graph, struct op op)
{
    struct graph_state *state = graph->state;
    if (!graph_grow(graph, (void **)&graph->ops, &state->op_capacity, graph->op_count, sizeof op)) return NO_OP;
    if (op.forward == NO_OP) {
        op.layer = state->layer;
        op.block = state->block;
    }
    op.in_place = (uint8_t)(shapes[op.kind].in_place & ((1u << op.inputs) - 1));
    if (op.kind == OP_BN && op.attr.bn.frozen != BN_TRAINED) op.in_place = 1;
    if (op.kind == OP_BN_BWD_APPLY) op.in_place &= (uint8_t)(op.attr.bn.whole ? ~16u : ~8u); /* not of the sums */
    if (op_in_place_output(&op, 0) > 0) op.in_place = kept_in_place(graph, &op);
    op.flops = op_count_flops(graph, &op);
    op.bytes_moved = op_count_bytes(graph, &op);
    graph->ops[graph->op_count] = op;
    return (uint32_t)graph->op_count++;
}

bool graph_new_parameter(struct graph *graph, uint32_t tensor)
{
    if (!graph_grow(graph, (void **)&graph->parameters, &graph->state->parameter_capacity, graph->parameter_count,
                    sizeof *graph->parameters))
        return false;
    graph->parameters[graph->parameter_count++] = tensor;
    return true;
}

static const char *part_name(const struct tensor *tensor)
{
    static const char *const roles[] = {"images",       "labels",           "output",       "mask",       "mean",
                                        "variance",     "weight",           "bias",         "gamma",      "beta",
                                        "running_mean", "running_variance", "metrics",      "weights",    "sums",
                                        "norm",         "gradient_sums",    "coefficients", "loss_scale", "weight_copy",
                                        "pixels",       "placements",       "gradient_norm"};
    return roles[tensor->role];
}

/* Which of the buckets beside the weights' it is: they are made one after the other, states first. */
static const char *kept_name(const struct graph *graph, uint32_t tensor)
{
    const struct update_needs *update = &graph->options.update;
    uint32_t at = 0;
    for (uint32_t i = tensor; i-- > 0;)
        at += graph->tensors[i].class == CLASS_OPTIMIZER && graph->tensors[i].of == graph->tensors[tensor].of;
    if (at == 0 && update->optimizer == OPTIMIZER_MOMENTUM) return "momentum";
    return at < optimizer_buffers(update->optimizer) ? optimizer_buffer_name(update->optimizer, at) : "average";
}

char *graph_tensor_name(const struct graph *graph, uint32_t tensor, char out[TENSOR_NAME])
{
    const struct tensor *t = &graph->tensors[tensor], *base = t;
    bool partial = t->role == ROLE_BUCKET && t->gradient && graph->tensors[t->of].gradient;
    while (base->gradient) base = &graph->tensors[base->of];
    const char *which = !partial                 ? ""
                        : t->class == CLASS_COMM ? ".message"
                        : t->dtype == DTYPE_F32  ? ".partial"
                                                 : ".half";
    const char *part = base->class == CLASS_OPTIMIZER ? kept_name(graph, tensor) : part_name(base);
    snprintf(out, TENSOR_NAME, "%s.%s%s%s", graph->layers[base->layer].path, part, t->gradient ? ".gradient" : "",
             which);
    return out;
}
