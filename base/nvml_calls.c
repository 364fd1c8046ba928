#include "nvml_calls.h"

#include <dlfcn.h>
#include <stddef.h>

static void find(void *library, const char *const names[2], void *slot)
{
    void *found = dlsym(library, names[0]);
    if (!found && names[1]) found = dlsym(library, names[1]);
    *(void **)slot = found;
}

static void find_all(struct nvml_calls *calls)
{
    const struct {
        const char *names[2]; /* the newer one first */
        void *slot;
    } wanted[] = {
        {{"nvmlInit_v2", NULL}, &calls->init},
        {{"nvmlShutdown", NULL}, &calls->shutdown},
        {{"nvmlDeviceGetHandleByPciBusId_v2", "nvmlDeviceGetHandleByPciBusId"}, &calls->by_bus_id},
        {{"nvmlDeviceGetHandleByUUID", NULL}, &calls->by_uuid},
        {{"nvmlDeviceGetUtilizationRates", NULL}, &calls->utilization},
        {{"nvmlDeviceGetMemoryInfo", NULL}, &calls->memory},
        {{"nvmlDeviceGetComputeRunningProcesses_v3", NULL}, &calls->processes},
        {{"nvmlDeviceGetPowerUsage", NULL}, &calls->power},
        {{"nvmlDeviceGetEnforcedPowerLimit", NULL}, &calls->power_limit},
        {{"nvmlDeviceGetTemperature", NULL}, &calls->temperature},
        {{"nvmlDeviceGetClockInfo", NULL}, &calls->clock},
        {{"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"}, &calls->throttled},
        {{"nvmlDeviceGetPcieThroughput", NULL}, &calls->pcie},
        {{"nvmlDeviceGetNvLinkState", NULL}, &calls->nvlink_state},
        {{"nvmlDeviceGetNvLinkRemotePciInfo_v2", "nvmlDeviceGetNvLinkRemotePciInfo"}, &calls->nvlink_remote_pci},
        {{"nvmlDeviceGetNvLinkRemoteDeviceType", NULL}, &calls->nvlink_remote_type},
        {{"nvmlGpmQueryDeviceSupport", NULL}, &calls->gpm_support},
        {{"nvmlGpmSampleAlloc", NULL}, &calls->gpm_alloc},
        {{"nvmlGpmSampleFree", NULL}, &calls->gpm_free},
        {{"nvmlGpmSampleGet", NULL}, &calls->gpm_sample},
        {{"nvmlGpmMetricsGet", NULL}, &calls->gpm_metrics},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) find(calls->library, wanted[i].names, wanted[i].slot);
}

bool nvml_load(struct nvml_calls *calls)
{
    *calls = (struct nvml_calls){.library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)};
    if (!calls->library) return false;
    find_all(calls);
    if (calls->init && calls->shutdown && calls->init() == NVML_OK) return true;
    dlclose(calls->library);
    *calls = (struct nvml_calls){0};
    return false;
}

void nvml_unload(struct nvml_calls *calls)
{
    if (!calls->library) return;
    calls->shutdown();
    dlclose(calls->library);
    *calls = (struct nvml_calls){0};
}
