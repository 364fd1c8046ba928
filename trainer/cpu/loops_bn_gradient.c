/* Backward loops of batch normalisation, as loops_bn.c. */
#include "loops_private.h"
#include "loops_vectors.h"

/* ---- Sums ---- */

/* As sum_tile, of dy and dy (x - mean); `element` counts from the mask's first bit. */
static ALWAYS_INLINE void gradient_tile(const float *x, const float *dy, const uint8_t *mask, size_t element,
                                        size_t rows, size_t stride, const float *mean, float *sum, float *product,
                                        unsigned count)
{
    vector s[TILE] = {0}, p[TILE] = {0}, middle[TILE];
    for (unsigned v = 0; v < count; v++) middle[v] = load_vector(mean + v * LANES);
    for (size_t row = 0; row < rows; row++, element += stride)
        for (unsigned v = 0; v < count; v++) {
            vector g = load_vector(dy + element + v * LANES);
            if (mask) g = keep_masked(g, mask, element + v * LANES);
            s[v] += g;
            p[v] += g * (load_vector(x + element + v * LANES) - middle[v]);
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

static ALWAYS_INLINE void gradient_columns(const struct bn_range *range, const float *dy, const uint8_t *mask,
                                           size_t row, size_t rows, const float *mean, float *sum, float *product)
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

void LOOPS_OWN(bn_gradient_sums)(const struct bn_range *range, const float *dy, const float *mean, double *sum,
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
static ALWAYS_INLINE void shut_tile(const float *x, float *dy, size_t rows, size_t stride, const float *mean,
                                    const float *factor, const float *beta, bool shuts, float *sum, float *product,
                                    unsigned count)
{
    vector s[TILE] = {0}, p[TILE] = {0}, middle[TILE], scale[TILE], shift[TILE];
    for (unsigned v = 0; v < count; v++) {
        middle[v] = load_vector(mean + v * LANES);
        scale[v] = load_vector(factor + v * LANES);
        shift[v] = load_vector(beta + v * LANES);
    }
    for (size_t row = 0; row < rows; row++, x += stride, dy += stride)
        for (unsigned v = 0; v < count; v++) {
            vector g = load_vector(dy + v * LANES), from = load_vector(x + v * LANES) - middle[v];
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
static ALWAYS_INLINE void shut_rows(const float *x, float *dy, size_t rows, size_t width, const float *mean,
                                    const float *factor, const float *beta, bool shuts, float *sum, float *product)
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

static ALWAYS_INLINE void add_up(double *sum, size_t channels, const float *values, size_t count)
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

void LOOPS_OWN(bn_shut_sums)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
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

/* ---- Gradients ---- */

static ALWAYS_INLINE void gradient_column(const float *x, const float *dy, const uint8_t *mask, bool shuts,
                                          size_t element, size_t rows, size_t stride, const struct gradient_line *line,
                                          const float *other, float *dx)
{
    for (size_t row = 0; row < rows; row++, element += stride) {
        vector g = load_vector(dy + element), from = load_vector(x + element) - line->mean;
        if (mask) g = keep_masked(g, mask, element);
        if (shuts) g = keep_lanes(g, bits_above_zero(from * line->factor + line->beta));
        vector made = line->factor * (g - line->shift - from * line->slope);
        store(dx + element, other ? made + load_vector(other + element) : made);
    }
}

static ALWAYS_INLINE void gradient_vectors(const struct bn_range *range, const uint8_t *mask, const float *dy,
                                           const float *mean, const float *factor, const float *beta,
                                           const float *shift, const float *slope, const float *other, float *dx)
{
    size_t channels = range->channels;
    for (size_t row = 0; row < range->rows; row += 4) {
        size_t rows = range->rows - row < 4 ? range->rows - row : 4;
        for (size_t c = 0; c < channels; c += LANES) {
            struct gradient_line line = {
                load_vector(mean + c), load_vector(factor + c), load_vector(shift + c), load_vector(slope + c), {0}};
            if (beta) line.beta = load_vector(beta + c);
            gradient_column(range->x, dy, mask, beta != NULL, row * channels + c, rows, channels, &line, other, dx);
        }
    }
}

void LOOPS_OWN(bn_gradient)(const struct bn_range *range, const float *dy, const float *mean, const float *factor,
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

void LOOPS_OWN(bn_shut_gradient)(const struct bn_range *range, const float *dy, const float *mean, const float *factor,
                                 const float *beta, const float *shift, const float *slope, const float *other,
                                 float *dx)
{
    if (other)
        gradient_vectors(range, NULL, dy, mean, factor, beta, shift, slope, other, dx);
    else
        gradient_vectors(range, NULL, dy, mean, factor, beta, shift, slope, NULL, dx);
}
