/* Whether a trace is whole: every block read, every sum checked, every event decoded. */
#ifndef FATHOM_CHECK_H
#define FATHOM_CHECK_H

#include "stream.h"

struct trace_report {
    struct trace_stream_stats stats;
    uint64_t events[TRACE_EVENT_TYPES]; /* by enum trace_event_type */
    uint64_t unattributed;              /* ops that are in no op table, kernels that no op owns */
    uint64_t disordered;                /* ops that begin before their device's last one began by more than a second */
    uint64_t lost[TRACE_LOSSES];        /* by enum trace_loss */
    bool ended;                         /* closed by the run; else it was killed or still runs */
    bool clean;                         /* nothing is damaged, malformed, undecoded or cut off */
};

/* True when the file could be read, clean or not. ERROR_INPUT when it is missing or not a trace. */
bool trace_check(const char *path, struct trace_report *report, struct error *err);

#endif
