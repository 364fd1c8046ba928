/* Kernels with the faults that the shim is there to show: each is right when its threads run as they are numbered. */
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

const struct host_kernel host_kernels_broken[] = {HOST_KERNEL(shift_right), HOST_KERNEL(shift_without_barrier)};
