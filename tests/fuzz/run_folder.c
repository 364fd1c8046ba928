/* Folders of runs of any content: the input up to its first NUL is run.json, the rest the log. What is read is the same
 * when it is written and read again, and can be drawn; what is not gets a sentence. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>

#include "curves.h"
#include "fuzz_file.h"
#include "mem.h"
#include "run_facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void write_facts(const char *folder, const uint8_t *bytes, size_t length)
{
    char path[128];
    snprintf(path, sizeof path, "%s/run.json", folder);
    FILE *stream = fopen(path, "wb");
    if (!stream || fwrite(bytes, 1, length, stream) != length || fclose(stream) != 0) abort();
}

static void read_facts(const char *folder)
{
    struct run_facts facts, again;
    struct error err = {0};
    if (!run_facts_read(folder, &facts, &err)) {
        if (err.kind != ERROR_INPUT || !err.text[0]) abort();
        return;
    }
    for (size_t i = 0; i < json_array_size(facts.starts); i++)
        if (!run_facts_command(&facts, i)) abort();
    if (!run_facts_write(folder, &facts, &err) || !run_facts_read(folder, &again, &err)) abort();
    if (again.step != facts.step || again.state != facts.state || strcmp(again.model, facts.model) != 0) abort();
    run_facts_finish(&again);
    run_facts_finish(&facts);
}

static void read_log(const uint8_t *bytes, size_t length)
{
    static struct curves curves;
    struct error err = {0};
    struct fuzz_file file = fuzz_file_make(bytes, length);
    curves = (struct curves){0};
    if (curves_read(file.path, UINT64_MAX, &curves, &err)) {
        for (size_t i = 1; i < curves.bin_count; i++)
            if (curves.bins[i].first <= curves.bins[i - 1].last) abort();
        (void)curves_best_test(&curves);
        (void)curves_last_test(&curves);
    } else if (err.kind != ERROR_INPUT || !err.text[0]) {
        abort();
    }
    curves_finish(&curves);
    fuzz_file_finish(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char folder[] = "/tmp/fathom-fuzz-XXXXXX", path[128];
    const uint8_t *end = length ? memchr(bytes, '\0', length) : NULL;
    size_t facts = end ? (size_t)(end - bytes) : length;
    if (!mkdtemp(folder)) abort();
    write_facts(folder, bytes, facts);
    read_facts(folder);
    snprintf(path, sizeof path, "%s/run.json", folder);
    if (unlink(path) != 0 || rmdir(folder) != 0) abort();
    if (end) read_log(end + 1, length - facts - 1);
    if (mem_current_bytes(MEM_GENERAL) != 0) abort();
    return 0;
}
