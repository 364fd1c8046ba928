/* Checkpoints that this version has not written: of versions before it, and of others. */
#define _GNU_SOURCE
#include <math.h>

#include "checkpoint_kit.h"
#include "files.h"
#include "mem.h"
#include "old_checkpoint.h"

TestSuite(checkpoint_foreign, .init = make_folder, .fini = remove_folder);

static void write_old(const struct checkpoint *c, char path[CHECKPOINT_PATH])
{
    static const size_t order[TENSORS] = {2, 0, 1, 3};
    struct fake fake = make_fake();
    struct checkpoint_tensors tensors = tensors_of(&fake);
    snprintf(path, CHECKPOINT_PATH, "%s/step-%012d.ckpt", folder, 9);
    old_write(path, c, &tensors, order, TENSORS, staging);
}

Test(checkpoint_foreign, older_versions_are_read)
{
    for (int scaled = 0; scaled < 2; scaled++) {
        char path[CHECKPOINT_PATH];
        struct checkpoint c, wanted = make_checkpoint(9);
        struct fake fake = make_fake(), same = make_fake();
        struct error err = {0};
        wanted.scaled = scaled;
        wanted.loss_scale = (struct loss_scale){1024, 3, 0, 5};
        write_old(&wanted, path);
        cr_assert(checkpoint_exists(folder));
        memset(fake.values, 0, sizeof fake.values);
        cr_assert(checkpoint_find(folder, path, &err));
        cr_assert(read_one(path, &c, &fake, &err), "%s", err.text);
        for (size_t i = 0; i < TENSORS; i++)
            cr_assert_eq(memcmp(fake.values[i], same.values[i], elements(&same, i) * sizeof(float)), 0);
        cr_assert_eq(c.version, 1u + (unsigned)scaled);
        cr_assert(c.known && c.seed == wanted.seed && c.position == wanted.position && c.scaled == (scaled == 1));
        cr_assert(c.schedule.train_error == 0.3 && isnan(c.top1_error));
        cr_assert(!scaled || c.loss_scale.skipped == 5);
    }
}

Test(checkpoint_foreign, flipped_and_missing_bytes_of_older_versions_are_found)
{
    char path[CHECKPOINT_PATH];
    size_t length;
    char *bytes;
    struct checkpoint c = make_checkpoint(9);
    struct fake fake = make_fake();
    struct error err = {0};
    write_old(&c, path);
    cr_assert(files_read(path, 1 << 20, &bytes, &length, &err));
    for (size_t i = 8; i < length; i++) { /* with another first word it is of another format */
        bytes[i] ^= 0x10;
        put_bytes(path, bytes, length);
        cr_assert_not(read_one(path, &c, &fake, &err), "byte %zu", i);
        bytes[i] ^= 0x10;
        put_bytes(path, bytes, i);
        cr_assert_not(read_one(path, &c, &fake, &err), "cut after byte %zu", i);
    }
    mem_free(bytes);
}

/* Numbers of devices that no run had would be walked through tensor by tensor. */
Test(checkpoint_foreign, more_devices_than_there_can_be_are_refused)
{
    static const uint32_t wrong[] = {0, 4097, UINT32_MAX};
    struct fake fake = make_fake();
    struct checkpoint_tensors tensors = tensors_of(&fake);
    for (int i = 0; i < 6; i++) {
        char path[CHECKPOINT_PATH];
        struct checkpoint c = make_checkpoint(9), found;
        struct error err = {0};
        c.devices = wrong[i / 2];
        if (i % 2)
            write_old(&c, path);
        else
            cr_assert(checkpoint_write(folder, &c, &tensors, staging, &err) && checkpoint_find(folder, path, &err));
        cr_assert_not(read_one(path, &found, &fake, &err), "%u", c.devices);
        cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "1 to 4096"), "%s", err.text);
    }
}

static void write_text(const char *header, const void *data, size_t bytes, char path[CHECKPOINT_PATH])
{
    unsigned char prefix[8] = {(unsigned char)strlen(header), (unsigned char)(strlen(header) >> 8)};
    snprintf(path, CHECKPOINT_PATH, "%s/weights.safetensors", folder);
    FILE *out = fopen(path, "wb");
    cr_assert(out);
    fwrite(prefix, 1, 8, out);
    fputs(header, out);
    fwrite(data, 1, bytes, out);
    cr_assert_eq(fclose(out), 0);
}

/* A convolution's weights are K C R S there and K R S C here; a matrix reads features as C x H x W. */
Test(checkpoint_foreign, weights_of_others_are_turned_round)
{
    float data[29];
    char path[CHECKPOINT_PATH];
    struct error err = {0};
    struct checkpoint c;
    struct fake fake = make_fake();
    struct checkpoint_file *file;
    struct checkpoint_tensors tensors = tensors_of(&fake);
    for (int i = 0; i < 29; i++) data[i] = (float)i;
    write_text("{\"fc.bias\": {\"dtype\": \"F32\", \"shape\": [5], \"data_offsets\": [96, 116]}, \"conv1.weight\": "
               "{\"dtype\": "
               "\"F32\", \"shape\": [2, 2, 3, 1], \"data_offsets\": [0, 48]}, \"fc.weight\": {\"dtype\": \"F32\", "
               "\"shape\": [2, "
               "6], \"data_offsets\": [48, 96]}, \"bn1.num_batches_tracked\": {\"dtype\": \"I64\", \"shape\": [], "
               "\"data_offsets\": [108, 116]}}",
               data, sizeof data, path);
    fake.tensors[3].unused = true;
    cr_assert(checkpoint_open(path, &file, &c, &err), "%s", err.text);
    cr_assert_not(c.known);
    cr_assert(checkpoint_load(file, &tensors, staging, &err), "%s", err.text);
    checkpoint_close(file);
    const float turned[] = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
    for (int i = 0; i < 12; i++) {
        cr_assert(fake.values[0][i] == turned[i], "%d", i);
        cr_assert(fake.values[1][i] == 12 + turned[i], "%d", i);
    }
    for (int i = 0; i < 5; i++) cr_assert(fake.values[2][i] == (float)(24 + i));
    fake.tensors[3].unused = false;
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "weights alone"), "%s", err.text);
}

/* What a run would leave lie of a state is told from it where the file does not say whose it is. */
Test(checkpoint_foreign, a_state_is_there_and_has_no_more_than_is_kept)
{
    char path[CHECKPOINT_PATH];
    struct checkpoint c;
    struct checkpoint_file *file;
    struct fake fake = make_fake();
    struct checkpoint_tensors all = tensors_of(&fake), fewer = all;
    struct error err = {0};
    fewer.count--;
    write_one(1);
    cr_assert(checkpoint_find(folder, path, &err) && checkpoint_open(path, &file, &c, &err), "%s", err.text);
    cr_assert(checkpoint_check_state(file, &all, true, &err) && checkpoint_check_state(file, &fewer, false, &err), "%s",
              err.text);
    cr_assert_not(checkpoint_check_state(file, &fewer, true, &err));
    cr_assert(strstr(err.text, "1 tensor that this run does not keep"), "%s", err.text);
    checkpoint_close(file);
    write_text("{\"fc.bias\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", "\0\0\0", 4, path);
    cr_assert(checkpoint_open(path, &file, &c, &err), "%s", err.text);
    cr_assert_not(checkpoint_check_state(file, &fewer, false, &err));
    cr_assert(strstr(err.text, "weights alone"), "%s", err.text);
    checkpoint_close(file);
}

Test(checkpoint_foreign, headers_that_are_wrong_are_refused)
{
    static const struct {
        const char *header, *says;
    } wrong[] = {{"[]", "no object"},
                 {"{\"a\": 1}", "dtype, shape and data_offsets of a"},
                 {"{\"a\": {\"dtype\": \"F32\", \"shape\": [3], \"data_offsets\": [0, 8]}}", "data_offsets of a"},
                 {"{\"a\": {\"dtype\": \"F32\", \"shape\": [-2], \"data_offsets\": [0, 8]}}", "data_offsets of a"},
                 {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 16]}}", "is cut off"},
                 {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", "is damaged: it has"},
                 {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4611686018427387904, 4], \"data_offsets\": [0, 0]}}",
                  "data_offsets of a"},
                 {"{\"fc.bias\": {\"dtype\": \"F16\", \"shape\": [4], \"data_offsets\": [0, 8]}}", "of another model"},
                 {"{", "not JSON"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char path[CHECKPOINT_PATH];
        struct error err = {0};
        struct checkpoint c;
        struct fake fake = make_fake();
        write_text(wrong[i].header, "\0\0\0\0\0\0\0", 8, path);
        cr_assert_not(read_one(path, &c, &fake, &err), "%s", wrong[i].header);
        cr_assert_eq(err.kind, ERROR_INPUT);
        cr_assert(strstr(err.text, wrong[i].says), "'%s' does not say '%s'", err.text, wrong[i].says);
    }
}
