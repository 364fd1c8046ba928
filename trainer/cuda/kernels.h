/* The device's own kernels: their names, and what each is given. Read by C and by the .cu files.
 *
 * Every kernel takes one structure by value and is `extern "C" __global__`, so that it is found by its name in the image
 * that the build embeds, and so that the same source can be run by the host in tests.
 *
 * Kernels give the same bits every time: sums are taken in an order that shapes and the GPU's size alone decide. Arithmetic
 * is f32 and rounds as written (no contraction but explicit fmaf). Of vectors of channels, 8 go at a time where 8 divides
 * them. */
#ifndef FATHOM_KERNELS_H
#define FATHOM_KERNELS_H

#include <stdint.h>

/* Blocks have this many threads, all of one dimension. */
#define KERNEL_THREADS 256

/* How many sums a kernel may take apart from each other, each by blocks of its own. */
#define KERNEL_COUNTERS 64

/* As enum optimizer of graph.h. */
enum kernel_optimizer {
    KERNEL_MOMENTUM, KERNEL_SGD, KERNEL_RMSPROP, KERNEL_RMSPROP_MOMENTUM, KERNEL_ADAGRAD, KERNEL_ADADELTA, KERNEL_ADAM,
    KERNEL_ADAMW
};

/* In device memory, zero at first; written in stream order by the kernel set_step, read by what changes from step to step. */
struct step_block {
    uint64_t number, seed;
    uint32_t micro_batch, nesterov;
    uint32_t optimizer, spares_bn; /* optimizer: enum kernel_optimizer */
    float learning_rate, momentum, weight_decay, bn_momentum, label_smoothing;
    float epsilon, clip_norm;
    double beta1, beta2, average_decay;
    uint32_t scale_streak;
    float mean[3], deviation[3]; /* of pixels as 0..1, by channel */
    uint32_t halted; /* a training loss was not finite: nothing is updated any more */
    uint32_t counters[KERNEL_COUNTERS]; /* of blocks that are done, of kernels whose last block goes on; 0 between them */
    uint32_t turns[KERNEL_COUNTERS];    /* how often blocks that wait were let go on, of kernels launched cooperatively */
};

/* A kernel for each type of activations, or one alone. */
#define KERNEL_LIST(EACH, ALONE)                                                                                       \
    ALONE(accumulate) EACH(add) EACH(avgpool) EACH(avgpool_backward)                                                   \
    EACH(bn_apply) EACH(bn_backward_apply) ALONE(bn_backward_finalize) EACH(bn_backward_sums) ALONE(bn_finalize)       \
    EACH(bn_backward_whole) EACH(bn_mask) EACH(bn_sums) EACH(bn_whole)                                                 \
    ALONE(conv) ALONE(conv_bias_gradient) ALONE(conv_data_gradient) ALONE(conv_kept_gradient)                          \
    ALONE(conv_weight_gradient) EACH(copy_channels) EACH(dropout) ALONE(gradient_check) ALONE(gradient_norm)           \
    ALONE(loss_scale_update) EACH(maxpool) EACH(maxpool_backward) EACH(mul)                                            \
    EACH(place_images) ALONE(product)                                                                                  \
    EACH(relu) EACH(relu_backward) ALONE(round_elements_bf16) ALONE(round_elements_f16)                                \
    EACH(scale) ALONE(set_step) ALONE(update) EACH(shortcut_pad) EACH(shortcut_pad_backward)                       \
    EACH(sigmoid) EACH(sigmoid_backward) EACH(softmax_loss) EACH(softmax_loss_backward) EACH(squares) EACH(subtract)                 \
    ALONE(weights_average) ALONE(widen_elements_bf16) ALONE(widen_elements_f16) ALONE(widen_pieces_bf16) ALONE(widen_pieces_f16)

#define KERNEL_EACH(name)  KERNEL_##name##_f32, KERNEL_##name##_f16, KERNEL_##name##_bf16,
#define KERNEL_ALONE(name) KERNEL_##name,
enum kernel_id { KERNEL_LIST(KERNEL_EACH, KERNEL_ALONE) KERNELS };
#undef KERNEL_EACH
#undef KERNEL_ALONE

struct set_step_arguments {
    struct step_block *block; /* all but `halted`, counters and turns is written */
    struct step_block values;
};

/* From f32, of the host too, to f16 or bf16. */
struct round_arguments {
    const float *in;
    void *out;
    uint64_t count, vectors; /* of 8 elements that are moved whole, from the first on */
};

/* From f16 or bf16 to f32. */
struct widen_arguments {
    const void *in;
    float *out;
    uint64_t count, vectors;
};

/* out = f(a, b): relu, relu_backward (y, dy), add, subtract, mul, scale (alpha a + beta), sigmoid, sigmoid_backward (y, dy).
 * out may be a or b. */
struct elementwise_arguments {
    const void *a, *b;
    void *out;
    uint64_t count;
    uint64_t vectors; /* of 16 bytes that are moved whole, from the first element on; the rest goes one by one */
    float alpha, beta;
};

/* bucket = part in the first micro-batch of a step, bucket + part later. */
struct accumulate_arguments {
    const float *part;
    float *bucket;
    uint64_t count, vectors; /* as above */
    const struct step_block *step;
};

/* average += (1 - d) (weights - average), or it stays where the device is halted or the loss scale found an overflow. */
struct weights_average_arguments {
    const float *weights, *loss_scale; /* NULL: gradients are not scaled */
    float *average;
    uint64_t count, vectors;
    const struct step_block *step;
};

/* As loss_scale_move of graph.h. */
struct loss_scale_update_arguments {
    float *loss_scale;
    const struct step_block *step;
    float least, most; /* scales */
};

/* Parts of a bucket, a block each. */
#define KERNEL_PIECES         480
#define KERNEL_PIECE_ELEMENTS 65536
struct kernel_piece { uint32_t first, count; };

/* weights and what their optimizer keeps of them move by the step block's numbers, or stay where the device is halted or the
 * loss scale found an overflow. The count of a piece that decays whatever is spared has its highest bit set. */
#define KERNEL_PIECE_DECAYS 0x80000000u
struct update_arguments {
    float *weights, *state[2]; /* NULL: not kept */
    const float *gradients;
    const float *loss_scale; /* a struct loss_scale of graph.h; NULL: gradients are not scaled */
    const double *norm;      /* squares of the gradients; NULL: they are not clipped */
    const struct step_block *step;
    struct kernel_piece pieces[KERNEL_PIECES]; /* whose first elements 4 divides */
};

/* *norm = the sum of the pieces' squares, + *norm where `keep`. */
struct gradient_norm_arguments {
    const float *gradients;
    double *norm, *partial; /* partial: one for each piece */
    uint32_t keep;
    struct step_block *step;
    struct kernel_piece pieces[KERNEL_PIECES];
};

/* *sum, of the host's pinned memory, += the sum of the elements' squares. */
struct squares_arguments {
    const void *in;
    uint64_t count, vectors; /* of 16 bytes, from the first on */
    double *sum, *partial;   /* partial: one for each block, SQUARES_BLOCKS at most */
    struct step_block *step;
};
#define SQUARES_BLOCKS   1024u
#define SQUARES_OF_BLOCK 8192u /* elements, where blocks are fewer */

/* out[i] = in[i], from f16 or bf16, for the elements of the pieces, whose first ones 16 divides. */
struct widen_pieces_arguments {
    const void *in;
    float *out;
    struct kernel_piece pieces[KERNEL_PIECES];
};

/* Whether a gradient is no number. */
struct gradient_check_arguments {
    const float *gradients;
    float *loss_scale; /* [2], what was found, is 0 or 1 */
    uint32_t keep;     /* what was found before stays so */
    struct step_block *step;
    struct kernel_piece pieces[KERNEL_PIECES]; /* other elements mean nothing */
};

/* ---- Products and convolutions: types are looked up, element by element ---- */

enum kernel_type { KERNEL_F32, KERNEL_F16, KERNEL_BF16 };
struct kernel_operand {
    const void *at;
    uint32_t type;
};

/* out[i][j] = sum over k of a[i a_i + k a_k] b[k b_k + j b_j], + bias[j] unless that is NULL. A block along x for each
 * PRODUCT_TILE columns, along y for as many rows. */
#define PRODUCT_TILE   32
#define PRODUCT_SHARED (2 * PRODUCT_TILE * (PRODUCT_TILE + 1) * 4) /* bytes */
struct product_arguments {
    struct kernel_operand a, b;
    void *out;
    uint32_t out_type, rows, columns, depth;
    uint64_t a_i, a_k, b_k, b_j;
    const float *bias;
};

/* ---- Dropout: y = x keep, or 0 where the element's random word is below `threshold` ---- */

struct dropout_arguments {
    const void *x;
    void *y;
    uint64_t count, vectors; /* the first `vectors` times 4 elements are moved 4 at a time */
    uint64_t source; /* the last word of what the stream of random numbers is named by: device number, op */
    const struct step_block *step;
    uint32_t threshold;
    float keep;
};

/* ---- Channels and pixels: NHWC, `width` channels (8 or 1) to a thread ---- */

struct kernel_image { uint32_t images, rows, columns, channels; };

/* maxpool writes the tap that was largest to mask (NULL: nowhere), of which there are as many as elements of y.
 * Their backward kernels: y is dy, x is dx, and each pixel of x gathers from the windows that cover it. */
struct pool_arguments {
    void *x, *y;
    uint8_t *mask;
    struct kernel_image x_dims, y_dims;
    uint32_t window_rows, window_columns, stride, padding, width;
};

/* y = x at every stride-th pixel, 0 in channels that x has not; backward: y is dy, x is dx. */
struct shortcut_arguments {
    void *x, *y;
    struct kernel_image x_dims, y_dims;
    uint32_t stride, width;
};

/* to[row][to_first + c] = from[row][from_first + c], c < channels. */
struct copy_channels_arguments {
    const void *from;
    void *to;
    uint32_t rows, channels, from_channels, from_first, to_channels, to_first, width;
};

/* Images of bytes, as OP_INPUT makes them (lower.h). */
struct place_images_arguments {
    const uint8_t *pixels;
    const int32_t *placements; /* dx, dy, flip, 0 of each image */
    void *images;
    struct kernel_image dims; /* 3 channels */
    const struct step_block *step;
};

/* ---- Batch normalisation ----
 *
 * x is {rows, channels}. Rows of the small tensors: bn_layout.h; coefficients are scale = gamma / deviation, shift = mean of
 * dy, slope = (mean of dy normalised x) / deviation, mean, beta: dx = scale (dy - shift - slope (x - mean)). Of statistics that
 * are frozen, with 0 rows, shift and slope are 0; where gamma and beta are frozen too, dgamma and dbeta are NULL. */

/* Which rows and channels a block has: blocks go along x by `chunk` rows, along y by `tile` times `width` channels; its
 * threads by tile, `lanes` rows at a time. */
struct kernel_columns { uint32_t rows, channels, width, tile, lanes, chunk; };

/* What normalises a channel. */
struct kernel_normal {
    const float *mean, *gamma, *beta;
    const float *inverse;  /* deviation; NULL: it is made of the two below */
    const float *variance;
    float epsilon;
};

/* Of x, the first that is not NULL: its sum; its sum and that of its squares; mean and variance, and the running statistics
 * move. */
struct bn_sums_arguments {
    struct kernel_columns columns;
    const void *x;
    float *total;
    void *sums; /* f64, or f32 if `single` */
    uint32_t single;
    float *mean, *variance, *running_mean, *running_variance;
    uint32_t group, groups; /* of images, whose statistics these are: the running ones move towards the mean over all groups */
    double *partial; /* 2 for each channel of each block */
    struct step_block *step;
};

/* Sums (or, where NULL, running statistics) to norm; the running statistics move. */
struct bn_finalize_arguments {
    const void *sums;
    uint32_t single, channels;
    uint64_t rows;
    const float *gamma, *beta;
    float *running_mean, *running_variance;
    float *norm;
    uint32_t half_prologue; /* f16, else f32 */
    float epsilon;
    const struct step_block *step;
};

/* y = normalised x [+ other], 0 where that is negative and relu. mask, where relu let it through, with columns.width 8
 * alone. */
struct bn_apply_arguments {
    struct kernel_columns columns;
    struct kernel_normal normal;
    const void *x;
    const void *other; /* NULL: nothing is added */
    void *y;
    uint8_t *mask;
    uint32_t relu;
};

/* mask of y for any number of channels: a thread makes a byte of 8 elements. */
struct bn_mask_arguments {
    const void *y;
    uint8_t *mask;
    uint64_t count;
};

/* Where a gradient counts as 0. */
enum kernel_shut { KERNEL_OPEN, KERNEL_SHUT_BY_SIGN, KERNEL_SHUT_BY_MASK };

struct bn_backward_sums_arguments {
    struct kernel_columns columns;
    struct kernel_normal normal;
    const void *x, *dy;
    const uint8_t *mask;
    uint32_t mask_bit; /* of its first element, with columns of width 1 */
    uint32_t shut;   /* enum kernel_shut: by the sign of normalised x, or of `mask` */
    void *sums;      /* of dy, of dy normalised x, f64 or f32 if `single`; NULL: to dbeta and dgamma */
    uint32_t single;
    float *dgamma, *dbeta;
    double *partial;
    struct step_block *step;
};

/* With statistics over several devices dgamma and dbeta are of `own` sums, all else of `sums` and rows of all. */
struct bn_backward_finalize_arguments {
    const void *sums, *own;
    uint32_t single, channels;
    uint64_t rows;
    const float *norm;
    float *coefficients, *dgamma, *dbeta;
};

/* dx [+ other]; and y, 0 where it was shut by its sign. Where `sums` is not NULL it is of those and of `own`, as above; else dgamma and dbeta are there. */
struct bn_backward_apply_arguments {
    struct kernel_columns columns;
    struct kernel_normal normal;
    const void *sums, *own;
    uint32_t single;
    uint64_t rows; /* of all devices */
    float *dgamma, *dbeta;
    const void *x, *dy, *other;
    void *dx, *y; /* y NULL: not wanted */
    const uint8_t *mask;
    uint32_t mask_bit, shut;
    uint32_t adds; /* `own` to what dgamma and dbeta have of the groups of images before */
};

/* Both halves in one launch, whose blocks wait for each other: the columns are the same, and what the first writes the second
 * reads. */
struct bn_whole_arguments {
    struct bn_sums_arguments sums;
    struct bn_apply_arguments apply;
};
struct bn_backward_whole_arguments {
    struct bn_backward_sums_arguments sums;
    struct bn_backward_apply_arguments apply;
};

/* ---- Convolutions as their definitions read: a thread for each element of the result, sums in f64 ---- */

/* An operand as its op reads it: as it is, normalised, or as a batch normalisation's gradient. */
struct kernel_source {
    struct kernel_operand values;
    uint32_t channels, relu;
    struct kernel_normal normal; /* mean NULL = not normalised */
    const float *coefficients;   /* NULL = no gradient of a batch normalisation, of which the next is x */
    struct kernel_operand y;
};

/* Of y = x * w, each kernel what it needs. */
struct conv_arguments {
    struct kernel_source x, dy;
    struct kernel_operand w, residual; /* at NULL = none, added to y or dx */
    struct kernel_operand rectified;   /* dx is 0 where this is not positive, after that; at NULL = nowhere */
    const float *bias;                 /* NULL = none */
    void *out;
    uint32_t out_type;
    struct kernel_image x_dims, y_dims;
    uint32_t window_rows, window_columns, stride, row_padding, column_padding;
    struct kernel_source shut; /* dx is 0 where this is not positive; values at NULL = nowhere */
};

/* ---- Loss ---- */

struct softmax_loss_arguments {
    const void *logits;
    const int32_t *labels;
    float *probabilities;
    float *metrics;  /* loss, hits among the first 1 and 5, images: summed over the micro-batches of a step */
    double *partial; /* 4 for each image */
    uint32_t images, classes, trains;
    struct step_block *step; /* `halted` is set when the loss of training is no number */
};

struct softmax_loss_backward_arguments {
    const float *probabilities;
    const int32_t *labels;
    void *gradient;
    const float *loss_scale; /* NULL = 1 */
    uint32_t images, classes;
    float divisor; /* images of the step */
    const struct step_block *step;
};

#endif
