/* A management library that knows one GPU: the stand-in's first, by its number. */
#include "nvml_fake.h"

#include <string.h>

struct nvml_fake nvml_fake = {.uuid = "GPU-41000000-0000-0000-0000-000000000000"};

int nvmlInit_v2(void)
{
    nvml_fake.open++;
    return nvml_fake.fails;
}

int nvmlShutdown(void)
{
    nvml_fake.open--;
    return 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    *device = &nvml_fake;
    return strcmp(uuid, nvml_fake.uuid) == 0 ? 0 : 6; /* not found */
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3])
{
    (void)device;
    memory[0] = nvml_fake.total_bytes;
    memory[1] = nvml_fake.free_bytes;
    memory[2] = nvml_fake.total_bytes - nvml_fake.free_bytes;
    return 0;
}
