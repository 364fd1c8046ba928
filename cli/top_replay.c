#include "top_replay.h"

#define EVENTS 512 /* at a time: far fewer than in the time between two looks */
#define FEW    64  /* at a time far from a step that is looked for: of as many steps at most */

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

/* Until the step after this one begins: what a step reports after its end is then there, too. */
static bool read_step(struct trace_follower *follower, uint64_t step, struct error *err)
{
    const struct rollup *rollup = trace_follow_rollup(follower);
    for (uint64_t read = 1; read > 0 && newest_step(rollup) <= step;)
        TRY(trace_follow_more(follower, newest_step(rollup) + FEW < step ? FEW : 1, &read, err));
    return true;
}

static bool begin_anew(struct dashboard *dashboard, struct trace_follower **follower, const char *path,
                       struct error *err)
{
    struct trace_follower *other;
    TRY(trace_follow(path, &other, err));
    dashboard_forget(dashboard);
    trace_unfollow(*follower);
    *follower = other;
    return true;
}

bool top_replay_step(struct top_replay *replay, struct dashboard *dashboard, struct trace_follower **follower,
                     const char *path, struct error *err)
{
    const uint64_t done = rollup_steps_done(trace_follow_rollup(*follower));
    const int by = dashboard->asks_steps;
    const uint64_t back = by < 0 ? (uint64_t)-by : 0;
    const uint64_t step = by > 0 ? done + (uint64_t)by : done > back ? done - back : 0;
    dashboard->asks_steps = 0;
    if (step < done) TRY(begin_anew(dashboard, follower, path, err));
    TRY(read_step(*follower, step, err));
    replay->at_ns = (double)played_ns(trace_follow_rollup(*follower));
    return true;
}
