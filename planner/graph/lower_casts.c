/* Weights and gradients in 16 bits beside those in 32. */
#include "lower_making.h"

/* ---- Weights ---- */

/* The copy of a bucket, or of weights in it. */
static uint32_t new_copy(struct lowering *l, uint32_t of, uint32_t view_of, uint64_t view_offset)
{
    struct tensor copy = l->logical->tensors[of];
    copy.role = ROLE_WEIGHT_COPY;
    copy.dtype = l->logical->options.dtype;
    copy.persistent = false;
    copy.of = of;
    copy.view_of = view_of;
    copy.view_offset = view_offset;
    l->lowered->state->layer = copy.layer;
    return l->copy[of] = graph_new_tensor(l->lowered, copy);
}

static void emit_copy(struct lowering *l, uint32_t bucket)
{
    struct op op = {.kind = OP_WEIGHTS_COPY, .pass = PASS_FORWARD, .forward = NO_OP};
    op_add_input(&op, bucket);
    op_add_output(&op, new_copy(l, bucket, NO_TENSOR, 0));
    l->lowered->state->block = NO_OP;
    op.stands_first = (uint32_t)l->lowered->stands_count;
    graph_new_op(l->lowered, op);
}

void lowering_emit_copies(struct lowering *l)
{
    const struct graph *logical = l->logical;
    if (!(l->bits & LOWER_WEIGHTS) || logical->options.dtype == DTYPE_F32) return;
    for (uint32_t i = 0; i < logical->forward_end; i++) {
        if (!op_reads_weights(lowering_op(l, i)->kind)) continue;
        uint32_t weights = lowering_op(l, i)->in[1], bucket = logical->tensors[weights].view_of;
        uint64_t at = dtype_bytes(logical->options.dtype, logical->tensors[weights].view_offset / sizeof(float));
        if (l->copy[bucket] == NO_TENSOR) emit_copy(l, bucket);
        if (l->copy[weights] == NO_TENSOR) new_copy(l, weights, l->copy[bucket], at);
    }
}

/* ---- Gradients ---- */

static bool has_half_gradient(const struct lowering *l, const struct op *op)
{
    if (!(l->bits & LOWER_HALF_GRADIENTS) || l->logical->options.dtype == DTYPE_F32) return false;
    uint32_t bn = op->kind == OP_CONV_BWD_WEIGHTS ? lowering_bn_of(l, op->in[0]) : NO_OP;
    return bn != NO_OP && lowering_reads_norm(l, op, bn);
}

/* Of a bucket of gradients, or of one in it. */
static uint32_t new_half(struct lowering *l, uint32_t gradient, uint32_t view_of)
{
    struct tensor half = l->logical->tensors[gradient];
    half.dtype = l->logical->options.dtype;
    half.persistent = false;
    half.view_of = view_of;
    half.view_offset = dtype_bytes(half.dtype, half.view_offset / sizeof(float));
    if (view_of == NO_TENSOR) half.of = gradient;
    l->lowered->state->layer = half.layer;
    return l->copy[gradient] = graph_new_tensor(l->lowered, half);
}

void lowering_make_half_gradients(struct lowering *l)
{
    const struct graph *logical = l->logical;
    for (uint32_t i = logical->forward_end; i < logical->backward_end && !l->lowered->state->failed; i++) {
        const struct op *op = lowering_op(l, i);
        for (uint32_t k = 0; k < op->outputs; k++) {
            uint32_t gradient = op->out[k], bucket = logical->tensors[gradient].view_of;
            if (bucket == NO_TENSOR) continue;
            if (k > 0 || !has_half_gradient(l, op)) {
                l->singles[bucket]++;
                continue;
            }
            if (l->copy[bucket] == NO_TENSOR) new_half(l, bucket, NO_TENSOR);
            new_half(l, gradient, l->copy[bucket]);
        }
    }
}

void lowering_emit_widen(struct lowering *l, uint32_t bucket)
{
    struct op op = {.kind = OP_GRADIENTS_WIDEN, .pass = PASS_BACKWARD, .forward = NO_OP};
    if (l->copy[bucket] == NO_TENSOR) return;
    op_add_input(&op, l->copy[bucket]);
    if (l->singles[bucket]) op_add_input(&op, bucket);
    op_add_output(&op, bucket);
    l->lowered->state->layer = l->logical->tensors[bucket].layer;
    l->lowered->state->block = NO_OP;
    op.stands_first = (uint32_t)l->lowered->stands_count;
    graph_new_op(l->lowered, op);
}

void lowering_emit_widens(struct lowering *l)
{
    const struct graph *logical = l->logical;
    for (uint32_t t = 0; t < logical->tensor_count && logical->options.micro_batches == 1; t++)
        if (logical->tensors[t].role == ROLE_BUCKET && logical->tensors[t].class == CLASS_GRADIENT)
            lowering_emit_widen(l, t);
}
