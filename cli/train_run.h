/* `fathom train --run DIR`: a run that has a folder of its own, with all of its files (run_folder.h). */
#ifndef FATHOM_CLI_TRAIN_RUN_H
#define FATHOM_CLI_TRAIN_RUN_H

#include "run_record.h"
#include "train_command.h"

/* The folder that --run names, or --resume where that is a run's folder: checkpoints, log and trace go there then. */
bool train_run_choose(struct train_command *c, struct error *err);
/* Once it is known from what the run goes on: whether that is the folder's own run. One that has saved no checkpoint
 * begins again. */
void train_run_settle(struct train_command *c);
/* Once the folder is claimed: whether a run that does not go on there may begin there. What killed writers left is removed,
 * and traces of another number of devices are put aside. */
bool train_run_claimed(struct train_command *c, const struct plan *plan, struct error *err);
/* Writes what is known before the first step, run.json before all other files of the run: c->record, which stays NULL
 * without a folder, and for ranks but the first. */
bool train_run_begin(struct train_command *c, const struct plan *plan, struct error *err);
/* Writes how it ended; of a run that did not come to its first step *result is zeroed. */
bool train_run_end(struct train_command *c, const struct train_result *result, bool ok, struct error *err);

#endif
