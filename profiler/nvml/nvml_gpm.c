#include "nvml_gpm.h"

#include <stddef.h>

/* NVML_GPM_METRIC_SM_UTIL, _SM_OCCUPANCY, _ANY_TENSOR_UTIL, _DRAM_BW_UTIL; _NVLINK_TOTAL_TX_PER_SEC and _RX_ in MiB. */
static const struct {
    unsigned id;
    double scale, most;
} metrics_read[GPM_VALUES] = {
    [GPM_SM] = {2, 1, 100},    [GPM_OCCUPANCY] = {3, 1, 100},         [GPM_TENSOR] = {5, 1, 100},
    [GPM_DRAM] = {10, 1, 100}, [GPM_LINKS_SENT] = {61, 1 << 20, 1e9}, [GPM_LINKS_RECEIVED] = {60, 1 << 20, 1e9}};

static bool has_calls(const struct nvml_calls *calls)
{
    return calls->gpm_support && calls->gpm_alloc && calls->gpm_free && calls->gpm_sample && calls->gpm_metrics;
}

static bool begin(struct nvml_gpm *gpm, const struct nvml_calls *calls, nvml_device device)
{
    struct nvml_gpm_support support = {.version = NVML_GPM_VERSION};
    if (gpm->samples[0]) return true;
    if (!has_calls(calls) || calls->gpm_support(device, &support) != NVML_OK || !support.supported) return false;
    for (int i = 0; i < 2; i++)
        if (calls->gpm_alloc(&gpm->samples[i]) != NVML_OK) return false;
    return true;
}

void nvml_gpm_rest(struct nvml_gpm *gpm, const struct nvml_calls *calls)
{
    for (int i = 0; i < 2; i++) {
        if (gpm->samples[i]) calls->gpm_free(gpm->samples[i]);
        gpm->samples[i] = NULL;
    }
    gpm->primed = false;
}

static bool read_metrics(const struct nvml_gpm *gpm, const struct nvml_calls *calls, double values[GPM_VALUES],
                         bool known[GPM_VALUES])
{
    struct nvml_gpm_metrics metrics = {.version = NVML_GPM_VERSION, .count = GPM_VALUES};
    bool any = false;
    metrics.older = gpm->samples[gpm->older];
    metrics.newer = gpm->samples[1 - gpm->older];
    for (int i = 0; i < GPM_VALUES; i++) metrics.metrics[i].id = metrics_read[i].id;
    if (calls->gpm_metrics(&metrics) != NVML_OK) return false;
    for (int i = 0; i < GPM_VALUES; i++) {
        double value = metrics.metrics[i].value;
        values[i] = value * metrics_read[i].scale;
        known[i] = metrics.metrics[i].status == NVML_OK && value >= 0 && value <= metrics_read[i].most;
        any = any || known[i];
    }
    return any;
}

bool nvml_gpm_look(struct nvml_gpm *gpm, const struct nvml_calls *calls, nvml_device device, double values[GPM_VALUES],
                   bool known[GPM_VALUES])
{
    for (int i = 0; i < GPM_VALUES; i++) known[i] = false;
    if (gpm->off) return false;
    if (!begin(gpm, calls, device) || calls->gpm_sample(device, gpm->samples[1 - gpm->older]) != NVML_OK) {
        nvml_gpm_rest(gpm, calls);
        gpm->off = true;
        return false;
    }
    bool any = gpm->primed && read_metrics(gpm, calls, values, known);
    gpm->older = 1 - gpm->older;
    gpm->primed = true;
    return any;
}
