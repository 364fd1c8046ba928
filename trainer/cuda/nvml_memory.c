#include "nvml_memory.h"

#include <dlfcn.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>

/* Names and layouts are NVML's, which keeps them; the toolkit has no header of it on every machine. */
struct nvml_memory {
    unsigned long long total, free, used;
};
struct nvml_process {
    unsigned pid;
    unsigned long long bytes; /* all ones: not known */
    unsigned instance, compute_instance;
};
struct nvml {
    void *handle;
    int (*init)(void);
    int (*by_uuid)(const char *uuid, void **device);
    int (*memory)(void *device, struct nvml_memory *memory);
    int (*processes)(void *device, unsigned *count, struct nvml_process *processes); /* NULL in drivers before 510 */
    int (*shutdown)(void);
};

static bool find(void *handle, const char *name, void *slot)
{
    void *found = dlsym(handle, name);
    *(void **)slot = found;
    return found != NULL;
}

static bool find_calls(void *handle, struct nvml *nvml)
{
    find(handle, "nvmlDeviceGetComputeRunningProcesses_v3", &nvml->processes);
    return find(handle, "nvmlInit_v2", &nvml->init) && find(handle, "nvmlDeviceGetHandleByUUID", &nvml->by_uuid) &&
           find(handle, "nvmlDeviceGetMemoryInfo", &nvml->memory) && find(handle, "nvmlShutdown", &nvml->shutdown);
}

/* "GPU-12345678-9abc-...": as nvidia-smi -L prints it; a MIG instance has another prefix. */
static void format_uuid(const char *prefix, const unsigned char uuid[16], char out[64])
{
    int length = snprintf(out, 64, "%s", prefix);
    for (int i = 0; i < 16; i++)
        length += snprintf(out + length, 64 - (size_t)length, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                           uuid[i]);
}

static bool ask(const struct nvml *nvml, const unsigned char uuid[16], void **device, struct nvml_memory *memory)
{
    static const char *const prefixes[] = {"GPU-", "MIG-"};
    char name[64];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        format_uuid(prefixes[i], uuid, name);
        if (nvml->by_uuid(name, device) == 0 && nvml->memory(*device, memory) == 0) return true;
    }
    return false;
}

/* CUDA leaves out what the driver keeps for itself: a hundredth or so. */
static bool is_same(uint64_t nvml_total, uint64_t cuda_total)
{
    return cuda_total <= nvml_total && cuda_total >= nvml_total - nvml_total / 16;
}

/* Finds the GPU; true: nvml_close is to follow. */
static bool nvml_open(struct nvml *nvml, const unsigned char uuid[16], uint64_t total_bytes, void **device,
                      struct nvml_memory *memory)
{
    nvml->handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!nvml->handle) return false;
    if (find_calls(nvml->handle, nvml) && nvml->init() == 0) {
        if (ask(nvml, uuid, device, memory) && is_same(memory->total, total_bytes)) return true;
        nvml->shutdown();
    }
    dlclose(nvml->handle);
    return false;
}

static void nvml_close(const struct nvml *nvml)
{
    nvml->shutdown();
    dlclose(nvml->handle);
}

bool nvml_free_bytes(const unsigned char uuid[16], uint64_t total_bytes, uint64_t *free_bytes)
{
    struct nvml nvml = {0};
    struct nvml_memory memory = {0};
    void *device;
    if (!nvml_open(&nvml, uuid, total_bytes, &device, &memory)) return false;
    *free_bytes = memory.free;
    nvml_close(&nvml);
    return true;
}

#define MOST_PROCESSES 64

static bool holds_more(const struct nvml_process *a, const struct nvml_process *b)
{
    return b->bytes == ULLONG_MAX || (a->bytes != ULLONG_MAX && a->bytes > b->bytes);
}

uint32_t nvml_holder(const unsigned char uuid[16], uint64_t total_bytes, struct nvml_holder *most)
{
    struct nvml nvml = {0};
    struct nvml_memory memory = {0};
    struct nvml_process processes[MOST_PROCESSES];
    unsigned count = MOST_PROCESSES, largest = 0;
    void *device;
    if (!nvml_open(&nvml, uuid, total_bytes, &device, &memory)) return 0;
    if (!nvml.processes || nvml.processes(device, &count, processes) != 0) count = 0;
    nvml_close(&nvml);
    if (count == 0) return 0;
    for (unsigned i = 1; i < count; i++)
        if (holds_more(&processes[i], &processes[largest])) largest = i;
    *most = (struct nvml_holder){processes[largest].pid, processes[largest].bytes};
    return count;
}
