/* What the ranks of a run have alike before it begins, and bring together when it ends. `ranks` NULL: nothing is to be done. */
#ifndef FATHOM_TOGETHER_H
#define FATHOM_TOGETHER_H

#include "data.h"
#include "plan.h"
#include "ranks.h"
#include "train.h"

/* A new file with the plan, whose path comes into path; the caller unlinks it. */
#define TOGETHER_PATH 32
bool together_write_plan(const struct plan *plan, char path[TOGETHER_PATH], struct error *err);

/* Rank 0's plan to all: *plan is its own there, or NULL where it has none to give, and NULL elsewhere, where it becomes the
 * caller's. After a failure *plan is NULL everywhere. */
bool together_share_plan(struct ranks *ranks, struct plan **plan, struct error *err);
/* Takes this process's devices, once all ranks are found to have the same plan and the same command (NULL = none known). */
bool together_begin(struct ranks *ranks, const struct plan *plan, const char *command, struct error *err);

/* Images that other ranks have skipped come into rank 0's list. broken may be NULL, on all ranks. */
bool together_gather_broken(struct ranks *ranks, struct broken_images *broken, struct error *err);
/* What the run was like on each rank, into results (one for each; `own` is this one's). */
bool together_gather_results(struct ranks *ranks, const struct train_result *own, struct train_result *results,
                             struct error *err);

#endif
