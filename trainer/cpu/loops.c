/* Compiled several times, with other instruction sets and another LOOPS_NAME. */
#include "loops.h"

#include <math.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "loops_private.h"

/* ---- Elementwise. An element's inputs are read before its result is written, so a result may take an input's place:
 * the compiler need not check for that. ---- */

#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
#define FOR_EACH INDEPENDENT for (size_t i = 0; i < n; i++)

static void relu(float *y, const float *x, size_t n) { FOR_EACH y[i] = x[i] <= 0 ? 0 : x[i]; }

static void relu_backward(float *dx, const float *y, const float *dy, size_t n)
{
    FOR_EACH dx[i] = y[i] <= 0 ? 0 : dy[i];
}

static void add(float *y, const float *a, const float *b, size_t n) { FOR_EACH y[i] = a[i] + b[i]; }

static void subtract(float *y, const float *a, const float *b, size_t n) { FOR_EACH y[i] = a[i] - b[i]; }

static void mul(float *y, const float *a, const float *b, size_t n) { FOR_EACH y[i] = a[i] * b[i]; }

static void scale(float *y, const float *x, float alpha, float beta, size_t n) { FOR_EACH y[i] = alpha * x[i] + beta; }

static void sigmoid(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = 1 / (1 + expf(-x[i]));
}

static void sigmoid_backward(float *dx, const float *y, const float *dy, size_t n)
{
    FOR_EACH dx[i] = dy[i] * y[i] * (1 - y[i]);
}

#define INLINE static inline __attribute__((always_inline))

static void add_scaled(float *y, const float *x, float factor, size_t n) { FOR_EACH y[i] += factor * x[i]; }

/* ---- Batch normalisation. Channels go 16 to a vector; where 16 does not divide them, plain loops. ---- */

#define LANES 16u
#define TILE  4u /* vectors whose sums are kept in registers together */
typedef float vector __attribute__((vector_size(64)));
typedef int32_t lanes __attribute__((vector_size(64)));
typedef float unaligned_vector __attribute__((vector_size(64), aligned(4), may_alias));

INLINE vector load(const float *p) { return *(const unaligned_vector *)p; }
INLINE void store(float *p, vector v) { *(unaligned_vector *)p = v; }

static float dot(const float *a, const float *b, size_t n)
{
    vector even = {0}, odd = {0};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        even += load(a + i) * load(b + i);
        odd += load(a + i + LANES) * load(b + i + LANES);
    }
    even += odd;
    float sum = 0;
    for (; i < n; i++) sum += a[i] * b[i];
    for (unsigned j = 0; j < LANES; j++) sum += even[j];
    return sum;
}

/* One step of a transposition: of rows a (above) and b (`d` below), the lanes where d is 0 and where it is 1. */
#define UPPER(d, l) ((l) & (d) ? 16 + (l) - (d) : (l))
#define LOWER(d, l) ((l) & (d) ? 16 + (l) : (l) + (d))
#define ALL_LANES(which, d)                                                                                            \
    which(d, 0), which(d, 1), which(d, 2), which(d, 3), which(d, 4), which(d, 5), which(d, 6), which(d, 7),            \
        which(d, 8), which(d, 9), which(d, 10), which(d, 11), which(d, 12), which(d, 13), which(d, 14), which(d, 15)
#define EXCHANGE(row, d)                                                                                               \
    for (unsigned i = 0; i < LANES; i++) {                                                                             \
        if (i & (d)) continue;                                                                                         \
        vector a = row[i], b = row[i + (d)];                                                                           \
        row[i] = __builtin_shufflevector(a, b, ALL_LANES(UPPER, d));                                                   \
        row[i + (d)] = __builtin_shufflevector(a, b, ALL_LANES(LOWER, d));                                             \
    }

static void transpose_block(float *out, size_t stride, const float *in)
{
    vector row[LANES];
    for (unsigned i = 0; i < LANES; i++) row[i] = load(in + i * LANES);
    EXCHANGE(row, 8)
    EXCHANGE(row, 4)
    EXCHANGE(row, 2)
    EXCHANGE(row, 1)
    for (unsigned i = 0; i < LANES; i++) store(out + i * stride, row[i]);
}

/* Bit j = lane j is above 0, or not a number. */
INLINE uint16_t bits_above_zero(vector v)
{
#ifdef __AVX512F__
    return (uint16_t)_mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NLE_UQ);
#else
    unsigned bits = 0;
    for (unsigned j = 0; j < LANES; j++) bits |= (unsigned)!(v[j] <= 0) << j;
    return (uint16_t)bits;
#endif
}

INLINE vector keep_lanes(vector v, uint16_t bits)
{
#ifdef __AVX512F__
    return (vector)_mm512_maskz_mov_ps(bits, (__m512)v);
#else
    const lanes each = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    lanes kept = (each & (int32_t)bits) != 0;
    return (vector)((lanes)v & kept);
#endif
}

INLINE vector keep_masked(vector v, const uint8_t *mask, size_t element)
{
    uint16_t bits;
    memcpy(&bits, mask + element / 8, sizeof bits);
    return keep_lanes(v, bits);
}

static bool masked_out(const uint8_t *mask, size_t element) { return mask && !(mask[element / 8] >> element % 8 & 1); }

/* Rows whose values stay in the first-level cache between two passes, a multiple of 8 so that masks begin with a byte.
 */
static size_t block_rows(size_t channels)
{
    size_t rows = 4096 / channels / 8 * 8;
    return rows ? rows : 8;
}

/* Narrow rows are taken several at a time, as one row of TILE vectors: how many, or 1. */
static size_t folding(size_t channels)
{
    return channels < TILE * LANES && channels % LANES == 0 && TILE * LANES % channels == 0 ? TILE * LANES / channels
                                                                                            : 1;
}

static void repeat(const float *values, size_t count, float *wide)
{
    for (size_t i = 0; i < TILE * LANES; i++) wide[i] = values[i % count];
}

/* Sums over rows of `count` vectors beside each other: of x, or of (x - centre)^2. */
INLINE void sum_tile(const float *x, size_t rows, size_t stride, const float *centre, float *sum, unsigned count)
{
    vector even[TILE] = {0}, odd[TILE] = {0}, middle[TILE] = {0};
    if (centre)
        for (unsigned v = 0; v < count; v++) middle[v] = load(centre + v * LANES);
    size_t row = 0;
    for (; row + 2 <= rows; row += 2, x += 2 * stride)
        for (unsigned v = 0; v < count; v++) {
            vector a = load(x + v * LANES), b = load(x + stride + v * LANES);
            even[v] += centre ? (a - middle[v]) * (a - middle[v]) : a;
            odd[v] += centre ? (b - middle[v]) * (b - middle[v]) : b;
        }
    if (row < rows)
        for (unsigned v = 0; v < count; v++) {
            vector a = load(x + v * LANES);
            even[v] += centre ? (a - middle[v]) * (a - middle[v]) : a;
        }
    for (unsigned v = 0; v < count; v++) store(sum + v * LANES, even[v] + odd[v]);
}

static void sum_plain(const float *x, size_t rows, size_t channels, const float *centre, float *sum)
{
    for (size_t row = 0; row < rows; row++, x += channels)
        for (size_t c = 0; c < channels; c++) {
            float d = centre ? x[c] - centre[c] : x[c];
            sum[c] += centre ? d * d : d;
        }
}

static void sum_folded(const float *x, size_t rows, size_t channels, size_t fold, const float *centre, float *sum)
{
    float wide[TILE * LANES], wide_centre[TILE * LANES];
    if (centre) repeat(centre, channels, wide_centre);
    if (centre)
        sum_tile(x, rows / fold, TILE * LANES, wide_centre, wide, TILE);
    else
        sum_tile(x, rows / fold, TILE * LANES, NULL, wide, TILE);
    for (size_t i = 0; i < TILE * LANES; i++) sum[i % channels] += wide[i];
    size_t done = rows / fold * fold;
    sum_plain(x + done * channels, rows - done, channels, centre, sum);
}

static void sum_block(const float *x, size_t rows, size_t channels, const float *centre, float *sum)
{
    size_t fold = folding(channels), c = 0;
    memset(sum, 0, channels * sizeof *sum);
    if (fold > 1) {
        sum_folded(x, rows, channels, fold, centre, sum);
    } else if (channels % LANES != 0) {
        sum_plain(x, rows, channels, centre, sum);
    } else if (centre) {
        for (; c + TILE * LANES <= channels; c += TILE * LANES)
            sum_tile(x + c, rows, channels, centre + c, sum + c, TILE);
        for (; c < channels; c += LANES) sum_tile(x + c, rows, channels, centre + c, sum + c, 1);
    } else {
        for (; c + TILE * LANES <= channels; c += TILE * LANES) sum_tile(x + c, rows, channels, NULL, sum + c, TILE);
        for (; c < channels; c += LANES) sum_tile(x + c, rows, channels, NULL, sum + c, 1);
    }
}

/* Two passes over each block in cache, one over memory; blocks are merged as Chan, Golub and LeVeque do (The American
 * Statistician 37, 1983). */
static void bn_statistics(const struct bn_range *range, double *mean, double *squares)
{
    size_t channels = range->channels, step = block_rows(channels);
    float *sum = range->scratch, *square = sum + channels;
    memset(mean, 0, channels * sizeof *mean);
    memset(squares, 0, channels * sizeof *squares);
    for (size_t row = 0; row < range->rows; row += step) {
        size_t rows = range->rows - row < step ? range->rows - row : step;
        const float *x = range->x + row * channels;
        const float share = 1 / (float)rows;
        sum_block(x, rows, channels, NULL, sum);
        for (size_t c = 0; c < channels; c++) sum[c] *= share;
        sum_block(x, rows, channels, sum, square);
        const double part = (double)rows / (double)(row + rows), weight = part * (double)row;
        for (size_t c = 0; c < channels; c++) {
            double difference = (double)sum[c] - mean[c];
            mean[c] += difference * part;
            squares[c] += (double)square[c] + difference * difference * weight;
        }
    }
}

/* One vector of channels in `rows` rows. */
INLINE void normalize_column(const float *x, size_t element, size_t rows, size_t stride, vector mean, vector factor,
                             vector beta, bool relu, float *y, uint8_t *mask)
{
    for (size_t row = 0; row < rows; row++, element += stride) {
        vector v = (load(x + element) - mean) * factor + beta;
        if (relu) {
            uint16_t bits = bits_above_zero(v);
            v = keep_lanes(v, bits);
            if (mask) memcpy(mask + element / 8, &bits, sizeof bits);
        }
        if (y) store(y + element, v);
    }
}

INLINE void normalize(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                      bool relu, float *y, uint8_t *mask)
{
    size_t channels = range->channels, row = 0;
    for (; row + 4 <= range->rows; row += 4)
        for (size_t c = 0; c < channels; c += LANES)
            normalize_column(range->x, row * channels + c, 4, channels, load(mean + c), load(factor + c),
                             load(beta + c), relu, y, mask);
    for (; row < range->rows; row++)
        for (size_t c = 0; c < channels; c += LANES)
            normalize_column(range->x, row * channels + c, 1, channels, load(mean + c), load(factor + c),
                             load(beta + c), relu, y, mask);
}

static void normalize_plain(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                            bool relu, float *y, uint8_t *mask)
{
    size_t i = 0;
    if (mask) memset(mask, 0, (range->rows * range->channels + 7) / 8);
    for (size_t row = 0; row < range->rows; row++)
        for (size_t c = 0; c < range->channels; c++, i++) {
            float v = (range->x[i] - mean[c]) * factor[c] + beta[c];
            bool above = !(v <= 0);
            if (mask && above) mask[i / 8] = (uint8_t)(mask[i / 8] | 1u << i % 8);
            if (y) y[i] = relu && !above ? 0 : v;
        }
}

static void bn_normalize(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                         bool relu, float *y, uint8_t *mask)
{
    if (range->channels % LANES != 0)
        normalize_plain(range, mean, factor, beta, relu, y, mask);
    else if (!relu)
        normalize(range, mean, factor, beta, false, y, NULL);
    else if (mask)
        normalize(range, mean, factor, beta, true, y, mask);
    else
        normalize(range, mean, factor, beta, true, y, NULL);
}

static void bn_mask(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                    uint8_t *mask)
{
    if (range->channels % LANES != 0)
        normalize_plain(range, mean, factor, beta, true, NULL, mask);
    else
        normalize(range, mean, factor, beta, true, NULL, mask);
}

/* Past the caches where the processor can: a line that is written whole is not read before. */
INLINE void put(float *p, vector v, bool streams)
{
#ifdef __AVX512F__
    if (streams)
        _mm512_stream_ps(p, (__m512)v);
    else
#endif
        store(p, v);
    (void)streams;
}

INLINE void normalize_add(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                          const float *other, bool relu, bool streams, float *y)
{
    size_t channels = range->channels;
    for (size_t row = 0; row < range->rows; row += 4) {
        size_t rows = range->rows - row < 4 ? range->rows - row : 4;
        for (size_t c = 0; c < channels; c += LANES) {
            vector middle = load(mean + c), scale = load(factor + c), shift = load(beta + c);
            for (size_t i = row * channels + c; i < (row + rows) * channels; i += channels) {
                vector v = (load(range->x + i) - middle) * scale + shift + load(other + i);
                put(y + i, relu ? keep_lanes(v, bits_above_zero(v)) : v, streams);
            }
        }
    }
#ifdef __AVX512F__
    if (streams) _mm_sfence();
#endif
}

static void bn_normalize_add(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                             const float *other, bool relu, bool streams, float *y)
{
    streams = streams && (uintptr_t)y % sizeof(vector) == 0;
    if (relu && streams)
        normalize_add(range, mean, factor, beta, other, true, true, y);
    else if (relu)
        normalize_add(range, mean, factor, beta, other, true, false, y);
    else
        normalize_add(range, mean, factor, beta, other, false, streams, y);
}

static void keep(float *y, const float *x, const uint8_t *mask, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) store(y + i, keep_masked(load(x + i), mask, i));
    for (; i < n; i++) y[i] = masked_out(mask, i) ? 0 : x[i];
}

/* As sum_tile, of dy and dy (x - mean); `element` counts from the mask's first bit. */
INLINE void gradient_tile(const float *x, const float *dy, const uint8_t *mask, size_t element, size_t rows,
                          size_t stride, const float *mean, float *sum, float *product, unsigned count)
{
    vector s[TILE] = {0}, p[TILE] = {0}, middle[TILE];
    for (unsigned v = 0; v < count; v++) middle[v] = load(mean + v * LANES);
    for (size_t row = 0; row < rows; row++, element += stride)
        for (unsigned v = 0; v < count; v++) {
            vector g = load(dy + element + v * LANES);
            if (mask) g = keep_masked(g, mask, element + v * LANES);
            s[v] += g;
            p[v] += g * (load(x + element + v * LANES) - middle[v]);
        }
    for (unsigned v = 0; v < count; v++) {
        store(sum + v * LANES, s[v]);
        store(product + v * LANES, p[v]);
    }
}

static void gradient_plain(const struct bn_range *range, const float *dy, size_t row, size_t rows, const float *mean,
                           float *sum, float *product)
{
    size_t channels = range->channels, i = row * channels;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < channels; c++, i++) {
            float g = masked_out(range->mask, i) ? 0 : dy[i];
            sum[c] += g;
            product[c] += g * (range->x[i] - mean[c]);
        }
}

static void gradient_folded(const struct bn_range *range, const float *dy, size_t row, size_t rows, size_t fold,
                            const float *mean, float *sum, float *product)
{
    float wide_sum[TILE * LANES], wide_product[TILE * LANES], wide_mean[TILE * LANES];
    size_t channels = range->channels, element = row * channels;
    repeat(mean, channels, wide_mean);
    if (range->mask)
        gradient_tile(range->x, dy, range->mask, element, rows / fold, TILE * LANES, wide_mean, wide_sum, wide_product,
                      TILE);
    else
        gradient_tile(range->x, dy, NULL, element, rows / fold, TILE * LANES, wide_mean, wide_sum, wide_product, TILE);
    for (size_t i = 0; i < TILE * LANES; i++) {
        sum[i % channels] += wide_sum[i];
        product[i % channels] += wide_product[i];
    }
    size_t done = rows / fold * fold;
    gradient_plain(range, dy, row + done, rows - done, mean, sum, product);
}

INLINE void gradient_columns(const struct bn_range *range, const float *dy, const uint8_t *mask, size_t row,
                             size_t rows, const float *mean, float *sum, float *product)
{
    size_t channels = range->channels, c = 0, element = row * channels;
    for (; c + TILE * LANES <= channels; c += TILE * LANES)
        gradient_tile(range->x, dy, mask, element + c, rows, channels, mean + c, sum + c, product + c, TILE);
    for (; c < channels; c += LANES)
        gradient_tile(range->x, dy, mask, element + c, rows, channels, mean + c, sum + c, product + c, 1);
}

static void gradient_block(const struct bn_range *range, const float *dy, size_t row, size_t rows, const float *mean,
                           float *sum, float *product)
{
    size_t channels = range->channels, fold = folding(channels);
    memset(sum, 0, channels * sizeof *sum);
    memset(product, 0, channels * sizeof *product);
    if (fold > 1)
        gradient_folded(range, dy, row, rows, fold, mean, sum, product);
    else if (channels % LANES != 0)
        gradient_plain(range, dy, row, rows, mean, sum, product);
    else if (range->mask)
        gradient_columns(range, dy, range->mask, row, rows, mean, sum, product);
    else
        gradient_columns(range, dy, NULL, row, rows, mean, sum, product);
}

static void bn_gradient_sums(const struct bn_range *range, const float *dy, const float *mean, double *sum,
                             double *product)
{
    size_t channels = range->channels, step = block_rows(channels);
    float *block_sum = range->scratch, *block_product = block_sum + channels;
    memset(sum, 0, channels * sizeof *sum);
    memset(product, 0, channels * sizeof *product);
    for (size_t row = 0; row < range->rows; row += step) {
        size_t rows = range->rows - row < step ? range->rows - row : step;
        gradient_block(range, dy, row, rows, mean, block_sum, block_product);
        for (size_t c = 0; c < channels; c++) {
            sum[c] += (double)block_sum[c];
            product[c] += (double)block_product[c];
        }
    }
}

/* Rows of `count` vectors beside each other; coefficients are those of these vectors. */
INLINE void shut_tile(const float *x, float *dy, size_t rows, size_t stride, const float *mean, const float *factor,
                      const float *beta, bool shuts, float *sum, float *product, unsigned count)
{
    vector s[TILE] = {0}, p[TILE] = {0}, middle[TILE], scale[TILE], shift[TILE];
    for (unsigned v = 0; v < count; v++) {
        middle[v] = load(mean + v * LANES);
        scale[v] = load(factor + v * LANES);
        shift[v] = load(beta + v * LANES);
    }
    for (size_t row = 0; row < rows; row++, x += stride, dy += stride)
        for (unsigned v = 0; v < count; v++) {
            vector g = load(dy + v * LANES), from = load(x + v * LANES) - middle[v];
            if (shuts) {
                g = keep_lanes(g, bits_above_zero(from * scale[v] + shift[v]));
                store(dy + v * LANES, g);
            }
            s[v] += g;
            p[v] += g * from;
        }
    for (unsigned v = 0; v < count; v++) {
        store(sum + v * LANES, s[v]);
        store(product + v * LANES, p[v]);
    }
}

/* Rows of `width` values. */
INLINE void shut_rows(const float *x, float *dy, size_t rows, size_t width, const float *mean, const float *factor,
                      const float *beta, bool shuts, float *sum, float *product)
{
    size_t c = 0;
    for (; c + TILE * LANES <= width; c += TILE * LANES)
        shut_tile(x + c, dy + c, rows, width, mean + c, factor + c, beta + c, shuts, sum + c, product + c, TILE);
    for (; c < width; c += LANES)
        shut_tile(x + c, dy + c, rows, width, mean + c, factor + c, beta + c, shuts, sum + c, product + c, 1);
}

static void shut_block(const float *x, float *dy, size_t rows, size_t width, const float *mean, const float *factor,
                       const float *beta, bool shuts, float *sum, float *product)
{
    if (shuts)
        shut_rows(x, dy, rows, width, mean, factor, beta, true, sum, product);
    else
        shut_rows(x, dy, rows, width, mean, factor, beta, false, sum, product);
}

struct wide_line { /* the coefficients of several narrow rows */
    float mean[TILE * LANES], factor[TILE * LANES], beta[TILE * LANES], sum[TILE * LANES], product[TILE * LANES];
};

INLINE void add_up(double *sum, size_t channels, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) sum[i % channels] += (double)values[i];
}

/* As many rows as make whole wide ones; how many that is. */
static size_t shut_folded(const float *x, float *dy, size_t rows, size_t channels, struct wide_line *wide, bool shuts,
                          double *sum, double *product)
{
    size_t fold = folding(channels), width = fold * channels, done = fold > 1 ? rows / fold * fold : 0;
    if (done == 0) return 0;
    shut_block(x, dy, done / fold, width, wide->mean, wide->factor, wide->beta, shuts, wide->sum, wide->product);
    add_up(sum, channels, wide->sum, width);
    add_up(product, channels, wide->product, width);
    return done;
}

static void bn_shut_sums(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                         bool shuts, float *dy, double *sum, double *product)
{
    size_t channels = range->channels, step = block_rows(channels);
    float *block_sum = range->scratch, *block_product = block_sum + channels;
    struct wide_line wide;
    memset(sum, 0, channels * sizeof *sum);
    memset(product, 0, channels * sizeof *product);
    repeat(mean, channels, wide.mean);
    repeat(factor, channels, wide.factor);
    repeat(beta, channels, wide.beta);
    for (size_t row = 0; row < range->rows; row += step) {
        size_t rows = range->rows - row < step ? range->rows - row : step;
        const float *x = range->x + row * channels;
        float *g = dy + row * channels;
        size_t done = shut_folded(x, g, rows, channels, &wide, shuts, sum, product);
        if (done == rows) continue;
        shut_block(x + done * channels, g + done * channels, rows - done, channels, mean, factor, beta, shuts,
                   block_sum, block_product);
        add_up(sum, channels, block_sum, channels);
        add_up(product, channels, block_product, channels);
    }
}

struct gradient_line { /* the coefficients of one vector of channels */
    vector mean, factor, shift, slope, beta;
};

INLINE void gradient_column(const float *x, const float *dy, const uint8_t *mask, bool shuts, size_t element,
                            size_t rows, size_t stride, const struct gradient_line *line, const float *other, float *dx)
{
    for (size_t row = 0; row < rows; row++, element += stride) {
        vector g = load(dy + element), from = load(x + element) - line->mean;
        if (mask) g = keep_masked(g, mask, element);
        if (shuts) g = keep_lanes(g, bits_above_zero(from * line->factor + line->beta));
        vector made = line->factor * (g - line->shift - from * line->slope);
        store(dx + element, other ? made + load(other + element) : made);
    }
}

INLINE void gradient_vectors(const struct bn_range *range, const uint8_t *mask, const float *dy, const float *mean,
                             const float *factor, const float *beta, const float *shift, const float *slope,
                             const float *other, float *dx)
{
    size_t channels = range->channels;
    for (size_t row = 0; row < range->rows; row += 4) {
        size_t rows = range->rows - row < 4 ? range->rows - row : 4;
        for (size_t c = 0; c < channels; c += LANES) {
            struct gradient_line line = {load(mean + c), load(factor + c), load(shift + c), load(slope + c), {0}};
            if (beta) line.beta = load(beta + c);
            gradient_column(range->x, dy, mask, beta != NULL, row * channels + c, rows, channels, &line, other, dx);
        }
    }
}

static void bn_gradient(const struct bn_range *range, const float *dy, const float *mean, const float *factor,
                        const float *shift, const float *slope, const float *other, float *dx)
{
    bool vectors = range->channels % LANES == 0;
    if (vectors && other) {
        gradient_vectors(range, range->mask, dy, mean, factor, NULL, shift, slope, other, dx);
    } else if (vectors && range->mask) {
        gradient_vectors(range, range->mask, dy, mean, factor, NULL, shift, slope, NULL, dx);
    } else if (vectors) {
        gradient_vectors(range, NULL, dy, mean, factor, NULL, shift, slope, NULL, dx);
    } else {
        for (size_t i = 0; i < range->rows * range->channels; i++) {
            size_t c = i % range->channels;
            float g = masked_out(range->mask, i) ? 0 : dy[i];
            dx[i] = factor[c] * (g - shift[c] - (range->x[i] - mean[c]) * slope[c]) + (other ? other[i] : 0);
        }
    }
}

static void bn_shut_gradient(const struct bn_range *range, const float *dy, const float *mean, const float *factor,
                             const float *beta, const float *shift, const float *slope, const float *other, float *dx)
{
    if (other)
        gradient_vectors(range, NULL, dy, mean, factor, beta, shift, slope, other, dx);
    else
        gradient_vectors(range, NULL, dy, mean, factor, beta, shift, slope, NULL, dx);
}

const struct loops LOOPS_NAME = {
    .relu = relu,
    .relu_backward = relu_backward,
    .add = add,
    .subtract = subtract,
    .mul = mul,
    .scale = scale,
    .sigmoid = sigmoid,
    .sigmoid_backward = sigmoid_backward,
    .update = UPDATE_NAME,
    .dot = dot,
    .add_scaled = add_scaled,
    .transpose_block = transpose_block,
    .bn_statistics = bn_statistics,
    .bn_normalize = bn_normalize,
    .bn_normalize_add = bn_normalize_add,
    .bn_mask = bn_mask,
    .keep = keep,
    .bn_gradient_sums = bn_gradient_sums,
    .bn_shut_sums = bn_shut_sums,
    .bn_gradient = bn_gradient,
    .bn_shut_gradient = bn_shut_gradient,
};
