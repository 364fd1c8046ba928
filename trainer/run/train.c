#define _GNU_SOURCE
#include "train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "mem.h"
#include "process.h"
#include "system_limits.h"
#include "train_private.h"
#include "verify.h"

#define RING_STEPS 4096u /* the median is over the last so many */

/* ---- Reports ---- */

bool run_is_stopped(const struct run *run) { return run->options->stop && *run->options->stop; }

void run_report_gap(const struct run *run, enum trace_gap kind, uint64_t begin_ns)
{
    if (!run->sink || !run->sink->gap) return;
    uint64_t end = clock_now_ns();
    for (uint32_t i = 0; i < run->device_count; i++)
        run->sink->gap(run->sink->context, run->first_device + i, kind, begin_ns, end);
}

/* Of the step that ended last, by the number that the executor gave it: the first is 0. */
void run_report_metric(const struct run *run, enum trace_metric metric, double value)
{
    uint64_t step = run->done > 0 ? run->done - 1 : 0;
    if (run->sink && run->sink->metric) run->sink->metric(run->sink->context, metric, step, value);
}

static void report_run(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                       struct trace_sink *sink)
{
    char host[256] = "";
    if (!sink || !sink->run) return;
    gethostname(host, sizeof host - 1);
    struct trace_run report = {.model = plan->spec.name,
                               .dataset = dataset_kind_name(plan->spec.dataset),
                               .backend = backend->name,
                               .host = host,
                               .command = options->command ? options->command : "",
                               .batch = plan->batch,
                               .iterations = options->iterations,
                               .parameters = plan->variants[0].graph->parameter_elements,
                               .devices = (uint32_t)plan->device_count,
                               .pid = (uint64_t)getpid()};
    sink->run(sink->context, &report);
}

bool train_describe(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    struct trace_sink *sink, struct error *err)
{
    report_run(plan, backend, options, sink);
    for (uint32_t i = 0; i < plan->device_count; i++) TRY(executor_describe(plan, i, sink, err));
    return true;
}

static void report_mark(const struct run *run, const char *text)
{
    if (run->sink && run->sink->mark) run->sink->mark(run->sink->context, clock_now_ns(), text);
}

static void report_resumed(const struct run *run)
{
    char text[64];
    snprintf(text, sizeof text, "resumed after step %" PRIu64, run->done);
    report_mark(run, text);
}

/* ---- Checks ---- */

static bool check_dataset(const struct run *run, struct error *err)
{
    const struct dataset_info *info = dataset_info(run->dataset);
    const struct model_spec *spec = &run->plan->spec;
    if (info->classes != spec->classes)
        return error_set(err, ERROR_INPUT, "--data: %s has %u classes; %s in this plan has %u", run->options->data_path,
                         info->classes, spec->name, spec->classes);
    if (run->options->schedule.kind == SCHEDULE_PLATEAU && info->test_images == 0)
        return error_set(err, ERROR_INPUT,
                         "--data: %s has no test images, whose error says when the rate falls (--schedule plateau, as "
                         "in the paper of ImageNet's nets); --schedule cosine does without",
                         run->options->data_path);
    if (info->height && (info->height != spec->image_size || info->width != spec->image_size))
        return error_set(err, ERROR_INPUT, "--data: %s has images of %ux%u; the plan is for %ux%u",
                         run->options->data_path, info->width, info->height, spec->image_size, spec->image_size);
    return true;
}

static bool check_plan(const struct plan *plan, const struct backend *backend, struct error *err)
{
    TRY(plan_verify(plan, NULL, err));
    if (!plan->fits) return error_set(err, ERROR_UNFIT, "the plan says that it does not fit its devices");
    uint32_t dtypes = backend->activation_dtypes ? backend->activation_dtypes() : 1u << DTYPE_F32;
    if (dtypes & (1u << plan->dtype)) return true;
    return error_set(err, ERROR_INPUT,
                     "the plan keeps activations in %s; the %s backend has f32 only: plan again with "
                     "--dtype f32",
                     dtype_name(plan->dtype), backend->name);
}

static bool check_options(const struct train_options *o, struct error *err)
{
    if (o->iterations == 0) return error_set(err, ERROR_INPUT, "--iterations: is 0; at least 1 is wanted");
    if (o->schedule.kind != SCHEDULE_PLATEAU || !o->skip_evaluation) return true;
    return error_set(err, ERROR_INPUT,
                     "--no-evaluate: the rate falls when the test error does no longer (--schedule plateau, as in the "
                     "paper of ImageNet's nets), so evaluations or another --schedule are wanted");
}

/* A rate that falls with the test error looks at it once a pass over the images, where nothing else was said. */
static uint64_t choose_evaluate_every(const struct run *run)
{
    const struct train_options *o = run->options;
    if (o->evaluate_every > 0 || o->schedule.kind != SCHEDULE_PLATEAU) return o->evaluate_every;
    uint64_t batch = run->plan->batch;
    return (dataset_info(run->dataset)->train_images + batch - 1) / batch;
}

/* ---- Beginning and end ---- */

uint32_t train_device_threads(uint32_t devices)
{
    uint32_t each = limits_processors() / devices;
    return each > 1 ? each : 1;
}

static bool create_executor(void *context, uint32_t rank, struct error *err)
{
    struct run *run = context;
    struct executor_options options = {.plan = run->plan,
                                       .device = run->first_device + rank,
                                       .backend = run->backend,
                                       .group = run->groups ? run->groups[rank] : NULL,
                                       .threads = train_device_threads(run->device_count),
                                       .fill_dead = run->options->fill_dead,
                                       .time_ops = run->options->time_ops,
                                       .sink = run->sink};
    return executor_create(&options, &run->executors[rank], err);
}

static bool destroy_executor(void *context, uint32_t rank, struct error *err)
{
    (void)err;
    struct run *run = context;
    executor_destroy(run->executors[rank]);
    return true;
}

static void abort_group(void *context)
{
    struct run *run = context;
    for (uint32_t i = 0; run->groups && i < run->device_count; i++) run->backend->group_abort(run->groups[i]);
}

static uint64_t largest_tensor(const struct plan *plan)
{
    uint64_t most = 0;
    const struct graph *graph = plan->variants[plan->devices[0].variant].graph;
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct tensor *t = &graph->tensors[i];
        bool kept = t->role == ROLE_RUNNING_MEAN || t->role == ROLE_RUNNING_VARIANCE ||
                    (t->class == CLASS_WEIGHT && t->role != ROLE_BUCKET);
        if (kept && tensor_elements(t) > most) most = tensor_elements(t);
    }
    return most;
}

static bool create_tables(struct run *run, struct error *err)
{
    size_t devices = run->device_count;
    run->executors = mem_zalloc(MEM_GENERAL, devices, sizeof *run->executors);
    run->metrics = mem_zalloc(MEM_GENERAL, devices, sizeof *run->metrics);
    run->step_seconds = mem_zalloc(MEM_GENERAL, RING_STEPS, sizeof *run->step_seconds);
    if (run->options->save_folder) TRY(run_prepare_keeping(run, err));
    run->staging = mem_alloc(MEM_GENERAL, largest_tensor(run->plan), sizeof *run->staging);
    if (run->executors && run->metrics && run->step_seconds && run->staging) return true;
    return error_memory(err, largest_tensor(run->plan) * sizeof *run->staging, "the run's tables");
}

/* Every device of this process becomes a member of the group of all; *run has them whole or not at all. */
static bool create_groups(struct run *run, struct error *err)
{
    struct group_id id;
    TRY(run->backend->group_name(&id, err));
    struct group **groups = mem_zalloc(MEM_GENERAL, run->device_count, sizeof(struct group *));
    if (!groups) return error_memory(err, run->device_count * sizeof(struct group *), "the devices' groups");
    uint32_t all = (uint32_t)run->plan->device_count, made = 0;
    while (made < run->device_count &&
           run->backend->group_create(&id, run->first_device + made, all, &groups[made], err))
        made++;
    if (made == run->device_count) {
        run->groups = groups;
        return true;
    }
    while (made > 0) run->backend->group_destroy(groups[--made]);
    mem_free(groups);
    return false;
}

static bool create_devices(struct run *run, struct error *err)
{
    if (run->plan->device_count > 1) TRY(create_groups(run, err));
    TRY(team_create(run->device_count, abort_group, run, &run->team, err));
    return team_run(run->team, create_executor, run, err);
}

bool run_open_loader(struct run *run, struct error *err)
{
    bool repeat = run->options->repeat_batch;
    struct loader_options options = {.batch = run->plan->batch,
                                     .image_size = run->plan->spec.image_size,
                                     .seed = run->seed,
                                     .train = true,
                                     .augment = run->options->augment,
                                     .first = repeat ? 0 : run->position};
    TRY(loader_create(run->dataset, &options, &run->loader, err));
    return !repeat || loader_next(run->loader, &run->batch, err);
}

bool train_try_outputs(const struct train_options *o, struct error *err)
{
    if (o->save_folder && !o->resume_folder && checkpoint_exists(o->save_folder))
        return error_set(
            err, ERROR_INPUT,
            "--save: %s has checkpoints of another run: go on from them with --resume %s, or name another folder",
            o->save_folder, o->save_folder);
    if (o->save_folder) TRY(checkpoint_try(o->save_folder, err));
    return log_try(o->log_path, err);
}

static bool begin_run(struct run *run, struct error *err)
{
    const struct train_options *o = run->options;
    TRY(check_options(o, err));
    TRY(check_plan(run->plan, run->backend, err));
    TRY(train_check_memory(run->plan, run->backend, err));
    TRY(dataset_open(o->data_path, &run->dataset, err));
    TRY(check_dataset(run, err));
    run->evaluate_every = choose_evaluate_every(run);
    TRY(train_try_outputs(o, err));
    report_run(run->plan, run->backend, o, run->sink);
    TRY(create_tables(run, err));
    TRY(create_devices(run, err));
    TRY(o->resume_folder ? run_resume(run, err) : run_initialise(run, err));
    TRY(log_open(o->log_path, run->done, &run->log, err));
    for (uint32_t i = 0; i < run->device_count; i++)
        TRY(executor_describe(run->plan, run->first_device + i, run->sink, err));
    if (o->resume_folder) report_resumed(run);
    return run_open_loader(run, err);
}

/* Ends what begin_run has begun, whole or in part. */
static bool end_run(struct run *run, bool ok, struct error *err)
{
    loader_destroy(run->loader);
    if (run->team && run->executors) team_run(run->team, destroy_executor, run, NULL);
    team_destroy(run->team);
    for (uint32_t i = 0; run->groups && i < run->device_count; i++) run->backend->group_destroy(run->groups[i]);
    mem_free(run->groups);
    ok = log_close(run->log, ok ? err : NULL) && ok;
    if (run->dataset) dataset_close(run->dataset);
    mem_free(run->executors);
    mem_free(run->metrics);
    mem_free(run->step_seconds);
    mem_free(run->staging);
    mem_free(run->statistics);
    return ok;
}

/* ---- Steps ---- */

static bool begin_share(void *context, uint32_t rank, struct error *err)
{
    struct run *run = context;
    size_t first = 0, size = run->plan->spec.image_size;
    for (uint32_t i = 0; i < rank; i++) first += run->plan->devices[run->first_device + i].images;
    TRY(run_keep_statistics(run, rank, err));
    return executor_begin_step(run->executors[rank], &run->step, run->batch.images + first * size * size * 3,
                               run->batch.labels + first, &run->metrics[rank], err);
}

static bool end_share(void *context, uint32_t rank, struct error *err)
{
    struct run *run = context;
    return executor_end_step(run->executors[rank], &run->step, err);
}

static bool next_batch(struct run *run, struct error *err)
{
    if (run->options->repeat_batch) return true;
    uint64_t begin = clock_now_ns(), waited = loader_waited_ns(run->loader);
    TRY(loader_next(run->loader, &run->batch, err));
    if (loader_waited_ns(run->loader) > waited) run_report_gap(run, GAP_DATA, begin);
    return true;
}

/* Sums over devices in rank order, so that they do not depend on which was first. */
static bool collect_metrics(struct run *run, struct error *err)
{
    double loss = 0, hits = 0, images = 0;
    for (size_t i = 0; i < run->device_count; i++) {
        loss += run->metrics[i].loss;
        hits += run->metrics[i].top1_hits;
        images += run->metrics[i].images;
    }
    run->status.loss = loss / images;
    run->status.train_error = 1 - hits / images;
    if (isfinite(run->status.loss)) return true;
    return error_set(err, ERROR_FAILED, "the loss is %f: training diverged; a smaller --learning-rate than %g may help",
                     run->status.loss, run->status.learning_rate);
}

static bool compute_step(struct run *run, struct error *err)
{
    TRY(next_batch(run, err));
    run->in_step = true;
    TRY(team_run(run->team, begin_share, run, err));
    TRY(collect_metrics(run, err));
    TRY(team_run(run->team, end_share, run, err));
    run->in_step = false;
    return true;
}

static bool run_step(struct run *run, struct error *err)
{
    const struct train_options *o = run->options;
    run->status.learning_rate = schedule_rate_at(&o->schedule, &run->schedule, run->done);
    run->step = (struct step){.number = run->done,
                              .seed = run->seed,
                              .learning_rate = (float)run->status.learning_rate,
                              .momentum = (float)o->momentum,
                              .weight_decay = (float)o->weight_decay,
                              .nesterov = o->nesterov,
                              .bn_momentum = recipe_for(&run->plan->spec)->bn_momentum};
    if (!compute_step(run, err)) return error_prefix(err, "step %" PRIu64, run->done + 1);
    run->done++;
    run->position += run->plan->batch;
    schedule_see_step(&o->schedule, &run->schedule, run->status.train_error);
    return true;
}

static void measure_step(struct run *run, uint64_t steps, double seconds)
{
    struct train_status *status = &run->status;
    run->step_seconds[(steps - 1) % RING_STEPS] = seconds;
    status->step = run->done;
    status->iterations = run->options->iterations;
    status->images_per_second = run->plan->batch / seconds;
    double left = (double)(run->options->iterations - run->done);
    double old = status->eta_seconds; /* a mean that forgets: about the last twenty steps */
    double each = steps > 1 ? old / (left + 1) + (seconds - old / (left + 1)) / 20 : seconds;
    status->eta_seconds = each * left;
    run_report_metric(run, METRIC_LOSS, status->loss);
    run_report_metric(run, METRIC_LEARNING_RATE, status->learning_rate);
    run_report_metric(run, METRIC_IMAGES_PER_SECOND, status->images_per_second);
    run_report_metric(run, METRIC_TRAIN_ERROR, status->train_error);
}

static bool is_due(uint64_t every, uint64_t done) { return every > 0 && done % every == 0; }

/* The schedule sees the evaluations at intervals alone, so that a run which goes on from its last step has the rates of
 * one that never ended there. A stop puts the evaluation off until the run is resumed. */
static bool evaluate(struct run *run, bool due, struct error *err)
{
    const struct train_options *o = run->options;
    if (!run_is_stopped(run) && !run_evaluate(run, err))
        return error_prefix(err, "the evaluation after step %" PRIu64, run->done);
    if (due && run->status.evaluated) schedule_see_evaluation(&o->schedule, &run->schedule, run->status.top1_error);
    run->schedule.waiting = due && !run->status.evaluated && o->schedule.kind == SCHEDULE_PLATEAU;
    return true;
}

/* A stop is looked at once: what is seen is saved. */
static bool after_step(struct run *run, bool *stopped, struct error *err)
{
    const struct train_options *o = run->options;
    bool last = run->done == o->iterations, due = is_due(run->evaluate_every, run->done);
    run->status.evaluated = false;
    if (!o->skip_evaluation && !o->repeat_batch && (last || due)) TRY(evaluate(run, due, err));
    log_step(run->log, &run->status);
    *stopped = run_is_stopped(run);
    bool save = last || *stopped || is_due(o->save_every, run->done);
    if (!o->save_folder || !save || run->saved == run->done) return true;
    return run_save(run, err) || error_prefix(err, "the checkpoint of step %" PRIu64, run->done);
}

typedef void (*progress_fn)(void *context, const struct train_status *status);

static bool run_steps(struct run *run, progress_fn progress, void *context, struct train_result *result,
                      struct error *err)
{
    uint64_t steps = 0;
    if (run->schedule.waiting && run->done < run->options->iterations) TRY(evaluate(run, true, err));
    result->stopped = run_is_stopped(run) && run->done < run->options->iterations;
    while (run->done < run->options->iterations && !result->stopped) {
        uint64_t begin = clock_now_ns();
        TRY(run_step(run, err));
        measure_step(run, ++steps, (double)(clock_now_ns() - begin) * 1e-9);
        TRY(after_step(run, &result->stopped, err));
        result->loss = run->status.loss;
        if (run->status.evaluated) {
            result->top1_error = run->status.top1_error;
            result->top5_error = run->status.top5_error;
        }
        if (progress) progress(context, &run->status);
    }
    return true;
}

/* ---- Results ---- */

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_speed(struct run *run, uint64_t steps)
{
    size_t count = steps < RING_STEPS ? (size_t)steps : RING_STEPS;
    if (count == 0) return 0;
    qsort(run->step_seconds, count, sizeof *run->step_seconds, compare_reals);
    return run->plan->batch / run->step_seconds[count / 2];
}

uint64_t train_planned_bytes(const struct plan *plan)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->device_count; i++) bytes += plan->devices[i].peak_bytes;
    return bytes;
}

/* What went wrong once the run was under way is a failed run, whatever it was. */
static void fail_run(struct run *run, struct error *err)
{
    run_save_last_good(run);
    report_mark(run, "failed");
    if (err && err->kind == ERROR_INPUT) err->kind = ERROR_FAILED;
}

bool train_run(const struct plan *plan, const struct backend *backend, const struct train_options *options,
               struct trace_sink *sink, progress_fn progress, void *context, struct train_result *result,
               struct error *err)
{
    struct run run = {.plan = plan,
                      .backend = backend,
                      .options = options,
                      .sink = sink,
                      .device_count = (uint32_t)plan->device_count,
                      .seed = options->seed,
                      .saved = UINT64_MAX,
                      .schedule = schedule_begin()};
    struct train_result found = {.loss = NAN, .top1_error = NAN, .top5_error = NAN};
    uint64_t begin = clock_now_ns();
    bool begun = begin_run(&run, err);
    run.first = run.done;
    bool ok = begun && run_steps(&run, progress, context, &found, err);
    if (begun && !ok) fail_run(&run, err);
    if (ok && found.stopped) report_mark(&run, "stopped");
    found.images_per_second = run.step_seconds ? median_speed(&run, run.done - run.first) : 0;
    found.steps = run.done;
    found.first = run.first;
    found.saved = run.saved;
    found.seconds = (double)(clock_now_ns() - begin) * 1e-9;
    found.planned_bytes = train_planned_bytes(plan);
    ok = end_run(&run, ok, err);
    uint64_t resident;
    if (!process_memory_read(&resident, &found.peak_bytes)) found.peak_bytes = 0;
    *result = found;
    return ok;
}
