#include <time.h>
/* Where the time of steps goes, and whether it is more than before. */
#include <criterion/criterion.h>
#include <math.h>

#include "compare.h"
#include "mem.h"
#include "random.h"
#include "trace_pair.h"

TestSuite(trace_steps, .init = pair_setup, .fini = pair_teardown);

static struct trace_writer *begin(const char *name)
{
    struct error err = {0};
    struct trace_writer *writer = NULL;
    cr_assert(trace_writer_open(name, NULL, &writer, &err), "%s", err.text);
    return writer;
}

static struct step_times read_times(const char *name, enum summary_by by, uint64_t first, uint64_t last)
{
    struct error err = {0};
    struct step_times times = {0};
    cr_assert(step_times_read(name, by, (struct step_range){first, last}, &times, &err), "%s", err.text);
    return times;
}

static const struct trace_kernel kernels[] = {
    {.id = 0, .op = 0, .name = "gemm"},
    {.id = 1, .op = 1, .name = "bn"},
    {.id = 2, .op = TRACE_NO_OWNER, .name = "copy", .work = WORK_COPY},
    {.id = 3, .op = 5, .name = "gemm"},
};

/* A step that loads from 1000 to 1100 and runs from 1120 to 2000:
 * kernels 1200-1400, 1350-1500 on another stream, 1600-1800; copy 1480-1550; launching 1100-1250 and 1790-1830. */
static void tell_step(struct trace_sink *s, uint64_t step)
{
    uint64_t at = 10000 * step;
    s->span(s->context, 0, HOST_LOAD, at + 1000, at + 1100);
    s->span(s->context, 0, HOST_LAUNCH, at + 1100, at + 1250);
    s->step_begin(s->context, 0, step, at + 1120);
    const struct trace_kernel_time times[] = {{0, 7, at + 1200, at + 1400},
                                              {1, 9, at + 1350, at + 1500},
                                              {2, 11, at + 1480, at + 1550},
                                              {3, 7, at + 1600, at + 1800}};
    s->kernels(s->context, 0, times, 4);
    s->span(s->context, 0, HOST_LAUNCH, at + 1790, at + 1830);
    s->span(s->context, 0, HOST_WAIT, at + 1850, at + 2000);
    s->step_end(s->context, 0, step, at + 2000);
}

static void write_steps(uint64_t count)
{
    struct trace_writer *writer = begin(path);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 1, 60);
    s->kernel_table(s->context, kernels, 4);
    for (uint64_t step = 0; step < count; step++) tell_step(s, step);
    trace_writer_close(writer);
}

Test(trace_steps, every_nanosecond_is_one_part)
{
    write_steps(3);
    struct step_times times = read_times(path, SUMMARY_KERNEL, 0, 0);
    cr_assert(times.step_count == 3 && times.timed_steps == 3);
    for (size_t i = 0; i < 3; i++) {
        const struct step_times_step *step = &times.steps[i];
        double sum = 0;
        for (int part = 0; part < STEP_PARTS; part++) sum += step->part_ns[part];
        cr_assert_eq(step->number, i + 1);
        cr_assert_eq(step->ns, 1000, "%g", step->ns);
        cr_assert_eq(sum, step->ns);
        cr_assert_eq(step->part_ns[PART_DATA], 100);
        cr_assert_eq(step->part_ns[PART_KERNELS], 300 + 200);
        cr_assert_eq(step->part_ns[PART_COPY], 50);
        cr_assert_eq(step->part_ns[PART_LAUNCH], 100 + 30, "%g", step->part_ns[PART_LAUNCH]);
        cr_assert_eq(step->part_ns[PART_DEPENDENCY], 50);
        cr_assert_eq(step->part_ns[PART_SYNC], 170);
    }
    cr_assert(times.from_ns == 1120 && times.to_ns == 22000);
    step_times_finish(&times);
}

/* A reader that follows has the same as one that reads the whole file, of all that has settled. */
Test(trace_steps, parts_of_the_last_steps_are_those_of_the_whole_file)
{
    struct error err = {0};
    for (uint64_t count = 1; count <= 200; count += 199) {
        write_steps(count);
        struct step_times times = read_times(path, SUMMARY_KERNEL, 0, 0);
        struct trace_follower *follower = sample_follow(path, &err);
        const struct rollup_parts *parts = &trace_follow_rollup(follower)->parts;
        cr_assert_eq(parts->steps, count < ROLLUP_LAST ? count : ROLLUP_LAST);
        cr_assert_eq(parts->ns, 1000);
        for (int part = 0; part < STEP_PARTS; part++)
            cr_assert_eq(parts->part_ns[part], times.steps[0].part_ns[part], "%s: %g",
                         step_part_name((enum step_part)part), parts->part_ns[part]);
        trace_unfollow(follower);
        step_times_finish(&times);
    }
}

Test(trace_steps, a_step_that_may_have_more_to_come_is_not_divided)
{
    struct error err = {0};
    struct trace_writer *writer = begin(path);
    struct trace_sink *s = trace_writer_sink(writer);
    struct trace_follower *follower;
    uint64_t read, all = 0;
    sample_tables(s, 1, 60);
    s->kernel_table(s->context, kernels, 4);
    for (uint64_t step = 0; step < 3; step++) tell_step(s, step);
    cr_assert(trace_follow(path, &follower, &err), "%s", err.text);
    for (int look = 0; look < 6000 && all < 3 * 10; look++, all += read) {
        cr_assert(trace_follow_more(follower, 0, &read, &err), "%s", err.text);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    cr_assert_geq(all, 3 * 10);
    cr_assert_eq(trace_follow_rollup(follower)->parts.steps, 0);
    trace_writer_close(writer);
    do cr_assert(trace_follow_more(follower, 0, &read, &err), "%s", err.text);
    while (read > 0);
    cr_assert_eq(trace_follow_rollup(follower)->parts.steps, 3);
    trace_unfollow(follower);
}

static double group_ns(enum summary_by by, const char *name)
{
    struct step_times times = read_times(path, by, 2, 3);
    const struct step_times_group *group = step_times_find(&times, name);
    double ns = group ? group->step_ns[0] : -1;
    if (group) cr_assert_eq(group->step_ns[1], ns);
    cr_assert_eq(times.step_count, 2);
    step_times_finish(&times);
    return ns;
}

Test(trace_steps, groups_have_their_kernels)
{
    write_steps(3);
    cr_assert_eq(group_ns(SUMMARY_KERNEL, "gemm"), 400);
    cr_assert_eq(group_ns(SUMMARY_KERNEL, "copy"), 70);
    cr_assert_eq(group_ns(SUMMARY_STREAM, "device 0 stream 7"), 400);
    cr_assert_eq(group_ns(SUMMARY_STREAM, "device 0 stream 11"), 70);
    cr_assert_eq(group_ns(SUMMARY_LAYER, "stage0/unit0"), 350);
    cr_assert_eq(group_ns(SUMMARY_LAYER, "stage0/unit1"), 200);
    cr_assert_eq(group_ns(SUMMARY_UNIT, "stage0"), 550);
    cr_assert_eq(group_ns(SUMMARY_STAGE, "stage0"), 550);
    cr_assert_eq(group_ns(SUMMARY_PASS, "forward"), 550);
    cr_assert_eq(group_ns(SUMMARY_KIND, "conv"), 200);
    cr_assert_eq(group_ns(SUMMARY_STAGE, SUMMARY_NO_OP), 70);
    cr_assert_eq(group_ns(SUMMARY_STAGE, "stage1"), -1);
    struct error err = {0};
    struct trace_follower *follower = sample_follow(path, &err);
    const size_t rows[] = {[SUMMARY_OP] = 4,   [SUMMARY_LAYER] = 3, [SUMMARY_KIND] = 4,   [SUMMARY_PASS] = 2,
                           [SUMMARY_UNIT] = 2, [SUMMARY_STAGE] = 2, [SUMMARY_KERNEL] = 3, [SUMMARY_STREAM] = 3};
    for (int by = SUMMARY_OP; by <= SUMMARY_STREAM; by++) {
        struct summary summary = {0};
        cr_assert(summary_make(trace_follow_rollup(follower), (enum summary_by)by, SUMMARY_TOTAL, &summary, &err));
        cr_assert_eq(summary.count, rows[by], "by %d: %zu rows", by, summary.count);
        cr_assert_eq(summary.total_ns, 3 * 620);
        summary_finish(&summary);
    }
    trace_unfollow(follower);
}

Test(trace_steps, a_range_is_of_these_steps_alone)
{
    char file[SAMPLE_PATH], word[2 * SAMPLE_PATH];
    struct step_range range;
    struct error err = {0};
    write_steps(6);
    const struct {
        const char *word;
        uint64_t first, last;
    } good[] = {{"", 0, 0}, {"@3", 3, 3}, {"@2-4", 2, 4}, {"@5-", 5, 0}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(word, sizeof word, "%s%s", path, good[i].word);
        cr_assert(step_range_parse(word, file, sizeof file, &range, &err), "%s", err.text);
        cr_assert_str_eq(file, path);
        cr_assert(range.first == good[i].first && range.last == good[i].last);
    }
    static const char *const bad[] = {"@", "@0", "@x", "@4-2", "@1-2-3", "@-3", "@3 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(word, sizeof word, "%s%s", path, bad[i]);
        cr_assert_not(step_range_parse(word, file, sizeof file, &range, &err), "%s", word);
        cr_assert_eq(err.kind, ERROR_INPUT);
    }
    struct step_times times = read_times(path, SUMMARY_OP, 2, 4);
    cr_assert(times.timed_steps == 3 && times.steps[0].number == 2 && times.steps[2].number == 4);
    struct trace_follower *follower;
    uint64_t read;
    cr_assert(trace_follow(path, &follower, &err));
    trace_follow_window(follower, times.from_ns, times.to_ns);
    cr_assert(trace_follow_more(follower, 0, &read, &err));
    cr_assert_eq(trace_follow_rollup(follower)->kernels[0].times.count, 3);
    struct summary_steps steps;
    cr_assert(summary_time_steps(trace_follow_rollup(follower), &steps, &err));
    cr_assert_eq(steps.count, 3);
    trace_unfollow(follower);
    step_times_finish(&times);
    times = read_times(path, SUMMARY_OP, 90, 0);
    cr_assert(times.step_count == 0 && times.to_ns == 0);
    step_times_finish(&times);
}

/* ---- Before and after ---- */

#define OPS 30
/* 40 steps of 30 ops of 10 us, 1 % of noise; op `slow` takes `factor` as long; op 7 varies by 30 %. */
static void write_run(const char *name, uint32_t seed, uint32_t slow, double factor)
{
    struct random random = random_begin(seed, RANDOM_SYNTHETIC, 9, 0);
    struct trace_writer *writer = begin(name);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 1, OPS);
    for (uint64_t step = 0; step < 40; step++) {
        uint64_t at = 1000000 * (step + 1);
        s->step_begin(s->context, 0, step, at);
        for (uint32_t i = 0; i < OPS; i++) {
            double noise = 1 + (i == 7 ? 0.3 : 0.01) * random_normal(&random);
            uint64_t end = at + (uint64_t)(10000 * (noise > 0.1 ? noise : 0.1) * (i == slow ? factor : 1));
            s->op_time(s->context, 0, i, at, end);
            at = end;
        }
        s->step_end(s->context, 0, step, at);
    }
    trace_writer_close(writer);
}

static void compare(double gate, struct comparison *comparison, struct step_times sides[2])
{
    struct error err = {0};
    sides[0] = read_times(path, SUMMARY_OP, 0, 0);
    sides[1] = read_times(copy, SUMMARY_OP, 0, 0);
    *comparison = (struct comparison){0};
    cr_assert(comparison_make(&sides[0], &sides[1], gate, comparison, &err), "%s", err.text);
}

static void end_comparison(struct comparison *comparison, struct step_times sides[2])
{
    comparison_finish(comparison);
    step_times_finish(&sides[0]);
    step_times_finish(&sides[1]);
}

Test(trace_steps, like_runs_are_not_slower)
{
    struct comparison comparison;
    struct step_times sides[2];
    write_run(path, 1, OPS, 1);
    for (uint32_t seed = 2; seed < 8; seed++) {
        write_run(copy, seed, OPS, 1);
        compare(0, &comparison, sides);
        cr_assert_not(comparison.slower, "seed %u: noise is taken for a change", (unsigned)seed);
        cr_assert_eq(comparison.count, OPS / 3 * 3);
        end_comparison(&comparison, sides);
    }
}

Test(trace_steps, what_became_slower_is_found)
{
    struct comparison comparison;
    struct step_times sides[2];
    write_run(path, 1, OPS, 1);
    write_run(copy, 2, 12, 1.2);
    compare(0.05, &comparison, sides);
    cr_assert(comparison.slower);
    cr_assert_not(comparison.step.slower, "0.7 %% of the step");
    for (size_t i = 0; i < comparison.count; i++) {
        const struct comparison_row *row = &comparison.rows[i];
        bool slow = strcmp(row->name, "stage0/unit4 conv") == 0;
        cr_assert_eq(row->slower, slow, "%s: %g to %g, noise %g", row->name, row->before_ns, row->after_ns,
                     row->noise_ns);
        if (slow) cr_assert_float_eq(row->after_ns / row->before_ns, 1.2, 0.01);
    }
    end_comparison(&comparison, sides);
    compare(0.25, &comparison, sides);
    cr_assert_not(comparison.slower, "the gate is wider");
    end_comparison(&comparison, sides);
    compare(-0.01, &comparison, sides);
    cr_assert_not(comparison.slower, "there is no gate");
    end_comparison(&comparison, sides);
}

Test(trace_steps, reading_survives_any_failed_allocation)
{
    write_steps(2);
    uint64_t before = mem_current_bytes(MEM_TRACE);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct step_times times = {0};
        struct comparison comparison = {0};
        struct error err = {0};
        mem_fail_at(n);
        done = step_times_read(path, SUMMARY_LAYER, (struct step_range){0, 0}, &times, &err);
        done = done && comparison_make(&times, &times, 0, &comparison, &err);
        mem_fail_at(0);
        if (!done) cr_assert_eq(err.kind, ERROR_MEMORY, "allocation %d: %s", (int)n, err.text);
        comparison_finish(&comparison);
        step_times_finish(&times);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), before, "allocation %d leaks", (int)n);
    }
}

/* ---- What GPUs did meanwhile ---- */

static void tell_gpu(struct trace_sink *sink, uint32_t counter, double value, uint64_t ns)
{
    sink->counter(sink->context, 0, counter, value, ns);
}

/* Steps of 1 ms, the first at 1 ms; the clock falls in the sixth, held back by the power cap. */
Test(trace_steps, clocks_are_those_of_the_range)
{
    struct trace_writer *writer = begin(path);
    struct trace_sink *sink = trace_writer_sink(writer);
    const struct trace_counter table[] = {{COUNTER_GPU_CLOCK, "SM clock", "Hz"},
                                          {COUNTER_GPU_THROTTLED, "held back by", "bits"}};
    sample_tables(sink, 1, 12);
    sink->counter_table(sink->context, table, 2);
    sample_steps(sink, 0, 12, 0, 8);
    for (uint64_t i = 0; i < 8; i++) {
        tell_gpu(sink, COUNTER_GPU_CLOCK, i < 5 ? 1.98e9 : 1.2e9, 1000000 * (i + 1) + 500000);
        tell_gpu(sink, COUNTER_GPU_THROTTLED, i < 5 ? 0 : 4, 1000000 * (i + 1) + 500000);
    }
    sink->counter(sink->context, TRACE_OF_HOST, COUNTER_GPU_CLOCK, 1, 2500000);
    trace_writer_close(writer);
    struct step_times fast = read_times(path, SUMMARY_OP, 1, 5), mixed = read_times(path, SUMMARY_OP, 5, 6);
    cr_expect(fast.gpus.clock_hz == 1.98e9 && fast.gpus.held_part == 0 && fast.gpus.held_bits == 0);
    cr_expect_float_eq(mixed.gpus.clock_hz, 1.59e9, 1);
    cr_expect(mixed.gpus.held_part == 0.5 && mixed.gpus.held_bits == 4);
    step_times_finish(&fast);
    step_times_finish(&mixed);
    write_run(copy, 1, OPS, 1);
    struct step_times unknown = read_times(copy, SUMMARY_OP, 0, 0);
    cr_expect(isnan(unknown.gpus.clock_hz) && isnan(unknown.gpus.held_part), "unknown is not 0");
    step_times_finish(&unknown);
}

Test(trace_steps, of_few_steps_the_noise_is_unknown)
{
    struct comparison comparison = {0};
    struct error err = {0};
    write_run(path, 1, OPS, 1);
    struct step_times sides[2] = {read_times(path, SUMMARY_OP, 1, 2), read_times(path, SUMMARY_OP, 3, 6)};
    cr_assert(comparison_make(&sides[0], &sides[1], 0, &comparison, &err), "%s", err.text);
    cr_expect(isnan(comparison.step.noise_ns) && isnan(comparison.rows[0].noise_ns));
    cr_expect_not(comparison.slower);
    end_comparison(&comparison, sides);
}
