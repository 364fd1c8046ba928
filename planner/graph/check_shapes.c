/* What each kind of op asks of its operands' shapes, types and roles. */
#include <string.h>

#include "graph_private.h"
#include "lower.h"

static const struct tensor *in(const struct graph *graph, const struct op *op, uint32_t i)
{
    return &graph->tensors[op->in[i]];
}

static const struct tensor *out(const struct graph *graph, const struct op *op, uint32_t i)
{
    return &graph->tensors[op->out[i]];
}

static bool same_dims(const struct tensor *a, const struct tensor *b)
{
    return memcmp(a->dims, b->dims, sizeof a->dims) == 0;
}

static bool is_vector(const struct tensor *t, uint32_t length)
{
    return t->dims[0] == 1 && t->dims[1] == 1 && t->dims[2] == 1 && t->dims[3] == length;
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
static bool fuses_gradient(const struct graph *graph, const struct op *op, const struct conv_operands *o, uint32_t dy)
{
    const struct tensor *gradient = in(graph, op, dy);
    if (o->y == NO_OPERAND) return true;
    return same_dims(in(graph, op, o->y), gradient) &&
           is_coefficients(in(graph, op, o->coefficients), gradient->dims[3]);
}

/* What a lowered convolution reads and writes besides, and nothing more. */
static bool fuses(const struct graph *graph, const struct op *op)
{
    struct conv_operands o = conv_operands(op);
    const struct tensor *made = out(graph, op, 0), *x = op->kind == OP_CONV_BWD_DATA ? made : in(graph, op, 0);
    uint32_t channels = made->dims[3], fused = op->attr.conv.fused;
    if (o.inputs != op->inputs || o.outputs != op->outputs) return false;
    if (o.bias != NO_OPERAND && !is_vector(in(graph, op, o.bias), channels)) return false;
    if (o.norm != NO_OPERAND && !is_norm(in(graph, op, o.norm), x->dims[3])) return false;
    if (op->kind == OP_CONV_BWD_WEIGHTS) return fuses_gradient(graph, op, &o, 1);
    if (fused & (CONV_SUMS | CONV_GRADIENT_SUMS) && !is_sums(out(graph, op, 1), channels)) return false;
    if (o.kept != NO_OPERAND && (!same_dims(out(graph, op, o.kept), in(graph, op, 0)) || o.y == NO_OPERAND))
        return false;
    if (o.rectified != NO_OPERAND && !same_dims(in(graph, op, o.rectified), made)) return false;
    if (o.residual != NO_OPERAND && !same_dims(in(graph, op, o.residual), made)) return false;
    if (o.x != NO_OPERAND && !same_dims(in(graph, op, o.x), made)) return false;
    return op->kind == OP_CONV || fuses_gradient(graph, op, &o, 0);
}

static bool finalizes(const struct graph *graph, const struct op *op)
{
    uint32_t channels = out(graph, op, 0)->dims[3];
    bool given = op->attr.bn.frozen ? op->in[0] == op->in[3] : is_sums(in(graph, op, 0), channels);
    bool ok = given && is_norm(out(graph, op, 0), channels) && op->attr.bn.rows > 0;
    for (uint32_t i = 1; i < 5; i++) ok = ok && is_vector(in(graph, op, i), channels);
    return ok;
}

/* The gradients of gamma and beta, where these are trained. */
static bool writes_parameters(const struct graph *graph, const struct op *op, uint32_t channels)
{
    if (op->attr.bn.frozen == BN_FROZEN) return op->outputs == 1;
    return op->outputs >= 3 && is_vector(out(graph, op, 1), channels) && is_vector(out(graph, op, 2), channels);
}

static bool finalizes_back(const struct graph *graph, const struct op *op)
{
    uint32_t channels = out(graph, op, 0)->dims[3];
    bool given = op->attr.bn.frozen == BN_FROZEN ? op->in[0] == op->in[2] : is_sums(in(graph, op, 0), channels);
    return given && is_vector(in(graph, op, 1), channels) && is_norm(in(graph, op, 2), channels) &&
           is_coefficients(out(graph, op, 0), channels) && writes_parameters(graph, op, channels) &&
           op->attr.bn.rows > 0;
}

static bool sums_back(const struct graph *graph, const struct op *op)
{
    uint32_t channels = in(graph, op, 0)->dims[3];
    return same_dims(in(graph, op, 0), in(graph, op, 1)) && is_norm(in(graph, op, 2), channels) &&
           is_sums(out(graph, op, 0), channels);
}

static bool applies(const struct graph *graph, const struct op *op)
{
    return same_dims(in(graph, op, 0), out(graph, op, 0)) && is_norm(in(graph, op, 1), in(graph, op, 0)->dims[3]) &&
           (op->inputs < 3 || same_dims(in(graph, op, 0), in(graph, op, 2)));
}

static bool applies_back(const struct graph *graph, const struct op *op)
{
    const struct tensor *x = in(graph, op, 0);
    uint32_t channels = x->dims[3], other = bn_other_gradient(op);
    return same_dims(x, out(graph, op, 0)) && same_dims(x, in(graph, op, 1)) && is_norm(in(graph, op, 2), channels) &&
           (op->attr.bn.whole || (op->inputs > 3 && is_sums(in(graph, op, 3), channels))) &&
           (other == NO_OPERAND || (other + 1u == op->inputs && same_dims(x, in(graph, op, other)))) &&
           writes_parameters(graph, op, channels) && op->attr.bn.rows > 0 &&
           (op->outputs <= 3 || (op->attr.bn.whole && same_dims(x, out(graph, op, 3))));
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

static bool normalises(const struct graph *graph, const struct op *op)
{
    uint32_t channels = in(graph, op, 0)->dims[3];
    uint32_t statistics = op->attr.bn.frozen ? 0 : 2;
    bool ok = same_dims(in(graph, op, 0), out(graph, op, 0)) && op->outputs == 1 + statistics + op->attr.bn.relu;
    for (uint32_t i = 1; i < 5; i++) ok = ok && is_vector(in(graph, op, i), channels);
    if (statistics == 0) return ok;
    return ok && is_grouped(out(graph, op, 1), in(graph, op, 0)) && same_dims(out(graph, op, 1), out(graph, op, 2));
}

static bool normalises_back(const struct graph *graph, const struct op *op)
{
    uint32_t channels = in(graph, op, 0)->dims[3];
    bool ok = same_dims(in(graph, op, 0), out(graph, op, 0)) && same_dims(in(graph, op, 0), in(graph, op, 1));
    ok = ok && is_vector(in(graph, op, 2), channels) && is_grouped(in(graph, op, 3), in(graph, op, 0)) &&
         same_dims(in(graph, op, 3), in(graph, op, 4));
    return ok && writes_parameters(graph, op, channels) && (op->inputs == 6) == op->attr.bn.relu;
}

static bool concatenates(const struct graph *graph, const struct op *op)
{
    uint32_t channels = 0;
    for (uint32_t i = 0; i < op->inputs; i++) {
        if (memcmp(in(graph, op, i)->dims, out(graph, op, 0)->dims, 3 * sizeof(uint32_t)) != 0) return false;
        channels += in(graph, op, i)->dims[3];
    }
    return channels == out(graph, op, 0)->dims[3];
}

static bool elementwise(const struct graph *graph, const struct op *op)
{
    for (uint32_t i = 0; i < op->inputs; i++)
        if (!same_dims(in(graph, op, i), out(graph, op, 0))) return false;
    return true;
}

static bool is_loss_scale(const struct tensor *t)
{
    return t->role == ROLE_LOSS_SCALE && t->dtype == DTYPE_F32 && t->persistent &&
           t->bytes == sizeof(struct loss_scale);
}

/* The images that all others read. */
static bool places(const struct graph *graph, const struct op *op)
{
    const struct tensor *pixels = in(graph, op, 0), *placements = in(graph, op, 1);
    return op->in[0] == graph->pixels && op->in[1] == graph->placements && op->out[0] == graph->images &&
           same_dims(pixels, out(graph, op, 0)) && pixels->dtype == DTYPE_U8 && placements->dtype == DTYPE_I32 &&
           placements->dims[0] == pixels->dims[0] && placements->dims[1] == 1 && placements->dims[2] == 1 &&
           placements->dims[3] == INPUT_PLACEMENT;
}

static bool copies(const struct graph *graph, const struct op *op)
{
    return in(graph, op, 0)->role == ROLE_BUCKET && out(graph, op, 0)->role == ROLE_WEIGHT_COPY &&
           out(graph, op, 0)->of == op->in[0];
}

/* What a 16-bit bucket holds goes to the one it is of. */
static bool widens(const struct graph *graph, const struct op *op)
{
    const struct tensor *half = in(graph, op, 0);
    return half->role == ROLE_BUCKET && half->gradient && half->dtype == graph->options.dtype &&
           half->of == op->out[0] && same_dims(half, out(graph, op, 0)) && out(graph, op, 0)->dtype == DTYPE_F32 &&
           (op->inputs == 1 || op->in[1] == op->out[0]);
}

/* Added up as it is, or as it is in 16 bits. */
static bool reduces(const struct graph *graph, const struct op *op)
{
    enum dtype dtype = graph->options.reduce_dtype;
    const struct tensor *bucket = in(graph, op, 0), *message = out(graph, op, op->outputs - 1);
    if (op->in[0] != op->out[0] || message->apart != graph->options.reduce_apart) return false;
    if (dtype == DTYPE_F32) return op->outputs == 1;
    return op->outputs == 2 && message->class == CLASS_COMM && message->role == ROLE_BUCKET && message->gradient &&
           message->dtype == dtype && message->of == op->out[0] && same_dims(message, bucket);
}

/* Where there is a loss scale, its every reader has it. */
static bool scales(const struct graph *graph, const struct op *op, uint32_t operand)
{
    bool scaled = graph->loss_scale != NO_TENSOR;
    return op->inputs == operand + scaled && (!scaled || is_loss_scale(in(graph, op, operand)));
}

static bool checks(const struct graph *graph, const struct op *op)
{
    return in(graph, op, 0)->class == CLASS_GRADIENT && is_loss_scale(in(graph, op, 1)) && op->out[0] == op->in[1];
}

static bool is_gradient_norm(const struct graph *graph, const struct op *op, uint32_t operand)
{
    const struct tensor *t = in(graph, op, operand);
    return op->in[operand] == graph->gradient_norm && t->role == ROLE_GRADIENT_NORM && t->persistent &&
           t->bytes == sizeof(struct gradient_norm);
}

static bool measures(const struct graph *graph, const struct op *op)
{
    return in(graph, op, 0)->class == CLASS_GRADIENT && is_gradient_norm(graph, op, 1) && op->out[0] == op->in[1];
}

static bool updates(const struct graph *graph, const struct op *op)
{
    struct update_operands o = update_operands(op);
    bool scaled = graph->loss_scale != NO_TENSOR, clips = graph->gradient_norm != NO_TENSOR;
    if (o.states != optimizer_buffers(graph->options.update.optimizer) || op->out[0] != op->in[0]) return false;
    for (uint32_t i = 0; i < 2u + o.states; i++)
        if (!same_dims(in(graph, op, i), out(graph, op, 0))) return false;
    for (uint32_t i = 0; i < o.states; i++)
        if (in(graph, op, o.state[i])->of != op->in[0] || op->out[1 + i] != op->in[o.state[i]]) return false;
    return (o.scale != NO_OPERAND) == scaled && (o.norm != NO_OPERAND) == clips &&
           op->inputs == 2u + o.states + scaled + clips && (!scaled || is_loss_scale(in(graph, op, o.scale))) &&
           (!clips || is_gradient_norm(graph, op, o.norm));
}

static bool averages(const struct graph *graph, const struct op *op)
{
    return in(graph, op, 1)->class == CLASS_OPTIMIZER && in(graph, op, 1)->of == op->in[0] && op->out[0] == op->in[1] &&
           same_dims(in(graph, op, 0), in(graph, op, 1)) && scales(graph, op, 2);
}

bool graph_shapes_agree(const struct graph *graph, const struct op *op)
{
    switch (op->kind) {
    case OP_CONV: return convolves(op, in(graph, op, 0), in(graph, op, 1), out(graph, op, 0)) && fuses(graph, op);
    case OP_CONV_BWD_DATA:
        return convolves(op, out(graph, op, 0), in(graph, op, 1), in(graph, op, 0)) && fuses(graph, op);
    case OP_CONV_BWD_WEIGHTS:
        return convolves(op, in(graph, op, 0), out(graph, op, 0), in(graph, op, 1)) && fuses(graph, op);
    case OP_BN_SUMS: return is_sums(out(graph, op, 0), in(graph, op, 0)->dims[3]);
    case OP_BN_FINALIZE: return finalizes(graph, op);
    case OP_BN_APPLY: return applies(graph, op);
    case OP_BN_BWD_SUMS: return sums_back(graph, op);
    case OP_BN_BWD_FINALIZE: return finalizes_back(graph, op);
    case OP_BN_BWD_APPLY: return applies_back(graph, op);
    case OP_BN: return normalises(graph, op);
    case OP_BN_BWD: return normalises_back(graph, op);
    case OP_MAXPOOL:
        return pools(op, in(graph, op, 0), out(graph, op, 0)) && same_dims(out(graph, op, 0), out(graph, op, 1));
    case OP_MAXPOOL_BWD:
        return pools(op, out(graph, op, 0), in(graph, op, 0)) && same_dims(in(graph, op, 0), in(graph, op, 1));
    case OP_AVGPOOL: return pools(op, in(graph, op, 0), out(graph, op, 0));
    case OP_AVGPOOL_BWD: return pools(op, out(graph, op, 0), in(graph, op, 0));
    case OP_SHORTCUT_PAD: return skips(op, in(graph, op, 0), out(graph, op, 0));
    case OP_SHORTCUT_PAD_BWD: return skips(op, out(graph, op, 0), in(graph, op, 0));
    case OP_FC: return connects(in(graph, op, 0), in(graph, op, 1), out(graph, op, 0));
    case OP_FC_BWD_DATA: return connects(out(graph, op, 0), in(graph, op, 1), in(graph, op, 0));
    case OP_FC_BWD_WEIGHTS: return connects(in(graph, op, 0), out(graph, op, 0), in(graph, op, 1));
    case OP_SOFTMAX_LOSS: return same_dims(in(graph, op, 0), out(graph, op, 0)) && is_vector(out(graph, op, 1), 4);
    case OP_SOFTMAX_LOSS_BWD: return same_dims(in(graph, op, 0), out(graph, op, 0)) && scales(graph, op, 2);
    case OP_ALL_REDUCE: return reduces(graph, op);
    case OP_UPDATE: return updates(graph, op);
    case OP_WEIGHTS_AVERAGE: return averages(graph, op);
    case OP_GRADIENT_NORM: return measures(graph, op);
    case OP_GRADIENT_CHECK: return checks(graph, op);
    case OP_LOSS_SCALE_UPDATE: return is_loss_scale(in(graph, op, 0)) && op->out[0] == op->in[0];
    case OP_WEIGHTS_COPY: return copies(graph, op);
    case OP_GRADIENTS_WIDEN: return widens(graph, op);
    case OP_INPUT: return places(graph, op);
    case OP_CONCAT: return concatenates(graph, op);
    case OP_CONCAT_BWD: return op->attr.concat.first + out(graph, op, 0)->dims[3] <= in(graph, op, 0)->dims[3];
    default: return elementwise(graph, op);
    }
}
