// One element of each operand makes one of the result. `<= 0`, not `> 0`: what is not a number must show.
#include "types.cuh"

template <class T, int V, bool two, class F>
__device__ inline void do_neighbours(const struct elementwise_arguments &a, uint64_t element, const packed<T, V> &first,
                                     const packed<T, V> &second, F f)
{
    float x[V], y[V];
    widen(first, x);
    if (two) widen(second, y);
#pragma unroll
    for (int k = 0; k < V; k++) x[k] = f(x[k], two ? y[k] : 0);
    store<T, V>(a.out, element, x);
}

#define SOME(two) ((two) ? 1 : 2)

// The i-th vector and, where one operand is read, the one a step on: what is read is on its way before it is waited for.
template <class T, int V, bool two, class F>
__device__ inline void do_some(const struct elementwise_arguments &a, uint64_t i, uint64_t vectors, F f)
{
    const uint64_t step = grid_step();
    packed<T, V> x[SOME(two)], y[SOME(two)];
#pragma unroll
    for (int k = 0; k < SOME(two); k++) {
        if (i + k * step >= vectors) break;
        x[k] = load_packed<T, V>(a.a, (i + k * step) * V);
        if (two) y[k] = load_packed<T, V>(a.b, (i + k * step) * V);
    }
#pragma unroll
    for (int k = 0; k < SOME(two); k++)
        if (i + k * step < vectors) do_neighbours<T, V, two>(a, (i + k * step) * V, x[k], y[k], f);
}

template <class T, bool two, class F> __device__ inline void do_elements(const struct elementwise_arguments &a, F f)
{
    constexpr int V = 16 / sizeof(T);
    for (uint64_t i = grid_first(); i < a.vectors; i += SOME(two) * grid_step()) do_some<T, V, two>(a, i, a.vectors, f);
    for (uint64_t i = a.vectors * V + grid_first(); i < a.count; i += SOME(two) * grid_step())
        do_some<T, 1, two>(a, i, a.count, f);
}

template <class T> __device__ inline void relu(const struct elementwise_arguments &a)
{
    do_elements<T, false>(a, [](float x, float) { return x <= 0 ? 0 : x; });
}

template <class T> __device__ inline void relu_backward(const struct elementwise_arguments &a)
{
    do_elements<T, true>(a, [](float y, float dy) { return y <= 0 ? 0 : dy; });
}

template <class T> __device__ inline void add(const struct elementwise_arguments &a)
{
    do_elements<T, true>(a, [](float x, float y) { return x + y; });
}

template <class T> __device__ inline void subtract(const struct elementwise_arguments &a)
{
    do_elements<T, true>(a, [](float x, float y) { return x - y; });
}

template <class T> __device__ inline void mul(const struct elementwise_arguments &a)
{
    do_elements<T, true>(a, [](float x, float y) { return x * y; });
}

template <class T> __device__ inline void scale(const struct elementwise_arguments &a)
{
    const float alpha = a.alpha, beta = a.beta;
    do_elements<T, false>(a, [=](float x, float) { return alpha * x + beta; });
}

template <class T> __device__ inline void sigmoid(const struct elementwise_arguments &a)
{
    do_elements<T, false>(a, [](float x, float) { return 1 / (1 + expf(-x)); });
}

template <class T> __device__ inline void sigmoid_backward(const struct elementwise_arguments &a)
{
    do_elements<T, true>(a, [](float y, float dy) { return dy * y * (1 - y); });
}

KERNEL_OF_EACH(relu, elementwise_arguments)
KERNEL_OF_EACH(relu_backward, elementwise_arguments)
KERNEL_OF_EACH(add, elementwise_arguments)
KERNEL_OF_EACH(subtract, elementwise_arguments)
KERNEL_OF_EACH(mul, elementwise_arguments)
KERNEL_OF_EACH(scale, elementwise_arguments)
KERNEL_OF_EACH(sigmoid, elementwise_arguments)
KERNEL_OF_EACH(sigmoid_backward, elementwise_arguments)
