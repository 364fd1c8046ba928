#include "passes.h"

#include <stdlib.h>

#include "clock.h"
#include "lower.h"
#include "mem.h"
#include "random.h"
#include "train_private.h"

#define WARM_UP 2 /* the first launches op by op, the second records */

struct measurement {
    struct training *run;
    uint32_t repeats;
    uint8_t *pixels; /* where the device makes images of bytes, else NULL */
    float *images;   /* else these */
    int32_t *labels, *placements;
    double *seconds; /* of each repetition */
};

static bool make_noise(struct measurement *m, struct error *err)
{
    const struct plan *plan = m->run->plan;
    size_t images = plan->batch, numbers = images * plan->spec.image_size * model_image_width(&plan->spec) * 3;
    bool bytes = run_loads_bytes(m->run);
    m->pixels = bytes ? mem_alloc(MEM_INPUT, numbers, 1) : NULL;
    m->images = bytes ? NULL : mem_alloc(MEM_INPUT, numbers, sizeof *m->images);
    m->labels = mem_alloc(MEM_INPUT, images, sizeof *m->labels);
    m->placements = mem_zalloc(MEM_INPUT, images, INPUT_PLACEMENT * sizeof *m->placements);
    m->seconds = mem_alloc(MEM_GENERAL, m->repeats, sizeof *m->seconds);
    if (!(m->pixels || m->images) || !m->labels || !m->placements || !m->seconds)
        return error_memory(err, numbers * sizeof *m->images, "pixels of noise");
    struct random random = random_begin(m->run->seed, RANDOM_SYNTHETIC, 0, 0);
    for (size_t i = 0; i < numbers; i++) {
        double value = random_real(&random);
        if (bytes)
            m->pixels[i] = (uint8_t)(256 * value);
        else
            m->images[i] = (float)(4 * value - 2);
    }
    for (size_t i = 0; i < images; i++) m->labels[i] = (int32_t)random_below(&random, plan->spec.classes);
    return true;
}

static void finish_noise(struct measurement *m)
{
    mem_free(m->pixels);
    mem_free(m->images);
    mem_free(m->labels);
    mem_free(m->placements);
    mem_free(m->seconds);
}

static bool repeat(void *context, uint32_t rank, struct error *err)
{
    struct measurement *m = context;
    struct step step = {.seed = m->run->seed, .bn_momentum = 0.1f, .deviation = {1, 1, 1}};
    const struct step_input input = {.images = m->pixels ? (const void *)m->pixels : m->images,
                                     .placements = m->pixels ? m->placements : NULL,
                                     .labels = m->labels};
    for (uint32_t i = 0; i < WARM_UP + m->repeats; i++) {
        uint64_t begin = clock_now_ns();
        step.number = i;
        TRY(executor_differentiate(m->run->executors[rank], &step, &input, err));
        if (i >= WARM_UP) m->seconds[i - WARM_UP] = 1e-9 * (double)(clock_now_ns() - begin);
        if (run_is_stopped(m->run)) return error_set(err, ERROR_FAILED, "stopped before its end");
    }
    return true;
}

static int compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void take_median(const struct measurement *m, struct passes_time *time)
{
    qsort(m->seconds, m->repeats, sizeof *m->seconds, compare_seconds);
    time->seconds = (m->seconds[(m->repeats - 1) / 2] + m->seconds[m->repeats / 2]) / 2;
    time->least = m->seconds[0];
    time->most = m->seconds[m->repeats - 1];
    executor_remark(m->run->executors[0], time->remark);
}

bool passes_measure(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    uint32_t repeats, struct passes_time *time, struct error *err)
{
    struct training run = run_for_answers(plan, backend, options);
    struct measurement m = {.run = &run, .repeats = repeats > 0 ? repeats : 1};
    bool ok = run_take_devices(&run, err) && run_initialise(&run, err) && make_noise(&m, err) &&
              team_run(run.team, repeat, &m, err);
    if (ok) take_median(&m, time);
    ok = run_end(&run, ok, err);
    finish_noise(&m);
    return ok;
}
