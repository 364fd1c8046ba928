/* A whole training run: executes a plan over a dataset. */
#ifndef FATHOM_TRAIN_H
#define FATHOM_TRAIN_H

#include <signal.h>

#include "backend.h"
#include "data.h"
#include "errors.h"
#include "plan.h"
#include "ranks.h"
#include "rate.h"
#include "sink.h"
#include "train_status.h"

#define TRAIN_MOST_IN_FLIGHT 8u
#define TRAIN_AVERAGE_BATCHES 16u
#define TRAIN_RANKS_SECONDS  60.0 /* wait_seconds of a run of several processes, where nobody says */
#define TRAIN_MEET_SECONDS  600.0 /* until its first step: one may have to build what the others find in their caches */

struct train_options {
    const char *data_path;
    struct dataset *dataset;   /* the same, opened by the caller, who closes it; NULL = the run opens it */
    uint64_t iterations;       /* total, also when resumed */
    uint64_t seed;
    enum init_kind init;       /* of the weights that are drawn */
    struct schedule schedule;
    enum optimizer optimizer;  /* one that keeps no more buffers than the plan has */
    double momentum, weight_decay;
    double beta1, beta2, epsilon; /* optimizer.h */
    bool nesterov;
    bool spares_bn;            /* weights alone decay: not gamma, beta and biases */
    double clip_norm;          /* of all gradients of a step; 0 = they are not clipped. The plan clips */
    double average_decay;      /* of the average of weights over steps, below 1; 0 = none is kept. The plan averages */
    double label_smoothing;    /* of the training loss, below 1 */
    uint64_t bn_recompute;     /* before each evaluation running statistics are taken anew over so many training images, in whole
                                * steps; 0 = they stay, but with averages, of which TRAIN_AVERAGE_BATCHES are seen */
    double bn_momentum;        /* of batch normalisation's running statistics; 0 = the model's recipe's */
    double loss_scale;         /* f16: of the first step; 0 = LOSS_SCALE_FIRST */
    uint64_t scale_streak;     /* f16: good steps before it doubles; 0 = LOSS_SCALE_STREAK */
    bool augment;
    bool area_crops;           /* then: pictures are cut by scale and aspect */
    struct colour_amounts colour; /* then: how much training images' colours are changed */
    struct broken_images *broken; /* images that cannot be decoded are skipped and noted there; NULL = the run fails */
    uint32_t loader_threads;   /* that decode images; 0 = chosen */
    uint64_t evaluate_every;   /* steps, 0 = at the end only, with SCHEDULE_PLATEAU after each pass over the images */
    uint64_t evaluate_images;  /* spread over the test set, the same each time; 0 = all of it */
    uint32_t crops;            /* of each test image, whose probabilities are averaged: DATA_CROPS; 0 or 1 = the middle */
    uint32_t shorter_side;     /* of test images before they are cut; 0 = data_shorter_side's */
    const char *save_folder;   /* NULL = no checkpoints */
    const char *save_flag;     /* which option named it, for errors; NULL = --save */
    uint64_t save_every;       /* steps, 0 = at the end and on Ctrl-C only */
    uint64_t keep;             /* checkpoints: the newest so many and the best one stay; 0 = all */
    const char *resume_folder; /* NULL = from scratch */
    const char *weights;       /* of a checkpoint, to begin with; NULL = drawn from the seed */
    const char *log_path;      /* JSON lines, NULL = none */
    bool evaluates_only;       /* what comes after an evaluation is its end: no training images are loaded */
    bool skip_evaluation;      /* none, not even at the end */
    bool repeat_batch;         /* every step sees the first batch: a check that a net can learn */
    bool fill_dead;            /* debugging: bytes are filled with NaN right after their last use */
    bool deterministic;        /* only kernels that give the same bits every time; virtual devices always do */
    bool tf32;                 /* GPUs: f32 may be multiplied as TF32 */
    bool tune;                 /* GPUs: convolutions' engines are timed, and the fastest taken */
    const struct engine_book *carried; /* GPUs: plans that were built elsewhere (engine_book.h); NULL = none */
    const struct teller *teller;       /* hears from several devices' threads (backend.h); NULL = nobody */
    bool no_recordings;        /* GPUs: every op is launched by itself, each step, instead of a recording (a CUDA graph) */
    uint64_t flow_every;       /* units' norms go to the sink in the first step and each that this divides; 0 = never */
    bool time_ops;             /* ops' times go to the sink */
    uint32_t in_flight;        /* steps that the devices are given before the first of them is looked at, up to
                                * TRAIN_MOST_IN_FLIGHT; 0 = the backend's: 1 where launches compute, else 3. All that a run
                                * writes and says is the same. */
    struct ranks *ranks;       /* the processes of the run, which have taken their devices; NULL = this one drives all */
    uint32_t first_ordinal;    /* GPUs: which of those that this process sees its first device is; the others follow */
    const char *const *near;   /* for each device of this process the bus id of the card whose NUMA node its thread and pinned memory are to
                                * be near to (machine.h); NULL = wherever they are */
    double wait_seconds;       /* a device that a step takes longer on is lost; 0 = for ever where devices are virtual,
                                * 600 on GPUs, TRAIN_RANKS_SECONDS in a run of several processes */
    const char *command;       /* for the sink: how the run was started; may be NULL */
    const volatile sig_atomic_t *stop; /* set by a signal handler: checkpoint and leave */
};

/* The devices of a plan that a process drives: `count` from `first` on. */
struct train_part {
    uint32_t first, count;
    uint32_t here, processes; /* devices, and processes, of the run on this host */
    const struct ranks *ranks; /* NULL: the run has one process */
};
struct train_part train_part(const struct plan *plan, const struct ranks *ranks);

struct train_result {
    uint64_t steps;                      /* done, counted from the run's first */
    uint64_t first;                      /* done before this run: those of the checkpoint that it went on from */
    uint64_t saved;                      /* the step of the newest checkpoint that this run wrote or read; UINT64_MAX = none */
    double loss, top1_error, top5_error; /* last; errors NAN when never evaluated, or to no finite loss */
    double images_per_second;            /* median over steps */
    double seconds;
    uint64_t planned_bytes, peak_bytes;  /* of the process on the CPU: predicted and VmHWM (0 = unknown) */
    char remark[DEVICE_REMARK];          /* of the backend on the first device that it has one on; empty = none */
    bool device_known;                   /* the backend says what is in use on a device: */
    struct device_memory device_memory;  /* the most, on the one that held most of all; */
    uint32_t device;                     /* that one */
    bool diverged;                       /* it failed, as its loss was not finite */
    bool stopped;                        /* by *stop, after its checkpoint */
    int stop;                            /* then: the signal, of whichever rank; 0 = none is known */
    double loss_scale;                   /* the last; 0 = activations are not in f16 */
    uint64_t skipped;                    /* steps since the run's first whose gradients overflowed */
};

/* Whether --save's folder and the log can be written and hold nothing of another run or program; leaves nothing behind but
 * the folder. train_run looks, too: whoever writes something before it, such as a trace, asks first. */
bool train_try_outputs(const struct train_options *options, struct error *err);
/* Whether the plan has what the options' updates need: room for what the optimizer keeps, clipping, averages. train_run
 * looks, too. */
bool train_check_update(const struct plan *plan, const struct train_options *options, struct error *err);
/* Whether the options go together. train_run looks, too. */
bool train_check_options(const struct train_options *options, struct error *err);
/* Whether the dataset is one that the plan and the options can train on. train_run looks, too. */
bool train_check_dataset(const struct plan *plan, const struct train_options *options, const struct dataset *dataset,
                         struct error *err);
/* How much memory decoding the dataset's pictures takes under this plan: refused where one of them takes more than the plan
 * has for it. decoding is what dataset_measure found. */
bool train_check_decoding(const struct plan *plan, const struct train_options *options,
                          const struct dataset_decoding *decoding, const struct dataset *dataset, struct error *err);
/* Reports the run, its devices and their op tables to a sink, as the run itself will. */
bool train_describe(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    struct trace_sink *sink, struct error *err);
/* The step of the checkpoint that a run with this resume_folder goes on from, and the checkpoint's path. */
#define TRAIN_PATH 4096
bool train_find_resume(const char *resume_folder, char path[TRAIN_PATH], uint64_t *step, struct error *err);
/* Whether a run with these options and images may go on from that checkpoint, as far as its header tells: of the same images,
 * with the same optimizer, of the plan's model, with the state of its run. train_run looks again. */
bool train_check_resume(const struct plan *plan, const struct train_options *options, const struct dataset *dataset,
                        const char *path, struct error *err);
/* The checkpoint whose weights a run begins with, and how many classes it has; 0 = that is not known. */
bool train_find_weights(const char *weights, char path[TRAIN_PATH], uint32_t *classes, struct error *err);
/* Whether that checkpoint has the weights of the plan's model, by their names and shapes. train_run looks again. */
bool train_check_weights(const struct plan *plan, const struct train_options *options, const char *path, struct error *err);

/* Runs to the end, to *stop, or to a failure. After a failure of a step (an image that cannot be read, a loss that is not
 * finite) a checkpoint of the last good step is written where there is a save_folder, and *result is filled as well:
 * `steps`, `first` and `saved` say how far the run came. sink may be NULL; progress may be NULL. */
bool train_run(const struct plan *plan, const struct backend *backend, const struct train_options *options,
               struct trace_sink *sink, void (*progress)(void *context, const struct train_status *status), void *context,
               struct train_result *result, struct error *err);

/* Whether this process can have the memory that a run takes: physical, and address space. Takes nothing. ERROR_UNFIT says
 * what is needed, what there is, and what limits it. */
bool train_check_memory(const struct plan *plan, const struct backend *backend, const struct train_part *part,
                        struct error *err);

/* How many threads each virtual device computes with: the processors of this process, or of all of the run's on this host
 * where they share them, evenly. */
uint32_t train_device_threads(const struct train_part *part);

/* What this process is to hold when its devices are virtual ones: the sum of their peaks, and, where it is one of several,
 * what each of those has for itself (libraries, batches of images, sums over ranks). backend NULL: the sums left out. */
uint64_t train_planned_bytes(const struct plan *plan, const struct backend *backend, const struct train_part *part);

#endif
