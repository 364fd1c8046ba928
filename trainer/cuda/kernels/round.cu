// From f32 to 16 bits: weights, and images where the host keeps them (pinned memory), rounded on their way.
#include "types.cuh"

template <class T, int V> __device__ inline void round_neighbours(const struct round_arguments &a, uint64_t element)
{
    float x[V];
    load<float, V>(a.in, element, x);
    store<T, V>(a.out, element, x);
}

template <class T> __device__ inline void round_elements(const struct round_arguments &a)
{
    for (uint64_t i = grid_first(); i < a.vectors; i += grid_step()) round_neighbours<T, 8>(a, i * 8);
    for (uint64_t i = a.vectors * 8 + grid_first(); i < a.count; i += grid_step()) round_neighbours<T, 1>(a, i);
}

extern "C" __global__ void KERNEL_BOUNDS round_elements_f16(struct round_arguments a)
{
    round_elements<f16>(a);
}

extern "C" __global__ void KERNEL_BOUNDS round_elements_bf16(struct round_arguments a)
{
    round_elements<bf16>(a);
}
