#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "trace_samples.h"

static char path[SAMPLE_PATH];

static void setup(void) { sample_path(path); }
static void teardown(void) { unlink(path); }
TestSuite(trace_writer, .init = setup, .fini = teardown);

static struct trace_follower *follow_all(void)
{
    struct error err = {0};
    struct trace_follower *follower = sample_follow(path, &err);
    cr_assert(follower, "%s", err.text);
    return follower;
}

/* One step of two ops, with something of everything. */
static void report_a_step(void)
{
    struct error err = {0};
    struct trace_writer *writer;
    cr_assert(trace_writer_open(path, NULL, &writer, &err), "%s", err.text);
    struct trace_sink *s = trace_writer_sink(writer);
    s->run(s->context,
           &(struct trace_run){"resnet-20", "cifar10", "cpu", "host", "fathom train x", 128, 400, 269722, 2, 4711});
    const char *classes[] = {"weight", "activation"};
    uint64_t class_bytes[] = {1000, 2000};
    s->device(s->context, &(struct trace_device){1, "cpu:1", 1u << 30, 5000, 4000, 64, classes, class_bytes, 2});
    struct trace_op ops[] = {{0, 1, "stem/conv", "conv", "forward", 10, 20, 30},
                             {1, 1, "stem/conv", "conv_bwd_data", "backward", 11, 21, 31}};
    s->op_table(s->context, ops, 2);
    s->step_begin(s->context, 0, 7, 1000);
    s->op_time(s->context, 1, 0, 1100, 1200);
    s->op_time(s->context, 1, 1, 1250, 1600);
    s->op_time(s->context, 1, 0, 1700, 2000);
    s->op_time(s->context, 1, 9, 1700, 2000);
    s->op_time(s->context, 1, 0, 0, 0);
    s->step_end(s->context, 0, 7, 3000);
    s->metric(s->context, METRIC_LOSS, 7, 2.25);
    s->memory(s->context, 1, SAMPLE_PROCESS, 777, 3000);
    s->memory(s->context, 1, SAMPLE_PROCESS, 555, 3100);
    s->gap(s->context, 1, GAP_DATA, 3000, 3400);
    s->mark(s->context, 3500, "checkpoint step 8");
    trace_writer_close(writer);
}

Test(trace_writer, tells_back_what_was_reported)
{
    report_a_step();
    struct trace_follower *follower = follow_all();
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert(r->has_run && r->ended);
    cr_assert_str_eq(r->model, "resnet-20");
    cr_assert_str_eq(r->command, "fathom train x");
    cr_assert_eq(r->parameters, 269722);
    cr_assert_eq(r->pid, 4711);
    cr_assert_eq(r->device_count, 2);
    cr_assert_str_eq(r->devices[1].name, "cpu:1");
    cr_assert_str_eq(r->devices[1].class_names[1], "activation");
    cr_assert_eq(r->devices[1].class_bytes[1], 2000);
    cr_assert_eq(r->op_count, 2);
    cr_assert_str_eq(r->ops[1].layer, "stem/conv");
    cr_assert_str_eq(r->ops[1].pass, "backward");
    cr_assert_eq(r->ops[0].count, 2);
    cr_assert_eq(r->ops[0].total_ns, 400);
    cr_assert_eq(r->ops[0].least_ns, 100);
    cr_assert_eq(r->ops[0].most_ns, 300);
    cr_assert_eq(r->ops[1].last_ns, 350);
    cr_assert_eq(r->unattributed, 1);
    cr_assert_eq(r->lost_timestamps, 1);
    cr_assert_eq(r->step_count, 1);
    cr_assert_eq(r->steps[0].begin_ns, 1000);
    cr_assert_eq(r->steps[0].end_ns, 3000);
    cr_assert_eq(r->steps[0].metric[METRIC_LOSS], 2.25f);
    cr_assert(isnan(r->steps[0].metric[METRIC_TOP1_ERROR]));
    cr_assert_eq(r->devices[1].used_bytes[SAMPLE_PROCESS], 555);
    cr_assert_eq(r->devices[1].peak_bytes[SAMPLE_PROCESS], 777);
    cr_assert_not(r->devices[1].used_known[SAMPLE_DEVICE]);
    cr_assert_eq(r->devices[1].gap_ns[GAP_DATA], 400);
    cr_assert_eq(r->mark_count, 1);
    cr_assert_str_eq(r->marks[0].text, "checkpoint step 8");
    cr_assert_eq(r->dropped, 0);
    cr_assert_eq(r->damaged_blocks, 0);
    trace_unfollow(follower);
}

Test(trace_writer, does_not_replace_other_files)
{
    FILE *file = fopen(path, "w");
    fputs("{\"plan\": 1}", file);
    fclose(file);
    struct error err = {0};
    struct trace_writer *writer = NULL;
    cr_assert_not(trace_writer_open(path, NULL, &writer, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert_null(writer);
    cr_assert_eq(access(path, F_OK), 0);
    struct trace_follower *follower;
    cr_assert_not(trace_follow(path, &follower, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
}

Test(trace_writer, statistics_are_final_after_stopping)
{
    struct error err = {0};
    struct trace_writer *writer;
    cr_assert(trace_writer_open(path, NULL, &writer, &err), "%s", err.text);
    struct trace_sink *s = trace_writer_sink(writer);
    for (uint64_t i = 0; i < 100; i++) s->metric(s->context, METRIC_LOSS, i, 1);
    s->mark(s->context, 1, "last");
    trace_writer_stop(writer);
    struct trace_writer_stats stats;
    trace_writer_stats(writer, &stats);
    cr_assert_eq(stats.events, 101);
    cr_assert_eq(stats.dropped, 0);
    cr_assert_geq(stats.blocks, 2);
    cr_assert_gt(stats.cpu_ns, 0);
    s->mark(s->context, 2, "too late");
    trace_writer_stop(writer);
    trace_writer_close(writer);
    trace_writer_close(NULL);
    struct trace_follower *follower = follow_all();
    cr_assert_eq(trace_follow_rollup(follower)->mark_count, 1);
    trace_unfollow(follower);
}
