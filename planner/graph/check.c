/* The whole structure of a finished graph, checked from the outside. */
#include <string.h>

#include "graph_private.h"
#include "lower.h"
#include "mem.h"

struct check {
    const struct graph *graph;
    struct error *err;
    uint32_t *writer; /* of each tensor: NO_OP before it is written */
};

#define FAIL(c, ...) error_set((c)->err, ERROR_FAILED, "graph check: " __VA_ARGS__)

/* In 16 bits what its original is in 32, at the same place of the copied bucket. */
static bool check_copy(const struct check *c, uint32_t index)
{
    const struct graph *graph = c->graph;
    const struct tensor *t = &graph->tensors[index];
    if (t->of == NO_TENSOR || t->dtype != graph->options.dtype || t->dtype == DTYPE_F32 || t->persistent)
        return FAIL(c, "tensor %u: a copy of weights, and of none or not in 16 bits", index);
    const struct tensor *of = &graph->tensors[t->of];
    bool view = t->view_of != NO_TENSOR;
    if (of->class != CLASS_WEIGHT || !of->persistent || memcmp(t->dims, of->dims, sizeof t->dims) != 0 ||
        view != (of->view_of != NO_TENSOR))
        return FAIL(c, "tensor %u: a copy of tensor %u, which is of another shape or kind", index, t->of);
    if (view && (graph->tensors[t->view_of].of != of->view_of || 2 * t->view_offset != of->view_offset))
        return FAIL(c, "tensor %u: not where tensor %u is in its bucket", index, t->of);
    return true;
}

/* A gradient in 16 bits: where its weights are in their bucket. */
static bool check_half(const struct check *c, uint32_t index)
{
    const struct tensor *t = &c->graph->tensors[index], *of = &c->graph->tensors[t->of];
    if (t->view_of == NO_TENSOR || t->dtype != c->graph->options.dtype || 2 * t->view_offset != of->view_offset)
        return FAIL(c, "tensor %u: not where tensor %u is in its bucket", index, t->of);
    return true;
}

static bool check_tensor(const struct check *c, uint32_t index)
{
    const struct graph *graph = c->graph;
    const struct tensor *t = &graph->tensors[index];
    if (t->layer >= graph->layer_count)
        return FAIL(c, "tensor %u: layer %u of %zu", index, t->layer, graph->layer_count);
    if (t->bytes == 0 || t->bytes != dtype_bytes(t->dtype, tensor_elements(t)))
        return FAIL(c, "tensor %u: %llu bytes are not those of its shape", index, (unsigned long long)t->bytes);
    if (t->of != NO_TENSOR && (t->of >= graph->tensor_count || t->of == index))
        return FAIL(c, "tensor %u: belongs to tensor %u of %zu", index, t->of, graph->tensor_count);
    if (t->gradient && t->of == NO_TENSOR) return FAIL(c, "tensor %u: a gradient of nothing", index);
    if (t->gradient && t->role != ROLE_BUCKET && memcmp(t->dims, graph->tensors[t->of].dims, sizeof t->dims) != 0)
        return FAIL(c, "tensor %u: a gradient of another shape than its tensor %u", index, t->of);
    if (t->view_of != NO_TENSOR && t->view_of >= graph->tensor_count)
        return FAIL(c, "tensor %u: views tensor %u", index, t->view_of);
    if (t->role == ROLE_WEIGHT_COPY) TRY(check_copy(c, index));
    if (t->role == ROLE_WEIGHT && t->gradient && t->dtype != DTYPE_F32) TRY(check_half(c, index));
    if (t->view_of == NO_TENSOR) return true;
    const struct tensor *base = &graph->tensors[t->view_of];
    if (base->view_of != NO_TENSOR || base->class != t->class || base->persistent != t->persistent)
        return FAIL(c, "tensor %u: views tensor %u, which is of another kind or a view itself", index, t->view_of);
    if (t->dtype != base->dtype)
        return FAIL(c, "tensor %u: views tensor %u, which is of another type", index, t->view_of);
    if (t->view_offset > base->bytes || t->bytes > base->bytes - t->view_offset)
        return FAIL(c, "tensor %u: bytes %llu to %llu of tensor %u, which has %llu", index,
                    (unsigned long long)t->view_offset, (unsigned long long)(t->view_offset + t->bytes), t->view_of,
                    (unsigned long long)base->bytes);
    return true;
}

/* A value is there when the pass begins (persistent, input), or a view of a bucket, or was written, itself or whole. */
static bool check_read(const struct check *c, uint32_t op, uint32_t tensor)
{
    const struct tensor *t = &c->graph->tensors[tensor];
    bool whole = t->view_of != NO_TENSOR && c->writer[t->view_of] != NO_OP;
    bool there =
        t->persistent || t->class == CLASS_INPUT || t->role == ROLE_BUCKET || c->writer[tensor] != NO_OP || whole;
    return there || FAIL(c, "op %u reads tensor %u before it is written", op, tensor);
}

static bool check_write(const struct check *c, uint32_t op, uint32_t tensor)
{
    const struct tensor *t = &c->graph->tensors[tensor];
    if (t->class == CLASS_INPUT) return FAIL(c, "op %u writes the input %u", op, tensor);
    bool again = t->role == ROLE_BUCKET || t->role == ROLE_METRICS || t->role == ROLE_LOSS_SCALE ||
                 t->role == ROLE_GRADIENT_NORM;
    if (t->persistent && !again) return FAIL(c, "op %u writes the persistent tensor %u", op, tensor);
    if (!again && c->writer[tensor] != NO_OP)
        return FAIL(c, "op %u writes tensor %u, which op %u wrote", op, tensor, c->writer[tensor]);
    c->writer[tensor] = op;
    return true;
}

static bool check_operands(const struct check *c, uint32_t index)
{
    const struct op *op = &c->graph->ops[index];
    const struct op_shape *shape = op_kind_shape(op->kind);
    if (op->inputs < shape->least_inputs || op->inputs > shape->most_inputs || op->outputs < shape->least_outputs ||
        op->outputs > shape->most_outputs)
        return FAIL(c, "op %u, %s: %u inputs and %u outputs", index, shape->name, op->inputs, op->outputs);
    for (uint32_t i = 0; i < op->inputs; i++) {
        if (op->in[i] >= c->graph->tensor_count) return FAIL(c, "op %u: input %u is tensor %u", index, i, op->in[i]);
        TRY(check_read(c, index, op->in[i]));
    }
    for (uint32_t i = 0; i < op->outputs; i++) {
        if (op->out[i] >= c->graph->tensor_count) return FAIL(c, "op %u: output %u is tensor %u", index, i, op->out[i]);
        TRY(check_write(c, index, op->out[i]));
    }
    for (uint32_t i = 0; i < op->inputs; i++)
        if ((op->in_place >> i & 1) &&
            c->graph->tensors[op->in[i]].bytes != c->graph->tensors[op->out[op_in_place_output(op, i)]].bytes)
            return FAIL(c, "op %u: in place over input %u of another size", index, i);
    return op->in_place >> op->inputs == 0 || FAIL(c, "op %u: in place over inputs it does not have", index);
}

static const struct tensor *in(const struct check *c, const struct op *op, uint32_t i)
{
    return &c->graph->tensors[op->in[i]];
}

static const struct tensor *out(const struct check *c, const struct op *op, uint32_t i)
{
    return &c->graph->tensors[op->out[i]];
}

static bool same_dims(const struct tensor *a, const struct tensor *b)
{
    return memcmp(a->dims, b->dims, sizeof a->dims) == 0;
}

static bool is_vector(const struct tensor *t, uint32_t length)
{
    return t->dims[0] == 1 && t->dims[1] == 1 && t->dims[2] == 1 && t->dims[3] == length;
}

/* Weights as they are, or all copied. */
static bool check_weights(const struct check *c, uint32_t index)
{
    const struct op *op = &c->graph->ops[index];
    bool copied = c->graph->options.lowering & LOWER_WEIGHTS && c->graph->options.dtype != DTYPE_F32;
    if (!op_reads_weights(op->kind) || in(c, op, 1)->role == (copied ? ROLE_WEIGHT_COPY : ROLE_WEIGHT)) return true;
    return FAIL(c, "op %u, %s: multiplies by tensor %u; weights %s copied", index, op_kind_name(op->kind), op->in[1],
                copied ? "are" : "are not");
}

static bool convolves(const struct op *op, const struct tensor *x, const struct tensor *w, const struct tensor *y)
{
    for (size_t i = 0; i < 2; i++) {
        uint32_t kernel = op->attr.conv.kernel[i], padded = x->dims[1 + i] + 2 * op->attr.conv.padding[i];
        if (w->dims[1 + i] != kernel || y->dims[1 + i] != (padded - kernel) / op->attr.conv.stride + 1) return false;
    }
    return x->dims[0] == y->dims[0] && w->dims[0] == y->dims[3] && w->dims[3] == x->dims[3];
}

/* The small tensors of a lowered BN. */
static bool is_table(const struct tensor *t, uint32_t rows, uint32_t channels, enum dtype dtype)
{
    return t->dims[0] == 1 && t->dims[1] == 1 && t->dims[2] == rows && t->dims[3] == channels && t->dtype == dtype &&
           t->class == CLASS_STATISTIC;
}

static bool is_sums(const struct tensor *t, uint32_t channels)
{
    return is_table(t, BN_SUMS_ROWS, channels, DTYPE_F64);
}

static bool is_norm(const struct tensor *t, uint32_t channels)
{
    return is_table(t, BN_NORM_ROWS, channels, DTYPE_F32);
}

static bool is_coefficients(const struct tensor *t, uint32_t channels)
{
    return is_table(t, BN_COEFFICIENTS_ROWS, channels, DTYPE_F32);
}

/* dy as a BN's backward pass makes it. */
static bool fuses_gradient(const struct check *c, const struct op *op, const struct conv_operands *o, uint32_t dy)
{
    const struct tensor *gradient = in(c, op, dy);
    if (o->y == NO_OPERAND) return true;
    return same_dims(in(c, op, o->y), gradient) && is_coefficients(in(c, op, o->coefficients), gradient->dims[3]);
}

/* What a lowered convolution reads and writes besides, and nothing more. */
static bool fuses(const struct check *c, const struct op *op)
{
    struct conv_operands o = conv_operands(op);
    const struct tensor *made = out(c, op, 0), *x = op->kind == OP_CONV_BWD_DATA ? made : in(c, op, 0);
    uint32_t channels = made->dims[3], fused = op->attr.conv.fused;
    if (o.inputs != op->inputs || o.outputs != op->outputs) return false;
    if (o.bias != NO_OPERAND && !is_vector(in(c, op, o.bias), channels)) return false;
    if (o.norm != NO_OPERAND && !is_norm(in(c, op, o.norm), x->dims[3])) return false;
    if (op->kind == OP_CONV_BWD_WEIGHTS) return fuses_gradient(c, op, &o, 1);
    if (fused & (CONV_SUMS | CONV_GRADIENT_SUMS) && !is_sums(out(c, op, 1), channels)) return false;
    if (o.kept != NO_OPERAND && (!same_dims(out(c, op, o.kept), in(c, op, 0)) || o.y == NO_OPERAND)) return false;
    if (o.rectified != NO_OPERAND && !same_dims(in(c, op, o.rectified), made)) return false;
    if (o.residual != NO_OPERAND && !same_dims(in(c, op, o.residual), made)) return false;
    if (o.x != NO_OPERAND && !same_dims(in(c, op, o.x), made)) return false;
    return op->kind == OP_CONV || fuses_gradient(c, op, &o, 0);
}

static bool finalizes(const struct check *c, const struct op *op)
{
    uint32_t channels = out(c, op, 0)->dims[3];
    bool given = op->attr.bn.frozen ? op->in[0] == op->in[3] : is_sums(in(c, op, 0), channels);
    bool ok = given && is_norm(out(c, op, 0), channels) && op->attr.bn.rows > 0;
    for (uint32_t i = 1; i < 5; i++) ok = ok && is_vector(in(c, op, i), channels);
    return ok;
}

/* The gradients of gamma and beta, where these are trained. */
static bool writes_parameters(const struct check *c, const struct op *op, uint32_t channels)
{
    if (op->attr.bn.frozen == BN_FROZEN) return op->outputs == 1;
    return op->outputs >= 3 && is_vector(out(c, op, 1), channels) && is_vector(out(c, op, 2), channels);
}

static bool finalizes_back(const struct check *c, const struct op *op)
{
    uint32_t channels = out(c, op, 0)->dims[3];
    bool given = op->attr.bn.frozen == BN_FROZEN ? op->in[0] == op->in[2] : is_sums(in(c, op, 0), channels);
    return given && is_vector(in(c, op, 1), channels) && is_norm(in(c, op, 2), channels) &&
           is_coefficients(out(c, op, 0), channels) && writes_parameters(c, op, channels) && op->attr.bn.rows > 0;
}

static bool sums_back(const struct check *c, const struct op *op)
{
    uint32_t channels = in(c, op, 0)->dims[3];
    return same_dims(in(c, op, 0), in(c, op, 1)) && is_norm(in(c, op, 2), channels) && is_sums(out(c, op, 0), channels);
}

static bool applies(const struct check *c, const struct op *op)
{
    return same_dims(in(c, op, 0), out(c, op, 0)) && is_norm(in(c, op, 1), in(c, op, 0)->dims[3]) &&
           (op->inputs < 3 || same_dims(in(c, op, 0), in(c, op, 2)));
}

static bool applies_back(const struct check *c, const struct op *op)
{
    const struct tensor *x = in(c, op, 0);
    uint32_t channels = x->dims[3], other = bn_other_gradient(op);
    return same_dims(x, out(c, op, 0)) && same_dims(x, in(c, op, 1)) && is_norm(in(c, op, 2), channels) &&
           (op->attr.bn.whole || (op->inputs > 3 && is_sums(in(c, op, 3), channels))) &&
           (other == NO_OPERAND || (other + 1u == op->inputs && same_dims(x, in(c, op, other)))) &&
           writes_parameters(c, op, channels) && op->attr.bn.rows > 0 &&
           (op->outputs <= 3 || (op->attr.bn.whole && same_dims(x, out(c, op, 3))));
}

static bool pools(const struct op *op, const struct tensor *x, const struct tensor *y)
{
    if (x->dims[3] != y->dims[3]) return false;
    if (op->attr.pool.kernel == 0) return x->dims[0] == y->dims[0] && y->dims[1] == 1 && y->dims[2] == 1;
    return x->dims[0] == y->dims[0] && y->dims[1] == pool_outputs(op, x->dims[1]) &&
           y->dims[2] == pool_outputs(op, x->dims[2]);
}

/* Every stride-th pixel. */
static bool skips(const struct op *op, const struct tensor *x, const struct tensor *y)
{
    for (size_t i = 1; i < 3; i++)
        if (y->dims[i] != (x->dims[i] - 1) / op->attr.shortcut.stride + 1) return false;
    return x->dims[0] == y->dims[0];
}

static bool connects(const struct tensor *x, const struct tensor *w, const struct tensor *y)
{
    return x->dims[0] == y->dims[0] && w->dims[0] == y->dims[3] && y->dims[1] == 1 && y->dims[2] == 1 &&
           (uint64_t)w->dims[3] == tensor_elements(x) / x->dims[0];
}

/* Of each group of images, of whole images. */
static bool is_grouped(const struct tensor *t, const struct tensor *x)
{
    const uint32_t groups = bn_groups(t);
    return groups > 0 && x->dims[0] % groups == 0 && is_table(t, groups, x->dims[3], DTYPE_F32);
}

static bool normalises(const struct check *c, const struct op *op)
{
    uint32_t channels = in(c, op, 0)->dims[3];
    uint32_t statistics = op->attr.bn.frozen ? 0 : 2;
    bool ok = same_dims(in(c, op, 0), out(c, op, 0)) && op->outputs == 1 + statistics + op->attr.bn.relu;
    for (uint32_t i = 1; i < 5; i++) ok = ok && is_vector(in(c, op, i), channels);
    if (statistics == 0) return ok;
    return ok && is_grouped(out(c, op, 1), in(c, op, 0)) && same_dims(out(c, op, 1), out(c, op, 2));
}

static bool normalises_back(const struct check *c, const struct op *op)
{
    uint32_t channels = in(c, op, 0)->dims[3];
    bool ok = same_dims(in(c, op, 0), out(c, op, 0)) && same_dims(in(c, op, 0), in(c, op, 1));
    ok = ok && is_vector(in(c, op, 2), channels) && is_grouped(in(c, op, 3), in(c, op, 0)) &&
         same_dims(in(c, op, 3), in(c, op, 4));
    return ok && writes_parameters(c, op, channels) && (op->inputs == 6) == op->attr.bn.relu;
}

static bool concatenates(const struct check *c, const struct op *op)
{
    uint32_t channels = 0;
    for (uint32_t i = 0; i < op->inputs; i++) {
        if (memcmp(in(c, op, i)->dims, out(c, op, 0)->dims, 3 * sizeof(uint32_t)) != 0) return false;
        channels += in(c, op, i)->dims[3];
    }
    return channels == out(c, op, 0)->dims[3];
}

static bool elementwise(const struct check *c, const struct op *op)
{
    for (uint32_t i = 0; i < op->inputs; i++)
        if (!same_dims(in(c, op, i), out(c, op, 0))) return false;
    return true;
}

static bool is_loss_scale(const struct tensor *t)
{
    return t->role == ROLE_LOSS_SCALE && t->dtype == DTYPE_F32 && t->persistent &&
           t->bytes == sizeof(struct loss_scale);
}

/* The images that all others read. */
static bool places(const struct check *c, const struct op *op)
{
    const struct tensor *pixels = in(c, op, 0), *placements = in(c, op, 1);
    return op->in[0] == c->graph->pixels && op->in[1] == c->graph->placements && op->out[0] == c->graph->images &&
           same_dims(pixels, out(c, op, 0)) && pixels->dtype == DTYPE_U8 && placements->dtype == DTYPE_I32 &&
           placements->dims[0] == pixels->dims[0] && placements->dims[1] == 1 && placements->dims[2] == 1 &&
           placements->dims[3] == INPUT_PLACEMENT;
}

static bool copies(const struct check *c, const struct op *op)
{
    return in(c, op, 0)->role == ROLE_BUCKET && out(c, op, 0)->role == ROLE_WEIGHT_COPY &&
           out(c, op, 0)->of == op->in[0];
}

/* What a 16-bit bucket holds goes to the one it is of. */
static bool widens(const struct check *c, const struct op *op)
{
    const struct tensor *half = in(c, op, 0);
    return half->role == ROLE_BUCKET && half->gradient && half->dtype == c->graph->options.dtype &&
           half->of == op->out[0] && same_dims(half, out(c, op, 0)) && out(c, op, 0)->dtype == DTYPE_F32 &&
           (op->inputs == 1 || op->in[1] == op->out[0]);
}

/* Added up as it is, or as it is in 16 bits. */
static bool reduces(const struct check *c, const struct op *op)
{
    enum dtype dtype = c->graph->options.reduce_dtype;
    const struct tensor *bucket = in(c, op, 0), *message = out(c, op, op->outputs - 1);
    if (op->in[0] != op->out[0] || message->apart != c->graph->options.reduce_apart) return false;
    if (dtype == DTYPE_F32) return op->outputs == 1;
    return op->outputs == 2 && message->class == CLASS_COMM && message->role == ROLE_BUCKET && message->gradient &&
           message->dtype == dtype && message->of == op->out[0] && same_dims(message, bucket);
}

/* Where there is a loss scale, its every reader has it. */
static bool scales(const struct check *c, const struct op *op, uint32_t operand)
{
    bool scaled = c->graph->loss_scale != NO_TENSOR;
    return op->inputs == operand + scaled && (!scaled || is_loss_scale(in(c, op, operand)));
}

static bool checks(const struct check *c, const struct op *op)
{
    return in(c, op, 0)->class == CLASS_GRADIENT && is_loss_scale(in(c, op, 1)) && op->out[0] == op->in[1];
}

static bool is_gradient_norm(const struct check *c, const struct op *op, uint32_t operand)
{
    const struct tensor *t = in(c, op, operand);
    return op->in[operand] == c->graph->gradient_norm && t->role == ROLE_GRADIENT_NORM && t->persistent &&
           t->bytes == sizeof(struct gradient_norm);
}

static bool measures(const struct check *c, const struct op *op)
{
    return in(c, op, 0)->class == CLASS_GRADIENT && is_gradient_norm(c, op, 1) && op->out[0] == op->in[1];
}

static bool updates(const struct check *c, const struct op *op)
{
    struct update_operands o = update_operands(op);
    bool scaled = c->graph->loss_scale != NO_TENSOR, clips = c->graph->gradient_norm != NO_TENSOR;
    if (o.states != optimizer_buffers(c->graph->options.update.optimizer) || op->out[0] != op->in[0]) return false;
    for (uint32_t i = 0; i < 2u + o.states; i++)
        if (!same_dims(in(c, op, i), out(c, op, 0))) return false;
    for (uint32_t i = 0; i < o.states; i++)
        if (in(c, op, o.state[i])->of != op->in[0] || op->out[1 + i] != op->in[o.state[i]]) return false;
    return (o.scale != NO_OPERAND) == scaled && (o.norm != NO_OPERAND) == clips &&
           op->inputs == 2u + o.states + scaled + clips && (!scaled || is_loss_scale(in(c, op, o.scale))) &&
           (!clips || is_gradient_norm(c, op, o.norm));
}

static bool averages(const struct check *c, const struct op *op)
{
    return in(c, op, 1)->class == CLASS_OPTIMIZER && in(c, op, 1)->of == op->in[0] && op->out[0] == op->in[1] &&
           same_dims(in(c, op, 0), in(c, op, 1)) && scales(c, op, 2);
}

/* The shapes of an op's operands against its kind. */
static bool shapes_agree(const struct check *c, const struct op *op)
{
    switch (op->kind) {
    case OP_CONV: return convolves(op, in(c, op, 0), in(c, op, 1), out(c, op, 0)) && fuses(c, op);
    case OP_CONV_BWD_DATA: return convolves(op, out(c, op, 0), in(c, op, 1), in(c, op, 0)) && fuses(c, op);
    case OP_CONV_BWD_WEIGHTS: return convolves(op, in(c, op, 0), out(c, op, 0), in(c, op, 1)) && fuses(c, op);
    case OP_BN_SUMS: return is_sums(out(c, op, 0), in(c, op, 0)->dims[3]);
    case OP_BN_FINALIZE: return finalizes(c, op);
    case OP_BN_APPLY: return applies(c, op);
    case OP_BN_BWD_SUMS: return sums_back(c, op);
    case OP_BN_BWD_FINALIZE: return finalizes_back(c, op);
    case OP_BN_BWD_APPLY: return applies_back(c, op);
    case OP_BN: return normalises(c, op);
    case OP_BN_BWD: return normalises_back(c, op);
    case OP_MAXPOOL: return pools(op, in(c, op, 0), out(c, op, 0)) && same_dims(out(c, op, 0), out(c, op, 1));
    case OP_MAXPOOL_BWD: return pools(op, out(c, op, 0), in(c, op, 0)) && same_dims(in(c, op, 0), in(c, op, 1));
    case OP_AVGPOOL: return pools(op, in(c, op, 0), out(c, op, 0));
    case OP_AVGPOOL_BWD: return pools(op, out(c, op, 0), in(c, op, 0));
    case OP_SHORTCUT_PAD: return skips(op, in(c, op, 0), out(c, op, 0));
    case OP_SHORTCUT_PAD_BWD: return skips(op, out(c, op, 0), in(c, op, 0));
    case OP_FC: return connects(in(c, op, 0), in(c, op, 1), out(c, op, 0));
    case OP_FC_BWD_DATA: return connects(out(c, op, 0), in(c, op, 1), in(c, op, 0));
    case OP_FC_BWD_WEIGHTS: return connects(in(c, op, 0), out(c, op, 0), in(c, op, 1));
    case OP_SOFTMAX_LOSS: return same_dims(in(c, op, 0), out(c, op, 0)) && is_vector(out(c, op, 1), 4);
    case OP_SOFTMAX_LOSS_BWD: return same_dims(in(c, op, 0), out(c, op, 0)) && scales(c, op, 2);
    case OP_ALL_REDUCE: return reduces(c, op);
    case OP_UPDATE: return updates(c, op);
    case OP_WEIGHTS_AVERAGE: return averages(c, op);
    case OP_GRADIENT_NORM: return measures(c, op);
    case OP_GRADIENT_CHECK: return checks(c, op);
    case OP_LOSS_SCALE_UPDATE: return is_loss_scale(in(c, op, 0)) && op->out[0] == op->in[0];
    case OP_WEIGHTS_COPY: return copies(c, op);
    case OP_GRADIENTS_WIDEN: return widens(c, op);
    case OP_INPUT: return places(c, op);
    case OP_CONCAT: return concatenates(c, op);
    case OP_CONCAT_BWD: return op->attr.concat.first + out(c, op, 0)->dims[3] <= in(c, op, 0)->dims[3];
    default: return elementwise(c, op);
    }
}

static bool check_section(const struct check *c, uint32_t index)
{
    const struct graph *graph = c->graph;
    const struct op *op = &graph->ops[index];
    bool before_blocks = graph->options.frozen && graph->block_count > 0 && index < graph->blocks[0].first;
    bool frozen = before_blocks && !op_stands_alone(op->kind);
    enum op_pass expected = frozen                        ? PASS_EVALUATE
                            : index < graph->forward_end  ? PASS_FORWARD
                            : index < graph->backward_end ? PASS_BACKWARD
                            : index < graph->comm_end     ? PASS_COMM
                                                          : PASS_UPDATE;
    if (op->pass != expected)
        return FAIL(c, "op %u: pass %s among %s", index, op_pass_name(op->pass), op_pass_name(expected));
    if (op->layer >= graph->layer_count) return FAIL(c, "op %u: layer %u", index, op->layer);
    if (op->block != NO_OP && op->block >= graph->block_count) return FAIL(c, "op %u: block %u", index, op->block);
    if ((uint64_t)op->stands_first + op->stands_count > graph->stands_count ||
        (graph->stands && !op->stands_count && !op_stands_alone(op->kind)))
        return FAIL(c, "op %u: stands for logical ops %u to %u of %zu", index, op->stands_first,
                    op->stands_first + op->stands_count, graph->stands_count);
    if (op->forward != NO_OP && (op->forward >= graph->forward_end || expected != PASS_BACKWARD))
        return FAIL(c, "op %u: derives from op %u", index, op->forward);
    return true;
}

static bool check_blocks(const struct check *c)
{
    const struct graph *graph = c->graph;
    for (size_t i = 0; i < graph->block_count; i++) {
        const struct graph_block *block = &graph->blocks[i];
        uint32_t before = i ? graph->blocks[i - 1].last : block->first;
        if (block->first != before || block->last <= block->first || block->last > graph->forward_end)
            return FAIL(c, "block %zu: ops %u to %u after %u", i, block->first, block->last, before);
        if (block->input != (i ? graph->blocks[i - 1].output : NO_TENSOR))
            return FAIL(c, "block %zu: its input is not what the block before gives", i);
        if (block->output >= graph->tensor_count) return FAIL(c, "block %zu: output %u", i, block->output);
        for (uint32_t k = block->first; k < block->last; k++)
            if (graph->ops[k].block != i) return FAIL(c, "op %u: in block %u, expected %zu", k, graph->ops[k].block, i);
    }
    if (graph->block_count && graph->blocks[graph->block_count - 1].last != graph->forward_end)
        return FAIL(c, "the last block ends before the forward pass does");
    return true;
}

/* Images are given, or pixels and placements are, of which one op makes them. */
static bool check_input(const struct check *c)
{
    const struct graph *graph = c->graph;
    bool made = graph->pixels != NO_TENSOR, given = graph->tensors[graph->images].class == CLASS_INPUT;
    if (made == given || made != (graph->placements != NO_TENSOR))
        return FAIL(c, "images %s given, and pixels %s", given ? "are" : "are not", made ? "too" : "neither");
    if (!made) return true;
    if (graph->pixels >= graph->tensor_count || graph->placements >= graph->tensor_count)
        return FAIL(c, "pixels are tensor %u and placements %u of %zu", graph->pixels, graph->placements,
                    graph->tensor_count);
    return true;
}

static bool check_all(const struct check *c)
{
    const struct graph *graph = c->graph;
    if (graph->forward_end > graph->backward_end || graph->backward_end > graph->comm_end ||
        graph->comm_end > graph->op_count)
        return FAIL(c, "passes end at %u, %u, %u of %zu ops", graph->forward_end, graph->backward_end, graph->comm_end,
                    graph->op_count);
    TRY(check_input(c));
    for (uint32_t i = 0; i < graph->tensor_count; i++) TRY(check_tensor(c, i));
    for (uint32_t i = 0; i < graph->op_count; i++) {
        TRY(check_section(c, i));
        TRY(check_operands(c, i) && check_weights(c, i));
        if (!shapes_agree(c, &graph->ops[i]))
            return FAIL(c, "op %u, %s of %s: its operands' shapes do not agree", i, op_kind_name(graph->ops[i].kind),
                        graph->layers[graph->ops[i].layer].path);
    }
    return check_blocks(c);
}

bool graph_check(const struct graph *graph, struct error *err)
{
    uint32_t *writer = mem_alloc(MEM_GRAPH, graph->tensor_count, sizeof *writer);
    if (!writer) return error_memory(err, graph->tensor_count * sizeof *writer, mem_purpose_name(MEM_GRAPH));
    for (size_t i = 0; i < graph->tensor_count; i++) writer[i] = NO_OP;
    bool ok = check_all(&(struct check){graph, err, writer});
    mem_free(writer);
    return ok;
}
