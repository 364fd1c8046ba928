/* Kernels with faults that the shim must show, and their likes without (broken.cpp). */
#ifndef FATHOM_HOST_KERNELS_BROKEN_H
#define FATHOM_HOST_KERNELS_BROKEN_H

#include "host_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

struct shift_arguments { /* up to 256 elements, as many as the block has threads */
    const float *in;
    float *out;
};

/* "shift_right", "shift_without_barrier"; "copy_vectors", wrong where 16 does not divide an address. */
#define HOST_KERNELS_BROKEN 3
extern const struct host_kernel host_kernels_broken[HOST_KERNELS_BROKEN];

#ifdef __cplusplus
}
#endif

#endif
