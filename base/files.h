/* Whole files: read with a size limit, written so that a reader sees the old content or the new, never a part. */
#ifndef FATHOM_FILES_H
#define FATHOM_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "errors.h"

/* A file is wanted wherever a path is given. What else has that name is refused in one sentence that says what it is
 * (ERROR_INPUT), and nothing ever waits for a pipe's other end. Here it is decided what may be opened. */
enum files_streams {
    FILES_REGULAR,   /* nothing but a regular file: it has a size and can be read at any place */
    FILES_OR_STREAM, /* also a pipe, socket or terminal that this process was given: /dev/stdin, /dev/fd/N */
};

/* Opens what is there to be read. The caller closes *fd. */
bool files_open(const char *path, enum files_streams streams, int *fd, struct error *err);

/* Opens a file to append to it and to read it, and makes it if it is not there. A character device (/dev/null) and a pipe
 * that somebody reads from can only be written to. The caller closes *fd. */
bool files_open_to_write(const char *path, int *fd, struct error *err);

/* Reads a file of at most most_bytes into a fresh block with a NUL after its end; the caller frees it with mem_free.
 * ERROR_INPUT when it is missing, unreadable, no file or given stream, or larger. */
bool files_read(const char *path, uint64_t most_bytes, char **bytes, size_t *length, struct error *err);

/* The path without links, "." and ".."; its last part need not be there. False when the rest is not, or it is too long. */
#define FILES_PATH 4096
bool files_resolve(const char *path, char resolved[FILES_PATH]);
/* The same where folders of it are still to be made too, as those will be. */
bool files_resolve_unmade(const char *path, char resolved[FILES_PATH]);

/* A file being written under another name in the same folder (partial.h). files_commit flushes to disk and renames it
 * over the path; files_abandon removes it. Exactly one of these ends it (or files_publish); all take a zeroed object. A
 * path that is a device, a pipe or a descriptor of this process (/dev/fd/N) is written to directly, a link's target is
 * replaced. What killed processes left beside the path is removed first. */
struct files_writer {
    FILE *stream; /* write here; errors are found by files_commit */
    char *path;
    char *partial; /* NULL for what is written to directly */
};
bool files_begin(struct files_writer *writer, const char *path, struct error *err);
bool files_commit(struct files_writer *writer, struct error *err);
void files_abandon(struct files_writer *writer);

/* What was written is on disk, or ERROR_FAILED: when all of several files are, none of them is committed in vain. */
bool files_flush(struct files_writer *writer, struct error *err);

/* As files_commit, but the file stays open: *fd appends to it and holds its lock (locks.h); the caller closes it. Without
 * `replace` a file that has come to be there is ERROR_FAILED. */
bool files_publish(struct files_writer *writer, bool replace, int *fd, struct error *err);

/* files_begin + one write + files_commit. A path like /dev/fd/3 is a descriptor that this process was given: it is written
 * to where it stands. */
bool files_write(const char *path, const void *bytes, size_t length, struct error *err);

/* An empty file without a name, gone when it is closed: in the folder of `beside`, or where that takes none in $TMPDIR or
 * /tmp. The caller closes *fd. ERROR_FAILED. */
bool files_scratch(const char *beside, int *fd, struct error *err);

/* Makes a folder and its parents; true when it is there already. */
bool files_make_folder(const char *path, struct error *err);
/* How many bytes of the path name folders that are there; files_unmake_folder removes those after them that are empty, as
 * a failed command does. */
size_t files_folder_there(const char *path);
void files_unmake_folder(const char *path, size_t there);

/* Where this user's caches of one kind lie, "~/.cache/fathom/`kind`" or below $XDG_CACHE_HOME (XDG Base Directory
 * Specification: a relative path there is none); NULL when nowhere. It need not be there. */
const char *files_cache(const char *kind, char path[FILES_PATH]);

#endif
