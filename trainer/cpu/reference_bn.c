/* Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167) as its definition reads, in double.
 *
 * The mask, when ReLU is fused, has one bit per element: bit i % 8 of byte i / 8 is 1 where ReLU
 * let the element through. */
#include <math.h>
#include <string.h>

#include "cpu_device.h"

/* What forward and backward know about the op. */
struct norm {
    uint64_t rows, channels;
    float epsilon;
    bool relu;
    double *sums; /* 2 * channels + 1 in the workspace */
};

bool cpu_reference_bn_workspace(const struct op_call *call, uint64_t *bytes, struct error *err)
{
    (void)err;
    *bytes = (2ull * call->in_tensor[0]->dims[3] + 1) * sizeof(double);
    return true;
}

static struct norm norm_of(const struct prepared *p)
{
    const struct tensor *x = p->call.in_tensor[0];
    const union op_attr *a = &p->call.op->attr;
    uint64_t channels = x->dims[3];
    return (struct norm){tensor_elements(x) / channels, channels, a->bn.epsilon, a->bn.relu, op_scratch(p)};
}

/* Sums of all devices when the op is synchronised. */
static bool gather(const struct prepared *p, double *sums, uint64_t count, struct error *err)
{
    return !op_synchronised(p) || group_sum_f64(p->device->group, sums, sums, count, err);
}

/* Mean and biased variance of each channel into out[1] and out[2]; *count = values they are taken over. */
static bool take_statistics(const struct prepared *p, const struct norm *b, double *count, struct error *err)
{
    const float *x = op_in(p, 0);
    float *mean = op_out(p, 1), *variance = op_out(p, 2);
    double *sum = b->sums;
    memset(sum, 0, b->channels * sizeof *sum);
    for (uint64_t i = 0; i < b->rows * b->channels; i++) sum[i % b->channels] += (double)x[i];
    sum[b->channels] = (double)b->rows;
    TRY(gather(p, sum, b->channels + 1, err));
    *count = sum[b->channels];
    double *squares = sum + b->channels + 1;
    memset(squares, 0, b->channels * sizeof *squares);
    for (uint64_t i = 0; i < b->rows * b->channels; i++) {
        double difference = (double)x[i] - sum[i % b->channels] / *count;
        squares[i % b->channels] += difference * difference;
    }
    TRY(gather(p, squares, b->channels, err));
    for (uint64_t c = 0; c < b->channels; c++) {
        mean[c] = (float)(sum[c] / *count);
        variance[c] = (float)(squares[c] / *count);
    }
    return true;
}

/* Running statistics move towards the batch's; the variance there is the unbiased one. */
static void move_running(const struct prepared *p, const struct norm *b, double count)
{
    const float *mean = op_out(p, 1), *variance = op_out(p, 2);
    float *running_mean = (float *)(p->device->arena + p->call.in[3]);
    float *running_variance = (float *)(p->device->arena + p->call.in[4]);
    double m = (double)p->device->step.bn_momentum, unbias = count > 1 ? count / (count - 1) : 1;
    for (uint64_t c = 0; c < b->channels; c++) {
        running_mean[c] = (float)((1 - m) * (double)running_mean[c] + m * (double)mean[c]);
        running_variance[c] = (float)((1 - m) * (double)running_variance[c] + m * unbias * (double)variance[c]);
    }
}

bool cpu_reference_bn(const struct prepared *p, struct error *err)
{
    struct norm b = norm_of(p);
    const bool running = bn_is_frozen(p->call.op, p->call.pass);
    if (p->call.pass == PASS_FORWARD && !running) {
        double count = 0;
        TRY(take_statistics(p, &b, &count, err));
        move_running(p, &b, count);
    }
    const float *x = op_in(p, 0), *gamma = op_in(p, 1), *beta = op_in(p, 2);
    const float *mean = running ? op_in(p, 3) : op_out(p, 1), *variance = running ? op_in(p, 4) : op_out(p, 2);
    float *y = op_out(p, 0);
    uint8_t *mask = b.relu && p->call.pass != PASS_EVALUATE ? op_out(p, p->call.op->outputs - 1u) : NULL;
    if (mask) memset(mask, 0, (b.rows * b.channels + 7) / 8);
    for (uint64_t i = 0; i < b.rows * b.channels; i++) {
        uint64_t c = i % b.channels;
        double inverse = 1 / sqrt((double)variance[c] + (double)b.epsilon);
        double value = ((double)x[i] - (double)mean[c]) * inverse * (double)gamma[c] + (double)beta[c];
        if (mask && !(value <= 0)) mask[i / 8] = (uint8_t)(mask[i / 8] | 1u << i % 8);
        y[i] = (float)(b.relu && value <= 0 ? 0 : value);
    }
    return true;
}

/* d(loss)/d(y before ReLU) of element i. */
static double pre_gradient(const float *dy, const uint8_t *mask, uint64_t i)
{
    return mask && !(mask[i / 8] >> i % 8 & 1) ? 0 : (double)dy[i];
}

/* By the statistics that stay: dx is not through them, and gamma and beta may stay, too. */
static void frozen_backward(const struct prepared *p, const struct norm *b)
{
    const float *x = op_in(p, 0), *dy = op_in(p, 1), *gamma = op_in(p, 2), *mean = op_in(p, 3), *variance = op_in(p, 4);
    const uint8_t *mask = b->relu ? op_in(p, 5) : NULL;
    const bool trains = p->call.op->attr.bn.frozen != BN_FROZEN;
    float *dx = op_out(p, 0);
    memset(b->sums, 0, 2 * b->channels * sizeof *b->sums);
    for (uint64_t i = 0; i < b->rows * b->channels; i++) {
        const uint64_t c = i % b->channels;
        const double inverse = 1 / sqrt((double)variance[c] + (double)b->epsilon), from = pre_gradient(dy, mask, i);
        b->sums[c] += from;
        b->sums[b->channels + c] += from * ((double)x[i] - (double)mean[c]) * inverse;
        dx[i] = (float)((double)gamma[c] * inverse * from);
    }
    for (uint64_t c = 0; trains && c < b->channels; c++) {
        ((float *)op_out(p, 2))[c] = (float)b->sums[c];
        ((float *)op_out(p, 1))[c] = (float)b->sums[b->channels + c];
    }
}

bool cpu_reference_bn_backward(const struct prepared *p, struct error *err)
{
    struct norm b = norm_of(p);
    if (p->call.op->attr.bn.frozen) return frozen_backward(p, &b), true;
    const float *x = op_in(p, 0), *dy = op_in(p, 1), *gamma = op_in(p, 2), *mean = op_in(p, 3), *variance = op_in(p, 4);
    const uint8_t *mask = b.relu ? op_in(p, 5) : NULL;
    float *dx = op_out(p, 0), *dgamma = op_out(p, 1), *dbeta = op_out(p, 2);
    double *sum = b.sums, *product = b.sums + b.channels;
    memset(b.sums, 0, 2 * b.channels * sizeof *b.sums);
    for (uint64_t i = 0; i < b.rows * b.channels; i++) {
        uint64_t c = i % b.channels;
        double inverse = 1 / sqrt((double)variance[c] + (double)b.epsilon);
        sum[c] += pre_gradient(dy, mask, i);
        product[c] += pre_gradient(dy, mask, i) * ((double)x[i] - (double)mean[c]) * inverse;
    }
    for (uint64_t c = 0; c < b.channels; c++) {
        dbeta[c] = (float)sum[c];
        dgamma[c] = (float)product[c];
    }
    b.sums[2 * b.channels] = (double)b.rows;
    TRY(gather(p, b.sums, 2 * b.channels + 1, err));
    double count = b.sums[2 * b.channels];
    for (uint64_t i = 0; i < b.rows * b.channels; i++) {
        uint64_t c = i % b.channels;
        double inverse = 1 / sqrt((double)variance[c] + (double)b.epsilon);
        double normal = ((double)x[i] - (double)mean[c]) * inverse;
        double centred = pre_gradient(dy, mask, i) - sum[c] / count - normal * product[c] / count;
        dx[i] = (float)((double)gamma[c] * inverse * centred);
    }
    return true;
}
