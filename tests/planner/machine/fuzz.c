/* Damaged machine files and odd --gpus texts: read or refused with a sentence, never anything else. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "machine.h"
#include "mem.h"
#include "random.h"

static void check_answer(bool ok, struct machine *machine, const struct error *err, const char *text)
{
    if (ok) {
        cr_assert_gt(machine->device_count, 0, "%s", text);
        for (size_t i = 0; i < machine->device_count; i++) {
            const struct device_spec *d = &machine->devices[i];
            cr_assert_gt(d->memory_bytes, 0);
            cr_assert_geq(d->flops_f32, 0);
            cr_assert_not_null(memchr(d->name, '\0', sizeof d->name));
        }
        machine_finish(machine);
    } else {
        cr_assert_eq(err->kind, ERROR_INPUT, "%s: %s", text, err->text);
        cr_assert_gt(strlen(err->text), 10);
    }
}

static void damage(struct random *random, char *bytes, size_t *length)
{
    static const char alphabet[] = "\"{}[],:0123456789.eE-+abcfmnotu_ \\\n\0\xff";
    for (uint32_t n = 1 + random_below(random, 4); n > 0 && *length > 1; n--) {
        size_t at = random_below(random, (uint32_t)*length);
        switch (random_below(random, 3)) {
        case 0: bytes[at] = alphabet[random_below(random, sizeof alphabet - 1)]; break;
        case 1: memmove(bytes + at, bytes + at + 1, --*length - at); break;
        default: *length = at + 1; break;
        }
    }
}

Test(machine_fuzz, files)
{
    static const char *const names[] = {"two-titan-x", "k80-node", "lab-mixed", "one-t4",
                                        "eight-h200",  "laptop",   "cluster"};
    char path[512], damaged[] = "/tmp/fathom-fuzz-XXXXXX";
    cr_assert_geq(mkstemp(damaged), 0);
    char with_folder[64];
    snprintf(with_folder, sizeof with_folder, "%s", damaged);
    struct random random = random_begin(3, RANDOM_SEARCH, 0, 0);
    uint64_t plan = mem_current_bytes(MEM_PLAN), general = mem_current_bytes(MEM_GENERAL);
    for (size_t f = 0; f < sizeof names / sizeof names[0]; f++) {
        char *bytes;
        size_t whole;
        struct error err = {0};
        snprintf(path, sizeof path, "%s/tests/machines/%s.json", getenv("FATHOM_SOURCE"), names[f]);
        cr_assert(files_read(path, 1 << 20, &bytes, &whole, &err), "%s", err.text);
        char *copy = mem_alloc(MEM_GENERAL, whole, 1);
        for (int round = 0; round < 150; round++) {
            size_t length = whole;
            struct machine machine = {0};
            memcpy(copy, bytes, whole);
            damage(&random, copy, &length);
            FILE *stream = fopen(with_folder, "w");
            fwrite(copy, 1, length, stream);
            fclose(stream);
            err = (struct error){0};
            check_answer(machine_read_file(with_folder, &machine, &err), &machine, &err, names[f]);
        }
        mem_free(copy);
        mem_free(bytes);
    }
    cr_assert_eq(mem_current_bytes(MEM_PLAN), plan);
    cr_assert_eq(mem_current_bytes(MEM_GENERAL), general);
    unlink(with_folder);
}

Test(machine_fuzz, texts)
{
    static const char *const words[] = {"2",   "x",   "h100",    "titan-x", "12GiB",    ",",   " ",  "0",
                                        "GiB", "*",   "9999999", "-",       "\xc3\x97", "1.5", "e9", "%s%n",
                                        "nan", "inf", "4090",    "rtx",     "nvidia",   "\"",  "\n"};
    struct random random = random_begin(4, RANDOM_SEARCH, 0, 0);
    for (int round = 0; round < 5000; round++) {
        char text[400] = "";
        for (uint32_t n = random_below(&random, 12); n > 0; n--)
            strcat(text, words[random_below(&random, sizeof words / sizeof words[0])]);
        struct machine machine = {0};
        struct error err = {0};
        check_answer(machine_parse(text, &machine, &err), &machine, &err, text);
    }
}
