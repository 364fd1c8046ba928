/* What tests of the stand-in for CUDA share. */
#ifndef FATHOM_RUNTIME_TEST_H
#define FATHOM_RUNTIME_TEST_H

#include <criterion/criterion.h>
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <string.h>

#include "probes.h"
#include "standin_vendor.h"

#define OK(call) cr_assert_eq(call, cudaSuccess)
#define IS(call, status) cr_assert_eq(call, status)

static inline void restart_with(uint64_t seed)
{
    char text[32];
    snprintf(text, sizeof text, "seed=%llu", (unsigned long long)seed);
    standin_restart(text);
}

static inline cudaStream_t new_stream(void)
{
    cudaStream_t stream;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

static inline cudaEvent_t new_event(void)
{
    cudaEvent_t event;
    OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return event;
}

static inline void *new_memory(size_t bytes)
{
    void *memory;
    OK(cudaMalloc(&memory, bytes));
    return memory;
}

static inline void *new_pinned(size_t bytes)
{
    void *memory;
    OK(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault));
    return memory;
}

/* b waits for a. */
static inline void order(cudaStream_t a, cudaStream_t b)
{
    cudaEvent_t event = new_event();
    OK(cudaEventRecord(event, a));
    OK(cudaStreamWaitEvent(b, event, 0));
    OK(cudaEventDestroy(event));
}

static inline cudaKernel_t probe_kernel(const char *name)
{
    static const uint32_t image[4] = {0xBA55ED50u};
    cudaLibrary_t library;
    cudaKernel_t kernel;
    OK(cudaLibraryLoadData(&library, image, NULL, NULL, 0, NULL, NULL, 0));
    OK(cudaLibraryGetKernel(&kernel, library, name));
    return kernel;
}

static inline cudaError_t launch(cudaKernel_t kernel, struct probe_arguments arguments, cudaStream_t stream)
{
    void *parameters[] = {&arguments};
    return cudaLaunchKernel((const void *)kernel, (dim3){1, 1, 1}, (dim3){1, 1, 1}, parameters, 0, stream);
}

static inline void expect_violation(const char *words)
{
    struct standin_vendor_report r = standin_report();
    cr_assert(r.violations > 0 && strstr(r.first, words), "%llu violations: %s", (unsigned long long)r.violations,
              r.first);
}

static inline void expect_clean(void)
{
    struct standin_vendor_report r = standin_report();
    cr_assert_eq(r.violations, 0, "%s", r.first);
}

#endif
