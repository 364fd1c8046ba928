/* NVIDIA GPUs: convolutions by cuDNN, the rest by kernels of our own. Built where CUDA is; loaded when it is first used. */
#ifndef FATHOM_CUDA_BACKEND_H
#define FATHOM_CUDA_BACKEND_H

#include "backend.h"

extern const struct backend cuda_backend;           /* "cuda" */
extern const struct backend cuda_reference_backend; /* "cuda-reference": naive kernels alone, to look for mistakes */

/* How many of a device's convolutions that were prepared run by naive kernels, as cuDNN has no engine for them, and why the
 * first of them does. */
uint64_t cuda_naive_convolutions(const struct device *device, const char **why);
/* How many were taken apart into an engine of cuDNN's and kernels, as it refuses to do the whole, and the first of them. */
uint64_t cuda_apart_convolutions(const struct device *device, const char **first);
/* How many have a copy of their 16-bit weights, or of their gradient, beside the arena, as their workspace is too small. */
uint64_t cuda_copied_convolutions(const struct device *device);
/* How many kernels, plans of cuDNN, copies and fills a launch of this op starts. */
uint64_t cuda_launches(const struct prepared *prepared);

#endif
