/* A run of a few tensors that lives in memory, written to a folder of its own and read again. */
#ifndef FATHOM_CHECKPOINT_KIT_H
#define FATHOM_CHECKPOINT_KIT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"

#define TENSORS 4
#define MOST    24

/* A run of four small tensors that lives in memory; the last is in the second file. */
struct fake {
    struct checkpoint_tensor tensors[TENSORS];
    float values[TENSORS][MOST];
};

static inline void describe(void *context, size_t i, struct checkpoint_tensor *tensor)
{
    *tensor = ((struct fake *)context)->tensors[i];
}

static inline size_t elements(const struct fake *fake, size_t i)
{
    const uint32_t *d = fake->tensors[i].kernel;
    return (size_t)d[0] * d[1] * d[2] * d[3];
}

static inline bool get(void *context, size_t i, float *values, struct error *err)
{
    (void)err;
    struct fake *fake = context;
    memcpy(values, fake->values[i], elements(fake, i) * sizeof *values);
    return true;
}

static inline bool put(void *context, size_t i, const float *values, struct error *err)
{
    (void)err;
    struct fake *fake = context;
    memcpy(fake->values[i], values, elements(fake, i) * sizeof *values);
    return true;
}

static inline struct checkpoint_tensors tensors_of(struct fake *fake)
{
    return (struct checkpoint_tensors){fake, TENSORS, describe, get, put};
}

static inline struct fake make_fake(void)
{
    struct fake fake = {
        .tensors = {{"conv1.weight", "stem/conv.weight", {2, 2, 3, 1}, 4, {2, 3, 1, 2}, .state = false},
                    {"fc.weight", "head/fc.weight", {2, 6}, 2, {2, 3, 1, 2}, .state = false},
                    {"fc.bias", "head/fc.bias", {5}, 1, {1, 1, 1, 5}, .state = false},
                    {"fc.bias.momentum_buffer", "head/fc.bias.momentum", {5}, 1, {1, 1, 1, 5}, .state = true}}};
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t k = 0; k < MOST; k++) fake.values[i][k] = (float)(i + 1) / (float)(k + 3);
    return fake;
}

static inline struct checkpoint make_checkpoint(uint64_t step)
{
    struct checkpoint c = {
        .step = step,
        .seed = UINT64_MAX - 7,
        .position = step * 16,
        .dataset_hash = 0x1234567890abcdef,
        .batch = 16,
        .devices = 2,
        .optimizer = OPTIMIZER_ADAM,
        .averages = true,
        .top1_error = 0.1,
        .schedule = {
            .warmed = true, .train_error = 0.3, .best_error = 0.25, .stale = 1, .plateaus = 2, .waiting = true}};
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    cr_assert(model_parse("resnet-20", &options, &c.spec, NULL));
    return c;
}

static char folder[] = "/tmp/fathom-ckpt-XXXXXX";
static float staging[MOST];

static inline void make_folder(void)
{
    strcpy(folder, "/tmp/fathom-ckpt-XXXXXX");
    cr_assert(mkdtemp(folder));
}

static inline void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

static inline void write_one(uint64_t step)
{
    struct fake fake = make_fake();
    struct checkpoint c = make_checkpoint(step);
    struct checkpoint_tensors tensors = tensors_of(&fake);
    struct error err = {0};
    cr_assert(checkpoint_write(folder, &c, &tensors, staging, &err), "%s", err.text);
}

static inline bool read_one(const char *path, struct checkpoint *c, struct fake *fake, struct error *err)
{
    struct checkpoint_file *file;
    struct checkpoint found;
    struct checkpoint_tensors tensors = tensors_of(fake);
    if (!checkpoint_open(path, &file, &found, err)) return false;
    bool ok = checkpoint_load(file, &tensors, staging, err);
    checkpoint_close(file);
    if (ok) *c = found;
    return ok;
}

/* No fsync: thousands of them take a while. */
static inline void put_bytes(const char *path, const char *bytes, size_t length)
{
    FILE *out = fopen(path, "wb");
    cr_assert(out && fwrite(bytes, 1, length, out) == length && fclose(out) == 0);
}

#endif
