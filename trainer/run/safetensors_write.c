#include "safetensors.h"

#include <errno.h>
#include <string.h>

#include "hash.h"
#include "mem.h"
#include "safetensors_private.h"

bool safetensors_begin(struct safetensors_writer *writer, const char *path, struct error *err)
{
    *writer = (struct safetensors_writer){.header = json_object()};
    json_t *metadata = json_object();
    bool ok = writer->header && json_object_set_new(writer->header, SAFETENSORS_METADATA, metadata) == 0;
    if (!ok) return error_memory(err, sizeof *writer, path);
    return safetensors_say(writer, "format", "pt", err) && files_begin(&writer->file, path, err);
}

bool safetensors_announce(struct safetensors_writer *writer, const char *name, const uint64_t *shape, uint32_t rank,
                          struct error *err)
{
    uint64_t bytes = sizeof(float);
    json_t *dims = json_array();
    for (uint32_t i = 0; i < rank; i++) {
        bytes *= shape[i];
        json_array_append_new(dims, json_integer((json_int_t)shape[i]));
    }
    json_t *tensor = json_pack("{s:s, s:o, s:[I,I]}", "dtype", "F32", "shape", dims, "data_offsets",
                               (json_int_t)writer->bytes, (json_int_t)(writer->bytes + bytes));
    if (!tensor || json_object_set_new(writer->header, name, tensor) != 0)
        return error_memory(err, strlen(name), "a checkpoint's header");
    writer->bytes += bytes;
    writer->count++;
    return true;
}

bool safetensors_say(struct safetensors_writer *writer, const char *key, const char *value, struct error *err)
{
    json_t *metadata = json_object_get(writer->header, SAFETENSORS_METADATA);
    if (json_object_set_new(metadata, key, json_string(value)) == 0) return true;
    return error_memory(err, strlen(value), "a checkpoint's header");
}

/* The header's text into *text, the caller's to free() as jansson wants it; NULL when memory is short. */
static char *dump(const struct safetensors_writer *writer) { return json_dumps(writer->header, JSON_COMPACT); }

static void write_padded(struct safetensors_writer *writer, const char *text)
{
    unsigned char length[SAFETENSORS_PREFIX];
    size_t used = strlen(text);
    for (size_t i = 0; i < sizeof length; i++) length[i] = (unsigned char)((uint64_t)writer->header_bytes >> (8 * i));
    fwrite(length, 1, sizeof length, writer->file.stream);
    fwrite(text, 1, used, writer->file.stream);
    for (; used < writer->header_bytes; used++) fputc(' ', writer->file.stream);
}

bool safetensors_write_header(struct safetensors_writer *writer, struct error *err)
{
    size_t digits = (writer->count + 1) * SAFETENSORS_DIGITS;
    char *zeros = mem_alloc(MEM_GENERAL, digits + 1, 1);
    if (!zeros) return error_memory(err, digits, "a checkpoint's header");
    memset(zeros, '0', digits);
    zeros[digits] = '\0';
    bool ok = safetensors_say(writer, SAFETENSORS_SUMS, zeros, err);
    mem_free(zeros);
    TRY(ok);
    char *text = dump(writer);
    if (!text) return error_memory(err, digits, "a checkpoint's header");
    writer->header_bytes = (strlen(text) + 7) / 8 * 8; /* so that the tensors are aligned */
    write_padded(writer, text);
    safetensors_free(text);
    text_add(&writer->sums, "%016d", 0);
    return true;
}

bool safetensors_put(struct safetensors_writer *writer, const float *values, uint64_t count, struct error *err)
{
    char digits[HASH_TEXT];
    fwrite(values, sizeof *values, count, writer->file.stream);
    text_add(&writer->sums, "%s", hash_format(hash_bytes(values, count * sizeof *values, 0), digits));
    return !writer->sums.failed || error_memory(err, writer->sums.length, "a checkpoint's header");
}

bool safetensors_seal(struct safetensors_writer *writer, char sum[SAFETENSORS_DIGITS + 1], struct error *err)
{
    TRY(safetensors_say(writer, SAFETENSORS_SUMS, writer->sums.bytes, err));
    char *text = dump(writer);
    if (!text) return error_memory(err, writer->header_bytes, "a checkpoint's header");
    hash_format(hash_bytes(text, strlen(text), 0), sum);
    safetensors_free(text);
    memcpy(writer->sums.bytes, sum, SAFETENSORS_DIGITS);
    TRY(safetensors_say(writer, SAFETENSORS_SUMS, writer->sums.bytes, err));
    text = dump(writer);
    if (!text) return error_memory(err, writer->header_bytes, "a checkpoint's header");
    bool ok = fseek(writer->file.stream, 0, SEEK_SET) == 0; /* writes what waits, too */
    int cause = errno;
    if (ok) write_padded(writer, text);
    safetensors_free(text);
    return ok || error_errno(err, ERROR_FAILED, cause, "%s: cannot be written", writer->file.path);
}

void safetensors_finish(struct safetensors_writer *writer)
{
    json_decref(writer->header);
    text_finish(&writer->sums);
    writer->header = NULL;
}

void safetensors_abandon(struct safetensors_writer *writer)
{
    files_abandon(&writer->file);
    safetensors_finish(writer);
}
