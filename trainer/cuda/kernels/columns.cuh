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

// How many rows a thread reads at a time of a tensor, so that `bytes` of it are on their way to each thread: a GPU's memory
// wants 32 to 40 KiB under way on each multiprocessor, which runs two blocks or three of these kernels.
template <class T, int V, int bytes>
constexpr int rows_at_a_time = bytes / (int)(sizeof(T) * V) > 8 ? 8 : bytes / (int)(sizeof(T) * V);

// Rows `row`, row + lanes and so on, those before `end`: all loads begin before the first is waited for.
template <class T, int V, int R>
__device__ inline void load_rows(const void *from, const struct kernel_columns &c, const place &at, uint32_t row, uint32_t end,
                                 packed<T, V> to[R])
{
#pragma unroll
    for (int r = 0; r < R; r++)
        if (row + r * c.lanes < end) to[r] = load_packed<T, V>(from, (uint64_t)(row + r * c.lanes) * c.channels + at.channel);
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

#define SUMS_AT_A_TIME 8u // that a thread reads before it waits for any: one block reads what all have written

// Both sums of channel `c` of the block's tile over all blocks along x, by thread c. Shared memory, which nobody reads any
// more: 2 doubles a thread.
__device__ inline double2 sum_blocks(const double2 *partial, uint32_t channels)
{
    double2 *all = static_cast<double2 *>(shared_memory()), sum = {0, 0};
    const uint32_t groups = KERNEL_THREADS / channels, group = threadIdx.x / channels;
    const uint32_t channel = threadIdx.x - group * channels;
    const uint32_t end = group < groups ? gridDim.x : 0;
#pragma unroll 1
    for (uint32_t b = group; b < end; b += SUMS_AT_A_TIME * groups) {
        double2 next[SUMS_AT_A_TIME] = {};
#pragma unroll
        for (uint32_t k = 0; k < SUMS_AT_A_TIME; k++)
            if (b + k * groups < end) next[k] = __ldcg(&partial[(uint64_t)(b + k * groups) * channels + channel]);
#pragma unroll
        for (uint32_t k = 0; k < SUMS_AT_A_TIME; k++) {
            sum.x += next[k].x;
            sum.y += next[k].y;
        }
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
