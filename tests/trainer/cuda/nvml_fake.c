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

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device)
{
    *device = &nvml_fake;
    return nvml_fake.bus_id && strcmp(bus_id, nvml_fake.bus_id) == 0 ? 0 : 6;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2])
{
    (void)device;
    rates[0] = nvml_fake.busy;
    rates[1] = nvml_fake.busy / 2;
    nvml_fake.asked++;
    return 0;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts)
{
    (void)device;
    *milliwatts = nvml_fake.milliwatts;
    return nvml_fake.no_power;
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts)
{
    (void)device;
    *milliwatts = nvml_fake.limit;
    return nvml_fake.no_power;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius)
{
    (void)device;
    *celsius = nvml_fake.celsius;
    return sensor;
}

int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *megahertz)
{
    (void)device;
    *megahertz = nvml_fake.megahertz * (unsigned)clock;
    return 0;
}

/* Under its older name alone, as in older drivers. */
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    (void)device;
    *reasons = nvml_fake.reasons;
    return 0;
}

int nvmlDeviceGetPcieThroughput(void *device, int direction, unsigned *kilobytes)
{
    (void)device;
    *kilobytes = nvml_fake.kilobytes + (unsigned)direction;
    return 0;
}
