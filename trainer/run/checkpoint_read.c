/* Both formats behind one: opening a checkpoint, and handing out what is in it. */
#define _GNU_SOURCE
#include "checkpoint_private.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "mem.h"
#include "safetensors_private.h"

/* ---- Opening ---- */

/* A file can say what no run had: each device stands for many tensors. */
static bool check_devices(const char *path, const struct checkpoint *c, struct error *err)
{
    if (!c->known || (c->devices > 0 && c->devices <= MACHINE_MOST_DEVICES)) return true;
    return error_set(err, ERROR_INPUT, "%s: has statistics of %u devices; 1 to %u are possible", path, c->devices,
                     MACHINE_MOST_DEVICES);
}

bool checkpoint_open(const char *path, struct checkpoint_file **out, struct checkpoint *checkpoint, struct error *err)
{
    struct checkpoint_file *file = mem_zalloc(MEM_GENERAL, 1, sizeof *file);
    if (!file || !(file->path = mem_strdup(MEM_GENERAL, path))) {
        mem_free(file);
        return error_memory(err, sizeof *file, path);
    }
    struct checkpoint found = {.top1_error = NAN};
    bool ok = old_checkpoint_is(path) ? old_checkpoint_open(path, &file->old, &found, err)
                                      : safetensors_open(path, &file->model, err);
    const char *run = ok && file->model ? safetensors_metadata(file->model, CHECKPOINT_RUN_KEY) : NULL;
    if (run && !safetensors_metadata(file->model, SAFETENSORS_SUMS))
        ok = error_set(err, ERROR_INPUT, "%s: is damaged: it has no checksums", path);
    if (ok && run) ok = checkpoint_fields_read(run, path, &found, err);
    if (ok) ok = check_devices(path, &found, err);
    if (!ok) {
        checkpoint_close(file);
        return false;
    }
    *checkpoint = found;
    *out = file;
    return true;
}

void checkpoint_close(struct checkpoint_file *file)
{
    if (!file) return;
    old_checkpoint_close(file->old);
    safetensors_close(file->model);
    mem_free(file->path);
    mem_free(file);
}

/* ---- The state ---- */

/* Beside the model, also where the path is a link (best.safetensors). */
static bool state_path(const char *model, char path[FILES_PATH], struct error *err)
{
    size_t stem = files_resolve(model, path) ? strlen(path) : 0, suffix = strlen(CHECKPOINT_SUFFIX);
    bool ours = stem > suffix && strcmp(path + stem - suffix, CHECKPOINT_SUFFIX) == 0;
    if (!ours || stem - suffix + sizeof CHECKPOINT_STATE > FILES_PATH)
        return error_set(err, ERROR_INPUT, "%s: is not named like a checkpoint (step-NUMBER" CHECKPOINT_SUFFIX ")",
                         model);
    strcpy(path + stem - suffix, CHECKPOINT_STATE);
    return true;
}

static bool open_state(const struct checkpoint_file *file, struct safetensors **state, struct error *err)
{
    char path[FILES_PATH];
    const char *wanted = safetensors_metadata(file->model, CHECKPOINT_STATE_KEY);
    if (!wanted)
        return error_set(
            err, ERROR_INPUT,
            "%s: has weights alone, not the state of a run to go on from; --weights begins a run with them",
            file->path);
    TRY(state_path(file->path, path, err));
    if (access(path, F_OK) != 0)
        return error_errno(err, ERROR_INPUT, errno,
                           "%s: a run goes on from this and its state beside it, %s; --weights begins one with the "
                           "weights alone",
                           file->path, path);
    TRY(safetensors_open(path, state, err));
    const char *sum = safetensors_metadata(*state, SAFETENSORS_SUMS);
    if (sum && strncmp(sum, wanted, SAFETENSORS_DIGITS) == 0) return true;
    safetensors_close(*state);
    *state = NULL;
    return error_set(err, ERROR_INPUT, "%s: is not the state of %s", path, file->path);
}

static bool needs_state(const struct checkpoint_tensors *tensors)
{
    struct checkpoint_tensor t;
    for (size_t i = 0; i < tensors->count; i++) {
        tensors->describe(tensors->context, i, &t);
        if (t.state && !t.unused) return true;
    }
    return false;
}

/* How many of the state's tensors are none of these. */
static size_t count_surplus(const struct safetensors *state, const struct checkpoint_tensors *tensors)
{
    size_t count = 0, known = 0;
    while (safetensors_name(state, count)) count++;
    for (size_t i = 0; i < tensors->count; i++) {
        struct checkpoint_tensor t;
        struct safetensors_tensor found;
        tensors->describe(tensors->context, i, &t);
        known += t.state && safetensors_find(state, t.name, &found);
    }
    return count > known ? count - known : 0;
}

bool checkpoint_check_state(const struct checkpoint_file *file, const struct checkpoint_tensors *tensors, bool exact,
                            struct error *err)
{
    struct safetensors *state = NULL;
    if (file->old) return true; /* one file, whose tensors are counted as it is read */
    TRY(open_state(file, &state, err));
    size_t surplus = exact ? count_surplus(state, tensors) : 0;
    safetensors_close(state);
    if (surplus == 0) return true;
    return error_set(
        err, ERROR_INPUT,
        "%s: its state has %zu tensor%s that this run does not keep: go on with the optimizer, averages and "
        "frozen stages and batch normalisations that it was written with, or begin a run with its weights (--weights)",
        file->path, surplus, surplus == 1 ? "" : "s");
}

/* ---- Loading ---- */

static bool load_tensor(struct safetensors *file, const struct checkpoint_tensor *t, float *staging, float *kernel,
                        const char *path, struct error *err)
{
    struct safetensors_tensor found;
    bool same = safetensors_find(file, t->name, &found) && found.rank == t->rank &&
                memcmp(found.shape, t->shape, t->rank * sizeof t->shape[0]) == 0;
    if (!same) return error_set(err, ERROR_INPUT, "%s: its state has no %s of the model's shape", path, t->name);
    TRY(safetensors_read(file, t->name, &found, staging, err));
    checkpoint_from_file(t, staging, kernel);
    return true;
}

static bool load_all(struct checkpoint_file *file, struct safetensors *state, const struct checkpoint_tensors *tensors,
                     float *staging, float *kernel, struct error *err)
{
    struct checkpoint_tensor t;
    for (size_t i = 0; i < tensors->count; i++) {
        tensors->describe(tensors->context, i, &t);
        if (t.unused || (t.optional && !checkpoint_has(file, &t))) continue;
        TRY(load_tensor(t.state ? state : file->model, &t, staging, kernel, file->path, err));
        TRY(tensors->put(tensors->context, i, staging, err));
    }
    return true;
}

bool checkpoint_load(struct checkpoint_file *file, const struct checkpoint_tensors *tensors, float *staging,
                     struct error *err)
{
    struct safetensors *state = NULL;
    TRY(checkpoint_check_tensors(file, tensors, err));
    if (file->old) return old_checkpoint_load(file->old, tensors, staging, err);
    if (needs_state(tensors)) TRY(open_state(file, &state, err));
    float *kernel = checkpoint_kernel_room(tensors);
    bool ok = kernel ? load_all(file, state, tensors, staging, kernel, err)
                     : error_memory(err, sizeof *kernel, "a checkpoint's largest kernel");
    mem_free(kernel);
    safetensors_close(state);
    return ok;
}
