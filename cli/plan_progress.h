/* What `fathom plan` says while it searches for seconds: one line that is updated on a terminal, plain lines elsewhere,
 * always on standard error. */
#ifndef FATHOM_PLAN_PROGRESS_H
#define FATHOM_PLAN_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan_progress {
    bool terminal, open; /* open: a line on the terminal waits to be overwritten */
    bool silent;         /* another line tells of it: Ctrl-C is still heard */
    uint64_t start_ns, last_ns;
    uint32_t shares;     /* planned so far */
    uint32_t done, most; /* plans of a known number; 0 = unknown */
};

/* From here on the first Ctrl-C ends planning before its next memory layout, or the process where that takes longer than a
 * second; a second one does what it does everywhere. */
struct plan_progress plan_progress_begin(void);
/* A request's watch; context is a struct plan_progress. */
bool plan_progress_watch(void *context);
/* frontier_find's progress. */
bool plan_progress_part(void *context, uint32_t done, uint32_t most);
/* plan_engines_build's. */
void plan_progress_built(void *context, size_t done, size_t all);
/* The line is gone from the terminal, and no request that was made before ends the process any more: false where one was. */
bool plan_progress_end(struct plan_progress *progress);

#endif
