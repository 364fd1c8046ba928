/* Kernels with the faults that the shim and the stand-in are there to show: each is right when its threads run as they are
 * numbered, and memory is where it usually is. */
#include "host_kernels_broken.h"

#include "shim.h"

__shared__ float tile[256];

/* Thread i reads what thread i + 1 has written to shared memory. */
template <bool waits> static inline void shift(const struct shift_arguments &a)
{
    tile[threadIdx.x] = a.in[threadIdx.x];
    if (waits) __syncthreads();
    a.out[threadIdx.x] = tile[(threadIdx.x + blockDim.x - 1) % blockDim.x];
}
extern "C" void shift_right(struct shift_arguments a) { shift<true>(a); }
extern "C" void shift_without_barrier(struct shift_arguments a) { shift<false>(a); }

/* Four at a time, as a vector of 16 bytes. */
struct __align__(16) four { float at[4]; };
extern "C" void copy_vectors(struct shift_arguments a)
{
    const four moved = reinterpret_cast<const four *>(a.in)[threadIdx.x];
    reinterpret_cast<four *>(a.out)[threadIdx.x] = moved;
}

const struct host_kernel host_kernels_broken[HOST_KERNELS_BROKEN] = {
    HOST_KERNEL(shift_right), HOST_KERNEL(shift_without_barrier), HOST_KERNEL(copy_vectors)};
