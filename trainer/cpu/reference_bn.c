/* Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167) as its definition reads, in double.
 *
 * The mask, when ReLU is fused, has one bit per element: bit i % 8 of byte i / 8 is 1 where ReLU
 * let the element through. */
#include <math.h>
#include <string.h>

#include "cpu_device.h"

/* What forward and backward know about the op: of one group of images, where its statistics are of several. */
struct norm {
    uint64_t rows, channels;
    uint64_t first;         /* row of the op's tensors */
    uint32_t group, groups; /* which, of how many */
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

static struct norm norm_of(const struct prepared *p, uint32_t group, uint32_t groups)
{
    const struct tensor *x = p->call.in_tensor[0];
    const union op_attr *a = &p->call.op->attr;
    uint64_t channels = x->dims[3], rows = tensor_elements(x) / channels / groups;
    return (struct norm){rows, channels, group * rows, group, groups, a->bn.epsilon, a->bn.relu, op_scratch(p)};
}

/* Of the group: rows of an operand, and its mean or variance. */
static const float *rows_in(const struct prepared *p, unsigned i, const struct norm *b)
{
    return (const float *)op_in(p, i) + b->first * b->channels;
}
static float *rows_out(const struct prepared *p, unsigned i, const struct norm *b)
{
    return (float *)op_out(p, i) + b->first * b->channels;
}
static float *vector_out(const struct prepared *p, unsigned i, const struct norm *b)
{
    return (float *)op_out(p, i) + b->group * b->channels;
}
static const float *vector_in(const struct prepared *p, unsigned i, const struct norm *b)
{
    return (const float *)op_in(p, i) + b->group * b->channels;
}

/* Sums of all devices when the op is synchronised. */
static bool gather(const struct prepared *p, double *sums, uint64_t count, struct error *err)
{
    return !op_synchronised(p) || group_sum_f64(p->device->group, sums, sums, count, err);
}

/* Mean and biased variance of each channel into out[1] and out[2]; *count = values they are taken over. */
static bool take_statistics(const struct prepared *p, const struct norm *b, double *count, struct error *err)
{
    const float *x = rows_in(p, 0, b);
    float *mean = vector_out(p, 1, b), *variance = vector_out(p, 2, b);
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

/* Running statistics move towards the batch's, or the mean of its groups'; the variance there is the unbiased one. */
static void move_running(const struct prepared *p, const struct norm *b, double count)
{
    const float *mean = vector_out(p, 1, b), *variance = vector_out(p, 2, b);
    float *running_mean = (float *)(p->device->arena + p->call.in[3]);
    float *running_variance = (float *)(p->device->arena + p->call.in[4]);
    double momentum = (double)p->device->step.bn_momentum, unbias = count > 1 ? count / (count - 1) : 1;
    double stays = b->group == 0 ? 1 - momentum : 1, m = momentum / b->groups;
    for (uint64_t c = 0; c < b->channels; c++) {
        running_mean[c] = (float)(stays * (double)running_mean[c] + m * (double)mean[c]);
        running_variance[c] = (float)(stays * (double)running_variance[c] + m * unbias * (double)variance[c]);
    }
}

/* Of each group by its own statistics, of all by the running ones; a mask's bits are set where it is 0. */
static bool normalize(const struct prepared *p, const struct norm *group, uint8_t *mask, struct error *err)
{
    const struct norm b = *group;
    const bool running = bn_is_frozen(p->call.op, p->call.pass);
    if (p->call.pass == PASS_FORWARD && !running) {
        double count = 0;
        TRY(take_statistics(p, &b, &count, err));
        move_running(p, &b, count);
    }
    const float *x = rows_in(p, 0, &b), *gamma = op_in(p, 1), *beta = op_in(p, 2);
    const float *mean = running ? op_in(p, 3) : vector_out(p, 1, &b);
    const float *variance = running ? op_in(p, 4) : vector_out(p, 2, &b);
    float *y = rows_out(p, 0, &b);
    for (uint64_t i = 0; i < b.rows * b.channels; i++) {
        uint64_t c = i % b.channels;
        double inverse = 1 / sqrt((double)variance[c] + (double)b.epsilon);
        double value = ((double)x[i] - (double)mean[c]) * inverse * (double)gamma[c] + (double)beta[c];
        uint64_t bit = b.first * b.channels + i;
        if (mask && !(value <= 0)) mask[bit / 8] = (uint8_t)(mask[bit / 8] | 1u << bit % 8);
        y[i] = (float)(b.relu && value <= 0 ? 0 : value);
    }
    return true;
}

bool cpu_reference_bn(const struct prepared *p, struct error *err)
{
    const struct op_call *call = &p->call;
    const bool masks = call->op->attr.bn.relu && call->pass != PASS_EVALUATE;
    const uint32_t groups = bn_is_frozen(call->op, call->pass) ? 1 : bn_groups(call->out_tensor[1]);
    uint8_t *mask = masks ? op_out(p, call->op->outputs - 1u) : NULL;
    if (mask) memset(mask, 0, (tensor_elements(call->in_tensor[0]) + 7) / 8);
    for (uint32_t i = 0; i < groups; i++) {
        const struct norm group = norm_of(p, i, groups);
        TRY(normalize(p, &group, mask, err));
    }
    return true;
}

/* d(loss)/d(y before ReLU) of element i. */
static double pre_gradient(float dy, const uint8_t *mask, uint64_t i)
{
    return mask && !(mask[i / 8] >> i % 8 & 1) ? 0 : (double)dy;
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
        const double inverse = 1 / sqrt((double)variance[c] + (double)b->epsilon), from = pre_gradient(dy[i], mask, i);
        b->sums[c] += from;
        b->sums[b->channels + c] += from * ((double)x[i] - (double)mean[c]) * inverse;
        dx[i] = (float)((double)gamma[c] * inverse * from);
    }
    for (uint64_t c = 0; trains && c < b->channels; c++) {
        ((float *)op_out(p, 2))[c] = (float)b->sums[c];
        ((float *)op_out(p, 1))[c] = (float)b->sums[b->channels + c];
    }
}

/* Adds the group's gradients of gamma and beta to those of the groups before. */
static bool backward(const struct prepared *p, const struct norm *group, struct error *err)
{
    const struct norm b = *group;
    const float *x = rows_in(p, 0, &b), *dy = rows_in(p, 1, &b), *gamma = op_in(p, 2);
    const float *mean = vector_in(p, 3, &b), *variance = vector_in(p, 4, &b);
    const uint8_t *mask = b.relu ? op_in(p, 5) : NULL;
    const uint64_t bit = b.first * b.channels;
    float *dx = rows_out(p, 0, &b), *dgamma = op_out(p, 1), *dbeta = op_out(p, 2);
    double *sum = b.sums, *product = b.sums + b.channels;
    memset(b.sums, 0, 2 * b.channels * sizeof *b.sums);
    for (uint64_t i = 0; i < b.rows * b.channels; i++) {
        uint64_t c = i % b.channels;
        double inverse = 1 / sqrt((double)variance[c] + (double)b.epsilon);
        double from = pre_gradient(dy[i], mask, bit + i);
        sum[c] += from;
        product[c] += from * ((double)x[i] - (double)mean[c]) * inverse;
    }
    for (uint64_t c = 0; c < b.channels; c++) {
        dbeta[c] = b.group > 0 ? dbeta[c] + (float)sum[c] : (float)sum[c];
        dgamma[c] = b.group > 0 ? dgamma[c] + (float)product[c] : (float)product[c];
    }
    b.sums[2 * b.channels] = (double)b.rows;
    TRY(gather(p, b.sums, 2 * b.channels + 1, err));
    double count = b.sums[2 * b.channels];
    for (uint64_t i = 0; i < b.rows * b.channels; i++) {
        uint64_t c = i % b.channels;
        double inverse = 1 / sqrt((double)variance[c] + (double)b.epsilon);
        double normal = ((double)x[i] - (double)mean[c]) * inverse;
        double centred = pre_gradient(dy[i], mask, bit + i) - sum[c] / count - normal * product[c] / count;
        dx[i] = (float)((double)gamma[c] * inverse * centred);
    }
    return true;
}

bool cpu_reference_bn_backward(const struct prepared *p, struct error *err)
{
    const uint32_t groups = bn_groups(p->call.in_tensor[3]);
    for (uint32_t i = 0; i < groups; i++) {
        const struct norm group = norm_of(p, i, groups);
        if (p->call.op->attr.bn.frozen) return frozen_backward(p, &group), true;
        TRY(backward(p, &group, err));
    }
    return true;
}
