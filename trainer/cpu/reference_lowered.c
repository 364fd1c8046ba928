/* The parts of a lowered BN as their definitions read (bn_rows.h), in double; and operands that are read through one.
 */
#include <string.h>

#include "bn_rows.h"
#include "reference_private.h"

/* ---- Operands ---- */

double normalized_value(const void *norm, uint64_t channels, const float *x, uint64_t i)
{
    struct bn_norm_rows n = bn_norm_rows(norm, channels);
    uint64_t c = i % channels;
    return ((double)x[i] - (double)n.mean[c]) * (double)n.scale[c] + (double)n.beta[c];
}

static double gradient_value(const struct source *s, uint64_t i)
{
    struct bn_coefficient_rows n = bn_coefficient_rows(s->coefficients, s->channels);
    const float *x = s->y;
    uint64_t c = i % s->channels;
    double from_mean = (double)x[i] - (double)n.mean[c], dy = (double)s->values[i];
    if (s->relu && from_mean * (double)n.scale[c] + (double)n.beta[c] <= 0) dy = 0;
    return (double)n.scale[c] * (dy - (double)n.shift[c] - from_mean * (double)n.slope[c]);
}

double source_value_lowered(const struct source *s, uint64_t i)
{
    if (s->coefficients) return gradient_value(s, i);
    double value = normalized_value(s->norm, s->channels, s->values, i);
    return s->relu && value <= 0 ? 0 : value;
}

static void read_gradient(const struct prepared *p, struct source *s, unsigned y, unsigned coefficients, bool shut)
{
    s->y = op_in(p, y);
    s->coefficients = op_in(p, coefficients);
    s->relu = shut;
}

static void read_norm(const struct prepared *p, struct source *s, unsigned norm, bool relu)
{
    s->norm = op_in(p, norm);
    s->relu = relu;
}

static void read_conv(const struct prepared *p, struct source *s, unsigned operand)
{
    struct conv_operands o = conv_operands(p->call.op);
    uint32_t fused = p->call.op->attr.conv.fused;
    bool gradient = p->call.op->kind == OP_CONV_BWD_DATA ? operand == 0 : operand == 1;
    if (gradient && o.y != NO_OPERAND) read_gradient(p, s, o.y, o.coefficients, fused & CONV_GRADIENT_SHUT);
    if (!gradient && fused & CONV_NORMALIZED) read_norm(p, s, o.norm, fused & CONV_RECTIFIED);
}

struct source source_of(const struct prepared *p, unsigned operand)
{
    struct source s = {.values = op_in(p, operand), .channels = dims_in(p, operand)[3]};
    const union op_attr *attr = &p->call.op->attr;
    switch (p->call.op->kind) {
    case OP_CONV:
    case OP_CONV_BWD_DATA:
    case OP_CONV_BWD_WEIGHTS: read_conv(p, &s, operand); break;
    case OP_BN_APPLY: read_norm(p, &s, 1, attr->bn.relu); break;
    default: break;
    }
    return s;
}

/* ---- Sums ---- */

void reference_sums(const float *x, uint64_t elements, uint64_t channels, double *sums)
{
    double *mean = sums, *squares = sums + channels;
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (uint64_t i = 0; i < elements; i++) mean[i % channels] += (double)x[i];
    for (uint64_t c = 0; c < channels; c++) mean[c] /= (double)(elements / channels);
    for (uint64_t i = 0; i < elements; i++) {
        double difference = (double)x[i] - mean[i % channels];
        squares[i % channels] += difference * difference;
    }
}

void reference_gradient_sums(const float *dy, const float *x, uint64_t elements, uint64_t channels, const void *norm,
                             bool relu, double *sums)
{
    struct bn_norm_rows n = bn_norm_rows(norm, channels);
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (uint64_t i = 0; i < elements; i++) {
        uint64_t c = i % channels;
        if (relu && normalized_value(norm, channels, x, i) <= 0) continue;
        sums[c] += (double)dy[i];
        sums[channels + c] += (double)dy[i] * ((double)x[i] - (double)n.mean[c]);
    }
}

/* ---- Ops ---- */

bool cpu_reference_bn_sums(const struct prepared *p, struct error *err)
{
    (void)err;
    if (p->call.pass == PASS_EVALUATE) return true;
    reference_sums(op_in(p, 0), tensor_elements(p->call.in_tensor[0]), dims_in(p, 0)[3], op_out(p, 0));
    return true;
}

bool cpu_reference_bn_backward_sums(const struct prepared *p, struct error *err)
{
    (void)err;
    reference_gradient_sums(op_in(p, 1), op_in(p, 0), tensor_elements(p->call.in_tensor[0]), dims_in(p, 0)[3],
                            op_in(p, 2), p->call.op->attr.bn.relu, op_out(p, 0));
    return true;
}

bool cpu_reference_bn_apply(const struct prepared *p, struct error *err)
{
    (void)err;
    struct source s = source_of(p, 0);
    const float *other = p->call.op->inputs > 2 ? op_in(p, 2) : NULL;
    float *y = op_out(p, 0);
    s.relu = s.relu && !other;
    for (uint64_t i = 0; i < elements_out(p); i++) {
        double sum = source_value(&s, i) + (other ? (double)other[i] : 0);
        y[i] = (float)(other && p->call.op->attr.bn.relu && sum <= 0 ? 0 : sum);
    }
    return true;
}

bool cpu_reference_bn_backward_apply(const struct prepared *p, struct error *err)
{
    const struct bn_backward_tables t = bn_backward_tables_of(p, op_scratch(p));
    const uint8_t operand = bn_other_gradient(p->call.op);
    const bool relu = p->call.op->attr.bn.relu;
    struct source s = {.values = op_in(p, 1), .channels = t.channels, .y = op_in(p, 0), .relu = relu};
    const float *other = operand == NO_OPERAND ? NULL : op_in(p, operand);
    float *dx = op_out(p, 0);
    if (t.own == t.sums && p->call.op->attr.bn.frozen != BN_FROZEN)
        reference_gradient_sums(op_in(p, 1), op_in(p, 0), elements_out(p), t.channels, t.norm, relu, t.own);
    TRY(bn_make_coefficients(p, &t, err));
    s.coefficients = t.coefficients;
    for (uint64_t i = 0; i < elements_out(p); i++)
        dx[i] = (float)(source_value(&s, i) + (other ? (double)other[i] : 0));
    if (p->call.op->outputs < 4) return true;
    const struct source normal = {.values = op_in(p, 0), .channels = t.channels, .norm = t.norm, .relu = relu};
    float *y = op_out(p, 3);
    for (uint64_t i = 0; i < elements_out(p); i++) y[i] = (float)source_value(&normal, i);
    return true;
}
