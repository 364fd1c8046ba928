/* Batch normalisations of the lowered graph, and the additions that they do. */
#include "lower_making.h"

static uint64_t count_rows(const struct lowering *l, uint32_t bn)
{
    const uint32_t *dims = l->logical->tensors[lowering_op(l, bn)->in[0]].dims;
    return (uint64_t)dims[0] * dims[1] * dims[2];
}

static void emit_bn_sums(struct lowering *l, uint32_t logical)
{
    uint32_t x = lowering_op(l, logical)->in[0];
    if (l->sums[x] != NO_TENSOR) return; /* a convolution's, or of another BN over the same x */
    struct making m = lowering_begin_part(l, logical, OP_BN_SUMS);
    l->sums[x] = lowering_new_table(l, logical, ROLE_SUMS, DTYPE_F64, BN_SUMS_ROWS);
    op_add_input(&m.op, x);
    op_add_output(&m.op, l->sums[x]);
    lowering_append(l, &m);
}

void lowering_emit_bn(struct lowering *l, uint32_t logical)
{
    const struct op *op = lowering_op(l, logical);
    struct lowered_bn *bn = &l->bn[logical];
    const bool frozen = op->attr.bn.frozen != BN_TRAINED;
    if (!frozen) emit_bn_sums(l, logical);
    struct making m = lowering_begin_part(l, logical, OP_BN_FINALIZE);
    bn->norm = lowering_new_table(l, logical, ROLE_NORM, DTYPE_F32, BN_NORM_ROWS);
    op_add_input(&m.op, frozen ? op->in[3] : l->sums[op->in[0]]);
    for (uint32_t k = 1; k < op->inputs; k++) op_add_input(&m.op, op->in[k]);
    op_add_output(&m.op, bn->norm);
    m.op.attr.bn.rows = count_rows(l, logical);
    l->made[logical] = lowering_append(l, &m);
    if (!bn->applied) return;
    m = lowering_begin_part(l, logical, OP_BN_APPLY);
    op_add_input(&m.op, op->in[0]);
    op_add_input(&m.op, bn->norm);
    op_add_output(&m.op, op->out[0]);
    lowering_append(l, &m);
}

void lowering_emit_bn_addition(struct lowering *l, uint32_t at, uint32_t add)
{
    uint32_t bn = l->partner[add];
    const struct op *op = lowering_op(l, bn), *addition = lowering_op(l, add);
    struct making m = lowering_begin_part(l, at, OP_BN_APPLY);
    m.op.attr = op->attr;
    m.op.attr.bn.relu = at != add;
    op_add_input(&m.op, op->in[0]);
    op_add_input(&m.op, l->bn[bn].norm);
    op_add_input(&m.op, addition->in[addition->in[0] == op->out[0]]);
    op_add_output(&m.op, lowering_op(l, at)->out[0]);
    lowering_stand_for(&m, add);
    lowering_stand_for(&m, bn);
    l->made[at] = l->made[add] = lowering_append(l, &m);
}

void lowering_emit_addition(struct lowering *l, uint32_t logical)
{
    uint32_t partner = l->partner[logical];
    if (partner == NO_OP)
        lowering_emit_same(l, logical);
    else if (lowering_op(l, partner)->kind == OP_BN && !l->rectified[logical])
        lowering_emit_bn_addition(l, logical, logical);
}

/* The gradient sums of what a convolution's gradient of data does not sum: by an op where nothing else reads dy. */
static void emit_bn_gradient_sums(struct lowering *l, uint32_t logical)
{
    const struct op *op = lowering_op(l, logical);
    struct lowered_bn *bn = &l->bn[op->forward];
    if (bn->shutter != NO_OP) return;
    struct making m = lowering_begin_part(l, logical, OP_BN_BWD_SUMS);
    bn->gradient_sums = lowering_new_table(l, op->forward, ROLE_GRADIENT_SUMS, DTYPE_F64, BN_SUMS_ROWS);
    op_add_input(&m.op, op->in[0]);
    op_add_input(&m.op, op->in[1]);
    op_add_input(&m.op, bn->norm);
    op_add_output(&m.op, bn->gradient_sums);
    lowering_append(l, &m);
}

/* dx has no tensor: gradients of convolutions read it through the coefficients, or nobody does. */
static void emit_bn_coefficients(struct lowering *l, uint32_t logical)
{
    const struct op *op = lowering_op(l, logical);
    struct lowered_bn *bn = &l->bn[op->forward];
    const bool frozen = op->attr.bn.frozen == BN_FROZEN;
    if (!frozen) emit_bn_gradient_sums(l, logical);
    struct making m = lowering_begin_part(l, logical, OP_BN_BWD_FINALIZE);
    bn->coefficients = lowering_new_table(l, op->forward, ROLE_COEFFICIENTS, DTYPE_F32, BN_COEFFICIENTS_ROWS);
    op_add_input(&m.op, frozen ? bn->norm : bn->gradient_sums);
    op_add_input(&m.op, op->in[2]);
    op_add_input(&m.op, bn->norm);
    op_add_output(&m.op, bn->coefficients);
    for (uint32_t k = 1; k < op->outputs; k++) op_add_output(&m.op, op->out[k]);
    m.op.attr.bn.rows = count_rows(l, op->forward);
    l->made[logical] = lowering_append(l, &m);
}

void lowering_emit_bn_backward(struct lowering *l, uint32_t logical)
{
    const struct op *op = lowering_op(l, logical);
    struct lowered_bn *bn = &l->bn[op->forward];
    if (bn->spread || bn->keeper != NO_OP || l->readers[op->out[0]] == 0) {
        emit_bn_coefficients(l, logical);
        return;
    }
    struct making m = lowering_begin_part(l, logical, OP_BN_BWD_APPLY);
    const bool frozen = op->attr.bn.frozen == BN_FROZEN;
    m.op.attr.bn.whole = frozen || bn->shutter == NO_OP;
    m.op.attr.bn.relu = op->attr.bn.relu && bn->shutter == NO_OP;
    m.op.attr.bn.rows = count_rows(l, op->forward);
    op_add_input(&m.op, m.op.attr.bn.relu ? lowering_op(l, op->forward)->in[0] : op->in[0]);
    op_add_input(&m.op, op->in[1]);
    op_add_input(&m.op, bn->norm);
    if (!m.op.attr.bn.whole) op_add_input(&m.op, bn->gradient_sums);
    op_add_output(&m.op, op->out[0]);
    lowering_add_to_gradient(l, &m, l->partner[logical]);
    for (uint32_t k = 1; k < op->outputs; k++) op_add_output(&m.op, op->out[k]);
    if (bn->waiting != NO_OP) {
        op_add_output(&m.op, lowering_op(l, op->forward)->out[0]);
        lowering_stand_for(&m, op->forward);
        bn->late_made = true;
    }
    l->made[logical] = lowering_append(l, &m);
    lowering_emit_waiting(l, bn->waiting);
    bn->waiting = NO_OP;
}
