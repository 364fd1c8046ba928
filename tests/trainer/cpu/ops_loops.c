/* The inner loops in every instruction set this processor has: the same results as the plain formula, wherever a range
 * begins. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loops_private.h"
#include "random.h"
#include "update.h"
#include "weights.h"

#define MOST_SETS 3

struct set {
    const char *name;
    const struct loops *loops;
};

static size_t find_sets(struct set sets[MOST_SETS])
{
    size_t count = 0;
    sets[count++] = (struct set){"plain", &loops_plain};
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[count++] = (struct set){"avx2", &loops_avx2};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        sets[count++] = (struct set){"avx512", &loops_avx512};
#endif
    return count;
}

static float *normals(uint64_t seed, size_t count)
{
    struct random r = random_begin(seed, RANDOM_SYNTHETIC, 0, 0);
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (float)random_normal(&r);
    return values;
}

struct data {
    size_t rows, channels;
    float *x, *dy, *mean, *factor, *beta, *shift, *slope, *out, *scratch;
    uint8_t *mask;
    double *first, *second;
};

static void data_init(struct data *d, size_t rows, size_t channels)
{
    size_t count = rows * channels;
    *d = (struct data){.rows = rows, .channels = channels};
    d->x = normals(1, count), d->dy = normals(2, count), d->out = normals(3, count);
    d->mean = normals(4, channels), d->factor = normals(5, channels), d->beta = normals(6, channels);
    d->shift = normals(7, channels), d->slope = normals(8, channels), d->scratch = normals(9, 2 * channels);
    d->mask = calloc(1, count / 8 + 1);
    d->first = calloc(channels, sizeof(double)), d->second = calloc(channels, sizeof(double));
}

static void data_finish(struct data *d)
{
    float *floats[] = {d->x, d->dy, d->mean, d->factor, d->beta, d->shift, d->slope, d->out, d->scratch};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) free(floats[i]);
    free(d->mask);
    free(d->first);
    free(d->second);
}

static bool bit(const struct data *d, size_t i) { return d->mask[i / 8] >> i % 8 & 1; }

static void check_forward(const struct set *set, struct data *d)
{
    struct bn_range range = {.x = d->x, .rows = d->rows, .channels = d->channels, .scratch = d->scratch};
    set->loops->bn_statistics(&range, d->first, d->second);
    for (size_t c = 0; c < d->channels; c++) {
        double sum = 0, squares = 0;
        for (size_t r = 0; r < d->rows; r++) sum += (double)d->x[r * d->channels + c];
        for (size_t r = 0; r < d->rows; r++)
            squares += pow((double)d->x[r * d->channels + c] - sum / (double)d->rows, 2);
        cr_assert_float_eq(d->first[c], sum / (double)d->rows, 1e-5, "%s: mean of %u x %u", set->name,
                           (unsigned)d->rows, (unsigned)d->channels);
        cr_assert_float_eq(d->second[c], squares, 1e-5 * (squares + 1), "%s: squares", set->name);
    }
    set->loops->bn_normalize(&range, d->mean, d->factor, d->beta, true, d->out, d->mask);
    for (size_t i = 0; i < d->rows * d->channels; i++) {
        size_t c = i % d->channels;
        double value = ((double)d->x[i] - (double)d->mean[c]) * (double)d->factor[c] + (double)d->beta[c];
        if (fabs(value) < 1e-5) continue; /* rounding decides */
        cr_assert_eq(bit(d, i), value > 0, "%s: mask of %u x %u", set->name, (unsigned)d->rows, (unsigned)d->channels);
        cr_assert_float_eq(d->out[i], (float)(value > 0 ? value : 0), 1e-5, "%s: y", set->name);
    }
}

/* After check_forward, whose mask it uses. */
static void check_backward(const struct set *set, struct data *d, bool masked)
{
    struct bn_range range = {d->x, d->rows, d->channels, masked ? d->mask : NULL, d->scratch};
    set->loops->bn_gradient_sums(&range, d->dy, d->mean, d->first, d->second);
    for (size_t c = 0; c < d->channels; c++) {
        double sum = 0, product = 0;
        for (size_t i = c; i < d->rows * d->channels; i += d->channels) {
            double dy = masked && !bit(d, i) ? 0 : (double)d->dy[i];
            sum += dy;
            product += dy * ((double)d->x[i] - (double)d->mean[c]);
        }
        cr_assert_float_eq(d->first[c], sum, 1e-3, "%s: sum of %u x %u", set->name, (unsigned)d->rows,
                           (unsigned)d->channels);
        cr_assert_float_eq(d->second[c], product, 1e-3, "%s: product", set->name);
    }
    set->loops->bn_gradient(&range, d->dy, d->mean, d->factor, d->shift, d->slope, NULL, d->out);
    for (size_t i = 0; i < d->rows * d->channels; i++) {
        size_t c = i % d->channels;
        float dy = masked && !bit(d, i) ? 0 : d->dy[i];
        float dx = d->factor[c] * (dy - d->shift[c] - (d->x[i] - d->mean[c]) * d->slope[c]);
        cr_assert_float_eq(d->out[i], dx, 1e-5f * (fabsf(dx) + 10), "%s: dx", set->name);
    }
}

/* Last of all checks of `d`: dy is overwritten. */
static void check_shut(const struct set *set, struct data *d, bool shuts)
{
    struct bn_range range = {d->x, d->rows, d->channels, NULL, d->scratch};
    float *dy = d->out;
    memcpy(dy, d->dy, d->rows * d->channels * sizeof *dy);
    set->loops->bn_shut_sums(&range, d->mean, d->factor, d->beta, shuts, dy, d->first, d->second);
    for (size_t c = 0; c < d->channels; c++) {
        double sum = 0, product = 0;
        for (size_t i = c; i < d->rows * d->channels; i += d->channels) {
            double from = (double)d->x[i] - (double)d->mean[c], y = from * (double)d->factor[c] + (double)d->beta[c];
            if (fabs(y) > 1e-5) cr_assert_eq(dy[i], shuts && y <= 0 ? 0 : d->dy[i], "%s: dy", set->name);
            sum += (double)dy[i];
            product += (double)dy[i] * from;
        }
        cr_assert_float_eq(d->first[c], sum, 1e-5 * (double)(d->rows + 10), "%s: sum", set->name);
        cr_assert_float_eq(d->second[c], product, 1e-5 * (double)(d->rows + 10), "%s: product", set->name);
    }
}

Test(loops, normalize_in_every_instruction_set)
{
    static const size_t shapes[][2] = {{1, 16},   {7, 16},  {8, 16},   {1000, 16}, {333, 32}, {65, 64},  {40, 48},
                                       {19, 128}, {9, 256}, {3, 1000}, {100, 12},  {77, 3},   {4097, 1}, {5, 4096}};
    struct set sets[MOST_SETS];
    size_t count = find_sets(sets);
    for (size_t i = 0; i < count * (sizeof shapes / sizeof shapes[0]); i++) {
        struct data d;
        data_init(&d, shapes[i / count][0], shapes[i / count][1]);
        check_forward(&sets[i % count], &d);
        check_backward(&sets[i % count], &d, true);
        check_backward(&sets[i % count], &d, false);
        if (d.channels % 16 == 0) check_shut(&sets[i % count], &d, true);
        if (d.channels % 16 == 0) check_shut(&sets[i % count], &d, false);
        data_finish(&d);
    }
}

/* An element has the same bits whether a loop starts at it or before it, in a vector or in the rest. */
static void check_ranges(const struct set *set, size_t n, size_t cut)
{
    float *a = normals(1, n), *b = normals(2, n), *whole = normals(3, n), *parts = normals(3, n);
    const struct loops *l = set->loops;
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 0)
            l->scale(whole, a, 0.3f, 0.7f, n), l->scale(parts, a, 0.3f, 0.7f, cut),
                l->scale(parts + cut, a + cut, 0.3f, 0.7f, n - cut);
        if (kind == 1)
            l->sigmoid_backward(whole, a, b, n), l->sigmoid_backward(parts, a, b, cut),
                l->sigmoid_backward(parts + cut, a + cut, b + cut, n - cut);
        if (kind == 2)
            l->add_scaled(whole, b, 0.3f, n), l->add_scaled(parts, b, 0.3f, cut),
                l->add_scaled(parts + cut, b + cut, 0.3f, n - cut);
        for (size_t i = 0; i < n; i++)
            cr_assert(whole[i] == parts[i], "%s: loop %d, element %u of %u, cut at %u", set->name, kind, (unsigned)i,
                      (unsigned)n, (unsigned)cut);
    }
    float *all[] = {a, b, whole, parts};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static struct update_range range_of(float *const arrays[4], size_t first)
{
    return (struct update_range){arrays[0] + first, arrays[1] + first, {arrays[2] + first, arrays[3] + first}, true};
}

static void check_update_ranges(const struct set *set, enum optimizer optimizer, size_t n, size_t cut)
{
    const struct update_rule rule = {.optimizer = optimizer,
                                     .nesterov = n % 2,
                                     .rate = 0.1f,
                                     .decay = 1e-4f,
                                     .kept = 0.999f,
                                     .unscale = n % 3 ? 1 : 0.125f,
                                     .momentum = 0.9f,
                                     .towards = 0.1f,
                                     .beta2 = 0.99f,
                                     .rest2 = 0.01f,
                                     .root = 0.2f,
                                     .epsilon = 1e-8f};
    float *whole[4], *parts[4];
    for (uint64_t i = 0; i < 4; i++) whole[i] = normals(i, n), parts[i] = normals(i, n);
    for (size_t i = 0; i < n; i++)
        for (int k = 2; k < 4; k++) whole[k][i] = parts[k][i] = fabsf(whole[k][i]);
    const struct update_range all = range_of(whole, 0), first = range_of(parts, 0), rest = range_of(parts, cut);
    set->loops->update(&rule, &all, n);
    set->loops->update(&rule, &first, cut);
    set->loops->update(&rule, &rest, n - cut);
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++)
            cr_assert_eq(whole[k][i], parts[k][i], "%s: %s, element %u of %u, cut at %u", set->name,
                         optimizer_name(optimizer), (unsigned)i, (unsigned)n, (unsigned)cut);
    for (int i = 0; i < 4; i++) free(whole[i]), free(parts[i]);
}

Test(loops, do_not_depend_on_where_a_range_begins)
{
    struct set sets[MOST_SETS];
    size_t count = find_sets(sets);
    for (size_t s = 0; s < count; s++)
        for (size_t n = 1; n < 80; n += 13)
            for (size_t cut = 0; cut <= n; cut += 5) {
                check_ranges(&sets[s], n, cut);
                for (int o = 0; o < OPTIMIZERS; o++) check_update_ranges(&sets[s], (enum optimizer)o, n, cut);
            }
}

Test(loops, dot_products)
{
    struct set sets[MOST_SETS];
    size_t count = find_sets(sets);
    for (size_t s = 0; s < count; s++)
        for (size_t n = 0; n < 200; n += 7) {
            float *a = normals(1, n + 1), *b = normals(2, n + 1);
            double sum = 0;
            for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
            cr_assert_float_eq(sets[s].loops->dot(a, b, n), (float)sum, 1e-4, "%s, %u", sets[s].name, (unsigned)n);
            free(a);
            free(b);
        }
}

Test(loops, transpose)
{
    struct set sets[MOST_SETS];
    size_t count = find_sets(sets);
    for (size_t s = 0; s < count; s++) {
        float in[256], out[16 * 40];
        for (int i = 0; i < 256; i++) in[i] = (float)i;
        for (int i = 0; i < 16 * 40; i++) out[i] = -1;
        sets[s].loops->transpose_block(out, 40, in);
        for (int i = 0; i < 16 * 40; i++)
            cr_assert(out[i] == (i % 40 < 16 ? (float)(i % 40 * 16 + i / 40) : -1), "%s, element %d", sets[s].name, i);
    }
}

/* {K, R, S, C} = {32, 3, 3, 80}: no block of 48 or 64 divides 80. */
Test(loops, turned_weights)
{
    enum { K = 32, R = 3, C = 80, MOST = 128 };
    const uint32_t dims[4] = {K, R, R, C}, blocks[] = {16, 32, 48, 64};
    float *stored = normals(3, K * R * R * C), *turned = malloc(K * R * R * MOST * sizeof *turned);
    for (size_t b = 0; b < 4; b++) {
        uint32_t block = blocks[b], padded = (C + block - 1) / block * block;
        memset(turned, 0xff, K * R * R * MOST * sizeof *turned);
        weights_turn(dims, block, stored, turned);
        for (uint32_t c = 0; c < padded; c++)
            for (uint32_t place = 0; place < R * R; place++)
                for (uint32_t k = 0; k < K; k++) {
                    uint32_t from =
                        ((k / 16 * (C / 16) + c / 16) * R * R + R * R - 1 - place) * 256 + c % 16 * 16 + k % 16;
                    float found = turned[((c / block * R * R + place) * K + k) * block + c % block];
                    cr_assert(found == (c < C ? stored[from] : 0), "block %u, input %u, output %u", block, c, k);
                }
    }
    free(stored);
    free(turned);
}
