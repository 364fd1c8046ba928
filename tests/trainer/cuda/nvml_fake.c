/* A management library that knows one GPU: the stand-in's first, by its number. */
#include "nvml_fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nvml_fake nvml_fake = {.uuid = "GPU-41000000-0000-0000-0000-000000000000"};

/* Of a program that a test starts: FATHOM_NVML_FAKE is the GPU's bytes, how many of them are free, a process, and what
 * it holds. */
static void take_environment(void)
{
    const char *text = getenv("FATHOM_NVML_FAKE");
    struct nvml_fake_process *first = &nvml_fake.processes[0];
    if (text && sscanf(text, "%llu,%llu,%u,%llu", &nvml_fake.total_bytes, &nvml_fake.free_bytes, &first->pid,
                       &first->bytes) == 4)
        nvml_fake.process_count = 1;
}

int nvmlInit_v2(void)
{
    take_environment();
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

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct nvml_fake_process *processes)
{
    (void)device;
    if (*count < nvml_fake.process_count) return 7; /* too little room */
    *count = nvml_fake.process_count;
    memcpy(processes, nvml_fake.processes, nvml_fake.process_count * sizeof *processes);
    return 0;
}

/* ---- NVLinks: FATHOM_NVML_LINKS is "switch*18", as many of every GPU to switches, or "BUS=BUS*4 BUS=BUS*2 ...", from
 * one to the other ---- */

static char linked[16][16]; /* GPUs that were asked for, by bus id */

static int find_linked(const char *bus_id, void **device)
{
    for (int i = 0; i < 16; i++) {
        if (linked[i][0] && strcmp(linked[i], bus_id) != 0) continue;
        snprintf(linked[i], sizeof linked[i], "%s", bus_id);
        *device = linked[i];
        return 0;
    }
    return 6;
}

/* The other end of a GPU's link: a bus id, "switch" or "". */
static void find_end(const char *bus_id, unsigned link, char end[16])
{
    const char *at = getenv("FATHOM_NVML_LINKS");
    char from[16], to[16];
    unsigned count;
    int length;
    end[0] = '\0';
    if (sscanf(at, "switch*%u", &count) == 1) {
        if (link < count) strcpy(end, "switch");
        return;
    }
    for (; sscanf(at, " %15[^=]=%15[^*]*%u%n", from, to, &count, &length) == 3; at += length) {
        const char *other = strcmp(from, bus_id) == 0 ? to : strcmp(to, bus_id) == 0 ? from : NULL;
        if (other && link < count) {
            strcpy(end, other);
            return;
        }
        if (other) link -= count;
    }
}

int nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *active)
{
    char end[16];
    if (!getenv("FATHOM_NVML_LINKS")) return 3; /* not supported */
    find_end(device, link, end);
    *active = end[0] != '\0';
    return 0;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(void *device, unsigned link, int *type)
{
    char end[16];
    find_end(device, link, end);
    *type = strcmp(end, "switch") == 0 ? 2 : 0;
    return 0;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, struct nvml_fake_pci *pci)
{
    char end[16];
    find_end(device, link, end);
    return sscanf(end, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device) == 3 ? 0 : 6;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device)
{
    if (getenv("FATHOM_NVML_LINKS")) return find_linked(bus_id, device);
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

/* ---- GPM: a sample counts what has been since the first one; a metric is the difference of two ---- */

int nvmlGpmQueryDeviceSupport(void *device, unsigned support[2])
{
    (void)device;
    nvml_fake.gpm_asked++;
    if (support[0] != 1) return 2; /* another version */
    support[1] = (unsigned)nvml_fake.gpm;
    return 0;
}

int nvmlGpmSampleAlloc(void **sample)
{
    *sample = calloc(1, sizeof(double));
    nvml_fake.gpm_open++;
    return 0;
}

int nvmlGpmSampleFree(void *sample)
{
    free(sample);
    nvml_fake.gpm_open--;
    return 0;
}

int nvmlGpmSampleGet(void *device, void *sample)
{
    (void)device;
    int number = __atomic_add_fetch(&nvml_fake.gpm_samples, 1, __ATOMIC_RELAXED);
    if (nvml_fake.gpm_fails_after && number > nvml_fake.gpm_fails_after) return 999;
    *(double *)sample = number;
    return 0;
}

/* 80 % of SMs and half of the tensor cores were active, DRAM was not; of occupancy it says nothing. Over NVLinks 300
 * MiB a second went and 200 came. */
int nvmlGpmMetricsGet(struct nvml_fake_gpm *get)
{
    if (get->version != 1) return 2;
    double between = *(double *)get->newer - *(double *)get->older;
    if (between <= 0) return 2;
    for (unsigned i = 0; i < get->count; i++) {
        unsigned id = get->metrics[i].id;
        get->metrics[i].status = id == 3 ? 3 : 0;
        get->metrics[i].value = id == 2 ? 80 : id == 5 ? 50 : id == 60 ? 200 : id == 61 ? 300 : 0;
    }
    return 0;
}
