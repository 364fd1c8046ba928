/* The calls of CUDA's runtime that the trainer makes, as a table that is filled when the library is loaded: fathom starts
 * and plans where there is none. Names and meanings are CUDA's; libraries that stand in for it have these calls. */
#ifndef FATHOM_CUDA_CALLS_H
#define FATHOM_CUDA_CALLS_H

#include <cuda_runtime_api.h>

#include "cudnn_library.h"

/* CALL(name without its prefix) */
#define CUDA_CALLS(CALL)                                                                                               \
    CALL(RuntimeGetVersion) CALL(DriverGetVersion) CALL(GetDeviceCount) CALL(GetDeviceProperties) CALL(SetDevice)      \
    CALL(DeviceGetAttribute) CALL(MemGetInfo) CALL(GetErrorName) CALL(GetErrorString) CALL(GetLastError)               \
    CALL(Malloc) CALL(Free) CALL(HostAlloc) CALL(FreeHost) CALL(Memset) CALL(MemsetAsync) CALL(Memcpy)                 \
    CALL(MemcpyAsync)                                                                                                  \
    CALL(StreamCreateWithFlags) CALL(StreamDestroy) CALL(StreamQuery) CALL(StreamSynchronize) CALL(StreamWaitEvent)    \
    CALL(StreamBeginCapture) CALL(StreamEndCapture) CALL(StreamGetCaptureInfo) CALL(ThreadExchangeStreamCaptureMode)   \
    CALL(EventCreateWithFlags) CALL(EventDestroy) CALL(EventRecord) CALL(EventQuery) CALL(EventSynchronize)            \
    CALL(EventElapsedTime)                                                                                             \
    CALL(GraphInstantiate) CALL(GraphLaunch) CALL(GraphUpload) CALL(GraphDestroy) CALL(GraphExecDestroy)               \
    CALL(GraphGetNodes) CALL(GraphNodeGetType)                                                                         \
    CALL(LibraryLoadData) CALL(LibraryUnload) CALL(LibraryGetKernel) CALL(FuncSetAttribute) CALL(LaunchKernel)         \
    CALL(LaunchCooperativeKernel) CALL(OccupancyMaxActiveBlocksPerMultiprocessor)                                      \
    CALL(DeviceSynchronize) CALL(DeviceReset)

#define CUDA_CALLS_FIELD(name) __typeof__(&cuda##name) name;
struct cuda_calls {
    CUDA_CALLS(CUDA_CALLS_FIELD)
};
#undef CUDA_CALLS_FIELD

/* NVIDIA's libraries in this process. */
struct vendor {
    struct cuda_calls cuda;
    struct cudnn_library cudnn;
    bool has_cudnn;
    struct error cudnn_fault; /* why not */
    char cuda_path[4096], cudnn_path[4096];
};

/* Loaded once, at the first call, from $CUDA_HOME, where the build found CUDA, /usr/local/cuda*, then by the loader's own
 * search. NULL: ERROR_FAILED with what was looked for. Any thread. */
const struct vendor *vendor_load(struct error *err);

/* True for cudaSuccess; else ERROR_FAILED: "`what`: cudaErrorName: text". */
bool cuda_check(const struct vendor *vendor, cudaError_t status, struct error *err, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

#endif
