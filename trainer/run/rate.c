#include "rate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

/* The rate grows with the batch (arXiv:1706.02677); the authors' own release trained CIFAR nets at half the batch with
 * the same rate, so that it shrinks below half only. */
static double scaled_rate(double rate, uint32_t batch, uint64_t reference)
{
    if (batch > reference) return rate * batch / (double)reference;
    return batch < reference / 2 ? rate * batch / (double)(reference / 2) : rate;
}

/* What is at `part` of `whole` stands there in a run of any length; to the nearest step. */
static uint64_t scaled_step(uint64_t iterations, uint64_t part, uint64_t whole)
{
    return iterations / whole * part + (iterations % whole * part + whole / 2) / whole;
}

static void add_warm_up(const struct recipe *recipe, struct schedule *schedule)
{
    if (recipe->warm_up_iterations == 0) return;
    schedule->warm_rate = schedule->base * (recipe->warm_up_rate / recipe->learning_rate);
    schedule->warm_steps =
        scaled_step(schedule->iterations, recipe->warm_up_iterations, recipe_steps(recipe, recipe->batch));
    schedule->warm_until_error = recipe->warm_up_until_error;
}

struct schedule schedule_for(const struct recipe *recipe, uint64_t iterations, uint32_t batch)
{
    if (iterations == 0) iterations = recipe_steps(recipe, batch);
    struct schedule schedule = {.kind = recipe->schedule,
                                .base = scaled_rate(recipe->learning_rate, batch, recipe->batch),
                                .factor = recipe->drop_factor,
                                .patience = (uint32_t)recipe->patience,
                                .iterations = iterations,
                                .drop_count = recipe->drop_count};
    add_warm_up(recipe, &schedule);
    for (uint32_t i = 0; i < recipe->drop_count; i++)
        schedule.drops[i] =
            scaled_step(iterations, recipe->drops[i], recipe->iterations ? recipe->iterations : recipe->epochs);
    return schedule;
}

/* "320,480": steps after which the rate falls. */
static bool parse_drops(const char *text, struct schedule *schedule, struct error *err)
{
    char part[UNITS_TEXT];
    schedule->kind = SCHEDULE_STEPS;
    schedule->drop_count = 0;
    for (const char *from = text;; from += strcspn(from, ",") + 1) {
        size_t length = strcspn(from, ",");
        if (schedule->drop_count == SCHEDULE_MOST_DROPS || length == 0 || length >= sizeof part)
            return error_set(err, ERROR_INPUT,
                             "--schedule: '%s' is not paper, constant, cosine, plateau or up to %d steps like 320,480",
                             text, SCHEDULE_MOST_DROPS);
        snprintf(part, sizeof part, "%.*s", (int)length, from);
        uint64_t step;
        if (!units_parse_count(part, "--schedule", 1, UINT64_MAX / 2, &step, NULL))
            return error_set(err, ERROR_INPUT,
                             "--schedule: '%s' is not paper, constant, cosine, plateau or steps like 320,480", text);
        if (schedule->drop_count > 0 && step <= schedule->drops[schedule->drop_count - 1])
            return error_set(err, ERROR_INPUT,
                             "--schedule: '%s' has %s after %" PRIu64 "; each step must be later than the one before",
                             text, part, schedule->drops[schedule->drop_count - 1]);
        schedule->drops[schedule->drop_count++] = step;
        if (!from[length]) return true;
    }
}

static bool change_kind(const char *text, struct schedule *schedule, struct error *err)
{
    if (!text || strcmp(text, "paper") == 0) return true;
    if (strcmp(text, "constant") == 0)
        schedule->kind = SCHEDULE_CONSTANT;
    else if (strcmp(text, "cosine") == 0)
        schedule->kind = SCHEDULE_COSINE;
    else if (strcmp(text, "plateau") == 0) {
        schedule->kind = SCHEDULE_PLATEAU;
        schedule->patience = 3;
    } else
        return parse_drops(text, schedule, err);
    return true;
}

bool schedule_change(struct schedule *schedule, const struct schedule_change *change, struct error *err)
{
    TRY(change_kind(change->kind, schedule, err));
    double warm_share = schedule->warm_rate > 0 ? schedule->warm_rate / schedule->base : 0.1;
    if (!isnan(change->base)) schedule->base = change->base;
    if (change->warm_steps != UINT64_MAX) {
        schedule->warm_steps = change->warm_steps;
        schedule->warm_until_error = 0;
    }
    if (schedule->warm_steps > 0) schedule->warm_rate = schedule->base * warm_share;
    return true;
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

struct schedule_state schedule_begin(void) { return (struct schedule_state){.train_error = 1, .best_error = 1}; }

double schedule_rate_at(const struct schedule *schedule, const struct schedule_state *state, uint64_t step)
{
    if (step < schedule->warm_steps && !state->warmed) return schedule->warm_rate;
    return main_rate(schedule, step, state->plateaus);
}

bool schedule_follows_error(const struct schedule *schedule, const struct schedule_state *state, uint64_t step)
{
    return step < schedule->warm_steps && !state->warmed && schedule->warm_until_error > 0;
}

void schedule_see_step(const struct schedule *schedule, struct schedule_state *state, double train_error)
{
    /* Over about twenty batches: one lucky batch must not end the warm-up. */
    state->train_error += (train_error - state->train_error) / 20;
    if (state->train_error < schedule->warm_until_error) state->warmed = true;
}

void schedule_see_evaluation(const struct schedule *schedule, struct schedule_state *state, double top1_error)
{
    if (schedule->kind != SCHEDULE_PLATEAU || !isfinite(top1_error)) return;
    if (top1_error < state->best_error) {
        state->best_error = top1_error;
        state->stale = 0;
        return;
    }
    if (++state->stale < schedule->patience) return;
    state->stale = 0;
    state->plateaus++;
}
