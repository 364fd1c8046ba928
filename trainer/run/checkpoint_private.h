/* What the parts of checkpoints share: names of files, the run as JSON, both formats behind one. */
#ifndef FATHOM_CHECKPOINT_PRIVATE_H
#define FATHOM_CHECKPOINT_PRIVATE_H

#include "checkpoint.h"
#include "safetensors.h"

#define CHECKPOINT_SUFFIX     ".safetensors"
#define CHECKPOINT_STATE      ".state.safetensors"
#define CHECKPOINT_RUN_KEY    "fathom" /* of the metadata */
#define CHECKPOINT_STATE_KEY  "state"  /* of the metadata: the checksum of the state's header */

/* folder/step-N and the suffix, or folder/average-N.safetensors; ERROR_INPUT names --save where that is too long. */
bool checkpoint_path(char path[CHECKPOINT_PATH], const char *folder, uint64_t step, const char *suffix,
                     struct error *err);
bool checkpoint_average_path(char path[CHECKPOINT_PATH], const char *folder, uint64_t step, struct error *err);

struct old_checkpoint;
struct checkpoint_file {
    char *path;
    struct old_checkpoint *old; /* or: */
    struct safetensors *model;
};

/* Whether the file has the tensor in its shape. */
bool checkpoint_has(const struct checkpoint_file *file, const struct checkpoint_tensor *tensor);

/* checkpoint_fields.c: a checkpoint as JSON text; *text is a zeroed object, ended by the caller. */
bool checkpoint_fields_write(const struct checkpoint *checkpoint, struct text *text, struct error *err);
bool checkpoint_fields_read(const char *json, const char *path, struct checkpoint *checkpoint, struct error *err);
bool checkpoint_check_scale(const char *path, const struct loss_scale *scale, struct error *err);

/* checkpoint_layouts.c: {K, R, S, C} to K C R S in place, and back: each kernel by way of `kernel`, of a K. */
void checkpoint_to_file(const struct checkpoint_tensor *tensor, float *values, float *kernel);
void checkpoint_from_file(const struct checkpoint_tensor *tensor, float *values, float *kernel);
/* Floats are little-endian in files: on other hosts their bytes change places. */
void checkpoint_swap_floats(float *values, uint64_t count);
/* Room for that, for the largest of the tensors; NULL when memory is short. */
float *checkpoint_kernel_room(const struct checkpoint_tensors *tensors);

static inline uint64_t checkpoint_elements(const struct checkpoint_tensor *t)
{
    return (uint64_t)t->kernel[0] * t->kernel[1] * t->kernel[2] * t->kernel[3];
}

/* ---- checkpoint_old.c: versions 1 and 2 ---- */

bool old_checkpoint_is(const char *path); /* false also where nothing can be read */
bool old_checkpoint_open(const char *path, struct old_checkpoint **file, struct checkpoint *checkpoint,
                         struct error *err);
bool old_checkpoint_load(struct old_checkpoint *file, const struct checkpoint_tensors *tensors, float *staging,
                         struct error *err);
/* The dims of a tensor; false where there is none of that name. */
bool old_checkpoint_tensor(const struct old_checkpoint *file, const char *name, uint32_t dims[4]);
void old_checkpoint_close(struct old_checkpoint *file);

#endif
