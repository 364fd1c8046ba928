/* Machine files of any content, and the same bytes as the text of --gpus: devices with memory and names, or a sentence.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>

#include "fuzz_file.h"
#include "machine.h"
#include "mem.h"

#define MOST_TEXT 200

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check(bool ok, struct machine *machine, const struct error *err)
{
    if (!ok) {
        if (err->kind != ERROR_INPUT || !err->text[0]) abort();
        return;
    }
    if (machine->device_count == 0) abort();
    for (size_t i = 0; i < machine->device_count; i++) {
        const struct device_spec *device = &machine->devices[i];
        if (device->memory_bytes == 0 || !memchr(device->name, '\0', sizeof device->name)) abort();
        if (!(device->flops_f32 >= 0) || !(device->bandwidth >= 0)) abort();
    }
    machine_finish(machine);
}

/* But for what asks this host, and other files. */
static void parse_text(const uint8_t *bytes, size_t length)
{
    char text[MOST_TEXT + 1];
    struct machine machine;
    struct error err = {0};
    if (length > MOST_TEXT || memchr(bytes, '\0', length) || memchr(bytes, '/', length) || memchr(bytes, '.', length))
        return;
    memcpy(text, bytes, length);
    text[length] = '\0';
    if (strstr(text, "auto") || strstr(text, "cpu")) return;
    check(machine_parse(text, &machine, &err), &machine, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct machine machine;
    struct error err = {0};
    struct fuzz_file file = fuzz_file_make(bytes, length);
    check(machine_read_file(file.path, &machine, &err), &machine, &err);
    fuzz_file_finish(&file);
    if (length > 0) parse_text(bytes, length);
    if (mem_current_bytes(MEM_PLAN) != 0 || mem_current_bytes(MEM_GENERAL) != 0) abort();
    return 0;
}
