#include "place_import.h"

#include <string.h>

#include "files.h"
#include "mem.h"

#define MOST_FILE_BYTES ((uint64_t)1 << 31) /* protobuf's own limit */

/* A model's first field is its version (field 1, a number); text never begins with that byte. */
static bool is_onnx(const char *bytes, size_t length) { return length > 1 && bytes[0] == 0x08; }

/* A pickle's first opcode is PROTO, from protocol 2 on; before, a dump's is that of its dict, put into the memo. */
static bool is_pickle(const char *bytes, size_t length)
{
    if (length < 3) return false;
    if ((unsigned char)bytes[0] == 0x80) return bytes[1] >= 2 && bytes[1] <= 5;
    return strncmp(bytes, "(dp", 3) == 0 || strncmp(bytes, "}q", 3) == 0;
}

bool place_import(struct place_table *table, struct place_source *source, const char *path, struct error *err)
{
    char *bytes;
    size_t length;
    *table = (struct place_table){0};
    *source = (struct place_source){0};
    TRY(files_read(path, MOST_FILE_BYTES, &bytes, &length, err));
    if (!is_onnx(bytes, length) && !is_pickle(bytes, length)) return place_table_parse(table, path, bytes, length, err);
    bool ok = is_onnx(bytes, length) ? place_onnx_parse(table, path, bytes, length, err)
                                     : place_snapshot_parse(table, source, path, bytes, length, err);
    mem_free(bytes);
    return ok;
}
