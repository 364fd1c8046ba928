/* A graph of ops from its descriptors: operands by number, ops in an order in which they can run, shapes checked. */
#include <stdlib.h>
#include <string.h>

#include "dnn.h"

/* ---- Tensors ---- */

static cudnnStatus_t find_tensor(struct dnn_graph *g, const struct dnn_descriptor *d, uint32_t *number)
{
    struct dnn_tensor t = {.id = dnn_i64(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 0, 0),
                           .alignment = dnn_i64(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0, 1),
                           .type = (cudnnDataType_t)dnn_enum(d, CUDNN_ATTR_TENSOR_DATA_TYPE, 0),
                           .inner = dnn_bool(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL)};
    for (unsigned i = 0; i < 4; i++) {
        t.dims[i] = dnn_i64(d, CUDNN_ATTR_TENSOR_DIMENSIONS, i, 1);
        t.strides[i] = dnn_i64(d, CUDNN_ATTR_TENSOR_STRIDES, i, 1);
    }
    for (*number = 0; *number < g->tensor_count; ++*number) {
        const struct dnn_tensor *known = &g->tensors[*number];
        if (known->id != t.id) continue;
        if (known->type == t.type && known->inner == t.inner && memcmp(known->dims, t.dims, sizeof t.dims) == 0)
            return CUDNN_STATUS_SUCCESS;
        return dnn_fail(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "two tensors are called %lld", (long long)t.id);
    }
    if (g->tensor_count == MOST_TENSORS) return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "more tensors than it counts");
    g->tensors[g->tensor_count++] = t;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- Ops ---- */

/* Operands by kind, in dnn.h's order. */
static const struct kind_rule {
    cudnnBackendDescriptorType_t of;
    enum dnn_kind kind;
    cudnnBackendAttributeName_t in[MOST_IN], out[MOST_OUT];
    unsigned ins, outs;
} kinds[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     DNN_FORWARD,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W},
     {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
     2,
     1},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     DNN_DATA,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W},
     {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX},
     2,
     1},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     DNN_WEIGHTS,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY},
     {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW},
     2,
     1},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
     DNN_POINTWISE,
     {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_ATTR_OPERATION_POINTWISE_TDESC,
      CUDNN_ATTR_OPERATION_POINTWISE_DYDESC},
     {CUDNN_ATTR_OPERATION_POINTWISE_YDESC},
     4,
     1},
    {CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR,
     DNN_STATISTICS,
     {CUDNN_ATTR_OPERATION_GENSTATS_XDESC},
     {CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC},
     1,
     2},
    {CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR,
     DNN_BN_WEIGHTS,
     {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC,
      CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC,
      CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC},
     {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC,
      CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC,
      CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS},
     5,
     5},
    {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
     DNN_REDUCTION,
     {CUDNN_ATTR_OPERATION_REDUCTION_XDESC},
     {CUDNN_ATTR_OPERATION_REDUCTION_YDESC},
     1,
     1},
};

static const struct {
    cudnnBackendAttributeName_t window, alpha, beta;
} windows[] = {
    [DNN_FORWARD] = {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [DNN_DATA] = {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [DNN_WEIGHTS] = {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static cudnnStatus_t read_window(struct dnn_op *op, const struct dnn_descriptor *d)
{
    const struct dnn_descriptor *window = dnn_part(d, windows[op->kind].window);
    if (window->type != CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)
        return dnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "the convolution's window is none");
    for (unsigned i = 0; i < 2; i++) {
        op->padding[i] = dnn_i64(window, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i, 0);
        op->stride[i] = dnn_i64(window, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i, 1);
        op->dilation[i] = dnn_i64(window, CUDNN_ATTR_CONVOLUTION_DILATIONS, i, 1);
    }
    op->alpha = (float)dnn_real(d, windows[op->kind].alpha, 1);
    op->beta = (float)dnn_real(d, windows[op->kind].beta, 0);
    if (op->beta != 0) return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "the stand-in adds to no result (beta)");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t read_mode(struct dnn_op *op, const struct dnn_descriptor *d)
{
    if (op->kind == DNN_POINTWISE)
        op->mode = dnn_enum(dnn_part(d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR), CUDNN_ATTR_POINTWISE_MODE, -1);
    if (op->kind == DNN_REDUCTION)
        op->mode = dnn_enum(dnn_part(d, CUDNN_ATTR_OPERATION_REDUCTION_DESC), CUDNN_ATTR_REDUCTION_OPERATOR, -1);
    if (op->kind == DNN_REDUCTION && op->mode != CUDNN_REDUCE_TENSOR_ADD && op->mode != CUDNN_REDUCE_TENSOR_AVG)
        return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "the stand-in knows no reduction %d", op->mode);
    return op->kind <= DNN_WEIGHTS ? read_window(op, d) : CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t read_operand(struct dnn_graph *g, const struct dnn_descriptor *d, cudnnBackendAttributeName_t name,
                                  uint32_t *number)
{
    const struct dnn_descriptor *part = dnn_part(d, name);
    *number = NONE;
    if (!part) return CUDNN_STATUS_SUCCESS;
    if (part->type != CUDNN_BACKEND_TENSOR_DESCRIPTOR)
        return dnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "attribute %d is no tensor", (int)name);
    return find_tensor(g, part, number);
}

static cudnnStatus_t read_op(struct dnn_graph *g, const struct dnn_descriptor *d, struct dnn_op *op)
{
    const struct kind_rule *rule = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].of == d->type) rule = &kinds[i];
    if (!rule) return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "the stand-in knows no op of type %d", (int)d->type);
    *op = (struct dnn_op){.kind = rule->kind, .alpha = 1};
    for (unsigned i = 0; i < MOST_IN; i++) op->in[i] = NONE;
    for (unsigned i = 0; i < MOST_OUT; i++) op->out[i] = NONE;
    for (unsigned i = 0; i < rule->ins; i++) DNN_TRY(read_operand(g, d, rule->in[i], &op->in[i]));
    for (unsigned i = 0; i < rule->outs; i++) DNN_TRY(read_operand(g, d, rule->out[i], &op->out[i]));
    if (op->kind == DNN_POINTWISE && op->out[0] == NONE)
        DNN_TRY(read_operand(g, d, CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, &op->out[0]));
    return read_mode(op, d);
}

/* ---- Shapes ---- */

static bool same_extent(const struct dnn_tensor *a, const struct dnn_tensor *b)
{
    return memcmp(a->dims, b->dims, sizeof a->dims) == 0;
}

/* The same, or 1 where it is the same for all. */
static bool spreads(const struct dnn_tensor *a, const struct dnn_tensor *to)
{
    bool row = a->dims[0] == 1 && a->dims[2] == 1 && a->dims[3] == 1 && (a->dims[1] == to->dims[1] || a->dims[1] == 1);
    return row || same_extent(a, to);
}

static bool is_row(const struct dnn_tensor *a, int64_t channels)
{
    return a->dims[0] == 1 && a->dims[1] == channels && a->dims[2] == 1 && a->dims[3] == 1;
}

static bool window_fits(const struct dnn_op *op, const struct dnn_tensor *x, const struct dnn_tensor *w,
                        const struct dnn_tensor *y)
{
    for (unsigned i = 0; i < 2; i++) {
        int64_t reach = op->dilation[i] * (w->dims[2 + i] - 1) + 1;
        if ((x->dims[2 + i] + 2 * op->padding[i] - reach) / op->stride[i] + 1 != y->dims[2 + i]) return false;
    }
    return x->dims[0] == y->dims[0] && x->dims[1] == w->dims[1] && w->dims[0] == y->dims[1];
}

static bool shapes_fit(const struct dnn_graph *g, const struct dnn_op *op)
{
    const struct dnn_tensor *in[MOST_IN], *out[MOST_OUT];
    for (unsigned i = 0; i < MOST_IN; i++) in[i] = op->in[i] == NONE ? NULL : &g->tensors[op->in[i]];
    for (unsigned i = 0; i < MOST_OUT; i++) out[i] = op->out[i] == NONE ? NULL : &g->tensors[op->out[i]];
    switch (op->kind) {
    case DNN_FORWARD: return window_fits(op, in[0], in[1], out[0]);
    case DNN_DATA: return window_fits(op, out[0], in[1], in[0]);
    case DNN_WEIGHTS: return window_fits(op, in[0], out[0], in[1]);
    case DNN_POINTWISE:
        for (unsigned i = 0; i < 4; i++)
            if (in[i] && !spreads(in[i], out[0])) return false;
        return true;
    case DNN_STATISTICS: return is_row(out[0], in[0]->dims[1]) && is_row(out[1], in[0]->dims[1]);
    case DNN_BN_WEIGHTS:
        for (unsigned i = 0; i < 3; i++)
            if (!is_row(in[i], in[3]->dims[1])) return false;
        for (unsigned i = 0; i < 5; i++)
            if (!is_row(out[i], in[3]->dims[1])) return false;
        return same_extent(in[3], in[4]);
    case DNN_REDUCTION:
        for (unsigned i = 0; i < 4; i++)
            if (out[0]->dims[i] != 1 && out[0]->dims[i] != in[0]->dims[i]) return false;
        return true;
    }
    return false;
}

/* Which operands an op cannot do without. */
static bool operands_there(const struct dnn_op *op)
{
    if (op->kind != DNN_POINTWISE) return true;
    switch (op->mode) {
    case CUDNN_POINTWISE_SQRT:
    case CUDNN_POINTWISE_RSQRT:
    case CUDNN_POINTWISE_NEG:
    case CUDNN_POINTWISE_IDENTITY:
    case CUDNN_POINTWISE_SIGMOID_FWD:
    case CUDNN_POINTWISE_RELU_FWD: return op->in[1] == NONE && op->in[3] == NONE;
    case CUDNN_POINTWISE_RELU_BWD: return op->in[1] == NONE && op->in[3] != NONE;
    case CUDNN_POINTWISE_BINARY_SELECT: return op->in[1] != NONE && op->in[2] != NONE;
    case CUDNN_POINTWISE_ADD:
    case CUDNN_POINTWISE_SUB:
    case CUDNN_POINTWISE_MUL:
    case CUDNN_POINTWISE_DIV:
    case CUDNN_POINTWISE_MAX:
    case CUDNN_POINTWISE_MIN:
    case CUDNN_POINTWISE_CMP_EQ:
    case CUDNN_POINTWISE_CMP_NEQ:
    case CUDNN_POINTWISE_CMP_GT:
    case CUDNN_POINTWISE_CMP_GE:
    case CUDNN_POINTWISE_CMP_LT:
    case CUDNN_POINTWISE_CMP_LE: return op->in[1] != NONE && op->in[3] == NONE;
    default: return false;
    }
}

/* ---- The graph ---- */

static bool is_made(const struct dnn_graph *g, uint32_t tensor, const struct dnn_op *all, unsigned count)
{
    for (unsigned i = 0; i < g->op_count; i++)
        for (unsigned k = 0; k < MOST_OUT; k++)
            if (g->ops[i].out[k] == tensor) return true;
    for (unsigned i = 0; i < count; i++) /* one of those to come makes it */
        for (unsigned k = 0; k < MOST_OUT; k++)
            if (all[i].out[k] == tensor) return false;
    return !g->tensors[tensor].inner;
}

static bool is_ready(const struct dnn_graph *g, const struct dnn_op *op, const struct dnn_op *all, unsigned count)
{
    for (unsigned i = 0; i < MOST_IN; i++)
        if (op->in[i] != NONE && !is_made(g, op->in[i], all, count)) return false;
    return true;
}

/* Ops may come in any order. */
static cudnnStatus_t sort_ops(struct dnn_graph *g, const struct dnn_op *all, unsigned count)
{
    bool done[MOST_OPS] = {false};
    while (g->op_count < count) {
        uint32_t before = g->op_count;
        for (unsigned i = 0; i < count; i++)
            if (!done[i] && is_ready(g, &all[i], all, count)) {
                done[i] = true;
                g->ops[g->op_count++] = all[i];
            }
        if (g->op_count == before)
            return dnn_fail(CUDNN_STATUS_BAD_PARAM, "a circle of ops, or a virtual tensor that no op makes");
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_makers(const struct dnn_graph *g)
{
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        unsigned makers = 0;
        for (uint32_t i = 0; i < g->op_count; i++)
            for (unsigned k = 0; k < MOST_OUT; k++) makers += g->ops[i].out[k] == t;
        if (makers > 1 || (makers == 0 && g->tensors[t].inner))
            return dnn_fail(CUDNN_STATUS_BAD_PARAM, "%u ops make tensor %lld", makers, (long long)g->tensors[t].id);
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t read_graph(struct dnn_graph *g, const struct dnn_attribute *ops)
{
    struct dnn_op all[MOST_OPS];
    for (int64_t i = 0; i < ops->count; i++) {
        DNN_TRY(read_op(g, ((struct dnn_descriptor *const *)ops->values)[i], &all[i]));
        if (!operands_there(&all[i]))
            return dnn_fail(CUDNN_STATUS_BAD_PARAM, "op %lld has not the operands of its mode %d", (long long)i,
                            all[i].mode);
        if (!shapes_fit(g, &all[i]))
            return dnn_fail(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "the shapes of op %lld do not fit", (long long)i);
    }
    DNN_TRY(sort_ops(g, all, (unsigned)ops->count));
    return check_makers(g);
}

cudnnStatus_t dnn_finalize_graph(struct dnn_descriptor *d)
{
    const int64_t engines = 3;
    d->graph = NEW(struct dnn_graph);
    cudnnStatus_t status = read_graph(d->graph, dnn_find(d, CUDNN_ATTR_OPERATIONGRAPH_OPS));
    if (!status) dnn_put(d, CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, CUDNN_TYPE_INT64, 1, &engines);
    return status;
}
