/* Arrays for NumPy: version 1.0 of its format (numpy.lib.format), little-endian numbers in C's order. */
#ifndef FATHOM_NPY_H
#define FATHOM_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "files.h"

/* An array on its way to a file, row by row. Ended by files_flush and files_commit, or files_abandon, of `file`. */
struct npy_writer {
    struct files_writer file;
};
/* rows x columns of float32; or of int32 a line of so many. */
bool npy_begin(struct npy_writer *writer, const char *path, uint64_t rows, uint64_t columns, struct error *err);
bool npy_begin_integers(struct npy_writer *writer, const char *path, uint64_t count, struct error *err);
/* The next numbers; errors are found by files_commit. */
void npy_add(struct npy_writer *writer, const float *values, uint64_t count);
void npy_add_integer(struct npy_writer *writer, int32_t value);

/* Whether files are put beside the array: a device, a pipe or a descriptor has nothing beside it. */
bool npy_has_beside(const struct npy_writer *writer);

/* rows x columns at once, and names[rows] beside it; both or none, each atomic, as files_commit is. */
bool npy_write(const char *path, const float *values, uint64_t rows, uint64_t columns, const char *const *names,
               struct error *err);
/* PATH.txt: a line for each row; line ends in names become blanks. */
bool npy_begin_names(struct files_writer *writer, const char *path, struct error *err);
void npy_add_name(struct files_writer *writer, const char *name);

#endif
