#include "top_replay.h"

#include <stdio.h>

#define EVENTS 512 /* at a time: far fewer than in the time between two looks */
#define FEW    64u /* at a time far from a step that is looked for */

static uint64_t played_ns(const struct rollup *rollup)
{
    return rollup->events ? rollup->last_ns - rollup->first_ns : 0;
}

void top_replay_begin(struct top_replay *replay, uint64_t now_ns) { *replay = (struct top_replay){.last_ns = now_ns}; }

bool top_replay_read(struct top_replay *replay, const struct dashboard *dashboard, struct trace_follower *follower,
                     uint64_t now_ns, uint64_t *grown, struct error *err)
{
    const struct rollup *rollup = trace_follow_rollup(follower);
    double passed_ns = (double)(now_ns - replay->last_ns) * dashboard->speed;
    replay->last_ns = now_ns;
    *grown = 0;
    if (dashboard->paused) return true;
    replay->at_ns += passed_ns;
    for (uint64_t read = 1; read > 0 && (double)played_ns(rollup) <= replay->at_ns; *grown += read)
        TRY(trace_follow_more(follower, EVENTS, &read, err));
    return true;
}

static uint64_t newest_step(const struct rollup *rollup)
{
    return rollup->step_count ? rollup->steps[rollup->step_count - 1].step : 0;
}

/* Until this step begins, or one after it: what the one before reports after its end is then there, too. An event begins
 * one step at most: few are read at a time where more steps than that are to come, of those that `known` has. */
static bool read_until(struct trace_follower *follower, uint64_t step, const struct rollup *known, struct error *err)
{
    const struct rollup *rollup = trace_follow_rollup(follower);
    size_t next = 0;
    for (uint64_t read = 1; read > 0 && newest_step(rollup) < step;) {
        while (next < known->step_count && known->steps[next].step <= newest_step(rollup)) next++;
        bool far = next + FEW < known->step_count && known->steps[next + FEW].step < step;
        TRY(trace_follow_more(follower, far ? FEW : 1, &read, err));
    }
    return true;
}

/* The same trace from its begin. *anew, also after a failure, is the caller's. */
static bool begin_anew(const struct trace_follower *follower, const char *path, struct trace_follower **anew,
                       struct error *err)
{
    struct error unsaid = {0}; /* it has the path, for which a header has no room */
    if (!trace_follow(path, anew, &unsaid)) return error_set(err, unsaid.kind, "the trace cannot be opened again");
    return trace_follow_same(follower, *anew) || error_set(err, ERROR_INPUT, "the file is another run's by now");
}

/* Steps are missing before the newest, in the file or because they were thinned out here. */
static bool is_after_gap(const struct rollup *rollup)
{
    const size_t count = rollup->step_count;
    return count > 1 && rollup->events > 1 && rollup->steps[count - 2].step + 1 < newest_step(rollup);
}

/* As read_until, from the begin; over a gap in the steps to the last event before it, so that it is gone back over. */
static bool read_anew(const struct trace_follower *follower, const char *path, uint64_t step,
                      struct trace_follower **anew, struct error *err)
{
    uint64_t read;
    TRY(begin_anew(follower, path, anew, err));
    TRY(read_until(*anew, step, trace_follow_rollup(follower), err));
    if (!is_after_gap(trace_follow_rollup(*anew))) return true;
    const uint64_t events = trace_follow_rollup(*anew)->events - 1;
    trace_unfollow(*anew);
    *anew = NULL;
    return begin_anew(follower, path, anew, err) && trace_follow_more(*anew, events, &read, err);
}

/* Where the trace cannot be read again the replay stays where it is. */
static void go_back(struct dashboard *dashboard, struct trace_follower **follower, const char *path, uint64_t step)
{
    struct trace_follower *anew = NULL;
    struct error why = {0};
    if (!read_anew(*follower, path, step, &anew, &why)) {
        snprintf(dashboard->notice, sizeof dashboard->notice, "no step back: %.80s", why.text);
        trace_unfollow(anew);
        return;
    }
    dashboard_forget(dashboard);
    trace_unfollow(*follower);
    *follower = anew;
}

bool top_replay_step(struct top_replay *replay, struct dashboard *dashboard, struct trace_follower **follower,
                     const char *path, struct error *err)
{
    const struct rollup *rollup = trace_follow_rollup(*follower);
    const uint64_t done = rollup_steps_done(rollup);
    const int by = dashboard->asks_steps;
    const uint64_t back = by < 0 ? (uint64_t)-by : 0;
    dashboard->asks_steps = 0;
    if (by > 0)
        TRY(read_until(*follower, done + (uint64_t)by + 1, rollup, err));
    else if (back > 0 && done > 0)
        go_back(dashboard, follower, path, done > back ? done - back + 1 : 1);
    replay->at_ns = (double)played_ns(trace_follow_rollup(*follower));
    return true;
}
