/* The runs of a sweep: what is done, what is to do, and doing it, one after the other, each a process of its own. */
#ifndef FATHOM_SWEEP_RUN_H
#define FATHOM_SWEEP_RUN_H

#include <signal.h>

#include "run_folder.h"
#include "sweep_file.h"

enum sweep_state { SWEEP_NEW, SWEEP_BEGUN, SWEEP_FINISHED, SWEEP_DIVERGED, SWEEP_FAILED };

/* One run: a row with a seed. */
struct sweep_job {
    size_t row;
    uint64_t seed;
    char folder[RUN_FOLDER_PATH];
    struct sweep_words words; /* its command, from "train" on, without where the images and the run's folder are */
    char *command;            /* the same as its run.json has it, as far as that: whoever makes the words fills it in */
    enum sweep_state state;
    struct run_view view; /* zeroed where it is new */
};

struct sweep_jobs {
    struct sweep_job *jobs;
    size_t count;
};

/* All rows with the first seed, then with the second, and so on: what there is can be compared early. more: words that each
 * command has besides. */
bool sweep_jobs_make(const struct sweep *sweep, const char *folder, const char *const *more, size_t more_count,
                     struct sweep_jobs *jobs, struct error *err);
/* Looks at the job's folder. ERROR_INPUT where it has a run by another command. */
bool sweep_job_look(struct sweep_job *job, struct error *err);
/* Takes a zeroed object. */
void sweep_jobs_finish(struct sweep_jobs *jobs);

const char *sweep_state_name(enum sweep_state state);

struct sweep_running {
    const char *data;                  /* --data; NULL = the file says it */
    const volatile sig_atomic_t *stop; /* asked to end: so is the run, which writes a checkpoint */
    bool quiet;                        /* what runs say goes to standard error */
};
/* Begins the job, or goes on with it, waits for its end, and looks again. False only where no process can be started or
 * its folder cannot be read; how the run ended is in the job. */
bool sweep_job_run(struct sweep_job *job, const struct sweep_running *how, struct error *err);

#endif
