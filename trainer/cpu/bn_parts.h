/* Batch normalisation by parts: rows (pixels of all images) are cut into parts that depend on the shape alone; each is
 * worked on by one thread, and what they sum is merged in order. So the results do not depend on the number of threads. */
#ifndef FATHOM_BN_PARTS_H
#define FATHOM_BN_PARTS_H

#include "cpu_device.h"
#include "loops.h"

/* One run over a tensor. What a function says it reads is set before it is called. */
struct bn_parts {
    const struct loops *loops;
    const struct conversions *convert;
    const struct prepared *op; /* of a whole BN; else NULL */
    uint64_t rows, channels, parts;
    double *sums;                                    /* 2 * channels + 1, merged over parts and devices */
    double *part_sums;                               /* parts x 2 x channels */
    float *part_scratch;                             /* parts x 2 x channels */
    float *own_factor, *own_shift, *own_slope;       /* room for the next three */
    const float *factor, *shift, *slope, *mean, *beta; /* channels each; see loops.h */
    enum dtype dtype;
    const void *x, *dy; /* of `dtype` */
    void *out;          /* y or dx */
    const uint8_t *mask;
    const float *other; /* added to y or dx, in f32; NULL = nothing */
    uint8_t *mask_out;
    bool relu;
    bool relu_sum; /* of y and `other` */
    bool shuts;    /* of a gradient: by x itself, without a mask */
};

/* Scratch for a run over a tensor of this shape. */
uint64_t bn_parts_bytes(const struct tensor *x);
struct bn_parts bn_parts_of(const struct tensor *tensor, const void *x, void *scratch);

/* Of x: mean, then squares, into part_sums. */
void bn_parts_statistics(const struct bn_parts *b);
/* out = (x - mean) factor + beta, with ReLU if `relu`; mask_out when it is not NULL. [+ other, in f32, with ReLU if
 * `relu_sum`; out is not `other`.] */
void bn_parts_normalize(const struct bn_parts *b);
/* That mask alone. */
void bn_parts_mask(const struct bn_parts *b);
/* Of dy, where `mask` (if any) lets it through, and of its product with x - mean, into sums. */
void bn_parts_gradient_sums(const struct bn_parts *b);
/* Whether that can be done without a mask, as loops.h has it. */
bool bn_parts_shut_alone(const struct tensor *x);
/* out = factor (dy - shift - (x - mean) slope) [+ other], dy masked likewise, or shut alone if `shuts`. */
void bn_parts_gradient(const struct bn_parts *b);

#endif
