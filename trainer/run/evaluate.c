#include <inttypes.h>
#include <math.h>

#include "train_private.h"

#include "answers.h"
#include "clock.h"
#include "mem.h"

struct evaluation {
    struct training *run;
    struct batch batch;
    double loss, top1_hits, top5_hits, images;
    /* Where images have several crops: */
    struct answers answers;
    float *probabilities; /* of a batch */
};

static uint32_t crops_of(const struct training *run) { return run->options->crops > 1 ? run->options->crops : 1; }

static uint32_t micro_batch(const struct training *run, size_t device)
{
    return run->plan->variants[run->plan->devices[device].variant].graph->options.batch;
}

uint32_t run_evaluated_before(const struct training *run, uint32_t device)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < device; i++) first += micro_batch(run, i);
    return first;
}

static bool evaluate_share(void *context, uint32_t rank, struct error *err)
{
    struct evaluation *e = context;
    struct training *run = e->run;
    uint32_t device = run->first_device + rank;
    size_t first = run_evaluated_before(run, device) - run_evaluated_before(run, run->first_device);
    struct step_input share = run_share(run, &e->batch, first);
    TRY(executor_evaluate(run->executors[rank], &run->step, &share, &run->told[device].metrics, err));
    if (!e->probabilities) return true;
    return executor_probabilities(run->executors[rank], e->probabilities + first * e->answers.classes, err);
}

/* The devices' shares follow each other, and so do an image's crops. */
static void add_crops(struct evaluation *e)
{
    struct answers *answers = &e->answers;
    for (uint32_t i = 0; i < e->batch.count; i++)
        answers_add(answers, e->batch.labels[i], e->probabilities + (size_t)i * answers->classes);
    e->loss = answers->loss;
    e->top1_hits = answers->top1_hits;
    e->top5_hits = answers->top5_hits;
    e->images = answers->images;
}

static bool evaluate_batch(struct evaluation *e, struct loader *loader, struct error *err)
{
    struct training *run = e->run;
    TRY(loader_next(loader, &e->batch, err));
    TRY(team_run(run->team, evaluate_share, e, err) && run_hear(run, err));
    if (e->probabilities) {
        add_crops(e);
        return true;
    }
    for (size_t i = 0; i < run->plan->device_count; i++) { /* in their order: the same sums on every run */
        const struct metrics *metrics = &run->told[i].metrics;
        e->loss += metrics->loss;
        e->top1_hits += metrics->top1_hits;
        e->top5_hits += metrics->top5_hits;
        e->images += metrics->images;
    }
    return true;
}

/* Where the loss is not finite the net gives numbers that are none, and what it hits says nothing. */
static void report(struct training *run, const struct evaluation *e)
{
    struct train_status *status = &run->status;
    bool known = isfinite(e->loss);
    run->tested_images = e->images;
    status->evaluated = true;
    run->evaluated_step = run->done;
    status->test_loss = known ? e->loss / e->images : NAN;
    status->top1_error = known ? 1 - e->top1_hits / e->images : NAN;
    status->top5_error = known && status->has_top5 ? 1 - e->top5_hits / e->images : NAN;
    if (!known) return;
    run_report_metric(run, METRIC_TEST_LOSS, status->test_loss);
    run_report_metric(run, METRIC_TOP1_ERROR, status->top1_error);
    if (status->has_top5) run_report_metric(run, METRIC_TOP5_ERROR, status->top5_error);
}

static bool begin_crops(struct evaluation *e, uint32_t batch, struct error *err)
{
    uint32_t crops = crops_of(e->run), classes = e->run->plan->spec.classes;
    if (crops == 1) return true;
    e->probabilities = mem_alloc(MEM_GENERAL, batch, classes * sizeof *e->probabilities);
    if (!e->probabilities) return error_memory(err, batch * classes * sizeof *e->probabilities, "probabilities");
    return answers_begin(&e->answers, classes, crops, err);
}

static bool evaluate_all(struct training *run, struct loader *loader, uint32_t batch, uint64_t images,
                         struct error *err)
{
    struct evaluation e = {.run = run};
    bool ok = begin_crops(&e, batch, err);
    uint64_t first = 0, views = images * crops_of(run);
    for (; ok && first < views && !run_is_stopped(run); first += batch) ok = evaluate_batch(&e, loader, err);
    if (ok && first >= views && e.images > 0) report(run, &e);
    answers_finish(&e.answers);
    mem_free(e.probabilities);
    return ok;
}

static bool evaluate_images(struct training *run, struct error *err)
{
    uint64_t begin = clock_now_ns(), images = dataset_info(run->dataset)->test_images;
    if (run->options->evaluate_images > 0 && run->options->evaluate_images < images)
        images = run->options->evaluate_images;
    if (images == 0) return true;
    uint32_t batch = run_evaluated_before(run, (uint32_t)run->plan->device_count),
             before = run_evaluated_before(run, run->first_device);
    struct loader_options options = {.batch = run_evaluated_before(run, run->first_device + run->device_count) - before,
                                     .every = batch,
                                     .first = before,
                                     .image_size = run->plan->spec.image_size,
                                     .seed = run->seed,
                                     .as_bytes = run_loads_bytes(run),
                                     .threads = run->options->loader_threads,
                                     .broken = run->options->broken,
                                     .decode_bytes = run_decode_bytes(run->plan),
                                     .crops = run->options->crops,
                                     .shorter_side = run->options->shorter_side,
                                     .limit = images};
    struct loader *loader;
    run_set_normalisation(run);
    loader_destroy(run->loader);
    run->loader = NULL;
    TRY(loader_create(run->dataset, &options, &loader, err));
    bool ok = evaluate_all(run, loader, batch, images, err);
    loader_destroy(loader);
    run_report_gap(run, GAP_EVALUATE, begin);
    run_report_host_of_all(run, HOST_EVALUATE, begin);
    return ok && (run->options->evaluates_only || run_open_loader(run, err));
}

/* Of an evaluation alone no step is named. */
static bool name_evaluation(const struct training *run, struct error *err)
{
    if (run->options->evaluates_only) return false;
    return error_prefix(err, "the evaluation after step %" PRIu64, run->done);
}

bool run_evaluate(struct training *run, bool save_is_due, struct error *err)
{
    struct tested_state *tested;
    uint64_t begin = clock_now_ns();
    if (dataset_info(run->dataset)->test_images == 0) return true;
    if (!tested_state_begin(run, &tested, err)) return name_evaluation(run, err);
    bool ok = evaluate_images(run, err) || name_evaluation(run, err);
    if (run->status.evaluated) pace_see_test(&run->pace, (double)(clock_now_ns() - begin) * 1e-9);
    bool saves = ok && run->status.evaluated && run->options->save_folder && (save_is_due || run_is_best(run));
    if (saves) ok = run_save_average(run, err);
    bool back = tested_state_end(run, tested, ok ? err : NULL);
    return ok && (back || name_evaluation(run, err));
}
