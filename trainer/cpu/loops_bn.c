/* Forward loops of batch normalisation. Channels go 16 to a vector; where 16 does not divide them, plain loops.
 * Compiled as loops.c is. */
#include "loops_private.h"
#include "loops_vectors.h"

/* ---- Statistics ---- */

/* Sums over rows of `count` vectors beside each other: of x, or of (x - centre)^2. */
static ALWAYS_INLINE void sum_tile(const float *x, size_t rows, size_t stride, const float *centre, float *sum,
                                   unsigned count)
{
    vector even[TILE] = {0}, odd[TILE] = {0}, middle[TILE] = {0};
    if (centre)
        for (unsigned v = 0; v < count; v++) middle[v] = load_vector(centre + v * LANES);
    size_t row = 0;
    for (; row + 2 <= rows; row += 2, x += 2 * stride)
        for (unsigned v = 0; v < count; v++) {
            vector a = load_vector(x + v * LANES), b = load_vector(x + stride + v * LANES);
            even[v] += centre ? (a - middle[v]) * (a - middle[v]) : a;
            odd[v] += centre ? (b - middle[v]) * (b - middle[v]) : b;
        }
    if (row < rows)
        for (unsigned v = 0; v < count; v++) {
            vector a = load_vector(x + v * LANES);
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
void LOOPS_OWN(bn_statistics)(const struct bn_range *range, double *mean, double *squares)
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

/* ---- Results ---- */

/* One vector of channels in `rows` rows. */
static ALWAYS_INLINE void normalize_column(const float *x, size_t element, size_t rows, size_t stride, vector mean,
                                           vector factor, vector beta, bool relu, float *y, uint8_t *mask)
{
    for (size_t row = 0; row < rows; row++, element += stride) {
        vector v = (load_vector(x + element) - mean) * factor + beta;
        if (relu) {
            uint16_t bits = bits_above_zero(v);
            v = keep_lanes(v, bits);
            if (mask) memcpy(mask + element / 8, &bits, sizeof bits);
        }
        if (y) store(y + element, v);
    }
}

static ALWAYS_INLINE void normalize(const struct bn_range *range, const float *mean, const float *factor,
                                    const float *beta, bool relu, float *y, uint8_t *mask)
{
    size_t channels = range->channels, row = 0;
    for (; row + 4 <= range->rows; row += 4)
        for (size_t c = 0; c < channels; c += LANES)
            normalize_column(range->x, row * channels + c, 4, channels, load_vector(mean + c), load_vector(factor + c),
                             load_vector(beta + c), relu, y, mask);
    for (; row < range->rows; row++)
        for (size_t c = 0; c < channels; c += LANES)
            normalize_column(range->x, row * channels + c, 1, channels, load_vector(mean + c), load_vector(factor + c),
                             load_vector(beta + c), relu, y, mask);
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

void LOOPS_OWN(bn_normalize)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
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

void LOOPS_OWN(bn_mask)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                        uint8_t *mask)
{
    if (range->channels % LANES != 0)
        normalize_plain(range, mean, factor, beta, true, NULL, mask);
    else
        normalize(range, mean, factor, beta, true, NULL, mask);
}

/* Past the caches where the processor can: a line that is written whole is not read before. */
static ALWAYS_INLINE void put(float *p, vector v, bool streams)
{
#ifdef __AVX512F__
    if (streams)
        _mm512_stream_ps(p, (__m512)v);
    else
#endif
        store(p, v);
    (void)streams;
}

static ALWAYS_INLINE void normalize_add(const struct bn_range *range, const float *mean, const float *factor,
                                        const float *beta, const float *other, bool relu, bool streams, float *y)
{
    size_t channels = range->channels;
    for (size_t row = 0; row < range->rows; row += 4) {
        size_t rows = range->rows - row < 4 ? range->rows - row : 4;
        for (size_t c = 0; c < channels; c += LANES) {
            vector middle = load_vector(mean + c), scale = load_vector(factor + c), shift = load_vector(beta + c);
            for (size_t i = row * channels + c; i < (row + rows) * channels; i += channels) {
                vector v = (load_vector(range->x + i) - middle) * scale + shift + load_vector(other + i);
                put(y + i, relu ? keep_lanes(v, bits_above_zero(v)) : v, streams);
            }
        }
    }
#ifdef __AVX512F__
    if (streams) _mm_sfence();
#endif
}

void LOOPS_OWN(bn_normalize_add)(const struct bn_range *range, const float *mean, const float *factor,
                                 const float *beta, const float *other, bool relu, bool streams, float *y)
{
    streams = streams && (uintptr_t)y % sizeof(vector) == 0;
    if (relu && streams)
        normalize_add(range, mean, factor, beta, other, true, true, y);
    else if (relu)
        normalize_add(range, mean, factor, beta, other, true, false, y);
    else
        normalize_add(range, mean, factor, beta, other, false, streams, y);
}
