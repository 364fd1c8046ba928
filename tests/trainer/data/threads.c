/* The loader and the sweep under many threads; a program of its own, so that ThreadSanitizer can watch it. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data.h"
#include "data_jpeg_help.h"
#include "decode_memory.h"
#include "parallel_for.h"

#define IMAGE     3072
#define POSITIONS 960

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                                \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        exit(1);                                                                                                       \
    } while (0)

static float expected[POSITIONS * IMAGE], found[POSITIONS * IMAGE];

static void deliver(struct dataset *dataset, struct loader_options options, float *pixels)
{
    struct loader *loader;
    struct batch batch;
    struct error err = {0};
    CHECK(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    for (unsigned done = 0; done < POSITIONS; done += options.batch) {
        CHECK(loader_next(loader, &batch, &err), "%s", err.text);
        CHECK(batch.position == done, "%u", done);
        memcpy(pixels + (size_t)done * IMAGE, batch.images, (size_t)options.batch * IMAGE * sizeof *pixels);
    }
    loader_destroy(loader);
}

static void test_loader(struct dataset *dataset)
{
    struct loader_options options = {
        .batch = 1, .image_size = 32, .seed = 2, .train = true, .augment = true, .threads = 1};
    deliver(dataset, options, expected);
    const unsigned batches[] = {1, 5, 32, 96, 480};
    for (unsigned i = 0; i < 10; i++) {
        options.batch = batches[i % 5];
        options.threads = 2 + i;
        options.ahead = 1 + i % 3;
        deliver(dataset, options, found);
        CHECK(memcmp(expected, found, sizeof found) == 0, "batch %u, %u threads", options.batch, options.threads);
    }
}

/* A loader may be ended at any time: before the first batch, with workers waiting for room, within a batch. */
static void test_early_ends(struct dataset *dataset)
{
    struct error err = {0};
    for (unsigned i = 0; i < 40; i++) {
        struct loader_options options = {.batch = 64, .image_size = 32, .train = i % 2 == 0, .threads = 1 + i % 7};
        struct loader *loader;
        struct batch batch;
        CHECK(loader_create(dataset, &options, &loader, &err), "%s", err.text);
        for (unsigned k = 0; k < i % 4; k++) CHECK(loader_next(loader, &batch, &err), "%s", err.text);
        loader_destroy(loader);
    }
}

struct counts {
    unsigned of[5000]; /* one thread at most has an index */
    bool fail;
};

static bool count_index(void *context, uint32_t thread, uint64_t index, struct error *err)
{
    struct counts *counts = context;
    (void)thread;
    counts->of[index]++;
    return counts->fail && index % 1000 == 777 ? error_set(err, ERROR_FAILED, "index %u", (unsigned)index) : true;
}

static void test_sweep(void)
{
    static struct counts counts;
    struct error err = {0};
    CHECK(parallel_for(5000, 8, count_index, &counts, NULL, NULL, &err), "%s", err.text);
    for (unsigned i = 0; i < 5000; i++) CHECK(counts.of[i] == 1, "index %u: %u", i, counts.of[i]);
    counts.fail = true;
    for (unsigned i = 0; i < 20; i++) {
        CHECK(!parallel_for(5000, 8, count_index, &counts, NULL, NULL, &err), "a failure went unnoticed");
        CHECK(strcmp(err.text, "index 777") == 0, "%s", err.text);
    }
}

/* Large and small blocks at once: never more than the limit, and everyone gets theirs. */
struct takers {
    struct decode_memory *memory;
    atomic_uint_fast64_t held;
};

static bool take_block(void *context, uint32_t thread, uint64_t index, struct error *err)
{
    struct takers *takers = context;
    struct decode_block block;
    uint64_t bytes = index % 9 == 0 ? DECODE_BLOCK * 8 : DECODE_BLOCK * (1 + index % 3) - thread;
    if (!decode_memory_take(takers->memory, bytes, &block, err)) return false;
    CHECK(block.size >= bytes, "%llu bytes", (unsigned long long)block.size);
    CHECK(atomic_fetch_add(&takers->held, block.size) + block.size <= DECODE_BLOCK * 8, "more than the limit");
    memset(block.bytes, (int)index, bytes);
    atomic_fetch_sub(&takers->held, block.size);
    decode_memory_give(takers->memory, &block);
    CHECK(!block.bytes, "index %u", (unsigned)index);
    return true;
}

static void test_decode_memory(void)
{
    struct error err = {0};
    struct takers takers = {.memory = decode_memory_create(DECODE_BLOCK * 8, &err)};
    struct decode_block block;
    CHECK(takers.memory, "%s", err.text);
    CHECK(parallel_for(600, 6, take_block, &takers, NULL, NULL, &err), "%s", err.text);
    CHECK(!decode_memory_take(takers.memory, DECODE_BLOCK * 8 + 1, &block, &err), "more than there ever is");
    CHECK(err.kind == ERROR_MEMORY, "%s", err.text);
    decode_memory_destroy(takers.memory);
}

static void collect(void *context, const char *text)
{
    (void)text;
    ++*(unsigned *)context;
}

static void test_conversion(const char *folder)
{
    char path[256], out[256];
    for (unsigned i = 0; i < 60; i++) {
        snprintf(path, sizeof path, "mkdir -p %s/jpeg/train/%c", folder, 'a' + (int)(i % 3));
        if (i < 3) CHECK(system(path) == 0, "%s", path);
        snprintf(path, sizeof path, "%s/jpeg/train/%c/%u.jpg", folder, 'a' + (int)(i % 3), i);
        help_write_jpeg(path, (struct help_jpeg){32 + i, 32, 3, i % 2 == 0, i});
    }
    snprintf(path, sizeof path, "%s/jpeg", folder);
    snprintf(out, sizeof out, "%s/bin", folder);
    struct data_converted converted;
    struct error err = {0};
    CHECK(data_convert(path, out, 6, NULL, NULL, &converted, &err), "%s", err.text);
    CHECK(converted.train_images == 60 && converted.resized == 59, "%u", (unsigned)converted.resized);
    snprintf(out, sizeof out, "%s/jpeg/train/a/bad.jpg", folder);
    help_write_bytes(out, "damaged", 7);
    struct dataset *dataset;
    unsigned told = 0;
    uint64_t faults;
    CHECK(dataset_open(path, &dataset, &err), "%s", err.text);
    CHECK(dataset_check(dataset, 5, NULL, NULL, collect, &told, &faults, &err), "%s", err.text);
    CHECK(faults == 1 && told == 1, "%u", told);
    dataset_close(dataset);
}

int main(void)
{
    char folder[] = "/tmp/fathom-threads-XXXXXX", command[64];
    struct dataset *dataset;
    struct error err = {0};
    CHECK(mkdtemp(folder), "%s", folder);
    CHECK(data_synthesize(folder, 400, 100, 1, NULL, NULL, &err), "%s", err.text);
    CHECK(dataset_open(folder, &dataset, &err), "%s", err.text);
    test_loader(dataset);
    test_early_ends(dataset);
    dataset_close(dataset);
    test_sweep();
    test_decode_memory();
    test_conversion(folder);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 ? 0 : 1;
}
