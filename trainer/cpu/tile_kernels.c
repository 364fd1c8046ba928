/* Compiled several times, with other instruction sets, another TILE_KERNELS_NAME and TILE_LANES floats in a vector.
 * Sizes of blocks are constants wherever registers hold them: the functions that take them are inlined into callers
 * that give numbers. */
#include "tile_kernels.h"

#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "tile_kernels_private.h"

#define LANES         ((size_t)TILE_LANES)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#define BY_FOUR  _Pragma("clang loop unroll_count(4)")
#define BY_TWO   _Pragma("clang loop unroll_count(2)")
#else
#define UNROLLED _Pragma("GCC unroll 64")
#define BY_FOUR  _Pragma("GCC unroll 4")
#define BY_TWO   _Pragma("GCC unroll 2")
#endif

typedef float vector __attribute__((vector_size(4 * TILE_LANES)));
typedef int32_t lanes __attribute__((vector_size(4 * TILE_LANES)));
typedef float unaligned_vector __attribute__((vector_size(4 * TILE_LANES), aligned(4), may_alias));

static ALWAYS_INLINE vector load_vector(const float *p) { return *(const unaligned_vector *)p; }
static ALWAYS_INLINE void store(float *p, vector v) { *(unaligned_vector *)p = v; }

static ALWAYS_INLINE void add_to(float *p, vector v) { store(p, load_vector(p) + v); }
static ALWAYS_INLINE void begin_or_add(float *p, vector v, bool begins) { store(p, begins ? v : load_vector(p) + v); }

/* v where `by` is above 0 or not a number, else 0. */
static ALWAYS_INLINE vector keep_above(vector v, vector by)
{
#ifdef __AVX512F__
    const __mmask16 bits = _mm512_cmp_ps_mask((__m512)by, _mm512_setzero_ps(), _CMP_NLE_UQ);
    return (vector)_mm512_maskz_mov_ps(bits, (__m512)v);
#else
    return (vector)((lanes)v & ~(lanes)(by <= 0));
#endif
}

/* ---- Sizes. Results of PIXELS x 2 vectors (or NARROW x 1) are in registers at a time, with as many of the weights.
 * ---- */

#ifdef __AVX512F__
#define PIXELS  8
#define SEVEN   7
#define NARROW  16
#define COLUMNS 4 /* groups of channels that are read together: their coefficients are in registers */
#else
#define PIXELS  4
#define SEVEN   PIXELS /* too many for 16 registers */
#define NARROW  8
#define COLUMNS 2
#endif
#define MOST_RESULTS (2 * PIXELS)

/* ---- Into a panel ---- */

struct line { /* coefficients of a group of channels */
    vector mean, scale, beta, shift, slope;
};

static ALWAYS_INLINE struct line line_of(enum tile_reading reading, const struct tile_bn *bn, size_t channel)
{
    struct line l = {0};
    if (reading == TILE_PLAIN) return l;
    l.mean = load_vector(bn->mean + channel);
    l.scale = load_vector(bn->scale + channel);
    if (reading != TILE_GRADIENT) l.beta = load_vector(bn->beta + channel);
    if (reading >= TILE_GRADIENT) l.shift = load_vector(bn->shift + channel);
    if (reading >= TILE_GRADIENT) l.slope = load_vector(bn->slope + channel);
    return l;
}

static ALWAYS_INLINE vector read_one(enum tile_reading reading, const float *x, const float *dy, const struct line *l)
{
    vector v = load_vector(x);
    if (reading == TILE_PLAIN) return v;
    vector from = v - l->mean, normal = from * l->scale + l->beta;
    if (reading == TILE_NORMALIZED) return normal;
    if (reading == TILE_RECTIFIED) return keep_above(normal, normal);
    vector g = load_vector(dy);
    if (reading == TILE_GRADIENT_SHUT) g = keep_above(g, normal);
    return l->scale * (g - l->shift - from * l->slope);
}

static ALWAYS_INLINE void read_columns(const enum tile_reading reading, const bool keeps, const unsigned count,
                                       const struct tile_rows *r, size_t channel)
{
    struct line l[COLUMNS];
    UNROLLED for (unsigned i = 0; i < count; i++) l[i] = line_of(reading, r->bn, channel + i * LANES);
    const float *x = r->x + channel, *dy = reading >= TILE_GRADIENT ? r->dy + channel : x;
    float *out = r->panel + channel / LANES * r->group_step, *kept = keeps ? r->kept + channel : NULL;
    for (size_t pixel = 0; pixel < r->pixels; pixel++, x += r->pixel_step, out += LANES) {
        UNROLLED for (unsigned i = 0; i < count; i++)
        {
            vector v = read_one(reading, x + i * LANES, dy + i * LANES, &l[i]);
            store(out + i * r->group_step, v);
            if (keeps) store(kept + i * LANES, v);
        }
        if (reading >= TILE_GRADIENT) dy += r->pixel_step;
        if (keeps) kept += r->pixel_step;
    }
}

static ALWAYS_INLINE void read_all(const enum tile_reading reading, const bool keeps, const struct tile_rows *r)
{
    const unsigned count = reading >= TILE_GRADIENT ? COLUMNS / 2 : COLUMNS;
    size_t channel = 0;
    for (; channel + count * LANES <= r->channels; channel += count * LANES)
        read_columns(reading, keeps, count, r, channel);
    for (; channel < r->channels; channel += LANES) read_columns(reading, keeps, 1, r, channel);
}

static ALWAYS_INLINE void read_gradient(const enum tile_reading reading, const struct tile_rows *r)
{
    if (r->kept)
        read_all(reading, true, r);
    else
        read_all(reading, false, r);
}

static void read_rows(const struct tile_rows *r)
{
    switch (r->reading) {
    case TILE_PLAIN: read_all(TILE_PLAIN, false, r); break;
    case TILE_NORMALIZED: read_all(TILE_NORMALIZED, false, r); break;
    case TILE_RECTIFIED: read_all(TILE_RECTIFIED, false, r); break;
    case TILE_GRADIENT: read_gradient(TILE_GRADIENT, r); break;
    default: read_gradient(TILE_GRADIENT_SHUT, r); break;
    }
}

/* ---- Results ---- */

/* A result on its way: in the caches, or past them. */
static ALWAYS_INLINE void put(float *p, vector v, const bool streams)
{
#if defined __AVX512F__
    if (streams) {
        _mm512_stream_ps(p, (__m512)v);
        return;
    }
#elif defined __AVX2__
    if (streams) {
        _mm256_stream_ps(p, (__m256)v);
        return;
    }
#else
    (void)streams;
#endif
    store(p, v);
}

static void settle(void)
{
#ifdef __AVX2__
    _mm_sfence();
#endif
}

static ALWAYS_INLINE bool reads_other(const uint32_t ending)
{
    return ending & ~(uint32_t)(TILE_SUMS | TILE_RECTIFIES);
}

/* What is done to results of one group of outputs, which lie `step` apart. */
static ALWAYS_INLINE void end_pixels(const uint32_t ending, const unsigned pixels, const unsigned step,
                                     const bool streams, const struct tile_product *p, size_t pixel, size_t output,
                                     const vector *result)
{
    const bool reads = reads_other(ending);
    vector sum = {0}, square = {0}, origin = {0}, mean = {0}, scale = {0}, beta = {0};
    float *out = p->out + pixel * p->outputs + output;
    const float *other = reads ? p->other + pixel * p->outputs + output : NULL;
    const float *rectified = ending & TILE_RECTIFIES ? p->rectified + pixel * p->outputs + output : NULL;
    if (ending & TILE_SUMS) origin = load_vector(p->origin + output);
    if (ending & TILE_GRADIENT_SUMS) mean = load_vector(p->bn->mean + output);
    if (ending & TILE_SHUTS) scale = load_vector(p->bn->scale + output), beta = load_vector(p->bn->beta + output);
    UNROLLED for (unsigned i = 0; i < pixels; i++, out += p->outputs)
    {
        vector v = result[i * step], from = v - origin;
        if (ending & TILE_ADDS) v += load_vector(other);
        if (ending & TILE_ADDS) from = v - origin;
        if (ending & TILE_GRADIENT_SUMS) from = load_vector(other) - mean;
        if (ending & TILE_SHUTS) v = keep_above(v, from * scale + beta);
        if (ending & TILE_RECTIFIES) v = keep_above(v, load_vector(rectified));
        sum += ending & TILE_SUMS ? from : v;
        square += ending & TILE_SUMS ? from * from : v * from;
        put(out, v, streams);
        if (reads) other += p->outputs;
        if (ending & TILE_RECTIFIES) rectified += p->outputs;
    }
    if (!(ending & (TILE_SUMS | TILE_GRADIENT_SUMS))) return;
    add_to(p->sums + output, sum);
    add_to(p->sums + p->outputs + output, square);
}

static ALWAYS_INLINE void end_group(const uint32_t ending, const unsigned pixels, const unsigned step,
                                    const struct tile_product *p, size_t pixel, size_t output, const vector *result)
{
    if (ending & TILE_SUMS && p->first && pixel == 0)
        store(p->origin + output, ending & TILE_ADDS ? result[0] + load_vector(p->other + output) : result[0]);
    if (p->streams)
        end_pixels(ending, pixels, step, true, p, pixel, output, result);
    else
        end_pixels(ending, pixels, step, false, p, pixel, output, result);
}

static ALWAYS_INLINE void end_block(const uint32_t ending, const unsigned pixels, const unsigned groups,
                                    const struct tile_product *p, size_t pixel, size_t output, const vector *results)
{
    UNROLLED for (unsigned g = 0; g < groups; g++)
        end_group(ending, pixels, groups, p, pixel, output + g * LANES, results + g);
}

#define LINE (64 / sizeof(float))

/* A cache line of each. */
static ALWAYS_INLINE void fetch_ahead(struct tile_ahead *ahead, const unsigned count)
{
    UNROLLED for (unsigned i = 0; i < count; i++)
    {
        if (ahead[i].from >= ahead[i].to) continue;
        __builtin_prefetch(ahead[i].from, 0, 2);
        ahead[i].from += LINE;
    }
}

/* Rows of results are far apart where there are many outputs, and processors fetch ahead along lines that lie side by
 * side: so what the next block reads and writes is asked for here. */
static ALWAYS_INLINE void fetch_next(const uint32_t ending, const unsigned pixels, const unsigned groups,
                                     const struct tile_product *p, size_t pixel, size_t output)
{
    const bool reads = reads_other(ending);
    size_t at = (pixel + pixels) * p->outputs + output;
    if (output % LINE != 0) return; /* the groups before these asked for it */
    UNROLLED for (unsigned i = 0; i < pixels; i++, at += p->outputs)
    {
        UNROLLED for (unsigned lane = 0; lane < groups * LANES; lane += LINE)
        {
            if (reads) __builtin_prefetch(p->other + at + lane, 0);
            if (ending & TILE_RECTIFIES) __builtin_prefetch(p->rectified + at + lane, 0);
            if (!p->streams) __builtin_prefetch(p->out + at + lane, 1);
        }
    }
}

/* 1 x 1: pixels x groups of outputs. */
static ALWAYS_INLINE void product_block(const uint32_t ending, const unsigned pixels, const unsigned groups,
                                        const struct tile_product *p, struct tile_ahead *ahead, size_t pixel,
                                        size_t output)
{
    vector result[MOST_RESULTS];
    UNROLLED for (unsigned i = 0; i < pixels * groups; i++) result[i] = (vector){0};
    const float *x = p->panel + pixel * LANES, *w = p->weights + output * p->inputs;
    const size_t next = p->inputs * LANES; /* group of outputs */
    fetch_next(ending, pixels, groups, p, pixel, output);
    for (size_t input = 0; input < p->inputs; input += LANES, x += p->group_step)
        for (unsigned begin = 0; begin < LANES; begin += 4, w += 4 * LANES) {
            fetch_ahead(ahead, 2);
            UNROLLED for (unsigned k = 0; k < 4; k++)
            {
                vector weight[2];
                UNROLLED for (unsigned g = 0; g < groups; g++) weight[g] = load_vector(w + k * LANES + g * next);
                UNROLLED for (unsigned i = 0; i < pixels; i++) UNROLLED for (unsigned g = 0; g < groups; g++)
                    result[i * groups + g] += weight[g] * x[i * LANES + begin + k];
            }
        }
    end_block(ending, pixels, groups, p, pixel, output, result);
}

/* 3 x 3: each input is read once for the three results that it is part of in its row. */
static ALWAYS_INLINE void window_block(const uint32_t ending, const unsigned pixels, const unsigned groups,
                                       const struct tile_product *p, struct tile_ahead *ahead, size_t pixel,
                                       size_t output)
{
    vector result[MOST_RESULTS];
    UNROLLED for (unsigned i = 0; i < pixels * groups; i++) result[i] = (vector){0};
    const float *x = p->panel + pixel * LANES, *w = p->weights + output * p->inputs * 9;
    const size_t next = p->inputs * LANES * 9, tap = LANES * LANES;
    for (size_t input = 0; input < p->inputs; input += LANES, x += p->group_step, w += 9 * tap)
        for (unsigned row = 0; row < 3; row++) {
            const float *from = x + row * p->row_step, *weights = w + row * 3 * tap;
            for (unsigned k = 0; k < LANES; k++) {
                if (k % 4 == 0) fetch_ahead(ahead, 2);
                vector weight[6];
                UNROLLED for (unsigned t = 0; t < 3; t++) UNROLLED for (unsigned g = 0; g < groups; g++)
                    weight[t * groups + g] = load_vector(weights + t * tap + k * LANES + g * next);
                UNROLLED for (unsigned i = 0; i < pixels + 2; i++)
                    UNROLLED for (unsigned t = 0; t < 3; t++) if (t <= i && i - t < pixels)
                        UNROLLED for (unsigned g = 0; g < groups; g++) result[(i - t) * groups + g] +=
                    weight[t * groups + g] * from[i * LANES + k];
            }
        }
    end_block(ending, pixels, groups, p, pixel, output, result);
}

#define ALL_BLOCKS(name, block)                                                                                        \
    static ALWAYS_INLINE void name(const uint32_t ending, const unsigned wide, const unsigned narrow,                  \
                                   const struct tile_product *p)                                                       \
    {                                                                                                                  \
        struct tile_ahead ahead[2] = {p->ahead[0], p->ahead[1]};                                                       \
        size_t output = 0;                                                                                             \
        for (; output + 2 * LANES <= p->outputs; output += 2 * LANES) {                                                \
            size_t pixel = 0;                                                                                          \
            for (; pixel + wide <= p->pixels; pixel += wide) block(ending, wide, 2, p, ahead, pixel, output);          \
            for (; pixel < p->pixels; pixel++) block(ending, 1, 2, p, ahead, pixel, output);                           \
        }                                                                                                              \
        for (; output < p->outputs; output += LANES) {                                                                 \
            size_t pixel = 0;                                                                                          \
            for (; pixel + narrow <= p->pixels; pixel += narrow) block(ending, narrow, 1, p, ahead, pixel, output);    \
            for (; pixel < p->pixels; pixel++) block(ending, 1, 1, p, ahead, pixel, output);                           \
        }                                                                                                              \
    }
ALL_BLOCKS(product_blocks, product_block)
ALL_BLOCKS(window_blocks, window_block)

/* Rows of 7, 14 and 28 pixels in sevens, as photographs have them: what is left over goes pixel by pixel. */
static ALWAYS_INLINE void window_rows(const uint32_t ending, const struct tile_product *p)
{
    if (p->pixels % PIXELS != 0 && p->pixels % SEVEN == 0)
        window_blocks(ending, SEVEN, 2 * SEVEN, p);
    else
        window_blocks(ending, PIXELS, NARROW, p);
}

#define ENDING(name, ending)                                                                                           \
    static void product_##name(const struct tile_product *p) { product_blocks(ending, PIXELS, NARROW, p); }            \
    static void window_##name(const struct tile_product *p) { window_rows(ending, p); }
ENDING(plain, 0)
ENDING(adds, TILE_ADDS)
ENDING(sums, TILE_SUMS)
ENDING(adds_sums, TILE_ADDS | TILE_SUMS)
ENDING(gradient_sums, TILE_GRADIENT_SUMS)
ENDING(shuts, TILE_GRADIENT_SUMS | TILE_SHUTS)
ENDING(rectifies, TILE_RECTIFIES)
ENDING(adds_rectifies, TILE_ADDS | TILE_RECTIFIES)

/* ---- Gradients of weights ---- */

static ALWAYS_INLINE void outer_step(const unsigned inputs, const unsigned groups, const float *x, const float *dy,
                                     size_t dy_group, vector *result)
{
    vector gradient[2];
    UNROLLED for (unsigned g = 0; g < groups; g++) gradient[g] = load_vector(dy + g * dy_group);
    UNROLLED for (unsigned k = 0; k < inputs; k++) UNROLLED for (unsigned g = 0; g < groups; g++)
        result[k * groups + g] += gradient[g] * x[k];
}

/* `inputs` rows of a block of weights x groups of outputs. */
static ALWAYS_INLINE void outer_block(const unsigned inputs, const unsigned groups, const struct tile_outer *o,
                                      struct tile_ahead *ahead, size_t input, size_t output)
{
    vector result[MOST_RESULTS];
    const size_t next = o->inputs * LANES;
    float *w = o->weights + output * o->inputs + input * LANES;
    const float *x = o->x + input / LANES * o->x_group + input % LANES;
    const float *dy = o->gradient + output / LANES * o->gradient_group;
    UNROLLED for (unsigned i = 0; i < inputs * groups; i++) result[i] = (vector){0};
    size_t pixel = 0;
    for (; pixel + 4 <= o->pixels; pixel += 4, x += 4 * LANES, dy += 4 * LANES) {
        fetch_ahead(ahead, 3);
        UNROLLED for (unsigned i = 0; i < 4; i++)
            outer_step(inputs, groups, x + i * LANES, dy + i * LANES, o->gradient_group, result);
    }
    for (; pixel < o->pixels; pixel++, x += LANES, dy += LANES)
        outer_step(inputs, groups, x, dy, o->gradient_group, result);
    UNROLLED for (unsigned k = 0; k < inputs; k++) UNROLLED for (unsigned g = 0; g < groups; g++)
        begin_or_add(w + k * LANES + g * next, result[k * groups + g], o->first);
}

static void outer(const struct tile_outer *o)
{
    struct tile_ahead ahead[3] = {o->ahead[0], o->ahead[1], o->ahead[2]};
    size_t output = 0;
    for (; output + 2 * LANES <= o->outputs; output += 2 * LANES)
        for (size_t input = 0; input < o->inputs; input += PIXELS) outer_block(PIXELS, 2, o, ahead, input, output);
    for (; output < o->outputs; output += LANES)
        for (size_t input = 0; input < o->inputs; input += NARROW) outer_block(NARROW, 1, o, ahead, input, output);
}

/* Three taps of a row x `inputs` x one group of outputs. A pixel of x meets the gradients of the three results that it
 * is part of; at the edge they are the panel's zeros. */
static ALWAYS_INLINE void outer_window_block(const unsigned inputs, const struct tile_outer *o,
                                             struct tile_ahead *ahead, unsigned row, size_t input, size_t output)
{
    vector result[3 * PIXELS];
    const size_t tap = LANES * LANES;
    float *w =
        o->weights + (output * o->inputs + input / LANES * LANES * LANES) * 9 + row * 3 * tap + input % LANES * LANES;
    const float *x = o->x + input / LANES * o->x_group + row * o->row_step + LANES + input % LANES;
    const float *dy = o->gradient + output / LANES * o->gradient_group + o->row_step + LANES;
    UNROLLED for (unsigned i = 0; i < 3 * inputs; i++) result[i] = (vector){0};
    for (size_t r = 0; r < o->rows; r++, x += o->row_step, dy += o->row_step) {
        vector before = {0}, here = load_vector(dy);
        const float *from = x, *next = dy + LANES;
        for (size_t pixel = 0; pixel < o->pixels; pixel++, from += LANES, next += LANES) {
            vector after = load_vector(next);
            if (pixel % 4 == 0) fetch_ahead(ahead, 3);
            UNROLLED for (unsigned k = 0; k < inputs; k++)
            {
                result[k] += after * from[k];
                result[inputs + k] += here * from[k];
                result[2 * inputs + k] += before * from[k];
            }
            before = here;
            here = after;
        }
    }
    UNROLLED for (unsigned t = 0; t < 3; t++) UNROLLED for (unsigned k = 0; k < inputs; k++)
        begin_or_add(w + t * tap + k * LANES, result[t * inputs + k], o->first);
}

static void outer_window(const struct tile_outer *o)
{
    struct tile_ahead ahead[3] = {o->ahead[0], o->ahead[1], o->ahead[2]};
    for (size_t output = 0; output < o->outputs; output += LANES)
        for (size_t input = 0; input < o->inputs; input += PIXELS)
            for (unsigned row = 0; row < 3; row++) outer_window_block(PIXELS, o, ahead, row, input, output);
}

static void transpose(const float *block, float *out)
{
    for (size_t i = 0; i < LANES; i++)
        for (size_t j = 0; j < LANES; j++) out[j * LANES + i] = block[i * LANES + j];
}

#define ENDINGS(name)                                                                                                  \
    {                                                                                                                  \
        [0] = name##_plain, [TILE_ADDS] = name##_adds, [TILE_SUMS] = name##_sums,                                      \
        [TILE_ADDS | TILE_SUMS] = name##_adds_sums, [TILE_GRADIENT_SUMS] = name##_gradient_sums,                       \
        [TILE_GRADIENT_SUMS | TILE_SHUTS] = name##_shuts, [TILE_RECTIFIES] = name##_rectifies,                         \
        [TILE_ADDS | TILE_RECTIFIES] = name##_adds_rectifies,                                                          \
    }

const struct tile_kernels TILE_KERNELS_NAME = {
    .name = TILE_KERNELS_TEXT,
    .lanes = TILE_LANES,
    .read = read_rows,
    .product = ENDINGS(product),
    .window = ENDINGS(window),
    .outer = outer,
    .outer_window = outer_window,
    .transpose = transpose,
    .settle = settle,
};
