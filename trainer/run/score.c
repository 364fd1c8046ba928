#include "score.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lower.h"
#include "mem.h"
#include "train_private.h"

struct training run_for_answers(const struct plan *plan, const struct backend *backend,
                                const struct train_options *options)
{
    return (struct training){.plan = plan,
                             .backend = backend,
                             .options = options,
                             .dataset = options->dataset,
                             .device_count = (uint32_t)plan->device_count,
                             .seed = options->seed,
                             .saved = UINT64_MAX,
                             .status = {.has_top5 = plan->spec.classes >= TOP5_CLASSES},
                             .evaluated_step = UINT64_MAX,
                             .most_in_flight = 1,
                             .schedule = schedule_begin()};
}

/* ---- A dataset ---- */

bool score_check(const struct score *score, struct error *err)
{
    if (isfinite(score->loss)) return true;
    return error_set(err, ERROR_FAILED, "the loss over the %" PRIu64 " test images is not finite: no error is known",
                     score->images);
}

bool score_dataset(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                   struct score *score, struct error *err)
{
    struct training run = run_for_answers(plan, backend, options);
    bool ok =
        run_take_devices(&run, err) && run_take_weights(&run, options->weights, err) && run_evaluate(&run, false, err);
    *score = (struct score){.images = (uint64_t)run.tested_images,
                            .loss = run.status.test_loss,
                            .top1_error = run.status.top1_error,
                            .top5_error = run.status.top5_error};
    if (ok && run_is_stopped(&run)) ok = error_set(err, ERROR_FAILED, "stopped before its end");
    if (ok && !run.status.evaluated) ok = error_set(err, ERROR_FAILED, "none of the test images can be decoded");
    ok = ok && score_check(score, err);
    return run_end(&run, ok, err);
}

/* ---- Pictures ---- */

/* One batch of the plan's. */
struct sight {
    struct training *run;
    struct batch batch;
    bool features;    /* wanted instead of probabilities */
    uint32_t crops;   /* of a picture */
    uint32_t columns; /* of an answer */
    float *rows;      /* of a batch, as the device gives them */
    bool *left_out;   /* pictures, of which a crop cannot be decoded */
};

static bool look(void *context, uint32_t rank, struct error *err)
{
    struct sight *sight = context;
    struct training *run = sight->run;
    struct executor *executor = run->executors[rank];
    struct metrics metrics;
    struct step_input input = run_share(run, &sight->batch, 0);
    if (sight->features) return executor_features(executor, &run->step, &input, sight->rows, err);
    return executor_evaluate(executor, &run->step, &input, &metrics, err) &&
           executor_probabilities(executor, sight->rows, err);
}

/* A picture's answer is the mean over its crops'; view `i` is of the batch. */
static void add_answer(const struct sight *sight, uint32_t i, float *answers)
{
    uint64_t picture = (sight->batch.position + i) / sight->crops;
    const float *crop = sight->rows + (size_t)i * sight->columns;
    float *answer = answers + picture * sight->columns;
    bool broken = sight->batch.labels[i] < 0;
    if (broken) sight->left_out[picture] = true;
    for (uint32_t k = 0; k < sight->columns; k++) answer[k] += broken ? NAN : crop[k] / (float)sight->crops;
}

/* The next crops of all pictures, which are decoded while the device is at those before. */
static bool look_at(struct sight *sight, struct loader *loader, float *answers, struct error *err)
{
    if (!loader_next(loader, &sight->batch, err)) {
        if (err && err->kind == ERROR_FAILED) err->kind = ERROR_INPUT; /* the command names the picture */
        return false;
    }
    TRY(team_run(sight->run->team, look, sight, err));
    for (uint32_t i = 0; i < sight->batch.count; i++) add_answer(sight, i, answers);
    return true;
}

/* Nothing but pictures that are left out is a mistake. */
static bool check_any(const struct sight *sight, uint64_t pictures, struct error *err)
{
    const char *first = broken_images_text(sight->run->options->broken, 0);
    for (uint64_t i = 0; i < pictures; i++)
        if (!sight->left_out[i]) return true;
    if (pictures == 1) return error_set(err, ERROR_INPUT, "%s", first ? first : "the picture cannot be decoded");
    return error_set(err, ERROR_INPUT, "none of the %" PRIu64 " pictures can be decoded; one of them: %s", pictures,
                     first ? first : "unknown");
}

static bool look_at_all(struct sight *sight, float *answers, struct error *err)
{
    struct training *run = sight->run;
    const struct train_options *o = run->options;
    uint32_t batch = run_evaluated_before(run, 1);
    uint64_t pictures = dataset_info(run->dataset)->test_images, views = pictures * sight->crops;
    const struct loader_options options = {.batch = batch,
                                           .image_size = run->plan->spec.image_size,
                                           .as_bytes = run_loads_bytes(run),
                                           .threads = o->loader_threads,
                                           .broken = o->broken,
                                           .decode_bytes = run_decode_bytes(run->plan),
                                           .crops = sight->crops,
                                           .shorter_side = o->shorter_side};
    struct loader *loader;
    sight->rows = mem_alloc(MEM_INPUT, batch, sight->columns * sizeof *sight->rows);
    if (!sight->rows) return error_memory(err, (uint64_t)batch * sight->columns * sizeof *sight->rows, "answers");
    memset(answers, 0, pictures * sight->columns * sizeof *answers);
    memset(sight->left_out, 0, pictures * sizeof *sight->left_out);
    run_set_normalisation(run);
    TRY(loader_create(run->dataset, &options, &loader, err));
    bool ok = true;
    for (uint64_t done = 0; ok && done < views; done += batch) ok = look_at(sight, loader, answers, err);
    loader_destroy(loader);
    return ok && check_any(sight, pictures, err);
}

static bool score(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                  struct sight *sight, float *answers, struct error *err)
{
    struct training run = run_for_answers(plan, backend, options);
    sight->run = &run;
    sight->crops = options->crops > 1 && !sight->features ? options->crops : 1;
    sight->columns = sight->features ? score_feature_count(plan) : plan->spec.classes;
    bool ok = run_take_devices(&run, err) && run_take_weights(&run, options->weights, err) &&
              look_at_all(sight, answers, err);
    ok = run_end(&run, ok, err);
    mem_free(sight->rows);
    return ok;
}

bool score_pictures(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    float *probabilities, bool *left_out, struct error *err)
{
    struct sight sight = {.left_out = left_out};
    return score(plan, backend, options, &sight, probabilities, err);
}

uint32_t score_feature_count(const struct plan *plan)
{
    const struct graph *graph = plan->variants[plan->devices[0].variant].graph;
    uint32_t count = 0;
    for (uint32_t i = 0; i < graph->forward_end; i++)
        if (graph->ops[i].kind == OP_FC) {
            const struct tensor *x = &graph->tensors[graph->ops[i].in[0]];
            count = (uint32_t)(tensor_elements(x) / x->dims[0]);
        }
    return count;
}

bool score_features(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    float *features, bool *left_out, struct error *err)
{
    struct sight sight = {.features = true, .left_out = left_out};
    return score(plan, backend, options, &sight, features, err);
}
