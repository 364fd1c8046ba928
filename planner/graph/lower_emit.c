/* The ops of the lowered graph, in the logical ones' order. */
#include "lower_making.h"

/* ---- Input ---- */

/* Ops of no block come first in graphs without blocks, and where layers are frozen. */
static uint32_t first_block(const struct graph *graph)
{
    return graph->block_count == 0 || graph->blocks[0].first > 0 ? NO_OP : 0;
}

/* Whether no op outside the first block reads the images; where ops of no block come first, whether those alone do.
 * Images that are no squares are given: bytes are of training and of its tests. */
static bool makes_images(const struct lowering *l)
{
    const struct graph *logical = l->logical;
    bool read = false;
    if (logical->spec.image_width) return false;
    for (size_t i = 0; l->bits & LOWER_INPUT && i < logical->op_count; i++)
        for (uint32_t k = 0; k < logical->ops[i].inputs; k++) {
            if (logical->ops[i].in[k] != logical->images) continue;
            if (logical->ops[i].block != first_block(logical)) return false;
            read = true;
        }
    return read;
}

static uint32_t new_input(struct lowering *l, enum tensor_role role, enum dtype dtype, uint32_t side, uint32_t channels)
{
    l->lowered->state->layer = l->logical->tensors[l->logical->images].layer;
    return graph_new_tensor(l->lowered, (struct tensor){.class = CLASS_INPUT,
                                                        .role = role,
                                                        .dtype = dtype,
                                                        .dims = {l->logical->options.batch, side, side, channels},
                                                        .of = NO_TENSOR,
                                                        .view_of = NO_TENSOR});
}

/* The first op of the first block. */
static void emit_input(struct lowering *l)
{
    struct graph *lowered = l->lowered;
    if (!makes_images(l)) return;
    struct op op = {.kind = OP_INPUT, .pass = PASS_FORWARD, .forward = NO_OP};
    lowered->pixels = new_input(l, ROLE_PIXELS, DTYPE_U8, l->logical->spec.image_size, 3);
    lowered->placements = new_input(l, ROLE_PLACEMENTS, DTYPE_I32, 1, INPUT_PLACEMENT);
    if (lowered->state->failed) return;
    lowered->tensors[lowered->images].class = CLASS_ACTIVATION;
    op_add_input(&op, lowered->pixels);
    op_add_input(&op, lowered->placements);
    op_add_output(&op, lowered->images);
    lowered->state->block = first_block(l->logical);
    op.stands_first = (uint32_t)lowered->stands_count;
    graph_new_op(lowered, op);
}

/* ---- All ---- */

static void emit(struct lowering *l, uint32_t logical)
{
    switch (lowering_op(l, logical)->kind) {
    case OP_CONV: lowering_emit_conv(l, logical); return;
    case OP_CONV_BWD_WEIGHTS: lowering_emit_conv_weights(l, logical); return;
    case OP_CONV_BWD_DATA: lowering_emit_conv_data(l, logical); return;
    case OP_ACCUMULATE: lowering_emit_accumulate(l, logical); return;
    case OP_ADD:
    case OP_ADD_GRADIENT: lowering_emit_addition(l, logical); return;
    case OP_RELU:
        if (l->partner[logical] == NO_OP)
            lowering_emit_same(l, logical);
        else
            lowering_emit_bn_addition(l, logical, l->partner[logical]);
        return;
    case OP_RELU_BWD:
        if (l->shut[logical] == NO_OP) lowering_emit_same(l, logical);
        return;
    case OP_BN:
        if (lowers_bn(l))
            lowering_emit_bn(l, logical);
        else
            lowering_emit_same(l, logical);
        return;
    case OP_BN_BWD:
        if (lowers_bn(l))
            lowering_emit_bn_backward(l, logical);
        else
            lowering_emit_same(l, logical);
        return;
    default: lowering_emit_same(l, logical); return;
    }
}

static void emit_section(struct lowering *l, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last && !l->lowered->state->failed; i++) emit(l, i);
}

static void emit_forward(struct lowering *l)
{
    const struct graph *logical = l->logical;
    uint32_t from = logical->block_count ? logical->blocks[0].first : logical->forward_end;
    lowering_emit_copies(l);
    if (first_block(logical) == NO_OP) emit_input(l);
    emit_section(l, 0, from);
    for (size_t b = 0; b < logical->block_count; b++) {
        l->lowered->blocks[b] = logical->blocks[b];
        l->lowered->blocks[b].first = (uint32_t)l->lowered->op_count;
        l->lowered->blocks[b].input = l->lowered->blocks[b].output = NO_TENSOR;
        if (b == first_block(logical)) emit_input(l);
        emit_section(l, logical->blocks[b].first, logical->blocks[b].last);
    }
}

bool lowering_emit(struct lowering *l)
{
    const struct graph *logical = l->logical;
    struct graph *lowered = l->lowered;
    lowering_make_half_gradients(l);
    emit_forward(l);
    if (lowered->state->failed || !graph_close_blocks(lowered)) return false;
    emit_section(l, logical->forward_end, logical->backward_end);
    lowering_emit_widens(l);
    lowered->backward_end = (uint32_t)lowered->op_count;
    emit_section(l, logical->backward_end, logical->comm_end);
    lowered->comm_end = (uint32_t)lowered->op_count;
    emit_section(l, logical->comm_end, (uint32_t)logical->op_count);
    return !lowered->state->failed;
}
