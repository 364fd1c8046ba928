/* What `fathom train` says while it runs: one line that is updated on a terminal, plain lines elsewhere. */
#ifndef FATHOM_PROGRESS_H
#define FATHOM_PROGRESS_H

#include <sys/types.h>

#include "train.h"

struct progress_line {
    bool terminal;   /* standard output is one */
    pid_t dashboard; /* it has the screen until it ends; 0 = none */
    bool line_open;  /* a line on the terminal waits to be overwritten */
    uint64_t last_ns, told_ns;
    const char *save_folder;
};

struct progress_line progress_begin(void);
/* train_run's callback; context is a struct progress_line. */
void progress_show(void *context, const struct train_status *status);
/* What devices say before the first step (struct teller): how far they are is shown as long as it takes. Any thread. */
void progress_tell(void *context, uint32_t device, const char *text, bool passing);
/* Ends an open line and the dashboard, so that what follows stands by itself. */
void progress_end(struct progress_line *progress);
/* Whether there is a terminal for the dashboard of the trace. */
bool progress_try_dashboard(const char *trace, struct error *err);
/* Starts `fathom top TRACE` on this terminal; lines go on when it is left. */
bool progress_dashboard(struct progress_line *progress, const char *trace, struct error *err);
/* results[ranks]: of each rank, the first one's first. as_planned: on devices of the plan's kind, so that predicted times
 * are of this run. */
void progress_summary(const struct plan *plan, bool as_planned, const struct train_result *results, uint32_t ranks);

/* The images that were skipped, the first ten by name; nothing when there are none. NULL = none. */
void progress_broken(const struct broken_images *broken);

#endif
