/* Memory, copies, kernels: calls of CUDA's runtime. */
#include <stdlib.h>
#include <string.h>

#include "host_kernels_broken.h"
#include "vendor.h"

#define CONTEXT_BYTES (UINT64_C(512) << 20) /* what a context takes of a device's memory */

bool graph_was_launched;

/* ---- Memory ---- */

static uint64_t usable_bytes(void)
{
    return options.memory_bytes > 2 * CONTEXT_BYTES ? options.memory_bytes - CONTEXT_BYTES : options.memory_bytes;
}

static bool refuses(void)
{
    return (options.refuse_after_graph && graph_was_launched) ||
           (options.refuse_after_call && counts.calls > options.refuse_after_call);
}

cudaError_t EXPORTED cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    BEGIN("MemGetInfo", CALL_USUAL);
    *free_bytes = usable_bytes() - device_now()->memory.taken;
    *total_bytes = options.memory_bytes;
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaMalloc(void **memory, size_t bytes)
{
    BEGIN("Malloc", CALL_USUAL);
    *memory = NULL;
    cudaError_t status = capture_forbids();
    if (status || bytes == 0) return call_leave(status);
    if (!refuses()) *memory = region_take(&device_now()->memory, bytes, usable_bytes());
    return call_leave(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}

/* Waits for what the device does. */
static cudaError_t give(struct region *region, void *memory)
{
    cudaError_t status = capture_forbids();
    if (status || !memory) return status;
    status = device_wait(device_now());
    if (status) return status;
    return region_give(region, memory) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t EXPORTED cudaFree(void *memory)
{
    BEGIN("Free", CALL_USUAL);
    struct region *region = memory_is_device(memory) ? region_of(memory) : &device_now()->memory;
    struct allocation *a = memory_is_device(memory) ? region_find(region, memory, 1) : NULL;
    if (a && a->of_nccl) violate("cudaFree of memory that ncclMemAlloc gave");
    return call_leave(give(region, memory));
}

cudaError_t EXPORTED cudaHostAlloc(void **memory, size_t bytes, unsigned flags)
{
    BEGIN("HostAlloc", CALL_USUAL);
    *memory = NULL;
    if (flags & ~(unsigned)(cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined))
        return call_leave(cudaErrorInvalidValue);
    cudaError_t status = capture_forbids();
    if (status || bytes == 0) return call_leave(status);
    if (!refuses()) *memory = region_take(&pinned, bytes, pinned.bytes);
    return call_leave(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t EXPORTED cudaFreeHost(void *memory)
{
    BEGIN("FreeHost", CALL_USUAL);
    return call_leave(give(&pinned, memory));
}

/* ---- Copies and fills ---- */

/* A range of a region lies in one allocation. */
static bool is_whole(const void *at, uint64_t bytes)
{
    struct region *region = region_of(at);
    if (!region || region_find(region, at, bytes)) return true;
    violate("%llu bytes at byte %llu of %s memory are in no allocation", (unsigned long long)bytes,
            (unsigned long long)((const uint8_t *)at - region->base), region == &pinned ? "pinned" : "device");
    return false;
}

static bool kind_fits(const void *to, const void *from, enum cudaMemcpyKind kind)
{
    bool in = memory_is_device(to), out = memory_is_device(from);
    switch (kind) {
    case cudaMemcpyHostToHost: return !in && !out;
    case cudaMemcpyHostToDevice: return in && !out;
    case cudaMemcpyDeviceToHost: return !in && out;
    case cudaMemcpyDeviceToDevice: return in && out;
    case cudaMemcpyDefault: return true;
    }
    return false;
}

static struct work *copy_work(void *to, const void *from, size_t bytes)
{
    struct work *work = work_new(WORK_COPY, memory_is_device(to)     ? memory_is_device(from) ? "a copy on the device"
                                                                                              : "a copy to the device"
                                            : memory_is_device(from) ? "a copy from the device"
                                                                     : "a copy in host memory");
    work->copy.to = to;
    work->copy.from = from;
    work->copy.bytes = bytes;
    return work;
}

/* From memory that is not pinned: it has been read when the call returns. To such memory: it has been written. */
static cudaError_t copy(struct CUstream_st *s, void *to, const void *from, size_t bytes, bool waits)
{
    struct work *work = copy_work(to, from, bytes);
    if (!region_of(from)) work->copy.owned = memcpy(need(malloc(bytes)), from, bytes);
    work_note_source(work);
    cudaError_t status = stream_work(s, work);
    if (status || s->capture || !(waits || !region_of(to))) return status;
    return stream_wait(s, s->submitted, &s->clock);
}

cudaError_t EXPORTED cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                     cudaStream_t stream)
{
    BEGIN("MemcpyAsync", CALL_USUAL);
    struct CUstream_st *s = stream_find(stream);
    if (!s) return call_leave(cudaErrorInvalidResourceHandle);
    if (!kind_fits(to, from, kind) || !is_whole(to, bytes) || !is_whole(from, bytes))
        return call_leave(cudaErrorInvalidValue);
    if (bytes == 0) return call_leave(cudaSuccess);
    cudaError_t status = s->capture && region_of(to) && region_of(from)
                             ? cudaSuccess
                             : capture_refuses(s, cudaErrorStreamCaptureUnsupported);
    return call_leave(status ? status : copy(s, to, from, bytes, false));
}

/* In the legacy stream, which non-blocking streams do not wait for. From memory that is not pinned it may return while
 * the bytes are still on their way to the device (CUDA Runtime API, "API synchronization behavior"). */
cudaError_t EXPORTED cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    BEGIN("Memcpy", CALL_USUAL);
    if (!kind_fits(to, from, kind) || !is_whole(to, bytes) || !is_whole(from, bytes))
        return call_leave(cudaErrorInvalidValue);
    struct CUstream_st *s = device_now()->legacy;
    cudaError_t status = capture_refuses(s, cudaErrorStreamCaptureUnsupported);
    if (!status) status = capture_forbids();
    if (status || bytes == 0) return call_leave(status);
    bool waits = !memory_is_device(to) || memory_is_pinned(from);
    return call_leave(copy(s, to, from, bytes, waits));
}

static cudaError_t fill(struct CUstream_st *s, void *at, int byte, size_t bytes)
{
    if (!s) return cudaErrorInvalidResourceHandle;
    if (!region_of(at) || !is_whole(at, bytes)) return cudaErrorInvalidValue;
    if (bytes == 0) return cudaSuccess;
    cudaError_t status = s->capture ? cudaSuccess : capture_refuses(s, cudaErrorStreamCaptureUnsupported);
    if (status) return status;
    struct work *work = work_new(WORK_FILL, "a fill");
    work->copy.to = at;
    work->copy.bytes = bytes;
    work->byte = byte;
    return stream_work(s, work);
}

cudaError_t EXPORTED cudaMemsetAsync(void *at, int byte, size_t bytes, cudaStream_t stream)
{
    BEGIN("MemsetAsync", CALL_USUAL);
    return call_leave(fill(stream_find(stream), at, byte, bytes));
}

/* The host does not wait for it. */
cudaError_t EXPORTED cudaMemset(void *at, int byte, size_t bytes)
{
    BEGIN("Memset", CALL_USUAL);
    cudaError_t status = capture_forbids();
    return call_leave(status ? status : fill(device_now()->legacy, at, byte, bytes));
}

/* ---- Kernels ---- */

#define MOST_KERNELS 512u
#define FATBIN_MAGIC 0xBA55ED50u

struct CUlib_st {
    bool alive;
    struct CUkern_st kernels[MOST_KERNELS];
    unsigned count;
};

cudaError_t EXPORTED cudaLibraryLoadData(cudaLibrary_t *library, const void *code, enum cudaJitOption *jit,
                                         void **jit_values, unsigned jit_count, enum cudaLibraryOption *given,
                                         void **values, unsigned count)
{
    BEGIN("LibraryLoadData", CALL_USUAL);
    uint32_t magic;
    (void)jit;
    (void)jit_values;
    (void)given;
    (void)values;
    if (!code || jit_count || count) return call_leave(cudaErrorInvalidValue);
    memcpy(&magic, code, sizeof magic);
    if (magic != FATBIN_MAGIC) return call_leave(cudaErrorInvalidKernelImage);
    cudaError_t status = capture_forbids();
    if (status) return call_leave(status);
    *library = NEW(struct CUlib_st);
    (*library)->alive = true;
    counts.libraries++;
    return call_leave(cudaSuccess);
}

/* Graphs may still name its kernels. */
cudaError_t EXPORTED cudaLibraryUnload(cudaLibrary_t library)
{
    BEGIN("LibraryUnload", CALL_USUAL);
    if (!library || !library->alive) return call_leave(cudaErrorInvalidResourceHandle);
    library->alive = false;
    counts.libraries--;
    return call_leave(cudaSuccess);
}

static const struct host_kernel *find_host(const struct host_kernel *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

cudaError_t EXPORTED cudaLibraryGetKernel(cudaKernel_t *kernel, cudaLibrary_t library, const char *name)
{
    BEGIN("LibraryGetKernel", CALL_USUAL);
    if (!library || !library->alive) return call_leave(cudaErrorInvalidResourceHandle);
    const struct host_kernel *host = find_host(host_kernels, host_kernel_count, name);
    if (!host) host = find_host(probe_kernels, probe_kernel_count, name);
    if (!host) host = find_host(host_kernels_broken, HOST_KERNELS_BROKEN, name);
    if (!host) return call_leave(cudaErrorSymbolNotFound);
    for (unsigned i = 0; i < library->count; i++)
        if (library->kernels[i].host == host) {
            *kernel = &library->kernels[i];
            return call_leave(cudaSuccess);
        }
    if (library->count == MOST_KERNELS) abort();
    *kernel = &library->kernels[library->count++];
    **kernel = (struct CUkern_st){.host = host, .library = library, .dynamic_shared_bytes = 49152};
    return call_leave(cudaSuccess);
}

static bool is_kernel(const struct CUkern_st *kernel)
{
    return kernel && kernel->library && kernel->library->alive && kernel->host;
}

/* The handle as a `const void *`, as the runtime wants it. */
static struct CUkern_st *kernel_of(const void *function)
{
    struct CUkern_st *kernel;
    memcpy(&kernel, &function, sizeof kernel);
    return is_kernel(kernel) ? kernel : NULL;
}

cudaError_t EXPORTED cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    BEGIN("FuncSetAttribute", CALL_USUAL);
    struct CUkern_st *kernel = kernel_of(function);
    if (!kernel) return call_leave(cudaErrorInvalidDeviceFunction);
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return call_leave(cudaSuccess);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        (unsigned)value > shared_bytes_at_most())
        return call_leave(cudaErrorInvalidValue);
    kernel->dynamic_shared_bytes = (unsigned)value;
    return call_leave(cudaSuccess);
}

static cudaError_t check_shape(const struct CUkern_st *kernel, dim3 grid, dim3 block, size_t shared_bytes)
{
    if (grid.x < 1 || grid.x > 2147483647u || grid.y < 1 || grid.y > 65535 || grid.z != 1 || block.x < 1 ||
        block.x > 1024 || block.y != 1 || block.z != 1)
        return cudaErrorInvalidConfiguration;
    return shared_bytes > kernel->dynamic_shared_bytes ? cudaErrorInvalidValue : cudaSuccess;
}

/* Of every kernel: what its bounds promise (KERNEL_BOUNDS). */
#define BLOCKS_A_PROCESSOR 2

cudaError_t EXPORTED cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int threads,
                                                                   size_t shared_bytes)
{
    BEGIN("OccupancyMaxActiveBlocksPerMultiprocessor", CALL_USUAL);
    const struct CUkern_st *kernel = kernel_of(function);
    if (!kernel) return call_leave(cudaErrorInvalidDeviceFunction);
    if (threads < 1 || threads > 1024 || shared_bytes > kernel->dynamic_shared_bytes)
        return call_leave(cudaErrorInvalidValue);
    *blocks = BLOCKS_A_PROCESSOR;
    return call_leave(cudaSuccess);
}

static cudaError_t launch(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
                          cudaStream_t stream, bool together)
{
    struct CUkern_st *kernel = kernel_of(function);
    struct CUstream_st *s = stream_find(stream);
    if (!kernel) return call_leave(cudaErrorInvalidDeviceFunction);
    if (!s || s->device != device_now())
        return call_leave(cudaErrorInvalidResourceHandle); /* copies may, kernels not */
    cudaError_t status = check_shape(kernel, grid, block, shared_bytes);
    const uint64_t blocks = (uint64_t)grid.x * grid.y, most = BLOCKS_A_PROCESSOR * (uint64_t)options.processors;
    if (!status && together && blocks > most) status = cudaErrorCooperativeLaunchTooLarge;
    if (!status && together && blocks > most - (most + 3) / 4 && nccl_sums_on(s->device))
        violate("kernel %s wants %llu blocks of %llu at a time: it would wait for the end of sums over ranks",
                kernel->host->name, (unsigned long long)blocks, (unsigned long long)most);
    if (!status && !s->capture) status = capture_refuses(s, cudaErrorStreamCaptureUnsupported);
    if (status) return call_leave(status);
    if (s->capture && !kernel->launched)
        violate("kernel %s is captured before it was ever launched: its code may be loaded only then",
                kernel->host->name);
    kernel->launched = true;
    struct work *work = work_new(WORK_KERNEL, kernel->host->name);
    work->launch.kernel = kernel;
    work->launch.grid_x = grid.x;
    work->launch.grid_y = grid.y;
    work->launch.threads = block.x;
    work->launch.shared_bytes = (unsigned)shared_bytes;
    work->launch.together = together;
    work->launch.arguments = need(malloc(kernel->host->argument_bytes + 1));
    memcpy(work->launch.arguments, arguments[0], kernel->host->argument_bytes);
    return call_leave(stream_work(s, work));
}

cudaError_t EXPORTED cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments,
                                      size_t shared_bytes, cudaStream_t stream)
{
    BEGIN("LaunchKernel", CALL_USUAL);
    return launch(function, grid, block, arguments, shared_bytes, stream, false);
}

cudaError_t EXPORTED cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments,
                                                 size_t shared_bytes, cudaStream_t stream)
{
    BEGIN("LaunchCooperativeKernel", CALL_USUAL);
    return launch(function, grid, block, arguments, shared_bytes, stream, true);
}
