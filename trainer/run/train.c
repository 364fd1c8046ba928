#define _GNU_SOURCE
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "process.h"
#include "train_private.h"

/* ---- Beginning and end ---- */

/* A rate that falls with the test error looks at it once a pass over the images, where nothing else was said. */
uint64_t train_evaluate_every(const struct plan *plan, const struct train_options *o, const struct dataset_info *info)
{
    if (o->evaluate_every > 0 || o->schedule.kind != SCHEDULE_PLATEAU) return o->evaluate_every;
    return (info->train_images + plan->batch - 1) / plan->batch;
}

static bool begin_run(struct training *run, struct error *err)
{
    const struct train_options *o = run->options;
    struct train_part part = train_part(run->plan, run->ranks);
    TRY(train_check_options(o, err));
    TRY(run_check_room(run, err));
    TRY(run_open_dataset(run, err));
    run->evaluate_every = train_evaluate_every(run->plan, o, dataset_info(run->dataset));
    run->most_in_flight = run_choose_in_flight(run);
    TRY(train_try_outputs(o, err));
    run_report_begin(run, &part);
    TRY(run_make_devices(run, err));
    TRY(o->resume_folder ? run_resume(run, err) : run_initialise(run, err));
    if (o->weights && !o->resume_folder) TRY(run_take_weights(run, o->weights, err));
    TRY(log_open(o->log_path, run->done, &run->log, err));
    for (uint32_t i = 0; i < run->device_count; i++)
        TRY(executor_describe(run->plan, run->first_device + i, run->first_device, run->sink, err));
    if (o->resume_folder) run_report_resumed(run);
    return run_open_loader(run, err) && ranks_begin(run->ranks, err);
}

bool run_end(struct training *run, bool ok, struct error *err)
{
    loader_destroy(run->loader);
    ranks_on_failure(run->ranks, NULL, NULL);
    run_give_devices(run);
    ok = log_close(run->log, ok ? err : NULL) && ok;
    if (run->dataset && !run->options->dataset) dataset_close(run->dataset);
    mem_free(run->told);
    mem_free(run->step_seconds);
    mem_free(run->staging);
    return ok;
}

/* ---- Results ---- */

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_speed(struct training *run, uint64_t steps)
{
    size_t count = steps < RUN_MEDIAN_STEPS ? (size_t)steps : RUN_MEDIAN_STEPS;
    if (count == 0) return 0;
    qsort(run->step_seconds, count, sizeof *run->step_seconds, compare_reals);
    return run->plan->batch / run->step_seconds[count / 2];
}

static void find_remark(const struct training *run, struct train_result *result)
{
    for (uint32_t i = 0; run->executors && i < run->device_count && !*result->remark; i++)
        if (run->executors[i]) executor_remark(run->executors[i], result->remark);
}

static void find_device_memory(const struct training *run, struct train_result *result)
{
    for (uint32_t i = 0; run->executors && i < run->device_count; i++) {
        struct device_memory most;
        if (!run->executors[i] || !executor_memory(run->executors[i], &most)) continue;
        const struct device_memory *before = &result->device_memory;
        if (result->device_known &&
            most.arena_bytes + most.outside_bytes <= before->arena_bytes + before->outside_bytes)
            continue;
        result->device_known = true;
        result->device_memory = most;
        result->device = run->first_device + i;
    }
}

/* What went wrong once the run was under way is a failed run, whatever it was. */
static void fail_run(struct training *run, struct error *err)
{
    run_save_last_good(run);
    if (run->diverged) run_name_layer(run, err);
    run_report_mark(run, "failed");
    if (err && err->kind == ERROR_INPUT) err->kind = ERROR_FAILED;
}

bool train_run(const struct plan *plan, const struct backend *backend, const struct train_options *options,
               struct trace_sink *sink, void (*progress)(void *context, const struct train_status *status),
               void *context, struct train_result *result, struct error *err)
{
    struct train_part part = train_part(plan, options->ranks);
    struct training run = {.plan = plan,
                           .ranks = options->ranks,
                           .first_device = part.first,
                           .device_count = part.count,
                           .backend = backend,
                           .options = options,
                           .sink = sink,
                           .seed = options->seed,
                           .saved = UINT64_MAX,
                           .averaged = UINT64_MAX,
                           .evaluated_step = UINT64_MAX,
                           .best_error = NAN,
                           .status = {.has_top5 = plan->spec.classes >= TOP5_CLASSES},
                           .schedule = schedule_begin()};
    struct train_result found = {.loss = NAN, .top1_error = NAN, .top5_error = NAN};
    uint64_t begin = clock_now_ns();
    struct error why = {0};
    bool begun = begin_run(&run, &why);
    run.first = run.done;
    found.stopped = !begun && why.kind == ERROR_STOPPED;
    if (!begun && !found.stopped && err) *err = why;
    bool ok = begun ? run_steps(&run, progress, context, &found, err) : found.stopped;
    if (begun && !ok) fail_run(&run, err);
    if (ok && found.stopped) run_report_mark(&run, "stopped");
    found.images_per_second = run.step_seconds ? median_speed(&run, run.done - run.first) : 0;
    found.steps = run.done;
    found.loss_scale = run.status.loss_scale;
    found.skipped = run.status.skipped;
    found.first = run.first;
    found.diverged = run.diverged;
    found.saved = run.saved;
    found.seconds = (double)(clock_now_ns() - begin) * 1e-9;
    found.planned_bytes = train_planned_bytes(plan, backend, &part);
    found.stop = run.ranks ? run.stop : options->stop ? *options->stop : 0;
    find_device_memory(&run, &found);
    find_remark(&run, &found);
    ok = run_end(&run, ok, err);
    uint64_t resident;
    if (!process_memory_read(&resident, &found.peak_bytes)) found.peak_bytes = 0;
    *result = found;
    return ok;
}
