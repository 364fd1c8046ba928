/* A run of several processes that is begun again when it has failed: how often, from what, and with which of its devices. What
 * is done then, its caller does; what follows from what is decided here. */
#ifndef FATHOM_RESTARTS_H
#define FATHOM_RESTARTS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "plan.h"

struct restarts_options {
    const char *folder; /* where the run keeps its checkpoints; NULL = it keeps none */
    uint64_t most;      /* how often it is begun again */
    const volatile sig_atomic_t *stop; /* not 0: somebody wants an end */
};

/* One more beginning. All borrowed. */
struct restart {
    const struct plan *before, *plan; /* of the attempt that has failed, and of the next: the same, or one for fewer devices */
    const bool *gone;                 /* of `before`, which devices are given up */
    uint32_t given_up;                /* the one that is for its silence, not for being no more; LAUNCH_NONE = none */
    const char *checkpoint;           /* the run's last; NULL = it has written none, and begins where it began */
    uint64_t left;                    /* how often it may be begun again after this */
};

struct restarts_calls {
    void *context;
    /* A rank for each of the plan's devices, to the end; `checkpoint` as above. The exit code, *silent and *err are
     * launch_run's. */
    int (*attempt)(void *context, const struct plan *plan, const char *checkpoint, uint32_t *silent, struct error *err);
    /* Marks the devices that are no more; gone comes as zeros. */
    void (*look)(void *context, const struct plan *plan, bool *gone);
    /* A plan for those that are left, the caller's to end; NULL with *err where there is none. */
    struct plan *(*replan)(void *context, const struct plan *plan, const bool *gone, struct error *err);
    void (*say_failed)(void *context, const struct error *cause); /* of an attempt after which the run may go on */
    void (*say_again)(void *context, const struct restart *restart);
};

/* Attempts until one ends well, a command or file is wrong (exit code 2), --restarts are used up or an end is wanted. A rank that
 * twice ends without a word before a further step was saved is given up; so is a device that is no more at once. Returns the
 * last attempt's exit code, with its error, or why the run could not go on. */
int restarts_run(const struct plan *plan, const struct restarts_options *options, const struct restarts_calls *calls,
                 struct error *err);

#endif
