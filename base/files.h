/* Whole files: read with a size limit, written so that a reader sees the old content or the new, never a part. */
#ifndef FATHOM_FILES_H
#define FATHOM_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "errors.h"

/* Reads a file of at most most_bytes into a fresh block with a NUL after its end; the caller frees it with mem_free.
 * ERROR_INPUT when it is missing, unreadable, a directory or larger. */
bool files_read(const char *path, uint64_t most_bytes, char **bytes, size_t *length, struct error *err);

/* A file being written under "PATH.partial-PID" in the same folder. files_commit flushes to disk and renames it over
 * the path; files_abandon removes it. Exactly one of the two ends it; both take a zeroed object. A path that is a
 * device or a pipe is written to directly, a link's target is replaced; a folder is ERROR_INPUT. What killed
 * processes left beside the path is removed first. */
struct files_writer {
    FILE *stream; /* write here; errors are found by files_commit */
    char *path;
    char *partial; /* NULL for a device or a pipe */
};
bool files_begin(struct files_writer *writer, const char *path, struct error *err);
bool files_commit(struct files_writer *writer, struct error *err);
void files_abandon(struct files_writer *writer);

/* files_begin + one write + files_commit. */
bool files_write(const char *path, const void *bytes, size_t length, struct error *err);

/* Makes a folder and its parents; true when it is there already. */
bool files_make_folder(const char *path, struct error *err);

#endif
