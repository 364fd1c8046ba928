/* Kernels of the stand-in's own tests, beside those of the trainer. One thread each. */
#include "probes.h"

#include "vendor.h"

static void add_one(const void *arguments, unsigned x, unsigned y, unsigned threads, unsigned shared, uint64_t seed)
{
    const struct probe_arguments *a = arguments;
    (void)x, (void)y, (void)threads, (void)shared, (void)seed;
    for (uint32_t i = 0; i < a->count; i++) a->to[i] = a->from[i] + 1;
}

const struct host_kernel probe_kernels[] = {{"probe_add_one", add_one, sizeof(struct probe_arguments)}};
const size_t probe_kernel_count = 1;

/* Until the kernels are compiled for the host. */
#include "../../trainer/cuda/kernels.h"
static void set_step(const void *arguments, unsigned x, unsigned y, unsigned threads, unsigned shared, uint64_t seed)
{
    const struct set_step_arguments *a = arguments;
    (void)x, (void)y, (void)threads, (void)shared, (void)seed;
    uint32_t halted = a->block->halted;
    *a->block = a->values;
    a->block->halted = halted;
}
const struct host_kernel host_kernels[] = {{"set_step", set_step, sizeof(struct set_step_arguments)}};
const size_t host_kernel_count = 1;
