#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <math.h>
#include <sys/syscall.h>

#include "mem.h"
#include "random.h"
#include "reader.h"
#include "rollup_private.h"
#include "stream.h"
#include "trace_samples.h"

static char path[SAMPLE_PATH];
static void setup(void) { sample_path(path); }
static void teardown(void) { unlink(path); }
TestSuite(trace_rollup, .init = setup, .fini = teardown);

static struct trace_writer *begin(void)
{
    struct error err = {0};
    struct trace_writer *writer = NULL;
    cr_assert(trace_writer_open(path, NULL, &writer, &err), "%s", err.text);
    return writer;
}

static struct trace_follower *end(struct trace_writer *writer)
{
    struct error err = {0};
    struct trace_follower *follower = NULL;
    uint64_t read;
    trace_writer_close(writer);
    cr_assert(trace_follow(path, &follower, &err), "%s", err.text);
    cr_assert(trace_follow_more(follower, 0, &read, &err), "%s", err.text);
    return follower;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

#define TIMES 20000
static void check_percentiles(double (*draw)(struct random *), double tolerance)
{
    static uint64_t times[TIMES];
    struct random random = random_begin(9, RANDOM_SYNTHETIC, 0, 0);
    struct trace_writer *writer = begin();
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 1);
    double sum = 0, squares = 0;
    for (int i = 0; i < TIMES; i++) {
        times[i] = (uint64_t)draw(&random);
        sink->op_time(sink->context, 0, 0, 1000, 1000 + times[i]);
        sum += (double)times[i];
        squares += (double)times[i] * (double)times[i] * 1e-18;
    }
    struct trace_follower *follower = end(writer);
    const struct rollup_op *op = &trace_follow_rollup(follower)->ops[0];
    qsort(times, TIMES, sizeof times[0], by_value);
    cr_assert_eq(op->count, TIMES);
    cr_assert_eq((double)op->total_ns, sum);
    cr_assert_float_eq(op->sum_of_squares, squares, squares * 1e-9);
    cr_assert_eq(op->least_ns, times[0]);
    cr_assert_eq(op->most_ns, times[TIMES - 1]);
    cr_assert_eq(rollup_percentile_ns(op, 0), times[0]);
    cr_assert_eq(rollup_percentile_ns(op, 1), times[TIMES - 1]);
    const double fractions[] = {0.01, 0.1, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof fractions / sizeof fractions[0]; i++) {
        double found = (double)rollup_percentile_ns(op, fractions[i]);
        double right = (double)times[(size_t)(fractions[i] * (TIMES - 1))];
        cr_assert_float_eq(found, right, right * tolerance, "p%g: %g, not %g", fractions[i] * 100, found, right);
    }
    trace_unfollow(follower);
}

static double narrow(struct random *random) { return 50000 * (1 + 0.02 * random_normal(random)); }
static double even(struct random *random) { return 1000 + 1e6 * random_real(random); }
static double long_tail(struct random *random) { return 5000 * exp(random_normal(random)); }

Test(trace_rollup, percentiles_of_a_steady_op) { check_percentiles(narrow, 0.01); }
Test(trace_rollup, percentiles_of_an_even_spread) { check_percentiles(even, 0.03); }
Test(trace_rollup, percentiles_of_a_long_tail) { check_percentiles(long_tail, 0.06); }

Test(trace_rollup, times_of_nothing_have_percentiles)
{
    struct trace_writer *writer = begin();
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 3);
    sink->op_time(sink->context, 0, 0, 1000, 1000);
    sink->op_time(sink->context, 0, 1, 1000, UINT64_MAX);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(rollup_percentile_ns(&r->ops[0], 0.5), 0);
    cr_assert_eq(rollup_percentile_ns(&r->ops[1], 0.5), UINT64_MAX - 1000);
    cr_assert_eq(rollup_percentile_ns(&r->ops[2], 0.5), 0, "never timed");
    trace_unfollow(follower);
}

Test(trace_rollup, long_runs_are_thinned_evenly)
{
    enum { steps = 250000 };
    struct trace_writer *writer = begin();
    struct trace_sink *s = trace_writer_sink(writer);
    for (uint64_t step = 0; step < steps; step++) {
        s->step_begin(s->context, 0, step, 10 * step + 1);
        s->step_end(s->context, 0, step, 10 * step + 6);
        s->metric(s->context, METRIC_LOSS, step, 1);
        if (step % 10001 == 0) s->metric(s->context, METRIC_TOP1_ERROR, step, 0.5);
        if (step % 3000 == 0) sample_catch_up(writer, 3 * step);
    }
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->dropped, 0);
    cr_assert(r->step_count >= 50000 && r->step_count <= 100000, "%zu", r->step_count);
    size_t evaluated = 0;
    for (size_t i = 0; i < r->step_count; i++) {
        if (i) cr_assert(r->steps[i].step > r->steps[i - 1].step && r->steps[i].step - r->steps[i - 1].step <= 4);
        cr_assert_eq(r->steps[i].end_ns, 10 * (r->steps[i].step - 1) + 6);
        evaluated += isnan(r->steps[i].metric[METRIC_TOP1_ERROR]) ? 0 : 1;
    }
    cr_assert_eq(evaluated, steps / 10001 + 1);
    cr_assert_eq(r->steps[r->step_count - 1].step, steps, "steps are numbered from 1");
    cr_assert_eq(rollup_steps_done(r), steps);
    trace_unfollow(follower);
}

Test(trace_rollup, wild_reports_are_dropped_and_counted)
{
    struct trace_writer *writer = begin();
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 1, 3);
    s->op_time(s->context, 64, 0, 1, 2);
    s->op_time(s->context, 0xffffffff, 0, 1, 2);
    s->op_time(s->context, 0, 0xffffffff, 1, 2);
    s->op_time(s->context, 0, 0, 9, 5);
    s->metric(s->context, (enum trace_metric)99, 0, 1);
    s->mark(s->context, 5, NULL);
    char text[3000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    s->mark(s->context, 6, text);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->dropped, 3);
    cr_assert_eq(r->lost_timestamps, 1);
    cr_assert_eq(r->mark_count, 2);
    cr_assert_str_eq(r->marks[0].text, "");
    cr_assert_eq(strlen(r->marks[1].text), sizeof r->marks[1].text - 1);
    trace_unfollow(follower);
}

Test(trace_rollup, a_resumed_run_tells_its_steps_again)
{
    struct trace_writer *writer = begin();
    struct trace_sink *s = trace_writer_sink(writer);
    s->step_begin(s->context, 0, 5, 100);
    s->step_end(s->context, 0, 5, 200);
    s->step_begin(s->context, 0, 6, 300);
    s->step_begin(s->context, 0, 5, 1000);
    s->step_end(s->context, 1, 5, 1500);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->step_count, 2);
    cr_assert_eq(r->steps[0].begin_ns, 1000);
    cr_assert_eq(r->steps[0].end_ns, 0, "it runs again");
    trace_unfollow(follower);
}

static void time_ops(struct trace_sink *s, uint32_t first, uint32_t end, uint64_t *at_ns)
{
    for (uint32_t op = first; op < end; op++, *at_ns += 100) s->op_time(s->context, 0, op, *at_ns, *at_ns + 50);
}

/* Steps of four micro-batches through ops 0 to 2, with ops 3 and 4 after them; then so many micro-batches of one more,
 * and so many of the ops after them. */
static struct trace_follower *follow_micro_batches(uint32_t steps, uint32_t more, uint32_t after)
{
    struct trace_writer *writer = begin();
    struct trace_sink *s = trace_writer_sink(writer);
    uint64_t at_ns = 1000;
    sample_tables(s, 1, 5);
    for (uint32_t step = 0; step < steps; step++) {
        for (int i = 0; i < 4; i++) time_ops(s, 0, 3, &at_ns);
        time_ops(s, 3, 5, &at_ns);
    }
    for (uint32_t i = 0; i < more; i++) time_ops(s, 0, 3, &at_ns);
    time_ops(s, 3, 3 + after, &at_ns);
    return end(writer);
}

static void check_runs(uint32_t steps, uint32_t more, uint32_t after)
{
    uint64_t timed[ROLLUP_MOST_DEVICES];
    struct trace_follower *follower = follow_micro_batches(steps, more, after);
    const struct rollup *r = trace_follow_rollup(follower);
    rollup_timed_steps(r, timed);
    cr_expect_eq(timed[0], steps, "%u steps, %u micro-batches more", steps, more);
    for (uint32_t op = 0; op < 5; op++) {
        uint64_t runs = rollup_runs_a_step(r, &r->ops[op], timed[0]);
        cr_expect_eq(runs,
                     steps == 0 ? 0
                     : op < 3   ? 4
                                : 1,
                     "%u steps, %u micro-batches more: op %u runs %u times", steps, more, op, (unsigned)runs);
    }
    trace_unfollow(follower);
}

/* Unknown until the first update has come, and then what it stays. */
Test(trace_rollup, runs_of_a_step_are_exact_from_the_first_whole_one_on)
{
    for (uint32_t steps = 0; steps <= 3; steps++) {
        for (uint32_t more = 0; more <= 4; more++) check_runs(steps, more, 0);
        check_runs(steps, 4, 1);
    }
}

static void take(struct trace_follower *follower, const struct trace_item *item)
{
    struct error err = {0};
    cr_assert(rollup_take_item(follower, item, &err), "%s", err.text);
}

static void take_run(struct trace_follower *follower, uint64_t pid, uint32_t ops)
{
    take(follower,
         &(struct trace_item){.type = TRACE_ITEM_RUN, .run = {.model = "resnet-20", .batch = 128, .pid = pid}});
    for (uint32_t i = 0; i < ops; i++)
        take(follower, &(struct trace_item){.type = TRACE_ITEM_OP, .op = {.id = i, .kind = "conv", .pass = "forward"}});
}

static void take_ops(struct trace_follower *follower, uint32_t end)
{
    for (uint32_t i = 0; i < end; i++)
        take(follower, &(struct trace_item){.type = TRACE_ITEM_EVENT,
                                            .event = {.type = TRACE_OP, .id = i, .begin_ns = 100, .end_ns = 200}});
}

/* A run that goes on from a checkpoint, in other micro-batches, begins a step. */
Test(trace_rollup, runs_of_a_step_are_those_of_the_process_that_runs)
{
    struct trace_follower *follower = calloc(1, sizeof *follower);
    cr_assert(follower);
    rollup_begin(follower, 10);
    take_run(follower, 6, 5);
    take_ops(follower, 3);
    take_ops(follower, 2);
    take_run(follower, 7, 3);
    take_ops(follower, 2);
    take_ops(follower, 3);
    const struct rollup *r = &follower->rollup;
    cr_expect_eq(r->devices[0].micro_batches, 2);
    cr_expect_eq(rollup_runs_a_step(r, &r->ops[1], 1), 2);
    cr_expect_eq(rollup_runs_a_step(r, &r->ops[2], 1), 1);
    rollup_finish(follower);
    free(follower);
}

/* A dashboard looks ten times a second: each look asks the file for bytes once, however many blocks have come. */
Test(trace_rollup, a_look_reads_the_file_once)
{
    struct error err = {0};
    struct trace_writer *writer = NULL;
    struct trace_reader *reader = NULL;
    struct trace_reader_stats stats;
    struct trace_block block;
    const uint8_t *payload;
    bool found = true;
    cr_assert(trace_writer_open(path, &(struct trace_writer_options){.seal_ms = 1}, &writer, &err), "%s", err.text);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 30);
    for (uint64_t step = 0; step < 20; step++) {
        sample_steps(sink, 0, 30, step, 1);
        usleep(3000);
    }
    trace_writer_close(writer);
    cr_assert(trace_reader_open(path, &reader, &err), "%s", err.text);
    while (found) cr_assert(trace_reader_next(reader, &block, &payload, &found, &err), "%s", err.text);
    trace_reader_stats(reader, &stats);
    cr_expect_gt(stats.blocks, 10);
    cr_expect_leq(stats.reads, 3, "%lu reads for %lu blocks", (unsigned long)stats.reads, (unsigned long)stats.blocks);
    uint64_t before = stats.reads;
    cr_assert(trace_reader_next(reader, &block, &payload, &found, &err) && !found);
    trace_reader_stats(reader, &stats);
    cr_expect_eq(stats.reads, before + 1, "once to see that nothing has come");
    trace_reader_look(reader);
    for (int search = 0; search < 3; search++)
        cr_assert(trace_reader_next(reader, &block, &payload, &found, &err) && !found);
    trace_reader_stats(reader, &stats);
    cr_expect_eq(stats.reads, before + 2, "once in a look");
    trace_reader_close(reader);
}

/* Takes the place of libc's: gives at most so many bytes at a time; 0 = all. */
static size_t most_given;
ssize_t pread(int fd, void *bytes, size_t count, off_t offset)
{
    if (most_given && count > most_given) count = most_given;
    return (ssize_t)syscall(SYS_pread64, fd, bytes, count, offset);
}

/* As network file systems do. */
Test(trace_rollup, a_file_that_comes_in_short_pieces_is_read_to_its_end)
{
    struct trace_writer *writer = begin();
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 30);
    sample_steps(sink, 0, 30, 0, 100);
    trace_writer_close(writer);
    const size_t most[] = {0, 7, 100, 4096};
    struct trace_reader_stats whole = {0}, stats;
    for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
        struct error err = {0};
        struct trace_reader *reader = NULL;
        struct trace_block block;
        const uint8_t *payload;
        most_given = most[i];
        cr_assert(trace_reader_open(path, &reader, &err), "%s", err.text);
        for (bool found = true; found;)
            cr_assert(trace_reader_next(reader, &block, &payload, &found, &err), "%s", err.text);
        trace_reader_stats(reader, &stats);
        trace_reader_close(reader);
        most_given = 0;
        if (i == 0) whole = stats;
        cr_expect_eq(stats.blocks, whole.blocks, "pieces of %zu: %llu blocks, not %llu", most[i],
                     (unsigned long long)stats.blocks, (unsigned long long)whole.blocks);
        cr_expect_eq(stats.end_offset, whole.end_offset, "pieces of %zu", most[i]);
        cr_expect_eq(stats.damaged + stats.tail_bytes, 0, "pieces of %zu", most[i]);
    }
    cr_assert_gt(whole.end_offset, 4096);
}

/* They are counted, and in no bucket; those that come later are told as they are. */
Test(trace_rollup, times_that_memory_was_short_for_move_no_percentile)
{
    struct rollup_pool pool = {0};
    struct rollup_op op = {0};
    for (uint64_t i = 0; i < 100; i++) rollup_count_time(&pool, &op, 1000 + i % 2);
    for (int i = 0; i < 300; i++) {
        pool.left = 0;
        mem_fail_at(1);
        rollup_count_time(&pool, &op, 1000000000);
        cr_assert(mem_fail_at(0));
    }
    cr_assert_eq(op.count, 400);
    cr_expect_lt(rollup_percentile_ns(&op, 0.5), 1040, "%llu", (unsigned long long)rollup_percentile_ns(&op, 0.5));
    cr_expect_eq(rollup_percentile_ns(&op, 1), 1000000000);
    static struct rollup_times times;
    rollup_times_add(&times, &op);
    rollup_times_add(&times, &op);
    uint64_t both = rollup_times_percentile_ns(&times, 0.5);
    cr_expect_lt(both, 1040, "%llu", (unsigned long long)both);
    rollup_finish_pool(&pool);
}

/* Of tens of thousands of ops each has buckets for the times that it had, not for all that it could have. */
Test(trace_rollup, an_op_has_buckets_for_its_times_alone)
{
    struct trace_writer *writer = begin();
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 3);
    for (uint64_t i = 0; i < 1000; i++) sink->op_time(sink->context, 0, 0, 1000, 1000 + 100000 + i * 10);
    for (uint64_t i = 0; i < 30; i++) sink->op_time(sink->context, 0, 1, 1000, 1000 + (UINT64_C(1) << i));
    struct trace_follower *follower = end(writer);
    const struct rollup_op *ops = trace_follow_rollup(follower)->ops;
    cr_expect_leq(ops[0].histogram.size, 8, "%u buckets for times 10 %% apart", ops[0].histogram.size);
    cr_expect_eq(ops[0].histogram.shift, 0);
    cr_expect_gt(ops[1].histogram.size, 64);
    cr_expect_leq(ops[1].histogram.size, ROLLUP_BUCKETS);
    uint64_t count = 0;
    for (size_t i = 0; i < ops[1].histogram.size; i++) count += ops[1].histogram.buckets[i];
    cr_expect_eq(count, 30, "each is in a bucket");
    cr_expect_eq(ops[2].histogram.size, 0, "never timed");
    trace_unfollow(follower);
}
