/* A replay step by step: over a gap in the steps, and where the trace is gone. */
#include <criterion/criterion.h>

#include "top_replay.h"
#include "trace_samples.h"

#define OPS 80u /* more events in a step than are read at a time */

static char path[SAMPLE_PATH], other[SAMPLE_PATH];
static struct trace_follower *follower;
static struct dashboard dashboard;
static struct top_replay replay;

/* Steps 1 to 5, and 50 to 55. */
static void write_steps(const char *to)
{
    struct error err = {0};
    struct trace_writer *writer;
    cr_assert(trace_writer_open(to, NULL, &writer, &err), "%s", err.text);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 1, OPS);
    sample_steps(s, 0, OPS, 0, 5);
    sample_steps(s, 0, OPS, 49, 6);
    trace_writer_close(writer);
}

static void setup(void)
{
    struct error err = {0};
    sample_path(path);
    sample_path(other);
    write_steps(path);
    cr_assert(trace_follow(path, &follower, &err), "%s", err.text);
    dashboard_init(&dashboard);
    top_replay_begin(&replay, 0);
}

static void teardown(void)
{
    dashboard_finish(&dashboard);
    trace_unfollow(follower);
    unlink(path);
    unlink(other);
}
TestSuite(replay, .init = setup, .fini = teardown);

/* Goes on or back and returns the step that has ended then. */
static uint64_t go(int by)
{
    struct error err = {0};
    dashboard.asks_steps = by;
    cr_assert(top_replay_step(&replay, &dashboard, &follower, path, &err), "%s", err.text);
    cr_assert_eq(dashboard.asks_steps, 0);
    return rollup_steps_done(trace_follow_rollup(follower));
}

static void go_to(uint64_t step)
{
    for (int i = 0; i < 20; i++)
        if (go(1) == step) return;
    cr_assert_fail("step %u is never reached", (unsigned)step);
}

Test(replay, goes_back_over_a_gap)
{
    go_to(54);
    for (uint64_t step = 53; step >= 50; step--) cr_expect_eq(go(-1), step);
    static const uint64_t before[] = {5, 4, 3, 2, 1, 0, 0};
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        uint64_t done = go(-1);
        cr_expect_eq(done, before[i], "%u, not %u", (unsigned)done, (unsigned)before[i]);
    }
    cr_expect_eq(go(1), 1);
    go_to(55);
    cr_expect_eq(go(1), 55, "there is no more");
    cr_expect_eq(go(-1), 54);
}

/* As a look at the file goes on, no step has begun: nothing is read for it. */
Test(replay, stands_at_its_begin)
{
    cr_expect_eq(go(-1), 0);
    cr_expect_eq(trace_follow_rollup(follower)->events, 0);
    cr_expect_str_empty(dashboard.notice);
}

Test(replay, stands_where_it_is_when_the_trace_is_gone)
{
    go_to(3);
    const struct trace_follower *kept = follower;
    unlink(path);
    cr_expect_eq(go(-1), 3);
    cr_expect_eq(follower, kept);
    cr_expect(strstr(dashboard.notice, "no step back"), "%s", dashboard.notice);
    cr_expect_eq(go(1), 4, "what is open is still there");
    dashboard.notice[0] = '\0';
    write_steps(other);
    cr_assert_eq(rename(other, path), 0);
    cr_expect_eq(go(-1), 4);
    cr_expect(strstr(dashboard.notice, "another run"), "%s", dashboard.notice);
}
