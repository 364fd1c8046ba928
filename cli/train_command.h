/* A command `fathom train ...` on its way: shared by the files train*.c. */
#ifndef FATHOM_TRAIN_COMMAND_H
#define FATHOM_TRAIN_COMMAND_H

#include "checkpoint.h"
#include "engine_book.h"
#include "host_gpus.h"
#include "nics.h"
#include "plan_flags.h"
#include "progress.h"
#include "train.h"
#include "update_flags.h"

struct run_record;

struct train_command {
    struct train_options options;
    struct plan_flags flags;
    /* As given; NULL, 0 or NAN = not given. */
    const char *trace, *backend, *record_steps, *engines;
    const char *word; /* a plan file or a model */
    struct schedule_change change;
    const char *crop;
    const char *init; /* --init */
    double epochs, label_smoothing, bn_momentum, color_jitter, lighting;
    struct update_flags update;
    uint64_t bn_recompute; /* UINT64_MAX = not given */
    const char *recipe_word; /* --recipe */
    struct recipe recipe;    /* that one, or the model's own, once taken with what options say otherwise */
    bool recipe_taken;
    uint64_t time_every, trace_queue;
    uint64_t restarts, loader_threads;
    bool no_augment, top, processes, threads, strict;
    bool saves; /* --save was given: else checkpoints go where --resume finds them */
    bool quiet; /* a rank that is not the first: it says nothing */
    struct ranks *ranks; /* NULL: this process is alone */
    struct train_part part; /* the devices that it drives */
    struct dataset_decoding decoding; /* of options.dataset's pictures, once measured */
    struct engine_book carried; /* plans of --engines FILE; zeroed = none */
    struct teller teller;
    uint64_t recorded_first, recorded_count; /* steps that are timed whatever it costs, from 0 */
    bool papers_steps; /* iterations are the recipe's passes over these images */
    const struct backend *runs_on;
    struct host_gpus gpus; /* once looked for */
    bool looked;
    const char *near[HOST_MOST_GPUS];
    uint64_t resumed; /* --resume: the step of its checkpoint, and the checkpoint */
    char checkpoint[TRAIN_PATH]; /* or that of --weights: */
    uint32_t weights_classes;    /* its classes; 0 = unknown */
    char nics[TOPOLOGY_FABRICS]; /* of this host, that NCCL is told to use; empty = it chooses by itself */
    char trace_path[TRAIN_PATH]; /* of a rank that is not the first */
    char trace_note[256]; /* what becomes of a trace that is there; empty = nothing */
    const char *run_folder; /* --run; NULL = none */
    bool run_goes_on;       /* it has this very run already, */
    bool run_begins_again;  /* of which nothing was saved */
    uint64_t run_iterations; /* that it was to have before; 0 = it is new */
    struct run_record *record; /* once the run has begun there; else NULL */
    char run_log[TRAIN_PATH], run_trace[TRAIN_PATH];
    struct progress_line progress;
    struct checkpoint_claim claim;
};

/* Its manual, as in struct command. */
extern const char *const train_manual[];

/* What a command would train, without training it. */
struct train_preview {
    uint64_t iterations, batch;
    uint64_t planned_bytes;
    double step_seconds; /* predicted; 0 = not known */
    char recipe[RECIPE_NAME];
    /* The images that were looked at, kept for the next command: whoever has seen the last one closes the dataset. */
    struct dataset *dataset;
    struct dataset_decoding decoding;
    char data[TRAIN_PATH];
};
/* Plans and checks the command as `fathom train` would, up to what is written. *preview is zeroed, or as another call left it. Errors are those of
 * the command. */
bool train_preview(int argc, char **argv, struct train_preview *preview, struct error *err);

/* Whether there is an option by that name, with a value after it. */
bool train_option_takes_value(const char *name);

/* Whether a word is a plan file: one with a slash or a dot, or that names a file; model names have neither. */
bool train_command_names_file(const char *word);
/* The plan of the file, or made for the model that c->word names; NULL on failure. The caller ends it with plan_destroy. */
struct plan *train_command_plan(struct train_command *c, struct error *err);
/* The plan of a run, made again without those of its devices that are gone; the caller ends it with plan_destroy. c->runs_on is
 * known. NULL with ERROR_UNFIT where the others cannot hold it. */
struct plan *train_command_replan(struct train_command *c, const struct plan *plan, const bool *gone, struct error *err);
/* Opens c->options.dataset and finds what decoding it takes at that size; nothing more where that is done. */
bool train_command_data(struct train_command *c, uint32_t image_size, struct error *err);
/* The second half of that, of a dataset that is open; of its test images alone where no others are read. */
bool train_command_measure(struct train_command *c, uint32_t image_size, bool tests_alone, struct error *err);
/* Reads what --engines FILE carries for the trainer into c->carried, where there is such a file; the caller ends it. */
bool train_command_carried(struct train_command *c, struct error *err);
/* Finds c->runs_on: what the plan is for or --backend names, when it can run the plan here as the flags say. */
bool train_command_backend(struct train_command *c, const struct plan *plan, struct error *err);

#endif
