/* Checkpoints: all that a run needs to go on bitwise as if it had never stopped, two files per step saved (docs/formats.md).
 *
 * step-N.safetensors has what the net is: parameters and running statistics under PyTorch's names and in its layouts. Beside it
 * step-N.state.safetensors has the rest of the run's state: the optimiser's, and each device's own statistics. Independent of
 * the plan: any plan of the model may go on from them. Files of versions 1 and 2 (step-N.ckpt), and weights that others wrote,
 * are read. */
#ifndef FATHOM_CHECKPOINT_H
#define FATHOM_CHECKPOINT_H

#include <time.h>

#include "graph.h"
#include "locks.h"
#include "rate.h"

#define CHECKPOINT_VERSION 3u
#define CHECKPOINT_NAME    192 /* of a tensor */
#define CHECKPOINT_PATH    4096

struct checkpoint {
    bool known;      /* which run's it is; of weights that others wrote nothing below is said */
    uint32_t version;
    struct model_spec spec;
    uint64_t step; /* done so far */
    uint64_t seed;
    uint64_t position; /* images delivered so far */
    uint64_t dataset_hash;
    uint32_t batch;
    uint32_t devices; /* each has its own running statistics */
    bool says_update; /* which optimizer, and whether averages of weights are kept; else the file is older and does not say */
    enum optimizer optimizer;
    bool averages;
    struct schedule_state schedule;
    bool scaled; /* a run in f16: it has a loss scale */
    struct loss_scale loss_scale;
    double top1_error; /* of the evaluation after this step; NAN = there was none, or an old file does not say */
};

struct checkpoint_tensor {
    char name[CHECKPOINT_NAME];
    char old_name[CHECKPOINT_NAME]; /* in versions 1 and 2; empty = not there */
    uint64_t shape[4];              /* in the file */
    uint32_t rank;
    uint32_t kernel[4]; /* {K, R, S, C}, the canonical layout of graph.h; in the file K C R S */
    bool state;         /* it is in the second file */
    bool unused;        /* it need not be read */
    bool optional;      /* where the file has it not, or in another shape, it is left as it is */
};

/* The tensors of a run, one by one, so that no second copy of a model is ever held; those of the first file come first. */
struct checkpoint_tensors {
    void *context;
    size_t count;
    void (*describe)(void *context, size_t i, struct checkpoint_tensor *tensor);
    bool (*get)(void *context, size_t i, float *values, struct error *err);
    bool (*put)(void *context, size_t i, const float *values, struct error *err);
};

/* ---- Writing ---- */

/* Writes folder/step-NNNNNNNNNNNN.safetensors and its state; atomic: after a failure (ERROR_FAILED when the disk is full,
 * ERROR_INPUT when nothing can be written there) earlier files are as they were. staging: room for the largest tensor. */
bool checkpoint_write(const char *folder, const struct checkpoint *checkpoint, const struct checkpoint_tensors *tensors,
                      float *staging, struct error *err);

/* Writes folder/average-NNNNNNNNNNNN.safetensors alone: a net to use, not one to go on from. None of the tensors is of the state. */
bool checkpoint_write_average(const char *folder, const struct checkpoint *checkpoint,
                              const struct checkpoint_tensors *tensors, float *staging, struct error *err);

/* Makes the folder and tries it with a file as checkpoint_write makes one, which does not stay. Errors as there. */
bool checkpoint_try(const char *folder, struct error *err);

/* Makes best.safetensors in the folder a link to the checkpoint of that step, or to its average. */
bool checkpoint_mark_best(const char *folder, uint64_t step, bool average, struct error *err);
/* The error of what best.safetensors in the folder names; NAN where there is none. */
double checkpoint_best_error(const char *folder);
/* Of the checkpoints up to step `newest`, all but the last `keep` (1 or more) and the best are removed, and what has no model,
 * as a killed run leaves it; what cannot be removed stays, and so do those of later steps, which another run wrote that this
 * one began again within. */
void checkpoint_thin(const char *folder, uint64_t newest, uint64_t keep);

/* A folder that one run at a time saves to. */
struct checkpoint_claim {
    const char *folder; /* borrowed */
    size_t there;       /* of its path, in bytes, before it was made */
    struct folder_lock lock;
};

/* Makes the folder, keeps other processes from claiming it, and removes what killed runs left half-written. A released folder that was made in vain is gone again; a zeroed
 * claim may be released too. */
bool checkpoint_claim(struct checkpoint_claim *claim, const char *folder, struct error *err);
void checkpoint_release(struct checkpoint_claim *claim);

/* ---- Finding ---- */

/* Whether a file of this name would be taken for a checkpoint, or for a part of one. */
bool checkpoint_names_one(const char *name);

/* The newest checkpoint in a folder, by its step number, into path. ERROR_INPUT when there is none. A path of a file is
 * taken as it is. */
bool checkpoint_find(const char *folder_or_file, char path[CHECKPOINT_PATH], struct error *err);
/* The file of a step there, whether it is there or not; false where the path is too long. */
bool checkpoint_of_step(const char *folder, uint64_t step, char path[CHECKPOINT_PATH]);
/* Whether the folder has any. */
bool checkpoint_exists(const char *folder);
/* How many steps' are there, of this version. */
uint64_t checkpoint_count(const char *folder);

/* When the folder's last checkpoint was written; zeroed where there is none. Later ones are told from it: those of a run that
 * began then, among which may be older ones of higher steps. */
struct timespec checkpoint_last_written(const char *folder);
/* checkpoint_find among those written since; false where there is none. */
bool checkpoint_find_since(const char *folder, struct timespec written, char path[CHECKPOINT_PATH]);

/* ---- Reading ---- */

/* An open checkpoint whose header has been read and checked. */
struct checkpoint_file;
bool checkpoint_open(const char *path, struct checkpoint_file **file, struct checkpoint *checkpoint, struct error *err);
/* Hands every tensor that is used to tensors->put, once the file is found to have the same as tensors->describe says: first
 * those of the model, then the state's, whose file is opened where any of them is used. ERROR_INPUT names what is wrong:
 * then the run's state is not to be used. */
bool checkpoint_load(struct checkpoint_file *file, const struct checkpoint_tensors *tensors, float *staging,
                     struct error *err);
/* Whether a run with these tensors can go on from the file: its state is there and, where `exact`, has nothing that the run
 * does not keep. ERROR_INPUT says what is wrong. */
bool checkpoint_check_state(const struct checkpoint_file *file, const struct checkpoint_tensors *tensors, bool exact,
                            struct error *err);
/* Whether the file has exactly the tensors of the model, but for those that are optional; those of versions 1 and 2 are counted
 * as they are read. ERROR_INPUT says which parts it has. */
bool checkpoint_check_tensors(const struct checkpoint_file *file, const struct checkpoint_tensors *tensors,
                              struct error *err);
/* The end of a sentence: which parts of a model with these tensors the file has by name and shape, and which not, with the
 * first tensor that differs. */
void checkpoint_compare(const struct checkpoint_file *file, const struct checkpoint_tensors *tensors, char *words,
                        size_t size);
/* The model of weights that others wrote, from its tensors' names and shapes: a ResNet or Inception-v3 of torchvision's
 * names.
 * ERROR_INPUT where it is none. */
bool checkpoint_guess(const struct checkpoint_file *file, struct model_spec *spec, struct error *err);
/* Takes NULL. */
void checkpoint_close(struct checkpoint_file *file);

#endif
