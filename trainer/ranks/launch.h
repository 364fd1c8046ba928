/* A process for each device of one machine, started by this program itself. */
#ifndef FATHOM_LAUNCH_H
#define FATHOM_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

struct launch_options {
    uint32_t ranks; /* rank r has device r of the plan */
    const char *const *arguments;      /* of the program, from its name on, NULL-terminated */
    const volatile sig_atomic_t *stop; /* a signal that asks to end: passed on to the ranks */
    uint64_t end_ns;                   /* how long the others have to end once one has; then they are killed */
};

#define LAUNCH_NONE UINT32_MAX

/* Starts this program anew as so many ranks (16 at most), which join through ranks_open, and waits for all to end. Returns
 * the exit code of the run: 0, or that of the first that failed. A rank that was killed could not tell why: then *err says
 * so, naming it, and the others were told. *silent is then the rank by which the run failed, where that could not say why
 * (it was killed, or nobody heard of it), else LAUNCH_NONE. No child outlives this process. */
int launch_run(const struct launch_options *options, uint32_t *silent, struct error *err);

#endif
