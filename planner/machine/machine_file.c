/* Machine files: JSON, one object with "version", "devices" and, optionally, "link". */
#include "machine.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "files.h"
#include "json_tables.h"
#include "machine_private.h"
#include "mem.h"
#include "topology.h"
#include "overheads.h"

#define MACHINE_VERSION    1
#define MOST_FILE_BYTES    (4 * MIB)
#define MOST_VALUES        (40 * MACHINE_MOST_DEVICES)
#define MOST_MEMORY_BYTES  (1ull << 50)
#define LEAST_MEMORY_BYTES (1 * MIB)
#define WHERE              512

static const struct {
    const char *field;
    size_t offset;
} byte_fields[] = {{"context_bytes", offsetof(struct device_spec, context_bytes)},
                   {"comm_bytes", offsetof(struct device_spec, comm_bytes)},
                   {"reserve_bytes", offsetof(struct device_spec, reserve_bytes)},
                   {"op_bytes", offsetof(struct device_spec, op_bytes)},
                   {"kernel_bytes", offsetof(struct device_spec, kernel_bytes)},
                   {"workspace_bytes", offsetof(struct device_spec, workspace_bytes)}},
  real_fields[] = {{"flops_f32", offsetof(struct device_spec, flops_f32)},
                   {"flops_f16", offsetof(struct device_spec, flops_f16)},
                   {"bandwidth", offsetof(struct device_spec, bandwidth)},
                   {"launch_seconds", offsetof(struct device_spec, launch_seconds)},
                   {"link_bandwidth", offsetof(struct device_spec, link_bandwidth)},
                   {"host_bandwidth", offsetof(struct device_spec, host_bandwidth)}};
#define BYTE_FIELDS (sizeof byte_fields / sizeof byte_fields[0])
#define REAL_FIELDS (sizeof real_fields / sizeof real_fields[0])

static bool refuse_unknown(const json_t *object, const char *const *known, size_t count, const char *where,
                           struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < count; i++) found = found || strcmp(key, known[i]) == 0;
        if (!found)
            return error_set(err, ERROR_INPUT, "%s: there is no field '%s'; docs/formats.md lists them", where, key);
    }
    return true;
}

static bool get_speed(const json_t *object, const char *field, const char *where, double *value, struct error *err)
{
    double found;
    if (!json_object_get(object, field)) return true;
    TRY(json_get_real(object, field, where, &found, err));
    if (!isfinite(found) || found < 0 || found > 1e30)
        return error_set(err, ERROR_INPUT, "%s: field '%s' is %g; a number from 0 (unknown) to 1e30 is wanted", where,
                         field, found);
    *value = found;
    return true;
}

static bool read_capability(const json_t *object, const char *where, uint32_t *capability, struct error *err)
{
    double number = 0;
    if (!json_object_get(object, "compute_capability")) return true;
    TRY(json_get_real(object, "compute_capability", where, &number, err));
    if (device_capability_of(number, capability)) return true;
    return error_set(err, ERROR_INPUT,
                     "%s: field 'compute_capability' is %g; a number like 9.0, or 0 (unknown), is wanted", where,
                     number);
}

static bool read_kind(const json_t *object, const char *where, enum device_kind *kind, struct error *err)
{
    const char *text = "gpu";
    if (json_object_get(object, "kind")) TRY(json_get_string(object, "kind", where, &text, err));
    if (strcmp(text, "gpu") != 0 && strcmp(text, "cpu") != 0)
        return error_set(err, ERROR_INPUT, "%s: field 'kind' is '%s'; 'gpu' or 'cpu' is wanted", where, text);
    *kind = strcmp(text, "gpu") == 0 ? DEVICE_GPU : DEVICE_CPU;
    return true;
}

static bool read_name(const json_t *object, const char *where, char name[DEVICE_NAME], struct error *err)
{
    const char *text;
    TRY(json_get_string(object, "name", where, &text, err));
    if (text[0] == '\0' || strlen(text) >= DEVICE_NAME)
        return error_set(err, ERROR_INPUT, "%s: field 'name' has %zu characters; 1 to %d are wanted", where,
                         strlen(text), DEVICE_NAME - 1);
    snprintf(name, DEVICE_NAME, "%s", text);
    return true;
}

/* What a file leaves out: the catalogue's figures when the name is there, else those of a device known by its size. */
static bool default_device(const char *name, enum device_kind kind, uint64_t memory_bytes, struct device_spec *spec,
                           struct error *err)
{
    const struct device_spec *known = kind == DEVICE_GPU ? catalogue_find_sized(name, memory_bytes) : NULL;
    if (known) {
        *spec = *known;
    } else if (kind == DEVICE_GPU) {
        TRY(machine_generic_gpu(name, memory_bytes, spec, err));
    } else {
        *spec = (struct device_spec){.kind = DEVICE_CPU,
                                     .context_bytes = CPU_CONTEXT_BYTES,
                                     .reserve_bytes = cpu_reserve_bytes(memory_bytes),
                                     .op_bytes = CPU_OP_BYTES,
                                     .kernel_bytes = CPU_KERNEL_BYTES,
                                     .workspace_bytes = CPU_WORKSPACE_BYTES};
    }
    snprintf(spec->name, sizeof spec->name, "%s", name);
    spec->memory_bytes = memory_bytes;
    return true;
}

static bool check_outside(const struct device_spec *spec, const char *where, struct error *err)
{
    uint64_t outside = spec->context_bytes + spec->comm_bytes + spec->reserve_bytes;
    if (outside >= spec->memory_bytes)
        return error_set(err, ERROR_INPUT,
                         "%s: context_bytes, comm_bytes and reserve_bytes take %" PRIu64 " of memory_bytes %" PRIu64
                         "; less than all of it is wanted",
                         where, outside, spec->memory_bytes);
    return true;
}

static bool read_device(const json_t *object, const char *where, struct device_spec *spec, uint64_t *count,
                        struct error *err)
{
    static const char *const fields[] = {
        "name",       "kind",          "count",          "memory_bytes",   "source",          "context_bytes",
        "comm_bytes", "reserve_bytes", "op_bytes",       "kernel_bytes",   "workspace_bytes", "flops_f32",
        "flops_f16",  "bandwidth",     "launch_seconds", "link_bandwidth", "host_bandwidth",  "compute_capability"};
    char name[DEVICE_NAME];
    enum device_kind kind = DEVICE_GPU;
    uint64_t memory;
    if (!json_is_object(object)) return error_set(err, ERROR_INPUT, "%s: is not an object", where);
    TRY(refuse_unknown(object, fields, sizeof fields / sizeof fields[0], where, err));
    TRY(read_name(object, where, name, err));
    TRY(read_kind(object, where, &kind, err));
    TRY(json_get_u64(object, "memory_bytes", where, MOST_MEMORY_BYTES, &memory, err));
    if (memory < LEAST_MEMORY_BYTES)
        return error_set(err, ERROR_INPUT, "%s: field 'memory_bytes' is %" PRIu64 "; at least 1 MiB is wanted", where,
                         memory);
    if (!default_device(name, kind, memory, spec, err)) return error_prefix(err, "%s", where);
    *count = 1;
    if (json_object_get(object, "count")) TRY(json_get_u64(object, "count", where, MACHINE_MOST_DEVICES, count, err));
    if (*count == 0) return error_set(err, ERROR_INPUT, "%s: field 'count' is 0; at least 1 is wanted", where);
    for (size_t i = 0; i < BYTE_FIELDS; i++) {
        uint64_t *value = (uint64_t *)(void *)((char *)spec + byte_fields[i].offset);
        if (json_object_get(object, byte_fields[i].field))
            TRY(json_get_u64(object, byte_fields[i].field, where, MOST_MEMORY_BYTES, value, err));
    }
    for (size_t i = 0; i < REAL_FIELDS; i++) {
        double *value = (double *)(void *)((char *)spec + real_fields[i].offset);
        TRY(get_speed(object, real_fields[i].field, where, value, err));
    }
    return read_capability(object, where, &spec->capability, err);
}

/* Sources are kept one behind the other in machine->text; *used is how much of it is taken. */
static bool keep_source(const json_t *object, const char *where, struct machine *machine, size_t *used,
                        struct device_spec *spec, struct error *err)
{
    const char *source;
    if (!json_object_get(object, "source")) {
        if (!spec->source) spec->source = "a machine file";
        return true;
    }
    TRY(json_get_string(object, "source", where, &source, err));
    size_t length = strlen(source) + 1;
    memcpy(machine->text + *used, source, length);
    spec->source = machine->text + *used;
    *used += length;
    return true;
}

static bool make_text(const json_t *devices, struct machine *machine, struct error *err)
{
    size_t total = 1;
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const char *source = json_string_value(json_object_get(json_array_get(devices, i), "source"));
        if (source) total += strlen(source) + 1;
    }
    machine->text = mem_alloc(MEM_PLAN, total, 1);
    return machine->text || error_memory(err, total, "a machine file's texts");
}

static bool read_devices(const json_t *root, const char *path, struct machine *machine, struct error *err)
{
    json_t *devices = json_get_array(root, "devices", path, err);
    if (!devices) return false;
    if (json_array_size(devices) == 0)
        return error_set(err, ERROR_INPUT, "%s: field 'devices' is empty; at least one device is wanted", path);
    TRY(make_text(devices, machine, err));
    size_t used = 0;
    for (size_t i = 0; i < json_array_size(devices); i++) {
        char where[WHERE];
        struct device_spec spec;
        uint64_t count;
        snprintf(where, sizeof where, "%.400s: devices[%zu]", path, i);
        TRY(read_device(json_array_get(devices, i), where, &spec, &count, err));
        TRY(keep_source(json_array_get(devices, i), where, machine, &used, &spec, err));
        if (!machine_add(machine, &spec, count, err)) return error_prefix(err, "%s", where);
    }
    TRY(machine_complete(machine, err));
    for (size_t i = 0; i < machine->device_count; i++) TRY(check_outside(&machine->devices[i], path, err));
    return true;
}

/* What the link goes over; its speeds follow unless they are given. */
static bool read_path(const json_t *root, const char *path, struct machine *machine, struct error *err)
{
    const json_t *link = json_object_get(root, "link");
    const char *text;
    if (!json_object_get(link, "path")) return true;
    TRY(json_get_string(link, "path", path, &text, err));
    for (int p = 0; p < TOPOLOGY_PATHS; p++) {
        if (strcmp(text, topology_path_word((enum topology_path)p)) != 0) continue;
        machine_set_path(machine, (enum topology_path)p);
        return true;
    }
    return error_set(err, ERROR_INPUT,
                     "%s: link: field 'path' is '%s'; nvlink, switch, switches, bridge, node or system is wanted", path,
                     text);
}

/* "link" between the devices of a node, "network" between nodes. */
static bool read_hop(const json_t *root, const char *name, const char *path, double *bandwidth, double *latency,
                     struct error *err)
{
    static const char *const fields[] = {"bandwidth", "latency_seconds", "path"};
    char where[WHERE];
    if (!json_object_get(root, name)) return true;
    json_t *hop = json_get_object(root, name, path, err);
    if (!hop) return false;
    snprintf(where, sizeof where, "%.400s: %s", path, name);
    TRY(refuse_unknown(hop, fields, strcmp(name, "link") == 0 ? 3 : 2, where, err));
    TRY(get_speed(hop, "bandwidth", where, bandwidth, err));
    return get_speed(hop, "latency_seconds", where, latency, err);
}

static bool read_nodes(const json_t *root, const char *path, struct machine *machine, struct error *err)
{
    uint64_t node;
    if (!json_object_get(root, "node_devices")) return true;
    TRY(json_get_u64(root, "node_devices", path, MACHINE_MOST_DEVICES, &node, err));
    if (node == 0) return error_set(err, ERROR_INPUT, "%s: field 'node_devices' is 0; at least 1 is wanted", path);
    machine->node_devices = (uint32_t)node;
    return true;
}

static bool read_root(const json_t *root, const char *path, struct machine *machine, struct error *err)
{
    static const char *const fields[] = {"version", "devices", "link", "node_devices", "network"};
    uint64_t version;
    if (!json_is_object(root))
        return error_set(err, ERROR_INPUT, "%s: is not an object with 'version' and 'devices'", path);
    TRY(refuse_unknown(root, fields, sizeof fields / sizeof fields[0], path, err));
    TRY(json_get_u64(root, "version", path, UINT32_MAX, &version, err));
    if (version != MACHINE_VERSION)
        return error_set(err, ERROR_INPUT, "%s: field 'version' is %" PRIu64 "; this program reads version %d", path,
                         version, MACHINE_VERSION);
    TRY(read_devices(root, path, machine, err));
    machine_fill_link(machine);
    TRY(read_path(root, path, machine, err));
    TRY(read_hop(root, "link", path, &machine->link_bandwidth, &machine->link_latency, err));
    TRY(read_nodes(root, path, machine, err));
    return read_hop(root, "network", path, &machine->network_bandwidth, &machine->network_latency, err);
}

bool machine_read_file(const char *path, struct machine *machine, struct error *err)
{
    static const char *const no_tables[] = {NULL};
    static const struct json_limits limits = {MOST_FILE_BYTES, MOST_VALUES, no_tables};
    struct json_document document;
    struct machine found = {0};
    bool ok = json_document_read(path, &limits, &document, err) && read_root(document.root, path, &found, err);
    json_document_finish(&document);
    if (ok)
        *machine = found;
    else
        machine_finish(&found);
    return ok;
}

static bool same_device(const struct device_spec *a, const struct device_spec *b)
{
    bool same = a->kind == b->kind && strcmp(a->name, b->name) == 0 && strcmp(a->source, b->source) == 0 &&
                a->memory_bytes == b->memory_bytes && a->capability == b->capability;
    for (size_t i = 0; i < BYTE_FIELDS; i++)
        same = same && memcmp((const char *)a + byte_fields[i].offset, (const char *)b + byte_fields[i].offset, 8) == 0;
    for (size_t i = 0; i < REAL_FIELDS; i++)
        same = same && memcmp((const char *)a + real_fields[i].offset, (const char *)b + real_fields[i].offset, 8) == 0;
    return same;
}

static json_t *device_json(const struct device_spec *spec, size_t count)
{
    json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:s}", "name", spec->name, "kind", device_kind_name(spec->kind),
                               "count", (json_int_t)count, "memory_bytes", (json_int_t)spec->memory_bytes, "source",
                               spec->source ? spec->source : "");
    for (size_t i = 0; i < BYTE_FIELDS; i++) {
        uint64_t value;
        memcpy(&value, (const char *)spec + byte_fields[i].offset, sizeof value);
        json_object_set_new(object, byte_fields[i].field, json_integer((json_int_t)value));
    }
    for (size_t i = 0; i < REAL_FIELDS; i++) {
        double value;
        memcpy(&value, (const char *)spec + real_fields[i].offset, sizeof value);
        json_object_set_new(object, real_fields[i].field, json_real(value));
    }
    if (spec->capability) json_object_set_new(object, "compute_capability", json_real(spec->capability / 100.0));
    return object;
}

/* Runs of equal devices become one entry with a count. */
static json_t *machine_json(const struct machine *machine)
{
    json_t *devices = json_array();
    for (size_t i = 0; i < machine->device_count;) {
        size_t count = 1;
        while (i + count < machine->device_count && same_device(&machine->devices[i], &machine->devices[i + count]))
            count++;
        json_array_append_new(devices, device_json(&machine->devices[i], count));
        i += count;
    }
    json_t *root = json_pack("{s:i, s:o, s:{s:f, s:f}, s:I, s:{s:f, s:f}}", "version", MACHINE_VERSION, "devices",
                             devices, "link", "bandwidth", machine->link_bandwidth, "latency_seconds",
                             machine->link_latency, "node_devices", (json_int_t)machine->node_devices, "network",
                             "bandwidth", machine->network_bandwidth, "latency_seconds", machine->network_latency);
    if (machine->link_path > 0)
        json_object_set_new(json_object_get(root, "link"), "path",
                            json_string(topology_path_word((enum topology_path)(machine->link_path - 1))));
    return root;
}

bool machine_write_file(const struct machine *machine, const char *path, struct error *err)
{
    json_t *root = machine_json(machine);
    struct files_writer writer;
    if (!root) return error_memory(err, machine->device_count * sizeof *machine->devices, path);
    bool ok = files_begin(&writer, path, err);
    if (ok) {
        bool dumped = json_dumpf(root, writer.stream, JSON_INDENT(2)) == 0 && fputc('\n', writer.stream) != EOF;
        if (!dumped && !ferror(writer.stream)) {
            files_abandon(&writer);
            ok = error_memory(err, machine->device_count * sizeof *machine->devices, path);
        } else {
            ok = files_commit(&writer, err);
        }
    }
    json_decref(root);
    return ok;
}
