#include "graph_private.h"

#include <stdio.h>

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
