// Sums over the rows of a {rows, channels} matrix, two for each channel, in an order that its shape alone decides: within a
// thread, within a block by a tree, and over blocks by the last one that is done.
#ifndef FATHOM_COLUMNS_CUH
#define FATHOM_COLUMNS_CUH

#include "types.cuh"

// A thread's first channel, and which of the rows that the block reads at a time.
struct place {
    uint32_t channel, column, lane;
    bool works;
};

__device__ inline place place_of(const struct kernel_columns &c)
{
    const uint32_t lane = threadIdx.x / c.tile, column = threadIdx.x - lane * c.tile;
    const uint32_t channel = (blockIdx.y * c.tile + column) * c.width;
    return {channel, column, lane, lane < c.lanes && channel < c.channels};
}

__device__ inline uint32_t first_row(const struct kernel_columns &c) { return blockIdx.x * c.chunk; }
__device__ inline uint32_t last_row(const struct kernel_columns &c)
{
    const uint32_t last = first_row(c) + c.chunk;
    return last < c.rows ? last : c.rows;
}

// The block's sums of what its lanes have, to lane 0. Shared memory: 2 V floats a thread.
template <int V>
__device__ inline void sum_lanes(const struct kernel_columns &c, const place &at, float first[V], float second[V])
{
    float *all = static_cast<float *>(shared_memory());
#pragma unroll
    for (int k = 0; k < V; k++) {
        all[(2 * k) * KERNEL_THREADS + threadIdx.x] = first[k];
        all[(2 * k + 1) * KERNEL_THREADS + threadIdx.x] = second[k];
    }
    for (uint32_t count = c.lanes, half; count > 1; count = half) {
        half = (count + 1) / 2;
        __syncthreads();
        if (at.lane + half >= count) continue;
        for (int k = 0; k < 2 * V; k++)
            all[k * KERNEL_THREADS + threadIdx.x] += all[k * KERNEL_THREADS + threadIdx.x + half * c.tile];
    }
#pragma unroll
    for (int k = 0; k < V; k++) {
        first[k] = all[(2 * k) * KERNEL_THREADS + threadIdx.x];
        second[k] = all[(2 * k + 1) * KERNEL_THREADS + threadIdx.x];
    }
}

// Both sums of channel `c` of the block's tile over all blocks along x, by thread c. Shared memory, which nobody reads any
// more: 2 doubles a thread.
__device__ inline double2 sum_blocks(const double2 *partial, uint32_t channels)
{
    double2 *all = static_cast<double2 *>(shared_memory()), sum = {0, 0};
    const uint32_t groups = KERNEL_THREADS / channels, group = threadIdx.x / channels;
    const uint32_t channel = threadIdx.x - group * channels;
    for (uint32_t b = group; group < groups && b < gridDim.x; b += groups) {
        const double2 next = __ldcg(&partial[(uint64_t)b * channels + channel]);
        sum.x += next.x;
        sum.y += next.y;
    }
    all[threadIdx.x] = sum;
    for (uint32_t count = groups, half; count > 1; count = half) {
        half = (count + 1) / 2;
        __syncthreads();
        if (group + half >= count) continue;
        all[threadIdx.x].x += all[threadIdx.x + half * channels].x;
        all[threadIdx.x].y += all[threadIdx.x + half * channels].y;
    }
    return all[threadIdx.x];
}

// Each block has its sums in lane 0, in f64; `finish` gets each channel's over all blocks, once: in the last block to come,
// which returns true.
template <int V, class F>
__device__ inline bool finish_sums(const struct kernel_columns &c, const place &at, const double2 own[V], double *scratch,
                                   struct step_block *step, F finish)
{
    const uint32_t begin = blockIdx.y * c.tile * V, left = c.channels - begin;
    const uint32_t channels = left < c.tile * V ? left : c.tile * V;
    // Tiles before this one are whole.
    double2 *partial = reinterpret_cast<double2 *>(scratch) + (uint64_t)gridDim.x * begin;
    if (at.works && at.lane == 0)
        for (int k = 0; k < V; k++) partial[(uint64_t)blockIdx.x * channels + at.column * V + k] = own[k];
    if (!is_last_block(&step->counters[blockIdx.y], gridDim.x)) return false;
    const double2 sum = sum_blocks(partial, channels);
    if (threadIdx.x < channels) finish(begin + threadIdx.x, sum);
    return true;
}

#endif
