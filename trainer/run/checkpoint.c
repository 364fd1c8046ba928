#define _GNU_SOURCE
#include "checkpoint.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "hash.h"
#include "mem.h"
#include "partial.h"
#include "text.h"

#define MAGIC             "FATHOMCK"
#define PREFIX_BYTES      24u /* magic, version, header bytes, file bytes */
#define MOST_HEADER_BYTES (256u << 20)
#define STEM              "step-"
#define SUFFIX            ".ckpt"
#define FLAG_WARMED       1u
#define FLAG_WAITING      2u

/* ---- Little-endian numbers ---- */

static void put_number(struct text *out, uint64_t value, size_t bytes)
{
    unsigned char buffer[8];
    for (size_t i = 0; i < bytes; i++) buffer[i] = (unsigned char)(value >> (8 * i));
    text_add_bytes(out, buffer, bytes);
}

static void put_real(struct text *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_number(out, bits, 8);
}

static uint64_t read_number(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

/* Floats are stored as they are on little-endian hosts, swapped in place on others (and swapped back by a second call).
 */
static void swap_floats(float *values, uint64_t count)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits = __builtin_bswap32(bits);
        memcpy(&values[i], &bits, sizeof bits);
    }
#else
    (void)values;
    (void)count;
#endif
}

static uint64_t element_count(const struct checkpoint_tensor *tensor)
{
    return (uint64_t)tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
}

/* ---- Writing ---- */

static void put_spec(struct text *out, const struct model_spec *spec)
{
    char name[MODEL_NAME] = {0};
    snprintf(name, sizeof name, "%s", spec->name);
    text_add_bytes(out, name, sizeof name);
    uint32_t words[] = {(uint32_t)spec->family,   (uint32_t)spec->dataset, (uint32_t)spec->unit,
                        (uint32_t)spec->shortcut, spec->bottleneck,        spec->depth,
                        spec->units[0],           spec->units[1],          spec->units[2],
                        spec->units[3],           spec->image_size,        spec->classes};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) put_number(out, words[i], 4);
}

static void put_run(struct text *out, const struct checkpoint *c)
{
    put_spec(out, &c->spec);
    put_number(out, c->step, 8);
    put_number(out, c->seed, 8);
    put_number(out, c->position, 8);
    put_number(out, c->dataset_hash, 8);
    put_number(out, c->batch, 4);
    put_number(out, c->devices, 4);
    put_number(out, (c->schedule.warmed ? FLAG_WARMED : 0) | (c->schedule.waiting ? FLAG_WAITING : 0), 4);
    put_number(out, c->schedule.stale, 4);
    put_number(out, c->schedule.plateaus, 4);
    put_real(out, c->schedule.train_error);
    put_real(out, c->schedule.best_error);
    const float scale[] = {c->loss_scale.scale, c->loss_scale.streak, c->loss_scale.found, c->loss_scale.skipped};
    for (size_t i = 0; c->scaled && i < sizeof scale / sizeof scale[0]; i++) put_real(out, (double)scale[i]);
}

/* Returns the bytes of all tensors and their checksums. */
static uint64_t put_table(struct text *out, const struct checkpoint_tensors *tensors)
{
    uint64_t bytes = 0;
    put_number(out, tensors->count, 8);
    for (size_t i = 0; i < tensors->count; i++) {
        struct checkpoint_tensor tensor;
        tensors->describe(tensors->context, i, &tensor);
        size_t length = strlen(tensor.name);
        put_number(out, length, 4);
        text_add_bytes(out, tensor.name, length);
        for (int d = 0; d < 4; d++) put_number(out, tensor.dims[d], 4);
        bytes += element_count(&tensor) * sizeof(float) + 8;
    }
    return bytes;
}

/* Header with its checksum; the sizes in it are known only when the table is. */
static bool make_header(struct text *out, const struct checkpoint *checkpoint, const struct checkpoint_tensors *tensors,
                        struct error *err)
{
    struct text body = {0};
    put_run(&body, checkpoint);
    uint64_t data = put_table(&body, tensors);
    uint64_t header = PREFIX_BYTES + body.length + 8;
    text_add_bytes(out, MAGIC, 8);
    put_number(out, checkpoint->scaled ? 2 : 1, 4);
    put_number(out, header, 4);
    put_number(out, header + data, 8);
    if (body.bytes) text_add_bytes(out, body.bytes, body.length);
    bool failed = body.failed || out->failed;
    text_finish(&body);
    if (!failed) put_number(out, hash_bytes(out->bytes, out->length, 0), 8);
    if (failed || out->failed) return error_memory(err, header, "a checkpoint's header");
    return true;
}

static bool write_tensor(FILE *stream, const struct checkpoint_tensors *tensors, size_t i, float *staging,
                         struct error *err)
{
    struct checkpoint_tensor tensor;
    tensors->describe(tensors->context, i, &tensor);
    uint64_t count = element_count(&tensor);
    TRY(tensors->get(tensors->context, i, staging, err));
    swap_floats(staging, count);
    uint64_t hash = hash_bytes(staging, count * sizeof *staging, i);
    unsigned char sum[8];
    for (size_t b = 0; b < sizeof sum; b++) sum[b] = (unsigned char)(hash >> (8 * b));
    fwrite(staging, sizeof *staging, count, stream);
    fwrite(sum, 1, sizeof sum, stream);
    return true; /* errors of the stream are found by files_commit */
}

/* The rename itself must be on disk before an older checkpoint may be given up. */
static void flush_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

static bool format_path(char path[CHECKPOINT_PATH], const char *folder, uint64_t step, struct error *err)
{
    int length = snprintf(path, CHECKPOINT_PATH, "%s/" STEM "%012" PRIu64 SUFFIX, folder, step);
    if (length < CHECKPOINT_PATH) return true;
    return error_set(err, ERROR_INPUT, "--save: the folder's path is longer than %d bytes", CHECKPOINT_PATH - 32);
}

bool checkpoint_write(const char *folder, const struct checkpoint *checkpoint, const struct checkpoint_tensors *tensors,
                      float *staging, struct error *err)
{
    char path[CHECKPOINT_PATH];
    TRY(format_path(path, folder, checkpoint->step, err));
    TRY(files_make_folder(folder, err));
    struct text header = {0};
    struct files_writer writer = {0};
    bool ok = make_header(&header, checkpoint, tensors, err) && files_begin(&writer, path, err);
    if (ok) fwrite(header.bytes, 1, header.length, writer.stream);
    for (size_t i = 0; ok && i < tensors->count; i++) ok = write_tensor(writer.stream, tensors, i, staging, err);
    text_finish(&header);
    if (!ok) {
        files_abandon(&writer);
        return false;
    }
    TRY(files_commit(&writer, err));
    flush_folder(folder);
    return true;
}

/* ---- The folder ---- */

bool checkpoint_try(const char *folder, struct error *err)
{
    char path[CHECKPOINT_PATH];
    struct files_writer writer;
    TRY(format_path(path, folder, 0, err));
    if (!files_make_folder(folder, err) || !files_begin(&writer, path, err)) return error_prefix(err, "--save");
    bool ok = fputs(MAGIC, writer.stream) >= 0 && fflush(writer.stream) == 0;
    if (!ok) error_errno(err, ERROR_FAILED, errno, "--save: no file can be written in %s", folder);
    files_abandon(&writer);
    return ok;
}

bool checkpoint_claim(struct checkpoint_claim *claim, const char *folder, struct error *err)
{
    *claim = (struct checkpoint_claim){folder, files_folder_there(folder), {.fd = -1}};
    bool ok = files_make_folder(folder, err) && locks_enter_folder(&claim->lock, folder, err);
    if (ok) partial_sweep(folder, STEM);
    if (!ok) checkpoint_release(claim);
    return ok || error_prefix(err, "--save");
}

void checkpoint_release(struct checkpoint_claim *claim)
{
    locks_leave_folder(&claim->lock);
    if (claim->folder) files_unmake_folder(claim->folder, claim->there);
    claim->folder = NULL;
}

/* ---- Finding ---- */

/* Whether a file's name is step-<digits>.ckpt. */
static bool parse_name(const char *name, uint64_t *step)
{
    if (strncmp(name, STEM, 5) != 0 || !isdigit((unsigned char)name[5])) return false;
    char *end;
    errno = 0;
    *step = strtoull(name + 5, &end, 10);
    return errno == 0 && strcmp(end, SUFFIX) == 0;
}

static bool find_newest(DIR *folder, char name[NAME_MAX + 1])
{
    bool found = false;
    uint64_t newest = 0, step;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (!parse_name(entry->d_name, &step) || (found && step <= newest)) continue;
        found = true;
        newest = step;
        snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
    }
    return found;
}

bool checkpoint_names_one(const char *name)
{
    uint64_t step;
    return parse_name(name, &step);
}

bool checkpoint_exists(const char *path)
{
    char name[NAME_MAX + 1];
    DIR *folder = opendir(path);
    bool found = folder && find_newest(folder, name);
    if (folder) closedir(folder);
    return found;
}

bool checkpoint_find(const char *folder_or_file, char path[CHECKPOINT_PATH], struct error *err)
{
    char name[NAME_MAX + 1];
    struct stat info;
    if (stat(folder_or_file, &info) != 0)
        return error_errno(err, ERROR_INPUT, errno, "%s: no checkpoint can be read there", folder_or_file);
    if (!S_ISDIR(info.st_mode)) {
        snprintf(path, CHECKPOINT_PATH, "%s", folder_or_file);
        return true;
    }
    DIR *folder = opendir(folder_or_file);
    if (!folder) return error_errno(err, ERROR_INPUT, errno, "%s: the folder cannot be read", folder_or_file);
    bool found = find_newest(folder, name);
    closedir(folder);
    if (!found)
        return error_set(err, ERROR_INPUT, "%s: has no checkpoint (a file " STEM "NUMBER" SUFFIX ")", folder_or_file);
    if (snprintf(path, CHECKPOINT_PATH, "%s/%s", folder_or_file, name) >= CHECKPOINT_PATH)
        return error_set(err, ERROR_INPUT, "--resume: the path is longer than %d bytes", CHECKPOINT_PATH);
    return true;
}

/* ---- Reading ---- */

struct checkpoint_file {
    FILE *stream;
    char *path;
    unsigned char *header;
    size_t header_bytes;
    size_t table; /* of the header: where the table begins */
};

/* Reads numbers off a checked header; running over its end sets failed. */
struct cursor {
    const unsigned char *bytes;
    size_t at, end;
    bool failed;
};

static const unsigned char *take(struct cursor *c, size_t count)
{
    static const unsigned char nothing[MODEL_NAME];
    if (c->failed || c->end - c->at < count) {
        c->failed = true;
        return nothing;
    }
    c->at += count;
    return c->bytes + c->at - count;
}

static uint32_t take_u32(struct cursor *c) { return (uint32_t)read_number(take(c, 4), 4); }
static uint64_t take_u64(struct cursor *c) { return read_number(take(c, 8), 8); }

static double take_real(struct cursor *c)
{
    uint64_t bits = take_u64(c);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void take_spec(struct cursor *c, struct model_spec *spec)
{
    memcpy(spec->name, take(c, MODEL_NAME), MODEL_NAME);
    spec->name[MODEL_NAME - 1] = '\0';
    spec->family = (enum model_family)take_u32(c);
    spec->dataset = (enum dataset_kind)take_u32(c);
    spec->unit = (enum unit_kind)take_u32(c);
    spec->shortcut = (enum shortcut_kind)take_u32(c);
    spec->bottleneck = take_u32(c) != 0;
    spec->depth = take_u32(c);
    for (int i = 0; i < 4; i++) spec->units[i] = take_u32(c);
    spec->image_size = take_u32(c);
    spec->classes = take_u32(c);
}

static void take_loss_scale(struct cursor *c, struct loss_scale *scale)
{
    float *const values[] = {&scale->scale, &scale->streak, &scale->found, &scale->skipped};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) *values[i] = (float)take_real(c);
}

static void take_run(struct cursor *c, struct checkpoint *checkpoint, uint64_t version)
{
    *checkpoint = (struct checkpoint){.scaled = version >= 2};
    take_spec(c, &checkpoint->spec);
    checkpoint->step = take_u64(c);
    checkpoint->seed = take_u64(c);
    checkpoint->position = take_u64(c);
    checkpoint->dataset_hash = take_u64(c);
    checkpoint->batch = take_u32(c);
    checkpoint->devices = take_u32(c);
    uint32_t flags = take_u32(c);
    checkpoint->schedule.warmed = flags & FLAG_WARMED;
    checkpoint->schedule.waiting = flags & FLAG_WAITING;
    checkpoint->schedule.stale = take_u32(c);
    checkpoint->schedule.plateaus = take_u32(c);
    checkpoint->schedule.train_error = take_real(c);
    checkpoint->schedule.best_error = take_real(c);
    if (checkpoint->scaled) take_loss_scale(c, &checkpoint->loss_scale);
}

/* What can be said before the header's size is known: is it ours, of a version we read, and whole? */
static bool check_prefix(struct checkpoint_file *file, const unsigned char prefix[PREFIX_BYTES], struct error *err)
{
    struct stat info;
    uint64_t version = read_number(prefix + 8, 4), header = read_number(prefix + 12, 4);
    uint64_t bytes = read_number(prefix + 16, 8);
    if (memcmp(prefix, MAGIC, 8) != 0)
        return error_set(err, ERROR_INPUT, "%s: is not a checkpoint (it does not begin with " MAGIC ")", file->path);
    if (version == 0 || version > CHECKPOINT_VERSION)
        return error_set(err, ERROR_INPUT, "%s: has version %" PRIu64 "; this program reads version %u", file->path,
                         version, CHECKPOINT_VERSION);
    if (fstat(fileno(file->stream), &info) != 0)
        return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", file->path);
    if ((uint64_t)info.st_size < bytes)
        return error_set(err, ERROR_INPUT, "%s: is cut off: it has %" PRIu64 " of its %" PRIu64 " bytes", file->path,
                         (uint64_t)info.st_size, bytes);
    if ((uint64_t)info.st_size > bytes || header < PREFIX_BYTES + 8 || header > bytes || header > MOST_HEADER_BYTES)
        return error_set(err, ERROR_INPUT, "%s: is damaged: its sizes contradict each other", file->path);
    file->header_bytes = header;
    return true;
}

static bool read_header(struct checkpoint_file *file, struct error *err)
{
    unsigned char prefix[PREFIX_BYTES];
    if (fread(prefix, 1, sizeof prefix, file->stream) != sizeof prefix)
        return error_set(err, ERROR_INPUT, "%s: is too short to be a checkpoint", file->path);
    TRY(check_prefix(file, prefix, err));
    file->header = mem_alloc(MEM_GENERAL, file->header_bytes, 1);
    if (!file->header) return error_memory(err, file->header_bytes, "a checkpoint's header");
    memcpy(file->header, prefix, sizeof prefix);
    size_t rest = file->header_bytes - sizeof prefix;
    if (fread(file->header + sizeof prefix, 1, rest, file->stream) != rest)
        return error_set(err, ERROR_INPUT, "%s: its header cannot be read", file->path);
    size_t body = file->header_bytes - 8;
    if (read_number(file->header + body, 8) == hash_bytes(file->header, body, 0)) return true;
    return error_set(err, ERROR_INPUT, "%s: its header is damaged: the checksum is wrong", file->path);
}

static bool open_stream(struct checkpoint_file *file, struct error *err)
{
    int fd;
    TRY(files_open(file->path, FILES_REGULAR, &fd, err));
    file->stream = fdopen(fd, "rb");
    if (file->stream) return true;
    error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", file->path);
    close(fd);
    return false;
}

static bool check_loss_scale(const char *path, const struct loss_scale *s, struct error *err)
{
    bool usable = s->scale >= LOSS_SCALE_LEAST && s->scale <= LOSS_SCALE_MOST && s->streak >= 0 &&
                  s->streak < (float)UINT32_MAX && s->skipped >= 0 && s->skipped < (float)UINT32_MAX;
    if (usable) return true;
    return error_set(err, ERROR_INPUT, "%s: its loss scale is %g after %g good steps; %g to %g is possible", path,
                     (double)s->scale, (double)s->streak, (double)LOSS_SCALE_LEAST, (double)LOSS_SCALE_MOST);
}

bool checkpoint_open(const char *path, struct checkpoint_file **out, struct checkpoint *checkpoint, struct error *err)
{
    struct checkpoint_file *file = mem_zalloc(MEM_GENERAL, 1, sizeof *file);
    if (!file || !(file->path = mem_strdup(MEM_GENERAL, path))) {
        mem_free(file);
        return error_memory(err, sizeof *file, path);
    }
    bool ok = open_stream(file, err) && read_header(file, err);
    struct checkpoint found;
    struct cursor cursor = {file->header, PREFIX_BYTES, file->header_bytes - 8, false};
    if (ok) take_run(&cursor, &found, read_number(file->header + 8, 4));
    if (ok && cursor.failed) ok = error_set(err, ERROR_INPUT, "%s: its header is too short", path);
    if (ok && found.scaled) ok = check_loss_scale(path, &found.loss_scale, err);
    if (!ok) {
        checkpoint_close(file);
        return false;
    }
    file->table = cursor.at;
    *checkpoint = found;
    *out = file;
    return true;
}

void checkpoint_close(struct checkpoint_file *file)
{
    if (!file) return;
    if (file->stream) fclose(file->stream);
    mem_free(file->header);
    mem_free(file->path);
    mem_free(file);
}

static bool take_tensor(struct cursor *c, struct checkpoint_tensor *tensor)
{
    uint32_t length = take_u32(c);
    if (length >= sizeof tensor->name) return false;
    const unsigned char *name = take(c, length);
    if (c->failed) return false;
    memcpy(tensor->name, name, length);
    tensor->name[length] = '\0';
    for (int d = 0; d < 4; d++) tensor->dims[d] = take_u32(c);
    return !c->failed;
}

static bool check_table(const struct checkpoint_file *file, const struct checkpoint_tensors *tensors, struct error *err)
{
    struct cursor cursor = {file->header, file->table, file->header_bytes - 8, false};
    uint64_t count = take_u64(&cursor);
    if (count != tensors->count)
        return error_set(err, ERROR_INPUT, "%s: has %" PRIu64 " tensors; the model has %zu", file->path, count,
                         tensors->count);
    for (size_t i = 0; i < tensors->count; i++) {
        struct checkpoint_tensor found, wanted;
        tensors->describe(tensors->context, i, &wanted);
        if (!take_tensor(&cursor, &found))
            return error_set(err, ERROR_INPUT, "%s: its table of tensors ends at number %zu", file->path, i);
        if (strcmp(found.name, wanted.name) != 0)
            return error_set(err, ERROR_INPUT, "%s: tensor %zu is %s; the model has %s there", file->path, i,
                             found.name, wanted.name);
        if (memcmp(found.dims, wanted.dims, sizeof found.dims) != 0)
            return error_set(err, ERROR_INPUT, "%s: %s is %u x %u x %u x %u; the model wants %u x %u x %u x %u",
                             file->path, found.name, found.dims[0], found.dims[1], found.dims[2], found.dims[3],
                             wanted.dims[0], wanted.dims[1], wanted.dims[2], wanted.dims[3]);
    }
    return true;
}

static bool load_tensor(struct checkpoint_file *file, const struct checkpoint_tensors *tensors, size_t i,
                        float *staging, struct error *err)
{
    struct checkpoint_tensor tensor;
    tensors->describe(tensors->context, i, &tensor);
    uint64_t count = element_count(&tensor);
    unsigned char sum[8];
    if (fread(staging, sizeof *staging, count, file->stream) != count || fread(sum, 1, 8, file->stream) != 8)
        return error_set(err, ERROR_INPUT, "%s: ends within %s", file->path, tensor.name);
    if (read_number(sum, 8) != hash_bytes(staging, count * sizeof *staging, i))
        return error_set(err, ERROR_INPUT, "%s: %s is damaged: the checksum is wrong", file->path, tensor.name);
    swap_floats(staging, count);
    return tensors->put(tensors->context, i, staging, err);
}

bool checkpoint_load(struct checkpoint_file *file, const struct checkpoint_tensors *tensors, float *staging,
                     struct error *err)
{
    TRY(check_table(file, tensors, err));
    for (size_t i = 0; i < tensors->count; i++) TRY(load_tensor(file, tensors, i, staging, err));
    return true;
}
