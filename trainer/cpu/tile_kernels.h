/* The inner loops of convolutions that do what stands around them as well (conv_tiles.h): serial, compiled once per width
 * of vectors.
 *
 * What a convolution reads is first written to a panel, [channels / lanes][pixels][lanes], as a batch normalisation or its
 * gradient has it: a tile of pixels at a time, so that it stays in the first-level cache. Weights are in blocks as oneDNN
 * keeps them: [outputs / lanes][inputs / lanes][taps][lanes inputs][lanes outputs]; where a gradient of inputs is computed,
 * inputs are the channels of y. Channels are multiples of 16 everywhere. Every value is computed by the same operations in
 * the same order whichever tile it is in. */
#ifndef FATHOM_TILE_KERNELS_H
#define FATHOM_TILE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One element per channel; those that are not wanted are NULL (bn_rows.h). */
struct tile_bn {
    const float *mean, *scale, *beta, *shift, *slope;
};

enum tile_reading {
    TILE_PLAIN,         /* x */
    TILE_NORMALIZED,    /* (x - mean) scale + beta */
    TILE_RECTIFIED,     /* that, through ReLU */
    TILE_GRADIENT,      /* scale (dy - shift - (x - mean) slope) */
    TILE_GRADIENT_SHUT, /* that, where dy is 0 unless (x - mean) scale + beta is above 0 */
    TILE_READINGS
};

/* Pixels into a panel. */
struct tile_rows {
    enum tile_reading reading;
    const float *x, *dy; /* the first pixel's */
    size_t pixels, channels;
    size_t pixel_step; /* floats from a pixel to the next, of x and dy */
    float *panel;      /* where the first one goes */
    float *kept;       /* of gradients: they are written here, too, as x; NULL: they are not */
    size_t group_step; /* floats from a group of channels to the next */
    const struct tile_bn *bn;
};

/* What happens to results while they are in registers: bits. */
enum tile_ending {
    TILE_ADDS = 1,  /* `other` is added */
    TILE_SUMS = 2,  /* their distances from `origin` are summed, and the squares */
    TILE_GRADIENT_SUMS = 4, /* they are summed, and their products with (other - mean) */
    TILE_SHUTS = 8, /* before that: 0 unless (other - mean) scale + beta is above 0 */
    TILE_RECTIFIES = 16, /* last: 0 unless `rectified` is above 0 */
    TILE_ENDINGS = 32
};

/* Memory that the next tile reads, [from, to): asked for while this one is computed, so that neither waits. */
struct tile_ahead {
    const float *from, *to;
};

/* A convolution's results at pixels that lie side by side. */
struct tile_product {
    uint32_t ending;
    const float *panel; /* what the first pixel reads; of a 3 x 3 kernel the upper left one */
    size_t group_step;
    size_t row_step; /* of a 3 x 3 kernel: floats from a row of the panel to the next */
    const float *weights;
    size_t pixels, inputs, outputs;
    float *out;
    const float *other; /* residual, or the x of the BN whose gradient is summed: as `out` */
    const float *rectified;
    const struct tile_bn *bn;
    float *sums;   /* 2 x outputs: added to */
    float *origin; /* outputs */
    struct tile_ahead ahead[2];
    bool streams;  /* past the caches: `out` begins with a whole cache line */
    bool first;    /* `origin` becomes the first pixel's result */
};

/* Gradients of weights: of 1 x 1 over pixels side by side; of 3 x 3 over rows of `pixels`. */
struct tile_outer {
    const float *x, *gradient; /* panels; of 3 x 3 with an edge of a pixel on all sides, from that on */
    size_t x_group, gradient_group, row_step;
    size_t rows, pixels, inputs, outputs;
    float *weights;
    struct tile_ahead ahead[3];
    bool first; /* written, not added to */
};

struct tile_kernels {
    const char *name;
    uint32_t lanes;
    void (*read)(const struct tile_rows *rows);
    void (*product[TILE_ENDINGS])(const struct tile_product *p); /* 1 x 1; NULL: no such ending */
    void (*window[TILE_ENDINGS])(const struct tile_product *p);  /* 3 x 3, of a row */
    void (*outer)(const struct tile_outer *o);
    void (*outer_window)(const struct tile_outer *o);
    /* A block of lanes x lanes, rows and columns exchanged. */
    void (*transpose)(const float *block, float *out);
    /* After results that went past the caches, before another thread reads them. */
    void (*settle)(void);
};

/* Those for weights in blocks of so many lanes; NULL: none. */
const struct tile_kernels *tile_kernels_of(uint32_t lanes);

#endif
