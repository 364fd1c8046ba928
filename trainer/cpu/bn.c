/* Batch normalisation of cpu_backend.
 *
 * Rows (pixels of all images) are cut into parts that depend on the shape alone; each part is summed on its own and the
 * parts are merged in order. So the results do not depend on the number of threads, and normalising again with the
 * saved statistics gives the same bits. Sums across parts and devices are in double. */
#include <math.h>

#include "bn_parts.h"
#include "parallel.h"

#define MOST_PARTS        64u
#define ELEMENTS_PER_PART 16384u
#define PART_ROWS         8u /* parts begin at multiples: masks then begin with a whole byte */

struct part {
    double *first, *second; /* mean and squares, or the two sums of the gradient */
    float *scratch;
};

static uint64_t count_parts(uint64_t rows, uint64_t channels)
{
    uint64_t parts = rows * channels / ELEMENTS_PER_PART, most = (rows + PART_ROWS - 1) / PART_ROWS;
    if (parts > MOST_PARTS) parts = MOST_PARTS;
    if (parts > most) parts = most;
    return parts ? parts : 1;
}

uint64_t bn_parts_bytes(const struct tensor *x)
{
    uint64_t channels = x->dims[3], rows = tensor_elements(x) / channels;
    uint64_t parts = count_parts(rows, channels);
    return sizeof(double) * (2 * channels + 1 + parts * 2 * channels) +
           sizeof(float) * (parts * 2 * channels + 3 * channels);
}

bool cpu_bn_workspace(const struct op_call *call, uint64_t *bytes, struct error *err)
{
    (void)err;
    *bytes = bn_parts_bytes(call->in_tensor[0]);
    return true;
}

struct bn_parts bn_parts_of(const struct tensor *tensor, const float *x, void *scratch)
{
    uint64_t channels = tensor->dims[3], rows = tensor_elements(tensor) / channels;
    struct bn_parts b = {.loops = loops_best(), .rows = rows, .channels = channels, .x = x};
    b.parts = count_parts(rows, channels);
    b.sums = scratch;
    b.part_sums = b.sums + 2 * channels + 1;
    b.part_scratch = (float *)(b.part_sums + b.parts * 2 * channels);
    b.own_factor = b.part_scratch + b.parts * 2 * channels;
    b.own_shift = b.own_factor + channels;
    b.own_slope = b.own_shift + channels;
    b.factor = b.own_factor;
    b.shift = b.own_shift;
    b.slope = b.own_slope;
    return b;
}

static struct bn_parts norm_of(const struct prepared *p)
{
    struct bn_parts b = bn_parts_of(p->call.in_tensor[0], op_in(p, 0), op_scratch(p));
    b.op = p;
    b.relu = p->call.op->attr.bn.relu;
    b.out = op_out(p, 0);
    return b;
}

/* First row of part i; that of part `parts` is the end. */
static uint64_t part_row(const struct bn_parts *b, uint64_t i)
{
    uint64_t groups = (b->rows + PART_ROWS - 1) / PART_ROWS, row = groups * i / b->parts * PART_ROWS;
    return row < b->rows ? row : b->rows;
}

static struct part part_of(const struct bn_parts *b, uint64_t i)
{
    double *sums = b->part_sums + i * 2 * b->channels;
    return (struct part){sums, sums + b->channels, b->part_scratch + i * 2 * b->channels};
}

static struct bn_range range_of(const struct bn_parts *b, uint64_t i)
{
    uint64_t row = part_row(b, i), first = row * b->channels;
    return (struct bn_range){.x = b->x + first,
                             .rows = part_row(b, i + 1) - row,
                             .channels = b->channels,
                             .mask = b->mask ? b->mask + first / 8 : NULL,
                             .scratch = part_of(b, i).scratch};
}

static void run_parts(const struct bn_parts *b, parallel_task task)
{
    parallel_run(b->parts, b->rows * b->channels, task, b);
}

/* ---- Forward ---- */

static void take_part_statistics(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    for (uint64_t i = first; i < last; i++) {
        struct bn_range range = range_of(b, i);
        struct part part = part_of(b, i);
        b->loops->bn_statistics(&range, part.first, part.second);
    }
}

/* Mean and squares of all parts into part 0, in order (Chan, Golub and LeVeque, as in loops.c). */
static void merge_statistics(const struct bn_parts *b)
{
    struct part all = part_of(b, 0);
    for (uint64_t i = 1; i < b->parts; i++) {
        struct part next = part_of(b, i);
        double before = (double)part_row(b, i), total = (double)part_row(b, i + 1);
        double share = (total - before) / total, weight = share * before;
        for (uint64_t c = 0; c < b->channels; c++) {
            double difference = next.first[c] - all.first[c];
            all.first[c] += difference * share;
            all.second[c] += next.second[c] + difference * difference * weight;
        }
    }
}

static bool sum_over_devices(const struct bn_parts *b, uint64_t count, struct error *err)
{
    const struct device *device = b->op->device;
    return group_sum_f64(device->group, b->sums, b->sums, count, err);
}

/* The mean and squares of part 0 become those of all devices; *count likewise. */
static bool merge_devices(const struct bn_parts *b, double *count, struct error *err)
{
    struct part all = part_of(b, 0);
    double own = *count;
    for (uint64_t c = 0; c < b->channels; c++) b->sums[c] = all.first[c] * own;
    b->sums[b->channels] = own;
    TRY(sum_over_devices(b, b->channels + 1, err));
    *count = b->sums[b->channels];
    for (uint64_t c = 0; c < b->channels; c++) {
        double mean = b->sums[c] / *count, difference = all.first[c] - mean;
        all.first[c] = mean;
        b->sums[c] = all.second[c] + own * difference * difference;
    }
    TRY(sum_over_devices(b, b->channels, err));
    for (uint64_t c = 0; c < b->channels; c++) all.second[c] = b->sums[c];
    return true;
}

void bn_parts_statistics(const struct bn_parts *b)
{
    run_parts(b, take_part_statistics);
    merge_statistics(b);
}

static bool take_statistics(const struct bn_parts *b, struct error *err)
{
    const struct prepared *p = b->op;
    double count = (double)b->rows;
    bn_parts_statistics(b);
    if (op_synchronised(p)) TRY(merge_devices(b, &count, err));
    struct part all = part_of(b, 0);
    float *mean = op_out(p, 1), *variance = op_out(p, 2);
    float *running_mean = (float *)(p->device->arena + p->call.in[3]);
    float *running_variance = (float *)(p->device->arena + p->call.in[4]);
    const float m = p->device->step.bn_momentum;
    const double unbias = count > 1 ? 1 / (count - 1) : 1;
    for (uint64_t c = 0; c < b->channels; c++) {
        mean[c] = (float)all.first[c];
        variance[c] = (float)(all.second[c] / count);
        running_mean[c] = (1 - m) * running_mean[c] + m * mean[c];
        running_variance[c] = (1 - m) * running_variance[c] + m * (float)(all.second[c] * unbias);
    }
    return true;
}

static void normalize_parts(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    for (uint64_t i = first; i < last; i++) {
        struct bn_range range = range_of(b, i);
        uint64_t start = part_row(b, i) * b->channels;
        uint8_t *mask = b->mask_out ? b->mask_out + start / 8 : NULL;
        b->loops->bn_normalize(&range, b->mean, b->factor, b->beta, b->relu, b->out + start, mask);
    }
}

void bn_parts_normalize(const struct bn_parts *b) { run_parts(b, normalize_parts); }

static void mask_parts(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    for (uint64_t i = first; i < last; i++) {
        struct bn_range range = range_of(b, i);
        uint64_t start = part_row(b, i) * b->channels;
        b->loops->bn_mask(&range, b->mean, b->factor, b->beta, b->mask_out + start / 8);
    }
}

void bn_parts_mask(const struct bn_parts *b) { run_parts(b, mask_parts); }

/* factor = gamma / sqrt(variance + epsilon) */
static void find_factor(const struct bn_parts *b, const float *gamma, const float *variance)
{
    const float epsilon = b->op->call.op->attr.bn.epsilon;
    for (uint64_t c = 0; c < b->channels; c++) b->own_factor[c] = gamma[c] / sqrtf(variance[c] + epsilon);
}

bool cpu_bn(const struct prepared *p, struct error *err)
{
    struct bn_parts b = norm_of(p);
    bool evaluate = p->call.pass == PASS_EVALUATE;
    if (p->call.pass == PASS_FORWARD) TRY(take_statistics(&b, err));
    b.mean = evaluate ? op_in(p, 3) : op_out(p, 1);
    b.beta = op_in(p, 2);
    b.mask_out = b.relu && !evaluate ? op_out(p, 3) : NULL;
    find_factor(&b, op_in(p, 1), evaluate ? op_in(p, 4) : op_out(p, 2));
    bn_parts_normalize(&b);
    return true;
}

/* ---- Backward ---- */

static void sum_part_gradients(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    for (uint64_t i = first; i < last; i++) {
        struct bn_range range = range_of(b, i);
        struct part part = part_of(b, i);
        b->loops->bn_gradient_sums(&range, b->dy + part_row(b, i) * b->channels, b->mean, part.first, part.second);
    }
}

static void merge_gradients(const struct bn_parts *b)
{
    const uint64_t width = 2 * b->channels;
    for (uint64_t c = 0; c < width; c++) b->sums[c] = b->part_sums[c];
    for (uint64_t i = 1; i < b->parts; i++)
        for (uint64_t c = 0; c < width; c++) b->sums[c] += b->part_sums[i * width + c];
}

static void gradient_parts(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    for (uint64_t i = first; i < last; i++) {
        struct bn_range range = range_of(b, i);
        uint64_t start = part_row(b, i) * b->channels;
        b->loops->bn_gradient(&range, b->dy + start, b->mean, b->factor, b->shift, b->slope,
                              b->other ? b->other + start : NULL, b->out + start);
    }
}

void bn_parts_gradient_sums(const struct bn_parts *b)
{
    run_parts(b, sum_part_gradients);
    merge_gradients(b);
}

void bn_parts_gradient(const struct bn_parts *b) { run_parts(b, gradient_parts); }

/* dx = gamma inverse (dy - mean(dy) - (x - mean) inverse^2 mean(dy (x - mean))), inverse = 1 / sqrt(variance +
 * epsilon): arXiv:1502.03167, section 3, with the sums gathered. */
bool cpu_bn_backward(const struct prepared *p, struct error *err)
{
    struct bn_parts b = norm_of(p);
    const float *gamma = op_in(p, 2), *variance = op_in(p, 4), epsilon = p->call.op->attr.bn.epsilon;
    float *dgamma = op_out(p, 1), *dbeta = op_out(p, 2);
    const double *sum = b.sums, *product = b.sums + b.channels;
    double count = (double)b.rows;
    b.dy = op_in(p, 1);
    b.mean = op_in(p, 3);
    b.mask = b.relu ? op_in(p, 5) : NULL;
    bn_parts_gradient_sums(&b);
    for (uint64_t c = 0; c < b.channels; c++) {
        dgamma[c] = (float)(product[c] / sqrt((double)variance[c] + (double)epsilon));
        dbeta[c] = (float)sum[c];
    }
    if (op_synchronised(p)) {
        b.sums[2 * b.channels] = count;
        TRY(sum_over_devices(&b, 2 * b.channels + 1, err));
        count = b.sums[2 * b.channels];
    }
    find_factor(&b, gamma, variance);
    for (uint64_t c = 0; c < b.channels; c++) {
        b.own_shift[c] = (float)(sum[c] / count);
        b.own_slope[c] = (float)(product[c] / count / ((double)variance[c] + (double)epsilon));
    }
    bn_parts_gradient(&b);
    return true;
}
