#include "nvml_memory.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

/* Names and layouts are NVML's, which keeps them; the toolkit has no header of it on every machine. */
struct nvml_memory {
    unsigned long long total, free, used;
};
struct nvml {
    int (*init)(void);
    int (*by_uuid)(const char *uuid, void **device);
    int (*memory)(void *device, struct nvml_memory *memory);
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

static bool ask(const struct nvml *nvml, const unsigned char uuid[16], struct nvml_memory *memory)
{
    static const char *const prefixes[] = {"GPU-", "MIG-"};
    char name[64];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        void *device;
        format_uuid(prefixes[i], uuid, name);
        if (nvml->by_uuid(name, &device) == 0 && nvml->memory(device, memory) == 0) return true;
    }
    return false;
}

/* CUDA leaves out what the driver keeps for itself: a hundredth or so. */
static bool is_same(uint64_t nvml_total, uint64_t cuda_total)
{
    return cuda_total <= nvml_total && cuda_total >= nvml_total - nvml_total / 16;
}

bool nvml_free_bytes(const unsigned char uuid[16], uint64_t total_bytes, uint64_t *free_bytes)
{
    struct nvml nvml;
    struct nvml_memory memory = {0};
    void *handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!handle) return false;
    bool known = find_calls(handle, &nvml) && nvml.init() == 0;
    if (known) {
        known = ask(&nvml, uuid, &memory) && is_same(memory.total, total_bytes);
        nvml.shutdown();
    }
    dlclose(handle);
    if (known) *free_bytes = memory.free;
    return known;
}
