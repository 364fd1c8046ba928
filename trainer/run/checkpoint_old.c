/* Checkpoints of versions 1 and 2, which earlier programs wrote: one file with parameters, momenta and each device's
 * statistics, each followed by its checksum, under this program's own names. They are read; nobody writes them. */
#define _GNU_SOURCE
#include "checkpoint_private.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "hash.h"
#include "mem.h"

#define MAGIC             "FATHOMCK"
#define PREFIX_BYTES      24u /* magic, version, header bytes, file bytes */
#define MOST_HEADER_BYTES (256u << 20)
#define LAST_VERSION      2u
#define FLAG_WARMED       1u
#define FLAG_WAITING      2u

struct old_checkpoint {
    FILE *stream;
    char *path;
    unsigned char *header;
    size_t header_bytes;
    size_t table; /* of the header: where the table begins */
};

/* ---- Numbers ---- */

static uint64_t read_number(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

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

/* ---- The header ---- */

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
    model_take_usual(spec);
}

static void take_loss_scale(struct cursor *c, struct loss_scale *scale)
{
    float *const values[] = {&scale->scale, &scale->streak, &scale->found, &scale->skipped};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) *values[i] = (float)take_real(c);
}

static void take_run(struct cursor *c, struct checkpoint *checkpoint, uint64_t version)
{
    *checkpoint = (struct checkpoint){.known = true,
                                      .version = (uint32_t)version,
                                      .says_update = true,
                                      .optimizer = OPTIMIZER_MOMENTUM,
                                      .scaled = version >= 2,
                                      .top1_error = NAN};
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
static bool check_prefix(struct old_checkpoint *file, const unsigned char prefix[PREFIX_BYTES], struct error *err)
{
    struct stat info;
    uint64_t version = read_number(prefix + 8, 4), header = read_number(prefix + 12, 4);
    uint64_t bytes = read_number(prefix + 16, 8);
    if (memcmp(prefix, MAGIC, 8) != 0)
        return error_set(err, ERROR_INPUT, "%s: is not a checkpoint (it does not begin with " MAGIC ")", file->path);
    if (version == 0 || version > LAST_VERSION)
        return error_set(err, ERROR_INPUT, "%s: has version %" PRIu64 "; this program reads version %u", file->path,
                         version, LAST_VERSION);
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

static bool read_header(struct old_checkpoint *file, struct error *err)
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

static bool open_stream(struct old_checkpoint *file, struct error *err)
{
    int fd;
    TRY(files_open(file->path, FILES_REGULAR, &fd, err));
    file->stream = fdopen(fd, "rb");
    if (file->stream) return true;
    error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", file->path);
    close(fd);
    return false;
}

bool old_checkpoint_is(const char *path)
{
    char magic[8];
    int fd;
    if (!files_open(path, FILES_REGULAR, &fd, NULL)) return false;
    bool is = read(fd, magic, sizeof magic) == (ssize_t)sizeof magic && memcmp(magic, MAGIC, sizeof magic) == 0;
    close(fd);
    return is;
}

bool old_checkpoint_open(const char *path, struct old_checkpoint **out, struct checkpoint *checkpoint,
                         struct error *err)
{
    struct old_checkpoint *file = mem_zalloc(MEM_GENERAL, 1, sizeof *file);
    if (!file || !(file->path = mem_strdup(MEM_GENERAL, path))) {
        mem_free(file);
        return error_memory(err, sizeof *file, path);
    }
    bool ok = open_stream(file, err) && read_header(file, err);
    struct checkpoint found;
    struct cursor cursor = {file->header, PREFIX_BYTES, file->header_bytes - 8, false};
    if (ok) take_run(&cursor, &found, read_number(file->header + 8, 4));
    if (ok && cursor.failed) ok = error_set(err, ERROR_INPUT, "%s: its header is too short", path);
    if (ok && found.scaled) ok = checkpoint_check_scale(path, &found.loss_scale, err);
    if (!ok) {
        old_checkpoint_close(file);
        return false;
    }
    file->table = cursor.at;
    *checkpoint = found;
    *out = file;
    return true;
}

void old_checkpoint_close(struct old_checkpoint *file)
{
    if (!file) return;
    if (file->stream) fclose(file->stream);
    mem_free(file->header);
    mem_free(file->path);
    mem_free(file);
}

/* ---- The table ---- */

struct old_tensor {
    char name[CHECKPOINT_NAME];
    uint32_t dims[4];
};

static bool take_tensor(struct cursor *c, struct old_tensor *tensor)
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

static struct cursor begin_table(const struct old_checkpoint *file, uint64_t *count)
{
    struct cursor cursor = {file->header, file->table, file->header_bytes - 8, false};
    *count = take_u64(&cursor);
    return cursor;
}

bool old_checkpoint_tensor(const struct old_checkpoint *file, const char *name, uint32_t dims[4])
{
    uint64_t count;
    struct cursor cursor = begin_table(file, &count);
    struct old_tensor t;
    for (uint64_t i = 0; i < count && take_tensor(&cursor, &t); i++) {
        if (strcmp(t.name, name) != 0) continue;
        memcpy(dims, t.dims, sizeof t.dims);
        return true;
    }
    return false;
}

/* ---- Loading ---- */

static void describe(const struct checkpoint_tensors *tensors, size_t i, struct checkpoint_tensor *t)
{
    tensors->describe(tensors->context, i, t);
}

static size_t count_wanted(const struct checkpoint_tensors *tensors)
{
    struct checkpoint_tensor t;
    size_t count = 0;
    for (size_t i = 0; i < tensors->count; i++) {
        describe(tensors, i, &t);
        count += t.old_name[0] != '\0';
    }
    return count;
}

/* Most tensors follow each other as in the file. */
static size_t find_wanted(const struct checkpoint_tensors *tensors, size_t from, const char *name,
                          struct checkpoint_tensor *t)
{
    for (size_t k = 0; k < tensors->count; k++) {
        size_t i = (from + k) % tensors->count;
        describe(tensors, i, t);
        if (strcmp(t->old_name, name) == 0) return i;
    }
    return tensors->count;
}

static bool same_dims(const struct old_tensor *found, const struct checkpoint_tensor *t, uint32_t wanted[4])
{
    uint32_t fc[4] = {t->kernel[0], 1, 1, (uint32_t)(checkpoint_elements(t) / t->kernel[0])};
    memcpy(wanted, t->rank == 2 ? fc : t->kernel, sizeof fc);
    return memcmp(found->dims, wanted, sizeof found->dims) == 0;
}

static bool check_tensor(const struct old_checkpoint *file, const struct old_tensor *found,
                         const struct checkpoint_tensor *t, struct error *err)
{
    uint32_t wanted[4];
    if (same_dims(found, t, wanted)) return true;
    return error_set(err, ERROR_INPUT, "%s: %s is %u x %u x %u x %u; the model wants %u x %u x %u x %u", file->path,
                     found->name, found->dims[0], found->dims[1], found->dims[2], found->dims[3], wanted[0], wanted[1],
                     wanted[2], wanted[3]);
}

static uint64_t elements_in_file(const struct old_tensor *t)
{
    return (uint64_t)t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
}

static bool pass_over(struct old_checkpoint *file, const struct old_tensor *found, struct error *err)
{
    off_t bytes = (off_t)(elements_in_file(found) * sizeof(float) + 8);
    return fseeko(file->stream, bytes, SEEK_CUR) == 0 ||
           error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", file->path);
}

static bool read_tensor(struct old_checkpoint *file, const struct old_tensor *found, size_t number, float *staging,
                        struct error *err)
{
    uint64_t count = elements_in_file(found);
    unsigned char sum[8];
    if (fread(staging, sizeof *staging, count, file->stream) != count || fread(sum, 1, 8, file->stream) != 8)
        return error_set(err, ERROR_INPUT, "%s: ends within %s", file->path, found->name);
    if (read_number(sum, 8) != hash_bytes(staging, count * sizeof *staging, number))
        return error_set(err, ERROR_INPUT, "%s: %s is damaged: the checksum is wrong", file->path, found->name);
    checkpoint_swap_floats(staging, count);
    return true;
}

bool old_checkpoint_load(struct old_checkpoint *file, const struct checkpoint_tensors *tensors, float *staging,
                         struct error *err)
{
    uint64_t count;
    struct cursor cursor = begin_table(file, &count);
    size_t next = 0;
    if (count != count_wanted(tensors))
        return error_set(err, ERROR_INPUT, "%s: has %" PRIu64 " tensors; the model has %zu", file->path, count,
                         count_wanted(tensors));
    for (uint64_t n = 0; n < count; n++) {
        struct old_tensor found;
        struct checkpoint_tensor t;
        if (!take_tensor(&cursor, &found))
            return error_set(err, ERROR_INPUT, "%s: its table of tensors ends at number %" PRIu64, file->path, n);
        size_t i = find_wanted(tensors, next, found.name, &t);
        if (i == tensors->count)
            return error_set(err, ERROR_INPUT, "%s: has %s, which the model has not", file->path, found.name);
        next = i + 1;
        if (t.optional && !same_dims(&found, &t, (uint32_t[4]){0})) {
            TRY(pass_over(file, &found, err));
            continue;
        }
        TRY(check_tensor(file, &found, &t, err) && read_tensor(file, &found, n, staging, err));
        if (!t.unused) TRY(tensors->put(tensors->context, i, staging, err));
    }
    return true;
}
