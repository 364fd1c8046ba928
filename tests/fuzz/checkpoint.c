/* Checkpoints of any content. Checksums of older versions would keep every change out, so they are put right first
 * where the length is even; then sizes, names and table decide. Loading hands over the wanted tensors in order, or says
 * why not. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>

#include "checkpoint.h"
#include "fuzz_file.h"
#include "hash.h"
#include "mem.h"

#define PREFIX_BYTES 24
#define SUM_BYTES    8

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct checkpoint_tensor wanted[] = {
    {"conv1.weight", "stem/conv", {2, 3, 1, 1}, 4, {2, 1, 1, 3}, .state = false},
    {"fc.weight", "head/linear", {4, 1, 1, 1}, 4, {4, 1, 1, 1}, .state = false}};
static const uint64_t counts[] = {6, 4};

static void describe(void *context, size_t i, struct checkpoint_tensor *tensor)
{
    (void)context;
    *tensor = wanted[i];
}

static bool put(void *context, size_t i, const float *values, struct error *err)
{
    size_t *next = context;
    (void)values;
    (void)err;
    if (i != (*next)++) abort();
    return true;
}

static void sum_up(uint8_t *bytes, size_t count, uint64_t seed)
{
    uint64_t sum = hash_bytes(bytes, count, seed);
    for (size_t i = 0; i < SUM_BYTES; i++) bytes[count + i] = (uint8_t)(sum >> (8 * i));
}

static void repair(uint8_t *bytes, size_t length)
{
    if (length < PREFIX_BYTES + SUM_BYTES || length % 2 != 0) return;
    size_t at = bytes[12] | (size_t)bytes[13] << 8 | (size_t)bytes[14] << 16 | (size_t)bytes[15] << 24;
    if (at < PREFIX_BYTES + SUM_BYTES || at > length) return;
    sum_up(bytes, at - SUM_BYTES, 0);
    for (size_t i = 0; i < 2; i++) {
        size_t values = counts[i] * sizeof(float);
        if (length - at < values + SUM_BYTES) return;
        sum_up(bytes + at, values, i);
        at += values + SUM_BYTES;
    }
}

static void load(struct checkpoint_file *file)
{
    float staging[6];
    size_t next = 0;
    struct error err = {0};
    const struct checkpoint_tensors tensors = {.context = &next, .count = 2, .describe = describe, .put = put};
    bool ok = checkpoint_load(file, &tensors, staging, &err);
    if (ok ? next != 2 : err.kind != ERROR_INPUT || !err.text[0]) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error err = {0};
    struct checkpoint_file *opened;
    struct checkpoint checkpoint;
    uint8_t *copy = malloc(length + 1);
    if (!copy) abort();
    memcpy(copy, bytes, length);
    repair(copy, length);
    struct fuzz_file file = fuzz_file_make(copy, length);
    free(copy);
    if (checkpoint_open(file.path, &opened, &checkpoint, &err)) {
        if (!memchr(checkpoint.spec.name, '\0', sizeof checkpoint.spec.name)) abort();
        load(opened);
        checkpoint_close(opened);
    } else if (err.kind != ERROR_INPUT || !err.text[0]) {
        abort();
    }
    fuzz_file_finish(&file);
    if (mem_current_bytes(MEM_GENERAL) != 0) abort();
    return 0;
}
