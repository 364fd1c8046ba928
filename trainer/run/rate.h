/* The learning rate over a run: the papers' schedules, and what depends on how the run goes (plateaus, and a warm-up that
 * ends at an error). */
#ifndef FATHOM_RATE_H
#define FATHOM_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "recipe.h"

#define SCHEDULE_MOST_DROPS RECIPE_MOST_DROPS

struct schedule {
    enum schedule_kind kind;
    double base;                          /* learning rate */
    double warm_rate;                     /* used before warm_steps (CIFAR, depth >= 110: 0.01 for 400 steps) */
    uint64_t warm_steps;
    double warm_until_error;              /* > 0: or until training error is below this (arXiv:1512.03385, 4.2) */
    uint64_t drops[SCHEDULE_MOST_DROPS];  /* steps at which the rate is multiplied by factor */
    uint32_t drop_count;
    double factor;                        /* 0.1 */
    uint32_t patience;                    /* plateau: evaluations without a better error */
    uint64_t iterations;                  /* cosine: the step at which the rate reaches 0 */
};

/* A recipe's schedule, scaled to `iterations` (0 = the recipe's own number) and to another batch. */
struct schedule schedule_for(const struct recipe *recipe, uint64_t iterations, uint32_t batch);
/* Saved in checkpoints, so that a resumed run goes on with the same rates. */
struct schedule_state {
    bool warmed;        /* the warm-up ended early */
    double train_error; /* running mean of the batches' errors, 0..1 */
    double best_error;  /* plateau: the best evaluation's top-1 error so far */
    uint32_t stale;     /* plateau: evaluations since then */
    uint32_t plateaus;  /* plateau: drops taken */
    bool waiting;       /* plateau: a stop came before the evaluation that was due: it is the next thing to do */
};

struct schedule_state schedule_begin(void);
/* What is wanted otherwise than the recipe has it. */
struct schedule_change {
    const char *kind;    /* paper (the recipe's), constant, cosine, plateau, or steps after which the rate falls: 320,480;
                          * NULL = paper */
    double base;         /* NAN = as it is */
    uint64_t warm_steps; /* UINT64_MAX = as it is */
};
/* ERROR_INPUT names --schedule. */
bool schedule_change(struct schedule *schedule, const struct schedule_change *change, struct error *err);
/* The rate of a step, from 0. */
double schedule_rate_at(const struct schedule *schedule, const struct schedule_state *state, uint64_t step);
/* Whether that rate is not known before the error of the step before it. */
bool schedule_follows_error(const struct schedule *schedule, const struct schedule_state *state, uint64_t step);
/* After each step, with the error of its batch; after each evaluation, with the top-1 error; one that is
 * NAN says nothing of progress, and changes nothing. */
void schedule_see_step(const struct schedule *schedule, struct schedule_state *state, double train_error);
void schedule_see_evaluation(const struct schedule *schedule, struct schedule_state *state, double top1_error);

#endif
