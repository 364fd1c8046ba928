/* Temporary datasets for the tests of the data part. */
#ifndef FATHOM_DATA_HELP_H
#define FATHOM_DATA_HELP_H

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "augment.h"
#include "data.h"

#define HELP_PATH   256
#define HELP_PIXELS 3072

/* A fresh folder; the caller ends it with help_remove. */
static inline void help_folder(char path[HELP_PATH])
{
    snprintf(path, HELP_PATH, "/tmp/fathom-data-XXXXXX");
    cr_assert(mkdtemp(path));
}

static inline void help_remove(const char *path)
{
    char command[HELP_PATH + 32];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    cr_assert_eq(system(command), 0);
}

static inline const char *help_join(char out[2 * HELP_PATH], const char *folder, const char *name)
{
    snprintf(out, 2 * HELP_PATH, "%s/%s", folder, name);
    return out;
}

/* A byte of image `image` of a part that tests can predict. */
static inline unsigned char help_pixel(int part, unsigned image, unsigned index)
{
    return (unsigned char)((image * 31 + index * 7 + (unsigned)part * 101 + index / 1024 * 50) % 256);
}

/* Appends records first..end with labels image % classes; label_bytes 2 puts a coarse label in front. */
static inline void help_records(const char *folder, const char *name, int part, unsigned first, unsigned end,
                                unsigned classes, unsigned label_bytes)
{
    char path[2 * HELP_PATH];
    FILE *stream = fopen(help_join(path, folder, name), "ab");
    cr_assert(stream);
    for (unsigned image = first; image < end; image++) {
        if (label_bytes == 2) fputc((int)(image % 20), stream);
        fputc((int)(image % classes), stream);
        for (unsigned i = 0; i < HELP_PIXELS; i++) fputc(help_pixel(part, image, i), stream);
    }
    cr_assert_eq(fclose(stream), 0);
}

/* CIFAR-10 binaries: two batches of 15 and 5 images, 7 test images. */
static inline void help_cifar10(char path[HELP_PATH])
{
    help_folder(path);
    help_records(path, "data_batch_1.bin", 0, 0, 15, 10, 1);
    help_records(path, "data_batch_2.bin", 0, 15, 20, 10, 1);
    help_records(path, "test_batch.bin", 1, 0, 7, 10, 1);
}

static inline void help_refused(const char *path, enum error_kind kind, const char *first, const char *second)
{
    struct dataset *dataset = NULL;
    struct error err = {0};
    cr_assert_not(dataset_open(path, &dataset, &err), "%s was opened", path);
    cr_assert_null(dataset);
    cr_assert_eq(err.kind, kind, "%s", err.text);
    cr_assert(strstr(err.text, first), "'%s' does not say '%s'", err.text, first);
    cr_assert(strstr(err.text, second), "'%s' does not say '%s'", err.text, second);
}

/* What OP_INPUT makes of bytes (planner/graph/lower.h). */
static inline void help_make_images(const struct dataset_info *info, const struct batch *batch, uint32_t images, uint32_t side,
                        float *out)
{
    size_t numbers = (size_t)side * side * 3;
    float *plain = malloc(numbers * sizeof *plain);
    for (uint32_t i = 0; i < images; i++) {
        const int32_t *placement = batch->placements + 4 * i;
        const uint8_t *pixels = batch->pixels + i * numbers;
        for (size_t p = 0; p < numbers; p++)
            plain[p] = ((float)pixels[p] / 255.0f - info->mean[p % 3]) / info->deviation[p % 3];
        struct augment_shift shift = {placement[0], placement[1], placement[2] == 1};
        cr_assert(placement[2] == (int32_t)shift.flip && placement[3] == 0);
        augment_apply_shift(plain, side, shift, out + i * numbers);
    }
    free(plain);
}

/* Bytes and their placements are bitwise the images of a loader of the same options. */
static inline void help_check_bytes(struct dataset *dataset, struct loader_options options, uint32_t batches)
{
    size_t numbers = (size_t)options.batch * options.image_size * options.image_size * 3;
    struct loader *loaders[2];
    struct error err = {0};
    float *made = malloc(numbers * sizeof *made);
    for (int i = 0; i < 2; i++) {
        options.as_bytes = i == 1;
        cr_assert(loader_create(dataset, &options, &loaders[i], &err), "%s", err.text);
    }
    for (uint32_t b = 0; b < batches; b++) {
        struct batch images, bytes;
        cr_assert(loader_next(loaders[0], &images, &err) && loader_next(loaders[1], &bytes, &err), "%s", err.text);
        cr_assert(images.images && !images.pixels && !images.placements);
        cr_assert(!bytes.images && bytes.pixels && bytes.placements);
        cr_assert(images.count == bytes.count && images.position == bytes.position);
        cr_assert_arr_eq(images.labels, bytes.labels, options.batch * sizeof *images.labels);
        help_make_images(dataset_info(dataset), &bytes, options.batch, options.image_size, made);
        cr_assert(memcmp(made, images.images, numbers * sizeof *made) == 0, "batch %u of %u x %u", b, options.image_size,
                  options.image_size);
    }
    for (int i = 0; i < 2; i++) loader_destroy(loaders[i]);
    free(made);
}

#endif
