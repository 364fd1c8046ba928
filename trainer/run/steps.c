/* The steps of a run. Several may be in flight: a device gets its next step before the last one is looked at. All that
 * is seen, reported and decided is the same with any number of them: steps are collected in order, and what depends on
 * one that is in flight waits for it. */
#include <inttypes.h>
#include <math.h>

#include "clock.h"
#include "train_private.h"

/* ---- Giving steps to the devices ---- */

static bool submit_share(void *context, uint32_t rank, struct error *err)
{
    struct training *run = context;
    size_t first = 0;
    uint64_t begin = clock_now_ns();
    for (uint32_t i = 0; i < rank; i++) first += run->plan->devices[run->first_device + i].images;
    struct step_input share = run_share(run, &run->batch, first);
    TRY(executor_submit(run->executors[rank], &run->step, &share, err));
    if (!run->backend->in_host_memory) run_report_host(run, rank, HOST_LAUNCH, begin); /* else it is the computing */
    return true;
}

static bool next_batch(struct training *run, struct error *err)
{
    if (run->options->repeat_batch) return true;
    uint64_t begin = clock_now_ns(), waited = loader_waited_ns(run->loader);
    TRY(loader_next(run->loader, &run->batch, err));
    run_report_host_of_all(run, HOST_LOAD, begin);
    if (loader_waited_ns(run->loader) > waited) run_report_gap(run, GAP_DATA, begin);
    pace_see_wait(&run->pace, (double)(loader_waited_ns(run->loader) - waited) * 1e-9);
    return true;
}

static struct flight *flight_of(struct training *run, uint64_t step)
{
    return &run->flights[step % TRAIN_MOST_IN_FLIGHT];
}

static uint32_t scale_streak(const struct train_options *o)
{
    return o->scale_streak > 0 && o->scale_streak < UINT32_MAX ? (uint32_t)o->scale_streak : LOSS_SCALE_STREAK;
}

static double bn_momentum(const struct training *run)
{
    double given = run->options->bn_momentum;
    return given > 0 ? given : recipe_for(&run->plan->spec)->bn_momentum;
}

static bool submit_step(struct training *run, struct error *err)
{
    const struct train_options *o = run->options;
    uint64_t number = run->done + run->in_flight;
    struct flight *flight = flight_of(run, number);
    *flight = (struct flight){clock_now_ns(), schedule_rate_at(&o->schedule, &run->schedule, number)};
    run->no_more_images = !next_batch(run, &run->images_error);
    if (run->no_more_images) return true;
    run->step = (struct step){.number = number,
                              .seed = run->seed,
                              .learning_rate = (float)flight->learning_rate,
                              .optimizer = o->optimizer,
                              .momentum = (float)o->momentum,
                              .beta1 = o->beta1,
                              .beta2 = o->beta2,
                              .epsilon = (float)o->epsilon,
                              .spares_bn = o->spares_bn,
                              .clip_norm = (float)o->clip_norm,
                              .average_decay = o->average_decay,
                              .weight_decay = (float)o->weight_decay,
                              .nesterov = o->nesterov,
                              .label_smoothing = (float)o->label_smoothing,
                              .bn_momentum = (float)bn_momentum(run),
                              .scale_streak = scale_streak(o)};
    run_set_normalisation(run);
    run->in_flight++;
    if (run->sink && run->sink->step_submit) run->sink->step_submit(run->sink->context, number);
    return team_run(run->team, submit_share, run, err) || error_prefix(err, "step %" PRIu64, number + 1);
}

static bool is_due(uint64_t every, uint64_t done) { return every > 0 && done % every == 0; }

static bool evaluation_is_due(const struct training *run, uint64_t done) { return is_due(run->evaluate_every, done); }

static bool evaluates(const struct training *run)
{
    return !run->options->skip_evaluation && !run->options->repeat_batch;
}

/* Whether what follows the step needs the devices at rest. */
static bool rests_after(const struct training *run, uint64_t done)
{
    const struct train_options *o = run->options;
    return (evaluates(run) && evaluation_is_due(run, done)) || (o->save_folder && is_due(o->save_every, done));
}

/* Whether the next step may join those in flight. Timed ops are timed with nothing beside them. */
static bool may_join(const struct training *run)
{
    const struct executor *executor = run->executors[0];
    uint64_t next = run->done + run->in_flight;
    return run->in_flight < run->most_in_flight && !run_is_stopped(run) && !rests_after(run, next) &&
           !schedule_follows_error(&run->options->schedule, &run->schedule, next) &&
           executor_may_overlap(executor, next);
}

/* Where the devices' steps end: once a rank was asked to end, where the one that is furthest has come to. */
static uint64_t last_step(const struct training *run)
{
    bool early = run->ranks && run_is_stopped(run) && run->until < run->options->iterations;
    return early ? run->until : run->options->iterations;
}

static bool submit_steps(struct training *run, struct error *err)
{
    while (!run->no_more_images && run->done + run->in_flight < last_step(run) &&
           (run->in_flight == 0 || may_join(run)))
        TRY(submit_step(run, err));
    if (run->in_flight > 0) return true;
    if (err) *err = run->images_error;
    return error_prefix(err, "step %" PRIu64, run->done + 1);
}

/* ---- Collecting them ---- */

static bool collect_share(void *context, uint32_t rank, struct error *err)
{
    struct training *run = context;
    uint64_t begin = clock_now_ns();
    TRY(executor_collect(run->executors[rank], &run->told[run->first_device + rank].metrics, err));
    run_report_host(run, rank, HOST_WAIT, begin);
    return true;
}

/* Sums over all devices in their order, so that they do not depend on which was first, nor on whose they are. */
static bool sum_metrics(struct training *run, struct error *err)
{
    double loss = 0, hits = 0, images = 0;
    for (uint32_t i = (uint32_t)run->plan->device_count; i-- > 0;)
        if (!isfinite(run->told[i].metrics.loss)) run->good_device = i;
    for (size_t i = 0; i < run->plan->device_count; i++) {
        loss += run->told[i].metrics.loss;
        hits += run->told[i].metrics.top1_hits;
        images += run->told[i].metrics.images;
    }
    run->status.loss = loss / images;
    run->status.train_error = 1 - hits / images;
    run->diverged = !isfinite(run->status.loss);
    if (!run->diverged) return true;
    char device[RANKS_DEVICE_NAME];
    return error_set(err, ERROR_FAILED,
                     "the loss is %f%s%s: training diverged; a smaller --learning-rate than %g may help",
                     run->status.loss, run->plan->device_count > 1 ? " on " : "",
                     run->plan->device_count > 1 ? ranks_name_device(run->ranks, run->good_device, device) : "",
                     run->status.learning_rate);
}

static bool collect_step(struct training *run, struct error *err)
{
    run->status.learning_rate = flight_of(run, run->done)->learning_rate;
    if (!team_run(run->team, collect_share, run, err) || !run_hear(run, err) || !sum_metrics(run, err))
        return error_prefix(err, "step %" PRIu64, run->done + 1);
    run_see_loss_scale(run, &run->told[0].metrics.loss_scale);
    run->in_flight--;
    run->done++;
    run->position += run->plan->batch;
    schedule_see_step(&run->options->schedule, &run->schedule, run->status.train_error);
    return true;
}

static struct pace_course course_of(const struct training *run)
{
    const struct dataset_info *info = dataset_info(run->dataset);
    uint64_t asked = run->options->evaluate_images, tested = info->test_images;
    if (asked > 0 && asked < tested) tested = asked;
    if (run->options->crops > 1) tested *= run->options->crops; /* each is seen as often */
    return (struct pace_course){.images = info->train_images,
                                .batch = run->plan->batch,
                                .iterations = run->options->iterations,
                                .test_every = run->evaluate_every,
                                .test_images = evaluates(run) ? tested : 0};
}

static void see_pace(struct training *run, double seconds)
{
    double top1 = 0, top5 = 0, images = 0;
    struct pace_course course = course_of(run);
    for (size_t i = 0; i < run->plan->device_count; i++) {
        top1 += run->told[i].metrics.top1_hits;
        top5 += run->told[i].metrics.top5_hits;
        images += run->told[i].metrics.images;
    }
    pace_see_step(&run->pace, &course, run->done, seconds, top1, top5, images);
    pace_tell(&run->pace, &course, run->done, !run->options->repeat_batch, &run->status);
    if (!run->status.has_top5) run->status.pass_top5 = NAN;
}

/* A step takes from when it was begun, or when the one before it had ended. */
static void measure_step(struct training *run)
{
    struct train_status *status = &run->status;
    uint64_t steps = run->done - run->first, begin = flight_of(run, run->done - 1)->begin_ns, now = clock_now_ns();
    if (begin < run->collected_ns) begin = run->collected_ns;
    run->collected_ns = now;
    double seconds = (double)(now - begin) * 1e-9;
    run->step_seconds[(steps - 1) % RUN_MEDIAN_STEPS] = seconds;
    status->step = run->done;
    status->iterations = run->options->iterations;
    status->images_per_second = run->plan->batch / seconds;
    see_pace(run, seconds);
    run_report_metric(run, METRIC_LOSS, status->loss);
    run_report_metric(run, METRIC_LEARNING_RATE, status->learning_rate);
    run_report_metric(run, METRIC_IMAGES_PER_SECOND, status->images_per_second);
    run_report_metric(run, METRIC_TRAIN_ERROR, status->train_error);
}

/* ---- After each ---- */

static bool save_is_due(const struct training *run)
{
    const struct train_options *o = run->options;
    return run->done == o->iterations || is_due(o->save_every, run->done);
}

/* The schedule sees the evaluations at intervals alone, so that a run which goes on from its last step has the rates of
 * one that never ended there. A stop puts the evaluation off until the run is resumed. */
static bool evaluate(struct training *run, bool due, struct error *err)
{
    const struct train_options *o = run->options;
    if (!run_is_stopped(run)) TRY(run_evaluate(run, save_is_due(run), err));
    if (due && run->status.evaluated) schedule_see_evaluation(&o->schedule, &run->schedule, run->status.top1_error);
    run->schedule.waiting = due && !run->status.evaluated && o->schedule.kind == SCHEDULE_PLATEAU;
    return true;
}

/* A stop is looked at once: what is seen is saved, when no step is in flight any more. */
static bool after_step(struct training *run, bool *stopped, struct error *err)
{
    const struct train_options *o = run->options;
    bool last = run->done == o->iterations, due = evaluation_is_due(run, run->done);
    run->status.evaluated = false;
    if (evaluates(run) && (last || due)) TRY(evaluate(run, due, err));
    log_step(run->log, &run->status);
    *stopped = run_is_stopped(run) && run->in_flight == 0 && (!run->ranks || run->done >= run->until);
    bool save = *stopped || save_is_due(run) || run_is_best(run);
    if (!o->save_folder || !save || run->saved == run->done) return true;
    return run_save(run, err) || error_prefix(err, "the checkpoint of step %" PRIu64, run->done);
}

static void keep_result(const struct training *run, struct train_result *result)
{
    result->loss = run->status.loss;
    if (!run->status.evaluated) return;
    result->top1_error = run->status.top1_error;
    result->top5_error = run->status.top5_error;
}

bool run_steps(struct training *run, void (*progress)(void *context, const struct train_status *status), void *context,
               struct train_result *result, struct error *err)
{
    if (run->schedule.waiting && run->done < run->options->iterations) TRY(evaluate(run, true, err));
    result->stopped = run_is_stopped(run) && run->done < run->options->iterations;
    while (run->done < run->options->iterations && !result->stopped) {
        TRY(submit_steps(run, err));
        TRY(collect_step(run, err));
        measure_step(run);
        TRY(after_step(run, &result->stopped, err));
        struct pace_course course = course_of(run);
        run->status.eta_seconds = pace_left(&run->pace, &course, run->done);
        keep_result(run, result);
        if (progress) progress(context, &run->status);
    }
    return true;
}
