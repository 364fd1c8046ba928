/* What a command reads and what it writes: no output may be an input or another output, however it is called. */
#ifndef FATHOM_OUTPUTS_H
#define FATHOM_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define OUTPUTS_MOST 256

struct output_use {
    const char *label; /* "--log", "fathom train" */
    bool written, exists;
    uint64_t device, inode; /* of what exists */
    uint64_t path_hash;     /* of what does not: of its path without links */
};

struct outputs {
    struct output_use uses[OUTPUTS_MOST];
    size_t count;
};

/* The files that a command reads, before those that it writes. A path that is NULL or names no file is passed over: it is
 * a model or a GPU, or is refused by whoever reads it. ERROR_INPUT when standard output goes there. The label is borrowed.
 */
bool outputs_reads(struct outputs *outputs, const char *label, const char *path, struct error *err);
/* The same for "a.trace,b.trace". */
bool outputs_reads_list(struct outputs *outputs, const char *label, const char *paths, struct error *err);

/* A file or a folder that the command writes; NULL is passed over. ERROR_INPUT, in one sentence, when it is one of those
 * so far, or the file that standard output or standard error goes to. Nothing has been written then. */
bool outputs_writes(struct outputs *outputs, const char *label, const char *path, struct error *err);

#endif
