/* PyTorch's caching allocator for CUDA, on paper (c10/cuda/CUDACachingAllocator.cpp, one stream, no settings): which segments
 * it asks the driver for when tensors of given sizes come and go.
 *
 * A tensor's size is rounded up to 512 bytes. Up to 1 MiB it is cut from segments of 2 MiB; else up to 10 MiB from segments
 * of 20 MiB, and above that a segment is as large as it, rounded up to 2 MiB. The smallest free block of its pool that is
 * large enough is taken, of equal ones that at the lowest address, and what is left of it stays free: from 512 bytes on in
 * the first pool, above 1 MiB in the other. Free neighbours of one segment become one block; segments never do, and go back
 * to the driver only when it has no more. */
#ifndef FATHOM_TORCH_ALLOCATOR_H
#define FATHOM_TORCH_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define TORCH_NO_BLOCK UINT32_MAX

struct torch_block;

enum torch_pool { TORCH_SMALL, TORCH_LARGE, TORCH_POOLS };

struct torch_free_list {
    uint32_t *blocks; /* ascending by size, then by address */
    size_t count, capacity;
};

struct torch_allocator {
    uint64_t most_bytes; /* that the driver has; 0 = as many as are asked for */
    struct torch_block *blocks;
    size_t block_count, block_capacity;
    uint32_t unused; /* a list of entries in blocks */
    struct torch_free_list lists[TORCH_POOLS];
    uint64_t next_address;
    uint64_t allocated_bytes, reserved_bytes; /* as torch.cuda.memory_allocated and memory_reserved say */
    uint64_t peak_allocated_bytes, peak_reserved_bytes;
    uint32_t given_back; /* how often all cached segments went back to the driver, which had no more */
};

/* Takes a zeroed allocator, most_bytes set where there is a limit; the caller ends it with torch_allocator_finish. Into
 * *block goes what torch_allocator_free takes; TORCH_NO_BLOCK where PyTorch would find itself out of memory, and for 0
 * bytes. ERROR_MEMORY: of ours. */
bool torch_allocator_take(struct torch_allocator *allocator, uint64_t bytes, uint32_t *block, struct error *err);
/* Takes TORCH_NO_BLOCK. */
bool torch_allocator_free(struct torch_allocator *allocator, uint32_t block, struct error *err);
/* Bytes of a block that is taken: at least as many as were asked for. */
uint64_t torch_allocator_block_bytes(const struct torch_allocator *allocator, uint32_t block);
void torch_allocator_finish(struct torch_allocator *allocator);

#endif
