/* From GPUs as their driver tells of them to devices that plans are made for. */
#include <stdio.h>
#include <string.h>

#include "machine.h"
#include "machine_private.h"
#include "overheads.h"
#include "topology.h"

/* A slice of a card (MIG) has its name, and less memory. */
const struct device_spec *machine_gpu_entry(const struct machine_gpu *gpu)
{
    const struct device_spec *known = catalogue_find_sized(gpu->name, gpu->memory_bytes);
    if (!known || known->capability != gpu->capability) return NULL;
    double part = (double)gpu->memory_bytes / (double)known->memory_bytes;
    return part > 0.85 && part < 1.15 ? known : NULL;
}

static bool unknown_gpu(const struct machine_gpu *gpu, struct device_spec *spec, struct error *err)
{
    char name[DEVICE_NAME];
    snprintf(name, sizeof name, "%.*s", DEVICE_NAME - 1, gpu->name);
    TRY(machine_generic_gpu(name, gpu->memory_bytes, spec, err));
    spec->capability = gpu->capability;
    spec->processors = gpu->processors;
    spec->source = "CUDA, on this host; speed unknown";
    return true;
}

uint64_t machine_context_bytes(void) { return CUDA_CONTEXT_BYTES; }

/* What the driver holds back is known here, and what others hold. */
static void set_memory(const struct machine_gpu *gpu, struct device_spec *spec)
{
    uint64_t held = gpu->free_bytes < gpu->memory_bytes ? gpu->memory_bytes - gpu->free_bytes : 0;
    if (spec->memory_bytes < gpu->memory_bytes) spec->memory_bytes = gpu->memory_bytes;
    spec->reserve_bytes = spec->memory_bytes - gpu->memory_bytes + held + GPU_MARGIN_BYTES;
    if (spec->reserve_bytes > spec->memory_bytes) spec->reserve_bytes = spec->memory_bytes;
}

static bool add_gpu(struct machine *machine, const struct machine_gpu *gpu, struct error *err)
{
    const struct device_spec *known = machine_gpu_entry(gpu);
    struct device_spec spec;
    if (known)
        spec = *known;
    else
        TRY(unknown_gpu(gpu, &spec, err));
    set_memory(gpu, &spec);
    return machine_add(machine, &spec, 1, err);
}

static void join_gpus(const struct machine_gpu *gpus, struct machine *machine)
{
    const char *bus_ids[HOST_MOST_GPUS];
    if (machine->device_count > HOST_MOST_GPUS) return;
    for (size_t i = 0; i < machine->device_count; i++) bus_ids[i] = gpus[i].bus_id;
    topology_join_host(bus_ids, machine);
}

bool machine_of_gpus(const struct machine_gpu *gpus, size_t count, struct machine *machine, struct error *err)
{
    struct machine found = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) ok = add_gpu(&found, &gpus[i], err);
    ok = ok && machine_complete(&found, err);
    if (!ok) {
        machine_finish(&found);
        return false;
    }
    machine_fill_link(&found);
    join_gpus(gpus, &found);
    *machine = found;
    return true;
}

void machine_join_slots(struct machine *machine)
{
    struct host host;
    struct error unsaid = {0};
    const char *bus_ids[HOST_MOST_GPUS];
    if (!host_read(&host, &unsaid) || host.gpu_count != machine->device_count) return;
    for (uint32_t i = 0; i < host.gpu_count; i++) bus_ids[i] = host.gpus[i].bus_id;
    topology_join_host(bus_ids, machine);
}
