/* The inner loops of cpu_backend's own ops: serial, over plain ranges, compiled once per instruction set.
 *
 * Every element is computed by the same operations in the same order wherever a range begins and whatever thread has
 * it. Results may overwrite an input element for element. ReLU lets NaN through, so that a wrong value cannot hide
 * behind it. */
#ifndef FATHOM_LOOPS_H
#define FATHOM_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "update_rule.h"

/* Batch normalisation: rows x channels values; vectors have one element per channel. */
struct bn_range {
    const float *x;
    size_t rows, channels;
    const uint8_t *mask; /* backward: bit 1 = ReLU let the element through; NULL = no ReLU */
    float *scratch;      /* 2 * channels, for sums */
};

struct loops {
    void (*relu)(float *y, const float *x, size_t n);
    void (*relu_backward)(float *dx, const float *y, const float *dy, size_t n);
    void (*add)(float *y, const float *a, const float *b, size_t n);
    void (*subtract)(float *y, const float *a, const float *b, size_t n); /* y = a - b */
    void (*mul)(float *y, const float *a, const float *b, size_t n);
    void (*scale)(float *y, const float *x, float alpha, float beta, size_t n); /* y = alpha x + beta */
    void (*sigmoid)(float *y, const float *x, size_t n);
    void (*sigmoid_backward)(float *dx, const float *y, const float *dy, size_t n);
    void (*update)(const struct update_rule *rule, const struct update_range *range, uint64_t n); /* update.h */

    float (*dot)(const float *a, const float *b, size_t n);
    void (*add_scaled)(float *y, const float *x, float factor, size_t n); /* y += factor x */

    /* Transposes 16 x 16 values that lie together; rows of the result are `stride` apart. */
    void (*transpose_block)(float *out, size_t stride, const float *in);

    /* Mean and sum of squared differences from it. */
    void (*bn_statistics)(const struct bn_range *range, double *mean, double *squares);
    /* y = (x - mean) factor + beta, then ReLU if `relu`, whose mask is written when `mask` is not NULL. */
    void (*bn_normalize)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                         bool relu, float *y, uint8_t *mask);
    /* y = (x - mean) factor + beta + other, then ReLU if `relu`; past the caches if `streams`, and then y is not x. Channels
     * are a multiple of 16. */
    void (*bn_normalize_add)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                             const float *other, bool relu, bool streams, float *y);
    /* Its mask alone. */
    void (*bn_mask)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                    uint8_t *mask);
    /* y = x where the mask's bit is 1, else 0; `n` elements from the mask's first bit on. */
    void (*keep)(float *y, const float *x, const uint8_t *mask, size_t n);
    /* Sums of dy and of dy (x - mean), where dy is 0 under the mask. */
    void (*bn_gradient_sums)(const struct bn_range *range, const float *dy, const float *mean, double *sum,
                             double *product);
    /* Where (x - mean) factor + beta is not above 0, dy becomes 0 if `shuts`; then sums as above. Channels are a multiple
     * of 16. */
    void (*bn_shut_sums)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                         bool shuts, float *dy, double *sum, double *product);
    /* dx = factor (dy - shift - (x - mean) slope), where dy is 0 under the mask; plus `other` when it is not NULL. */
    void (*bn_gradient)(const struct bn_range *range, const float *dy, const float *mean, const float *factor,
                        const float *shift, const float *slope, const float *other, float *dx);
    /* The same, where dy is 0 unless (x - mean) factor + beta is above 0. Channels are a multiple of 16. */
    void (*bn_shut_gradient)(const struct bn_range *range, const float *dy, const float *mean, const float *factor,
                             const float *beta, const float *shift, const float *slope, const float *other, float *dx);
};

/* The best set for this processor. */
const struct loops *loops_best(void);

#endif
