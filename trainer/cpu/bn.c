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
#define PART_ROWS         8u     /* parts begin at multiples: masks then begin with a whole byte */
#define TILE_ELEMENTS     4096u  /* widened at a time where activations have 16 bits, and at least PART_ROWS rows */
#define MOST_TILE         16384u /* on the stack */
#define STREAMED_BYTES    (4u << 20)

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

static bool is_half(enum dtype dtype) { return dtype != DTYPE_F32; }

/* Over how many groups of images the op's statistics are, in this pass. */
static uint32_t groups_of(const struct op_call *call)
{
    if (call->op->kind == OP_BN) return bn_is_frozen(call->op, call->pass) ? 1 : bn_groups(call->out_tensor[1]);
    return call->op->kind == OP_BN_BWD ? bn_groups(call->in_tensor[3]) : 1; /* what is taken apart has no groups */
}

/* One of these groups of x. */
static struct tensor group_of(const struct op_call *call)
{
    struct tensor x = *call->in_tensor[0];
    x.dims[0] /= groups_of(call);
    return x;
}

/* Loops read and write masks by whole bytes. */
static bool masks_split(const struct op_call *call)
{
    struct tensor group = group_of(call);
    return call->op->attr.bn.relu && groups_of(call) > 1 && tensor_elements(&group) % 8 != 0;
}

bool cpu_bn_reads_half(const struct op_call *call)
{
    return call->in_tensor[0]->dims[3] <= MOST_TILE / PART_ROWS && !masks_split(call);
}

/* Sums of a part, and of a tile of it. */
static uint64_t sums_per_part(enum dtype dtype, uint64_t channels) { return (is_half(dtype) ? 4 : 2) * channels; }

uint64_t bn_parts_bytes(const struct tensor *x)
{
    uint64_t channels = x->dims[3], rows = tensor_elements(x) / channels;
    uint64_t parts = count_parts(rows, channels);
    return sizeof(double) * (2 * channels + 1 + parts * sums_per_part(x->dtype, channels)) +
           sizeof(float) * (parts * 2 * channels + 3 * channels);
}

bool cpu_bn_workspace(const struct op_call *call, uint64_t *bytes, struct error *err)
{
    (void)err;
    const struct tensor group = group_of(call);
    *bytes = bn_parts_bytes(&group);
    return true;
}

struct bn_parts bn_parts_of(const struct tensor *tensor, const void *x, void *scratch)
{
    uint64_t channels = tensor->dims[3], rows = tensor_elements(tensor) / channels;
    struct bn_parts b = {.loops = loops_best(), .rows = rows, .channels = channels, .x = x};
    b.convert = conversions_best();
    b.dtype = tensor->dtype;
    b.parts = count_parts(rows, channels);
    b.sums = scratch;
    b.part_sums = b.sums + 2 * channels + 1;
    b.part_scratch = (float *)(b.part_sums + b.parts * sums_per_part(b.dtype, channels));
    b.own_factor = b.part_scratch + b.parts * 2 * channels;
    b.own_shift = b.own_factor + channels;
    b.own_slope = b.own_shift + channels;
    b.factor = b.own_factor;
    b.shift = b.own_shift;
    b.slope = b.own_slope;
    return b;
}

/* What lies where in the tensors of a whole BN. */
struct norm_group {
    uint32_t index, count; /* which group, of how many */
    uint64_t first;        /* its first element of x */
    uint64_t vector;       /* its first channel of mean and variance */
};

static struct bn_parts norm_of(const struct prepared *p, uint32_t index, struct norm_group *group)
{
    const struct tensor x = group_of(&p->call);
    *group = (struct norm_group){.index = index, .count = groups_of(&p->call)};
    group->first = index * tensor_elements(&x);
    group->vector = (uint64_t)index * x.dims[3];
    const uint64_t offset = dtype_bytes(x.dtype, group->first);
    struct bn_parts b = bn_parts_of(&x, (const uint8_t *)op_in(p, 0) + offset, op_scratch(p));
    b.op = p;
    b.relu = p->call.op->attr.bn.relu;
    b.out = (uint8_t *)op_out(p, 0) + offset;
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

/* Where a tile's sums go before they are added to those of its part i. */
static struct part tile_part_of(const struct bn_parts *b, uint64_t i)
{
    double *sums = b->part_sums + (b->parts + i) * 2 * b->channels;
    return (struct part){sums, sums + b->channels, part_of(b, i).scratch};
}

/* Rows of a part that are worked on together: all of them, or those that are widened at a time. */
struct tile {
    uint64_t row, element; /* the first */
    struct bn_range range;
    const float *dy;
    float *out; /* y or dx */
};

struct wide {
    float x[MOST_TILE], dy[MOST_TILE];
};

static uint64_t tile_rows(const struct bn_parts *b, uint64_t part)
{
    uint64_t rows = TILE_ELEMENTS / b->channels / PART_ROWS * PART_ROWS;
    if (!is_half(b->dtype)) return part_row(b, part + 1) - part_row(b, part);
    return rows ? rows : PART_ROWS;
}

/* The tile that begins at `row` of a part; results of 16 bits are made over x. */
static struct tile tile_of(const struct bn_parts *b, uint64_t part, uint64_t row, struct wide *wide)
{
    uint64_t rows = tile_rows(b, part), left = part_row(b, part + 1) - row, first = row * b->channels;
    struct tile t = {.row = row, .element = first};
    t.range = (struct bn_range){.rows = rows < left ? rows : left,
                                .channels = b->channels,
                                .mask = b->mask ? b->mask + first / 8 : NULL,
                                .scratch = part_of(b, part).scratch};
    if (!is_half(b->dtype)) {
        t.range.x = (const float *)b->x + first;
        t.dy = b->dy ? (const float *)b->dy + first : NULL;
        t.out = (float *)b->out + first;
        return t;
    }
    uint64_t count = t.range.rows * b->channels;
    half_to_floats(b->convert, b->dtype, (const uint16_t *)b->x + first, wide->x, count);
    if (b->dy) half_to_floats(b->convert, b->dtype, (const uint16_t *)b->dy + first, wide->dy, count);
    t.range.x = t.out = wide->x;
    t.dy = wide->dy;
    return t;
}

static void keep_tile(const struct bn_parts *b, const struct tile *t)
{
    if (is_half(b->dtype))
        floats_to_half(b->convert, b->dtype, t->out, (uint16_t *)b->out + t->element, t->range.rows * b->channels);
}

static void run_parts(const struct bn_parts *b, parallel_task task)
{
    parallel_run(b->parts, b->rows * b->channels, task, b);
}

/* ---- Forward ---- */

/* Adds mean and squares of `count` rows to those of `before` rows (Chan, Golub and LeVeque, as in loops.c). */
static void merge_part(struct part all, double before, struct part next, double count, uint64_t channels)
{
    double share = count / (before + count), weight = share * before;
    for (uint64_t c = 0; c < channels; c++) {
        double difference = next.first[c] - all.first[c];
        all.first[c] += difference * share;
        all.second[c] += next.second[c] + difference * difference * weight;
    }
}

static void take_part_statistics(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    struct wide wide;
    for (uint64_t i = first; i < last; i++) {
        struct part part = part_of(b, i);
        for (uint64_t begin = part_row(b, i), row = begin; row < part_row(b, i + 1); row += tile_rows(b, i)) {
            struct tile t = tile_of(b, i, row, &wide);
            struct part own = row == begin ? part : tile_part_of(b, i);
            b->loops->bn_statistics(&t.range, own.first, own.second);
            if (row > begin) merge_part(part, (double)(row - begin), own, (double)t.range.rows, b->channels);
        }
    }
}

/* Mean and squares of all parts into part 0, in order. */
static void merge_statistics(const struct bn_parts *b)
{
    for (uint64_t i = 1; i < b->parts; i++) {
        double before = (double)part_row(b, i);
        merge_part(part_of(b, 0), before, part_of(b, i), (double)part_row(b, i + 1) - before, b->channels);
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

/* Running statistics move by `momentum` a step: towards the mean over the groups. */
static bool take_statistics(const struct bn_parts *b, const struct norm_group *group, struct error *err)
{
    const struct prepared *p = b->op;
    double count = (double)b->rows;
    bn_parts_statistics(b);
    if (op_synchronised(p)) TRY(merge_devices(b, &count, err));
    struct part all = part_of(b, 0);
    float *mean = (float *)op_out(p, 1) + group->vector, *variance = (float *)op_out(p, 2) + group->vector;
    float *running_mean = (float *)(p->device->arena + p->call.in[3]);
    float *running_variance = (float *)(p->device->arena + p->call.in[4]);
    const float momentum = p->device->step.bn_momentum;
    const float stays = group->index == 0 ? 1 - momentum : 1, m = momentum / (float)group->count;
    const double unbias = count > 1 ? 1 / (count - 1) : 1;
    for (uint64_t c = 0; c < b->channels; c++) {
        mean[c] = (float)all.first[c];
        variance[c] = (float)(all.second[c] / count);
        running_mean[c] = stays * running_mean[c] + m * mean[c];
        running_variance[c] = stays * running_variance[c] + m * (float)(all.second[c] * unbias);
    }
    return true;
}

static void normalize_tile(const struct bn_parts *b, const struct tile *t, uint8_t *mask)
{
    uint64_t count = t->range.rows * b->channels;
    b->loops->bn_normalize(&t->range, b->mean, b->factor, b->beta, b->relu, t->out, mask);
    if (b->other) b->loops->add(t->out, t->out, b->other + t->element, count);
    if (b->relu_sum) b->loops->relu(t->out, t->out, count);
}

/* So large that it will not be in the caches when it is read. */
static bool streams(const struct bn_parts *b)
{
    return !is_half(b->dtype) && b->out != b->x && b->rows * b->channels * sizeof(float) >= STREAMED_BYTES;
}

static void normalize_parts(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    struct wide wide;
    for (uint64_t i = first; i < last; i++)
        for (uint64_t row = part_row(b, i); row < part_row(b, i + 1); row += tile_rows(b, i)) {
            struct tile t = tile_of(b, i, row, &wide);
            uint8_t *mask = b->mask_out ? b->mask_out + t.element / 8 : NULL;
            if (b->other && b->channels % 16 == 0)
                b->loops->bn_normalize_add(&t.range, b->mean, b->factor, b->beta, b->other + t.element, b->relu_sum,
                                           streams(b), t.out);
            else
                normalize_tile(b, &t, mask);
            keep_tile(b, &t);
        }
}

void bn_parts_normalize(const struct bn_parts *b) { run_parts(b, normalize_parts); }

static void mask_parts(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    struct wide wide;
    for (uint64_t i = first; i < last; i++)
        for (uint64_t row = part_row(b, i); row < part_row(b, i + 1); row += tile_rows(b, i)) {
            struct tile t = tile_of(b, i, row, &wide);
            b->loops->bn_mask(&t.range, b->mean, b->factor, b->beta, b->mask_out + t.element / 8);
        }
}

void bn_parts_mask(const struct bn_parts *b) { run_parts(b, mask_parts); }

/* factor = gamma / sqrt(variance + epsilon) */
static void find_factor(const struct bn_parts *b, const float *gamma, const float *variance)
{
    const float epsilon = b->op->call.op->attr.bn.epsilon;
    for (uint64_t c = 0; c < b->channels; c++) b->own_factor[c] = gamma[c] / sqrtf(variance[c] + epsilon);
}

static bool normalize_group(const struct prepared *p, uint32_t index, struct error *err)
{
    struct norm_group group;
    struct bn_parts b = norm_of(p, index, &group);
    const bool running = bn_is_frozen(p->call.op, p->call.pass);
    const bool masks = b.relu && p->call.pass != PASS_EVALUATE;
    if (p->call.pass == PASS_FORWARD && !running) TRY(take_statistics(&b, &group, err));
    b.mean = running ? op_in(p, 3) : (const float *)op_out(p, 1) + group.vector;
    b.beta = op_in(p, 2);
    b.mask_out = masks ? (uint8_t *)op_out(p, p->call.op->outputs - 1u) + group.first / 8 : NULL;
    find_factor(&b, op_in(p, 1), running ? op_in(p, 4) : (const float *)op_out(p, 2) + group.vector);
    bn_parts_normalize(&b);
    return true;
}

bool cpu_bn(const struct prepared *p, struct error *err)
{
    if (masks_split(&p->call)) return cpu_reference_bn(p, err);
    for (uint32_t i = 0; i < groups_of(&p->call); i++) TRY(normalize_group(p, i, err));
    return true;
}

/* ---- Backward ---- */

static void sum_part_gradients(const void *context, uint64_t first, uint64_t last)
{
    const struct bn_parts *b = context;
    struct wide wide;
    for (uint64_t i = first; i < last; i++) {
        struct part part = part_of(b, i);
        for (uint64_t begin = part_row(b, i), row = begin; row < part_row(b, i + 1); row += tile_rows(b, i)) {
            struct tile t = tile_of(b, i, row, &wide);
            struct part own = row == begin ? part : tile_part_of(b, i);
            b->loops->bn_gradient_sums(&t.range, t.dy, b->mean, own.first, own.second);
            for (uint64_t c = 0; row > begin && c < 2 * b->channels; c++) part.first[c] += own.first[c];
        }
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
    struct wide wide;
    for (uint64_t i = first; i < last; i++)
        for (uint64_t row = part_row(b, i); row < part_row(b, i + 1); row += tile_rows(b, i)) {
            struct tile t = tile_of(b, i, row, &wide);
            const float *other = b->other ? b->other + t.element : NULL;
            if (b->shuts)
                b->loops->bn_shut_gradient(&t.range, t.dy, b->mean, b->factor, b->beta, b->shift, b->slope, other,
                                           t.out);
            else
                b->loops->bn_gradient(&t.range, t.dy, b->mean, b->factor, b->shift, b->slope, other, t.out);
            keep_tile(b, &t);
        }
}

void bn_parts_gradient_sums(const struct bn_parts *b)
{
    run_parts(b, sum_part_gradients);
    merge_gradients(b);
}

bool bn_parts_shut_alone(const struct tensor *x) { return x->dims[3] % 16 == 0; }

void bn_parts_gradient(const struct bn_parts *b) { run_parts(b, gradient_parts); }

/* Of BN_FROZEN: dx = gamma inverse dy. */
static void give_scaled(struct bn_parts *b)
{
    for (uint64_t c = 0; c < b->channels; c++) b->own_shift[c] = b->own_slope[c] = 0;
    bn_parts_gradient(b);
}

/* dx = gamma inverse (dy - mean(dy) - (x - mean) inverse^2 mean(dy (x - mean))), inverse = 1 / sqrt(variance +
 * epsilon): arXiv:1502.03167, section 3, with the sums gathered. */
static bool normalize_group_backward(const struct prepared *p, uint32_t index, struct error *err)
{
    struct norm_group group;
    struct bn_parts b = norm_of(p, index, &group);
    const float *gamma = op_in(p, 2), *variance = (const float *)op_in(p, 4) + group.vector;
    const float epsilon = p->call.op->attr.bn.epsilon;
    const uint8_t frozen = p->call.op->attr.bn.frozen;
    const double *sum = b.sums, *product = b.sums + b.channels;
    double count = (double)b.rows;
    b.dy = (const uint8_t *)op_in(p, 1) + dtype_bytes(b.dtype, group.first);
    b.mean = (const float *)op_in(p, 3) + group.vector;
    b.mask = b.relu ? (const uint8_t *)op_in(p, 5) + group.first / 8 : NULL;
    find_factor(&b, gamma, variance);
    if (frozen == BN_FROZEN) return give_scaled(&b), true;
    float *dgamma = op_out(p, 1), *dbeta = op_out(p, 2);
    bn_parts_gradient_sums(&b);
    for (uint64_t c = 0; c < b.channels; c++) {
        const float scaled = (float)(product[c] / sqrt((double)variance[c] + (double)epsilon));
        dgamma[c] = index > 0 ? dgamma[c] + scaled : scaled;
        dbeta[c] = index > 0 ? dbeta[c] + (float)sum[c] : (float)sum[c];
    }
    if (frozen) return give_scaled(&b), true;
    if (op_synchronised(p)) {
        b.sums[2 * b.channels] = count;
        TRY(sum_over_devices(&b, 2 * b.channels + 1, err));
        count = b.sums[2 * b.channels];
    }
    for (uint64_t c = 0; c < b.channels; c++) {
        b.own_shift[c] = (float)(sum[c] / count);
        b.own_slope[c] = (float)(product[c] / count / ((double)variance[c] + (double)epsilon));
    }
    bn_parts_gradient(&b);
    return true;
}

bool cpu_bn_backward(const struct prepared *p, struct error *err)
{
    if (masks_split(&p->call)) return cpu_reference_bn_backward(p, err);
    for (uint32_t i = 0; i < groups_of(&p->call); i++) TRY(normalize_group_backward(p, i, err));
    return true;
}
