/* A training run in progress: what the files of this folder share of it. */
#ifndef FATHOM_TRAIN_PRIVATE_H
#define FATHOM_TRAIN_PRIVATE_H

#include "checkpoint.h"
#include "execute.h"
#include "log.h"
#include "pace.h"
#include "team.h"
#include "train.h"

#define RUN_MEDIAN_STEPS 4096u /* the run's speed is the median of the last so many */

/* A step that the devices have been given. */
struct flight {
    uint64_t begin_ns;
    double learning_rate;
};

/* What all ranks know of each device after a step, or after a batch of an evaluation. */
struct told {
    struct metrics metrics;
    uint64_t submitted; /* steps that its process has given it */
    uint32_t not_finite; /* 1 + the op of its graph that first made a number that is not finite; 0 = none is known */
    int32_t stop;       /* the signal by which its process was asked to end; 0 = none */
};

struct training {
    const struct plan *plan;
    const struct backend *backend;
    const struct train_options *options;
    struct trace_sink *sink;

    /* The plan's devices that this process drives: member r of the team drives device first_device + r. */
    uint32_t first_device, device_count;
    struct ranks *ranks; /* NULL: this process drives all */
    struct stopping stopping; /* whether this process was asked to end, or its rank was by who started it */
    int32_t stop;        /* the signal by which a rank was asked to end, as all ranks know; 0 = none */
    uint64_t until;      /* then: the steps that some rank has given its devices, which all come to */

    struct dataset *dataset;
    struct loader *loader;
    struct log *log;
    struct team *team;
    struct group **groups;       /* memberships of this process's devices; NULL with one device */
    struct executor **executors; /* one per device of this process */
    struct told *told;           /* of all of the plan's devices: of the last step or evaluation batch */
    float *staging;              /* room for the largest tensor that a checkpoint holds */
    uint32_t infinite;           /* once diverged: a tensor of weights that an update has made so; NO_TENSOR = none */
    double *step_seconds;        /* of the last RUN_MEDIAN_STEPS steps, a ring */

    uint64_t seed;
    uint64_t done;     /* steps */
    uint64_t position; /* images delivered */
    uint64_t first;    /* done before this process began */
    uint64_t saved;    /* step of the last checkpoint; UINT64_MAX = none */
    uint64_t averaged; /* step of the last average's file; UINT64_MAX = none */
    uint64_t evaluated_step; /* after which status' test figures were found; UINT64_MAX = none */
    double best_error;       /* the least top-1 error of a checkpoint in the folder; NAN = none was evaluated */
    uint64_t evaluate_every; /* steps, 0 = at the end only */
    uint32_t most_in_flight;
    uint32_t in_flight;  /* steps submitted and not collected; after a device's failure, 1 at least */
    struct flight flights[TRAIN_MOST_IN_FLIGHT]; /* of step n: number n modulo these */
    uint64_t collected_ns; /* when the last step was */
    bool diverged;         /* the loss of the step after `done` is not finite */
    uint32_t good_device;  /* then: one of the plan that has the parameters before that step */
    bool no_more_images;   /* the next batch could not be had: steps in flight come to their end first */
    struct error images_error;
    struct schedule_state schedule;
    struct loss_scale loss_scale; /* to and from the devices, where there is one */
    struct step step;   /* submitted last */
    struct batch batch; /* its images */
    struct train_status status;
    struct pace pace;
    bool said_images;     /* data.json is written */
    double tested_images; /* in the last evaluation */
};

/* evaluate.c: over the test set, with the weights as they are; fills status' test figures. The loader of training
 * images rests meanwhile, so that no more memory is held than the plan counts. *stop leaves status as it was. Where the
 * step is then saved, as it is due or the best so far, the file of an average is written at once: its statistics are
 * those that were tested. An error names the evaluation, or the checkpoint, and the step, but where the run evaluates only. */
bool run_evaluate(struct training *run, bool save_is_due, struct error *err);
/* Where a device's share of an evaluation batch begins, which is of all devices; of their number, its size. */
uint32_t run_evaluated_before(const struct training *run, uint32_t device);
/* tested_state.c: what is evaluated instead of the run's own state: averages of weights, and statistics taken anew. begin
 * and end around an evaluation, while no step is in flight; end also after a failure. */
struct tested_state;
bool tested_state_begin(struct training *run, struct tested_state **tested, struct error *err);
bool tested_state_end(struct training *run, struct tested_state *tested, struct error *err);
/* heard.c: what each device has told, its metrics among it, becomes known to all ranks. */
bool run_hear(struct training *run, struct error *err);
/* Whether the run is to end, as all ranks know. */
bool run_is_stopped(const struct training *run);
/* The signal by which this process, or who started it, was asked to end the run; 0 = none. */
int32_t run_asked_to_stop(const struct training *run);

/* images.c: whether the plan's devices make images of bytes: then the loader gives those. */
bool run_loads_bytes(const struct training *run);
/* Images before `device`'s in a step, in a batch of the evaluation. */
uint32_t run_images_before(const struct training *run, uint32_t device);
/* The images of a batch from number `first` on. */
struct step_input run_share(const struct training *run, const struct batch *batch, size_t first);
/* What the loader of a run under the plan may take for decoding. */
uint64_t run_decode_bytes(const struct plan *plan);
/* In run->step: the dataset's mean and deviation. */
void run_set_normalisation(struct training *run);
/* Makes run->loader for the run's position. */
bool run_open_loader(struct training *run, struct error *err);

/* train.c: ends what was begun, whole or in part; `ok` is how it went so far. */
bool run_end(struct training *run, bool ok, struct error *err);
/* After how many steps a run tests; 0 = at the end only. */
uint64_t train_evaluate_every(const struct plan *plan, const struct train_options *options, const struct dataset_info *info);

/* train_check.c: whether what the command says can be done, and the plan runs here. */
bool run_check_room(const struct training *run, struct error *err);
bool run_open_dataset(struct training *run, struct error *err);

/* train_devices.c: the run's tables and devices, with nothing in them yet; take: after the plan was checked. They are given back
 * whole or in part. */
bool run_make_devices(struct training *run, struct error *err);
bool run_take_devices(struct training *run, struct error *err);
void run_give_devices(struct training *run);
uint32_t run_choose_in_flight(const struct training *run);

/* steps.c: all steps, with what follows each of them. */
bool run_steps(struct training *run, void (*progress)(void *context, const struct train_status *status), void *context,
               struct train_result *result, struct error *err);

/* diverged.c: adds to *err where the step that has just failed, as its loss is not finite, left the finite numbers. After
 * everything else: the devices' statistics are lost. */
void run_name_layer(struct training *run, struct error *err);

/* run_state.c: initial values, checkpoints. */
bool run_initialise(struct training *run, struct error *err);
/* Writes a checkpoint; the best so far is marked, and of older ones only as many stay as options say. */
bool run_save(struct training *run, struct error *err);
/* The file of the average, where one is kept, while it has changed places with the weights (tested_state_begin). */
bool run_save_average(struct training *run, struct error *err);
/* Whether the net was evaluated after the last step, with fewer errors than whatever is saved. */
bool run_is_best(const struct training *run);
/* run_save of the last good step after a failure; nothing where its state is gone or not finite. */
void run_save_last_good(struct training *run);
bool run_resume(struct training *run, struct error *err);
/* The weights and statistics of a checkpoint, or of a folder's newest one, or of a file of others; nothing else of it. */
bool run_take_weights(struct training *run, const char *from, struct error *err);
/* f16: the loss scale as the step after `done` left it, into status; tells of a step that was skipped. */
void run_see_loss_scale(struct training *run, const struct loss_scale *scale);

/* train_report.c: what run it is, of which processes and devices, and what these do at most. */
void run_report_begin(const struct training *run, const struct train_part *part);
void run_report_mark(const struct training *run, const char *text);
void run_report_resumed(const struct training *run);
/* Waits reported for every device of the run. */
void run_report_gap(const struct training *run, enum trace_gap kind, uint64_t begin_ns);
/* What the host did since begin_ns on behalf of one device, or of all. */
void run_report_host(const struct training *run, uint32_t rank, enum trace_host what, uint64_t begin_ns);
void run_report_host_of_all(const struct training *run, enum trace_host what, uint64_t begin_ns);
void run_report_metric(const struct training *run, enum trace_metric metric, double value);

/* score.c: a run that learns nothing, before it has taken its devices. */
struct training run_for_answers(const struct plan *plan, const struct backend *backend, const struct train_options *options);

#endif
