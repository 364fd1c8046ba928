/* Who looks at a trace while it is written, and what they ask of its run.
 *
 * Both are read locks (open file description locks) on bytes far behind the end of any file: they cost the run a call a few
 * times a second, change nothing in the file, need no process id, and go when their holder does. A file system without such
 * locks shows nobody. */
#ifndef FATHOM_VIEWER_H
#define FATHOM_VIEWER_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

/* What the run sees. */
struct trace_views {
    bool watched;         /* somebody looks */
    uint64_t asked_steps; /* somebody asks to record so many steps, for as long as they hold the lock; 0 = nobody */
};
/* fd: of the file that is written. */
struct trace_views trace_views_of(int fd);

/* The viewer's side. */
struct trace_viewer;
#define TRACE_VIEWER_MOST_STEPS 1000000

/* Is seen until trace_viewer_close. ERROR_FAILED where the file cannot be locked, ERROR_MEMORY. */
bool trace_viewer_open(const char *path, struct trace_viewer **viewer, struct error *err);
/* Asks the run to record its next steps, 1 to TRACE_VIEWER_MOST_STEPS; it is to be held for a second, so that the run sees
 * it. 0 takes it back. Where another viewer asks for more, that is what the run may see. ERROR_FAILED. */
bool trace_viewer_ask(struct trace_viewer *viewer, uint64_t steps, struct error *err);
/* Takes NULL. */
void trace_viewer_close(struct trace_viewer *viewer);

#endif
