#include "score.h"

#include <string.h>

#include "lower.h"
#include "mem.h"
#include "train_private.h"

static struct run make_run(const struct plan *plan, const struct backend *backend, const struct train_options *options)
{
    return (struct run){.plan = plan,
                        .backend = backend,
                        .options = options,
                        .dataset = options->dataset,
                        .device_count = (uint32_t)plan->device_count,
                        .seed = options->seed,
                        .saved = UINT64_MAX,
                        .evaluated_step = UINT64_MAX,
                        .most_in_flight = 1,
                        .schedule = schedule_begin()};
}

/* ---- A dataset ---- */

bool score_dataset(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                   struct score *score, struct error *err)
{
    struct run run = make_run(plan, backend, options);
    bool ok = run_take_devices(&run, err) && run_take_weights(&run, options->weights, err) && run_evaluate(&run, err);
    *score = (struct score){.images = (uint64_t)run.tested_images,
                            .loss = run.status.test_loss,
                            .top1_error = run.status.top1_error,
                            .top5_error = run.status.top5_error};
    if (ok && run_is_stopped(&run)) ok = error_set(err, ERROR_FAILED, "stopped before its end");
    if (ok && !run.status.evaluated) ok = error_set(err, ERROR_FAILED, "none of the test images can be decoded");
    return run_end(&run, ok, err);
}

/* ---- Pictures ---- */

/* One batch of the plan's. */
struct sight {
    struct run *run;
    const struct trained_on *trained;
    uint32_t batch, size;
    size_t numbers;  /* of a picture */
    uint8_t *pixels; /* batch pictures */
    float *images;   /* the same, normalised; NULL where the device does that */
    int32_t *labels, *placements;
    float *probabilities; /* batch x classes */
};

static bool make_sight(struct sight *sight, struct run *run, struct error *err)
{
    const struct graph *graph = run->plan->variants[run->plan->devices[0].variant].graph;
    uint32_t batch = graph->options.batch, size = run->plan->spec.image_size;
    size_t numbers = 3 * (size_t)size * size;
    bool bytes = run_loads_bytes(run);
    sight->run = run;
    sight->batch = batch;
    sight->size = size;
    sight->numbers = numbers;
    sight->pixels = mem_zalloc(MEM_INPUT, batch, numbers);
    sight->images = bytes ? NULL : mem_zalloc(MEM_INPUT, batch, numbers * sizeof(float));
    sight->labels = mem_zalloc(MEM_INPUT, batch, sizeof(int32_t));
    sight->placements = mem_zalloc(MEM_INPUT, batch, INPUT_PLACEMENT * sizeof(int32_t));
    sight->probabilities = mem_zalloc(MEM_INPUT, batch, run->plan->spec.classes * sizeof(float));
    if (sight->pixels && (bytes || sight->images) && sight->labels && sight->placements && sight->probabilities)
        return true;
    return error_memory(err, batch * numbers, "pictures");
}

static void finish_sight(struct sight *sight)
{
    mem_free(sight->pixels);
    mem_free(sight->images);
    mem_free(sight->labels);
    mem_free(sight->placements);
    mem_free(sight->probabilities);
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
    struct input input = {.images = sight->images ? (const void *)sight->images : sight->pixels,
                          .placements = sight->images ? NULL : sight->placements,
                          .labels = sight->labels};
    return executor_evaluate(executor, &sight->run->step, &input, &metrics, err) &&
           executor_probabilities(executor, sight->probabilities, err);
}

/* The next `count` pictures, at most a batch; what is left of the batch is what was there before. */
static bool look_at(struct sight *sight, const char *const *paths, size_t count, float *probabilities,
                    struct error *err)
{
    uint32_t classes = sight->run->plan->spec.classes;
    for (size_t i = 0; i < count; i++)
        TRY(data_read_picture(paths[i], sight->size, sight->pixels + i * sight->numbers, err));
    normalise(sight);
    TRY(team_run(sight->run->team, look, sight, err));
    memcpy(probabilities, sight->probabilities, count * classes * sizeof *probabilities);
    return true;
}

static bool look_at_all(struct sight *sight, const char *const *paths, size_t count, float *probabilities,
                        struct error *err)
{
    const struct trained_on *t = sight->trained;
    memcpy(sight->run->step.mean, t->mean, sizeof t->mean);
    memcpy(sight->run->step.deviation, t->deviation, sizeof t->deviation);
    for (uint32_t i = 0; i < sight->batch; i++) sight->labels[i] = -1;
    for (size_t done = 0; done < count; done += sight->batch) {
        size_t next = count - done < sight->batch ? count - done : sight->batch;
        TRY(look_at(sight, paths + done, next, probabilities + done * sight->run->plan->spec.classes, err));
    }
    return true;
}

bool score_pictures(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    const struct trained_on *trained, const char *const *paths, size_t count, float *probabilities,
                    struct error *err)
{
    struct run run = make_run(plan, backend, options);
    struct sight sight = {.trained = trained};
    bool ok = run_take_devices(&run, err) && run_take_weights(&run, options->weights, err) &&
              make_sight(&sight, &run, err) && look_at_all(&sight, paths, count, probabilities, err);
    ok = run_end(&run, ok, err);
    finish_sight(&sight);
    return ok;
}
