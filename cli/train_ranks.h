/* `fathom train` as several processes: joining them, starting them, and who says what went wrong. */
#ifndef FATHOM_TRAIN_RANKS_H
#define FATHOM_TRAIN_RANKS_H

#include "train_command.h"

/* What the process that starts ranks hands to them beside the command: a plan's file, a checkpoint. */
#define TRAIN_RANKS_PLAN   "FATHOM_RANKS_PLAN"
#define TRAIN_RANKS_RESUME "FATHOM_RANKS_RESUME"
/* Set where the run was begun before: what its folder has is its own. */
#define TRAIN_RANKS_AGAIN "FATHOM_RANKS_AGAIN"

/* Where the run keeps its checkpoints: --save, or a --resume that is a folder; NULL = nowhere. Borrowed. */
const char *train_ranks_folder(const struct train_command *c);
/* Whether what the options say of processes goes together. */
bool train_ranks_check(const struct train_command *c, struct error *err);
/* The same of a process that starts no others. */
bool train_ranks_check_alone(const struct train_command *c, struct error *err);
/* Joins the ranks of the run, where this process is one: mpirun, srun or fathom itself has started it. Ranks but the first
 * say nothing from here on. */
bool train_ranks_open(struct train_command *c, struct error *err);
/* The plan: rank 0's, where a model is named, as searches that are limited by time may end with different ones. */
struct plan *train_ranks_plan(struct train_command *c, struct error *err);
/* Whether this process is to start one for each of the plan's devices. */
bool train_ranks_starts(const struct train_command *c, const struct plan *plan);
/* Starts them, and again as --restarts says (restarts.h). Returns the exit code. */
int train_ranks_start(struct train_command *c, const struct plan *plan, int argc, char **argv, struct error *err);

/* Ends this process's part: of a run that failed one rank alone keeps its *err. Returns the exit code. */
int train_ranks_finish(struct train_command *c, bool ok, struct error *err);
/* The last thing that a process does whose run has failed: ends the others, where the launcher would not. */
void train_ranks_end(int code);

#endif
