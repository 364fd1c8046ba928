// Elements of each type, one by one and in vectors of 16 bytes; and which of them a thread takes.
#ifndef FATHOM_TYPES_CUH
#define FATHOM_TYPES_CUH

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "kernels.h"

using f16 = __half;
using bf16 = __nv_bfloat16;

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(f16 value) { return __half2float(value); }
__device__ inline float widen(bf16 value) { return __bfloat162float(value); }

template <class T> __device__ inline T narrow(float value);
template <> __device__ inline float narrow<float>(float value) { return value; }
template <> __device__ inline f16 narrow<f16>(float value) { return __float2half_rn(value); }
template <> __device__ inline bf16 narrow<bf16>(float value) { return __float2bfloat16_rn(value); }

// Bits of infinity and of all that is not a number are at least these.
__device__ inline bool is_finite(float value) { return (__float_as_uint(value) & 0x7fffffffu) < 0x7f800000u; }

// Elements of a type that is known when the kernel runs.
__device__ inline float element_at(const struct kernel_operand &from, uint64_t i)
{
    switch (from.type) {
    case KERNEL_F16: return widen(static_cast<const f16 *>(from.at)[i]);
    case KERNEL_BF16: return widen(static_cast<const bf16 *>(from.at)[i]);
    default: return static_cast<const float *>(from.at)[i];
    }
}

__device__ inline void set_element(void *to, uint32_t type, uint64_t i, float value)
{
    switch (type) {
    case KERNEL_F16: static_cast<f16 *>(to)[i] = narrow<f16>(value); break;
    case KERNEL_BF16: static_cast<bf16 *>(to)[i] = narrow<bf16>(value); break;
    default: static_cast<float *>(to)[i] = value;
    }
}

// V neighbours, moved 16 bytes at a time where they have as many.
template <class T, int V> struct __align__(sizeof(T) * V < 16 ? sizeof(T) * V : 16) neighbours { T at[V]; };

// A host's compiler may take words and the elements that were written there for different memory, unless it is told.
#ifdef __CUDACC__
#define MAY_ALIAS
#else
#define MAY_ALIAS __attribute__((may_alias))
#endif

// The same as they lie in registers, to be widened when they are wanted: two of 16 bits share a word until then.
template <class T, int V> struct MAY_ALIAS __align__(sizeof(T) * V < 16 ? sizeof(T) * V : 16) packed {
    uint32_t words[sizeof(T) * V / 4];
};
template <class T> struct packed<T, 1> { T one; };

template <class T, int V> __device__ inline packed<T, V> load_packed(const void *from, uint64_t element)
{
    return *reinterpret_cast<const packed<T, V> *>(static_cast<const T *>(from) + element);
}

template <class T> __device__ inline float widen_word(uint32_t word, bool second);
template <> __device__ inline float widen_word<float>(uint32_t word, bool) { return __uint_as_float(word); }
template <> __device__ inline float widen_word<f16>(uint32_t word, bool second)
{
    return __half2float(__ushort_as_half((unsigned short)(second ? word >> 16 : word)));
}
template <> __device__ inline float widen_word<bf16>(uint32_t word, bool second)
{
    return __uint_as_float(second ? word & 0xffff0000u : word << 16);
}

template <class T, int V> __device__ inline void widen(const packed<T, V> &n, float to[V])
{
    constexpr int in_word = 4 / sizeof(T);
#pragma unroll
    for (int k = 0; k < V; k++) to[k] = widen_word<T>(n.words[k / in_word], k % in_word);
}
template <class T> __device__ inline void widen(const packed<T, 1> &n, float to[1]) { to[0] = widen(n.one); }

template <class T, int V> __device__ inline void load(const void *from, uint64_t element, float to[V])
{
    const neighbours<T, V> n = *reinterpret_cast<const neighbours<T, V> *>(static_cast<const T *>(from) + element);
#pragma unroll
    for (int k = 0; k < V; k++) to[k] = widen(n.at[k]);
}

template <class T, int V> __device__ inline void store(void *to, uint64_t element, const float from[V])
{
    neighbours<T, V> n;
#pragma unroll
    for (int k = 0; k < V; k++) n.at[k] = narrow<T>(from[k]);
    *reinterpret_cast<neighbours<T, V> *>(static_cast<T *>(to) + element) = n;
}

// A loop over a grid: from grid_first() by grid_step().
__device__ inline uint64_t grid_first() { return (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline uint64_t grid_step() { return (uint64_t)gridDim.x * blockDim.x; }

// What the launch gave the block beside what kernels declare.
#ifdef __CUDACC__
extern __shared__ double2 launch_shared[];
__device__ inline void *shared_memory() { return launch_shared; }
#endif

// Whether this block is the last of `blocks` to come here, each having written its part: it sees what all wrote. By all of
// its threads. One thread has the fences, between the block's barriers, as where cooperative groups synchronise a grid
// (cooperative_groups/details/sync.h): barriers carry what it orders to and from the others.
__device__ static bool is_last_block(uint32_t *counter, uint32_t blocks)
{
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(counter, 1) == blocks - 1;
        if (last) {
            *counter = 0;
            __threadfence();
        }
    }
    __syncthreads();
    return last;
}

// Two blocks at a time on a multiprocessor: up to 128 registers, without which the compiler spills some for occupancy.
#define KERNEL_BOUNDS __launch_bounds__(KERNEL_THREADS, 2)

// The three kernels of a template whose function has the same name.
#define KERNEL_OF_EACH(name, arguments)                                                                                \
    extern "C" __global__ void KERNEL_BOUNDS name##_f32(struct arguments a) { name<float>(a); }                        \
    extern "C" __global__ void KERNEL_BOUNDS name##_f16(struct arguments a) { name<f16>(a); }                          \
    extern "C" __global__ void KERNEL_BOUNDS name##_bf16(struct arguments a) { name<bf16>(a); }

#endif
