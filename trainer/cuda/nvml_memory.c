#include "nvml_memory.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>

#include "nvml_calls.h"

void nvml_format_uuid(const char *prefix, const unsigned char uuid[16], char out[64])
{
    int length = snprintf(out, 64, "%s", prefix);
    for (int i = 0; i < 16; i++)
        length += snprintf(out + length, 64 - (size_t)length, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                           uuid[i]);
}

static bool ask(const struct nvml_calls *nvml, const unsigned char uuid[16], nvml_device *device,
                struct nvml_memory_info *memory)
{
    static const char *const prefixes[] = {"GPU-", "MIG-"};
    char name[64];
    if (!nvml->by_uuid || !nvml->memory) return false;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        nvml_format_uuid(prefixes[i], uuid, name);
        if (nvml->by_uuid(name, device) == NVML_OK && nvml->memory(*device, memory) == NVML_OK) return true;
    }
    return false;
}

/* CUDA leaves out what the driver keeps for itself: a hundredth or so. */
static bool is_same(uint64_t nvml_total, uint64_t cuda_total)
{
    return cuda_total <= nvml_total && cuda_total >= nvml_total - nvml_total / 16;
}

/* Finds the GPU; true: nvml_unload is to follow. */
static bool open_gpu(struct nvml_calls *nvml, const unsigned char uuid[16], uint64_t total_bytes, nvml_device *device,
                     struct nvml_memory_info *memory)
{
    if (!nvml_load(nvml)) return false;
    if (ask(nvml, uuid, device, memory) && is_same(memory->total, total_bytes)) return true;
    nvml_unload(nvml);
    return false;
}

bool nvml_free_bytes(const unsigned char uuid[16], uint64_t total_bytes, uint64_t *free_bytes)
{
    struct nvml_calls nvml;
    struct nvml_memory_info memory;
    nvml_device device;
    if (!open_gpu(&nvml, uuid, total_bytes, &device, &memory)) return false;
    *free_bytes = memory.free;
    nvml_unload(&nvml);
    return true;
}

#define MOST_PROCESSES 64

static bool holds_more(const struct nvml_process *a, const struct nvml_process *b)
{
    return b->bytes == ULLONG_MAX || (a->bytes != ULLONG_MAX && a->bytes > b->bytes);
}

uint32_t nvml_holder(const unsigned char uuid[16], uint64_t total_bytes, struct nvml_holder *most)
{
    struct nvml_calls nvml;
    struct nvml_memory_info memory;
    struct nvml_process processes[MOST_PROCESSES];
    unsigned count = MOST_PROCESSES, largest = 0;
    nvml_device device;
    if (!open_gpu(&nvml, uuid, total_bytes, &device, &memory)) return 0;
    if (!nvml.processes || nvml.processes(device, &count, processes) != NVML_OK) count = 0;
    nvml_unload(&nvml);
    if (count == 0) return 0;
    for (unsigned i = 1; i < count; i++)
        if (holds_more(&processes[i], &processes[largest])) largest = i;
    *most = (struct nvml_holder){processes[largest].pid, processes[largest].bytes};
    return count;
}
