#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ascii.h"
#include "backends.h"
#include "command.h"
#include "devices_tree.h"
#include "host_gpus.h"
#include "json.h"
#include "json_print.h"
#include "machine.h"
#include "page.h"
#include "outputs.h"
#include "printable.h"
#include "text.h"
#include "units.h"

/* What the process may use, and what allows no more where that is not the machine itself. */
static void print_limits(const struct host *host)
{
    char bytes[UNITS_TEXT];
    const struct limits *limits = &host->limits;
    printf("  processors %" PRIu32, host->processors);
    if (*limits->processors.source) printf(", limited by %s", PRINTABLE(limits->processors.source));
    printf("\n  memory     %s",
           limits->memory.amount == UINT64_MAX ? "unknown" : units_format_bytes(limits->memory.amount, bytes));
    if (*limits->memory.source) printf(", limited by %s", PRINTABLE(limits->memory.source));
    if (limits->available.amount != UINT64_MAX)
        printf("; %s free", units_format_bytes(limits->available.amount, bytes));
    putchar('\n');
}

static uint32_t numa_node_of(const struct host *host, const char *bus_id)
{
    for (uint32_t i = 0; i < host->gpu_count; i++)
        if (ascii_same(host->gpus[i].bus_id, bus_id)) return host->gpus[i].numa_node;
    return UINT32_MAX;
}

static void print_gpus(const struct host *host, const struct host_gpus *gpus)
{
    for (size_t i = 0; i < gpus->count; i++) {
        char capability[DEVICE_CAPABILITY], left[UNITS_TEXT], all[UNITS_TEXT], holders[HOST_GPUS_HOLDERS];
        const char *name = host_gpus_name(gpus, i);
        uint32_t node = numa_node_of(host, gpus->gpus[i].bus_id);
        struct text text = {0};
        text_add(&text, "GPU %zu: %s, compute capability %s", i, gpus->gpus[i].name,
                 device_capability_words(gpus->gpus[i].capability, capability));
        units_format_bytes(gpus->gpus[i].memory_bytes, all);
        if (gpus->gpus[i].has_free)
            text_add(&text, ", %s of %s free", units_format_bytes(gpus->gpus[i].free_bytes, left), all);
        else
            text_add(&text, ", %s, in use by another process alone", all);
        if (*host_gpus_holders(gpus, i, holders)) text_add(&text, " (%s)", holders);
        if (node != UINT32_MAX) text_add(&text, ", on NUMA node %" PRIu32, node);
        if (strcmp(name, gpus->gpus[i].name) == 0)
            text_add(&text, ", not in the catalogue");
        else
            text_add(&text, ", planned for as %s", name);
        if (gpus->gpus[i].capability < DEVICE_LEAST_CAPABILITY)
            text_add(&text, "; `fathom train` needs compute capability 7.5");
        page_text(stdout, 2, 4, &text);
    }
}

/* What the PCI bus tells of, where CUDA tells nothing. */
static void print_slots(const struct host *host, const struct host_gpus *gpus)
{
    for (uint32_t i = 0; i < host->gpu_count; i++) {
        const struct host_gpu *gpu = &host->gpus[i];
        const struct device_spec *known = catalogue_find(gpu->name);
        printf("  GPU %" PRIu32 ": %s", i, PRINTABLE(gpu->name));
        if (gpu->numa_node != UINT32_MAX) printf(", on NUMA node %" PRIu32, gpu->numa_node);
        printf("%s%s\n", known ? ", planned for as " : ", not in the catalogue", known ? known->name : "");
    }
    if (host->gpu_count > 0)
        page_say(stdout, 2, 4, "`fathom train` cannot use %s: %s", host->gpu_count == 1 ? "it" : "them",
                 gpus->fault.text);
    else
        puts("  no GPU: --gpus auto plans for the CPU");
}

static void print_host(const struct host *host, const struct host_gpus *gpus)
{
    printf("this host\n  %s: %" PRIu32 " core%s, %" PRIu32 " package%s, %" PRIu32 " NUMA node%s\n",
           PRINTABLE(host->cpu), host->cores, host->cores == 1 ? "" : "s", host->packages,
           host->packages == 1 ? "" : "s", host->numa_nodes, host->numa_nodes == 1 ? "" : "s");
    print_limits(host);
    if (gpus->count > 0)
        print_gpus(host, gpus);
    else
        print_slots(host, gpus);
}

#define LONGEST_SOURCE 60

/* Where the figures come from only on a wide terminal. */
static void print_catalogue(void)
{
    size_t count;
    const struct device_spec *entries = catalogue_entries(&count);
    bool wide = page_columns() >= PAGE_COLUMNS + LONGEST_SOURCE;
    printf("\ncatalogue\n  %-11s %9s %9s %4s %6s %6s %8s %8s %8s%s\n", "name", "memory", "usable", "CC", "f32", "f16",
           "memory/s", "link/s", "host/s", wide ? "  source" : "");
    for (size_t i = 0; i < count; i++) {
        const struct device_spec *e = &entries[i];
        char memory[UNITS_TEXT], usable[UNITS_TEXT], f32[UNITS_TEXT], f16[UNITS_TEXT], speed[UNITS_TEXT],
            link[UNITS_TEXT], slot[UNITS_TEXT], capability[DEVICE_CAPABILITY];
        printf("  %-11s %9s %9s %4s %6s %6s %7sB %7sB %7sB%s%s\n", e->name, units_format_bytes(e->memory_bytes, memory),
               units_format_bytes(e->memory_bytes - e->reserve_bytes - e->context_bytes, usable),
               device_capability_words(e->capability, capability), units_format_si(e->flops_f32, f32),
               units_format_si(e->flops_f16, f16), units_format_si(e->bandwidth, speed),
               units_format_si(e->link_bandwidth, link), units_format_si(e->host_bandwidth, slot), wide ? "  " : "",
               wide ? e->source : "");
    }
    putchar('\n');
    page_say(stdout, 2, 2,
             "usable: without what the driver holds back, the context and the libraries; CC: compute capability, from "
             "7.5 on "
             "`fathom train` runs there; f32, f16: FLOP/s at most; "
             "link, host: to a peer and to pinned host memory, per direction%s",
             wide ? "" : "; --json also has each figure's source");
}

/* null: unknown, or nothing but the machine itself. */
static json_t *amount_json(const struct limit *limit)
{
    return limit->amount == UINT64_MAX ? json_null() : json_integer((json_int_t)limit->amount);
}

static json_t *source_json(const struct limit *limit)
{
    return *limit->source ? json_text(limit->source) : json_null();
}

static json_t *bytes_or_null(uint64_t bytes, bool known)
{
    return known ? json_integer((json_int_t)bytes) : json_null();
}

static json_t *node_json(uint32_t node) { return node == UINT32_MAX ? json_null() : json_integer(node); }

/* Who computes there; null = none, or not known. */
static json_t *holders_json(const struct host_gpus *gpus, size_t i)
{
    if (gpus->gpus[i].holders == 0) return json_null();
    return json_pack("{s:I, s:I, s:o}", "processes", (json_int_t)gpus->gpus[i].holders, "largest",
                     (json_int_t)gpus->gpus[i].holder, "largest_bytes",
                     bytes_or_null(gpus->gpus[i].holder_bytes, gpus->gpus[i].holder_bytes != UINT64_MAX));
}

/* As CUDA sees them. */
static json_t *gpus_json(const struct host *host, const struct host_gpus *gpus)
{
    json_t *list = json_array();
    for (size_t i = 0; i < gpus->count; i++) {
        const char *name = host_gpus_name(gpus, i);
        bool known = strcmp(name, gpus->gpus[i].name) != 0;
        json_array_append_new(
            list, json_pack("{s:o, s:I, s:o, s:f, s:o, s:o, s:o, s:o}", "name", json_text(gpus->gpus[i].name),
                            "memory_bytes", (json_int_t)gpus->gpus[i].memory_bytes, "free_bytes",
                            bytes_or_null(gpus->gpus[i].free_bytes, gpus->gpus[i].has_free), "compute_capability",
                            gpus->gpus[i].capability / 100.0, "bus_id", json_text(gpus->gpus[i].bus_id), "numa_node",
                            node_json(numa_node_of(host, gpus->gpus[i].bus_id)), "catalogue",
                            known ? json_string(name) : json_null(), "holders", holders_json(gpus, i)));
    }
    return list;
}

/* What the PCI bus tells of, where CUDA sees none: null stands for what is not known. */
static json_t *slots_json(const struct host *host, const struct host_gpus *gpus)
{
    json_t *list = json_array();
    for (uint32_t i = 0; gpus->count == 0 && i < host->gpu_count; i++) {
        const struct host_gpu *gpu = &host->gpus[i];
        const struct device_spec *known = catalogue_find(gpu->name);
        json_array_append_new(list, json_pack("{s:o, s:o, s:s, s:o, s:o}", "name", json_text(gpu->name), "memory_bytes",
                                              bytes_or_null(gpu->memory_bytes, gpu->memory_bytes > 0), "bus_id",
                                              gpu->bus_id, "numa_node", node_json(gpu->numa_node), "catalogue",
                                              known ? json_string(known->name) : json_null()));
    }
    return list;
}

static json_t *host_json(const struct host *host, const struct host_gpus *gpus, const struct topology *topology)
{
    const struct limits *limits = &host->limits;
    return json_pack("{s:o, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "cpu",
                     json_text(host->cpu), "cores", (int)host->cores, "packages", (int)host->packages, "numa_nodes",
                     (int)host->numa_nodes, "processors", (int)host->processors, "processors_limited_by",
                     source_json(&limits->processors), "memory_bytes", amount_json(&limits->memory),
                     "memory_limited_by", source_json(&limits->memory), "free_bytes", amount_json(&limits->available),
                     "gpus", gpus_json(host, gpus), "unusable_gpus", slots_json(host, gpus), "cuda_fault",
                     gpus->count ? json_null() : json_text(gpus->fault.text), "topology", devices_tree_json(topology),
                     "links", devices_links_json(topology, gpus));
}

static json_t *catalogue_json(void)
{
    size_t count;
    const struct device_spec *entries = catalogue_entries(&count);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct device_spec *e = &entries[i];
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s}", "name", e->name,
                            "memory_bytes", (json_int_t)e->memory_bytes, "context_bytes", (json_int_t)e->context_bytes,
                            "comm_bytes", (json_int_t)e->comm_bytes, "reserve_bytes", (json_int_t)e->reserve_bytes,
                            "workspace_bytes", (json_int_t)e->workspace_bytes, "compute_capability",
                            e->capability / 100.0, "flops_f32", e->flops_f32, "flops_f16", e->flops_f16, "bandwidth",
                            e->bandwidth, "launch_seconds", e->launch_seconds, "link_bandwidth", e->link_bandwidth,
                            "host_bandwidth", e->host_bandwidth, "source", e->source));
    }
    return list;
}

static bool print_json(const struct host *host, const struct host_gpus *gpus, const struct topology *topology,
                       struct error *err)
{
    json_t *root = json_pack("{s:o, s:o}", "host", host_json(host, gpus, topology), "catalogue", catalogue_json());
    return json_print(root, 0, stdout, err);
}

/* Writes the machine that --gpus names, for a person to correct by hand or to measure into. */
static bool write_machine(const char *gpus, const char *path, struct error *err)
{
    struct machine machine = {0};
    struct outputs outputs = {0};
    TRY(outputs_reads(&outputs, "--gpus", gpus, err) && outputs_writes(&outputs, "--output", path, err));
    bool ok =
        host_gpus_parse(gpus, NULL, HOST_MOST_GPUS, false, &machine, err) && machine_write_file(&machine, path, err);
    if (ok && machine.note) fprintf(stderr, "fathom devices: %s\n", machine.note);
    machine_finish(&machine);
    return ok;
}

/* What is taken with a small arena, less the arena. */
static bool measure(const struct backend *backend, uint32_t ordinal, struct device_memory *memory, struct error *err)
{
    const struct device_options options = {.number = ordinal, .ordinal = ordinal};
    struct device *device;
    TRY(backend->device_create(&options, 1 << 20, &device, err));
    bool ok = backend->memory_used(device, memory, err);
    backend->device_destroy(device);
    return ok;
}

static void print_measured(const struct host_gpus *gpus, size_t i, const struct device_memory *memory, uint64_t planned)
{
    char used[UNITS_TEXT], plan[UNITS_TEXT];
    units_format_bytes(memory->outside_bytes, used);
    units_format_bytes(planned, plan);
    if (memory->outside == DEVICE_OUTSIDE_KNOWN)
        page_say(stdout, 0, 2,
                 "GPU %zu (%s): its context and fathom's kernels take %s; for them and for cuDNN %s are planned "
                 "(context_bytes in a machine file)",
                 i, gpus->gpus[i].name, used, plan);
    else
        page_say(
            stdout, 0, 2,
            "GPU %zu (%s): fathom's kernels take %s; what its context takes is not known, as NVML is not there; for "
            "both and for cuDNN %s are planned (context_bytes in a machine file)",
            i, gpus->gpus[i].name, used, plan);
}

static bool calibrate(const struct host_gpus *gpus, struct error *err)
{
    const struct backend *backend = backends_for(DEVICE_GPU);
    struct machine machine = {0};
    if (gpus->count == 0 || !backend)
        return error_set(err, ERROR_FAILED, "--calibrate measures GPUs, and there is none: %s", gpus->fault.text);
    bool ok = host_gpus_parse("auto", gpus, HOST_MOST_GPUS, false, &machine, err);
    for (size_t i = 0; ok && i < gpus->count; i++) {
        struct device_memory memory;
        ok = measure(backend, (uint32_t)i, &memory, err);
        if (ok) print_measured(gpus, i, &memory, machine.devices[i].context_bytes);
    }
    machine_finish(&machine);
    return ok;
}

static int run(int argc, char **argv, struct error *err)
{
    bool json = false, wants_calibration = false;
    const char *gpus = NULL, *output = NULL;
    const struct option_spec specs[] = {{"json", 0, OPTION_FLAG, &json, 0, 0},
                                        {"calibrate", 0, OPTION_FLAG, &wants_calibration, 0, 0},
                                        {"gpus", 'g', OPTION_TEXT, &gpus, 0, 0},
                                        {"output", 'o', OPTION_OUTPUT, &output, 0, 0}};
    size_t words;
    struct host host;
    struct host_gpus found;
    if (!options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], NULL, 0, &words, err) ||
        !host_read(&host, err))
        return 1;
    if (gpus && !output) {
        error_set(err, ERROR_INPUT, "--gpus: found without -o FILE, the machine file to write it to");
        return 2;
    }
    if (output) return write_machine(gpus ? gpus : "auto", output, err) ? 0 : 1;
    host_gpus_find(&found);
    if (wants_calibration) return calibrate(&found, err) ? 0 : 1;
    struct topology topology;
    if (!topology_read(&topology, err)) return 1;
    bool ok = !json || print_json(&host, &found, &topology, err);
    if (!json) {
        print_host(&host, &found);
        devices_tree_print(&topology, &found);
        print_catalogue();
    }
    topology_finish(&topology);
    return ok ? 0 : 1;
}

static const char *const manual[] = {
    "NAME\n"
    "  fathom devices - this host, its GPUs, and the GPUs that plans can be made for\n"
    "\n"
    "SYNOPSIS\n"
    "  fathom devices [--json]\n"
    "  fathom devices --gpus SPEC -o machine.json\n"
    "  fathom devices --calibrate\n"
    "\n"
    "DESCRIPTION\n"
    "  Lists what is here and the catalogue: memory as sold, what of it a plan may\n"
    "  use, the maker's peaks, and where each figure comes from.\n"
    "\n"
    "  The topology shows what hangs where: processors with their memory, PCIe\n"
    "  bridges and switches, GPUs and network cards, and what lies between GPUs\n"
    "  (hwloc tells it, NVLinks the driver's NVML). --gpus auto plans with it.\n"
    "\n"
    "  The host's memory is the least of the machine's, of the limits of all control\n"
    "  groups that this process is in, and of ulimit -v and -d; its processors are\n"
    "  those of the affinity mask and of the control groups' quotas. Where the\n"
    "  machine has more, the limit that counts is named.\n"
    "\n"
    "OPTIONS\n"
    "      --json         one JSON object\n"
    "  -g, --gpus SPEC    with -o: the devices to write (auto by default)\n"
    "  -o, --output FILE  write a machine file, for `fathom plan --gpus FILE`;\n"
    "                     correct its figures by hand as you know them\n"
    "      --calibrate    measure what a context and fathom's kernels take on the\n"
    "                     GPUs of this host, beside what is planned; what cuDNN adds\n"
    "                     is in the last lines of `fathom train`\n"
    "\n"
    "EXIT STATUS\n"
    "  0 done; 1 there is nothing to measure, or it failed; 2 the command or a file\n"
    "  is wrong.\n"
    "\n"
    "EXAMPLES\n"
    "  fathom devices\n"
    "  fathom devices --gpus 2xtitan-x -o mine.json &&\n"
    "      fathom plan resnet-1001 --gpus mine.json\n",
    NULL,
};

const struct command command_devices = {"devices", "list this host's devices and the GPU catalogue", manual, run};
