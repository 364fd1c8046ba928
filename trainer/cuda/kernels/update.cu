// What happens to the buckets of gradients, weights and momenta, and to the loss scale. All in f32.
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

// Sutskever et al. (ICML 2013) as Torch and PyTorch write it: the learning rate outside the momentum.
template <int V>
__device__ inline void update_some(const struct sgd_update_arguments &a, uint64_t i, const struct step_block &s,
                                   float scale)
{
    float w[V], m[V], g[V];
    load<float, V>(a.weights, i, w);
    load<float, V>(a.momenta, i, m);
    load<float, V>(a.gradients, i, g);
#pragma unroll
    for (int k = 0; k < V; k++) {
        float gradient = g[k] / scale + s.weight_decay * w[k];
        m[k] = s.momentum * m[k] + gradient;
        w[k] -= s.learning_rate * (s.nesterov ? gradient + s.momentum * m[k] : m[k]);
    }
    store<float, V>(a.weights, i, w);
    store<float, V>(a.momenta, i, m);
}

extern "C" __global__ void KERNEL_BOUNDS sgd_update(struct sgd_update_arguments a)
{
    const struct step_block s = *a.step;
    const float scale = a.loss_scale ? a.loss_scale[0] : 1;
    const bool overflow = a.loss_scale && a.loss_scale[2] != 0;
    if (s.halted || overflow) return;
    for (uint64_t i = grid_first(); i < a.vectors; i += grid_step()) update_some<4>(a, i * 4, s, scale);
    for (uint64_t i = a.vectors * 4 + grid_first(); i < a.count; i += grid_step()) update_some<1>(a, i, s, scale);
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

extern "C" __global__ void KERNEL_BOUNDS gradient_check(const struct gradient_check_arguments a)
{
    uint32_t *found = &a.step->counters[1];
    const float *piece = a.gradients + a.pieces[blockIdx.x].first;
    const uint32_t count = a.pieces[blockIdx.x].count;
    bool overflow = false;
    if (a.step->halted) return;
    for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) overflow |= !is_finite(piece[i]);
    if (overflow) atomicOr(found, 1);
    if (!is_last_block(&a.step->counters[0], gridDim.x) || threadIdx.x != 0) return;
    const bool before = a.keep && a.loss_scale[2] != 0;
    a.loss_scale[2] = atomicExch(found, 0) != 0 || before ? 1 : 0;
}
