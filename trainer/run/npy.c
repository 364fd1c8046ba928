#include "npy.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#define ALIGN 64 /* of the first value */

static void write_header(FILE *out, const char *type, const char *shape)
{
    char header[256];
    unsigned char magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 0, 0};
    int used = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, shape);
    size_t whole = (sizeof magic + (size_t)used + 1 + ALIGN - 1) / ALIGN * ALIGN, length = whole - sizeof magic;
    magic[8] = (unsigned char)length;
    magic[9] = (unsigned char)(length >> 8);
    memset(header + used, ' ', length - (size_t)used);
    header[length - 1] = '\n';
    fwrite(magic, 1, sizeof magic, out);
    fwrite(header, 1, length, out);
}

static void write_bits(FILE *out, uint32_t bits)
{
    for (int i = 0; i < 4; i++) fputc((int)(bits >> (8 * i) & 0xFF), out);
}

bool npy_begin(struct npy_writer *writer, const char *path, uint64_t rows, uint64_t columns, struct error *err)
{
    char shape[64];
    TRY(files_begin(&writer->file, path, err));
    snprintf(shape, sizeof shape, "%" PRIu64 ", %" PRIu64, rows, columns);
    write_header(writer->file.stream, "<f4", shape);
    return true;
}

bool npy_begin_integers(struct npy_writer *writer, const char *path, uint64_t count, struct error *err)
{
    char shape[64];
    TRY(files_begin(&writer->file, path, err));
    snprintf(shape, sizeof shape, "%" PRIu64 ",", count);
    write_header(writer->file.stream, "<i4", shape);
    return true;
}

void npy_add(struct npy_writer *writer, const float *values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        write_bits(writer->file.stream, bits);
    }
}

void npy_add_integer(struct npy_writer *writer, int32_t value) { write_bits(writer->file.stream, (uint32_t)value); }

bool npy_has_beside(const struct npy_writer *writer) { return writer->file.partial != NULL; }

bool npy_begin_names(struct files_writer *writer, const char *path, struct error *err)
{
    char beside[PATH_MAX];
    if (snprintf(beside, sizeof beside, "%s.txt", path) >= (int)sizeof beside)
        return error_set(err, ERROR_INPUT, "--output: the path is too long");
    return files_begin(writer, beside, err);
}

void npy_add_name(struct files_writer *writer, const char *name)
{
    for (const char *c = name; *c; c++) fputc(*c == '\n' || *c == '\r' ? ' ' : *c, writer->stream);
    fputc('\n', writer->stream);
}

bool npy_write(const char *path, const float *values, uint64_t rows, uint64_t columns, const char *const *names,
               struct error *err)
{
    struct npy_writer array = {0};
    struct files_writer beside = {0};
    TRY(npy_begin(&array, path, rows, columns, err));
    bool named = npy_has_beside(&array), ok = !named || npy_begin_names(&beside, path, err);
    if (ok) npy_add(&array, values, rows * columns);
    for (uint64_t i = 0; ok && named && i < rows; i++) npy_add_name(&beside, names[i]);
    ok = ok && files_flush(&array.file, err) && (!named || (files_flush(&beside, err) && files_commit(&beside, err))) &&
         files_commit(&array.file, err);
    files_abandon(&beside);
    files_abandon(&array.file);
    return ok;
}
