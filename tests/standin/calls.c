/* How every call begins and ends: the lock, counts, failures on demand, errors that stay. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vendor.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t random_state;
static _Thread_local cudaError_t last_error;
static _Thread_local int device_number;
static bool restarted;

void *need(void *memory)
{
    if (!memory) abort();
    return memory;
}

/* splitmix64 */
uint64_t draw(uint64_t below)
{
    uint64_t x = random_state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return (x ^ x >> 31) % below;
}

/* ---- Beginning ---- */

static struct sigaction before[2]; /* whose faults are not the stand-in's: of SIGSEGV, SIGILL */

/* A kernel that touches what is mapped nowhere, or at an address that its vectors do not divide (meson.build). A fault
 * elsewhere in the process, and a signal that somebody sent, are the process's own. */
static void die(int number, siginfo_t *info, void *context)
{
    (void)context;
    bool sent = info->si_code <= 0;
    if (access_now.clock && !sent && pthread_equal(access_now.thread, pthread_self())) {
        const char *where = number == SIGILL ? "that its vectors do not divide" : "where nothing is";
        violate("%s touches an address %s", access_now.what, where);
        fprintf(stderr, "stand-in: %s touches an address %s\n", access_now.what, where);
        _exit(70);
    }
    sigaction(number, &before[number == SIGILL], NULL); /* what faulted does so once more */
    if (sent) raise(number);
}

static void begin(void)
{
    if (!restarted) options_parse(getenv("FATHOM_STANDIN"));
    random_state = options.seed;
    region_create(&pinned, UINT64_C(16) << 30);
    report_begin();
    sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = die, .sa_flags = SA_SIGINFO}, &before[0]);
    sigaction(SIGILL, &(struct sigaction){.sa_sigaction = die, .sa_flags = SA_SIGINFO}, &before[1]);
}

void lock_take(void)
{
    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
}

void lock_give(void) { pthread_mutex_unlock(&lock); }

void EXPORTED standin_restart(const char *text)
{
    options_parse(text);
    restarted = true;
    lock_take();
    graph_was_launched = false;
    random_state = options.seed;
    uint64_t streams = counts.streams, events = counts.events, graphs = counts.graphs, libraries = counts.libraries,
             descriptors = counts.descriptors, handles = counts.handles;
    counts = (struct standin_vendor_report){.streams = streams,
                                            .events = events,
                                            .graphs = graphs,
                                            .libraries = libraries,
                                            .descriptors = descriptors,
                                            .handles = handles};
    for (struct call *c = all_calls; c; c = c->next) c->count = 0;
    for (unsigned i = 0; i < MOST_DEVICES; i++) devices[i].sticky = cudaSuccess;
    work_restart();
    lock_give();
}

/* ---- Calls ---- */

int call_count(struct call *call)
{
    if (call->count++ == 0 && !call->next) {
        bool known = false;
        for (const struct call *c = all_calls; c; c = c->next) known = known || c == call;
        if (!known) {
            call->next = all_calls;
            all_calls = call;
        }
    }
    counts.calls++;
    for (unsigned i = 0; i < options.failure_count; i++) {
        const struct failure *f = &options.failures[i];
        if (strcmp(f->call, call->name) == 0 && f->number == call->count) return f->code;
    }
    return 0;
}

cudaError_t call_enter(struct call *call, enum call_manner manner)
{
    lock_take();
    int code = call_count(call);
    if (code) return (cudaError_t)code;
    if (manner == CALL_WITHOUT_DEVICE) return cudaSuccess;
    if (options.driver < 13000) return cudaErrorInsufficientDriver;
    if (options.gpus == 0) return cudaErrorNoDevice;
    return device_now()->sticky;
}

cudaError_t call_leave(cudaError_t status)
{
    if (status != cudaSuccess) last_error = status;
    lock_give();
    return status;
}

cudaError_t EXPORTED cudaGetLastError(void)
{
    cudaError_t was = last_error;
    last_error = cudaSuccess;
    return was;
}

/* ---- Devices ---- */

struct device devices[MOST_DEVICES];

struct device *device_now(void)
{
    struct device *d = &devices[device_number];
    if (d->made) return d;
    d->made = true;
    region_create(&d->memory, options.memory_bytes);
    d->legacy = stream_new(d, true);
    counts.streams--;
    return d;
}

cudaError_t EXPORTED cudaSetDevice(int device)
{
    BEGIN("SetDevice", CALL_WITHOUT_DEVICE);
    if (options.driver < 13000) return call_leave(cudaErrorInsufficientDriver);
    if (device < 0 || (unsigned)device >= options.gpus) return call_leave(cudaErrorInvalidDevice);
    device_number = device;
    return call_leave(device_now()->sticky);
}

cudaError_t EXPORTED cudaGetDeviceCount(int *count)
{
    BEGIN("GetDeviceCount", CALL_WITHOUT_DEVICE);
    *count = 0;
    if (options.driver < 13000) return call_leave(cudaErrorInsufficientDriver);
    if (options.gpus == 0) return call_leave(cudaErrorNoDevice);
    *count = (int)options.gpus;
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaRuntimeGetVersion(int *version)
{
    BEGIN("RuntimeGetVersion", CALL_WITHOUT_DEVICE);
    *version = CUDART_VERSION;
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaDriverGetVersion(int *version)
{
    BEGIN("DriverGetVersion", CALL_WITHOUT_DEVICE);
    *version = options.driver;
    return call_leave(cudaSuccess);
}

unsigned shared_bytes_at_most(void) { return options.major >= 9 ? 232448 : 101376; }

/* What is asked of a device, as an H200 has it but for what the options say. */
cudaError_t EXPORTED cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    BEGIN("GetDeviceProperties", CALL_USUAL);
    if (device < 0 || (unsigned)device >= options.gpus) return call_leave(cudaErrorInvalidDevice);
    memset(prop, 0, sizeof *prop);
    memcpy(prop->name, options.name, sizeof options.name);
    prop->name[sizeof options.name - 1] = '\0';
    prop->totalGlobalMem = options.memory_bytes;
    prop->sharedMemPerBlock = 49152;
    prop->sharedMemPerBlockOptin = shared_bytes_at_most();
    prop->sharedMemPerMultiprocessor = prop->sharedMemPerBlockOptin + 1024;
    prop->regsPerBlock = prop->regsPerMultiprocessor = 65536;
    prop->warpSize = 32;
    prop->maxThreadsPerBlock = 1024;
    prop->maxThreadsPerMultiProcessor = 2048;
    prop->maxThreadsDim[0] = prop->maxThreadsDim[1] = 1024;
    prop->maxThreadsDim[2] = 64;
    prop->maxGridSize[0] = 2147483647;
    prop->maxGridSize[1] = prop->maxGridSize[2] = 65535;
    prop->major = (int)options.major;
    prop->minor = (int)options.minor;
    prop->multiProcessorCount = (int)options.processors;
    prop->l2CacheSize = 62914560;
    prop->memoryBusWidth = 6144;
    prop->asyncEngineCount = 3;
    prop->ECCEnabled = prop->concurrentKernels = prop->unifiedAddressing = prop->canMapHostMemory = 1;
    prop->managedMemory = prop->computePreemptionSupported = prop->hostRegisterSupported = 1;
    prop->memoryPoolsSupported = prop->cooperativeLaunch = 1;
    prop->pciBusID = 0x10 + device;
    prop->uuid.bytes[0] = (char)('A' + device);
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    BEGIN("DeviceGetAttribute", CALL_USUAL);
    if (device < 0 || (unsigned)device >= options.gpus) return call_leave(cudaErrorInvalidDevice);
    switch (attribute) {
    case cudaDevAttrClockRate: *value = 1980000; break;
    case cudaDevAttrMemoryClockRate: *value = 3201000; break;
    case cudaDevAttrMultiProcessorCount: *value = (int)options.processors; break;
    case cudaDevAttrComputeCapabilityMajor: *value = (int)options.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = (int)options.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)shared_bytes_at_most(); break;
    case cudaDevAttrL2CacheSize: *value = 62914560; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = 6144; break;
    default: return call_leave(cudaErrorInvalidValue);
    }
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaDeviceSynchronize(void)
{
    BEGIN("DeviceSynchronize", CALL_USUAL);
    cudaError_t status = capture_forbids();
    return call_leave(status ? status : device_wait(device_now()));
}

/* Everything of the device is gone. */
cudaError_t EXPORTED cudaDeviceReset(void)
{
    BEGIN("DeviceReset", CALL_WITHOUT_DEVICE);
    struct device *d = device_now();
    for (struct CUstream_st *s = all_streams; s; s = s->next) {
        if (s->device != d) continue;
        if (s->alive && s != d->legacy) counts.streams--;
        s->alive = s == d->legacy;
        s->hung = false;
        s->count = 0;
        s->done = s->submitted;
        s->waits = false;
        s->replay = NULL;
    }
    while (d->memory.allocations) region_give(&d->memory, d->memory.base + d->memory.allocations->offset);
    d->sticky = cudaSuccess;
    return call_leave(cudaSuccess);
}

/* ---- Errors ---- */

static const struct {
    cudaError_t code;
    const char *name, *text;
} errors[] = {
#define ERROR(name, text)                                                                                              \
    {                                                                                                                  \
        name, #name, text                                                                                              \
    }
    ERROR(cudaSuccess, "no error"),
    ERROR(cudaErrorInvalidValue, "invalid argument"),
    ERROR(cudaErrorMemoryAllocation, "out of memory"),
    ERROR(cudaErrorInitializationError, "initialization error"),
    ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    ERROR(cudaErrorInvalidKernelImage, "device kernel image is invalid"),
    ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    ERROR(cudaErrorSymbolNotFound, "named symbol not found"),
    ERROR(cudaErrorNotReady, "device not ready"),
    ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    ERROR(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    ERROR(cudaErrorStreamCaptureImplicit,
          "operation would make the legacy stream depend on a capturing blocking stream"),
    ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    ERROR(cudaErrorStreamCaptureWrongThread,
          "attempt to terminate a thread-local capture sequence from another thread"),
    ERROR(cudaErrorUnknown, "unknown error"),
#undef ERROR
};

EXPORTED const char *cudaGetErrorName(cudaError_t code)
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code) return errors[i].name;
    return "unrecognized error code";
}

EXPORTED const char *cudaGetErrorString(cudaError_t code)
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code) return errors[i].text;
    return "unrecognized error code";
}
