/* What a lowered BN does channel by channel, between its sums and its use. Sums of several devices are gathered here.
 */
#include <math.h>

#include "bn_rows.h"

bool cpu_bn_finalize_workspace(const struct op_call *call, uint64_t *bytes, struct error *err)
{
    (void)err;
    *bytes = (2ull * call->in_tensor[0]->dims[3] + 1) * sizeof(double);
    return true;
}

/* Sums of all devices when the op is synchronised. */
static bool gather(const struct prepared *p, double *sums, uint64_t count, struct error *err)
{
    return !op_synchronised(p) || group_sum_f64(p->device->group, sums, sums, count, err);
}

/* Mean and squares of this device's rows in `all`, 2 * channels, become those of all devices; *count likewise. */
static bool merge_devices(const struct prepared *p, double *all, uint64_t channels, double *count, struct error *err)
{
    const double *own_mean = op_in(p, 0), own = *count;
    if (!op_synchronised(p)) return true;
    for (uint64_t c = 0; c < channels; c++) all[c] = own_mean[c] * own;
    all[channels] = own;
    TRY(gather(p, all, channels + 1, err));
    *count = all[channels];
    double *squares = all + channels;
    const double *own_squares = own_mean + channels;
    for (uint64_t c = 0; c < channels; c++) {
        all[c] /= *count;
        double difference = own_mean[c] - all[c];
        squares[c] = own_squares[c] + own * difference * difference;
    }
    return gather(p, squares, channels, err);
}

static void set_norm(const struct prepared *p, const float *mean, const float *variance)
{
    uint64_t channels = p->call.out_tensor[0]->dims[3];
    struct bn_norm_rows norm = bn_norm_rows(op_out(p, 0), channels);
    const float *gamma = op_in(p, 1), *beta = op_in(p, 2), epsilon = p->call.op->attr.bn.epsilon;
    for (uint64_t c = 0; c < channels; c++) {
        norm.mean[c] = mean[c];
        norm.variance[c] = variance[c];
        norm.scale[c] = gamma[c] / sqrtf(variance[c] + epsilon);
        norm.beta[c] = beta[c];
    }
}

/* Running statistics move towards the batch's; the variance there is the unbiased one. */
static void move_running(const struct prepared *p, const double *squares, double count)
{
    uint64_t channels = p->call.out_tensor[0]->dims[3];
    struct bn_norm_rows norm = bn_norm_rows(op_out(p, 0), channels);
    float *mean = (float *)(p->device->arena + p->call.in[3]), *variance = (float *)(p->device->arena + p->call.in[4]);
    const float m = p->device->step.bn_momentum;
    const double unbias = count > 1 ? 1 / (count - 1) : 1;
    for (uint64_t c = 0; c < channels; c++) {
        mean[c] = (1 - m) * mean[c] + m * norm.mean[c];
        variance[c] = (1 - m) * variance[c] + m * (float)(squares[c] * unbias);
    }
}

bool cpu_bn_finalize(const struct prepared *p, struct error *err)
{
    if (bn_is_frozen(p->call.op, p->call.pass)) {
        set_norm(p, op_in(p, 3), op_in(p, 4));
        return true;
    }
    uint64_t channels = p->call.out_tensor[0]->dims[3];
    const double *sums = op_in(p, 0);
    double *all = op_scratch(p), count = (double)p->call.op->attr.bn.rows;
    for (uint64_t i = 0; i < 2 * channels; i++) all[i] = sums[i];
    TRY(merge_devices(p, all, channels, &count, err));
    struct bn_norm_rows norm = bn_norm_rows(op_out(p, 0), channels);
    for (uint64_t c = 0; c < channels; c++) {
        norm.mean[c] = (float)all[c];
        norm.variance[c] = (float)(all[channels + c] / count);
    }
    set_norm(p, norm.mean, norm.variance);
    move_running(p, all + channels, count);
    return true;
}

/* dx = scale dy. */
static void make_frozen_coefficients(const struct bn_backward_tables *t)
{
    struct bn_norm_rows norm = bn_norm_rows(t->norm, t->channels);
    struct bn_coefficient_rows to = bn_coefficient_rows(t->coefficients, t->channels);
    for (uint64_t c = 0; c < t->channels; c++) {
        to.scale[c] = norm.scale[c];
        to.shift[c] = to.slope[c] = 0;
        to.mean[c] = norm.mean[c];
        to.beta[c] = norm.beta[c];
    }
}

/* dgamma and dbeta are of this device's images; dx is of all devices'. */
bool bn_make_coefficients(const struct prepared *p, const struct bn_backward_tables *t, struct error *err)
{
    const uint64_t channels = t->channels;
    const double *sums = t->sums, epsilon = (double)p->call.op->attr.bn.epsilon;
    struct bn_norm_rows norm = bn_norm_rows(t->norm, channels);
    struct bn_coefficient_rows to = bn_coefficient_rows(t->coefficients, channels);
    const uint8_t frozen = p->call.op->attr.bn.frozen;
    double *all = t->all;
    if (frozen) make_frozen_coefficients(t);
    if (frozen == BN_FROZEN) return true;
    float *dgamma = op_out(p, 1), *dbeta = op_out(p, 2);
    for (uint64_t c = 0; c < channels; c++) {
        dbeta[c] = (float)sums[c];
        dgamma[c] = (float)(sums[channels + c] / sqrt((double)norm.variance[c] + epsilon));
    }
    if (frozen) return true;
    for (uint64_t i = 0; i < 2 * channels; i++) all[i] = sums[i];
    all[2 * channels] = (double)p->call.op->attr.bn.rows;
    TRY(gather(p, all, 2 * channels + 1, err));
    for (uint64_t c = 0; c < channels; c++) {
        to.scale[c] = norm.scale[c];
        to.shift[c] = (float)(all[c] / all[2 * channels]);
        to.slope[c] = (float)(all[channels + c] / all[2 * channels] / ((double)norm.variance[c] + epsilon));
        to.mean[c] = norm.mean[c];
        to.beta[c] = norm.beta[c];
    }
    return true;
}

bool cpu_bn_backward_finalize(const struct prepared *p, struct error *err)
{
    const struct bn_backward_tables t = {.channels = p->call.out_tensor[0]->dims[3],
                                         .sums = op_in(p, 0),
                                         .norm = op_in(p, 2),
                                         .all = op_scratch(p),
                                         .coefficients = op_out(p, 0)};
    return bn_make_coefficients(p, &t, err);
}

/* ---- Of an op that also makes the gradient, and may take the sums itself ---- */

uint64_t bn_backward_tables_bytes(const struct op_call *call)
{
    return (4ull * sizeof(double) + 5 * sizeof(float)) * call->in_tensor[0]->dims[3] + sizeof(double);
}

struct bn_backward_tables bn_backward_tables_of(const struct prepared *p, void *scratch)
{
    struct bn_backward_tables t = {.channels = p->call.in_tensor[0]->dims[3], .norm = op_in(p, 2)};
    const bool whole = p->call.op->attr.bn.whole;
    t.own = scratch;
    t.sums = whole ? t.own : op_in(p, 3);
    t.all = t.own + 2 * t.channels;
    t.coefficients = (float *)(t.all + 2 * t.channels + 1);
    return t;
}

bool cpu_bn_backward_tables_workspace(const struct op_call *call, uint64_t *bytes, struct error *err)
{
    (void)err;
    *bytes = bn_backward_tables_bytes(call);
    return true;
}
