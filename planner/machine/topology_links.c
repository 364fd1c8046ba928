/* NVLinks, as the driver's library tells of them. */
#include <stdio.h>
#include <string.h>

#include "nvml_calls.h"
#include "topology.h"

enum { REMOTE_GPU = 0, REMOTE_SWITCH = 2 };

static void note_link(struct topology *t, const struct nvml_calls *nvml, nvml_device device, uint32_t gpu,
                      unsigned link)
{
    unsigned active = 0;
    int remote = REMOTE_GPU;
    struct nvml_pci pci = {0};
    if (nvml->nvlink_state(device, link, &active) != NVML_OK || !active) return;
    if (nvml->nvlink_remote_type && nvml->nvlink_remote_type(device, link, &remote) == NVML_OK &&
        remote == REMOTE_SWITCH) {
        t->switched[gpu]++;
        return;
    }
    if (remote != REMOTE_GPU || nvml->nvlink_remote_pci(device, link, &pci) != NVML_OK) return;
    char bus_id[sizeof((struct topology_place *)0)->bus_id];
    snprintf(bus_id, sizeof bus_id, "%04x:%02x:%02x.0", pci.domain & 0xffffu, pci.bus & 0xffu, pci.device & 0xffu);
    uint32_t other = topology_gpu(t, bus_id);
    if (other != TOPOLOGY_NONE && other != gpu) t->nvlinks[gpu][other]++;
}

void topology_find_nvlinks(struct topology *t)
{
    struct nvml_calls nvml;
    if (t->gpu_count == 0 || !nvml_load(&nvml)) return;
    for (uint32_t gpu = 0; gpu < t->gpu_count && nvml.by_bus_id && nvml.nvlink_state && nvml.nvlink_remote_pci; gpu++) {
        nvml_device device;
        if (nvml.by_bus_id(t->places[t->gpus[gpu]].bus_id, &device) != NVML_OK) continue;
        t->nvlinks_known = true;
        for (unsigned link = 0; link < NVML_MOST_NVLINKS; link++) note_link(t, &nvml, device, gpu, link);
    }
    nvml_unload(&nvml);
}
