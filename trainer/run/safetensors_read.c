#define _GNU_SOURCE
#include "safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"
#include "json.h"
#include "mem.h"
#include "safetensors_private.h"

struct safetensors {
    FILE *stream;
    char *path;
    json_t *header, *metadata; /* the latter is in the former; NULL = none */
    const char **names;        /* of the tensors, borrowed of the header */
    size_t count;
    const char *sums;    /* borrowed; NULL = none */
    uint64_t data, size; /* where the tensors begin; bytes of the file */
};

/* ---- The header ---- */

static bool open_stream(struct safetensors *file, struct error *err)
{
    int fd;
    struct stat info;
    TRY(files_open(file->path, FILES_REGULAR, &fd, err));
    file->stream = fdopen(fd, "rb");
    if (!file->stream) {
        error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", file->path);
        close(fd);
        return false;
    }
    if (fstat(fd, &info) != 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", file->path);
    file->size = (uint64_t)info.st_size;
    return true;
}

static bool parse_header(struct safetensors *file, size_t length, struct error *err)
{
    char *text = mem_alloc(MEM_GENERAL, length, 1);
    if (!text) return error_memory(err, length, "a checkpoint's header");
    bool ok = fread(text, 1, length, file->stream) == length ||
              error_set(err, ERROR_INPUT, "%s: its header cannot be read", file->path);
    ok = ok && (file->header = json_parse(text, length, file->path, err)) != NULL;
    mem_free(text);
    TRY(ok);
    if (!json_is_object(file->header)) return error_set(err, ERROR_INPUT, "%s: its header is no object", file->path);
    return true;
}

static bool read_header(struct safetensors *file, struct error *err)
{
    unsigned char prefix[SAFETENSORS_PREFIX];
    uint64_t length = 0;
    if (fread(prefix, 1, sizeof prefix, file->stream) != sizeof prefix)
        return error_set(err, ERROR_INPUT, "%s: is too short to be a checkpoint", file->path);
    if (memcmp(prefix, "PK\3\4", 4) == 0)
        return error_set(err, ERROR_INPUT,
                         "%s: is a zip file, as torch.save writes; of safetensors is wanted: "
                         "safetensors.torch.save_file(torch.load(\"FILE\"), \"FILE.safetensors\")",
                         file->path);
    for (size_t i = 0; i < sizeof prefix; i++) length |= (uint64_t)prefix[i] << (8 * i);
    if (length > SAFETENSORS_MOST)
        return error_set(err, ERROR_INPUT, "%s: is not a file of safetensors: its header would have %" PRIu64 " bytes",
                         file->path, length);
    file->data = SAFETENSORS_PREFIX + length;
    if (file->data > file->size)
        return error_set(err, ERROR_INPUT, "%s: is cut off: its header of %" PRIu64 " bytes is not all there",
                         file->path, length);
    return parse_header(file, (size_t)length, err);
}

/* ---- Tensors ---- */

static bool wrong_tensor(const struct safetensors *file, const char *name, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: its header does not say dtype, shape and data_offsets of %.160s",
                     file->path, name);
}

static uint64_t at(const json_t *list, size_t i) { return (uint64_t)json_integer_value(json_array_get(list, i)); }

static bool whole_numbers(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *number = json_array_get(list, i);
        if (!json_is_integer(number) || json_integer_value(number) < 0) return false;
    }
    return json_is_array(list);
}

static uint64_t bytes_of(const char *dtype)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } known[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I64", 8},
                 {"I32", 4}, {"I16", 2}, {"I8", 1},  {"U8", 1},   {"BOOL", 1}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(dtype, known[i].name) == 0) return known[i].bytes;
    return 0;
}

static bool read_tensor(const struct safetensors *file, const char *name, struct safetensors_tensor *t,
                        struct error *err)
{
    const json_t *object = json_object_get(file->header, name), *shape = json_object_get(object, "shape"),
                 *offsets = json_object_get(object, "data_offsets");
    const char *dtype = json_string_value(json_object_get(object, "dtype"));
    if (!dtype || strlen(dtype) >= sizeof t->dtype || !whole_numbers(shape) || !whole_numbers(offsets) ||
        json_array_size(offsets) != 2)
        return wrong_tensor(file, name, err);
    uint64_t bytes = bytes_of(dtype), room = file->size - file->data;
    *t = (struct safetensors_tensor){.rank = (uint32_t)json_array_size(shape)};
    strcpy(t->dtype, dtype);
    for (size_t i = 0; i < json_array_size(shape); i++) {
        if (i < SAFETENSORS_MOST_RANK) t->shape[i] = at(shape, i);
        if (__builtin_mul_overflow(bytes, at(shape, i), &bytes)) return wrong_tensor(file, name, err);
    }
    uint64_t begin = at(offsets, 0), end = at(offsets, 1);
    if (end < begin || (bytes_of(dtype) && end - begin != bytes)) return wrong_tensor(file, name, err);
    if (end > room)
        return error_set(err, ERROR_INPUT, "%s: is cut off: %.160s would end after byte %" PRIu64 " of %" PRIu64,
                         file->path, name, file->data + end, file->size);
    t->begin = file->data + begin;
    t->end = file->data + end;
    return true;
}

/* Finds the names and looks at every tensor once. They fill the file: what follows the last one is not ours. */
static bool check_tensors(struct safetensors *file, struct error *err)
{
    const char *name;
    json_t *value;
    uint64_t end = file->data;
    file->metadata = json_object_get(file->header, SAFETENSORS_METADATA);
    file->names = mem_alloc(MEM_GENERAL, json_object_size(file->header), sizeof *file->names);
    if (!file->names) return error_memory(err, json_object_size(file->header), "the names of a checkpoint's tensors");
    json_object_foreach(file->header, name, value)
    {
        struct safetensors_tensor t;
        if (value == file->metadata) continue;
        TRY(read_tensor(file, name, &t, err));
        if (t.end > end) end = t.end;
        file->names[file->count++] = name;
    }
    if (end == file->size) return true;
    return error_set(err, ERROR_INPUT, "%s: is damaged: it has %" PRIu64 " bytes, and its tensors end after %" PRIu64,
                     file->path, file->size, end);
}

/* ---- Checksums ---- */

static bool damaged(const struct safetensors *file, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: its header is damaged: the checksum is wrong", file->path);
}

/* The header's own is that of its text with zeros in its place. */
static bool check_sums(struct safetensors *file, struct error *err)
{
    char digits[HASH_TEXT], *copy;
    const char *sums = safetensors_metadata(file, SAFETENSORS_SUMS);
    if (!sums) return true;
    if (strlen(sums) != (file->count + 1) * SAFETENSORS_DIGITS) return damaged(file, err);
    if (!(copy = mem_strdup(MEM_GENERAL, sums))) return error_memory(err, strlen(sums), "a checkpoint's checksums");
    memset(copy, '0', SAFETENSORS_DIGITS);
    memcpy(digits, sums, SAFETENSORS_DIGITS);
    digits[SAFETENSORS_DIGITS] = '\0';
    json_t *said = json_object_get(file->metadata, SAFETENSORS_SUMS), *kept = json_copy(said);
    json_string_set(said, copy);
    char *text = json_dumps(file->header, JSON_COMPACT), found[HASH_TEXT];
    if (text) hash_format(hash_bytes(text, strlen(text), 0), found);
    bool read = text && kept, same = read && strcmp(found, digits) == 0;
    json_object_set_new(file->metadata, SAFETENSORS_SUMS, kept);
    safetensors_free(text);
    mem_free(copy);
    if (!read) return error_memory(err, file->data, "a checkpoint's header");
    file->sums = safetensors_metadata(file, SAFETENSORS_SUMS);
    return same || damaged(file, err);
}

/* ---- Opening ---- */

bool safetensors_open(const char *path, struct safetensors **out, struct error *err)
{
    struct safetensors *file = mem_zalloc(MEM_GENERAL, 1, sizeof *file);
    if (!file || !(file->path = mem_strdup(MEM_GENERAL, path))) {
        mem_free(file);
        return error_memory(err, sizeof *file, path);
    }
    bool ok = open_stream(file, err) && read_header(file, err) && check_tensors(file, err) && check_sums(file, err);
    if (!ok) {
        safetensors_close(file);
        return false;
    }
    *out = file;
    return true;
}

void safetensors_close(struct safetensors *file)
{
    if (!file) return;
    if (file->stream) fclose(file->stream);
    json_decref(file->header);
    mem_free(file->names);
    mem_free(file->path);
    mem_free(file);
}

const char *safetensors_metadata(const struct safetensors *file, const char *key)
{
    return json_string_value(json_object_get(file->metadata, key));
}

const char *safetensors_name(const struct safetensors *file, size_t i)
{
    return i < file->count ? file->names[i] : NULL;
}

bool safetensors_find(const struct safetensors *file, const char *name, struct safetensors_tensor *tensor)
{
    const json_t *object = json_object_get(file->header, name);
    return object && object != file->metadata && read_tensor(file, name, tensor, NULL);
}

/* Where the tensor's checksum is. */
static size_t number_of(const struct safetensors *file, const char *name)
{
    size_t i = 0;
    while (i < file->count && strcmp(file->names[i], name) != 0) i++;
    return i;
}

bool safetensors_read(struct safetensors *file, const char *name, const struct safetensors_tensor *tensor,
                      float *values, struct error *err)
{
    uint64_t bytes = tensor->end - tensor->begin;
    char digits[HASH_TEXT];
    if (strcmp(tensor->dtype, "F32") != 0)
        return error_set(err, ERROR_INPUT, "%s: %s is %s; F32 is read", file->path, name, tensor->dtype);
    if (fseeko(file->stream, (off_t)tensor->begin, SEEK_SET) != 0 || fread(values, 1, bytes, file->stream) != bytes)
        return error_set(err, ERROR_INPUT, "%s: ends within %s", file->path, name);
    if (!file->sums) return true;
    hash_format(hash_bytes(values, bytes, 0), digits);
    const char *sum = file->sums + (number_of(file, name) + 1) * SAFETENSORS_DIGITS;
    if (memcmp(digits, sum, SAFETENSORS_DIGITS) == 0) return true;
    return error_set(err, ERROR_INPUT, "%s: %s is damaged: the checksum is wrong", file->path, name);
}
