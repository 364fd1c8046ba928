// Blocks that wait for each other: of kernels that are launched cooperatively, whose blocks all run at a time.
#ifndef FATHOM_GRID_CUH
#define FATHOM_GRID_CUH

#include "types.cuh"

// What the blocks do before they wait goes where grid_arrives() says so. The host, which runs one block after the other, has
// all of them do that part first, and then all of them the rest: nothing in registers or shared memory outlives the wait.
#ifdef __CUDACC__
__device__ inline bool grid_arrives() { return true; }

// How often blocks with this blockIdx.y were let go on; to be read before the block arrives.
__device__ inline uint32_t grid_turn(const uint32_t *turns) { return *(const volatile uint32_t *)&turns[blockIdx.y]; }

// Lets the others go on where this block is the last to arrive (is_last_block), else waits for that: then all see what it
// wrote. By all threads; true. Fences as there.
__device__ static bool grid_wait(uint32_t *turns, uint32_t turn, bool last)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        if (last) {
            __threadfence();
            atomicExch(&turns[blockIdx.y], turn + 1);
        } else {
            while (grid_turn(turns) == turn) __nanosleep(40);
            __threadfence();
        }
    }
    __syncthreads();
    return true;
}
#endif

#endif
