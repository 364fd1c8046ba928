/* Small sets of pictures in folders by class. */
#ifndef FATHOM_DATA_SET_HELP_H
#define FATHOM_DATA_SET_HELP_H

#include "data_help.h"
#include "data_jpeg_help.h"

static inline void make_folder(const char *folder, const char *name)
{
    char path[2 * HELP_PATH];
    cr_assert_eq(mkdir(help_join(path, folder, name), 0777), 0);
}

static inline void put_jpeg(const char *folder, const char *name, struct help_jpeg jpeg)
{
    char path[2 * HELP_PATH];
    help_write_jpeg(help_join(path, folder, name), jpeg);
}

static inline void put_bytes(const char *folder, const char *name, const char *bytes)
{
    char path[2 * HELP_PATH];
    help_write_bytes(help_join(path, folder, name), bytes, strlen(bytes));
}

/* Classes bee (4 + 2 images), ant (6 + 1), cat (3 + 0) of side x side pixels. */
static inline void make_set(char path[HELP_PATH], uint32_t side)
{
    help_folder(path);
    const char *const classes[] = {"bee", "ant", "cat"};
    const unsigned train[] = {4, 6, 3}, test[] = {2, 1, 0};
    make_folder(path, "train");
    make_folder(path, "test");
    for (unsigned c = 0; c < 3; c++) {
        char name[64];
        snprintf(name, sizeof name, "train/%s", classes[c]);
        make_folder(path, name);
        for (unsigned i = 0; i < train[c]; i++) {
            snprintf(name, sizeof name, "train/%s/%02u.%s", classes[c], 9 - i, i % 2 ? "JPEG" : "jpg");
            put_jpeg(path, name, (struct help_jpeg){side, side, 3, false, c * 8 + 9 - i});
        }
        if (test[c] == 0) continue;
        snprintf(name, sizeof name, "test/%s", classes[c]);
        make_folder(path, name);
        for (unsigned i = 0; i < test[c]; i++) {
            snprintf(name, sizeof name, "test/%s/%02u.jpg", classes[c], i);
            put_jpeg(path, name, (struct help_jpeg){side, side, 3, false, 24 + c * 2 + i});
        }
    }
}

static inline struct dataset *open_set(const char *path)
{
    struct dataset *dataset = NULL;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    return dataset;
}

#endif
