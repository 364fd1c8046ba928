/* The device's own kernels as functions of the host. */
#include "host_kernels.h"

#include "shim.h"

#include "all.cu"

#define ROW(name)      HOST_KERNEL(name),
#define ROW_EACH(name) ROW(name##_f32) ROW(name##_f16) ROW(name##_bf16)
const struct host_kernel host_kernels[] = {KERNEL_LIST(ROW_EACH, ROW)};
const size_t host_kernel_count = sizeof host_kernels / sizeof *host_kernels;

/* For programs that watch no memory. */
__attribute__((weak)) void host_kernel_memory(const void *, size_t) {}
__attribute__((weak)) void host_kernel_shared(const void *, size_t, const struct host_kernel_now *) {}
