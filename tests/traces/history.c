/* A resumed run goes on in its trace: what is there stays, what is done again counts, another run's is refused. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>

#include "check.h"
#include "clock.h"
#include "flow.h"
#include "history.h"
#include "mem.h"
#include "trace_samples.h"

static char path[SAMPLE_PATH];

static void make_path(void) { sample_path(path); }
static void remove_path(void) { unlink(path); }

TestSuite(trace_history, .init = make_path, .fini = remove_path);

#define OPS 9u

static struct trace_history *read_history(void)
{
    struct trace_history *history = NULL;
    struct error err = {0};
    cr_assert(trace_history_read(path, &history, &err), "%s", err.text);
    return history;
}

/* A step of 1 ms that begins `at`, and its metrics. */
static void tell_step(struct trace_sink *s, uint32_t ops, uint64_t step, uint64_t at)
{
    s->step_begin(s->context, 0, step, at);
    for (uint32_t i = 0; i < ops; i++)
        s->op_time(s->context, 0, i, at + 1000 * i + 10, at + 1000 * i + 900 - step * 7 % 100);
    s->step_end(s->context, 0, step, at + 990000);
    s->metric(s->context, METRIC_LOSS, step, 2.0 / (double)(step + 1));
    if (step % 10 == 0) s->mark(s->context, at, "tenth");
}

/* Writes `count` steps from `first`, which run from now on; `go_on` in the file that is there. */
static void write_part(bool go_on, uint32_t ops, uint64_t first, uint64_t count, uint64_t most_bytes)
{
    struct trace_writer *writer;
    struct error err = {0};
    struct trace_history *history = go_on ? read_history() : NULL;
    struct trace_writer_options options = {.most_bytes = most_bytes, .seal_ms = 5, .history = history, .done = first};
    cr_assert(trace_writer_open(path, &options, &writer, &err), "%s", err.text);
    trace_history_close(history);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, ops);
    uint64_t now = clock_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        tell_step(sink, ops, first + i, now + 1000000 * i);
        if (i % 20 == 19) sample_catch_up(writer, (i + 1) * (ops + 3));
    }
    trace_writer_close(writer);
}

static struct trace_follower *follow(void)
{
    struct error err = {0};
    struct trace_follower *follower = sample_follow(path, &err);
    cr_assert(follower, "%s", err.text);
    return follower;
}

static void check_clean(void)
{
    struct trace_report report;
    struct error err = {0};
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert(report.clean);
    cr_assert(report.ended);
}

Test(trace_history, a_run_goes_on_after_its_end)
{
    write_part(false, OPS, 0, 30, 0);
    write_part(true, OPS, 30, 20, 0);
    check_clean();
    struct trace_follower *follower = follow();
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert(r->ended);
    cr_assert_eq(r->step_count, 50);
    uint64_t last = 0;
    for (size_t i = 0; i < 50; i++) {
        cr_assert_eq(r->steps[i].step, i + 1);
        cr_assert_eq(r->steps[i].end_ns - r->steps[i].begin_ns, 990000);
        cr_assert_float_eq(r->steps[i].metric[METRIC_LOSS], 2.0 / (double)(i + 1), 1e-6);
        cr_assert_gt(r->steps[i].begin_ns, last, "time runs on");
        last = r->steps[i].begin_ns;
    }
    cr_assert_eq(r->op_count, OPS);
    cr_assert_eq(r->ops[0].count, 50);
    cr_assert_str_eq(r->ops[4].layer, "stage0/unit1");
    cr_assert_eq(r->unattributed, 0);
    cr_assert_eq(r->mark_count, 5);
    trace_unfollow(follower);
}

/* ---- Norms of units ---- */

static void write_norms(bool go_on, uint64_t first, uint64_t count, float norm, uint64_t most_bytes, uint32_t ops)
{
    struct trace_writer *writer;
    struct error err = {0};
    struct trace_history *history = go_on ? read_history() : NULL;
    struct trace_writer_options options = {.most_bytes = most_bytes, .seal_ms = 5, .history = history, .done = first};
    const float norms[TRACE_NORMS] = {norm, norm, norm};
    cr_assert(trace_writer_open(path, &options, &writer, &err), "%s", err.text);
    trace_history_close(history);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, OPS);
    sink->unit_table(sink->context, 0, &(struct trace_unit){"stem", "a", "b", 1, 1}, 1);
    for (uint64_t step = first; step < first + count; step++) {
        if (ops) tell_step(sink, ops, step, clock_now_ns());
        sink->norms(sink->context, 0, step, norms, 1, clock_now_ns());
        if (ops && step % 20 == 19) sample_catch_up(writer, (step - first + 1) * (ops + 4));
    }
    trace_writer_close(writer);
}

/* Steps 7 to 10 are done again, and one of them is not looked at any more. */
Test(trace_history, norms_of_steps_that_are_done_again_are_the_new_ones)
{
    struct error err = {0};
    struct flow flow = {0};
    write_norms(false, 0, 10, 1, 0, 0);
    write_norms(true, 6, 3, 2, 0, 0);
    check_clean();
    cr_assert(flow_read(path, &flow, &err), "%s", err.text);
    cr_assert_eq(flow.step_count, 9);
    for (size_t i = 0; i < 9; i++) {
        cr_expect_eq(flow.steps[i].step, i + 1);
        cr_expect_eq(flow_norm(&flow, i, 0, NORM_GRADIENT), i < 6 ? 1 : 2, "step %zu", i + 1);
    }
    flow_finish(&flow);
}

/* Resumed twice, and then so long that the first parts' segments go: their course is told again. */
Test(trace_history, norms_outlive_the_segments_of_earlier_parts)
{
    struct error err = {0};
    struct flow flow = {0};
    struct trace_report report;
    write_norms(false, 0, 10, 1, 1 << 20, OPS);
    write_norms(true, 6, 10, 2, 1 << 20, OPS);
    write_norms(true, 12, 30000, 3, 1 << 20, OPS);
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert(report.clean && report.stats.reader.dropped_segments > 0);
    cr_assert(flow_read(path, &flow, &err), "%s", err.text);
    cr_assert_eq(flow.steps[0].step, 1);
    cr_assert_eq(flow.steps[flow.step_count - 1].step, 30012);
    cr_assert_gt(flow.step_count, 20);
    for (size_t i = 0; i < flow.step_count; i++) {
        uint64_t step = flow.steps[i].step;
        cr_expect_eq(flow_norm(&flow, i, 0, NORM_OUTPUT),
                     step <= 6    ? 1
                     : step <= 12 ? 2
                                  : 3,
                     "step %lu", (unsigned long)step);
    }
    flow_finish(&flow);
}

/* Killed after step 30, resumed from the checkpoint of step 24: steps 25 to 30 are done once more. */
Test(trace_history, steps_that_are_done_again_count_once)
{
    write_part(false, OPS, 0, 30, 0);
    struct trace_history *history = read_history();
    cr_assert_eq(trace_history_steps(history), 30);
    trace_history_close(history);
    write_part(true, OPS, 24, 3, 0);
    check_clean();
    struct trace_follower *follower = follow();
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->step_count, 27, "28 to 30 are no part of the run any more");
    cr_assert_eq(rollup_steps_done(r), 27);
    for (size_t i = 1; i < 27; i++) cr_assert_gt(r->steps[i].begin_ns, r->steps[i - 1].begin_ns);
    trace_unfollow(follower);
}

Test(trace_history, what_a_killed_run_cut_off_is_removed)
{
    size_t length;
    write_part(false, OPS, 0, 30, 0);
    unsigned char *bytes = sample_bytes(path, &length);
    for (size_t cut = 1; cut < 400; cut += 57) {
        sample_write(path, bytes, length - cut);
        write_part(true, OPS, 30, 5, 0);
        check_clean();
        struct trace_follower *follower = follow();
        const struct rollup *r = trace_follow_rollup(follower);
        cr_assert_eq(rollup_steps_done(r), 35, "cut by %zu", cut);
        cr_assert_eq(r->damaged_blocks, 0);
        trace_unfollow(follower);
    }
    sample_write(path, bytes, 48); /* the file's header alone */
    write_part(true, OPS, 0, 5, 0);
    check_clean();
    free(bytes);
}

/* The disk limit holds over all parts: old segments of earlier ones are given back, and what is kept for ever stays. */
Test(trace_history, the_disk_limit_holds_over_all_parts)
{
    enum { steps = 700, limit = 256 << 10 };
    for (uint64_t part = 0; part < 3; part++) write_part(part > 0, 300, part * steps, steps, limit);
    check_clean();
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_lt(info.st_blocks * 512, 3 * limit, "%lld bytes on disk", (long long)info.st_blocks * 512);
    struct trace_follower *follower = follow();
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->step_count, 3 * steps);
    cr_assert_eq(r->damaged_blocks, 0);
    for (size_t i = 0; i < r->step_count; i += 97)
        cr_assert_float_eq(r->steps[i].metric[METRIC_LOSS], 2.0 / (double)(i + 1), 1e-6);
    cr_assert_lt(r->ops[0].count, 3 * steps, "nothing was given back");
    trace_unfollow(follower);
}

static void check_agrees(const char *model, uint32_t batch, const char *layer, size_t ops, const char *says)
{
    struct trace_history *history = read_history();
    struct trace_sink *sink = trace_history_sink(history);
    struct error err = {0};
    struct trace_op table[OPS + 1];
    static const char *const kinds[] = {"conv", "bn", "relu"};
    sink->run(sink->context,
              &(struct trace_run){model, "cifar10", "cpu", "elsewhere", "again", batch, 800, 269722, 1, 9});
    for (uint32_t i = 0; i < ops; i++)
        table[i] = (struct trace_op){i,
                                     0,
                                     i < 3 ? layer : i < 6 ? "stage0/unit1" : "stage0/unit2",
                                     kinds[i % 3],
                                     i < OPS / 2 ? "forward" : "backward",
                                     i,
                                     i,
                                     i};
    sink->op_table(sink->context, table, ops);
    bool agrees = trace_history_agrees(history, &err);
    cr_assert_eq(agrees, says == NULL, "%s", err.text);
    if (says) cr_assert(strstr(err.text, says) && strstr(err.text, path), "'%s' is not in: %s", says, err.text);
    trace_history_close(history);
}

Test(trace_history, another_runs_trace_is_refused)
{
    write_part(false, OPS, 0, 3, 0);
    check_agrees("resnet-20", 128, "stage0/unit0", OPS, NULL);
    check_agrees("resnet-32", 128, "stage0/unit0", OPS, "resnet-32");
    check_agrees("resnet-20", 64, "stage0/unit0", OPS, "batch 128");
    check_agrees("resnet-20", 128, "stem", OPS, "stem");
    check_agrees("resnet-20", 128, "stage0/unit0", OPS + 1, "ops in a step 9");
    struct trace_history *history;
    struct error err = {0};
    sample_write(path, "no trace", 8);
    cr_assert_not(trace_history_read(path, &history, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
}

Test(trace_history, every_failed_allocation_is_an_error_without_a_leak)
{
    write_part(false, OPS, 0, 3, 0);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        uint64_t before = mem_current_bytes(MEM_TRACE);
        struct trace_history *history = NULL;
        struct error err = {0};
        mem_fail_at(n);
        done = trace_history_read(path, &history, &err);
        cr_assert_neq(done, mem_fail_at(0), "allocation %d: %s", (int)n, err.text);
        cr_assert(done || err.kind == ERROR_MEMORY, "allocation %d: %s", (int)n, err.text);
        trace_history_close(history);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), before);
    }
}
