#include <inttypes.h>
#include <stdio.h>

#include "command.h"
#include "json.h"
#include "machine.h"
#include "page.h"
#include "outputs.h"
#include "printable.h"
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

static void print_host(const struct host *host)
{
    printf("this host\n  %s: %" PRIu32 " core%s, %" PRIu32 " package%s, %" PRIu32 " NUMA node%s\n",
           PRINTABLE(host->cpu), host->cores, host->cores == 1 ? "" : "s", host->packages,
           host->packages == 1 ? "" : "s", host->numa_nodes, host->numa_nodes == 1 ? "" : "s");
    print_limits(host);
    for (uint32_t i = 0; i < host->gpu_count; i++) {
        const struct host_gpu *gpu = &host->gpus[i];
        const struct device_spec *known = catalogue_find(gpu->name);
        printf("  GPU %" PRIu32 ": %s", i, PRINTABLE(gpu->name));
        if (gpu->numa_node != UINT32_MAX) printf(", on NUMA node %" PRIu32, gpu->numa_node);
        printf("%s%s\n", known ? ", planned for as " : ", not in the catalogue", known ? known->name : "");
    }
    if (host->gpu_count == 0) puts("  no GPU: --gpus auto plans for the CPU");
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

static json_t *host_json(const struct host *host)
{
    const struct limits *limits = &host->limits;
    json_t *gpus = json_array();
    for (uint32_t i = 0; i < host->gpu_count; i++) {
        const struct host_gpu *gpu = &host->gpus[i];
        const struct device_spec *known = catalogue_find(gpu->name);
        json_array_append_new(
            gpus, json_pack("{s:o, s:o, s:o, s:o}", "name", json_text(gpu->name), "memory_bytes",
                            gpu->memory_bytes ? json_integer((json_int_t)gpu->memory_bytes) : json_null(), "numa_node",
                            gpu->numa_node == UINT32_MAX ? json_null() : json_integer(gpu->numa_node), "catalogue",
                            known ? json_string(known->name) : json_null()));
    }
    return json_pack("{s:o, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "cpu", json_text(host->cpu), "cores",
                     (int)host->cores, "packages", (int)host->packages, "numa_nodes", (int)host->numa_nodes,
                     "processors", (int)host->processors, "processors_limited_by", source_json(&limits->processors),
                     "memory_bytes", amount_json(&limits->memory), "memory_limited_by", source_json(&limits->memory),
                     "free_bytes", amount_json(&limits->available), "gpus", gpus);
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

static bool print_json(const struct host *host, struct error *err)
{
    json_t *root = json_pack("{s:o, s:o}", "host", host_json(host), "catalogue", catalogue_json());
    bool ok = root && json_write(root, stdout, JSON_INDENT(2));
    json_decref(root);
    puts("");
    return ok || ferror(stdout) || error_memory(err, 4096, "the JSON output");
}

/* Writes the machine that --gpus names, for a person to correct by hand or to measure into. */
static bool write_machine(const char *gpus, const char *path, struct error *err)
{
    struct machine machine = {0};
    struct outputs outputs = {0};
    TRY(outputs_reads(&outputs, "--gpus", gpus, err) && outputs_writes(&outputs, "--output", path, err));
    bool ok = machine_parse(gpus, &machine, err) && machine_write_file(&machine, path, err);
    if (ok && machine.note) fprintf(stderr, "fathom devices: %s\n", machine.note);
    machine_finish(&machine);
    return ok;
}

static bool calibrate(const struct host *host, struct error *err)
{
    if (host->gpu_count == 0)
        return error_set(err, ERROR_FAILED, "--calibrate measures GPUs, and hwloc sees none in this host");
    return error_set(err, ERROR_FAILED, "--calibrate needs the CUDA backend, which is not part of this build");
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
    if (!options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], NULL, 0, &words, err) ||
        !host_read(&host, err))
        return 1;
    if (gpus && !output) {
        error_set(err, ERROR_INPUT, "--gpus: found without -o FILE, the machine file to write it to");
        return 2;
    }
    if (wants_calibration) return calibrate(&host, err) ? 0 : 1;
    if (output) return write_machine(gpus ? gpus : "auto", output, err) ? 0 : 1;
    if (json) return print_json(&host, err) ? 0 : 1;
    print_host(&host);
    print_catalogue();
    return 0;
}

static const char manual[] = "NAME\n"
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
                             "      --calibrate    measure what context, libraries and communication take on\n"
                             "                     the GPUs of this host\n"
                             "\n"
                             "EXIT STATUS\n"
                             "  0 done; 1 there is nothing to measure, or it failed; 2 the command or a file\n"
                             "  is wrong.\n"
                             "\n"
                             "EXAMPLES\n"
                             "  fathom devices\n"
                             "  fathom devices --gpus 2xtitan-x -o mine.json &&\n"
                             "      fathom plan resnet-1001 --gpus mine.json\n";

const struct command command_devices = {"devices", "list this host's devices and the GPU catalogue", manual, run};
