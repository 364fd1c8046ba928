/* What oneDNN is asked to compute: a primitive of one shape. */
#ifndef FATHOM_ONEDNN_SHAPE_H
#define FATHOM_ONEDNN_SHAPE_H

#include <stdint.h>

enum onednn_primitive {
    ONEDNN_CONV,
    ONEDNN_CONV_BWD_DATA,
    ONEDNN_CONV_BWD_WEIGHTS,
    ONEDNN_FC, /* x is {N, 1, 1, features} */
    ONEDNN_FC_BWD_DATA,
    ONEDNN_FC_BWD_WEIGHTS,
    ONEDNN_MAXPOOL,
    ONEDNN_MAXPOOL_BWD,
    ONEDNN_AVGPOOL,
    ONEDNN_AVGPOOL_BWD,
};

/* Compared byte by byte: only uint32_t members. Dims are {N, H, W, C}; kernel and padding {rows, columns}. */
struct onednn_shape {
    uint32_t primitive;
    uint32_t x[4], y[4];
    uint32_t kernel[2], padding[2], stride;
    uint32_t bias;      /* 1: with bias */
    uint32_t inference; /* 1: maxpool writes no mask */
    uint32_t bf16; /* 1: x and y in bf16; weights stored in f32 are rounded to it as they are moved; convolutions */
    uint32_t bf16_weights; /* 1: stored in bf16 too */
    uint32_t as_stored;    /* 1: no engine for whose sake weights would be moved (for benchmarks) */
    uint32_t alone;        /* 1: for one thread, and run by several at once (onednn_run_alone) */
};

#endif
