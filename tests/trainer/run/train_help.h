/* Small runs for the trainer's tests: a procedural dataset in a temporary folder, a plan, a run, and its losses. */
#ifndef FATHOM_TRAIN_HELP_H
#define FATHOM_TRAIN_HELP_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu_backend.h"
#include "files.h"
#include "make.h"
#include "mem.h"
#include "train.h"

#define RUN_STEPS 64 /* losses that are kept */

struct small_run {
    /* What to do; zero = the default. */
    const char *model; /* resnet-8 */
    const struct model_options *form; /* as its name says */
    const char *gpus;  /* cpu */
    uint32_t batch;    /* 16 */
    uint32_t micro_batches;
    bool sync_bn;
    enum bn_freeze freeze_bn;
    uint32_t bn_group;
    enum dtype reduce_dtype; /* f32 */
    bool reduce_apart;
    uint32_t lowering; /* what the backend does best */
    bool logical;      /* nothing is fused */
    uint32_t frozen;   /* leading stages */
    bool cifar;        /* a model that is ImageNet's by its name */
    enum recompute_policy recompute;
    uint64_t budget;
    bool reconstruct;
    enum sharing_policy sharing;
    uint64_t bucket_bytes;
    struct update_needs update;    /* of the plan */
    enum dtype dtype;              /* f32 */
    const struct backend *backend; /* cpu_backend */
    struct train_options options;  /* data_path, momentum, schedule, augment are filled in */
    struct trace_sink *sink;
    void (*after_step)(struct small_run *run, uint64_t step);
    /* Changes the plan before the run. */
    void (*change_plan)(struct small_run *run, struct plan *plan, const struct plan_request *request);
    uint64_t seed; /* for change_plan */
    /* What came of it. */
    bool ok;
    struct error err;
    struct train_result result;
    double losses[RUN_STEPS];
    uint64_t steps;
    struct train_status last;
};

static char run_data[64];

/* 40 training and 24 test images: a batch of 16 crosses an epoch in its third step. */
static inline void run_make_data(void)
{
    struct error err = {0};
    strcpy(run_data, "/tmp/fathom-train-XXXXXX");
    if (!mkdtemp(run_data) || !data_synthesize(run_data, 40, 24, 1, NULL, NULL, &err)) {
        fprintf(stderr, "%s: %s\n", run_data, err.text);
        abort();
    }
}

static inline void run_remove_data(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", run_data);
    if (system(command) != 0) abort();
}

static inline bool run_workspace(void *context, const struct graph *graph, const struct op *op, enum op_pass pass,
                                 uint64_t *bytes, struct error *err)
{
    return ((const struct backend *)context)->op_workspace(graph, op, pass, bytes, err);
}

static inline struct plan *run_plan(struct small_run *run)
{
    struct machine machine = {0};
    struct model_options overrides = run->form ? *run->form : MODEL_OPTIONS_DEFAULT;
    if (run->cifar) overrides.dataset = DATASET_CIFAR10;
    struct plan_request request = {.batch = run->batch,
                                   .machine = &machine,
                                   .micro_batches = run->micro_batches,
                                   .sync_bn = run->sync_bn,
                                   .freeze_bn = run->freeze_bn,
                                   .bn_group = run->bn_group,
                                   .reduce_dtype = run->reduce_dtype,
                                   .reduce_apart = run->reduce_apart,
                                   .lowering = run->logical ? 0 : run->lowering,
                                   .frozen = run->frozen,
                                   .recompute = run->recompute,
                                   .recompute_budget_bytes = run->budget,
                                   .reconstruct = run->reconstruct,
                                   .sharing = run->sharing,
                                   .bucket_bytes = run->bucket_bytes,
                                   .update = run->update,
                                   .dtype = run->dtype,
                                   .workspace_bytes = run_workspace,
                                   .workspace_context = (void *)(uintptr_t)run->backend};
    struct plan *plan = NULL;
    if (model_parse(run->model, &overrides, &request.spec, &run->err) && machine_parse(run->gpus, &machine, &run->err))
        plan = plan_make(&request, &run->err);
    if (plan && run->change_plan) run->change_plan(run, plan, &request);
    machine_finish(&machine);
    return plan;
}

static inline void run_note(void *context, const struct train_status *status)
{
    struct small_run *run = context;
    if (run->steps < RUN_STEPS) run->losses[run->steps] = status->loss;
    run->steps++;
    run->last = *status;
    if (run->after_step) run->after_step(run, status->step);
}

static inline void run_fill_defaults(struct small_run *run)
{
    if (!run->model) run->model = "resnet-8";
    if (!run->gpus) run->gpus = "cpu";
    if (!run->batch) run->batch = 16;
    if (!run->backend) run->backend = &cpu_backend;
    bool cpus = strstr(run->gpus, "cpu") != NULL;
    if (!run->lowering && cpus && run->backend->lowering) run->lowering = run->backend->lowering(run->dtype);
    if (!run->recompute) run->recompute = RECOMPUTE_NONE;
    struct train_options *o = &run->options;
    o->data_path = run_data;
    if (o->iterations == 0) o->iterations = 5;
    if (o->schedule.base == 0) o->schedule = (struct schedule){.kind = SCHEDULE_CONSTANT, .base = 0.05};
    const struct optimizer_defaults own = optimizer_defaults(o->optimizer);
    o->momentum = 0.9;
    o->beta1 = own.beta1;
    o->beta2 = own.beta2;
    o->epsilon = own.epsilon;
    o->weight_decay = 1e-4;
    o->augment = true;
}

/* Plans and trains; run->ok says whether both went well. */
static inline void run_go(struct small_run *run)
{
    run_fill_defaults(run);
    struct plan *plan = run_plan(run);
    run->ok = plan && train_run(plan, run->backend, &run->options, run->sink, run_note, run, &run->result, &run->err);
    plan_destroy(plan);
}

/* Whether two folders have the same checkpoint of a step, bit by bit: the model's file and the state's. */
static inline bool run_same_checkpoints(const char *a, const char *b, uint64_t step)
{
    char command[1024];
    snprintf(command, sizeof command,
             "for part in '' .state; do cmp '%s'/step-%012llu$part.safetensors '%s'/step-%012llu$part.safetensors || exit 1; done",
             a, (unsigned long long)step, b, (unsigned long long)step);
    return system(command) == 0;
}

/* A path in the data's folder; the result is static, two may be in use. */
static inline const char *run_path(const char *name)
{
    static char paths[2][128];
    static int next;
    next = !next;
    snprintf(paths[next], sizeof paths[next], "%s/%s", run_data, name);
    return paths[next];
}

/* For after_step: after the second step CIFAR-10's files end within their first image. */
static inline void run_cut_data(struct small_run *run, uint64_t step)
{
    (void)run;
    for (int i = 1; step == 2 && i <= 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", i);
        if (truncate(run_path(name), 3000) != 0) abort();
    }
}

#endif
