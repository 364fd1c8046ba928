/* A whole training run: executes a plan over a dataset. */
#ifndef FATHOM_TRAIN_H
#define FATHOM_TRAIN_H

#include <signal.h>

#include "backend.h"
#include "data.h"
#include "errors.h"
#include "plan.h"
#include "sink.h"

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_STEPS, SCHEDULE_PLATEAU, SCHEDULE_COSINE };

#define SCHEDULE_MOST_DROPS 8

struct schedule {
    enum schedule_kind kind;
    double base;                          /* learning rate */
    double warm_rate;                     /* used before warm_steps (CIFAR, depth >= 110: 0.01 for 400 steps) */
    uint64_t warm_steps;
    double warm_until_error;              /* > 0: or until training error is below this (arXiv:1512.03385, 4.2) */
    uint64_t drops[SCHEDULE_MOST_DROPS];  /* steps at which the rate is multiplied by factor */
    uint32_t drop_count;
    double factor;                        /* 0.1 */
    uint32_t patience;                    /* plateau: evaluations without a better error */
    uint64_t iterations;                  /* cosine: the step at which the rate reaches 0 */
};

struct train_options {
    const char *data_path;
    uint64_t iterations;       /* total, also when resumed */
    uint64_t seed;
    struct schedule schedule;
    double momentum, weight_decay;
    bool nesterov;
    bool augment;
    uint64_t evaluate_every;   /* steps, 0 = at the end only */
    uint64_t evaluate_images;  /* 0 = the whole test set */
    const char *save_folder;   /* NULL = no checkpoints */
    uint64_t save_every;       /* steps, 0 = at the end and on Ctrl-C only */
    const char *resume_folder; /* NULL = from scratch */
    const char *log_path;      /* JSON lines, NULL = none */
    bool skip_evaluation;      /* none, not even at the end */
    bool repeat_batch;         /* every step sees the first batch: a check that a net can learn */
    bool fill_dead;            /* debugging: bytes are filled with NaN right after their last use */
    bool time_ops;             /* ops' times go to the sink */
    const char *command;       /* for the sink: how the run was started; may be NULL */
    const volatile sig_atomic_t *stop; /* set by a signal handler: checkpoint and leave */
};

struct train_status {          /* after each step, on the calling thread */
    uint64_t step, iterations;
    double loss, learning_rate, images_per_second;
    double train_error;        /* of this step's batch, 0..1 */
    bool evaluated;
    double test_loss, top1_error, top5_error;
    double eta_seconds;
};

struct train_result {
    uint64_t steps;
    double loss, top1_error, top5_error; /* last; errors NAN when never evaluated */
    double images_per_second;            /* median over steps */
    double seconds;
    uint64_t planned_bytes, peak_bytes;  /* of the process on the CPU: predicted and VmHWM */
    bool stopped;                        /* by Ctrl-C, after its checkpoint */
};

/* Runs to the end, to *stop, or to a failure. sink may be NULL; progress may be NULL. */
bool train_run(const struct plan *plan, const struct backend *backend, const struct train_options *options,
               struct trace_sink *sink, void (*progress)(void *context, const struct train_status *status), void *context,
               struct train_result *result, struct error *err);

/* What the plan says that this process will hold when its devices are virtual ones: all but what is to stay free. */
uint64_t train_planned_bytes(const struct plan *plan);

/* The papers' schedule for a model: base rate, warm-up, drops, scaled to `iterations` (0 = the papers' own number). The
 * sources are in rate.c. */
struct schedule schedule_for(const struct model_spec *spec, uint64_t iterations, uint32_t batch);
/* The rate of a step (from 0) as far as it is a function of the step alone: without plateaus and an early end of the
 * warm-up, which rate.h adds. */
double schedule_rate(const struct schedule *schedule, uint64_t step);
/* How many steps the papers train a model at this batch, and their weight decay. */
uint64_t schedule_iterations(const struct model_spec *spec, uint32_t batch);
double schedule_weight_decay(const struct model_spec *spec);

#endif
