#include "host_gpus.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ascii.h"
#include "plan_words.h"
#include "units.h"

/* ---- Looking ---- */

#ifdef FATHOM_CUDA
#include "cuda_probe.h"

bool host_gpus_possible(void) { return cuda_has_driver(); }

static uint64_t free_before(const struct cuda_probe_device *device)
{
    uint64_t bytes = device->free_bytes + (device->beside_context ? machine_context_bytes() : 0);
    return bytes < device->total_bytes ? bytes : device->total_bytes;
}

void host_gpus_find(struct host_gpus *found)
{
    struct cuda_probe_device devices[HOST_MOST_GPUS];
    size_t count = 0;
    *found = (struct host_gpus){0};
    if (!cuda_probe(devices, HOST_MOST_GPUS, &count, &found->fault)) return;
    found->count = count < HOST_MOST_GPUS ? count : HOST_MOST_GPUS;
    if (count == 0) error_set(&found->fault, ERROR_FAILED, "CUDA sees no GPU here");
    for (size_t i = 0; i < found->count; i++) {
        const struct cuda_probe_device *device = &devices[i];
        memcpy(found->gpus[i].name, device->name, sizeof device->name);
        memcpy(found->gpus[i].bus_id, device->bus_id, sizeof device->bus_id);
        memcpy(found->gpus[i].uuid, device->uuid, sizeof device->uuid);
        found->gpus[i].memory_bytes = device->total_bytes;
        found->gpus[i].free_bytes = free_before(device);
        found->gpus[i].has_free = device->has_free;
        found->gpus[i].holders = device->holders;
        found->gpus[i].holder = device->holder;
        found->gpus[i].holder_bytes = device->holder_bytes;
        found->gpus[i].capability = (uint32_t)(device->major * 100 + device->minor * 10);
        found->gpus[i].processors = device->multiprocessors;
    }
}
#else
bool host_gpus_possible(void) { return false; }

void host_gpus_find(struct host_gpus *found)
{
    *found = (struct host_gpus){0};
    error_set(&found->fault, ERROR_FAILED, "this build has no CUDA");
}
#endif

/* ---- Planning for them ---- */

static struct machine_gpu describe(const struct host_gpus *found, size_t i, bool what_is_free)
{
    return (struct machine_gpu){.name = found->gpus[i].name,
                                .memory_bytes = found->gpus[i].memory_bytes,
                                .free_bytes =
                                    what_is_free && found->gpus[i].has_free ? found->gpus[i].free_bytes : UINT64_MAX,
                                .capability = found->gpus[i].capability,
                                .processors = found->gpus[i].processors,
                                .bus_id = found->gpus[i].bus_id};
}

static bool make_machine(const struct host_gpus *found, size_t most, bool what_is_free, struct machine *machine,
                         struct error *err)
{
    struct machine_gpu gpus[HOST_MOST_GPUS];
    size_t count = found->count < most ? found->count : most;
    for (size_t i = 0; i < count; i++) gpus[i] = describe(found, i, what_is_free);
    return machine_of_gpus(gpus, count, machine, err);
}

bool host_gpus_parse(const char *gpus, const struct host_gpus *found, size_t most, bool now, struct machine *machine,
                     struct error *err)
{
    struct host_gpus looked;
    if (!ascii_same(gpus, "auto")) return machine_parse(gpus, machine, err);
    if (!found) {
        host_gpus_find(&looked);
        found = &looked;
    }
    if (found->count == 0) return machine_parse(gpus, machine, err);
    return make_machine(found, most, now, machine, err);
}

static const struct device_spec *find_entry(const struct host_gpus *found, size_t i)
{
    const struct machine_gpu gpu = describe(found, i, false);
    return machine_gpu_entry(&gpu);
}

const char *host_gpus_name(const struct host_gpus *found, size_t i)
{
    const struct device_spec *entry = find_entry(found, i);
    return entry ? entry->name : found->gpus[i].name;
}

char *host_gpus_holders(const struct host_gpus *found, size_t i, char out[HOST_GPUS_HOLDERS])
{
    char bytes[UNITS_TEXT] = "some";
    uint32_t holders = found->gpus[i].holders;
    size_t used = 0;
    out[0] = '\0';
    if (holders == 0) return out;
    if (found->gpus[i].holder_bytes != UINT64_MAX) units_format_bytes(found->gpus[i].holder_bytes, bytes);
    used = (size_t)snprintf(out, HOST_GPUS_HOLDERS, "process %" PRIu32 " holds %s", found->gpus[i].holder, bytes);
    if (holders > 1)
        snprintf(out + used, HOST_GPUS_HOLDERS - used, ", %" PRIu32 " other%s the rest", holders - 1,
                 holders > 2 ? "s" : "");
    return out;
}

/* ---- Running a plan on them ---- */

static bool check_count(const struct host_gpus *found, const struct plan *plan, size_t wanted, struct error *err)
{
    char devices[160];
    words_devices(plan, devices, sizeof devices);
    if (found->count == 0)
        return error_set(
            err, ERROR_INPUT,
            "the plan is for GPUs (%s), which cannot be used: %s; --backend cpu runs it on virtual devices "
            "of this host",
            devices, found->fault.text);
    if (found->count >= wanted) return true;
    if (wanted != plan->device_count)
        return error_set(err, ERROR_INPUT, "%zu of the plan's GPUs (%s) are this host's, which has %zu (%s%s)", wanted,
                         devices, found->count, found->gpus[0].name, found->count > 1 ? " ..." : "");
    return error_set(err, ERROR_INPUT,
                     "the plan is for %zu GPUs (%s), and this host has %zu (%s%s); plan again with --gpus auto",
                     plan->device_count, devices, found->count, found->gpus[0].name, found->count > 1 ? " ..." : "");
}

static bool check_kind(const struct host_gpus *found, const struct plan_device *device, size_t i, struct error *err)
{
    const struct device_spec *planned = &device->spec, *known = catalogue_find(planned->name);
    char here[DEVICE_CAPABILITY], wanted[DEVICE_CAPABILITY];
    device_capability_words(found->gpus[i].capability, here);
    if (found->gpus[i].capability < DEVICE_LEAST_CAPABILITY)
        return error_set(err, ERROR_INPUT,
                         "GPU %zu is %s of compute capability %s; CUDA 13 serves 7.5 and later. --backend cpu runs the "
                         "plan on virtual devices of this host",
                         i, found->gpus[i].name, here);
    if (known && known != find_entry(found, i) && strcmp(planned->name, found->gpus[i].name) != 0)
        return error_set(err, ERROR_INPUT, "the plan is for %s, and GPU %zu is %s; plan again with --gpus auto",
                         planned->name, i, found->gpus[i].name);
    if (planned->capability == 0 || planned->capability == found->gpus[i].capability) return true;
    return error_set(
        err, ERROR_INPUT,
        "the plan is for %s of compute capability %s, and GPU %zu is %s of %s; plan again with --gpus auto",
        planned->name, device_capability_words(planned->capability, wanted), i, found->gpus[i].name, here);
}

static bool check_memory(const struct host_gpus *found, const struct plan *plan, const struct plan_device *device,
                         size_t i, struct error *err)
{
    uint64_t arena = plan->variants[device->variant].arena_bytes;
    uint64_t wanted = device->peak_bytes;
    uint64_t have = found->gpus[i].free_bytes, rest = wanted > arena ? wanted - arena : 0;
    char holders[HOST_GPUS_HOLDERS];
    char free_text[UNITS_TEXT], all[UNITS_TEXT], want[UNITS_TEXT], more[UNITS_TEXT],
        with[UNITS_TEXT + 64] = "a smaller batch";
    if (!found->gpus[i].has_free || wanted <= have) return true;
    host_gpus_holders(found, i, holders);
    uint64_t budget = have > rest ? (have - rest) >> 20 : 0;
    if (budget > 0) snprintf(with, sizeof with, "--budget %" PRIu64 "MiB or a smaller batch", budget);
    return error_set(
        err, ERROR_UNFIT,
        "GPU %zu (%s) has %s free of %s%s%s%s, and the plan takes %s, %s more; `fathom plan` with %s may fit", i,
        found->gpus[i].name, units_format_bytes(have, free_text), units_format_bytes(found->gpus[i].memory_bytes, all),
        *holders ? " (" : "", holders, *holders ? ")" : "", units_format_bytes(wanted, want),
        units_format_bytes(wanted - have, more), with);
}

bool host_gpus_run(const struct host_gpus *found, const struct plan *plan, size_t first, size_t count, size_t ordinal,
                   struct error *err)
{
    char words[WORDS_UNTRAINABLE];
    if (*words_untrainable(plan, words)) return error_set(err, ERROR_INPUT, "%s", words);
    TRY(check_count(found, plan, ordinal + count, err));
    for (size_t i = 0; i < count; i++) {
        const struct plan_device *device = &plan->devices[first + i];
        TRY(check_kind(found, device, ordinal + i, err) && check_memory(found, plan, device, ordinal + i, err));
    }
    return true;
}
