/* Convolutions of the lowered graph, and the gradients of their weights that wait for what they read. */
#include "lower_making.h"

/* x, read through a BN where that has no result, or need not be kept for it. */
static void read_normalized(const struct lowering *l, struct making *m)
{
    uint32_t bn = lowering_bn_of(l, m->op.in[0]);
    if (bn == NO_OP || !lowering_reads_norm(l, lowering_op(l, m->stands[0]), bn)) return;
    m->op.in[0] = lowering_op(l, bn)->in[0];
    op_add_input(&m->op, l->bn[bn].norm);
    m->op.attr.conv.fused |= CONV_NORMALIZED | (lowering_op(l, bn)->attr.bn.relu ? CONV_RECTIFIED : 0);
    lowering_stand_for(m, bn);
}

/* The gradient at this operand, read through a BN's backward pass where that leaves it to its readers. */
static void read_gradient(const struct lowering *l, struct making *m, uint32_t operand)
{
    bool keeps = m->op.kind == OP_CONV_BWD_DATA && l->kept[m->stands[0]] != NO_OP;
    uint32_t bn = keeps ? l->kept[m->stands[0]] : lowering_spread_of(l, m->op.in[operand]);
    if (bn == NO_OP) return;
    const struct op *op = lowering_op(l, bn);
    bool shut = op->attr.bn.relu && l->bn[bn].shutter == NO_OP;
    m->op.in[operand] = lowering_op(l, l->bn[bn].backward)->in[1];
    op_add_input(&m->op, op->attr.bn.frozen == BN_FROZEN && !shut ? m->op.in[operand] : op->in[0]);
    op_add_input(&m->op, l->bn[bn].coefficients);
    m->op.attr.conv.fused |= CONV_GRADIENT | (shut ? CONV_GRADIENT_SHUT : 0);
    lowering_stand_for(m, l->bn[bn].backward);
}

void lowering_emit_conv(struct lowering *l, uint32_t logical)
{
    struct making m = lowering_begin(l, logical);
    uint32_t add = l->partner[logical], bn = l->summed[logical], result = m.op.out[0];
    read_normalized(l, &m);
    if (add != NO_OP) {
        const struct op *addition = lowering_op(l, add);
        op_add_input(&m.op, addition->in[addition->in[0] == result]);
        m.op.out[0] = addition->out[0];
        m.op.attr.conv.fused |= CONV_ADDS;
        lowering_stand_for(&m, add);
    }
    if (bn != NO_OP) {
        op_add_output(&m.op, lowering_new_table(l, bn, ROLE_SUMS, DTYPE_F64, BN_SUMS_ROWS));
        l->sums[m.op.out[0]] = m.op.out[1];
        m.op.attr.conv.fused |= CONV_SUMS;
        lowering_stand_for(&m, bn);
    }
    l->made[logical] = lowering_append(l, &m);
    if (add != NO_OP) l->made[add] = l->made[logical];
}

/* The BN's result that this gradient of weights reads, where it is made late. */
static void emit_late_result(struct lowering *l, uint32_t logical)
{
    uint32_t bn = lowering_bn_of(l, lowering_op(l, logical)->in[0]);
    if (bn == NO_OP || !l->bn[bn].late || l->bn[bn].late_made) return;
    if (lowering_reads_norm(l, lowering_op(l, logical), bn)) return;
    l->bn[bn].late_made = true;
    struct making m = lowering_begin_part(l, logical, OP_BN_APPLY);
    m.op.attr = lowering_op(l, bn)->attr;
    op_add_input(&m.op, lowering_op(l, bn)->in[0]);
    op_add_input(&m.op, l->bn[bn].norm);
    op_add_output(&m.op, lowering_op(l, bn)->out[0]);
    lowering_stand_for(&m, bn);
    lowering_append(l, &m);
}

static void make_weights_gradient(struct lowering *l, uint32_t logical)
{
    struct making m = lowering_begin(l, logical);
    read_normalized(l, &m);
    read_gradient(l, &m, 1);
    if (l->copy[m.op.out[0]] != NO_TENSOR) m.op.out[0] = l->copy[m.op.out[0]];
    l->made[logical] = lowering_append(l, &m);
}

/* The BN whose backward pass makes its result for this gradient of weights, which then waits for it; or NO_OP. */
static uint32_t made_backward(const struct lowering *l, uint32_t logical)
{
    const struct op *op = lowering_op(l, logical);
    uint32_t bn = lowering_bn_of(l, op->in[0]);
    if (bn == NO_OP || !l->bn[bn].late || l->bn[bn].late_made || lowering_reads_norm(l, op, bn)) return NO_OP;
    if (lowering_op(l, bn)->attr.bn.frozen == BN_FROZEN) return NO_OP; /* which has no x at hand */
    const struct op *backward = lowering_op(l, l->bn[bn].backward);
    bool apart = l->bn[bn].spread || l->bn[bn].keeper != NO_OP;
    bool makes = l->bn[bn].shutter == NO_OP && !apart && l->readers[backward->out[0]] > 0;
    return makes && backward->block == op->block ? bn : NO_OP;
}

void lowering_emit_conv_weights(struct lowering *l, uint32_t logical)
{
    if (l->kept[logical] != NO_OP) lowering_emit_conv_data(l, l->bn[l->kept[logical]].keeper);
    uint32_t bn = made_backward(l, logical);
    if (bn != NO_OP) {
        l->waits[logical] = l->bn[bn].waiting;
        l->bn[bn].waiting = logical;
        return;
    }
    emit_late_result(l, logical);
    make_weights_gradient(l, logical);
}

void lowering_emit_waiting(struct lowering *l, uint32_t logical)
{
    if (logical == NO_OP) return;
    lowering_emit_waiting(l, l->waits[logical]);
    emit_late_result(l, logical);
    make_weights_gradient(l, logical);
}

void lowering_emit_accumulate(struct lowering *l, uint32_t logical)
{
    const struct graph *graph = l->logical;
    uint32_t bucket = lowering_op(l, logical)->in[0];
    for (uint32_t bn = 0; bn < graph->forward_end; bn++) {
        uint32_t first = lowering_op(l, bn)->kind == OP_BN ? l->bn[bn].waiting : NO_OP;
        bool wanted = false;
        for (uint32_t i = first; i != NO_OP; i = l->waits[i])
            wanted |= graph->tensors[lowering_op(l, i)->out[0]].view_of == bucket;
        if (!wanted) continue;
        lowering_emit_waiting(l, first);
        l->bn[bn].waiting = NO_OP;
    }
    lowering_emit_widen(l, bucket);
    lowering_emit_same(l, logical);
}

void lowering_add_to_gradient(struct lowering *l, struct making *m, uint32_t add)
{
    if (add == NO_OP) return;
    const struct op *addition = lowering_op(l, add);
    op_add_input(&m->op, addition->in[addition->in[0] == m->op.out[0]]);
    m->op.out[0] = addition->out[0];
    lowering_stand_for(m, add);
}

/* x's other gradient, and the ReLU that made x. */
static void finish_gradient(struct lowering *l, struct making *m)
{
    uint32_t add = l->partner[m->stands[0]], relu = l->shut[m->stands[0]];
    if (add != NO_OP) {
        lowering_add_to_gradient(l, m, add);
        m->op.attr.conv.fused |= CONV_ADDS;
    }
    if (relu == NO_OP) return;
    op_add_input(&m->op, lowering_op(l, relu)->in[0]);
    m->op.out[0] = lowering_op(l, relu)->out[0];
    m->op.attr.conv.fused |= CONV_RECTIFIES;
    lowering_stand_for(m, relu);
}

void lowering_emit_conv_data(struct lowering *l, uint32_t logical)
{
    if (l->made[logical] != NO_OP) return;
    struct making m = lowering_begin(l, logical);
    uint32_t bn = l->summed[logical], kept = l->kept[logical];
    read_gradient(l, &m, 0);
    finish_gradient(l, &m);
    if (bn != NO_OP) {
        l->bn[bn].gradient_sums = lowering_new_table(l, bn, ROLE_GRADIENT_SUMS, DTYPE_F64, BN_SUMS_ROWS);
        op_add_input(&m.op, lowering_op(l, bn)->in[0]);
        op_add_input(&m.op, l->bn[bn].norm);
        op_add_output(&m.op, l->bn[bn].gradient_sums);
        m.op.attr.conv.fused |= CONV_GRADIENT_SUMS | (lowering_op(l, bn)->attr.bn.relu ? CONV_SHUTS : 0);
        lowering_stand_for(&m, l->bn[bn].backward);
    }
    if (kept != NO_OP) {
        op_add_output(&m.op, lowering_op(l, logical)->in[0]);
        m.op.attr.conv.fused |= CONV_KEEPS;
    }
    l->made[logical] = lowering_append(l, &m);
}
