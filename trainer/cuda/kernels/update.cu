// What happens to the buckets of gradients, to averages of weights, and to the loss scale. Weights move in optimizer.cu.
#include "types.cuh"

template <int V> __device__ inline void accumulate_some(const struct accumulate_arguments &a, uint64_t i, bool copy)
{
    float part[V], bucket[V];
    load<float, V>(a.part, i, part);
    if (!copy) load<float, V>(a.bucket, i, bucket);
#pragma unroll
    for (int k = 0; k < V; k++) part[k] = copy ? part[k] : bucket[k] + part[k];
    store<float, V>(a.bucket, i, part);
}

extern "C" __global__ void KERNEL_BOUNDS accumulate(struct accumulate_arguments a)
{
    const bool copy = a.step->micro_batch == 0;
    for (uint64_t i = grid_first(); i < a.vectors; i += grid_step()) accumulate_some<4>(a, i * 4, copy);
    for (uint64_t i = a.vectors * 4 + grid_first(); i < a.count; i += grid_step()) accumulate_some<1>(a, i, copy);
}

extern "C" __global__ void loss_scale_update(struct loss_scale_update_arguments a)
{
    float scale = a.loss_scale[0], streak = a.loss_scale[1];
    const bool overflow = a.loss_scale[2] != 0;
    if (a.step->halted) return;
    streak = overflow ? 0 : streak + 1;
    if (overflow) scale = scale > a.least ? scale / 2 : a.least;
    if (streak >= (float)a.step->scale_streak) {
        streak = 0;
        scale = scale < a.most ? scale * 2 : a.most;
    }
    a.loss_scale[0] = scale;
    a.loss_scale[1] = streak;
    a.loss_scale[3] += overflow ? 1 : 0;
}

// f(x) for each element of a piece by one of the block's threads, and for some zeros more: 4 vectors of each thread are on
// their way at a time.
template <class F> __device__ inline void for_each_of(const float *piece, uint32_t count, F f)
{
    const uint32_t whole = count / 4;
    for (uint32_t i = threadIdx.x; i < whole; i += 4 * blockDim.x) {
        packed<float, 4> four[4] = {};
#pragma unroll
        for (uint32_t k = 0; k < 4; k++)
            if (i + k * blockDim.x < whole) four[k] = load_packed<float, 4>(piece, 4 * (uint64_t)(i + k * blockDim.x));
#pragma unroll
        for (uint32_t k = 0; k < 16; k++) f(widen_word<float>(four[k / 4].words[k % 4], false));
    }
    for (uint32_t i = 4 * whole + threadIdx.x; i < count; i += blockDim.x) f(piece[i]);
}

extern "C" __global__ void KERNEL_BOUNDS gradient_check(const struct gradient_check_arguments a)
{
    uint32_t *found = &a.step->counters[1];
    const float *piece = a.gradients + a.pieces[blockIdx.x].first;
    const uint32_t count = a.pieces[blockIdx.x].count;
    bool overflow = false;
    if (a.step->halted) return;
    for_each_of(piece, count, [&](float x) { overflow |= !is_finite(x); });
    if (overflow) atomicOr(found, 1);
    if (!is_last_block(&a.step->counters[0], gridDim.x) || threadIdx.x != 0) return;
    const bool before = a.keep && a.loss_scale[2] != 0;
    a.loss_scale[2] = atomicExch(found, 0) != 0 || before ? 1 : 0;
}

// The pieces' sums, each by the tree of its block, are added in their order: the shapes alone decide the bits.
extern "C" __global__ void KERNEL_BOUNDS gradient_norm(const struct gradient_norm_arguments a)
{
    __shared__ double sums[KERNEL_THREADS];
    const float *piece = a.gradients + a.pieces[blockIdx.x].first;
    const uint32_t count = a.pieces[blockIdx.x].count;
    if (a.step->halted) return;
    double sum = 0;
    for_each_of(piece, count, [&](float x) { sum += (double)x * (double)x; });
    sums[threadIdx.x] = sum;
    for (uint32_t half = KERNEL_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) a.partial[blockIdx.x] = sums[0];
    if (!is_last_block(&a.step->counters[0], gridDim.x) || threadIdx.x != 0) return;
    sum = a.keep ? *a.norm : 0;
    for (uint32_t b = 0; b < gridDim.x; b++) sum += __ldcg(&a.partial[b]);
    *a.norm = sum;
}

template <int V>
__device__ inline void average_some(const struct weights_average_arguments &a, uint64_t i, float towards)
{
    float w[V], average[V];
    load<float, V>(a.weights, i, w);
    load<float, V>(a.average, i, average);
#pragma unroll
    for (int k = 0; k < V; k++) average[k] += towards * (w[k] - average[k]);
    store<float, V>(a.average, i, average);
}

extern "C" __global__ void KERNEL_BOUNDS weights_average(struct weights_average_arguments a)
{
    const float towards = (float)(1 - a.step->average_decay);
    if (a.step->halted || (a.loss_scale && a.loss_scale[2] != 0)) return;
    for (uint64_t i = grid_first(); i < a.vectors; i += grid_step()) average_some<4>(a, i * 4, towards);
    for (uint64_t i = a.vectors * 4 + grid_first(); i < a.count; i += grid_step()) average_some<1>(a, i, towards);
}
