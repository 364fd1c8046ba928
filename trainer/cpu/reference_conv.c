/* Convolutions as the loops their definitions read as, with what a lowered one does besides (lower.h). */
#include "bn_rows.h"
#include "reference_private.h"

static double convolve_one(const struct prepared *p, const struct source *x, const uint64_t o[4])
{
    const float *w = op_in(p, 1);
    const uint32_t *xd = dims_in(p, 0), *wd = dims_in(p, 1);
    const uint32_t *padding = p->call.op->attr.conv.padding, stride = p->call.op->attr.conv.stride;
    double sum = 0;
    for (uint64_t r = 0; r < wd[1]; r++)
        for (uint64_t s = 0; s < wd[2]; s++) {
            uint64_t h, v;
            if (!tap_row(o[1], r, stride, padding[0], xd[1], &h) || !tap_row(o[2], s, stride, padding[1], xd[2], &v))
                continue;
            for (uint64_t c = 0; c < xd[3]; c++)
                sum += source_value(x, index_at(xd, o[0], h, v, c)) * (double)w[index_at(wd, o[3], r, s, c)];
        }
    return sum;
}

/* Whether the op is to write the sums of its result: in its first run, in training. */
static bool writes_sums(const struct prepared *p)
{
    return p->call.op->attr.conv.fused & CONV_SUMS && p->call.pass == PASS_FORWARD;
}

bool cpu_reference_conv(const struct prepared *p, struct error *err)
{
    (void)err;
    struct conv_operands operands = conv_operands(p->call.op);
    struct source x = source_of(p, 0);
    float *y = op_out(p, 0);
    const float *bias = operands.bias == NO_OPERAND ? NULL : op_in(p, operands.bias);
    const float *residual = operands.residual == NO_OPERAND ? NULL : op_in(p, operands.residual);
    const uint32_t *d = dims_out(p, 0);
    for (uint64_t n = 0; n < d[0]; n++)
        for (uint64_t h = 0; h < d[1]; h++)
            for (uint64_t w = 0; w < d[2]; w++)
                for (uint64_t k = 0; k < d[3]; k++) {
                    uint64_t i = index_at(d, n, h, w, k);
                    double sum = convolve_one(p, &x, (uint64_t[4]){n, h, w, k}) + (bias ? (double)bias[k] : 0);
                    y[i] = (float)(residual ? sum + (double)residual[i] : sum);
                }
    if (writes_sums(p)) reference_sums(y, elements_out(p), d[3], op_out(p, 1));
    return true;
}

/* Sum over the outputs that read input pixel i[0..2], channel i[3]. */
static double conv_data_gradient(const struct prepared *p, const struct source *dy, const uint64_t i[4])
{
    const float *w = op_in(p, 1);
    const uint32_t *yd = dims_in(p, 0), *wd = dims_in(p, 1);
    const uint32_t *padding = p->call.op->attr.conv.padding, stride = p->call.op->attr.conv.stride;
    double sum = 0;
    for (uint64_t r = 0; r < wd[1]; r++)
        for (uint64_t s = 0; s < wd[2]; s++) {
            uint64_t h = i[1] + padding[0] - r, v = i[2] + padding[1] - s;
            if (i[1] + padding[0] < r || i[2] + padding[1] < s || h % stride || v % stride) continue;
            if (h / stride >= yd[1] || v / stride >= yd[2]) continue;
            for (uint64_t k = 0; k < yd[3]; k++)
                sum += source_value(dy, index_at(yd, i[0], h / stride, v / stride, k)) *
                       (double)w[index_at(wd, k, r, s, i[3])];
        }
    return sum;
}

/* Adds x's other gradient, and zeroes what ReLU shut that made x. */
static void add_data_gradient(const struct prepared *p)
{
    struct conv_operands o = conv_operands(p->call.op);
    const float *other = o.residual == NO_OPERAND ? NULL : op_in(p, o.residual);
    const float *rectified = o.rectified == NO_OPERAND ? NULL : op_in(p, o.rectified);
    float *dx = op_out(p, 0);
    for (uint64_t i = 0; i < elements_out(p); i++) {
        if (other) dx[i] += other[i];
        if (rectified && rectified[i] <= 0) dx[i] = 0;
    }
}

/* dy as it is read: where it is kept it is read from there, since both outputs may lie over inputs. */
static struct source data_source(const struct prepared *p)
{
    struct conv_operands o = conv_operands(p->call.op);
    struct source dy = source_of(p, 0);
    if (o.kept == NO_OPERAND) return dy;
    float *kept = op_out(p, o.kept);
    uint64_t elements = tensor_elements(p->call.in_tensor[0]);
    for (uint64_t i = 0; i < elements; i++) kept[i] = (float)source_value(&dy, i);
    return (struct source){.values = kept, .channels = dy.channels};
}

/* Zeroes what ReLU shut, and takes the BN's gradient sums. */
static void finish_data_gradient(const struct prepared *p)
{
    struct conv_operands o = conv_operands(p->call.op);
    uint64_t channels = dims_out(p, 0)[3];
    float *dx = op_out(p, 0);
    if (o.x == NO_OPERAND) return;
    const void *norm = op_in(p, o.norm);
    const float *x = op_in(p, o.x);
    for (uint64_t i = 0; p->call.op->attr.conv.fused & CONV_SHUTS && i < elements_out(p); i++)
        if (normalized_value(norm, channels, x, i) <= 0) dx[i] = 0;
    reference_gradient_sums(dx, x, elements_out(p), channels, norm, false, op_out(p, 1));
}

bool cpu_reference_conv_backward_data(const struct prepared *p, struct error *err)
{
    (void)err;
    struct source dy = data_source(p);
    float *dx = op_out(p, 0);
    const uint32_t *d = dims_out(p, 0);
    for (uint64_t n = 0; n < d[0]; n++)
        for (uint64_t h = 0; h < d[1]; h++)
            for (uint64_t w = 0; w < d[2]; w++)
                for (uint64_t c = 0; c < d[3]; c++)
                    dx[index_at(d, n, h, w, c)] = (float)conv_data_gradient(p, &dy, (uint64_t[4]){n, h, w, c});
    add_data_gradient(p);
    finish_data_gradient(p);
    return true;
}

static double conv_weight_gradient(const struct prepared *p, const struct source *x, const struct source *dy,
                                   const uint64_t i[4])
{
    const uint32_t *xd = dims_in(p, 0), *yd = dims_in(p, 1);
    const uint32_t *padding = p->call.op->attr.conv.padding, stride = p->call.op->attr.conv.stride;
    double sum = 0;
    for (uint64_t n = 0; n < yd[0]; n++)
        for (uint64_t h = 0; h < yd[1]; h++)
            for (uint64_t v = 0; v < yd[2]; v++) {
                uint64_t row, column;
                if (!tap_row(h, i[1], stride, padding[0], xd[1], &row)) continue;
                if (!tap_row(v, i[2], stride, padding[1], xd[2], &column)) continue;
                sum +=
                    source_value(x, index_at(xd, n, row, column, i[3])) * source_value(dy, index_at(yd, n, h, v, i[0]));
            }
    return sum;
}

void reference_bias_gradient(const struct prepared *p)
{
    if (p->call.op->outputs < 2) return;
    struct source dy = source_of(p, 1);
    float *dbias = op_out(p, 1);
    uint64_t channels = dims_in(p, 1)[3], rows = tensor_elements(p->call.in_tensor[1]) / channels;
    for (uint64_t k = 0; k < channels; k++) {
        double sum = 0;
        for (uint64_t row = 0; row < rows; row++) sum += source_value(&dy, row * channels + k);
        dbias[k] = (float)sum;
    }
}

bool cpu_reference_conv_backward_weights(const struct prepared *p, struct error *err)
{
    (void)err;
    struct source x = source_of(p, 0), dy = source_of(p, 1);
    float *dw = op_out(p, 0);
    const uint32_t *d = dims_out(p, 0);
    for (uint64_t k = 0; k < d[0]; k++)
        for (uint64_t r = 0; r < d[1]; r++)
            for (uint64_t s = 0; s < d[2]; s++)
                for (uint64_t c = 0; c < d[3]; c++)
                    dw[index_at(d, k, r, s, c)] = (float)conv_weight_gradient(p, &x, &dy, (uint64_t[4]){k, r, s, c});
    reference_bias_gradient(p);
    return true;
}
