/* The driver's management library: the calls that are made, each under the newest of its names that is there. The toolkit has
 * no header of it on every machine, so what is used of its types stands here; names and layouts are NVML's, which keeps them. */
#ifndef FATHOM_NVML_CALLS_H
#define FATHOM_NVML_CALLS_H

#include <stdbool.h>

typedef struct nvml_device_handle *nvml_device;
enum { NVML_OK = 0 };
enum nvml_clock { NVML_CLOCK_SM = 1, NVML_CLOCK_MEMORY = 2 };
enum nvml_pcie { NVML_PCIE_SENT = 0, NVML_PCIE_RECEIVED = 1 };
struct nvml_utilization { unsigned gpu, memory; };            /* per cent of the last interval */
struct nvml_memory_info { unsigned long long total, free, used; };
struct nvml_process {
    unsigned pid;
    unsigned long long bytes; /* all ones: not known */
    unsigned instance, compute_instance;
};

#define NVML_MOST_NVLINKS 18
struct nvml_pci {
    char old_bus_id[16];
    unsigned domain, bus, device, ids, subsystem_ids;
    char bus_id[32];
};

typedef struct nvml_gpm_sample_handle *nvml_gpm_sample;
#define NVML_GPM_VERSION 1
#define NVML_GPM_MOST    98
struct nvml_gpm_support { unsigned version, supported; };
struct nvml_gpm_metric {
    unsigned id;
    int status;
    double value;
    const char *names[3]; /* short, long, unit */
};
/* Newer libraries have a longer table; they touch the first `count` entries alone. */
struct nvml_gpm_metrics {
    unsigned version, count;
    nvml_gpm_sample older, newer;
    struct nvml_gpm_metric metrics[NVML_GPM_MOST];
};

/* NULL: this driver does not have it, and what it would tell is unknown. The first two are always there. */
struct nvml_calls {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*by_bus_id)(const char *bus_id, nvml_device *device);
    int (*by_uuid)(const char *uuid, nvml_device *device);
    int (*utilization)(nvml_device device, struct nvml_utilization *rates);
    int (*memory)(nvml_device device, struct nvml_memory_info *memory);
    int (*processes)(nvml_device device, unsigned *count, struct nvml_process *processes); /* those that compute */
    int (*power)(nvml_device device, unsigned *milliwatts);
    int (*power_limit)(nvml_device device, unsigned *milliwatts);
    int (*temperature)(nvml_device device, int sensor, unsigned *celsius);
    int (*clock)(nvml_device device, int clock, unsigned *megahertz);
    int (*throttled)(nvml_device device, unsigned long long *reasons);
    int (*pcie)(nvml_device device, int direction, unsigned *kilobytes_per_second);
    int (*nvlink_state)(nvml_device device, unsigned link, unsigned *active);
    int (*nvlink_remote_pci)(nvml_device device, unsigned link, struct nvml_pci *pci);
    int (*nvlink_remote_type)(nvml_device device, unsigned link, int *type); /* 0 GPU, 2 switch */
    int (*gpm_support)(nvml_device device, struct nvml_gpm_support *support);
    int (*gpm_alloc)(nvml_gpm_sample *sample);
    int (*gpm_free)(nvml_gpm_sample sample);
    int (*gpm_sample)(nvml_device device, nvml_gpm_sample sample);
    int (*gpm_metrics)(struct nvml_gpm_metrics *metrics);
};

/* False where it is not there, or cannot be used. Given back with nvml_unload. */
bool nvml_load(struct nvml_calls *calls);
void nvml_unload(struct nvml_calls *calls);

#endif
