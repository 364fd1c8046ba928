#include "rate.h"

#include <math.h>

/* Sources.
 * CIFAR, arXiv:1512.03385, 4.2: batch 128, rate 0.1, divided by 10 at 32k and 48k of 64k iterations, weight decay 1e-4,
 * momentum 0.9; ResNet-110 warms up at 0.01 until the training error is below 80 % (about 400 iterations).
 * arXiv:1603.05027, appendix: the same, with 0.01 in the first 400 iterations for all CIFAR nets.
 * ImageNet, arXiv:1512.03385, 3.4: batch 256, rate 0.1, divided by 10 when the error plateaus, up to 600k iterations.
 * arXiv:1603.05027, appendix: divided by 10 at 30 and 60 of 90 epochs, no warm-up.
 * VGG, arXiv:1409.1556, 3.1: batch 256, rate 0.01, divided by 10 at plateaus, 370k iterations, weight decay 5e-4.
 * Other batches: the rate grows with the batch (arXiv:1706.02677); the authors' own release trained CIFAR nets at half
 * the batch with the same rate, so that it shrinks below half only. */
#define CIFAR_BATCH      128u
#define CIFAR_ITERATIONS 64000u
#define IMAGENET_BATCH   256u
#define IMAGENET_IMAGES  1281167u

static bool is_imagenet(const struct model_spec *spec) { return spec->dataset == DATASET_IMAGENET; }

uint64_t schedule_iterations(const struct model_spec *spec, uint32_t batch)
{
    uint64_t images = (uint64_t)CIFAR_ITERATIONS * CIFAR_BATCH;
    if (is_imagenet(spec) && spec->family == FAMILY_VGG)
        images = (uint64_t)370000 * IMAGENET_BATCH;
    else if (is_imagenet(spec))
        images = spec->unit == UNIT_PREACT ? (uint64_t)90 * IMAGENET_IMAGES : (uint64_t)600000 * IMAGENET_BATCH;
    return (images + batch - 1) / batch;
}

double schedule_weight_decay(const struct model_spec *spec) { return spec->family == FAMILY_VGG ? 5e-4 : 1e-4; }

static double scaled_rate(double rate, uint32_t batch, uint32_t reference)
{
    if (batch > reference) return rate * batch / reference;
    return batch < reference / 2 ? rate * batch / (reference / 2) : rate;
}

static bool warms_up(const struct model_spec *spec)
{
    if (is_imagenet(spec) || spec->family == FAMILY_VGG) return false;
    return spec->depth >= 110 || spec->unit == UNIT_PREACT;
}

static struct schedule cifar_schedule(const struct model_spec *spec, uint64_t iterations, uint32_t batch)
{
    struct schedule schedule = {.kind = SCHEDULE_STEPS,
                                .base = scaled_rate(spec->family == FAMILY_VGG ? 0.01 : 0.1, batch, CIFAR_BATCH),
                                .drops = {iterations / 2, iterations - iterations / 4},
                                .drop_count = 2,
                                .factor = 0.1,
                                .iterations = iterations};
    if (!warms_up(spec)) return schedule;
    schedule.warm_rate = schedule.base / 10;
    schedule.warm_steps = (iterations * 400 + CIFAR_ITERATIONS / 2) / CIFAR_ITERATIONS;
    if (spec->unit == UNIT_ORIGINAL) schedule.warm_until_error = 0.8;
    return schedule;
}

static struct schedule imagenet_schedule(const struct model_spec *spec, uint64_t iterations, uint32_t batch)
{
    bool vgg = spec->family == FAMILY_VGG;
    struct schedule schedule = {.kind = SCHEDULE_PLATEAU,
                                .base = scaled_rate(vgg ? 0.01 : 0.1, batch, IMAGENET_BATCH),
                                .factor = 0.1,
                                .patience = 3,
                                .iterations = iterations};
    if (vgg || spec->unit != UNIT_PREACT) return schedule;
    schedule.kind = SCHEDULE_STEPS;
    schedule.drops[0] = iterations / 3;
    schedule.drops[1] = iterations - iterations / 3;
    schedule.drop_count = 2;
    return schedule;
}

struct schedule schedule_for(const struct model_spec *spec, uint64_t iterations, uint32_t batch)
{
    if (iterations == 0) iterations = schedule_iterations(spec, batch);
    return is_imagenet(spec) ? imagenet_schedule(spec, iterations, batch) : cifar_schedule(spec, iterations, batch);
}

static double main_rate(const struct schedule *schedule, uint64_t step, uint32_t plateaus)
{
    const double pi = 3.14159265358979323846;
    double rate = schedule->base;
    switch (schedule->kind) {
    case SCHEDULE_CONSTANT: break;
    case SCHEDULE_STEPS:
        for (uint32_t i = 0; i < schedule->drop_count; i++)
            if (step >= schedule->drops[i]) rate *= schedule->factor;
        break;
    case SCHEDULE_PLATEAU:
        for (uint32_t i = 0; i < plateaus; i++) rate *= schedule->factor;
        break;
    case SCHEDULE_COSINE: /* arXiv:1608.03983, without restarts */
        if (step >= schedule->iterations) return 0;
        rate *= 0.5 * (1 + cos(pi * (double)step / (double)schedule->iterations));
        break;
    }
    return rate;
}

double schedule_rate(const struct schedule *schedule, uint64_t step)
{
    return step < schedule->warm_steps ? schedule->warm_rate : main_rate(schedule, step, 0);
}

struct schedule_state schedule_begin(void) { return (struct schedule_state){.train_error = 1, .best_error = 1}; }

double schedule_rate_at(const struct schedule *schedule, const struct schedule_state *state, uint64_t step)
{
    if (step < schedule->warm_steps && !state->warmed) return schedule->warm_rate;
    return main_rate(schedule, step, state->plateaus);
}

void schedule_see_step(const struct schedule *schedule, struct schedule_state *state, double train_error)
{
    /* Over about twenty batches: one lucky batch must not end the warm-up. */
    state->train_error += (train_error - state->train_error) / 20;
    if (state->train_error < schedule->warm_until_error) state->warmed = true;
}

void schedule_see_evaluation(const struct schedule *schedule, struct schedule_state *state, double top1_error)
{
    if (schedule->kind != SCHEDULE_PLATEAU) return;
    if (top1_error < state->best_error) {
        state->best_error = top1_error;
        state->stale = 0;
        return;
    }
    if (++state->stale < schedule->patience) return;
    state->stale = 0;
    state->plateaus++;
}
