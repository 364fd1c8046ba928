/* Writing a checkpoint: the model, and its state beside it. */
#define _GNU_SOURCE
#include "checkpoint_private.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"

struct pair {
    const struct checkpoint_tensors *tensors;
    float *staging, *kernel;
    struct safetensors_writer model, state;
};

static struct safetensors_writer *file_of(struct pair *pair, const struct checkpoint_tensor *tensor)
{
    return tensor->state ? &pair->state : &pair->model;
}

static bool announce_all(struct pair *pair, struct error *err)
{
    struct checkpoint_tensor t;
    for (size_t i = 0; i < pair->tensors->count; i++) {
        pair->tensors->describe(pair->tensors->context, i, &t);
        TRY(safetensors_announce(file_of(pair, &t), t.name, t.shape, t.rank, err));
    }
    return true;
}

static bool write_headers(struct pair *pair, const struct checkpoint *checkpoint, struct error *err)
{
    struct text run = {0};
    char unknown[SAFETENSORS_DIGITS + 1];
    memset(unknown, '0', SAFETENSORS_DIGITS);
    unknown[SAFETENSORS_DIGITS] = '\0';
    bool ok = checkpoint_fields_write(checkpoint, &run, err) &&
              safetensors_say(&pair->model, CHECKPOINT_RUN_KEY, run.bytes, err) &&
              safetensors_say(&pair->model, CHECKPOINT_STATE_KEY, unknown, err) &&
              safetensors_write_header(&pair->model, err) && safetensors_write_header(&pair->state, err);
    text_finish(&run);
    return ok;
}

static bool write_tensors(struct pair *pair, struct error *err)
{
    struct checkpoint_tensor t;
    for (size_t i = 0; i < pair->tensors->count; i++) {
        pair->tensors->describe(pair->tensors->context, i, &t);
        TRY(pair->tensors->get(pair->tensors->context, i, pair->staging, err));
        checkpoint_to_file(&t, pair->staging, pair->kernel);
        TRY(safetensors_put(file_of(pair, &t), pair->staging, checkpoint_elements(&t), err));
    }
    return true;
}

/* The model says which state is its own. */
static bool seal(struct pair *pair, struct error *err)
{
    char sum[SAFETENSORS_DIGITS + 1];
    return safetensors_seal(&pair->state, sum, err) && safetensors_say(&pair->model, CHECKPOINT_STATE_KEY, sum, err) &&
           safetensors_seal(&pair->model, sum, err) && files_flush(&pair->state.file, err) &&
           files_flush(&pair->model.file, err);
}

/* The rename itself must be on disk before an older checkpoint may be given up. */
static void flush_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

/* A state without its model is nothing, so it is there first. */
static bool commit(struct pair *pair, const char *state, struct error *err)
{
    TRY(files_commit(&pair->state.file, err));
    pair->state.file = (struct files_writer){0};
    bool ok = files_commit(&pair->model.file, err);
    pair->model.file = (struct files_writer){0};
    if (!ok) unlink(state);
    return ok;
}

static bool write_average(struct pair *pair, const struct checkpoint *checkpoint, const char *path, struct error *err)
{
    struct text run = {0};
    char sum[SAFETENSORS_DIGITS + 1];
    bool ok = safetensors_begin(&pair->model, path, err) && announce_all(pair, err) &&
              checkpoint_fields_write(checkpoint, &run, err) &&
              safetensors_say(&pair->model, CHECKPOINT_RUN_KEY, run.bytes, err) &&
              safetensors_write_header(&pair->model, err) && write_tensors(pair, err) &&
              safetensors_seal(&pair->model, sum, err) && files_flush(&pair->model.file, err) &&
              files_commit(&pair->model.file, err);
    text_finish(&run);
    if (ok) pair->model.file = (struct files_writer){0};
    return ok;
}

bool checkpoint_write_average(const char *folder, const struct checkpoint *checkpoint,
                              const struct checkpoint_tensors *tensors, float *staging, struct error *err)
{
    char path[CHECKPOINT_PATH];
    TRY(checkpoint_average_path(path, folder, checkpoint->step, err));
    struct pair pair = {.tensors = tensors, .staging = staging, .kernel = checkpoint_kernel_room(tensors)};
    if (!pair.kernel) return error_memory(err, sizeof(float), "a checkpoint's largest kernel");
    bool ok = write_average(&pair, checkpoint, path, err);
    safetensors_abandon(&pair.model);
    mem_free(pair.kernel);
    return ok;
}

bool checkpoint_write(const char *folder, const struct checkpoint *checkpoint, const struct checkpoint_tensors *tensors,
                      float *staging, struct error *err)
{
    char model[CHECKPOINT_PATH], state[CHECKPOINT_PATH];
    TRY(checkpoint_path(model, folder, checkpoint->step, CHECKPOINT_SUFFIX, err));
    TRY(checkpoint_path(state, folder, checkpoint->step, CHECKPOINT_STATE, err));
    TRY(files_make_folder(folder, err));
    struct pair pair = {.tensors = tensors, .staging = staging, .kernel = checkpoint_kernel_room(tensors)};
    if (!pair.kernel) return error_memory(err, sizeof(float), "a checkpoint's largest kernel");
    bool ok = safetensors_begin(&pair.model, model, err) && safetensors_begin(&pair.state, state, err) &&
              announce_all(&pair, err) && write_headers(&pair, checkpoint, err) && write_tensors(&pair, err) &&
              seal(&pair, err) && commit(&pair, state, err);
    safetensors_abandon(&pair.state);
    safetensors_abandon(&pair.model);
    mem_free(pair.kernel);
    if (ok) flush_folder(folder);
    return ok;
}
