/* What --gpus says: names, sizes, counts, what is here, or a file. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ascii.h"
#include "machine.h"
#include "machine_private.h"
#include "overheads.h"
#include "printable.h"
#include "units.h"

static bool cpu_device(struct device_spec *spec, struct error *err)
{
    struct host host;
    TRY(host_read(&host, err));
    *spec = (struct device_spec){.kind = DEVICE_CPU,
                                 .name = "cpu",
                                 .memory_bytes = host.memory_bytes,
                                 .context_bytes = CPU_CONTEXT_BYTES,
                                 .reserve_bytes = cpu_reserve_bytes(host.memory_bytes),
                                 .op_bytes = CPU_OP_BYTES,
                                 .kernel_bytes = CPU_KERNEL_BYTES,
                                 .workspace_bytes = CPU_WORKSPACE_BYTES,
                                 .source = "this host; speed unknown"};
    return true;
}

static bool unknown_device(const char *name, struct error *err)
{
    char near[160];
    catalogue_suggest(name, near, sizeof near);
    return error_set(
        err, ERROR_INPUT,
        "--gpus: '%s' is not a device%s%s. A size like 12GiB, cpu, auto or a machine file (.json) also do; "
        "`fathom devices` lists all names",
        name, *near ? "; near are " : "", near);
}

/* A size in all but its number, which is more than can be said. */
static bool is_beyond(const char *name)
{
    char one[DEVICE_NAME + 1];
    uint64_t bytes;
    size_t digits = strspn(name, "0123456789.");
    snprintf(one, sizeof one, "1%s", name + digits);
    bool size = digits > 0 && units_parse_bytes(one, "--gpus", &bytes, NULL);
    return size && !units_parse_bytes(name, "--gpus", &bytes, NULL);
}

/* A name of the catalogue goes before a size: "4090" is a card. A size needs its unit. */
static bool parse_device(const char *name, struct device_spec *spec, struct error *err)
{
    const struct device_spec *known = catalogue_find(name);
    if (known) {
        *spec = *known;
        return true;
    }
    if (ascii_same(name, "cpu")) return cpu_device(spec, err);
    uint64_t bytes;
    bool plain = name[strspn(name, "0123456789.")] == '\0';
    if (plain && strlen(name) < DEVICE_NAME)
        return error_set(err, ERROR_INPUT,
                         "--gpus: '%s' is neither a device nor a size with its unit; write %sGiB for memory, or how "
                         "many of which like 2x12GiB",
                         name, name);
    if (plain || strlen(name) >= DEVICE_NAME) return unknown_device(name, err);
    if (is_beyond(name))
        return error_set(err, ERROR_INPUT,
                         "--gpus: '%s' is more bytes than can be said; a GPU has from 64MiB to 1024TiB", name);
    if (!units_parse_bytes(name, "--gpus", &bytes, NULL)) return unknown_device(name, err);
    return machine_generic_gpu(name, bytes, spec, err);
}

#define MOST_PART 96

/* "2x", "2 x ", "2*", "2×": the count before a device; 0 when there is none. *length is what it takes. */
static size_t count_digits(const char *part, size_t *length)
{
    static const char *const times[] = {"x", "X", "*", "\xC3\x97"};
    size_t digits = strspn(part, "0123456789"), blanks = strspn(part + digits, " ");
    for (size_t i = 0; digits > 0 && i < sizeof times / sizeof times[0]; i++) {
        size_t sign = strlen(times[i]);
        if (strncmp(part + digits + blanks, times[i], sign) != 0) continue;
        *length = digits + blanks + sign;
        *length += strspn(part + *length, " ");
        return digits;
    }
    return 0;
}

/* "[COUNTx]DEVICE" */
static bool parse_part(const char *part, struct machine *machine, struct error *err)
{
    uint64_t count = 1;
    size_t length = 0, digits = count_digits(part, &length);
    const char *name = part + length;
    if (digits > 0) {
        char number[MOST_PART];
        snprintf(number, sizeof number, "%.*s", (int)digits, part);
        TRY(units_parse_count(number, "--gpus: the count before 'x'", 1, MACHINE_MOST_DEVICES, &count, err));
    }
    if (*name == '\0') return error_set(err, ERROR_INPUT, "--gpus: '%s' names no device; write one like 2x12GiB", part);
    struct device_spec spec;
    TRY(parse_device(name, &spec, err));
    if (!machine->note) machine->note = catalogue_note(name);
    return machine_add(machine, &spec, count, err);
}

static bool parse_list(const char *text, struct machine *machine, struct error *err)
{
    for (const char *start = text;;) {
        char part[MOST_PART];
        start += strspn(start, " ");
        size_t length = strcspn(start, ",");
        const char *next = start + length;
        while (length > 0 && start[length - 1] == ' ') length--;
        if (length >= sizeof part)
            return error_set(err, ERROR_INPUT, "--gpus: '%s' is not a device; `fathom devices` lists all names",
                             PRINTABLE_CUT(start, 40));
        memcpy(part, start, length);
        part[length] = '\0';
        TRY(parse_part(part, machine, err));
        if (*next == '\0') return true;
        start = next + 1;
    }
}

/* The GPUs of this host by their reported names; a name that the catalogue lacks becomes a GPU of its reported size. */
static bool detect_devices(struct machine *machine, struct error *err)
{
    struct host host;
    TRY(host_read(&host, err));
    for (uint32_t i = 0; i < host.gpu_count; i++) {
        const struct host_gpu *gpu = &host.gpus[i];
        const struct device_spec *known =
            gpu->memory_bytes ? catalogue_find_sized(gpu->name, gpu->memory_bytes) : catalogue_find(gpu->name);
        struct device_spec spec;
        char name[DEVICE_NAME];
        if (known) {
            spec = *known;
        } else if (gpu->memory_bytes > 0) {
            snprintf(name, sizeof name, "%.*s", DEVICE_NAME - 1, gpu->name);
            TRY(machine_generic_gpu(name, gpu->memory_bytes, &spec, err));
        } else {
            return error_set(
                err, ERROR_INPUT,
                "--gpus auto: this host's '%s' is not in the catalogue and its memory is not reported; give "
                "its size, like --gpus %ux12GiB",
                gpu->name, host.gpu_count);
        }
        TRY(machine_add(machine, &spec, 1, err));
    }
    if (machine->device_count > 0) return true;
    struct device_spec cpu;
    TRY(cpu_device(&cpu, err));
    return machine_add(machine, &cpu, 1, err);
}

/* Virtual devices share the host's memory and the process around them. */
static void share_host(struct machine *machine)
{
    uint64_t count = machine->device_count;
    for (size_t i = 0; i < count; i++) {
        struct device_spec *device = &machine->devices[i];
        device->memory_bytes /= count;
        device->reserve_bytes /= count;
        device->context_bytes = (device->context_bytes + count - 1) / count;
    }
}

static bool names_file(const char *text)
{
    struct stat info;
    size_t length = strlen(text);
    bool json = length > 5 && strcmp(text + length - 5, ".json") == 0;
    return json || strchr(text, '/') || (stat(text, &info) == 0 && S_ISREG(info.st_mode));
}

bool machine_parse(const char *text, struct machine *machine, struct error *err)
{
    if (names_file(text)) return machine_read_file(text, machine, err);
    struct machine found = {0};
    bool ok = ascii_same(text, "auto") ? detect_devices(&found, err) : parse_list(text, &found, err);
    ok = ok && machine_complete(&found, err);
    if (!ok) {
        machine_finish(&found);
        return false;
    }
    if (found.devices[0].kind == DEVICE_CPU) share_host(&found);
    machine_fill_link(&found);
    if (ascii_same(text, "auto") && found.devices[0].kind == DEVICE_GPU) machine_join_slots(&found);
    *machine = found;
    return true;
}
