#include "npy.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "files.h"

#define ALIGN 64 /* of the first value */

static void write_header(FILE *out, uint64_t rows, uint64_t columns)
{
    char header[256];
    unsigned char magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 0, 0};
    int used =
        snprintf(header, sizeof header,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu64 "), }", rows, columns);
    size_t whole = (sizeof magic + (size_t)used + 1 + ALIGN - 1) / ALIGN * ALIGN, length = whole - sizeof magic;
    magic[8] = (unsigned char)length;
    magic[9] = (unsigned char)(length >> 8);
    memset(header + used, ' ', length - (size_t)used);
    header[length - 1] = '\n';
    fwrite(magic, 1, sizeof magic, out);
    fwrite(header, 1, length, out);
}

static void write_float(FILE *out, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; i++) fputc((int)(bits >> (8 * i) & 0xFF), out);
}

bool npy_write(const char *path, const float *values, uint64_t rows, uint64_t columns, struct error *err)
{
    struct files_writer writer = {0};
    TRY(files_begin(&writer, path, err));
    write_header(writer.stream, rows, columns);
    for (uint64_t i = 0; i < rows * columns; i++) write_float(writer.stream, values[i]);
    return files_commit(&writer, err);
}

bool npy_write_names(const char *path, const char *const *names, size_t count, struct error *err)
{
    char beside[PATH_MAX];
    struct files_writer writer = {0};
    if (snprintf(beside, sizeof beside, "%s.txt", path) >= (int)sizeof beside)
        return error_set(err, ERROR_INPUT, "--output: the path is too long");
    TRY(files_begin(&writer, beside, err));
    for (size_t i = 0; i < count; i++) {
        for (const char *c = names[i]; *c; c++) fputc(*c == '\n' || *c == '\r' ? ' ' : *c, writer.stream);
        fputc('\n', writer.stream);
    }
    return files_commit(&writer, err);
}
