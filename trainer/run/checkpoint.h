/* Checkpoints: all that a run needs to go on bitwise as if it had never stopped, one file per step saved.
 *
 * Layout (little-endian; docs/formats.md): "FATHOMCK", version, sizes, model, step, seed, position in the data,
 * schedule, in version 2 the loss scale, table of tensors by name, checksum of all that; then each tensor's f32 values in the canonical layout of
 * graph.h, each followed by its own checksum. Independent of the plan: any plan of the model may go on from it. */
#ifndef FATHOM_CHECKPOINT_H
#define FATHOM_CHECKPOINT_H

#include "locks.h"
#include "graph.h"
#include "rate.h"

#define CHECKPOINT_VERSION 2u /* the newest; runs without a loss scale write version 1 */
#define CHECKPOINT_NAME    192 /* of a tensor */
#define CHECKPOINT_PATH    4096

struct checkpoint {
    struct model_spec spec;
    uint64_t step; /* done so far */
    uint64_t seed;
    uint64_t position; /* images delivered so far */
    uint64_t dataset_hash;
    uint32_t batch;
    uint32_t devices; /* each has its own running statistics */
    struct schedule_state schedule;
    bool scaled; /* a run in f16: it has a loss scale */
    struct loss_scale loss_scale;
};

struct checkpoint_tensor {
    char name[CHECKPOINT_NAME];
    uint32_t dims[4];
};

/* The tensors of a run, one by one, so that no second copy of a model is ever held. */
struct checkpoint_tensors {
    void *context;
    size_t count;
    void (*describe)(void *context, size_t i, struct checkpoint_tensor *tensor);
    bool (*get)(void *context, size_t i, float *values, struct error *err);
    bool (*put)(void *context, size_t i, const float *values, struct error *err);
};

/* Writes folder/step-NNNNNNNNNNNN.ckpt; atomic: after a failure (ERROR_FAILED when the disk is full, ERROR_INPUT when
 * nothing can be written there) earlier files are as they were. staging: room for the largest tensor. */
bool checkpoint_write(const char *folder, const struct checkpoint *checkpoint, const struct checkpoint_tensors *tensors,
                      float *staging, struct error *err);

/* Makes the folder and tries it with a file as checkpoint_write makes one, which does not stay. Errors as there. */
bool checkpoint_try(const char *folder, struct error *err);

/* A folder that one run at a time saves to. */
struct checkpoint_claim {
    const char *folder; /* borrowed */
    size_t there;       /* of its path, in bytes, before it was made */
    struct folder_lock lock;
};

/* Makes the folder, keeps other processes from claiming it, and removes what killed runs left half-written. ERROR_INPUT names --save. A released folder that was made in vain is gone again; a zeroed
 * claim may be released too. */
bool checkpoint_claim(struct checkpoint_claim *claim, const char *folder, struct error *err);
void checkpoint_release(struct checkpoint_claim *claim);

/* Whether a file of this name would be taken for a checkpoint. */
bool checkpoint_names_one(const char *name);

/* The newest checkpoint in a folder, by its step number, into path. ERROR_INPUT when there is none. A path of a file is
 * taken as it is. */
bool checkpoint_find(const char *folder_or_file, char path[CHECKPOINT_PATH], struct error *err);
/* Whether the folder has any. */
bool checkpoint_exists(const char *folder);

/* An open checkpoint whose header has been read and checked. */
struct checkpoint_file;
bool checkpoint_open(const char *path, struct checkpoint_file **file, struct checkpoint *checkpoint, struct error *err);
/* Hands every tensor to tensors->put, once the table is found to be the same as tensors->describe says. ERROR_INPUT
 * names what is wrong: then the run's state is not to be used. */
bool checkpoint_load(struct checkpoint_file *file, const struct checkpoint_tensors *tensors, float *staging,
                     struct error *err);
/* Takes NULL. */
void checkpoint_close(struct checkpoint_file *file);

#endif
