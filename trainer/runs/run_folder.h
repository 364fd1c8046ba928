/* A run's folder: everything of it in one place. Its checkpoints lie there as in any folder of them, so whatever takes one
 * (--resume, --weights, `fathom eval`) takes a run's folder. */
#ifndef FATHOM_RUN_FOLDER_H
#define FATHOM_RUN_FOLDER_H

#include "curves.h"
#include "run_facts.h"

#define RUN_FOLDER_PATH 4096

enum run_file { RUN_FILE_PLAN, RUN_FILE_RECIPE, RUN_FILE_LOG, RUN_FILE_TRACE, RUN_FILE_CURVES };

/* "FOLDER/log.jsonl"; false where it is too long. */
bool run_folder_path(const char *folder, enum run_file file, char path[RUN_FOLDER_PATH], struct error *err);

/* Whether a run may begin in the folder: it is not there, or has nothing by the names of a run's files and no checkpoint.
 * ERROR_INPUT names --run and what is there. */
bool run_folder_check_new(const char *folder, struct error *err);

/* Removes what killed writers of the run's files left there. */
void run_folder_sweep(const char *folder);

/* Whether the path is that of the folder, or of something in it. */
bool run_folder_holds(const char *folder, const char *path);

/* What can be told of a run from outside, while it runs too. */
struct run_view {
    struct run_facts facts;
    struct curves curves;
    bool killed; /* it was running and no process has its folder any more: its state is RUN_STOPPED */
};
bool run_folder_view(const char *folder, struct run_view *view, struct error *err);
/* Takes a zeroed object. */
void run_view_finish(struct run_view *view);

#endif
