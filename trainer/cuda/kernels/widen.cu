// From 16 bits to f32: gradients of weights, where an engine gives them in the activations' type.
#include "types.cuh"

template <class T, int V> __device__ inline void widen_neighbours(const struct widen_arguments &a, uint64_t element)
{
    float x[V];
    load<T, V>(a.in, element, x);
    store<float, V>(a.out, element, x);
}

template <class T> __device__ inline void widen_elements(const struct widen_arguments &a)
{
    for (uint64_t i = grid_first(); i < a.vectors; i += grid_step()) widen_neighbours<T, 8>(a, i * 8);
    for (uint64_t i = a.vectors * 8 + grid_first(); i < a.count; i += grid_step()) widen_neighbours<T, 1>(a, i);
}

extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) widen_elements_f16(struct widen_arguments a)
{
    widen_elements<f16>(a);
}

extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) widen_elements_bf16(struct widen_arguments a)
{
    widen_elements<bf16>(a);
}

template <class T> __device__ inline void widen_piece(const struct widen_pieces_arguments &a)
{
    const struct kernel_piece piece = a.pieces[blockIdx.x];
    const struct widen_arguments part = {static_cast<const T *>(a.in) + piece.first, a.out + piece.first, piece.count,
                                         piece.count / 8};
    for (uint64_t i = threadIdx.x; i < part.vectors; i += blockDim.x) widen_neighbours<T, 8>(part, i * 8);
    for (uint64_t i = part.vectors * 8 + threadIdx.x; i < part.count; i += blockDim.x) widen_neighbours<T, 1>(part, i);
}

extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) widen_pieces_f16(const struct widen_pieces_arguments a)
{
    widen_piece<f16>(a);
}

extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) widen_pieces_bf16(const struct widen_pieces_arguments a)
{
    widen_piece<bf16>(a);
}
