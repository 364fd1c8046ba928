/* The backward pass, derived from the forward ops alone: in reverse order, each op turns the gradient of its output
 * into gradients of its inputs and parameters. */
#include "graph_private.h"

#include "mem.h"

struct derivation {
    struct graph *graph;
    uint32_t *gradient; /* of each forward tensor: the sum so far, NO_TENSOR before the first */
    bool *needed;       /* the tensor depends on a parameter */
    struct bucket_list buckets;
    uint32_t forward; /* the op being turned round */
    struct op op;     /* a copy of it: the graph's array moves as it grows */
    uint32_t dy;      /* the gradient of its first output */
};

static uint32_t new_gradient(struct derivation *d, uint32_t of)
{
    if (of == NO_TENSOR || d->graph->state->failed) return NO_TENSOR;
    struct tensor gradient = d->graph->tensors[of];
    uint32_t layer = d->graph->state->layer;
    d->graph->state->layer = gradient.layer;
    gradient.class = gradient.class == CLASS_WEIGHT ? CLASS_GRADIENT : CLASS_ACTIVATION;
    gradient.persistent = false;
    gradient.gradient = true;
    gradient.of = of;
    uint32_t tensor = graph_new_tensor(d->graph, gradient);
    d->graph->state->layer = layer;
    return tensor;
}

static struct op backward_op(const struct derivation *d, enum op_kind kind)
{
    return (struct op){.kind = kind,
                       .pass = PASS_BACKWARD,
                       .layer = d->op.layer,
                       .block = d->op.block,
                       .forward = d->forward,
                       .attr = d->op.attr};
}

static void emit(struct derivation *d, struct op op)
{
    if (!d->graph->state->failed && bucket_take(d->graph, &d->buckets, &op)) graph_new_op(d->graph, op);
}

/* Adds `gradient` to what is known of x's. */
static void contribute(struct derivation *d, uint32_t x, uint32_t gradient)
{
    if (d->gradient[x] == NO_TENSOR) {
        d->gradient[x] = gradient;
        return;
    }
    struct op op = backward_op(d, OP_ADD_GRADIENT);
    op_add_input(&op, d->gradient[x]);
    op_add_input(&op, gradient);
    op_add_output(&op, new_gradient(d, x));
    d->gradient[x] = op.out[0];
    emit(d, op);
}

/* An op of one output, the gradient of x. */
static void emit_to(struct derivation *d, struct op op, uint32_t x)
{
    uint32_t gradient = new_gradient(d, x);
    op_add_output(&op, gradient);
    emit(d, op);
    contribute(d, x, gradient);
}

/* Weights first: x is then free before its gradient, as large, is made; and its bucket is reduced earlier. */
static void derive_weighted(struct derivation *d, enum op_kind weights, enum op_kind data)
{
    uint32_t x = d->op.in[0];
    struct op op = backward_op(d, weights);
    op_add_input(&op, x);
    op_add_input(&op, d->dy);
    for (uint32_t i = 1; i < d->op.inputs; i++) op_add_output(&op, new_gradient(d, d->op.in[i]));
    emit(d, op);
    if (!d->needed[x]) return;
    op = backward_op(d, data);
    op_add_input(&op, d->dy);
    op_add_input(&op, d->op.in[1]);
    emit_to(d, op, x);
}

static void derive_bn(struct derivation *d)
{
    uint32_t x = d->op.in[0];
    const bool frozen = d->op.attr.bn.frozen != BN_TRAINED, alone = d->op.attr.bn.frozen == BN_FROZEN;
    struct op op = backward_op(d, OP_BN_BWD);
    const uint32_t mean = frozen ? d->op.in[3] : d->op.out[1], variance = frozen ? d->op.in[4] : d->op.out[2];
    const uint32_t in[] = {alone ? d->dy : x, d->dy, d->op.in[1], mean, variance};
    if (alone && !d->needed[x]) return;
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) op_add_input(&op, in[i]);
    if (d->op.attr.bn.relu) op_add_input(&op, d->op.out[d->op.outputs - 1]);
    op_add_output(&op, new_gradient(d, x));
    for (uint32_t i = 1; i < 3 && !alone; i++) op_add_output(&op, new_gradient(d, d->op.in[i]));
    emit(d, op);
    if (d->needed[x]) contribute(d, x, op.out[0]);
}

static void derive_mul(struct derivation *d)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (!d->needed[d->op.in[i]]) continue;
        struct op op = backward_op(d, OP_MUL_BWD);
        op_add_input(&op, d->op.in[1 - i]);
        op_add_input(&op, d->dy);
        emit_to(d, op, d->op.in[i]);
    }
}

static void derive_concat(struct derivation *d)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < d->op.inputs; i++) {
        uint32_t x = d->op.in[i];
        if (d->needed[x]) {
            struct op op = backward_op(d, OP_CONCAT_BWD);
            op.attr.concat.first = first;
            op_add_input(&op, d->dy);
            emit_to(d, op, x);
        }
        first += d->graph->tensors[x].dims[3];
    }
}

static void derive_add(struct derivation *d)
{
    for (uint32_t i = 0; i < 2; i++)
        if (d->needed[d->op.in[i]]) contribute(d, d->op.in[i], d->dy);
}

static void derive_loss(struct derivation *d)
{
    struct op op = backward_op(d, OP_SOFTMAX_LOSS_BWD);
    op_add_input(&op, d->op.out[0]);
    op_add_input(&op, d->op.in[1]);
    if (d->graph->loss_scale != NO_TENSOR) op_add_input(&op, d->graph->loss_scale);
    emit_to(d, op, d->op.in[0]);
}

/* dx from dy, with the output before it or the mask after it. */
static void derive_unary(struct derivation *d, enum op_kind kind, bool reads_output, bool reads_mask)
{
    if (!d->needed[d->op.in[0]]) return;
    struct op op = backward_op(d, kind);
    if (reads_output) op_add_input(&op, d->op.out[0]);
    op_add_input(&op, d->dy);
    if (reads_mask) op_add_input(&op, d->op.out[1]);
    emit_to(d, op, d->op.in[0]);
}

static void derive_op(struct derivation *d)
{
    switch (d->op.kind) {
    case OP_CONV: derive_weighted(d, OP_CONV_BWD_WEIGHTS, OP_CONV_BWD_DATA); break;
    case OP_FC: derive_weighted(d, OP_FC_BWD_WEIGHTS, OP_FC_BWD_DATA); break;
    case OP_BN: derive_bn(d); break;
    case OP_RELU: derive_unary(d, OP_RELU_BWD, true, false); break;
    case OP_SIGMOID: derive_unary(d, OP_SIGMOID_BWD, true, false); break;
    case OP_SCALE: derive_unary(d, OP_SCALE_BWD, false, false); break;
    case OP_DROPOUT: derive_unary(d, OP_DROPOUT_BWD, false, false); break;
    case OP_MAXPOOL: derive_unary(d, OP_MAXPOOL_BWD, false, true); break;
    case OP_AVGPOOL: derive_unary(d, OP_AVGPOOL_BWD, false, false); break;
    case OP_SHORTCUT_PAD: derive_unary(d, OP_SHORTCUT_PAD_BWD, false, false); break;
    case OP_ADD: derive_add(d); break;
    case OP_MUL: derive_mul(d); break;
    case OP_CONCAT: derive_concat(d); break;
    case OP_SOFTMAX_LOSS: derive_loss(d); break;
    default: graph_fail(d->graph, "%s is not a forward op", op_kind_name(d->op.kind)); break;
    }
}

static void mark_needed(struct derivation *d)
{
    const struct graph *graph = d->graph;
    const bool spares_bn = graph->options.freeze_bn == BN_FROZEN;
    for (size_t i = 0; i < graph->parameter_count; i++) {
        const enum tensor_role role = graph->tensors[graph->parameters[i]].role;
        d->needed[graph->parameters[i]] = !spares_bn || (role != ROLE_GAMMA && role != ROLE_BETA);
    }
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        const struct op *op = &graph->ops[i];
        bool needed = false;
        if (op->pass == PASS_EVALUATE) continue; /* frozen */
        for (uint32_t k = 0; k < op->inputs; k++) needed |= d->needed[op->in[k]];
        for (uint32_t k = 0; k < op->outputs; k++) d->needed[op->out[k]] = needed;
    }
}

static void derive_all(struct derivation *d)
{
    for (d->forward = d->graph->forward_end; d->forward-- > 0 && !d->graph->state->failed;) {
        d->op = d->graph->ops[d->forward];
        d->dy = d->gradient[d->op.out[0]];
        bool unreached = d->dy == NO_TENSOR && !d->needed[d->op.out[0]];
        const struct graph_options *o = &d->graph->options;
        if ((o->frozen || o->freeze_bn == BN_FROZEN) && (d->op.pass == PASS_EVALUATE || unreached))
            continue; /* nothing there learns */
        if (d->dy != NO_TENSOR || d->op.kind == OP_SOFTMAX_LOSS) {
            derive_op(d);
        } else {
            graph_fail(d->graph, "%s: the output of a %s does not reach the loss", d->graph->layers[d->op.layer].path,
                       op_kind_name(d->op.kind));
        }
    }
}

bool graph_derive_backward(struct graph *graph)
{
    struct derivation d = {.graph = graph};
    size_t count = graph->tensor_count;
    d.gradient = mem_alloc(MEM_GRAPH, count, sizeof *d.gradient);
    d.needed = mem_zalloc(MEM_GRAPH, count, sizeof *d.needed);
    if (d.gradient && d.needed) {
        for (size_t i = 0; i < count; i++) d.gradient[i] = NO_TENSOR;
        mark_needed(&d);
        derive_all(&d);
        bucket_frozen(graph);
        bucket_finish(graph, &d.buckets);
    } else {
        graph_fail_memory(graph, count * sizeof *d.gradient);
    }
    mem_free(d.gradient);
    mem_free(d.needed);
    bucket_list_finish(&d.buckets);
    return !graph->state->failed;
}
