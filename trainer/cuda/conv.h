/* Convolutions by cuDNN: what the files conv*.c share.
 *
 * A convolution of the graph is a question (engine_question.h). Its engine is the first that the rules let and the plan's
 * workspace holds, in the order of cuDNN's heuristics, or of those the fastest; its plan is built once and shared by all ops
 * that ask the same; an op has arguments of its own. Plans are kept on disk, or were built elsewhere and carried here; all
 * that are missing are built side by side before the first op is prepared. What has no engine is done by the device's own
 * kernels. */
#ifndef FATHOM_CUDA_CONV_H
#define FATHOM_CUDA_CONV_H

#include <pthread.h>

#include "cuda_device.h"
#include "cudnn_plan.h"
#include "engines.h"
#include "locks.h"

/* Of one question under a limit of workspace, on one device. */
struct conv_plan {
    struct engine_question question;
    uint64_t limit_bytes;
    bool tried, there; /* tried and not there: no engine */
    bool unrecorded;   /* its engine failed while it was recorded: it is to run no more */
    struct found_engine engine;
    struct cudnn_plan plan;
    uint64_t best_ns, first_ns; /* of a run, as timed: this engine's, and that of the first of heuristics; 0 = not timed */
};

/* An engine that may be taken. */
struct conv_candidate {
    struct found_engine engine;
    const char *carried; /* the text of its plan, built elsewhere, borrowed; NULL = none */
    char *text;          /* of the one that was built here; NULL = none */
};
#define CONV_MOST_CANDIDATES 128

/* A way to run an op. */
struct conv_way {
    struct engine_question question;
    const struct conv_plan *plan; /* NULL: none */
    uint64_t copy_bytes; /* of 16-bit weights, or their gradient; 0 = as they lie */
    void *copy;          /* where: at the head of the workspace, or beside the arena where that is too small */
    uint32_t apart;      /* what the op does besides that is taken apart: a question's bits */
    void *normalized;    /* for that, beside the arena: what the convolution reads, or what shuts its result */
};

/* Engines that failed, as notes (conv_cache.c), whether or not they can be kept on disk too. */
struct conv_avoided {
    pthread_mutex_t lock; /* builders ask while the device's thread adds */
    char **notes;
    size_t count, capacity;
};

/* Memory that was taken beside the arena, until the device's end. */
struct conv_scratch {
    void *at;
    uint64_t bytes;
};
#define CONV_MOST_SCRATCH 8

struct cuda_convolutions {
    struct device *device;
    const struct cudnn_library *cudnn;
    cudnnHandle_t handle;
    cudaStream_t stream; /* the handle's */
    struct conv_plan **plans;
    size_t count, capacity;
    uint64_t device_hash; /* what tells plans of this device from others' */
    char folder[FILES_PATH]; /* of plans; "" = none */
    struct conv_avoided *avoided; /* NULL: there was no memory for it */
    struct engine_book book; /* the planner's answers for this very GPU, of one batch and type; without a device: none */
    struct engine_question book_of;
    const struct engine_book *carried; /* plans that were built elsewhere for this very GPU and cuDNN; NULL = none */
    uint64_t naive; /* convolutions for which there is no engine */
    char why_naive[320]; /* the first of them */
    uint64_t apart; /* that were taken apart */
    char why_apart[320];
    uint64_t copied; /* whose weights' copy lies beside the arena */
    struct conv_scratch scratch[CONV_MOST_SCRATCH];
    uint32_t scratch_count;
    bool scratch_used;  /* by what is prepared: none is given back any more */
    bool scratch_short; /* the GPU had too little for some of it: one block has to do for those it holds */
    float *ones; /* CONV_MOST_BIASED of them on the device, and as many zeros behind them; NULL: nobody has asked yet */
};

/* The device's handle and tables, made the first time. */
bool conv_begin(struct device *device, struct error *err);

/* ---- A plan of an engine (conv_build.c) ---- */

/* As cuDNN's graphs have it. */
struct convolution conv_describe(const struct engine_question *question);
/* Builds plan->plan of this engine. False: it cannot be built. Any thread with a handle of its
 * own. */
bool conv_build(const struct cuda_convolutions *all, cudnnHandle_t handle, struct conv_plan *plan,
                const struct found_engine *engine);
/* From a text; on the device's thread. */
bool conv_load(struct cuda_convolutions *all, struct conv_plan *plan, const struct found_engine *engine,
               const char *text);

/* ---- Plans (conv_plan.c) ---- */

/* The plan for a question with at most so much workspace; *found is NULL where no engine can be had. ERROR_MEMORY. */
bool conv_plan_find(struct cuda_convolutions *all, const struct engine_question *question, uint64_t limit_bytes,
                    const struct conv_plan **found, struct error *err);
/* The same entry, new where there is none, without looking for an engine; NULL: ERROR_MEMORY. */
struct conv_plan *conv_plan_entry(struct cuda_convolutions *all, const struct engine_question *question,
                                  uint64_t limit_bytes, struct error *err);
/* Where engines are looked for, in this order: the planner's answers (conv_book_open), then cuDNN's heuristics. */
enum conv_source { CONV_PLANNED, CONV_HEURISTICS, CONV_SOURCES };
/* Those of a source that may be taken for a plan whose question and limit are set, in order, into found[0,
 * CONV_MOST_CANDIDATES); how many. *none becomes false where the source has some, allowed or not, or could not be asked. Any
 * thread with a handle of its own. */
size_t conv_candidates(const struct cuda_convolutions *all, cudnnHandle_t handle, const struct conv_plan *plan,
                       enum conv_source source, struct conv_candidate *found, bool *none);
/* Of the first that may be taken and can be built; false: none. `room` is for CONV_MOST_CANDIDATES. As above. */
bool conv_build_first(const struct cuda_convolutions *all, cudnnHandle_t handle, struct conv_plan *plan,
                      struct conv_candidate *room);
/* The plan's engine failed while it was recorded, where no other can be tried: it is replaced when an op runs it next. */
void conv_plan_spoil(struct cuda_convolutions *all, const struct conv_plan *failed);
/* Another engine's plan in the place of one whose engine failed when it ran, which is not taken again: all ops that share it
 * have it then. What failed lives on until the device's end, as what it started may. False: there is none. On the device's
 * thread, where nothing is recorded. */
bool conv_plan_replace(struct cuda_convolutions *all, const struct conv_plan *failed);
/* None in its place: its question has no engine any more. */
void conv_plan_give_up(struct cuda_convolutions *all, const struct conv_plan *failed);

/* ---- What was answered before (conv_book.c) ---- */

/* Reads what the planner was answered about this GPU, of a question's batch and type; looks whether what is carried is of
 * this GPU and cuDNN, and tells where it is not. On the device's thread, before what follows. */
void conv_book_open(struct cuda_convolutions *all, const struct engine_question *question);
/* What it was answered about a question, into found[0, CONV_MOST_CANDIDATES); how many, 0 where it was not asked. */
size_t conv_book_find(const struct cuda_convolutions *all, const struct engine_question *question,
                      struct conv_candidate *found);
void conv_book_check_carried(struct cuda_convolutions *all);

/* ---- Ops (conv_bind.c) ---- */

/* The op's weights, or their gradient. */
const struct tensor *conv_weights(const struct op_call *call);
/* How much of the op's workspace a copy of its weights takes under this question. */
uint64_t conv_copy_bytes(const struct op_call *call, const struct engine_question *question);
/* The op's arguments with its addresses; *aligned: they are where cuDNN can read them. The caller ends *arguments by
 * cudnn->destroy, also after a failure (NULL: nothing to end). */
bool conv_arguments(const struct prepared *p, const struct conv_way *way, cudnnBackendDescriptor_t *arguments,
                    bool *aligned, struct error *err);
/* Whether they are there: the rows of what is fused may not be, where channels are no multiple of 8 in 16 bits, or of 4. */
bool conv_is_aligned(const struct prepared *p, const struct conv_way *way);
/* On a stream; *status is cuDNN's. ERROR_FAILED where the stream cannot be set. */
bool conv_execute(struct cuda_convolutions *all, const struct conv_plan *plan, cudnnBackendDescriptor_t arguments,
                  cudaStream_t stream, cudnnStatus_t *status, struct error *err);

/* ---- What cuDNN refuses, taken apart (conv_apart.c) ---- */

/* What a convolution does besides that kernels before and after it can do. */
#define CONV_APART                                                                                                     \
    (CONV_NORMALIZED | CONV_RECTIFIED | CONV_ADDS | CONV_SUMS | CONV_GRADIENT_SUMS | CONV_SHUTS | ENGINE_BIAS)
#define CONV_MOST_BIASED 8192u /* channels */

/* What to ask for an op when that has no engine: its weights' gradient in another type (engine_question_next), then the
 * convolution alone. False when there is nothing else. */
bool conv_question_next(const struct op_call *call, struct engine_question *question);
/* How much workspace an engine for this question may take: what a copy of the weights leaves, or all of it where there is no
 * room for the copy. */
uint64_t conv_limit_bytes(const struct op_call *call, const struct engine_question *question);
/* What the op does besides that this question leaves out: bits of a question. */
uint32_t conv_apart_bits(const struct op_call *call, const struct engine_question *question);
/* Whether the copy of its weights has no room in the workspace. */
bool conv_copies_beside(const struct op_call *call, const struct engine_question *question);
/* How much memory beside the arena the op takes by this question, which ops of one stream may share; 0 = it needs none. */
uint64_t conv_apart_bytes(const struct op_call *call, const struct engine_question *question);
/* Takes it, or finds what was taken; outside recordings. As long as nothing is prepared that uses the smaller, that is given
 * back for the larger. False, with *err, where the GPU has too little, or would have for what is loaded later: no call fails
 * for that. */
bool conv_apart_reserve(struct cuda_convolutions *all, uint64_t bytes, void **at, struct error *err);
/* Makes a way whose question is set whole but for its plan. As above, and where cuDNN cannot read its operands where they lie,
 * for which nothing is taken; an engine may be timed without what is taken apart. */
bool conv_apart_place(struct cuda_convolutions *all, const struct prepared *p, bool whole, struct conv_way *way,
                      struct error *err);
/* Adds what is done before the convolution, which then reads way->normalized for x, and after it. */
bool conv_apart_before(struct prepared *p, const struct conv_way *way, struct error *err);
bool conv_apart_after(struct prepared *p, const struct conv_way *way, struct error *err);
void conv_apart_finish(struct cuda_convolutions *all);

/* ---- All that are missing, by several threads (conv_jobs.c) ---- */

/* A plan that is missing. */
struct conv_job {
    struct conv_plan *plan;     /* in the device's table */
    const struct op_call *call; /* an op that asks for it */
    enum { CONV_JOB_WAITS, CONV_JOB_TAKEN, CONV_JOB_BUILT, CONV_JOB_DONE } state;
    struct folder_lock claim;   /* on disk: other devices and processes leave it to this one */
    uint64_t refused_ns, again_ns; /* another one has it: since when it is waited for, and when to look again */
    bool kept;                  /* another one has built it: it is on disk */
    bool hopeless;              /* no engine can be built; */
    bool none;                  /* as cuDNN has none */
    bool untimed;               /* it was to be timed, and could not be: it is not kept */
    struct conv_candidate *built; /* with their texts: one, or all to be timed */
    size_t count;
};
struct conv_jobs;
/* Starts as many threads as the device has processors, at most one a job. every: all engines of each are built, not the
 * first alone. The jobs are the caller's. ERROR_MEMORY, ERROR_FAILED. The caller ends it with conv_jobs_stop. */
bool conv_jobs_start(struct cuda_convolutions *all, struct conv_job *jobs, size_t count, bool every,
                     struct conv_jobs **started, struct error *err);
/* Waits for one that is built; NULL when all have been given out, and when an end was asked for. */
struct conv_job *conv_jobs_next(struct conv_jobs *jobs);
/* What was built of it is dropped, and what others wait for is theirs. */
void conv_job_finish(struct conv_job *job);
/* Waits for what is being built, at most a plan for each thread; takes NULL. */
void conv_jobs_stop(struct conv_jobs *jobs);

/* ---- Timing engines (conv_tune.c) ---- */

struct conv_timer {
    struct cuda_convolutions *all;
    cudaEvent_t begin, end;
    bool ready;           /* numbers to read are on the device */
    uint64_t failed;      /* engines that did not run */
    uint64_t warm;        /* convolutions of which something was left in the GPU's L2 cache */
    char first_failed[128];
};
/* Takes a zeroed timer; the arena is written to until conv_timer_finish, which fills it as it was. ok: whether all went
 * well until then; returns whether it does still. */
bool conv_timer_init(struct conv_timer *timer, struct cuda_convolutions *all, struct error *err);
bool conv_timer_finish(struct conv_timer *timer, bool ok, struct error *err);
/* The fastest of what was built for the job becomes its plan; none where none runs. *tuned: false where nothing
 * could be timed, as cuDNN could not read the operands where they lie. False: the device is lost. */
bool conv_tune(struct conv_timer *timer, struct conv_job *job, bool *tuned, struct error *err);
/* Whether a plan runs at all: one that was built elsewhere. False: the device is lost. */
bool conv_try(struct conv_timer *timer, const struct conv_job *job, bool *runs, struct error *err);

/* ---- On disk (conv_cache.c): whatever is wrong there, a plan is built anew ---- */

/* The folder, and what its files are told apart by. Ended by conv_cache_finish, which takes a zeroed one. */
void conv_cache_begin(struct cuda_convolutions *all);
void conv_cache_finish(struct cuda_convolutions *all);
/* Fills plan->engine and plan->plan of a plan whose question and limit are set, or says that there is no engine: plan->tried
 * and plan->there. False: it is not known (any more, if what there was is of no use). */
bool conv_cache_load(struct cuda_convolutions *all, struct conv_plan *plan);
/* Whether there is something to load. Any thread. */
bool conv_cache_has(const struct cuda_convolutions *all, const struct conv_plan *plan);
/* Claims it for who wants to build it; false: another has it. Where nothing can be kept everybody has it. Any thread; given
 * back with locks_leave_folder. */
bool conv_cache_claim(const struct cuda_convolutions *all, const struct conv_plan *plan, struct folder_lock *claim);
/* Also that there is none. */
void conv_cache_save(const struct cuda_convolutions *all, const struct conv_plan *plan);
/* Engines that failed when they ran, on this device: not taken again, by this run, and by later ones where that can be kept.
 * The first any thread, the second the device's. */
bool conv_cache_avoids(const struct cuda_convolutions *all, const struct engine_question *question,
                       const struct found_engine *engine);
void conv_cache_avoid(const struct cuda_convolutions *all, const struct conv_plan *plan);

#endif
