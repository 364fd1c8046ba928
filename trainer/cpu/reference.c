/* Every op as the loop its definition reads as: what the other tables are measured against. Sums are taken in double.
 */
#include <math.h>
#include <string.h>

#include "bn_rows.h"
#include "lower.h"
#include "reference_private.h"
#include "update.h"
#include "random.h"

/* ---- Fully connected: x is N rows of features, in whatever shape ---- */

static bool fc(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *x = op_in(p, 0), *w = op_in(p, 1), *bias = p->call.op->inputs > 2 ? op_in(p, 2) : NULL;
    float *y = op_out(p, 0);
    uint64_t images = dims_in(p, 0)[0], features = dims_in(p, 1)[3], classes = dims_in(p, 1)[0];
    for (uint64_t n = 0; n < images; n++)
        for (uint64_t k = 0; k < classes; k++) {
            double sum = bias ? (double)bias[k] : 0;
            for (uint64_t f = 0; f < features; f++) sum += (double)x[n * features + f] * (double)w[k * features + f];
            y[n * classes + k] = (float)sum;
        }
    return true;
}

static bool fc_backward_data(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *dy = op_in(p, 0), *w = op_in(p, 1);
    float *dx = op_out(p, 0);
    uint64_t images = dims_in(p, 0)[0], features = dims_in(p, 1)[3], classes = dims_in(p, 1)[0];
    for (uint64_t n = 0; n < images; n++)
        for (uint64_t f = 0; f < features; f++) {
            double sum = 0;
            for (uint64_t k = 0; k < classes; k++) sum += (double)dy[n * classes + k] * (double)w[k * features + f];
            dx[n * features + f] = (float)sum;
        }
    return true;
}

static bool fc_backward_weights(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *x = op_in(p, 0), *dy = op_in(p, 1);
    float *dw = op_out(p, 0);
    uint64_t images = dims_in(p, 0)[0], features = dims_out(p, 0)[3], classes = dims_out(p, 0)[0];
    for (uint64_t k = 0; k < classes; k++)
        for (uint64_t f = 0; f < features; f++) {
            double sum = 0;
            for (uint64_t n = 0; n < images; n++) sum += (double)x[n * features + f] * (double)dy[n * classes + k];
            dw[k * features + f] = (float)sum;
        }
    reference_bias_gradient(p);
    return true;
}

/* ---- Pools: kernel 0 is the whole image ---- */

struct pool_window {
    uint32_t rows, columns, stride, padding;
};

static struct pool_window window_of(const struct prepared *p, const uint32_t image[4])
{
    const union op_attr *a = &p->call.op->attr;
    if (a->pool.kernel == 0) return (struct pool_window){image[1], image[2], 1, 0};
    return (struct pool_window){a->pool.kernel, a->pool.kernel, a->pool.stride, a->pool.padding};
}

/* Index in x of tap t of output pixel o, channel o[3]; false when it is padding. */
static bool tap(const struct pool_window *win, const uint32_t xd[4], const uint64_t o[4], uint64_t t, uint64_t *index)
{
    uint64_t h, w;
    if (!tap_row(o[1], t / win->columns, win->stride, win->padding, xd[1], &h)) return false;
    if (!tap_row(o[2], t % win->columns, win->stride, win->padding, xd[2], &w)) return false;
    *index = index_at(xd, o[0], h, w, o[3]);
    return true;
}

static void coordinates(const uint32_t d[4], uint64_t index, uint64_t o[4])
{
    o[3] = index % d[3];
    o[2] = index / d[3] % d[2];
    o[1] = index / d[3] / d[2] % d[1];
    o[0] = index / d[3] / d[2] / d[1];
}

static bool maxpool(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *x = op_in(p, 0);
    float *y = op_out(p, 0);
    uint8_t *mask = p->call.pass == PASS_EVALUATE ? NULL : op_out(p, 1);
    struct pool_window win = window_of(p, dims_in(p, 0));
    for (uint64_t i = 0; i < elements_out(p); i++) {
        uint64_t o[4], index;
        coordinates(dims_out(p, 0), i, o);
        float most = -INFINITY;
        uint8_t which = 0;
        for (uint64_t t = 0; t < (uint64_t)win.rows * win.columns; t++) {
            if (!tap(&win, dims_in(p, 0), o, t, &index) || x[index] <= most) continue;
            most = x[index];
            which = (uint8_t)t;
        }
        y[i] = most;
        if (mask) mask[i] = which;
    }
    return true;
}

static bool maxpool_backward(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *dy = op_in(p, 0);
    const uint8_t *mask = op_in(p, 1);
    float *dx = op_out(p, 0);
    struct pool_window win = window_of(p, dims_out(p, 0));
    memset(dx, 0, elements_out(p) * sizeof *dx);
    for (uint64_t i = 0; i < tensor_elements(p->call.in_tensor[0]); i++) {
        uint64_t o[4], index;
        coordinates(dims_in(p, 0), i, o);
        if (tap(&win, dims_out(p, 0), o, mask[i], &index)) dx[index] += dy[i];
    }
    return true;
}

static bool avgpool(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *x = op_in(p, 0);
    float *y = op_out(p, 0);
    struct pool_window win = window_of(p, dims_in(p, 0));
    for (uint64_t i = 0; i < elements_out(p); i++) {
        uint64_t o[4], index, area = (uint64_t)win.rows * win.columns;
        coordinates(dims_out(p, 0), i, o);
        double sum = 0;
        for (uint64_t t = 0; t < area; t++)
            if (tap(&win, dims_in(p, 0), o, t, &index)) sum += (double)x[index];
        y[i] = (float)(sum / (double)area);
    }
    return true;
}

static bool avgpool_backward(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *dy = op_in(p, 0);
    float *dx = op_out(p, 0);
    struct pool_window win = window_of(p, dims_out(p, 0));
    memset(dx, 0, elements_out(p) * sizeof *dx);
    for (uint64_t i = 0; i < tensor_elements(p->call.in_tensor[0]); i++) {
        uint64_t o[4], index, area = (uint64_t)win.rows * win.columns;
        coordinates(dims_in(p, 0), i, o);
        for (uint64_t t = 0; t < area; t++)
            if (tap(&win, dims_out(p, 0), o, t, &index)) dx[index] += dy[i] / (float)area;
    }
    return true;
}

/* ---- Elementwise ---- */

#define ELEMENTWISE(name, expression)                                                                                  \
    static bool name(const struct prepared *p, struct error *err)                                                      \
    {                                                                                                                  \
        (void)err;                                                                                                     \
        const union op_attr *attr = &p->call.op->attr;                                                                 \
        const float *a = op_in(p, 0), *b = p->call.op->inputs > 1 ? op_in(p, 1) : a;                                   \
        float *out = op_out(p, 0);                                                                                     \
        (void)attr;                                                                                                    \
        (void)b;                                                                                                       \
        for (uint64_t i = 0; i < elements_out(p); i++) out[i] = (expression);                                          \
        return true;                                                                                                   \
    }

/* Not `a > 0 ? a : 0`: what is not a number must show. */
ELEMENTWISE(relu, a[i] <= 0 ? 0 : a[i])
ELEMENTWISE(relu_backward, a[i] <= 0 ? 0 : b[i])
ELEMENTWISE(add, a[i] + b[i])
ELEMENTWISE(subtract, a[i] - b[i])
ELEMENTWISE(mul, a[i] * b[i])
ELEMENTWISE(scale, attr->scale.alpha *a[i] + attr->scale.beta)
ELEMENTWISE(scale_backward, attr->scale.alpha *a[i])
ELEMENTWISE(sigmoid, (float)(1 / (1 + exp(-(double)a[i]))))
ELEMENTWISE(sigmoid_backward, b[i] * a[i] * (1 - a[i]))

static bool dropout(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *x = op_in(p, 0);
    float *y = op_out(p, 0), drop = p->call.op->attr.dropout.drop;
    uint32_t threshold = p->call.pass == PASS_EVALUATE ? 0 : dropout_threshold(drop);
    float keep = p->call.pass == PASS_EVALUATE ? 1 : 1 / (1 - drop);
    struct random draw = {.seed = p->device->step.seed, .stream = dropout_stream(p->device, dropout_op(p))};
    for (uint64_t i = 0; i < elements_out(p); i++) y[i] = random_next(&draw) < threshold ? 0 : x[i] * keep;
    return true;
}

/* ---- Moving channels and pixels ---- */

static bool shortcut_pad(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *x = op_in(p, 0);
    float *y = op_out(p, 0);
    const uint32_t *xd = dims_in(p, 0), *yd = dims_out(p, 0);
    uint32_t stride = p->call.op->attr.shortcut.stride;
    for (uint64_t i = 0; i < elements_out(p); i++) {
        uint64_t o[4];
        coordinates(yd, i, o);
        y[i] = o[3] < xd[3] ? x[index_at(xd, o[0], o[1] * stride, o[2] * stride, o[3])] : 0;
    }
    return true;
}

static bool shortcut_pad_backward(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *dy = op_in(p, 0);
    float *dx = op_out(p, 0);
    const uint32_t *xd = dims_out(p, 0), *yd = dims_in(p, 0);
    uint32_t stride = p->call.op->attr.shortcut.stride;
    for (uint64_t i = 0; i < elements_out(p); i++) {
        uint64_t o[4];
        coordinates(xd, i, o);
        bool read = o[1] % stride == 0 && o[2] % stride == 0 && o[1] / stride < yd[1] && o[2] / stride < yd[2];
        dx[i] = read ? dy[index_at(yd, o[0], o[1] / stride, o[2] / stride, o[3])] : 0;
    }
    return true;
}

static bool concat(const struct prepared *p, struct error *err)
{
    (void)err;
    float *y = op_out(p, 0);
    uint64_t channels = dims_out(p, 0)[3], rows = elements_out(p) / channels, first = 0;
    for (unsigned i = 0; i < p->call.op->inputs; i++) {
        const float *x = op_in(p, i);
        uint64_t part = dims_in(p, i)[3];
        for (uint64_t row = 0; row < rows; row++) memcpy(y + row * channels + first, x + row * part, part * sizeof *x);
        first += part;
    }
    return true;
}

static bool concat_backward(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *dy = op_in(p, 0);
    float *dx = op_out(p, 0);
    uint64_t channels = dims_in(p, 0)[3], part = dims_out(p, 0)[3], rows = elements_out(p) / part;
    for (uint64_t row = 0; row < rows; row++)
        memcpy(dx + row * part, dy + row * channels + p->call.op->attr.concat.first, part * sizeof *dx);
    return true;
}

/* ---- Images of bytes (lower.h) ---- */

static bool input(const struct prepared *p, struct error *err)
{
    (void)err;
    const struct step *step = &p->device->step;
    const uint8_t *pixels = op_in(p, 0);
    float *images = op_out(p, 0);
    const uint32_t *d = dims_out(p, 0);
    for (uint64_t i = 0; i < elements_out(p); i++) {
        uint64_t o[4];
        coordinates(d, i, o);
        const int32_t *placement = (const int32_t *)op_in(p, 1) + o[0] * INPUT_PLACEMENT;
        int64_t row = (int64_t)o[1] + placement[1];
        int64_t column = (int64_t)(placement[2] ? d[2] - 1 - o[2] : o[2]) + placement[0];
        images[i] = 0;
        if (row < 0 || row >= d[1] || column < 0 || column >= d[2]) continue;
        float pixel = (float)pixels[index_at(d, o[0], (uint64_t)row, (uint64_t)column, o[3])] / 255.0f;
        images[i] = (pixel - step->mean[o[3]]) / step->deviation[o[3]];
    }
    return true;
}

/* ---- Gradient buckets ---- */

static bool accumulate(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *part = op_in(p, 0);
    float *bucket = op_out(p, 0);
    bool copy = p->device->step.micro_batch == 0;
    for (uint64_t i = 0; i < elements_out(p); i++) bucket[i] = copy ? part[i] : bucket[i] + part[i];
    return true;
}

const struct cpu_table cpu_reference_table = {
    .kernels =
        {
            [OP_CONV] = {cpu_reference_conv},
            [OP_BN] = {cpu_reference_bn, cpu_reference_bn_workspace},
            [OP_RELU] = {relu},
            [OP_ADD] = {add},
            [OP_MUL] = {mul},
            [OP_SCALE] = {scale},
            [OP_SIGMOID] = {sigmoid},
            [OP_DROPOUT] = {dropout},
            [OP_MAXPOOL] = {maxpool},
            [OP_AVGPOOL] = {avgpool},
            [OP_SHORTCUT_PAD] = {shortcut_pad},
            [OP_FC] = {fc},
            [OP_SOFTMAX_LOSS] = {cpu_run_softmax_loss},
            [OP_CONCAT] = {concat},
            [OP_CONV_BWD_DATA] = {cpu_reference_conv_backward_data},
            [OP_CONV_BWD_WEIGHTS] = {cpu_reference_conv_backward_weights},
            [OP_BN_BWD] = {cpu_reference_bn_backward, cpu_reference_bn_workspace},
            [OP_RELU_BWD] = {relu_backward},
            [OP_MUL_BWD] = {mul},
            [OP_SCALE_BWD] = {scale_backward},
            [OP_SIGMOID_BWD] = {sigmoid_backward},
            [OP_DROPOUT_BWD] = {dropout},
            [OP_MAXPOOL_BWD] = {maxpool_backward},
            [OP_AVGPOOL_BWD] = {avgpool_backward},
            [OP_SHORTCUT_PAD_BWD] = {shortcut_pad_backward},
            [OP_FC_BWD_DATA] = {fc_backward_data},
            [OP_FC_BWD_WEIGHTS] = {fc_backward_weights},
            [OP_SOFTMAX_LOSS_BWD] = {cpu_run_softmax_loss_backward},
            [OP_CONCAT_BWD] = {concat_backward},
            [OP_ADD_GRADIENT] = {add},
            [OP_ACCUMULATE] = {accumulate},
            [OP_ALL_REDUCE] = {cpu_run_all_reduce, .half = HALF_OWN},
            [OP_UPDATE] = {cpu_reference_update},
            [OP_GRADIENT_NORM] = {cpu_run_gradient_norm, cpu_gradient_norm_workspace},
            [OP_WEIGHTS_AVERAGE] = {cpu_run_weights_average},
            [OP_GRADIENT_CHECK] = {cpu_run_gradient_check},
            [OP_LOSS_SCALE_UPDATE] = {cpu_run_loss_scale_update},
            [OP_WEIGHTS_COPY] = {cpu_run_weights_copy, .half = HALF_OWN},
            [OP_GRADIENTS_WIDEN] = {cpu_run_gradients_widen, .half = HALF_OWN},
            [OP_INPUT] = {input},
            [OP_BN_SUMS] = {cpu_reference_bn_sums},
            [OP_BN_FINALIZE] = {cpu_bn_finalize, cpu_bn_finalize_workspace},
            [OP_BN_APPLY] = {cpu_reference_bn_apply},
            [OP_BN_BWD_SUMS] = {cpu_reference_bn_backward_sums},
            [OP_BN_BWD_FINALIZE] = {cpu_bn_backward_finalize, cpu_bn_finalize_workspace},
            [OP_BN_BWD_APPLY] = {cpu_reference_bn_backward_apply, cpu_bn_backward_tables_workspace},
        },
    .reconstruct = subtract,
    .blocked_weights = false,
};
