/* Adding forward ops: shapes are worked out and checked here, so that a finished graph is consistent. */
#include "build.h"
#include "graph_private.h"

static const struct tensor *at(const struct graph *graph, uint32_t tensor) { return &graph->tensors[tensor]; }

/* Whether `x` can be read by a new forward op; after an earlier failure it cannot. */
static bool readable(struct graph *graph, uint32_t x)
{
    if (graph->state->failed) return false;
    if (x >= graph->tensor_count) return graph_fail(graph, "an op reads tensor %u of %zu", x, graph->tensor_count);
    if (graph->metrics != NO_TENSOR)
        return graph_fail(graph, "%s: an op is added after the loss", graph->layers[graph->state->layer].path);
    return true;
}

static uint32_t new_activation(struct graph *graph, const uint32_t dims[4])
{
    return graph_new_tensor(graph, (struct tensor){.class = CLASS_ACTIVATION,
                                                   .role = ROLE_OUTPUT,
                                                   .dtype = graph->options.dtype,
                                                   .dims = {dims[0], dims[1], dims[2], dims[3]},
                                                   .of = NO_TENSOR,
                                                   .view_of = NO_TENSOR});
}

static uint32_t new_mask(struct graph *graph, enum dtype dtype, const uint32_t dims[4])
{
    return graph_new_tensor(graph, (struct tensor){.class = CLASS_ACTIVATION,
                                                   .role = ROLE_MASK,
                                                   .dtype = dtype,
                                                   .dims = {dims[0], dims[1], dims[2], dims[3]},
                                                   .of = NO_TENSOR,
                                                   .view_of = NO_TENSOR});
}

static uint32_t new_parameter(struct graph *graph, enum tensor_role role, uint32_t n, uint32_t rows, uint32_t columns,
                              uint32_t c)
{
    uint32_t tensor = graph_new_tensor(graph, (struct tensor){.class = CLASS_WEIGHT,
                                                              .role = role,
                                                              .dtype = DTYPE_F32,
                                                              .dims = {n, rows, columns, c},
                                                              .persistent = true,
                                                              .of = NO_TENSOR,
                                                              .view_of = NO_TENSOR});
    return tensor != NO_TENSOR && graph_new_parameter(graph, tensor) ? tensor : NO_TENSOR;
}

/* `rows` of it: of a BN one for each group of images. */
static uint32_t new_statistic(struct graph *graph, enum tensor_role role, uint32_t rows, uint32_t channels,
                              bool persistent)
{
    return graph_new_tensor(graph, (struct tensor){.class = CLASS_STATISTIC,
                                                   .role = role,
                                                   .dtype = DTYPE_F32,
                                                   .dims = {1, 1, rows, channels},
                                                   .persistent = persistent,
                                                   .of = NO_TENSOR,
                                                   .view_of = NO_TENSOR});
}

static struct op forward_op(enum op_kind kind)
{
    return (struct op){.kind = kind, .pass = PASS_FORWARD, .forward = NO_OP};
}

/* Appends the op; its first output, or NO_TENSOR. */
static uint32_t append(struct graph *graph, struct op op)
{
    return !graph->state->failed && graph_new_op(graph, op) != NO_OP ? op.out[0] : NO_TENSOR;
}

static uint32_t append_unary(struct graph *graph, struct op op, uint32_t x, const uint32_t dims[4])
{
    op_add_input(&op, x);
    op_add_output(&op, new_activation(graph, dims));
    return append(graph, op);
}

static bool slide(struct graph *graph, const struct tensor *x, const struct conv_window *w, uint32_t channels,
                  uint32_t dims[4])
{
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t side = (uint64_t)x->dims[1 + i] + 2 * (uint64_t)w->padding[i];
        if (w->kernel[i] == 0 || w->stride == 0 || channels == 0 || w->kernel[i] > side)
            return graph_fail(graph,
                              "%s: a %u x %u window with stride %u and padding %u x %u does not fit %u x %u pixels",
                              graph->layers[graph->state->layer].path, w->kernel[0], w->kernel[1], w->stride,
                              w->padding[0], w->padding[1], x->dims[1], x->dims[2]);
        dims[1 + i] = (uint32_t)((side - w->kernel[i]) / w->stride + 1);
    }
    dims[0] = x->dims[0];
    dims[3] = channels;
    return true;
}

static struct conv_window square(uint32_t kernel, uint32_t stride, uint32_t padding)
{
    return (struct conv_window){{kernel, kernel}, {padding, padding}, stride};
}

uint32_t graph_add_conv(struct graph *graph, uint32_t x, uint32_t channels, uint32_t kernel, uint32_t stride, bool bias)
{
    return graph_add_conv_window(graph, x, channels, square(kernel, stride, kernel / 2), bias);
}

uint32_t graph_add_conv_window(struct graph *graph, uint32_t x, uint32_t channels, struct conv_window w, bool bias)
{
    uint32_t dims[4];
    if (!readable(graph, x) || !slide(graph, at(graph, x), &w, channels, dims)) return NO_TENSOR;
    struct op op = forward_op(OP_CONV);
    op.attr.conv.stride = w.stride;
    for (uint32_t i = 0; i < 2; i++) op.attr.conv.kernel[i] = w.kernel[i], op.attr.conv.padding[i] = w.padding[i];
    op_add_input(&op, x);
    op_add_input(&op, new_parameter(graph, ROLE_WEIGHT, channels, w.kernel[0], w.kernel[1], at(graph, x)->dims[3]));
    if (bias) op_add_input(&op, new_parameter(graph, ROLE_BIAS, 1, 1, 1, channels));
    op_add_output(&op, new_activation(graph, dims));
    return append(graph, op);
}

void graph_set_bn_epsilon(struct graph *graph, float epsilon) { graph->state->bn_epsilon = epsilon; }

uint32_t graph_add_bn(struct graph *graph, uint32_t x, bool relu)
{
    if (!readable(graph, x)) return NO_TENSOR;
    uint32_t dims[4] = {at(graph, x)->dims[0], at(graph, x)->dims[1], at(graph, x)->dims[2], at(graph, x)->dims[3]};
    struct op op = forward_op(OP_BN);
    op.attr.bn.epsilon = graph->state->bn_epsilon;
    op.attr.bn.relu = relu;
    op.attr.bn.sync = graph->options.sync_bn;
    op.attr.bn.frozen = (uint8_t)graph->options.freeze_bn;
    op_add_input(&op, x);
    op_add_input(&op, new_parameter(graph, ROLE_GAMMA, 1, 1, 1, dims[3]));
    op_add_input(&op, new_parameter(graph, ROLE_BETA, 1, 1, 1, dims[3]));
    op_add_input(&op, new_statistic(graph, ROLE_RUNNING_MEAN, 1, dims[3], true));
    op_add_input(&op, new_statistic(graph, ROLE_RUNNING_VARIANCE, 1, dims[3], true));
    op_add_output(&op, new_activation(graph, dims));
    if (op.attr.bn.frozen == BN_TRAINED) {
        const uint32_t group = graph->options.bn_group, groups = group ? dims[0] / group : 1;
        op_add_output(&op, new_statistic(graph, ROLE_MEAN, groups, dims[3], false));
        op_add_output(&op, new_statistic(graph, ROLE_VARIANCE, groups, dims[3], false));
    }
    if (relu) op_add_output(&op, new_mask(graph, DTYPE_BIT, dims));
    return append(graph, op);
}

static uint32_t add_same_shape(struct graph *graph, struct op op, uint32_t x)
{
    if (!readable(graph, x)) return NO_TENSOR;
    uint32_t dims[4] = {at(graph, x)->dims[0], at(graph, x)->dims[1], at(graph, x)->dims[2], at(graph, x)->dims[3]};
    return append_unary(graph, op, x, dims);
}

uint32_t graph_add_relu(struct graph *graph, uint32_t x) { return add_same_shape(graph, forward_op(OP_RELU), x); }

uint32_t graph_add_sigmoid(struct graph *graph, uint32_t x) { return add_same_shape(graph, forward_op(OP_SIGMOID), x); }

uint32_t graph_add_scale(struct graph *graph, uint32_t x, float alpha, float beta)
{
    struct op op = forward_op(OP_SCALE);
    op.attr.scale.alpha = alpha;
    op.attr.scale.beta = beta;
    return add_same_shape(graph, op, x);
}

uint32_t graph_add_dropout(struct graph *graph, uint32_t x, float drop)
{
    if (!(drop >= 0 && drop < 1)) {
        graph_fail(graph, "dropout: found %g, expected a part of at least 0 and less than 1", (double)drop);
        return NO_TENSOR;
    }
    struct op op = forward_op(OP_DROPOUT);
    op.attr.dropout.drop = drop;
    return add_same_shape(graph, op, x);
}

static uint32_t add_binary(struct graph *graph, enum op_kind kind, uint32_t a, uint32_t b)
{
    if (!readable(graph, a) || !readable(graph, b)) return NO_TENSOR;
    const uint32_t *d = at(graph, a)->dims, *e = at(graph, b)->dims;
    if (d[0] != e[0] || d[1] != e[1] || d[2] != e[2] || d[3] != e[3]) {
        graph_fail(graph, "%s: %s of %u x %u x %u x %u and %u x %u x %u x %u, expected equal shapes",
                   graph->layers[graph->state->layer].path, op_kind_name(kind), d[0], d[1], d[2], d[3], e[0], e[1],
                   e[2], e[3]);
        return NO_TENSOR;
    }
    struct op op = forward_op(kind);
    uint32_t dims[4] = {d[0], d[1], d[2], d[3]};
    op_add_input(&op, a);
    op_add_input(&op, b);
    op_add_output(&op, new_activation(graph, dims));
    return append(graph, op);
}

uint32_t graph_add_add(struct graph *graph, uint32_t a, uint32_t b) { return add_binary(graph, OP_ADD, a, b); }

uint32_t graph_add_mul(struct graph *graph, uint32_t a, uint32_t b) { return add_binary(graph, OP_MUL, a, b); }

static struct op pool_op(enum op_kind kind, uint32_t kernel, uint32_t stride, uint32_t padding)
{
    struct op op = forward_op(kind);
    op.attr.pool.kernel = kernel;
    op.attr.pool.stride = stride;
    op.attr.pool.padding = padding;
    return op;
}

/* A window must never lie in the padding alone. */
static bool pool_dims(struct graph *graph, uint32_t x, const struct op *op, uint32_t dims[4])
{
    uint32_t kernel = op->attr.pool.kernel, stride = op->attr.pool.stride, padding = op->attr.pool.padding;
    if (!readable(graph, x)) return false;
    if (kernel != 0 && padding >= kernel)
        return graph_fail(graph, "%s: padding %u of a pool with a %u x %u window, expected less",
                          graph->layers[graph->state->layer].path, padding, kernel, kernel);
    /* What is cut may be larger than the image. */
    const struct conv_window window = square(op->attr.pool.ceil && kernel > 0 ? 1 : kernel, stride, padding);
    TRY(slide(graph, at(graph, x), &window, at(graph, x)->dims[3], dims));
    for (uint32_t i = 1; i < 3; i++) dims[i] = pool_outputs(op, at(graph, x)->dims[i]);
    return true;
}

static uint32_t add_maxpool(struct graph *graph, uint32_t x, struct op op)
{
    uint32_t dims[4], kernel = op.attr.pool.kernel;
    if (!pool_dims(graph, x, &op, dims)) return NO_TENSOR;
    if (kernel > 16) { /* the index of the maximum in its window is a byte */
        graph_fail(graph, "maxpool: found a window of %u x %u, expected at most 16 x 16", kernel, kernel);
        return NO_TENSOR;
    }
    op_add_input(&op, x);
    op_add_output(&op, new_activation(graph, dims));
    op_add_output(&op, new_mask(graph, DTYPE_U8, dims));
    return append(graph, op);
}

uint32_t graph_add_maxpool(struct graph *graph, uint32_t x, uint32_t kernel, uint32_t stride, uint32_t padding)
{
    return add_maxpool(graph, x, pool_op(OP_MAXPOOL, kernel, stride, padding));
}

uint32_t graph_add_maxpool_ceil(struct graph *graph, uint32_t x, uint32_t kernel, uint32_t stride, uint32_t padding)
{
    struct op op = pool_op(OP_MAXPOOL, kernel, stride, padding);
    op.attr.pool.ceil = true;
    return add_maxpool(graph, x, op);
}

uint32_t graph_add_avgpool(struct graph *graph, uint32_t x, uint32_t kernel, uint32_t stride, uint32_t padding)
{
    const struct op op = pool_op(OP_AVGPOOL, kernel, stride, padding);
    uint32_t dims[4];
    if (kernel == 0) {
        if (!readable(graph, x)) return NO_TENSOR;
        dims[0] = at(graph, x)->dims[0];
        dims[1] = dims[2] = 1;
        dims[3] = at(graph, x)->dims[3];
    } else if (!pool_dims(graph, x, &op, dims)) {
        return NO_TENSOR;
    }
    return append_unary(graph, op, x, dims);
}

uint32_t graph_add_shortcut_pad(struct graph *graph, uint32_t x, uint32_t channels, uint32_t stride)
{
    uint32_t dims[4];
    if (!readable(graph, x) ||
        !slide(graph, at(graph, x), &(struct conv_window){{1, 1}, {0, 0}, stride}, channels, dims))
        return NO_TENSOR;
    if (channels < at(graph, x)->dims[3]) {
        graph_fail(graph, "%s: a zero-padding shortcut from %u to %u channels, expected no fewer",
                   graph->layers[graph->state->layer].path, at(graph, x)->dims[3], channels);
        return NO_TENSOR;
    }
    struct op op = forward_op(OP_SHORTCUT_PAD);
    op.attr.shortcut.stride = stride;
    return append_unary(graph, op, x, dims);
}

uint32_t graph_add_concat(struct graph *graph, const uint32_t *x, uint32_t count)
{
    if (count < 2 || count > OP_MOST_INPUTS) {
        graph_fail(graph, "concat: found %u inputs, expected 2 to %d", count, OP_MOST_INPUTS);
        return NO_TENSOR;
    }
    struct op op = forward_op(OP_CONCAT);
    uint32_t dims[4] = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (!readable(graph, x[i])) return NO_TENSOR;
        const uint32_t *d = at(graph, x[i])->dims, channels = dims[3];
        if (i > 0 && (d[0] != dims[0] || d[1] != dims[1] || d[2] != dims[2])) {
            graph_fail(graph, "%s: concat of %u x %u x %u and %u x %u x %u pixels, expected equal ones",
                       graph->layers[graph->state->layer].path, dims[0], dims[1], dims[2], d[0], d[1], d[2]);
            return NO_TENSOR;
        }
        for (size_t k = 0; k < 4; k++) dims[k] = d[k];
        dims[3] += channels;
        op_add_input(&op, x[i]);
    }
    op_add_output(&op, new_activation(graph, dims));
    return append(graph, op);
}

uint32_t graph_add_fc(struct graph *graph, uint32_t x, uint32_t features)
{
    if (!readable(graph, x)) return NO_TENSOR;
    const uint32_t *d = at(graph, x)->dims;
    uint64_t entering = (uint64_t)d[1] * d[2] * d[3];
    if (features == 0 || entering > UINT32_MAX) {
        graph_fail(graph, "%s: a fully connected layer from %llu to %u features",
                   graph->layers[graph->state->layer].path, (unsigned long long)entering, features);
        return NO_TENSOR;
    }
    uint32_t dims[4] = {d[0], 1, 1, features};
    struct op op = forward_op(OP_FC);
    op_add_input(&op, x);
    op_add_input(&op, new_parameter(graph, ROLE_WEIGHT, features, 1, 1, (uint32_t)entering));
    op_add_input(&op, new_parameter(graph, ROLE_BIAS, 1, 1, 1, features));
    op_add_output(&op, new_activation(graph, dims));
    return append(graph, op);
}

void graph_add_softmax_loss(struct graph *graph, uint32_t logits)
{
    if (!readable(graph, logits)) return;
    const uint32_t *d = at(graph, logits)->dims;
    if (d[1] != 1 || d[2] != 1) {
        graph_fail(graph, "the loss reads %u x %u pixels, expected 1 x 1", d[1], d[2]);
        return;
    }
    struct op op = forward_op(OP_SOFTMAX_LOSS);
    op.attr.loss.images = graph->options.step_images;
    struct tensor probabilities = *at(graph, logits);
    probabilities.dtype = DTYPE_F32;
    op_add_input(&op, logits);
    op_add_input(&op, graph->labels);
    op_add_output(&op, graph_new_tensor(graph, probabilities));
    op_add_output(&op, new_statistic(graph, ROLE_METRICS, 1, 4, true));
    if (append(graph, op) == NO_TENSOR) return;
    graph->metrics = op.out[1];
    if (graph->options.dtype == DTYPE_F16)
        graph->loss_scale = new_statistic(graph, ROLE_LOSS_SCALE, 1, sizeof(struct loss_scale) / sizeof(float), true);
    if (graph->options.update.clips)
        graph->gradient_norm =
            new_statistic(graph, ROLE_GRADIENT_NORM, 1, sizeof(struct gradient_norm) / sizeof(float), true);
}

void graph_add_classifier(struct graph *graph, uint32_t stage, uint32_t x)
{
    graph_set_layer(graph, stage, "head/pool");
    x = graph_add_avgpool(graph, x, 0, 1, 0);
    graph_set_layer(graph, stage, "head/fc");
    x = graph_add_fc(graph, x, graph->spec.classes);
    graph_set_layer(graph, stage, "head/loss");
    graph_add_softmax_loss(graph, x);
}
