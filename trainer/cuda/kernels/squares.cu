// The sum of squares of what an op made, for traces.
#include "types.cuh"

template <class T, int V> __device__ inline double some_squares(const void *in, uint64_t element)
{
    float x[V];
    double sum = 0;
    load<T, V>(in, element, x);
#pragma unroll
    for (int k = 0; k < V; k++) sum += (double)x[k] * (double)x[k];
    return sum;
}

// Of what the threads of a block have; true on the thread that gets it.
__device__ inline bool add_up(double *sums, double &sum)
{
    sums[threadIdx.x] = sum;
    for (uint32_t half = KERNEL_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sum = sums[0];
    return threadIdx.x == 0;
}

// The number of elements alone says how many blocks there are, and so the order of the sums.
template <class T> __device__ inline void squares(const struct squares_arguments &a)
{
    constexpr int V = 16 / sizeof(T);
    __shared__ double sums[KERNEL_THREADS];
    double sum = 0;
    for (uint64_t i = grid_first(); i < a.vectors; i += grid_step()) sum += some_squares<T, V>(a.in, i * V);
    for (uint64_t i = a.vectors * V + grid_first(); i < a.count; i += grid_step()) sum += some_squares<T, 1>(a.in, i);
    if (add_up(sums, sum)) a.partial[blockIdx.x] = sum;
    if (!is_last_block(&a.step->counters[0], gridDim.x)) return;
    sum = 0;
    for (uint32_t b = threadIdx.x; b < gridDim.x; b += blockDim.x) sum += __ldcg(&a.partial[b]);
    if (add_up(sums, sum)) *a.sum += sum;
}

KERNEL_OF_EACH(squares, squares_arguments)
