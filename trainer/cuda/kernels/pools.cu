// Pools. Backward, each pixel gathers from the windows that cover it, in their order.
#include "pixels.cuh"

template <int V> struct __align__(V) taps { uint8_t at[V]; };

// f(tap, x) for what the window at output `o` covers, in order: of a row of it so many are on their way together.
template <class T, int V, uint32_t together, class F>
__device__ inline void for_each_tap(const struct pool_arguments &a, const pixel &o, F f)
{
    pixel p = o;
    for (uint32_t r = 0; r < a.window_rows; r++) {
        if (!tap_of(o.h, r, a.stride, a.padding, a.x_dims.rows, p.h)) continue;
        for (uint32_t begin = 0; begin < a.window_columns; begin += together) {
            packed<T, V> x[together];
            bool inside[together];
#pragma unroll
            for (uint32_t k = 0; k < together; k++) {
                inside[k] = begin + k < a.window_columns && tap_of(o.w, begin + k, a.stride, a.padding, a.x_dims.columns, p.w);
                if (inside[k]) x[k] = load_packed<T, V>(a.x, element_of(a.x_dims, p));
            }
#pragma unroll
            for (uint32_t k = 0; k < together; k++) {
                float wide[V];
                if (!inside[k]) continue;
                widen(x[k], wide);
                f(r * a.window_columns + begin + k, wide);
            }
        }
    }
}

template <class T, int V> __device__ inline void maxpool_group(const struct pool_arguments &a, const pixel &o)
{
    float most[V];
    taps<V> which;
#pragma unroll
    for (int k = 0; k < V; k++) most[k] = -INFINITY, which.at[k] = 0;
    for_each_tap<T, V, 4>(a, o, [&](uint32_t tap, const float x[V]) {
#pragma unroll
        for (int k = 0; k < V; k++) {
            if (x[k] <= most[k]) continue; // what is not a number goes on
            most[k] = x[k];
            which.at[k] = (uint8_t)tap;
        }
    });
    const uint64_t element = element_of(a.y_dims, o);
    store<T, V>(a.y, element, most);
    if (a.mask) *reinterpret_cast<taps<V> *>(a.mask + element) = which;
}

template <class T> __device__ inline void maxpool(const struct pool_arguments &a)
{
    FOR_EACH_GROUP(T, a, y_dims, maxpool_group)
}

template <class T, int V> __device__ inline void maxpool_backward_group(const struct pool_arguments &a, const pixel &p)
{
    const cover h = cover_of(p.h, a.window_rows, a.stride, a.padding, a.y_dims.rows);
    const cover w = cover_of(p.w, a.window_columns, a.stride, a.padding, a.y_dims.columns);
    float sum[V] = {};
    for (uint32_t i = h.first; i < h.last; i++)
        for (uint32_t j = w.first; j < w.last; j++) {
            const uint64_t element = element_of(a.y_dims, {p.n, i, j, p.c});
            const uint32_t tap = (p.h + a.padding - i * a.stride) * a.window_columns + p.w + a.padding - j * a.stride;
            const taps<V> which = *reinterpret_cast<const taps<V> *>(a.mask + element);
            float dy[V];
            load<T, V>(a.y, element, dy);
#pragma unroll
            for (int k = 0; k < V; k++) sum[k] += which.at[k] == tap ? dy[k] : 0;
        }
    store<T, V>(a.x, element_of(a.x_dims, p), sum);
}

template <class T> __device__ inline void maxpool_backward(const struct pool_arguments &a)
{
    FOR_EACH_GROUP(T, a, x_dims, maxpool_backward_group)
}

template <class T, int V> __device__ inline void avgpool_group(const struct pool_arguments &a, const pixel &o)
{
    const float area = (float)(a.window_rows * a.window_columns);
    float sum[V] = {};
    for_each_tap<T, V, sizeof(T) == 2 ? 8 : 4>(a, o, [&](uint32_t, const float x[V]) {
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] += x[k];
    });
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] /= area;
    store<T, V>(a.y, element_of(a.y_dims, o), sum);
}

template <class T> __device__ inline void avgpool(const struct pool_arguments &a)
{
    FOR_EACH_GROUP(T, a, y_dims, avgpool_group)
}

template <class T, int V> __device__ inline void avgpool_backward_group(const struct pool_arguments &a, const pixel &p)
{
    const cover h = cover_of(p.h, a.window_rows, a.stride, a.padding, a.y_dims.rows);
    const cover w = cover_of(p.w, a.window_columns, a.stride, a.padding, a.y_dims.columns);
    const float area = (float)(a.window_rows * a.window_columns);
    float sum[V] = {};
    for (uint32_t i = h.first; i < h.last; i++)
        for (uint32_t j = w.first; j < w.last; j++) {
            float dy[V];
            load<T, V>(a.y, element_of(a.y_dims, {p.n, i, j, p.c}), dy);
#pragma unroll
            for (int k = 0; k < V; k++) sum[k] += dy[k] / area;
        }
    store<T, V>(a.x, element_of(a.x_dims, p), sum);
}

template <class T> __device__ inline void avgpool_backward(const struct pool_arguments &a)
{
    FOR_EACH_GROUP(T, a, x_dims, avgpool_backward_group)
}

KERNEL_OF_EACH(maxpool, pool_arguments)
KERNEL_OF_EACH(maxpool_backward, pool_arguments)
KERNEL_OF_EACH(avgpool, pool_arguments)
KERNEL_OF_EACH(avgpool_backward, pool_arguments)
