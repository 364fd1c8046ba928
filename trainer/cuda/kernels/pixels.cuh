// Pixels of NHWC images, a few channels to a thread.
#ifndef FATHOM_PIXELS_CUH
#define FATHOM_PIXELS_CUH

#include "types.cuh"

struct pixel { uint32_t n, h, w, c; };

// Of the i-th group of `width` channels. There are less than 2^31 of them (cuda_ops.h).
__device__ inline pixel pixel_of(const struct kernel_image &d, uint32_t width, uint32_t i)
{
    const uint32_t groups = d.channels / width, column = i / groups, row = column / d.columns, n = row / d.rows;
    return {n, row - n * d.rows, column - row * d.columns, (i - column * groups) * width};
}

__device__ inline uint32_t groups_of(const struct kernel_image &d, uint32_t width)
{
    return d.images * d.rows * d.columns * (d.channels / width);
}

__device__ inline uint64_t element_of(const struct kernel_image &d, const pixel &p)
{
    return (((uint64_t)p.n * d.rows + p.h) * d.columns + p.w) * d.channels + p.c;
}

// Output `out` reads input out * stride + tap - padding along one side; false when that is outside the image.
__device__ inline bool tap_of(uint32_t out, uint32_t tap, uint32_t stride, uint32_t padding, uint32_t size, uint32_t &in)
{
    in = out * stride + tap - padding; // below 0: very large
    return in < size;
}

// Outputs whose windows cover input `in`: [first, last).
struct cover { uint32_t first, last; };
__device__ inline cover cover_of(uint32_t in, uint32_t window, uint32_t stride, uint32_t padding, uint32_t outputs)
{
    const uint32_t padded = in + padding, last = padded / stride + 1;
    return {padded < window ? 0 : (padded - window) / stride + 1, last < outputs ? last : outputs};
}

// Runs f<T, width> for each group of channels of an image.
#define FOR_EACH_GROUP(T, a, dims, body)                                                                               \
    for (uint32_t i = (uint32_t)grid_first(); i < groups_of((a).dims, (a).width); i += (uint32_t)grid_step()) {        \
        if ((a).width == 8)                                                                                            \
            body<T, 8>(a, pixel_of((a).dims, 8, i));                                                                   \
        else                                                                                                           \
            body<T, 1>(a, pixel_of((a).dims, 1, i));                                                                   \
    }

#endif
