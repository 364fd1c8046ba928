#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "checkpoint.h"
#include "files.h"
#include "mem.h"

#define TENSORS 3
#define MOST    24

/* A run of three small tensors that lives in memory. */
struct fake {
    struct checkpoint_tensor tensors[TENSORS];
    float values[TENSORS][MOST];
};

static void describe(void *context, size_t i, struct checkpoint_tensor *tensor)
{
    *tensor = ((struct fake *)context)->tensors[i];
}

static size_t elements(const struct fake *fake, size_t i)
{
    const uint32_t *d = fake->tensors[i].dims;
    return (size_t)d[0] * d[1] * d[2] * d[3];
}

static bool get(void *context, size_t i, float *values, struct error *err)
{
    (void)err;
    struct fake *fake = context;
    memcpy(values, fake->values[i], elements(fake, i) * sizeof *values);
    return true;
}

static bool put(void *context, size_t i, const float *values, struct error *err)
{
    (void)err;
    struct fake *fake = context;
    memcpy(fake->values[i], values, elements(fake, i) * sizeof *values);
    return true;
}

static struct checkpoint_tensors tensors_of(struct fake *fake)
{
    return (struct checkpoint_tensors){fake, TENSORS, describe, get, put};
}

static struct fake make_fake(void)
{
    struct fake fake = {
        .tensors = {{"stem/conv.weight", {2, 3, 3, 1}}, {"head/fc.bias", {1, 1, 1, 5}}, {"bn.mean", {1, 1, 1, 1}}}};
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t k = 0; k < MOST; k++) fake.values[i][k] = (float)(i + 1) / (float)(k + 3);
    return fake;
}

static struct checkpoint make_checkpoint(uint64_t step)
{
    struct checkpoint c = {
        .step = step,
        .seed = 7,
        .position = step * 16,
        .dataset_hash = 0x1234567890abcdef,
        .batch = 16,
        .devices = 2,
        .schedule = {
            .warmed = true, .train_error = 0.3, .best_error = 0.25, .stale = 1, .plateaus = 2, .waiting = true}};
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    cr_assert(model_parse("resnet-20", &options, &c.spec, NULL));
    return c;
}

static char folder[] = "/tmp/fathom-ckpt-XXXXXX";
static float staging[MOST];

static void make_folder(void)
{
    strcpy(folder, "/tmp/fathom-ckpt-XXXXXX");
    cr_assert(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

static void write_one(uint64_t step)
{
    struct fake fake = make_fake();
    struct checkpoint c = make_checkpoint(step);
    struct checkpoint_tensors tensors = tensors_of(&fake);
    struct error err = {0};
    cr_assert(checkpoint_write(folder, &c, &tensors, staging, &err), "%s", err.text);
}

static bool read_one(const char *path, struct checkpoint *c, struct fake *fake, struct error *err)
{
    struct checkpoint_file *file;
    struct checkpoint_tensors tensors = tensors_of(fake);
    if (!checkpoint_open(path, &file, c, err)) return false;
    bool ok = checkpoint_load(file, &tensors, staging, err);
    checkpoint_close(file);
    return ok;
}

TestSuite(checkpoint, .init = make_folder, .fini = remove_folder);

Test(checkpoint, what_is_written_is_read)
{
    struct fake wanted = make_fake(), found = make_fake();
    struct checkpoint c, wanted_c = make_checkpoint(400);
    char path[CHECKPOINT_PATH];
    struct error err = {0};
    cr_assert_not(checkpoint_exists(folder));
    write_one(400);
    cr_assert(checkpoint_exists(folder));
    memset(found.values, 0, sizeof found.values);
    cr_assert(checkpoint_find(folder, path, &err));
    cr_assert(read_one(path, &c, &found, &err), "%s", err.text);
    for (size_t i = 0; i < TENSORS; i++)
        cr_assert_eq(memcmp(found.values[i], wanted.values[i], elements(&wanted, i) * sizeof(float)), 0);
    cr_assert_eq(c.step, 400);
    cr_assert_eq(c.seed, 7);
    cr_assert_eq(c.position, 6400);
    cr_assert_eq(c.dataset_hash, wanted_c.dataset_hash);
    cr_assert_eq(c.batch, 16);
    cr_assert_eq(c.devices, 2);
    cr_assert(c.schedule.warmed && c.schedule.waiting);
    cr_assert_eq(c.schedule.stale, 1);
    cr_assert_eq(c.schedule.plateaus, 2);
    cr_assert(c.schedule.train_error == 0.3 && c.schedule.best_error == 0.25);
    cr_assert_str_eq(c.spec.name, "resnet-20");
    cr_assert_eq(c.spec.depth, 20);
    cr_assert_eq(c.spec.units[2], wanted_c.spec.units[2]);
}

Test(checkpoint, the_newest_is_found_by_its_step)
{
    char path[CHECKPOINT_PATH];
    struct error err = {0};
    cr_assert_not(checkpoint_find(folder, path, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    write_one(9);
    write_one(1000);
    write_one(200);
    char other[128];
    snprintf(other, sizeof other, "%s/step-9999.ckpt.partial-1", folder);
    cr_assert(files_write(other, "x", 1, &err));
    snprintf(other, sizeof other, "%s/step-.ckpt", folder);
    cr_assert(files_write(other, "x", 1, &err));
    cr_assert(checkpoint_find(folder, path, &err));
    cr_assert(strstr(path, "step-000000001000.ckpt"), "%s", path);
}

/* Reads a checkpoint's bytes, and writes them back changed. */
static char *read_bytes(char path[CHECKPOINT_PATH], size_t *length)
{
    char *bytes;
    struct error err = {0};
    write_one(3);
    cr_assert(checkpoint_find(folder, path, &err));
    cr_assert(files_read(path, 1 << 20, &bytes, length, &err));
    return bytes;
}

static void check_refused(const char *path, const char *bytes, size_t length, const char *what)
{
    struct error err = {0};
    struct checkpoint c;
    struct fake fake = make_fake();
    cr_assert(files_write(path, bytes, length, &err));
    cr_assert_not(read_one(path, &c, &fake, &err), "read although %s", what);
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, path), "'%s' does not name the file", err.text);
}

Test(checkpoint, every_truncation_is_found)
{
    char path[CHECKPOINT_PATH];
    size_t length;
    char *bytes = read_bytes(path, &length);
    for (size_t cut = 0; cut < length; cut += 7) check_refused(path, bytes, cut, "it is cut");
    check_refused(path, bytes, length - 1, "its last byte is missing");
    mem_free(bytes);
}

Test(checkpoint, every_flipped_byte_is_found)
{
    char path[CHECKPOINT_PATH];
    size_t length;
    char *bytes = read_bytes(path, &length);
    for (size_t i = 0; i < length; i++) {
        bytes[i] ^= 0x10;
        check_refused(path, bytes, length, "a byte was flipped");
        bytes[i] ^= 0x10;
    }
    mem_free(bytes);
}

Test(checkpoint, a_newer_version_is_named)
{
    char path[CHECKPOINT_PATH];
    size_t length;
    char *bytes = read_bytes(path, &length);
    struct error err = {0};
    struct checkpoint c;
    struct fake fake = make_fake();
    bytes[8] = 3;
    cr_assert(files_write(path, bytes, length, &err));
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "version 3"), "%s", err.text);
    mem_free(bytes);
}

Test(checkpoint, another_table_is_refused)
{
    struct checkpoint c;
    struct fake fake = make_fake();
    char path[CHECKPOINT_PATH];
    struct error err = {0};
    write_one(1);
    cr_assert(checkpoint_find(folder, path, &err));
    strcpy(fake.tensors[1].name, "head/fc.weight");
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "head/fc.bias") && strstr(err.text, "head/fc.weight"), "%s", err.text);
    fake = make_fake();
    fake.tensors[0].dims[0] = 1;
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "stem/conv.weight is 2 x 3 x 3 x 1"), "%s", err.text);
}

Test(checkpoint, a_full_disk_keeps_the_one_before)
{
    struct fake fake = make_fake();
    struct checkpoint c = make_checkpoint(2), found;
    struct checkpoint_tensors tensors = tensors_of(&fake);
    struct error err = {0};
    char path[CHECKPOINT_PATH];
    write_one(1);
    struct rlimit old, small = {100, RLIM_INFINITY};
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool ok = checkpoint_write(folder, &c, &tensors, staging, &err);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_assert_not(ok);
    cr_assert_eq(err.kind, ERROR_FAILED, "%s", err.text);
    cr_assert(checkpoint_find(folder, path, &err));
    cr_assert(read_one(path, &found, &fake, &err), "%s", err.text);
    cr_assert_eq(found.step, 1);
    char command[128];
    snprintf(command, sizeof command, "test $(ls '%s' | wc -l) = 1", folder);
    cr_assert_eq(system(command), 0, "the unfinished file was left behind");
}

Test(checkpoint, a_folder_that_cannot_be_made_is_an_input_error)
{
    struct fake fake = make_fake();
    struct checkpoint c = make_checkpoint(2);
    struct checkpoint_tensors tensors = tensors_of(&fake);
    struct error err = {0};
    cr_assert_not(checkpoint_write("/dev/null/run", &c, &tensors, staging, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, "/dev/null/run"), "%s", err.text);
}

Test(checkpoint, failed_allocations_leak_nothing)
{
    struct fake fake = make_fake();
    struct checkpoint c = make_checkpoint(5);
    struct checkpoint_tensors tensors = tensors_of(&fake);
    uint64_t before = mem_current_bytes(MEM_GENERAL);
    char path[CHECKPOINT_PATH];
    bool ok = false;
    for (uint64_t n = 1; !ok; n++) {
        struct error err = {0};
        mem_fail_at(n);
        ok = checkpoint_write(folder, &c, &tensors, staging, &err);
        mem_fail_at(0);
        cr_assert(ok || err.kind == ERROR_MEMORY, "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before);
    }
    cr_assert(checkpoint_find(folder, path, NULL));
    ok = false;
    for (uint64_t n = 1; !ok; n++) {
        struct error err = {0};
        struct checkpoint found = {.step = 99};
        mem_fail_at(n);
        ok = read_one(path, &found, &fake, &err);
        mem_fail_at(0);
        cr_assert(ok || (err.kind == ERROR_MEMORY && found.step == 99), "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before);
    }
}
