/* NVIDIA GPUs: convolutions by cuDNN, the rest by kernels of our own. Built where CUDA is; loaded when it is first used. */
#ifndef FATHOM_CUDA_BACKEND_H
#define FATHOM_CUDA_BACKEND_H

#include "backend.h"

extern const struct backend cuda_backend;           /* "cuda" */
extern const struct backend cuda_reference_backend; /* "cuda-reference": naive kernels alone, to look for mistakes */

#endif
