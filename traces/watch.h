/* Whether the run that writes a trace is still there: by its process, where that can be seen, and by how long nothing has
 * come. */
#ifndef FATHOM_WATCH_H
#define FATHOM_WATCH_H

#include "rollup.h"

struct trace_watch {
    const char *path; /* borrowed */
    double silent;    /* seconds since the file last grew, when it was last seen to */
    uint64_t news_ns; /* when that was */
    bool looked;      /* what is there at the first look is no news */
    bool was_gone;    /* the process, when it was last asked for */
    bool gone;        /* before the last look, which brought nothing and so has seen all there will be */
};

/* Of the trace as a file: a run that died yesterday is not live. */
void trace_watch_begin(struct trace_watch *watch, const char *path, uint64_t now_ns);
/* After reading on, which brought `grown` bytes. */
void trace_watch_see(struct trace_watch *watch, const struct rollup *rollup, uint64_t grown, uint64_t now_ns);
/* Seconds since the trace last grew. */
double trace_watch_silence(const struct trace_watch *watch, uint64_t now_ns);
/* The run is gone and has not closed its trace. Believed only when nothing has come for a while: of older traces the
 * host's name alone is known, which containers share that do not see each other. Of the last look. */
bool trace_watch_crashed(const struct trace_watch *watch, const struct rollup *rollup, uint64_t now_ns);

/* Whether the run's process could be seen from here and is gone: to be asked before reading, so that what it wrote before it went
 * is seen. */
bool trace_process_is_gone(const struct rollup *rollup);

/* When the last event of a trace happened, in seconds since 1970; 0 = unknown. */
double trace_last_moment(const struct rollup *rollup);

#endif
