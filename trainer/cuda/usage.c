/* What this process has taken of a GPU: against what was free before it came. */
#include <inttypes.h>
#include <pthread.h>

#include "cuda_slots.h"
#include "nvml_memory.h"

#define MOST_GPUS 64
static struct {
    bool asked, before_context;
    uint64_t free_bytes;
} first[MOST_GPUS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool ask_cuda(const struct device *device, uint64_t *free_bytes, struct error *err)
{
    size_t bytes = 0, total_bytes;
    TRY(cuda_check(device->vendor, device->vendor->cuda.MemGetInfo(&bytes, &total_bytes), err,
                   "the memory of GPU %" PRIu32, device->options.ordinal));
    *free_bytes = bytes;
    return true;
}

void usage_before_context(const struct device *device)
{
    uint32_t gpu = device->options.ordinal;
    const struct cudaDeviceProp *p = &device->properties;
    pthread_mutex_lock(&lock);
    if (gpu < MOST_GPUS && !first[gpu].asked)
        first[gpu].asked = first[gpu].before_context =
            nvml_free_bytes((const unsigned char *)p->uuid.bytes, p->totalGlobalMem, &first[gpu].free_bytes);
    pthread_mutex_unlock(&lock);
}

bool usage_after_context(const struct device *device, struct error *err)
{
    uint32_t gpu = device->options.ordinal;
    bool ok = true;
    pthread_mutex_lock(&lock);
    if (gpu < MOST_GPUS && !first[gpu].asked) first[gpu].asked = ok = ask_cuda(device, &first[gpu].free_bytes, err);
    pthread_mutex_unlock(&lock);
    return ok;
}

static bool memory_used(const struct device *device, struct device_memory *memory, struct error *err)
{
    uint32_t gpu = device->options.ordinal;
    uint64_t free_bytes;
    *memory = (struct device_memory){.arena_bytes = device->arena_bytes};
    if (gpu >= MOST_GPUS) return true;
    TRY(ask_cuda(device, &free_bytes, err));
    pthread_mutex_lock(&lock);
    uint64_t used = first[gpu].free_bytes > free_bytes ? first[gpu].free_bytes - free_bytes : 0;
    memory->outside = first[gpu].before_context ? DEVICE_OUTSIDE_KNOWN : DEVICE_OUTSIDE_BUT_CONTEXT;
    pthread_mutex_unlock(&lock);
    memory->outside_bytes = used > device->arena_bytes ? used - device->arena_bytes : 0;
    return true;
}

bool cuda_memory_used(struct device *device, struct device_memory *memory, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, memory_used(device, memory, &device->first), err);
}
