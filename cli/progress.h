/* What `fathom train` says while it runs: one line that is updated on a terminal, plain lines elsewhere. */
#ifndef FATHOM_PROGRESS_H
#define FATHOM_PROGRESS_H

#include "train.h"

struct progress {
    bool terminal;  /* standard output is one */
    bool silent;    /* the dashboard has the screen */
    bool line_open; /* a line on the terminal waits to be overwritten */
    uint64_t last_ns;
    const char *save_folder;
};

struct progress progress_begin(void);
/* train_run's callback; context is a struct progress. */
void progress_show(void *context, const struct train_status *status);
/* Ends an open line, so that what follows stands by itself. */
void progress_end(struct progress *progress);
void progress_summary(const struct plan *plan, const struct train_result *result);

#endif
