/* The device's own kernels: their names, and what each is given. Read by C and by the .cu files.
 *
 * Every kernel takes one structure by value and is `extern "C" __global__`, so that it is found by its name in the image
 * that the build embeds, and so that the same source can be run by the host in tests. */
#ifndef FATHOM_KERNELS_H
#define FATHOM_KERNELS_H

#include <stdint.h>

/* In device memory; written in stream order by the kernel set_step, read by what changes from step to step. */
struct step_block {
    uint64_t number, seed;
    uint32_t micro_batch, nesterov;
    float learning_rate, momentum, weight_decay, bn_momentum;
    uint32_t scale_streak;
    uint32_t halted; /* a training loss was not finite: nothing is updated any more */
};

/* A kernel for each type of activations, or one alone. */
#define KERNEL_LIST(EACH, ALONE) ALONE(set_step)

#define KERNEL_EACH(name)  KERNEL_##name##_f32, KERNEL_##name##_f16, KERNEL_##name##_bf16,
#define KERNEL_ALONE(name) KERNEL_##name,
enum kernel_id { KERNEL_LIST(KERNEL_EACH, KERNEL_ALONE) KERNELS };
#undef KERNEL_EACH
#undef KERNEL_ALONE

struct set_step_arguments {
    struct step_block *block; /* all but `halted` is written */
    struct step_block values;
};

#endif
