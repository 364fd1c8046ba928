/* A run that is written down in its folder while it goes: the files that the trainer does not write itself. */
#ifndef FATHOM_RUN_RECORD_H
#define FATHOM_RUN_RECORD_H

#include "backend.h"
#include "plan.h"
#include "recipe.h"
#include "train.h"

struct run_record;

/* What a run's planned_bytes are: on this host of the process, on GPUs of the fullest one. */
uint64_t run_record_planned_bytes(const struct plan *plan, const struct backend *backend, const struct train_part *part);

struct run_record_options {
    const char *folder; /* there, and claimed */
    const struct plan *plan;
    const struct backend *backend;
    const struct train_part *part; /* of this process */
    const struct recipe *recipe;   /* what the options changed, with its updates as they are (recipe_in_force.h) */
    const struct train_options *options; /* as the run will have them, its dataset open */
    const char *checkpoint; /* that it goes on from; NULL = from scratch */
    uint64_t resumed;  /* after this step */
    bool goes_on;      /* the folder has the run already; else its files are written for the first time */
};

/* Writes run.json, by which the folder has a run that can go on however this one ends, then plan.json and recipe.json, and
 * reads the log as far as the run goes on from it. The options are borrowed until the end. */
bool run_record_begin(const struct run_record_options *options, struct run_record **record, struct error *err);
/* After each step. At a test, and every ten seconds, what changed is written; what cannot be is told by the end. NULL is
 * passed over. */
void run_record_see(struct run_record *record, const struct train_status *status);
/* How it ended: failure is NULL, or why it failed. Frees it. ERROR_FAILED where a file could not be written. */
bool run_record_end(struct run_record *record, const struct train_result *result, const struct error *failure,
                    struct error *err);

#endif
