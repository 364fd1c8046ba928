/* Compiled several times, with other instruction sets and another LOOPS_NAME. */
#include "loops.h"

#include <math.h>
#include <string.h>

#include "loops_private.h"
#include "loops_vectors.h"

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

static void add_scaled(float *y, const float *x, float factor, size_t n) { FOR_EACH y[i] += factor * x[i]; }

/* ---- Vectors ---- */

static float dot(const float *a, const float *b, size_t n)
{
    vector even = {0}, odd = {0};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        even += load_vector(a + i) * load_vector(b + i);
        odd += load_vector(a + i + LANES) * load_vector(b + i + LANES);
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
    for (unsigned i = 0; i < LANES; i++) row[i] = load_vector(in + i * LANES);
    EXCHANGE(row, 8)
    EXCHANGE(row, 4)
    EXCHANGE(row, 2)
    EXCHANGE(row, 1)
    for (unsigned i = 0; i < LANES; i++) store(out + i * stride, row[i]);
}

static void keep(float *y, const float *x, const uint8_t *mask, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) store(y + i, keep_masked(load_vector(x + i), mask, i));
    for (; i < n; i++) y[i] = masked_out(mask, i) ? 0 : x[i];
}

/* ---- The set ---- */

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
    .bn_statistics = LOOPS_OWN(bn_statistics),
    .bn_normalize = LOOPS_OWN(bn_normalize),
    .bn_normalize_add = LOOPS_OWN(bn_normalize_add),
    .bn_mask = LOOPS_OWN(bn_mask),
    .keep = keep,
    .bn_gradient_sums = LOOPS_OWN(bn_gradient_sums),
    .bn_shut_sums = LOOPS_OWN(bn_shut_sums),
    .bn_gradient = LOOPS_OWN(bn_gradient),
    .bn_shut_gradient = LOOPS_OWN(bn_shut_gradient),
};
