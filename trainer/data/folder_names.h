/* What folders of pictures hold: lists of names, in order. */
#ifndef FATHOM_FOLDER_NAMES_H
#define FATHOM_FOLDER_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

/* A zeroed one is empty. */
struct folder_names {
    char *bytes; /* each name with its NUL */
    uint64_t *offsets;
    size_t used, byte_capacity, count, offset_capacity;
};

bool folder_names_add(struct folder_names *list, const char *name, struct error *err);
const char *folder_names_at(const struct folder_names *list, size_t index);
void folder_names_finish(struct folder_names *list);

/* What a folder holds besides what was looked for, for the sentence that says so. */
struct folder_others {
    uint64_t count;
    char sample[256]; /* the first, as long as a name may be */
};

/* Appends the names of the folders, or of the pictures, in a folder, sorted. Hidden ones are left out. ERROR_INPUT where
 * it cannot be read. */
bool folder_names_list(const char *path, bool folders, struct folder_names *list, struct folder_others *others,
                       struct error *err);
/* Says what was wanted and what was found instead; always false. */
bool folder_refuse_empty(const char *path, const char *wanted, const struct folder_others *others, struct error *err);

#endif
