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

extern const struct host_kernel host_kernels_broken[2]; /* right, without its barrier */

#ifdef __cplusplus
}
#endif

#endif
