/* Norms of units: as they were told, over devices; unknown where they are not; damage costs what it hits. */
#include <math.h>

#include <criterion/criterion.h>

#include "check.h"
#include "flow.h"
#include "mem.h"
#include "trace_pair.h"

#define UNITS 5
#define OPS   40

TestSuite(trace_flow, .init = pair_setup, .fini = pair_teardown);

/* The first and the last unit have no output's norm, the last no gradient. */
static void tell_units(struct trace_sink *sink, uint32_t device, uint64_t images, size_t count)
{
    struct trace_unit *units = calloc(count, sizeof *units);
    char(*layers)[32] = calloc(count, sizeof *layers);
    for (size_t i = 0; i < count; i++) {
        snprintf(layers[i], sizeof layers[i], "stage1/unit%zu", i + 1);
        units[i] = (struct trace_unit){layers[i], "", "stage1/unit1/add.output.gradient", images * 100, 64};
    }
    sink->unit_table(sink->context, device, units, count);
    free(units);
    free(layers);
}

static float told(uint32_t device, uint64_t step, size_t unit, size_t norm)
{
    if (unit == UNITS - 1 && norm != NORM_WEIGHT_GRADIENT) return NAN;
    if (norm == NORM_WEIGHT_GRADIENT) return (float)(step + 1) * 0.5f;
    return (float)(step + 1) * (device ? 4.0f : 3.0f) * (float)(unit + 1) * (norm == NORM_OUTPUT ? 1.0f : 0.001f);
}

static void tell_norms(struct trace_sink *sink, uint32_t device, uint64_t step)
{
    float norms[UNITS * TRACE_NORMS];
    for (size_t i = 0; i < UNITS * TRACE_NORMS; i++) norms[i] = told(device, step, i / TRACE_NORMS, i % TRACE_NORMS);
    sink->norms(sink->context, device, step, norms, UNITS, 1000000 * (step + 1));
}

static struct trace_writer *open_run(uint64_t most_bytes, uint32_t devices)
{
    struct error err = {0};
    struct trace_writer *writer;
    const struct trace_writer_options options = {.most_bytes = most_bytes, .seal_ms = 5};
    cr_assert(trace_writer_open(path, &options, &writer, &err), "%s", err.text);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, devices, OPS);
    for (uint32_t d = 0; d < devices; d++) tell_units(sink, d, 2 + d, UNITS);
    return writer;
}

static void write_run(uint32_t devices, uint64_t steps)
{
    struct trace_writer *writer = open_run(0, devices);
    for (uint64_t step = 0; step < steps; step += 10)
        for (uint32_t d = 0; d < devices; d++) tell_norms(trace_writer_sink(writer), d, step);
    trace_writer_close(writer);
}

static struct flow read_flow(const char *name)
{
    struct error err = {0};
    struct flow flow = {0};
    cr_assert(flow_read(name, &flow, &err), "%s", err.text);
    return flow;
}

Test(trace_flow, norms_are_those_of_all_devices)
{
    write_run(2, 30);
    struct flow flow = read_flow(path);
    cr_assert(flow.unit_count == UNITS && flow.step_count == 3 && flow.devices == 2 && flow.batch == 128);
    cr_expect_str_eq(flow.model, "resnet-20");
    cr_expect_str_eq(flow.units[2].layer, "stage1/unit3");
    cr_expect_str_eq(flow.units[2].gradient, "stage1/unit1/add.output.gradient");
    cr_expect_str_empty(flow.units[2].output);
    for (size_t s = 0; s < 3; s++) {
        cr_expect_eq(flow.steps[s].step, 10 * s + 1);
        for (size_t u = 0; u < UNITS - 1; u++) {
            double scale = (double)(10 * s + 1) * (double)(u + 1); /* 3 and 4 make 5 */
            cr_expect_float_eq(flow_norm(&flow, s, u, NORM_OUTPUT), 5 * scale, 1e-4 * scale);
            cr_expect_float_eq(flow_norm(&flow, s, u, NORM_GRADIENT), 0.005 * scale, 1e-7 * scale);
            cr_expect_float_eq(flow_norm(&flow, s, u, NORM_WEIGHT_GRADIENT), 0.5 * (double)(10 * s + 1), 1e-6,
                               "each device has the whole step's");
        }
        cr_expect(isnan(flow_norm(&flow, s, UNITS - 1, NORM_OUTPUT)), "unknown is not 0");
        cr_expect(isnan(flow_rms(&flow, s, UNITS - 1, NORM_GRADIENT)));
    }
    cr_expect_float_eq(flow_rms(&flow, 0, 0, NORM_OUTPUT), 5 / sqrt(500), 1e-5, "of 2 and 3 images of 100 numbers");
    cr_expect_float_eq(flow_rms(&flow, 0, 0, NORM_WEIGHT_GRADIENT), 0.5 / 8, 1e-6);
    struct flow_range range = flow_range(&flow, 1, NORM_GRADIENT);
    cr_expect(range.known == UNITS - 1 && range.first == 0 && range.last == UNITS - 2 && range.least == 0 &&
              range.most == UNITS - 2);
    flow_finish(&flow);
    flow_finish(&flow);
}

Test(trace_flow, a_device_that_said_nothing_leaves_sums_unknown)
{
    struct trace_writer *writer = open_run(0, 2);
    tell_norms(trace_writer_sink(writer), 1, 7);
    trace_writer_close(writer);
    struct flow flow = read_flow(path);
    cr_assert(flow.step_count == 1 && flow.steps[0].step == 8);
    cr_expect(isnan(flow_norm(&flow, 0, 0, NORM_OUTPUT)));
    cr_expect_eq(flow_norm(&flow, 0, 0, NORM_WEIGHT_GRADIENT), 4);
    flow_finish(&flow);
}

Test(trace_flow, a_trace_without_norms_has_none)
{
    struct error err = {0};
    struct trace_writer *writer;
    cr_assert(trace_writer_open(path, NULL, &writer, &err), "%s", err.text);
    sample_tables(trace_writer_sink(writer), 1, OPS);
    trace_writer_close(writer);
    struct flow flow = read_flow(path);
    cr_expect(flow.unit_count == 0 && flow.step_count == 0 && !flow.has_steps);
    flow_finish(&flow);
}

/* 333 units of three blocks, as of ResNet-1001, in a step: four bytes a number, and the table once. */
Test(trace_flow, takes_few_bytes)
{
    enum { DEEP = 335, STEPS = 100 };
    static float norms[DEEP * TRACE_NORMS];
    size_t without, with;
    struct trace_writer *writer = open_run(0, 1);
    tell_units(trace_writer_sink(writer), 0, 2, DEEP);
    trace_writer_close(writer);
    free(sample_bytes(path, &without));
    writer = open_run(0, 1);
    tell_units(trace_writer_sink(writer), 0, 2, DEEP);
    for (uint64_t i = 0; i < STEPS; i++)
        trace_writer_sink(writer)->norms(trace_writer_sink(writer)->context, 0, i, norms, DEEP, i);
    trace_writer_close(writer);
    free(sample_bytes(path, &with));
    cr_expect_leq((with - without) / STEPS, DEEP * TRACE_NORMS * 4 + 100);
}

/* What is dropped with old segments is told again, evenly thinned. */
Test(trace_flow, its_course_outlives_old_segments)
{
    enum { STEPS = 20000 };
    struct error err = {0};
    struct trace_report report;
    struct trace_writer *writer = open_run(1 << 20, 1);
    for (uint64_t step = 0; step < STEPS; step += 20) {
        tell_norms(trace_writer_sink(writer), 0, step);
        sample_steps(trace_writer_sink(writer), 0, OPS, step, 20);
        sample_catch_up(writer, (step + 20) * SAMPLE_REPORTS(OPS) + step / 20);
    }
    trace_writer_close(writer);
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert_gt(report.stats.reader.dropped_segments, 0);
    cr_expect(report.clean);
    struct flow flow = read_flow(path);
    cr_assert_gt(flow.step_count, 50);
    cr_expect_eq(flow.steps[0].step, 1);
    cr_expect_eq(flow.steps[flow.step_count - 1].step, STEPS - 19);
    for (size_t s = 1; s < flow.step_count; s++)
        cr_expect_leq(flow.steps[s].step - flow.steps[s - 1].step, STEPS / 20, "after step %lu",
                      (unsigned long)flow.steps[s - 1].step);
    cr_expect_float_eq(flow_norm(&flow, 1, 1, NORM_OUTPUT), 6 * (double)flow.steps[1].step, 1e-3);
    flow_finish(&flow);
}

/* ---- Damage ---- */

Test(trace_flow, damaged_norms_are_unknown_and_cost_nothing_else)
{
    struct error err = {0};
    write_run(1, 30);
    for (int damage = 0; damage < 2; damage++) {
        cr_assert_eq(sample_change_blocks(path, copy, TRACE_BLOCK_NORMS, damage), 3);
        struct flow flow = read_flow(copy);
        cr_expect(flow.unit_count == UNITS && flow.step_count == 0);
        flow_finish(&flow);
        cr_assert_geq(sample_change_blocks(path, copy, TRACE_BLOCK_UNITS, damage), 1);
        flow = read_flow(copy);
        cr_expect(flow.unit_count == 0 && flow.step_count == 0, "of which units they are is unknown");
        flow_finish(&flow);
        struct trace_follower *follower = sample_follow(copy, &err);
        cr_assert_not_null(follower, "%s", err.text);
        cr_expect(trace_follow_rollup(follower)->ended);
        cr_expect_eq(trace_follow_rollup(follower)->damaged_blocks > 0, damage);
        trace_unfollow(follower);
    }
}

Test(trace_flow, bad_reports_are_counted_and_kept_out)
{
    struct trace_writer *writer = open_run(0, 1);
    struct trace_sink *sink = trace_writer_sink(writer);
    float norms[TRACE_NORMS] = {1, 1, 1};
    sink->norms(sink->context, 0, 3, norms, 1, 5); /* another number of units than the table has */
    sink->norms(sink->context, 0, 3, norms, 0, 5);
    sink->norms(sink->context, TRACE_MOST_DEVICES, 3, norms, 1, 5);
    trace_writer_stop(writer);
    struct trace_writer_stats stats;
    trace_writer_stats(writer, &stats);
    trace_writer_close(writer);
    cr_expect_eq(stats.dropped, 2);
    struct flow flow = read_flow(path);
    cr_expect_eq(flow.step_count, 0);
    flow_finish(&flow);
}

Test(trace_flow, any_allocation_may_fail)
{
    write_run(2, 30);
    bool done = false;
    for (uint64_t n = 1; !done && n < 5000; n++) {
        struct error err = {0};
        struct flow flow = {0};
        mem_fail_at(n);
        done = flow_read(path, &flow, &err);
        mem_fail_at(0);
        if (!done) cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        flow_finish(&flow);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), 0);
    }
    cr_assert(done);
}
