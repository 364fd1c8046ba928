/* The part of a schedule that depends on how the run goes: plateaus, and a warm-up that ends at an error. */
#ifndef FATHOM_RATE_H
#define FATHOM_RATE_H

#include "train.h"

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
double schedule_rate_at(const struct schedule *schedule, const struct schedule_state *state, uint64_t step);
/* After each step, with the error of its batch; after each evaluation, with the top-1 error. */
void schedule_see_step(const struct schedule *schedule, struct schedule_state *state, double train_error);
void schedule_see_evaluation(const struct schedule *schedule, struct schedule_state *state, double top1_error);

#endif
