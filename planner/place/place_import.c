#include "place_import.h"

#include "files.h"
#include "mem.h"

#define MOST_FILE_BYTES ((uint64_t)1 << 31) /* protobuf's own limit */

/* A model's first field is its version (field 1, a number); text never begins with that byte. */
static bool is_onnx(const char *bytes, size_t length) { return length > 1 && bytes[0] == 0x08; }

bool place_import(struct place_table *table, const char *path, struct error *err)
{
    char *bytes;
    size_t length;
    *table = (struct place_table){0};
    TRY(files_read(path, MOST_FILE_BYTES, &bytes, &length, err));
    if (!is_onnx(bytes, length)) return place_table_parse(table, path, bytes, length, err);
    bool ok = place_onnx_parse(table, path, bytes, length, err);
    mem_free(bytes);
    return ok;
}
