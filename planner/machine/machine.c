#include "machine.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "machine_private.h"
#include "mem.h"
#include "overheads.h"
#include "units.h"

#define LEAST_GPU_BYTES (64 * MIB)
#define MOST_GPU_BYTES  (1ull << 50)

bool machine_generic_gpu(const char *name, uint64_t memory_bytes, struct device_spec *spec, struct error *err)
{
    if (memory_bytes < LEAST_GPU_BYTES || memory_bytes > MOST_GPU_BYTES)
        return error_set(err, ERROR_INPUT, "--gpus: '%s' is %" PRIu64 " bytes; a GPU has from 64MiB to 1024TiB", name,
                         memory_bytes);
    *spec = (struct device_spec){.kind = DEVICE_GPU,
                                 .memory_bytes = memory_bytes,
                                 .context_bytes = CUDA_CONTEXT_BYTES + LIBRARY_BYTES_HOPPER,
                                 .comm_bytes = NCCL_CHANNELS_NVLINK * NCCL_CHANNEL_BYTES,
                                 .reserve_bytes = memory_bytes / GENERIC_RESERVE_DIVISOR,
                                 .workspace_bytes = GPU_WORKSPACE_BYTES,
                                 .source = "a size alone; speed unknown"};
    snprintf(spec->name, sizeof spec->name, "%s", name);
    return true;
}

uint64_t machine_comm_bytes(const struct device_spec *spec)
{
    const struct device_spec *known = catalogue_find(spec->name);
    if (spec->kind == DEVICE_CPU || spec->comm_bytes > 0) return spec->comm_bytes;
    return known ? known->comm_bytes : NCCL_CHANNELS_NVLINK * NCCL_CHANNEL_BYTES;
}

uint64_t cpu_reserve_bytes(uint64_t memory_bytes)
{
    uint64_t part = memory_bytes / CPU_RESERVE_DIVISOR;
    return part < CPU_MOST_RESERVE_BYTES ? part : CPU_MOST_RESERVE_BYTES;
}

bool machine_add(struct machine *machine, const struct device_spec *spec, uint64_t count, struct error *err)
{
    if (count > MACHINE_MOST_DEVICES - machine->device_count)
        return error_set(err, ERROR_INPUT, "--gpus: more than %d devices; at most that many are planned for",
                         MACHINE_MOST_DEVICES);
    size_t total = machine->device_count + (size_t)count;
    struct device_spec *grown = mem_resize(MEM_PLAN, machine->devices, total, sizeof *grown);
    if (!grown) return error_memory(err, total * sizeof *grown, "the devices of --gpus");
    machine->devices = grown;
    for (; machine->device_count < total; machine->device_count++) grown[machine->device_count] = *spec;
    return true;
}

bool machine_complete(struct machine *machine, struct error *err)
{
    size_t cpus = 0;
    for (size_t i = 0; i < machine->device_count; i++) cpus += machine->devices[i].kind == DEVICE_CPU;
    if (cpus > 0 && cpus < machine->device_count)
        return error_set(err, ERROR_INPUT, "--gpus: cpu and GPUs cannot share a step; name one kind");
    if (machine->device_count == 1) machine->devices[0].comm_bytes = 0;
    return true;
}

bool machine_of_devices(const struct device_spec *devices, size_t count, struct machine *machine, struct error *err)
{
    struct machine found = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) ok = machine_add(&found, &devices[i], 1, err);
    ok = ok && machine_complete(&found, err);
    if (!ok) {
        machine_finish(&found);
        return false;
    }
    machine_fill_link(&found);
    *machine = found;
    return true;
}

const char *device_kind_name(enum device_kind kind) { return kind == DEVICE_CPU ? "cpu" : "gpu"; }

char *device_capability_words(uint32_t capability, char out[DEVICE_CAPABILITY])
{
    snprintf(out, DEVICE_CAPABILITY, "%" PRIu32 ".%" PRIu32, capability / 100 % 100, capability / 10 % 10);
    return out;
}

bool device_capability_of(double number, uint32_t *capability)
{
    double tenths = number * 10;
    if (!(number >= 0 && number < 100) || fabs(tenths - nearbyint(tenths)) > 1e-6) return false;
    *capability = (uint32_t)nearbyint(tenths) * 10;
    return true;
}

bool device_same_memory(const struct device_spec *a, const struct device_spec *b)
{
    return a->kind == b->kind && a->memory_bytes == b->memory_bytes && a->context_bytes == b->context_bytes &&
           a->comm_bytes == b->comm_bytes && a->reserve_bytes == b->reserve_bytes && a->op_bytes == b->op_bytes &&
           a->kernel_bytes == b->kernel_bytes && a->workspace_bytes == b->workspace_bytes &&
           a->cudnn_version == b->cudnn_version;
}

bool device_same_speed(const struct device_spec *a, const struct device_spec *b)
{
    return a->flops_f32 == b->flops_f32 && a->flops_f16 == b->flops_f16 && a->bandwidth == b->bandwidth &&
           a->launch_seconds == b->launch_seconds && a->processors == b->processors &&
           a->host_bandwidth == b->host_bandwidth;
}

void machine_finish(struct machine *machine)
{
    mem_free(machine->devices);
    mem_free(machine->text);
    *machine = (struct machine){0};
}
