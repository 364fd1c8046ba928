/* Interprets a plan: every tensor as floats, N H W C, rounded to its type where it is written. Inner tensors have no
 * bytes of the device's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dnn.h"

/* A run. */
struct running {
    const struct dnn_plan *plan;
    void *const *data;
    float **values; /* of each tensor, once read or made */
};

static const struct dnn_tensor *tensor(const struct running *r, uint32_t i) { return &r->plan->graph.tensors[i]; }

static size_t elements(const struct dnn_tensor *t)
{
    return (size_t)(t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]);
}

/* From its first byte to its last. */
static uint64_t span(const struct dnn_tensor *t)
{
    int64_t last = 0;
    for (unsigned i = 0; i < 4; i++) last += (t->dims[i] - 1) * t->strides[i];
    return (uint64_t)(last + 1) * dnn_type_bytes(t->type);
}

static bool is_nhwc(const struct dnn_tensor *t)
{
    int64_t c = t->dims[1], w = t->dims[3], h = t->dims[2];
    return (c == 1 || t->strides[1] == 1) && (w == 1 || t->strides[3] == c) && (h == 1 || t->strides[2] == c * w) &&
           (t->dims[0] == 1 || t->strides[0] == c * w * h);
}

/* ---- Between the device's memory and floats ---- */

/* One element after the other, wherever they lie. */
static void move(const struct dnn_tensor *t, uint8_t *memory, float *values, bool writes)
{
    size_t bytes = dnn_type_bytes(t->type), i = 0;
    for (int64_t n = 0; n < t->dims[0]; n++)
        for (int64_t h = 0; h < t->dims[2]; h++)
            for (int64_t w = 0; w < t->dims[3]; w++)
                for (int64_t c = 0; c < t->dims[1]; c++, i++) {
                    uint8_t *at =
                        memory +
                        (size_t)(n * t->strides[0] + c * t->strides[1] + h * t->strides[2] + w * t->strides[3]) * bytes;
                    if (writes)
                        dnn_store(t->type, &values[i], at, 1);
                    else
                        dnn_load(t->type, at, &values[i], 1);
                }
}

static float *take(struct running *r, uint32_t i)
{
    if (!r->values[i]) r->values[i] = need(malloc(elements(tensor(r, i)) * sizeof(float) + 1));
    return r->values[i];
}

/* What an op reads. */
static const float *read_values(struct running *r, uint32_t i)
{
    const struct dnn_tensor *t = tensor(r, i);
    if (i == NONE) return NULL;
    if (r->values[i]) return r->values[i];
    float *values = take(r, i);
    memory_touch(r->data[i], span(t), false);
    if (is_nhwc(t))
        dnn_load(t->type, r->data[i], values, elements(t));
    else
        move(t, r->data[i], values, false);
    return values;
}

/* What an op has made: rounded, and written where it has bytes. */
static void written(struct running *r, uint32_t i)
{
    const struct dnn_tensor *t = tensor(r, i);
    float *values = r->values[i];
    if (t->type != CUDNN_DATA_FLOAT)
        for (size_t k = 0; k < elements(t); k++) values[k] = dnn_round(t->type, values[k]);
    if (t->inner) return;
    memory_touch(r->data[i], span(t), true);
    if (is_nhwc(t))
        dnn_store(t->type, values, r->data[i], elements(t));
    else
        move(t, r->data[i], values, true);
}

/* ---- Convolutions ---- */

/* Ten bits of fraction, as tensor cores read floats. */
static float *to_tf32(const float *from, size_t count)
{
    float *to = need(malloc(count * sizeof *to + 1));
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i], sizeof bits);
        if ((bits & 0x7F800000u) != 0x7F800000u) bits = (bits + 0xFFFu + (bits >> 13 & 1u)) & ~0x1FFFu;
        memcpy(&to[i], &bits, sizeof bits);
    }
    return to;
}

static struct dnn_window window_of(const struct dnn_op *op, const struct dnn_tensor *x, const struct dnn_tensor *w,
                                   const struct dnn_tensor *y)
{
    return (struct dnn_window){.images = x->dims[0],
                               .channels = x->dims[1],
                               .height = x->dims[2],
                               .width = x->dims[3],
                               .filters = y->dims[1],
                               .rows = y->dims[2],
                               .columns = y->dims[3],
                               .kernel = {w->dims[2], w->dims[3]},
                               .padding = {op->padding[0], op->padding[1]},
                               .stride = {op->stride[0], op->stride[1]},
                               .dilation = {op->dilation[0], op->dilation[1]}};
}

static void convolve(struct running *r, const struct dnn_op *op)
{
    const struct dnn_tensor *a = tensor(r, op->in[0]), *b = tensor(r, op->in[1]), *out = tensor(r, op->out[0]);
    bool tf32 = dnn_is_tf32(r->plan);
    const float *left = read_values(r, op->in[0]), *right = read_values(r, op->in[1]);
    float *low_left = tf32 ? to_tf32(left, elements(a)) : NULL, *low_right = tf32 ? to_tf32(right, elements(b)) : NULL;
    float *result = take(r, op->out[0]);
    if (tf32) left = low_left, right = low_right;
    if (op->kind == DNN_FORWARD) {
        struct dnn_window g = window_of(op, a, b, out);
        dnn_forward(&g, left, right, result);
    } else if (op->kind == DNN_DATA) {
        struct dnn_window g = window_of(op, out, b, a);
        dnn_data(&g, left, right, result);
    } else {
        struct dnn_window g = window_of(op, a, out, b);
        dnn_weights(&g, left, right, result);
    }
    for (size_t i = 0; op->alpha != 1 && i < elements(out); i++) result[i] *= op->alpha;
    free(low_left);
    free(low_right);
    written(r, op->out[0]);
}

/* ---- Pointwise ---- */

static float compute(int mode, float x, float b, float dy)
{
    switch (mode) {
    case CUDNN_POINTWISE_ADD: return x + b;
    case CUDNN_POINTWISE_SUB: return x - b;
    case CUDNN_POINTWISE_MUL: return x * b;
    case CUDNN_POINTWISE_DIV: return x / b;
    case CUDNN_POINTWISE_MAX: return x > b || x != x ? x : b;
    case CUDNN_POINTWISE_MIN: return x < b || x != x ? x : b;
    case CUDNN_POINTWISE_SQRT: return sqrtf(x);
    case CUDNN_POINTWISE_RSQRT: return 1 / sqrtf(x);
    case CUDNN_POINTWISE_NEG: return -x;
    case CUDNN_POINTWISE_IDENTITY: return x;
    case CUDNN_POINTWISE_RELU_FWD: return x < 0 ? 0 : x;
    case CUDNN_POINTWISE_RELU_BWD: return x > 0 ? dy : 0;
    case CUDNN_POINTWISE_SIGMOID_FWD: return 1 / (1 + expf(-x));
    case CUDNN_POINTWISE_CMP_EQ: return x == b;
    case CUDNN_POINTWISE_CMP_NEQ: return x != b;
    case CUDNN_POINTWISE_CMP_GT: return x > b;
    case CUDNN_POINTWISE_CMP_GE: return x >= b;
    case CUDNN_POINTWISE_CMP_LT: return x < b;
    case CUDNN_POINTWISE_CMP_LE: return x <= b;
    default: return NAN;
    }
}

/* One operand may be a row of channels, or one number. */
static size_t place(const struct dnn_tensor *t, size_t i, size_t channels)
{
    size_t count = elements(t);
    return count == 1 ? 0 : count == channels && count == (size_t)t->dims[1] ? i % channels : i;
}

static void pointwise(struct running *r, const struct dnn_op *op)
{
    const float *x = read_values(r, op->in[0]), *b = read_values(r, op->in[1]), *t = read_values(r, op->in[2]),
                *dy = read_values(r, op->in[3]);
    const struct dnn_tensor *out = tensor(r, op->out[0]);
    size_t channels = (size_t)out->dims[1];
    float *y = take(r, op->out[0]);
    for (size_t i = 0; i < elements(out); i++) {
        float left = x ? x[place(tensor(r, op->in[0]), i, channels)] : 0,
              right = b ? b[place(tensor(r, op->in[1]), i, channels)] : 0,
              gradient = dy ? dy[place(tensor(r, op->in[3]), i, channels)] : 0;
        if (op->mode == CUDNN_POINTWISE_BINARY_SELECT)
            y[i] = t[place(tensor(r, op->in[2]), i, channels)] != 0 ? left : right;
        else
            y[i] = compute(op->mode, left, right, gradient);
    }
    written(r, op->out[0]);
}

/* ---- Sums over pixels ---- */

static void statistics(struct running *r, const struct dnn_op *op)
{
    const float *x = read_values(r, op->in[0]);
    const struct dnn_tensor *t = tensor(r, op->in[0]);
    size_t channels = (size_t)t->dims[1];
    float *sum = take(r, op->out[0]), *squares = take(r, op->out[1]);
    for (size_t c = 0; c < channels; c++) sum[c] = squares[c] = 0;
    for (size_t i = 0; i < elements(t); i += channels)
        for (size_t c = 0; c < channels; c++) {
            sum[c] += x[i + c];
            squares[c] += x[i + c] * x[i + c];
        }
    written(r, op->out[0]);
    written(r, op->out[1]);
}

/* dx = scale deviation (dy - dbias / n - xhat dscale / n), n pixels. */
static void bn_weights(struct running *r, const struct dnn_op *op)
{
    const float *mean = read_values(r, op->in[0]), *deviation = read_values(r, op->in[1]),
                *scale = read_values(r, op->in[2]), *x = read_values(r, op->in[3]), *dy = read_values(r, op->in[4]);
    const struct dnn_tensor *t = tensor(r, op->in[3]);
    size_t channels = (size_t)t->dims[1];
    float n = (float)(elements(t) / channels), *out[5];
    for (unsigned i = 0; i < 5; i++) out[i] = take(r, op->out[i]);
    for (size_t c = 0; c < channels; c++) out[0][c] = out[1][c] = 0;
    for (size_t i = 0; i < elements(t); i += channels)
        for (size_t c = 0; c < channels; c++) {
            out[0][c] += dy[i + c] * (x[i + c] - mean[c]) * deviation[c];
            out[1][c] += dy[i + c];
        }
    for (size_t c = 0; c < channels; c++) {
        out[2][c] = scale[c] * deviation[c];
        out[3][c] = -out[2][c] * deviation[c] * out[0][c] / n;
        out[4][c] = -out[2][c] * out[1][c] / n - out[3][c] * mean[c];
    }
    for (unsigned i = 0; i < 5; i++) written(r, op->out[i]);
}

/* y has x's extent or 1 in each dimension. */
static void reduce(struct running *r, const struct dnn_op *op)
{
    const float *x = read_values(r, op->in[0]);
    const struct dnn_tensor *in = tensor(r, op->in[0]), *out = tensor(r, op->out[0]);
    float *y = take(r, op->out[0]);
    const float inverse = op->mode == CUDNN_REDUCE_TENSOR_AVG ? (float)elements(out) / (float)elements(in) : 1;
    for (size_t i = 0; i < elements(out); i++) y[i] = 0;
    for (int64_t n = 0, i = 0; n < in->dims[0]; n++)
        for (int64_t h = 0; h < in->dims[2]; h++)
            for (int64_t w = 0; w < in->dims[3]; w++)
                for (int64_t c = 0; c < in->dims[1]; c++, i++) {
                    int64_t at = out->dims[0] == 1 ? 0 : n;
                    at = at * out->dims[2] + (out->dims[2] == 1 ? 0 : h);
                    at = at * out->dims[3] + (out->dims[3] == 1 ? 0 : w);
                    y[at * out->dims[1] + (out->dims[1] == 1 ? 0 : c)] += x[i] * inverse;
                }
    written(r, op->out[0]);
}

/* ---- A plan ---- */

static void run_op(struct running *r, const struct dnn_op *op)
{
    switch (op->kind) {
    case DNN_FORWARD:
    case DNN_DATA:
    case DNN_WEIGHTS: convolve(r, op); break;
    case DNN_POINTWISE: pointwise(r, op); break;
    case DNN_STATISTICS: statistics(r, op); break;
    case DNN_BN_WEIGHTS: bn_weights(r, op); break;
    case DNN_REDUCTION: reduce(r, op); break;
    }
}

/* What is in the workspace before is not read; after it is nothing that anybody may use. */
static void spoil(void *workspace, uint64_t bytes)
{
    memory_touch(workspace, bytes, true);
    memset(workspace, 0xFF, bytes);
}

void dnn_run(const struct dnn_plan *plan, void *const *data, void *workspace)
{
    const struct dnn_graph *g = &plan->graph;
    float *values[MOST_TENSORS] = {NULL};
    struct running r = {.plan = plan, .data = data, .values = values};
    if (plan->workspace_bytes > 0) spoil(workspace, (uint64_t)plan->workspace_bytes);
    for (uint32_t i = 0; i < g->op_count; i++) run_op(&r, &g->ops[i]);
    for (uint32_t i = 0; i < g->tensor_count; i++) free(values[i]);
}
