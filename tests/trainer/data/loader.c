/* The loader: the same pixels at the same position whatever the batch, the threads and the starting point. */
#include "data_help.h"

#include "augment.h"
#include "mem.h"

#define IMAGE 3072

static struct dataset *open_small(char path[HELP_PATH])
{
    help_cifar10(path);
    struct dataset *dataset;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    return dataset;
}

/* Delivers positions [options.first, options.first + count) into pixels and labels, count a multiple of the batch. */
static void deliver(struct dataset *dataset, struct loader_options options, uint64_t count, float *pixels,
                    int32_t *labels)
{
    struct loader *loader;
    struct error err = {0};
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    for (uint64_t done = 0; done < count; done += options.batch) {
        struct batch batch;
        cr_assert(loader_next(loader, &batch, &err), "%s", err.text);
        cr_assert_eq(batch.position, options.first + done);
        memcpy(pixels + done * IMAGE, batch.images, options.batch * IMAGE * sizeof *pixels);
        memcpy(labels + done, batch.labels, options.batch * sizeof *labels);
    }
    loader_destroy(loader);
}

/* Two epochs and a bit, so that batches straddle the epochs' seams. */
#define POSITIONS 48

Test(loader, position_alone_decides_the_pixels)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    static float expected[POSITIONS * IMAGE], found[POSITIONS * IMAGE];
    static int32_t expected_labels[POSITIONS], labels[POSITIONS];
    struct loader_options options = {
        .batch = 1, .image_size = 32, .seed = 7, .train = true, .augment = true, .threads = 1};
    deliver(dataset, options, POSITIONS, expected, expected_labels);
    const uint32_t batches[] = {2, 3, 16, 24, 48}, threads[] = {1, 2, 5}, aheads[] = {1, 4};
    for (size_t i = 0; i < 5 * 3 * 2; i++) {
        options.batch = batches[i % 5];
        options.threads = threads[i / 5 % 3];
        options.ahead = aheads[i / 15];
        deliver(dataset, options, POSITIONS, found, labels);
        cr_assert_eq(memcmp(found, expected, sizeof expected), 0, "batch %u, %u threads", options.batch,
                     options.threads);
        cr_assert_eq(memcmp(labels, expected_labels, sizeof labels), 0);
    }
    for (uint64_t first = 1; first < POSITIONS - 4; first += 7) {
        options.batch = 4;
        options.first = first;
        deliver(dataset, options, 4, found, labels);
        cr_assert_eq(memcmp(found, expected + first * IMAGE, 4 * IMAGE * sizeof *found), 0, "resumed at %d",
                     (int)first);
    }
    dataset_close(dataset);
    help_remove(path);
}

Test(loader, an_epoch_has_each_image_once_and_epochs_differ)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    static float pixels[40 * IMAGE];
    int32_t labels[40];
    struct loader_options options = {.batch = 20, .image_size = 32, .seed = 3, .train = true};
    deliver(dataset, options, 40, pixels, labels);
    for (int epoch = 0; epoch < 2; epoch++)
        for (int a = 0; a < 20; a++)
            for (int b = 0; b < a; b++)
                cr_assert_neq(memcmp(pixels + (epoch * 20 + a) * IMAGE, pixels + (epoch * 20 + b) * IMAGE,
                                     IMAGE * sizeof *pixels),
                              0);
    cr_assert_neq(memcmp(labels, labels + 20, 20 * sizeof *labels), 0);
    static float other[20 * IMAGE];
    int32_t other_labels[20];
    options.seed = 4;
    deliver(dataset, options, 20, other, other_labels);
    cr_assert_neq(memcmp(labels, other_labels, sizeof other_labels), 0, "another seed, another order");
    dataset_close(dataset);
    help_remove(path);
}

Test(loader, evaluation_is_in_order_normalised_and_padded)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    const struct dataset_info *info = dataset_info(dataset);
    struct loader_options options = {.batch = 5, .image_size = 32, .threads = 2};
    struct loader *loader;
    struct error err = {0};
    struct batch batch;
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    for (unsigned first = 0; first < 15; first += 5) {
        unsigned real = first == 0 ? 5 : first == 5 ? 2 : 0;
        cr_assert(loader_next(loader, &batch, &err), "%s", err.text);
        cr_assert_eq(batch.count, real);
        cr_assert_eq(batch.position, first);
        for (unsigned i = 0; i < 5; i++) {
            cr_assert_eq(batch.labels[i], i < real ? (int32_t)((first + i) % 10) : -1);
            for (unsigned p = 0; p < IMAGE; p++) {
                unsigned channel = p % 3;
                float raw = (float)help_pixel(1, first + i, channel * 1024 + p / 3) / 255.0f;
                float wanted = i < real ? (raw - info->mean[channel]) / info->deviation[channel] : 0.0f;
                cr_assert_float_eq(batch.images[i * IMAGE + p], wanted, 1e-5);
            }
        }
    }
    loader_destroy(loader);
    options.limit = 6;
    options.first = 5;
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    cr_assert(loader_next(loader, &batch, &err), "%s", err.text);
    cr_assert_eq(batch.count, 1);
    cr_assert_eq(batch.labels[0], (int32_t)augment_sample(7, 6, 5));
    cr_assert_eq(batch.labels[1], -1);
    loader_destroy(loader);
    dataset_close(dataset);
    help_remove(path);
}

/* A part of the test set is spread over it, in whatever batches it comes and however it is delivered. */
Test(loader, a_part_of_the_test_set_is_a_sample_of_it)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    static float pixels[2][4 * IMAGE];
    int32_t labels[2][4];
    struct loader_options options = {.batch = 4, .image_size = 32, .limit = 3, .threads = 2};
    deliver(dataset, options, 4, pixels[0], labels[0]);
    for (unsigned i = 0; i < 3; i++) cr_assert_eq(labels[0][i], (int32_t)augment_sample(7, 3, i));
    cr_assert_geq(labels[0][2], 4); /* not the first three */
    cr_assert_eq(labels[0][3], -1);
    options.batch = 2;
    options.seed = 9;
    deliver(dataset, options, 4, pixels[1], labels[1]);
    cr_assert_arr_eq(labels[1], labels[0], sizeof labels[0]);
    cr_assert_arr_eq(pixels[1], pixels[0], 3 * IMAGE * sizeof(float));
    help_check_bytes(dataset, options, 2);
    dataset_close(dataset);
    help_remove(path);
}

/* ---- As bytes ---- */

Test(loader, bytes_are_the_same_images)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    struct loader_options options = {
        .batch = 7, .image_size = 32, .seed = 7, .train = true, .augment = true, .threads = 2};
    help_check_bytes(dataset, options, 9);
    options.augment = false;
    help_check_bytes(dataset, options, 3);
    options = (struct loader_options){.batch = 5, .image_size = 32, .threads = 2};
    help_check_bytes(dataset, options, 5); /* two of them hold images */
    dataset_close(dataset);
    help_remove(path);
}

Test(loader, bytes_take_a_quarter)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    struct loader_options options = {
        .batch = 64, .image_size = 32, .train = true, .augment = true, .as_bytes = true, .threads = 1, .ahead = 3};
    cr_assert_eq(loader_bytes(&options), 4u * 64u * (32u * 32u * 3u + 20u));
    uint64_t before = mem_current_bytes(MEM_INPUT);
    struct loader *loader;
    struct error err = {0};
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    uint64_t held = mem_current_bytes(MEM_INPUT) - before;
    cr_assert_geq(held, loader_bytes(&options));
    cr_assert_leq(held, loader_bytes(&options) + 32768, "the tables");
    loader_destroy(loader);
    cr_assert_eq(mem_current_bytes(MEM_INPUT), before);
    dataset_close(dataset);
    help_remove(path);
}

Test(loader, a_loader_holds_what_was_said)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    struct loader_options options = {
        .batch = 64, .image_size = 32, .train = true, .augment = true, .threads = 1, .ahead = 3};
    cr_assert_eq(loader_bytes(&options), 4u * 64u * (32u * 32u * 3u * 4u + 4u));
    uint64_t before = mem_current_bytes(MEM_INPUT);
    struct loader *loader;
    struct error err = {0};
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    uint64_t held = mem_current_bytes(MEM_INPUT) - before;
    cr_assert_geq(held, loader_bytes(&options));
    cr_assert_leq(held, loader_bytes(&options) + 32768, "a picture and the tables");
    loader_destroy(loader);
    cr_assert_eq(mem_current_bytes(MEM_INPUT), before);
    options.ahead = 0;
    cr_assert_eq(loader_bytes(&options), 3u * 64u * (32u * 32u * 3u * 4u + 4u));
    dataset_close(dataset);
    help_remove(path);
}

Test(loader, impossible_options_are_refused)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    const struct loader_options wrong[] = {
        {.batch = 0, .image_size = 32},
        {.batch = 1, .image_size = 0},
        {.batch = 1, .image_size = 224},
        {.batch = 1, .image_size = 32, .threads = 1000},
        {.batch = 1, .image_size = 32, .ahead = 5000},
        {.batch = 1, .image_size = 32, .first = UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct loader *loader = NULL;
        struct error err = {0};
        cr_assert_not(loader_create(dataset, &wrong[i], &loader, &err), "options %zu", i);
        cr_assert_eq(err.kind, ERROR_INPUT);
        cr_assert_null(loader);
    }
    dataset_close(dataset);
    help_remove(path);
}

Test(loader, a_file_that_shrinks_during_the_run_is_named_in_its_batch)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    struct dataset *dataset = open_small(path);
    cr_assert_eq(truncate(help_join(file, path, "test_batch.bin"), 3073 * 4), 0);
    struct loader_options options = {.batch = 2, .image_size = 32, .threads = 2};
    struct loader *loader;
    struct batch batch;
    struct error err = {0};
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    cr_assert(loader_next(loader, &batch, &err), "%s", err.text);
    cr_assert(loader_next(loader, &batch, &err), "%s", err.text);
    cr_assert_eq(batch.labels[1], 3);
    for (int again = 0; again < 2; again++) {
        err = (struct error){0};
        cr_assert_not(loader_next(loader, &batch, &err));
        cr_assert_eq(err.kind, ERROR_FAILED);
        cr_assert(strstr(err.text, "test_batch.bin: ends at byte 12292"), "%s", err.text);
    }
    loader_destroy(loader);
    dataset_close(dataset);
    help_remove(path);
}

Test(loader, every_failed_allocation_is_an_error_without_a_leak)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    struct loader_options options = {.batch = 4, .image_size = 32, .train = true, .augment = true, .threads = 3};
    bool made = false;
    for (uint64_t n = 1; !made; n++) {
        cr_assert_lt(n, 100);
        uint64_t before = mem_current_bytes(MEM_INPUT);
        struct loader *loader = NULL;
        struct error err = {0};
        mem_fail_at(n);
        made = loader_create(dataset, &options, &loader, &err);
        cr_assert_neq(made, mem_fail_at(0));
        cr_assert(made || (err.kind == ERROR_MEMORY && !loader), "%s", err.text);
        loader_destroy(loader);
        cr_assert_eq(mem_current_bytes(MEM_INPUT), before);
    }
    dataset_close(dataset);
    help_remove(path);
}

Test(loader, crops_are_not_taken_of_records)
{
    char path[HELP_PATH];
    struct dataset *dataset = open_small(path);
    struct loader *loader;
    struct loader_options options[] = {{.batch = 2, .image_size = 32, .crops = DATA_CROPS},
                                       {.batch = 2, .image_size = 32, .shorter_side = 40}};
    for (int i = 0; i < 2; i++) {
        struct error err = {0};
        cr_assert_not(loader_create(dataset, &options[i], &loader, &err));
        cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "its images are 32 x 32 and seen whole"), "%s", err.text);
    }
    dataset_close(dataset);
    help_remove(path);
}
