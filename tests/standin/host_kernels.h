/* The device's own kernels, compiled for the host: the same .cu files under a shim that runs each CUDA thread as a fibre.
 * Compiled with -fsanitize=thread and linked to what the stand-in has in its place, so that every access is seen. */
#ifndef FATHOM_HOST_KERNELS_H
#define FATHOM_HOST_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct host_kernel {
    const char *name; /* as in the image */
    /* A launch. `together`: cooperative. `seed`: of the order in which its threads run. */
    void (*run)(const void *arguments, unsigned grid_x, unsigned grid_y, unsigned threads, unsigned shared_bytes,
                bool together, uint64_t seed);
    size_t argument_bytes;
};

extern const struct host_kernel host_kernels[];
extern const size_t host_kernel_count;

/* What a kernel may touch beside device memory, for as long as it runs: its threads' stacks. */
void host_kernel_memory(const void *at, size_t bytes);

/* Which thread of a block runs, and how many barriers and beginnings of blocks there were before. */
struct host_kernel_now {
    uint32_t thread, interval;
};
/* The same of memory that the threads of a block share. */
void host_kernel_shared(const void *at, size_t bytes, const struct host_kernel_now *now);

#ifdef __cplusplus
}
#endif

#endif
