/* The time of a replay: it passes at a pace that keys change, stands while the dashboard is paused, and goes step by step. */
#ifndef FATHOM_TOP_REPLAY_H
#define FATHOM_TOP_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "dashboard.h"
#include "errors.h"
#include "rollup.h"

struct top_replay {
    double at_ns;     /* into the run */
    uint64_t last_ns; /* when it was looked at last */
};

/* From now on. */
void top_replay_begin(struct top_replay *replay, uint64_t now_ns);
/* Lets time pass and takes in what has happened meanwhile; *grown: so many events. */
bool top_replay_read(struct top_replay *replay, const struct dashboard *dashboard, struct trace_follower *follower,
                     uint64_t now_ns, uint64_t *grown, struct error *err);
/* Goes the steps that a key asked for, to the end of one: on, or back, for which the trace is read from its begin and *follower
 * is another one; where it cannot be read again the dashboard's notice says so. */
bool top_replay_step(struct top_replay *replay, struct dashboard *dashboard, struct trace_follower **follower,
                     const char *path, struct error *err);

#endif
