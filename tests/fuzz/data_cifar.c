/* CIFAR folders of any content: the first two bytes say how much of the rest is the file of names, the rest is split
 * over a training and a test file. What opens can be loaded, with labels in range. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "data.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const char *const names[] = {"batches.meta.txt", "data_batch_1.bin", "test_batch.bin"};

static void write_file(const char *folder, const char *name, const uint8_t *bytes, size_t length)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *stream = fopen(path, "wb");
    if (!stream || fwrite(bytes, 1, length, stream) != length || fclose(stream) != 0) abort();
}

static void load(struct dataset *dataset)
{
    struct loader_options options = {.batch = 3, .image_size = 32, .train = true, .augment = true, .threads = 1};
    struct loader *loader;
    struct batch batch;
    struct error err = {0};
    if (!loader_create(dataset, &options, &loader, &err) || !loader_next(loader, &batch, &err)) abort();
    for (uint32_t i = 0; i < 3; i++) {
        if (batch.labels[i] < 0 || (uint32_t)batch.labels[i] >= dataset_info(dataset)->classes) abort();
        if (!dataset_class_name(dataset, (uint32_t)batch.labels[i])) abort();
    }
    loader_destroy(loader);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length < 2) return 0;
    char folder[] = "/tmp/fathom-fuzz-XXXXXX";
    if (!mkdtemp(folder)) abort();
    size_t rest = length - 2, meta = (size_t)(bytes[0] | bytes[1] << 8);
    if (meta > rest) meta = rest;
    size_t train = (rest - meta + 1) / 2;
    if (meta) write_file(folder, names[0], bytes + 2, meta);
    write_file(folder, names[1], bytes + 2 + meta, train);
    write_file(folder, names[2], bytes + 2 + meta + train, rest - meta - train);
    struct dataset *dataset;
    struct error err = {0};
    if (dataset_open(folder, &dataset, &err)) {
        load(dataset);
        dataset_close(dataset);
    } else if (err.kind != ERROR_INPUT || !err.text[0]) {
        abort();
    }
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    if (rmdir(folder) != 0 || mem_current_bytes(MEM_INPUT) != 0 || mem_current_bytes(MEM_GENERAL) != 0) abort();
    return 0;
}
