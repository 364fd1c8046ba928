/* How much of a GPU works, from its own performance counters (Hopper and newer): differences of two samples. The counters are
 * shared with others who profile (DCGM), so they are touched only while somebody looks. */
#ifndef FATHOM_NVML_GPM_H
#define FATHOM_NVML_GPM_H

#include "nvml_calls.h"

/* Per cent of the time between two samples, and bytes a second over all NVLinks; each with a valid bit of its own. */
enum gpm_value { GPM_SM, GPM_OCCUPANCY, GPM_TENSOR, GPM_DRAM, GPM_LINKS_SENT, GPM_LINKS_RECEIVED, GPM_VALUES };

struct nvml_gpm {
    bool off;               /* the GPU or the driver has none, or a call failed */
    nvml_gpm_sample samples[2];
    unsigned older;         /* where the last sample is */
    bool primed;            /* there is one */
};

/* One look, from which on the next one tells what was between. Returns whether anything is known. */
bool nvml_gpm_look(struct nvml_gpm *gpm, const struct nvml_calls *calls, nvml_device device, double values[GPM_VALUES],
                   bool known[GPM_VALUES]);
/* Nobody looks any more: what the next look tells begins there. Gives the samples back. */
void nvml_gpm_rest(struct nvml_gpm *gpm, const struct nvml_calls *calls);

#endif
