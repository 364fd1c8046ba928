/* Temporary datasets for the tests of the data part. */
#ifndef FATHOM_DATA_HELP_H
#define FATHOM_DATA_HELP_H

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

#endif
