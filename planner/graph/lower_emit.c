/* The ops of the lowered graph, in the logical ones' order. */
#include "lower_private.h"

#include "mem.h"

#define MOST_STANDS 8

/* An op on its way, and the logical ops it stands for. */
struct making {
    struct op op;
    uint32_t stands[MOST_STANDS];
    uint32_t stands_count;
};

static const struct op *op_at(const struct lowering *l, uint32_t op) { return &l->logical->ops[op]; }

static struct making begin(const struct lowering *l, uint32_t logical)
{
    struct making m = {.op = *op_at(l, logical), .stands = {logical}, .stands_count = 1};
    if (m.op.forward != NO_OP) m.op.forward = l->made[m.op.forward];
    if (op_reads_weights(m.op.kind) && l->copy[m.op.in[1]] != NO_TENSOR) m.op.in[1] = l->copy[m.op.in[1]];
    return m;
}

/* One of a BN's ops. */
static struct making begin_part(const struct lowering *l, uint32_t logical, enum op_kind kind)
{
    struct making m = begin(l, logical);
    m.op.kind = kind;
    m.op.inputs = m.op.outputs = 0;
    return m;
}

static void stand_for(struct making *m, uint32_t logical)
{
    for (uint32_t i = 0; i < m->stands_count; i++)
        if (m->stands[i] == logical) return;
    m->stands[m->stands_count++] = logical;
}

static uint32_t append(struct lowering *l, struct making *m)
{
    struct graph *graph = l->lowered;
    size_t *capacity = &graph->state->stands_capacity;
    if (!graph_grow(graph, (void **)&graph->stands, capacity, graph->stands_count + m->stands_count - 1,
                    sizeof *graph->stands))
        return NO_OP;
    graph->state->layer = m->op.layer;
    graph->state->block = m->op.block;
    m->op.stands_first = (uint32_t)graph->stands_count;
    m->op.stands_count = m->stands_count;
    for (uint32_t i = 0; i < m->stands_count; i++) graph->stands[graph->stands_count++] = m->stands[i];
    return graph_new_op(graph, m->op);
}

static void emit_same(struct lowering *l, uint32_t logical)
{
    struct making m = begin(l, logical);
    l->made[logical] = append(l, &m);
}

/* One of a BN's small tensors. */
static uint32_t new_table(struct lowering *l, uint32_t bn, enum tensor_role role, enum dtype dtype, uint32_t rows)
{
    const struct op *op = op_at(l, bn);
    l->lowered->state->layer = op->layer;
    return graph_new_tensor(l->lowered, (struct tensor){.class = CLASS_STATISTIC,
                                                        .role = role,
                                                        .dtype = dtype,
                                                        .dims = {1, 1, rows, l->logical->tensors[op->in[0]].dims[3]},
                                                        .of = NO_TENSOR,
                                                        .view_of = NO_TENSOR});
}

static uint64_t count_rows(const struct lowering *l, uint32_t bn)
{
    const uint32_t *dims = l->logical->tensors[op_at(l, bn)->in[0]].dims;
    return (uint64_t)dims[0] * dims[1] * dims[2];
}

/* ---- Weights in 16 bits ---- */

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

static void emit_copies(struct lowering *l)
{
    const struct graph *logical = l->logical;
    if (!(l->bits & LOWER_WEIGHTS) || logical->options.dtype == DTYPE_F32) return;
    for (uint32_t i = 0; i < logical->forward_end; i++) {
        if (!op_reads_weights(op_at(l, i)->kind)) continue;
        uint32_t weights = op_at(l, i)->in[1], bucket = logical->tensors[weights].view_of;
        uint64_t at = dtype_bytes(logical->options.dtype, logical->tensors[weights].view_offset / sizeof(float));
        if (l->copy[bucket] == NO_TENSOR) emit_copy(l, bucket);
        if (l->copy[weights] == NO_TENSOR) new_copy(l, weights, l->copy[bucket], at);
    }
}

/* ---- Gradients in 16 bits ---- */

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

static void make_half_gradients(struct lowering *l)
{
    const struct graph *logical = l->logical;
    for (uint32_t i = logical->forward_end; i < logical->backward_end && !l->lowered->state->failed; i++) {
        const struct op *op = op_at(l, i);
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

/* All gradients of the bucket are made. */
static void emit_widen(struct lowering *l, uint32_t bucket)
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

/* Of buckets that are not accumulated, which have it before that. */
static void emit_widens(struct lowering *l)
{
    const struct graph *logical = l->logical;
    for (uint32_t t = 0; t < logical->tensor_count && logical->options.micro_batches == 1; t++)
        if (logical->tensors[t].role == ROLE_BUCKET && logical->tensors[t].class == CLASS_GRADIENT) emit_widen(l, t);
}

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

/* ---- Convolutions ---- */

/* x, read through a BN where that has no result, or need not be kept for it. */
static void read_normalized(const struct lowering *l, struct making *m)
{
    uint32_t bn = lowering_bn_of(l, m->op.in[0]);
    if (bn == NO_OP || !lowering_reads_norm(l, op_at(l, m->stands[0]), bn)) return;
    m->op.in[0] = op_at(l, bn)->in[0];
    op_add_input(&m->op, l->bn[bn].norm);
    m->op.attr.conv.fused |= CONV_NORMALIZED | (op_at(l, bn)->attr.bn.relu ? CONV_RECTIFIED : 0);
    stand_for(m, bn);
}

/* The gradient at this operand, read through a BN's backward pass where that leaves it to its readers. */
static void read_gradient(const struct lowering *l, struct making *m, uint32_t operand)
{
    bool keeps = m->op.kind == OP_CONV_BWD_DATA && l->kept[m->stands[0]] != NO_OP;
    uint32_t bn = keeps ? l->kept[m->stands[0]] : lowering_spread_of(l, m->op.in[operand]);
    if (bn == NO_OP) return;
    const struct op *op = op_at(l, bn);
    bool shut = op->attr.bn.relu && l->bn[bn].shutter == NO_OP;
    m->op.in[operand] = op_at(l, l->bn[bn].backward)->in[1];
    op_add_input(&m->op, op->attr.bn.frozen == BN_FROZEN && !shut ? m->op.in[operand] : op->in[0]);
    op_add_input(&m->op, l->bn[bn].coefficients);
    m->op.attr.conv.fused |= CONV_GRADIENT | (shut ? CONV_GRADIENT_SHUT : 0);
    stand_for(m, l->bn[bn].backward);
}

static void emit_conv(struct lowering *l, uint32_t logical)
{
    struct making m = begin(l, logical);
    uint32_t add = l->partner[logical], bn = l->summed[logical], result = m.op.out[0];
    read_normalized(l, &m);
    if (add != NO_OP) {
        const struct op *addition = op_at(l, add);
        op_add_input(&m.op, addition->in[addition->in[0] == result]);
        m.op.out[0] = addition->out[0];
        m.op.attr.conv.fused |= CONV_ADDS;
        stand_for(&m, add);
    }
    if (bn != NO_OP) {
        op_add_output(&m.op, new_table(l, bn, ROLE_SUMS, DTYPE_F64, BN_SUMS_ROWS));
        l->sums[m.op.out[0]] = m.op.out[1];
        m.op.attr.conv.fused |= CONV_SUMS;
        stand_for(&m, bn);
    }
    l->made[logical] = append(l, &m);
    if (add != NO_OP) l->made[add] = l->made[logical];
}

/* The BN's result that this gradient of weights reads, where it is made late. */
static void emit_late_result(struct lowering *l, uint32_t logical)
{
    uint32_t bn = lowering_bn_of(l, op_at(l, logical)->in[0]);
    if (bn == NO_OP || !l->bn[bn].late || l->bn[bn].late_made) return;
    if (lowering_reads_norm(l, op_at(l, logical), bn)) return;
    l->bn[bn].late_made = true;
    struct making m = begin_part(l, logical, OP_BN_APPLY);
    m.op.attr = op_at(l, bn)->attr;
    op_add_input(&m.op, op_at(l, bn)->in[0]);
    op_add_input(&m.op, l->bn[bn].norm);
    op_add_output(&m.op, op_at(l, bn)->out[0]);
    stand_for(&m, bn);
    append(l, &m);
}

static void make_weights_gradient(struct lowering *l, uint32_t logical)
{
    struct making m = begin(l, logical);
    read_normalized(l, &m);
    read_gradient(l, &m, 1);
    if (l->copy[m.op.out[0]] != NO_TENSOR) m.op.out[0] = l->copy[m.op.out[0]];
    l->made[logical] = append(l, &m);
}

/* The BN whose backward pass makes its result for this gradient of weights, which then waits for it; or NO_OP. */
static uint32_t made_backward(const struct lowering *l, uint32_t logical)
{
    const struct op *op = op_at(l, logical);
    uint32_t bn = lowering_bn_of(l, op->in[0]);
    if (bn == NO_OP || !l->bn[bn].late || l->bn[bn].late_made || lowering_reads_norm(l, op, bn)) return NO_OP;
    if (op_at(l, bn)->attr.bn.frozen == BN_FROZEN) return NO_OP; /* which has no x at hand */
    const struct op *backward = op_at(l, l->bn[bn].backward);
    bool apart = l->bn[bn].spread || l->bn[bn].keeper != NO_OP;
    bool makes = l->bn[bn].shutter == NO_OP && !apart && l->readers[backward->out[0]] > 0;
    return makes && backward->block == op->block ? bn : NO_OP;
}

static void emit_conv_data(struct lowering *l, uint32_t logical);

static void emit_conv_weights(struct lowering *l, uint32_t logical)
{
    if (l->kept[logical] != NO_OP) emit_conv_data(l, l->bn[l->kept[logical]].keeper);
    uint32_t bn = made_backward(l, logical);
    if (bn != NO_OP) {
        l->waits[logical] = l->bn[bn].waiting;
        l->bn[bn].waiting = logical;
        return;
    }
    emit_late_result(l, logical);
    make_weights_gradient(l, logical);
}

/* In the order in which they come. */
static void emit_waiting(struct lowering *l, uint32_t logical)
{
    if (logical == NO_OP) return;
    emit_waiting(l, l->waits[logical]);
    emit_late_result(l, logical);
    make_weights_gradient(l, logical);
}

/* A bucket is to be accumulated: what its gradients wait for is made for them alone. */
static void emit_accumulate(struct lowering *l, uint32_t logical)
{
    const struct graph *graph = l->logical;
    uint32_t bucket = op_at(l, logical)->in[0];
    for (uint32_t bn = 0; bn < graph->forward_end; bn++) {
        uint32_t first = op_at(l, bn)->kind == OP_BN ? l->bn[bn].waiting : NO_OP;
        bool wanted = false;
        for (uint32_t i = first; i != NO_OP; i = l->waits[i])
            wanted |= graph->tensors[op_at(l, i)->out[0]].view_of == bucket;
        if (!wanted) continue;
        emit_waiting(l, first);
        l->bn[bn].waiting = NO_OP;
    }
    emit_widen(l, bucket);
    emit_same(l, logical);
}

static void add_to_gradient(struct lowering *l, struct making *m, uint32_t add)
{
    if (add == NO_OP) return;
    const struct op *addition = op_at(l, add);
    op_add_input(&m->op, addition->in[addition->in[0] == m->op.out[0]]);
    m->op.out[0] = addition->out[0];
    stand_for(m, add);
}

/* x's other gradient, and the ReLU that made x. */
static void finish_gradient(struct lowering *l, struct making *m)
{
    uint32_t add = l->partner[m->stands[0]], relu = l->shut[m->stands[0]];
    if (add != NO_OP) {
        add_to_gradient(l, m, add);
        m->op.attr.conv.fused |= CONV_ADDS;
    }
    if (relu == NO_OP) return;
    op_add_input(&m->op, op_at(l, relu)->in[0]);
    m->op.out[0] = op_at(l, relu)->out[0];
    m->op.attr.conv.fused |= CONV_RECTIFIES;
    stand_for(m, relu);
}

/* One that writes what it reads comes before the gradient of weights that reads that. */
static void emit_conv_data(struct lowering *l, uint32_t logical)
{
    if (l->made[logical] != NO_OP) return;
    struct making m = begin(l, logical);
    uint32_t bn = l->summed[logical], kept = l->kept[logical];
    read_gradient(l, &m, 0);
    finish_gradient(l, &m);
    if (bn != NO_OP) {
        l->bn[bn].gradient_sums = new_table(l, bn, ROLE_GRADIENT_SUMS, DTYPE_F64, BN_SUMS_ROWS);
        op_add_input(&m.op, op_at(l, bn)->in[0]);
        op_add_input(&m.op, l->bn[bn].norm);
        op_add_output(&m.op, l->bn[bn].gradient_sums);
        m.op.attr.conv.fused |= CONV_GRADIENT_SUMS | (op_at(l, bn)->attr.bn.relu ? CONV_SHUTS : 0);
        stand_for(&m, l->bn[bn].backward);
    }
    if (kept != NO_OP) {
        op_add_output(&m.op, op_at(l, logical)->in[0]);
        m.op.attr.conv.fused |= CONV_KEEPS;
    }
    l->made[logical] = append(l, &m);
}

/* ---- Batch normalisation ---- */

static void emit_bn_sums(struct lowering *l, uint32_t logical)
{
    uint32_t x = op_at(l, logical)->in[0];
    if (l->sums[x] != NO_TENSOR) return; /* a convolution's, or of another BN over the same x */
    struct making m = begin_part(l, logical, OP_BN_SUMS);
    l->sums[x] = new_table(l, logical, ROLE_SUMS, DTYPE_F64, BN_SUMS_ROWS);
    op_add_input(&m.op, x);
    op_add_output(&m.op, l->sums[x]);
    append(l, &m);
}

static void emit_bn(struct lowering *l, uint32_t logical)
{
    const struct op *op = op_at(l, logical);
    struct lowered_bn *bn = &l->bn[logical];
    const bool frozen = op->attr.bn.frozen != BN_TRAINED;
    if (!frozen) emit_bn_sums(l, logical);
    struct making m = begin_part(l, logical, OP_BN_FINALIZE);
    bn->norm = new_table(l, logical, ROLE_NORM, DTYPE_F32, BN_NORM_ROWS);
    op_add_input(&m.op, frozen ? op->in[3] : l->sums[op->in[0]]);
    for (uint32_t k = 1; k < op->inputs; k++) op_add_input(&m.op, op->in[k]);
    op_add_output(&m.op, bn->norm);
    m.op.attr.bn.rows = count_rows(l, logical);
    l->made[logical] = append(l, &m);
    if (!bn->applied) return;
    m = begin_part(l, logical, OP_BN_APPLY);
    op_add_input(&m.op, op->in[0]);
    op_add_input(&m.op, bn->norm);
    op_add_output(&m.op, op->out[0]);
    append(l, &m);
}

/* An addition, and the ReLU after it if `at` is that, by the BN that makes one of its operands. */
static void emit_bn_addition(struct lowering *l, uint32_t at, uint32_t add)
{
    uint32_t bn = l->partner[add];
    const struct op *op = op_at(l, bn), *addition = op_at(l, add);
    struct making m = begin_part(l, at, OP_BN_APPLY);
    m.op.attr = op->attr;
    m.op.attr.bn.relu = at != add;
    op_add_input(&m.op, op->in[0]);
    op_add_input(&m.op, l->bn[bn].norm);
    op_add_input(&m.op, addition->in[addition->in[0] == op->out[0]]);
    op_add_output(&m.op, op_at(l, at)->out[0]);
    stand_for(&m, add);
    stand_for(&m, bn);
    l->made[at] = l->made[add] = append(l, &m);
}

/* By the convolution or the BN's backward pass that makes an operand: there; by a BN: here, or with the ReLU after it.
 */
static void emit_addition(struct lowering *l, uint32_t logical)
{
    uint32_t partner = l->partner[logical];
    if (partner == NO_OP)
        emit_same(l, logical);
    else if (op_at(l, partner)->kind == OP_BN && !l->rectified[logical])
        emit_bn_addition(l, logical, logical);
}

/* The gradient sums of what a convolution's gradient of data does not sum: by an op where nothing else reads dy. */
static void emit_bn_gradient_sums(struct lowering *l, uint32_t logical)
{
    const struct op *op = op_at(l, logical);
    struct lowered_bn *bn = &l->bn[op->forward];
    if (bn->shutter != NO_OP) return;
    struct making m = begin_part(l, logical, OP_BN_BWD_SUMS);
    bn->gradient_sums = new_table(l, op->forward, ROLE_GRADIENT_SUMS, DTYPE_F64, BN_SUMS_ROWS);
    op_add_input(&m.op, op->in[0]);
    op_add_input(&m.op, op->in[1]);
    op_add_input(&m.op, bn->norm);
    op_add_output(&m.op, bn->gradient_sums);
    append(l, &m);
}

/* dx has no tensor: gradients of convolutions read it through the coefficients, or nobody does. */
static void emit_bn_coefficients(struct lowering *l, uint32_t logical)
{
    const struct op *op = op_at(l, logical);
    struct lowered_bn *bn = &l->bn[op->forward];
    const bool frozen = op->attr.bn.frozen == BN_FROZEN;
    if (!frozen) emit_bn_gradient_sums(l, logical);
    struct making m = begin_part(l, logical, OP_BN_BWD_FINALIZE);
    bn->coefficients = new_table(l, op->forward, ROLE_COEFFICIENTS, DTYPE_F32, BN_COEFFICIENTS_ROWS);
    op_add_input(&m.op, frozen ? bn->norm : bn->gradient_sums);
    op_add_input(&m.op, op->in[2]);
    op_add_input(&m.op, bn->norm);
    op_add_output(&m.op, bn->coefficients);
    for (uint32_t k = 1; k < op->outputs; k++) op_add_output(&m.op, op->out[k]);
    m.op.attr.bn.rows = count_rows(l, op->forward);
    l->made[logical] = append(l, &m);
}

static void emit_bn_backward(struct lowering *l, uint32_t logical)
{
    const struct op *op = op_at(l, logical);
    struct lowered_bn *bn = &l->bn[op->forward];
    if (bn->spread || bn->keeper != NO_OP || l->readers[op->out[0]] == 0) {
        emit_bn_coefficients(l, logical);
        return;
    }
    struct making m = begin_part(l, logical, OP_BN_BWD_APPLY);
    const bool frozen = op->attr.bn.frozen == BN_FROZEN;
    m.op.attr.bn.whole = frozen || bn->shutter == NO_OP;
    m.op.attr.bn.relu = op->attr.bn.relu && bn->shutter == NO_OP;
    m.op.attr.bn.rows = count_rows(l, op->forward);
    op_add_input(&m.op, m.op.attr.bn.relu ? op_at(l, op->forward)->in[0] : op->in[0]);
    op_add_input(&m.op, op->in[1]);
    op_add_input(&m.op, bn->norm);
    if (!m.op.attr.bn.whole) op_add_input(&m.op, bn->gradient_sums);
    op_add_output(&m.op, op->out[0]);
    add_to_gradient(l, &m, l->partner[logical]);
    for (uint32_t k = 1; k < op->outputs; k++) op_add_output(&m.op, op->out[k]);
    if (bn->waiting != NO_OP) {
        op_add_output(&m.op, op_at(l, op->forward)->out[0]);
        stand_for(&m, op->forward);
        bn->late_made = true;
    }
    l->made[logical] = append(l, &m);
    emit_waiting(l, bn->waiting);
    bn->waiting = NO_OP;
}

/* ---- All ---- */

static void emit(struct lowering *l, uint32_t logical)
{
    switch (op_at(l, logical)->kind) {
    case OP_CONV: emit_conv(l, logical); return;
    case OP_CONV_BWD_WEIGHTS: emit_conv_weights(l, logical); return;
    case OP_CONV_BWD_DATA: emit_conv_data(l, logical); return;
    case OP_ACCUMULATE: emit_accumulate(l, logical); return;
    case OP_ADD:
    case OP_ADD_GRADIENT: emit_addition(l, logical); return;
    case OP_RELU:
        if (l->partner[logical] == NO_OP)
            emit_same(l, logical);
        else
            emit_bn_addition(l, logical, l->partner[logical]);
        return;
    case OP_RELU_BWD:
        if (l->shut[logical] == NO_OP) emit_same(l, logical);
        return;
    case OP_BN:
        if (lowers_bn(l))
            emit_bn(l, logical);
        else
            emit_same(l, logical);
        return;
    case OP_BN_BWD:
        if (lowers_bn(l))
            emit_bn_backward(l, logical);
        else
            emit_same(l, logical);
        return;
    default: emit_same(l, logical); return;
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
    emit_copies(l);
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
    make_half_gradients(l);
    emit_forward(l);
    if (lowered->state->failed || !graph_close_blocks(lowered)) return false;
    emit_section(l, logical->forward_end, logical->backward_end);
    emit_widens(l);
    lowered->backward_end = (uint32_t)lowered->op_count;
    emit_section(l, logical->backward_end, logical->comm_end);
    lowered->comm_end = (uint32_t)lowered->op_count;
    emit_section(l, logical->comm_end, (uint32_t)logical->op_count);
    return !lowered->state->failed;
}
