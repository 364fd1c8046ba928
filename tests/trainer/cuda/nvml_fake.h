/* What a test says that the driver's management library knows. */
#ifndef FATHOM_NVML_FAKE_H
#define FATHOM_NVML_FAKE_H

struct nvml_fake_process {
    unsigned pid;
    unsigned long long bytes;
    unsigned instance, compute_instance;
};
struct nvml_fake {
    const char *uuid;
    unsigned long long total_bytes, free_bytes;
    int fails; /* what its beginning returns; 0 = it begins */
    int open;  /* beginnings without an end */
    const char *bus_id;
    unsigned busy, milliwatts, limit, celsius, megahertz, kilobytes;
    unsigned long long reasons;
    int no_power; /* what asking for power returns */
    int asked;    /* how often it was */
    int gpm;      /* the GPU has performance counters */
    int gpm_asked, gpm_samples, gpm_open; /* whether it has; samples taken; samples that are held */
    int gpm_fails_after;                  /* so many samples; 0 = never */
    unsigned process_count;
    struct nvml_fake_process processes[4];
};
extern struct nvml_fake nvml_fake;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device);
struct nvml_fake_pci {
    char old_bus_id[16];
    unsigned domain, bus, device, ids, subsystem_ids;
    char bus_id[32];
};
int nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *active);
int nvmlDeviceGetNvLinkRemoteDeviceType(void *device, unsigned link, int *type);
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, struct nvml_fake_pci *pci);
int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts);
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius);
int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *megahertz);
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons);
struct nvml_fake_gpm {
    unsigned version, count;
    void *older, *newer;
    struct {
        unsigned id;
        int status;
        double value;
        const char *names[3];
    } metrics[98];
};
int nvmlGpmQueryDeviceSupport(void *device, unsigned support[2]);
int nvmlGpmSampleAlloc(void **sample);
int nvmlGpmSampleFree(void *sample);
int nvmlGpmSampleGet(void *device, void *sample);
int nvmlGpmMetricsGet(struct nvml_fake_gpm *metrics);
int nvmlDeviceGetPcieThroughput(void *device, int direction, unsigned *kilobytes);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct nvml_fake_process *processes);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]);

#endif
