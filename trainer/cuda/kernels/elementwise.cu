// One element of each operand makes one of the result. `<= 0`, not `> 0`: what is not a number must show.
#include "types.cuh"

template <class T, int V, bool two, class F>
__device__ inline void do_neighbours(const struct elementwise_arguments &a, uint64_t element, F f)
{
    float x[V], y[V];
    load<T, V>(a.a, element, x);
    if (two) load<T, V>(a.b, element, y);
#pragma unroll
    for (int k = 0; k < V; k++) x[k] = f(x[k], two ? y[k] : 0);
    store<T, V>(a.out, element, x);
}

template <class T, bool two, class F> __device__ inline void do_elements(const struct elementwise_arguments &a, F f)
{
    constexpr int V = 16 / sizeof(T);
    for (uint64_t i = grid_first(); i < a.vectors; i += grid_step()) do_neighbours<T, V, two>(a, i * V, f);
    for (uint64_t i = a.vectors * V + grid_first(); i < a.count; i += grid_step()) do_neighbours<T, 1, two>(a, i, f);
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
