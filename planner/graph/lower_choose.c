/* Which ops are done by others: read off the logical graph, before any lowered op is made. */
#include "lower_private.h"

#include "mem.h"

static const struct op *op_at(const struct lowering *l, uint32_t op) { return &l->logical->ops[op]; }

static bool note_uses(struct lowering *l)
{
    const struct graph *graph = l->logical;
    for (size_t t = 0; t < graph->tensor_count; t++) l->producer[t] = NO_OP;
    for (uint32_t i = 0; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        l->partner[i] = l->summed[i] = l->made[i] = l->waits[i] = l->shut[i] = l->kept[i] = NO_OP;
        for (uint32_t k = 0; k < op->inputs; k++) l->readers[op->in[k]]++;
        for (uint32_t k = 0; k < op->outputs; k++)
            if (l->producer[op->out[k]] == NO_OP) l->producer[op->out[k]] = i;
        if (i < graph->forward_end) l->bn[i].backward = l->bn[i].shutter = l->bn[i].keeper = l->bn[i].waiting = NO_OP;
        if (op->kind == OP_BN_BWD) l->bn[op->forward].backward = i;
    }
    return true;
}

static uint32_t made_by(const struct lowering *l, uint32_t tensor, enum op_kind kind)
{
    uint32_t producer = l->producer[tensor];
    return producer != NO_OP && op_at(l, producer)->kind == kind ? producer : NO_OP;
}

uint32_t lowering_bn_of(const struct lowering *l, uint32_t tensor)
{
    uint32_t bn = lowers_bn(l) ? made_by(l, tensor, OP_BN) : NO_OP;
    return bn != NO_OP && op_at(l, bn)->out[0] == tensor ? bn : NO_OP;
}

/* ---- Additions ---- */

static void choose_addition(struct lowering *l, uint32_t index)
{
    const struct op *op = op_at(l, index);
    uint32_t first = l->producer[op->in[0]] + 1, second = l->producer[op->in[1]] + 1; /* 0: given from outside */
    uint32_t later = op->in[second > first], conv = made_by(l, later, OP_CONV);
    if (conv == NO_OP || l->readers[later] != 1 || op_at(l, conv)->block != op->block) return;
    l->partner[index] = conv;
    l->partner[conv] = index;
}

/* The ReLU that alone reads this tensor, or NO_OP. */
static uint32_t rectifier_of(const struct lowering *l, uint32_t from, uint32_t tensor)
{
    if (l->readers[tensor] != 1) return NO_OP;
    for (uint32_t i = from; i < l->logical->forward_end; i++)
        if (op_at(l, i)->kind == OP_RELU && op_at(l, i)->in[0] == tensor) return i;
    return NO_OP;
}

/* By a BN: rather the later of two, whose result need not wait for the other. */
static void choose_bn_addition(struct lowering *l, uint32_t index)
{
    const struct op *op = op_at(l, index);
    bool second = l->producer[op->in[1]] + 1 > l->producer[op->in[0]] + 1;
    for (uint32_t k = 0; k < 2 && l->partner[index] == NO_OP; k++) {
        uint32_t y = op->in[second ^ k], bn = lowering_bn_of(l, y);
        if (bn == NO_OP || l->readers[y] != 1 || op_at(l, bn)->attr.bn.relu || op_at(l, bn)->block != op->block)
            continue;
        uint32_t relu = rectifier_of(l, index + 1, op->out[0]);
        l->partner[index] = bn;
        l->partner[bn] = index;
        l->rectified[index] = relu != NO_OP && op_at(l, relu)->block == op->block;
        if (l->rectified[index]) l->partner[relu] = index;
    }
}

/* The convolution that makes this tensor, be it with an addition; or NO_OP. */
static uint32_t maker_of(const struct lowering *l, uint32_t tensor)
{
    uint32_t add = made_by(l, tensor, OP_ADD), maker = add != NO_OP ? l->partner[add] : made_by(l, tensor, OP_CONV);
    return maker != NO_OP && op_at(l, maker)->kind == OP_CONV ? maker : NO_OP;
}

/* ---- Results of BNs ---- */

/* Whether an op of this block finds the BN's x: it is of the BN's own block, or of the next and x crosses in y's place.
 */
static bool finds_x(const struct lowering *l, uint32_t block, uint32_t bn)
{
    const struct op *op = op_at(l, bn);
    uint32_t producer = l->producer[op->in[0]];
    if (block == op->block) return true;
    bool crosses = producer != NO_OP && op_at(l, producer)->block == op->block;
    return !l->bn[bn].applied && crosses && op->block != NO_OP && block == op->block + 1;
}

bool lowering_reads_norm(const struct lowering *l, const struct op *op, uint32_t bn)
{
    if (op->in[0] != op_at(l, bn)->out[0] || !finds_x(l, op->block, bn)) return false;
    if (op->kind == OP_CONV_BWD_WEIGHTS) return (l->bits & LOWER_NORMALIZE_WEIGHTS) != 0;
    return op->kind == OP_CONV && l->bits & LOWER_NORMALIZE && !l->bn[bn].applied;
}

/* An op that reads a BN's result as it is. In the backward pass it may be made then, from x, which moves no more bytes
 * than keeping it would, and none is kept. */
static void need_result(struct lowering *l, const struct op *op, uint32_t bn)
{
    struct lowered_bn *b = &l->bn[bn];
    bool same = !b->late || b->late_block == op->block;
    bool late = op->pass == PASS_BACKWARD && !b->applied && finds_x(l, op->block, bn) && same;
    b->applied |= !late;
    b->late = late;
    b->late_block = op->block;
}

/* A BN's result must exist once one reader cannot do without it: forward ops come first. */
static void choose_results(struct lowering *l)
{
    for (uint32_t i = 0; i < l->logical->op_count; i++) {
        const struct op *op = op_at(l, i);
        for (uint32_t k = 0; k < op->inputs; k++) {
            uint32_t bn = lowering_bn_of(l, op->in[k]);
            bool applies = op->kind == OP_ADD && l->partner[i] == bn;
            if (bn != NO_OP && !applies && !(k == 0 && lowering_reads_norm(l, op, bn))) need_result(l, op, bn);
        }
    }
}

static void choose_sums(struct lowering *l, uint32_t bn)
{
    if (op_at(l, bn)->attr.bn.frozen != BN_TRAINED) return;
    uint32_t conv = l->bits & LOWER_SUMS ? maker_of(l, op_at(l, bn)->in[0]) : NO_OP;
    if (conv != NO_OP && op_at(l, conv)->pass == op_at(l, bn)->pass) l->summed[conv] = bn; /* frozen ones sum nothing */
}

/* ---- Gradients of BNs ---- */

/* The data gradient that makes the whole of dy, for this BN alone. */
static void choose_shutter(struct lowering *l, uint32_t bn)
{
    const union op_attr *attr = &op_at(l, bn)->attr;
    if (l->bn[bn].backward == NO_OP) return;                    /* of a frozen layer */
    if (attr->bn.frozen == BN_FROZEN && !attr->bn.relu) return; /* nothing to sum or to shut */
    uint32_t dy = op_at(l, l->bn[bn].backward)->in[1], data = made_by(l, dy, OP_CONV_BWD_DATA);
    if (!(l->bits & LOWER_GRADIENT_SUMS) || data == NO_OP || l->readers[dy] != 1) return;
    if (!finds_x(l, op_at(l, data)->block, bn)) return;
    l->bn[bn].shutter = data;
    l->summed[data] = bn;
}

/* The sum of dx and what is known of x's gradient before it. */
static void choose_gradient_addition(struct lowering *l, uint32_t index)
{
    const struct op *op = op_at(l, index);
    uint32_t first = l->producer[op->in[0]] + 1, second = l->producer[op->in[1]] + 1;
    uint32_t later = op->in[second > first], back = made_by(l, later, OP_BN_BWD);
    if (back == NO_OP || l->readers[later] != 1 || op_at(l, back)->block != op->block) return;
    if (op_at(l, back)->out[0] != later || first == second) return;
    l->partner[index] = back;
    l->partner[back] = index;
}

/* Where the gradient of a convolution reads that of its result. */
static uint32_t gradient_operand(enum op_kind kind)
{
    return kind == OP_CONV_BWD_WEIGHTS ? 1 : kind == OP_CONV_BWD_DATA ? 0 : OP_MOST_INPUTS;
}

/* Each reads two tensors instead of one: with more than two of them a pass of its own moves no more bytes. */
#define MOST_SPREAD 2

static void choose_spread(struct lowering *l, uint32_t *convolutions)
{
    const struct graph *graph = l->logical;
    for (size_t t = 0; t < graph->tensor_count; t++) convolutions[t] = 0;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++) {
        const struct op *op = op_at(l, i);
        uint32_t operand = gradient_operand(op->kind);
        if (operand == OP_MOST_INPUTS) continue;
        uint32_t back = made_by(l, op->in[operand], OP_BN_BWD);
        convolutions[op->in[operand]] += back != NO_OP && op_at(l, back)->block == op->block;
    }
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        if (op_at(l, i)->kind != OP_BN || l->bn[i].backward == NO_OP) continue;
        uint32_t dx = op_at(l, l->bn[i].backward)->out[0], readers = l->readers[dx];
        l->bn[i].spread =
            l->bits & LOWER_GRADIENT && readers > 0 && readers <= MOST_SPREAD && convolutions[dx] == readers;
    }
}

/* One data gradient and one of weights of the same convolution read dx, both in the BN's block. */
static void choose_keepers(struct lowering *l)
{
    const struct graph *graph = l->logical;
    for (uint32_t i = graph->forward_end; i + 1 < graph->backward_end; i++) {
        const struct op *weights = op_at(l, i), *data = op_at(l, i + 1);
        if (weights->kind != OP_CONV_BWD_WEIGHTS || data->kind != OP_CONV_BWD_DATA) continue;
        uint32_t dx = data->in[0], back = made_by(l, dx, OP_BN_BWD);
        if (back == NO_OP || weights->in[1] != dx || l->readers[dx] != 2 || op_at(l, back)->out[0] != dx) continue;
        struct lowered_bn *bn = &l->bn[op_at(l, back)->forward];
        if (bn->spread || op_at(l, back)->block != data->block) continue;
        bn->keeper = i + 1;
        l->kept[i] = l->kept[i + 1] = op_at(l, back)->forward;
    }
}

/* ---- Gradients of convolutions ---- */

/* The sum of a gradient of data and what is known of x's gradient before it. */
static void choose_data_addition(struct lowering *l, uint32_t index)
{
    const struct op *op = op_at(l, index);
    uint32_t first = l->producer[op->in[0]] + 1, second = l->producer[op->in[1]] + 1;
    uint32_t later = op->in[second > first], data = made_by(l, later, OP_CONV_BWD_DATA);
    if (data == NO_OP || first == second || l->readers[later] != 1 || op_at(l, data)->block != op->block) return;
    l->partner[index] = data;
    l->partner[data] = index;
}

/* The ReLU that made x, going back: it alone reads the gradient, whole. */
static void choose_data_relu(struct lowering *l, uint32_t index)
{
    const struct op *op = op_at(l, index);
    uint32_t add = made_by(l, op->in[1], OP_ADD_GRADIENT);
    uint32_t data = add != NO_OP ? l->partner[add] : made_by(l, op->in[1], OP_CONV_BWD_DATA);
    if (data == NO_OP || op_at(l, data)->kind != OP_CONV_BWD_DATA || l->readers[op->in[1]] != 1) return;
    if (op_at(l, op_at(l, data)->forward)->in[0] != op->in[0] || l->summed[data] != NO_OP) return;
    l->shut[index] = data;
    l->shut[data] = index;
}

uint32_t lowering_spread_of(const struct lowering *l, uint32_t gradient)
{
    uint32_t back = lowers_bn(l) ? made_by(l, gradient, OP_BN_BWD) : NO_OP;
    if (back == NO_OP || op_at(l, back)->out[0] != gradient) return NO_OP;
    return l->bn[op_at(l, back)->forward].spread ? op_at(l, back)->forward : NO_OP;
}

/* ---- All ---- */

bool lowering_choose(struct lowering *l)
{
    const struct graph *graph = l->logical;
    uint32_t *convolutions = mem_alloc(MEM_GRAPH, graph->tensor_count, sizeof *convolutions);
    if (!convolutions) return graph_fail_memory(l->lowered, graph->tensor_count * sizeof *convolutions);
    note_uses(l);
    for (uint32_t i = 0; l->bits & LOWER_ADD && i < graph->forward_end; i++)
        if (op_at(l, i)->kind == OP_ADD) choose_addition(l, i);
    for (uint32_t i = 0; l->bits & LOWER_BN_ADD && i < graph->forward_end; i++)
        if (op_at(l, i)->kind == OP_ADD) choose_bn_addition(l, i);
    if (lowers_bn(l)) {
        choose_results(l);
        for (uint32_t i = 0; i < graph->forward_end; i++) {
            if (op_at(l, i)->kind != OP_BN) continue;
            choose_sums(l, i);
            choose_shutter(l, i);
        }
        choose_spread(l, convolutions);
        for (uint32_t i = graph->forward_end; l->bits & LOWER_ADD && i < graph->backward_end; i++)
            if (op_at(l, i)->kind == OP_ADD_GRADIENT) choose_gradient_addition(l, i);
    }
    if (l->bits & LOWER_GRADIENT_KEEP) choose_keepers(l);
    for (uint32_t i = graph->forward_end; l->bits & LOWER_GRADIENT_ADD && i < graph->backward_end; i++) {
        if (op_at(l, i)->kind == OP_ADD_GRADIENT && l->partner[i] == NO_OP) choose_data_addition(l, i);
        if (op_at(l, i)->kind == OP_RELU_BWD) choose_data_relu(l, i);
    }
    mem_free(convolutions);
    return true;
}
