/* Arrays for NumPy: version 1.0 of its format (numpy.lib.format), little-endian float32 in C's order. */
#ifndef FATHOM_NPY_H
#define FATHOM_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"

/* rows x columns; atomic, as files_commit is. */
bool npy_write(const char *path, const float *values, uint64_t rows, uint64_t columns, struct error *err);
/* PATH.txt: a line for each row; line ends in names become blanks. */
bool npy_write_names(const char *path, const char *const *names, size_t count, struct error *err);

#endif
