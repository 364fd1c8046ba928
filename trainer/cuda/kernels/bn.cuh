// How a value is normalised, and what gradient it gets: the same in every kernel that reads through a batch normalisation, so
// that all of them agree where ReLU was shut.
#ifndef FATHOM_BN_CUH
#define FATHOM_BN_CUH

#include "bn_layout.h"
#include "types.cuh"

struct channel_normal { float mean, inverse, scale, beta; };

__device__ inline channel_normal channel_normal_of(const struct kernel_normal &n, uint32_t c)
{
    const float inverse = n.inverse ? n.inverse[c] : 1 / sqrtf(n.variance[c] + n.epsilon);
    return {n.mean[c], inverse, n.gamma[c] * inverse, n.beta[c]};
}

__device__ inline float normalized(float x, float mean, float scale, float beta) { return fmaf(x - mean, scale, beta); }

// Rows 0 to 4 of coefficients (kernels.h).
struct channel_coefficients { float scale, shift, slope, mean, beta; };

__device__ inline channel_coefficients channel_coefficients_of(const float *rows, uint32_t channels, uint32_t c)
{
    return {rows[c], rows[channels + c], rows[2 * channels + c], rows[3 * channels + c], rows[4 * channels + c]};
}

__device__ inline channel_coefficients make_coefficients(const channel_normal &n, float dgamma, float dbeta, float rows)
{
    if (rows == 0) return {n.scale, 0, 0, n.mean, n.beta}; // frozen statistics
    return {n.scale, dbeta / rows, n.inverse * dgamma / rows, n.mean, n.beta};
}

__device__ inline float gradient_through(float x, float dy, const channel_coefficients &c)
{
    return c.scale * (dy - c.shift - (x - c.mean) * c.slope);
}

#endif
