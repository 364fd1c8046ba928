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

/* In device memory, zero at first; written in stream order by the kernel set_step, read by what changes from step to step. */
struct step_block {
    uint64_t number, seed;
    uint32_t micro_batch, nesterov;
    float learning_rate, momentum, weight_decay, bn_momentum;
    uint32_t scale_streak;
    uint32_t halted; /* a training loss was not finite: nothing is updated any more */
    uint32_t counters[KERNEL_COUNTERS]; /* of blocks that are done, of kernels whose last block goes on; 0 between them */
};

/* A kernel for each type of activations, or one alone. */
#define KERNEL_LIST(EACH, ALONE)                                                                                       \
    ALONE(accumulate) EACH(add) ALONE(loss_scale_update) EACH(mul) EACH(relu) EACH(relu_backward)                      \
    ALONE(round_images_bf16) ALONE(round_images_f16) EACH(scale) ALONE(set_step) ALONE(sgd_update) EACH(sigmoid) EACH(sigmoid_backward) EACH(subtract)

#define KERNEL_EACH(name)  KERNEL_##name##_f32, KERNEL_##name##_f16, KERNEL_##name##_bf16,
#define KERNEL_ALONE(name) KERNEL_##name,
enum kernel_id { KERNEL_LIST(KERNEL_EACH, KERNEL_ALONE) KERNELS };
#undef KERNEL_EACH
#undef KERNEL_ALONE

struct set_step_arguments {
    struct step_block *block; /* all but `halted` and the counters is written */
    struct step_block values;
};

/* Of the host's f32; out in f16 or bf16. */
struct round_arguments {
    const float *in;
    void *out;
    uint64_t count, vectors; /* of 8 elements that are moved whole, from the first on */
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

/* weights and momenta move by the step block's rates, or stay where the device is halted or *found is not 0. */
struct sgd_update_arguments {
    float *weights, *momenta;
    const float *gradients;
    const float *loss_scale; /* a struct loss_scale of graph.h; NULL: gradients are not scaled */
    uint64_t count, vectors;
    const struct step_block *step;
};

/* As loss_scale_move of graph.h. */
struct loss_scale_update_arguments {
    float *loss_scale;
    const struct step_block *step;
    float least, most; /* scales */
};

#endif
