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
    const struct trained_on *trained;
    uint32_t batch, size;
    uint32_t crops, shorter_side; /* of a picture */
    size_t numbers;               /* of a picture */
    uint8_t *pixels;              /* batch pictures */
    float *images;                /* the same, normalised; NULL where the device does that */
    int32_t *labels, *placements;
    bool features;    /* wanted instead of probabilities */
    uint32_t columns; /* of an answer */
    float *answers;   /* batch x columns */
};

static bool make_sight(struct sight *sight, struct training *run, struct error *err)
{
    const struct graph *graph = run->plan->variants[run->plan->devices[0].variant].graph;
    uint32_t batch = graph->options.batch, size = run->plan->spec.image_size;
    size_t numbers = 3 * (size_t)size * size;
    bool bytes = run_loads_bytes(run);
    sight->run = run;
    sight->batch = batch;
    sight->size = size;
    sight->crops = run->options->crops > 1 && !sight->features ? run->options->crops : 1;
    sight->shorter_side = run->options->shorter_side;
    if (sight->shorter_side == 0) sight->shorter_side = data_shorter_side(size, sight->crops);
    sight->numbers = numbers;
    sight->pixels = mem_zalloc(MEM_INPUT, batch, numbers);
    sight->images = bytes ? NULL : mem_zalloc(MEM_INPUT, batch, numbers * sizeof(float));
    sight->labels = mem_zalloc(MEM_INPUT, batch, sizeof(int32_t));
    sight->placements = mem_zalloc(MEM_INPUT, batch, INPUT_PLACEMENT * sizeof(int32_t));
    sight->columns = sight->features ? score_feature_count(run->plan) : run->plan->spec.classes;
    sight->answers = mem_zalloc(MEM_INPUT, batch, sight->columns * sizeof(float));
    if (sight->pixels && (bytes || sight->images) && sight->labels && sight->placements && sight->answers) return true;
    return error_memory(err, batch * numbers, "pictures");
}

static void finish_sight(struct sight *sight)
{
    mem_free(sight->pixels);
    mem_free(sight->images);
    mem_free(sight->labels);
    mem_free(sight->placements);
    mem_free(sight->answers);
}

static void normalise(const struct sight *sight)
{
    const struct trained_on *t = sight->trained;
    for (size_t i = 0; sight->images && i < sight->batch * sight->numbers; i++)
        sight->images[i] = ((float)sight->pixels[i] / 255.0f - t->mean[i % 3]) / t->deviation[i % 3];
}

static bool look(void *context, uint32_t rank, struct error *err)
{
    struct sight *sight = context;
    struct executor *executor = sight->run->executors[rank];
    struct metrics metrics;
    struct step_input input = {.images = sight->images ? (const void *)sight->images : sight->pixels,
                               .placements = sight->images ? NULL : sight->placements,
                               .labels = sight->labels};
    if (sight->features) return executor_features(executor, &sight->run->step, &input, sight->answers, err);
    return executor_evaluate(executor, &sight->run->step, &input, &metrics, err) &&
           executor_probabilities(executor, sight->answers, err);
}

/* A picture's answer is the mean over its crops'. */
static void add_answer(const struct sight *sight, const float *crop, float *answer)
{
    for (uint32_t k = 0; k < sight->columns; k++) answer[k] += crop[k] / (float)sight->crops;
}

/* The crops [first, first + count) of all pictures, at most a batch; what is left of the batch is what was there
 * before. */
static bool look_at(struct sight *sight, const char *const *paths, size_t first, size_t count, float *answers,
                    struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        size_t picture = (first + i) / sight->crops, crop = (first + i) % sight->crops;
        TRY(data_read_picture(paths[picture], sight->size, sight->shorter_side, (uint32_t)crop,
                              sight->pixels + i * sight->numbers, err));
    }
    normalise(sight);
    TRY(team_run(sight->run->team, look, sight, err));
    for (size_t i = 0; i < count; i++)
        add_answer(sight, sight->answers + i * sight->columns, answers + (first + i) / sight->crops * sight->columns);
    return true;
}

static bool look_at_all(struct sight *sight, const char *const *paths, size_t count, float *answers, struct error *err)
{
    const struct trained_on *t = sight->trained;
    memcpy(sight->run->step.mean, t->mean, sizeof t->mean);
    memcpy(sight->run->step.deviation, t->deviation, sizeof t->deviation);
    for (uint32_t i = 0; i < sight->batch; i++) sight->labels[i] = -1;
    size_t views = count * sight->crops;
    memset(answers, 0, count * sight->columns * sizeof *answers);
    for (size_t done = 0; done < views; done += sight->batch)
        TRY(look_at(sight, paths, done, views - done < sight->batch ? views - done : sight->batch, answers, err));
    return true;
}

static bool score(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                  struct sight *sight, const char *const *paths, size_t count, float *answers, struct error *err)
{
    struct training run = run_for_answers(plan, backend, options);
    bool ok = run_take_devices(&run, err) && run_take_weights(&run, options->weights, err) &&
              make_sight(sight, &run, err) && look_at_all(sight, paths, count, answers, err);
    ok = run_end(&run, ok, err);
    finish_sight(sight);
    return ok;
}

bool score_pictures(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    const struct trained_on *trained, const char *const *paths, size_t count, float *probabilities,
                    struct error *err)
{
    struct sight sight = {.trained = trained};
    return score(plan, backend, options, &sight, paths, count, probabilities, err);
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
                    const struct trained_on *trained, const char *const *paths, size_t count, float *features,
                    struct error *err)
{
    struct sight sight = {.trained = trained, .features = true};
    return score(plan, backend, options, &sight, paths, count, features, err);
}
