/* Kernels, counters, what the host did and what was lost: from the sink into a file and out of it. */
#include <criterion/criterion.h>
#include <math.h>

#include "check.h"
#include "clock.h"
#include "kernel_ids.h"
#include "mem.h"
#include "op_bounds.h"
#include "random.h"
#include "stream.h"
#include "summary.h"
#include "trace_samples.h"

static char path[SAMPLE_PATH];
static void setup(void) { sample_path(path); }
static void teardown(void) { unlink(path); }
TestSuite(trace_kernels, .init = setup, .fini = teardown);

static struct trace_writer *begin(const struct trace_writer_options *options)
{
    struct error err = {0};
    struct trace_writer *writer = NULL;
    cr_assert(trace_writer_open(path, options, &writer, &err), "%s", err.text);
    return writer;
}

static struct trace_follower *end(struct trace_writer *writer)
{
    struct error err = {0};
    trace_writer_close(writer);
    struct trace_follower *follower = sample_follow(path, &err);
    cr_assert_not_null(follower, "%s", err.text);
    return follower;
}

static const struct trace_kernel table[] = {
    {.id = 0,
     .device = 1,
     .op = 2,
     .name = "implicit_gemm",
     .grid = {80, 2, 1},
     .block = {256, 1, 1},
     .registers = 96,
     .bytes = 4096},
    {.id = 1, .device = 1, .op = 2, .name = "reduce"},
    {.id = 2, .device = 1, .op = 3, .name = "bn_sums"},
    {.id = 3, .device = 1, .op = TRACE_NO_OWNER, .name = "copy HtoD", .work = WORK_COPY, .bytes = 65536},
};

Test(trace_kernels, come_back_as_they_were)
{
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 2, 6);
    s->kernel_table(s->context, table, 4);
    const struct trace_kernel_time times[] = {{0, 7, 1000, 1100}, {3, 13, 1010, 1500}, {1, 7, 1105, 1120},
                                              {2, 7, 1125, 1200}, {0, 7, 2000, 2130},  {1, 9, 2140, 2150},
                                              {2, 7, 2160, 2200}};
    s->kernels(s->context, 1, times, 7);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->kernel_count, 5, "one of them ran on two streams");
    const struct rollup_kernel *k = r->kernels;
    cr_assert_str_eq(k[0].name, "implicit_gemm");
    cr_assert_eq(k[0].times.count, 2);
    cr_assert_eq(k[0].times.total_ns, 230);
    cr_assert_eq(k[0].stream, 7);
    cr_assert(k[0].op == 2 && k[0].grid[0] == 80 && k[0].grid[1] == 2 && k[0].block[0] == 256);
    cr_assert(k[0].registers == 96 && k[0].bytes == 4096 && k[0].work == WORK_KERNEL);
    cr_assert_str_eq(k[0].times.layer, "stage0/unit0");
    cr_assert_str_eq(k[0].times.kind, "relu");
    cr_assert_eq(k[0].times.device, 1);
    cr_assert(k[1].times.count == 1 && k[1].times.total_ns == 15 && k[1].stream == 7);
    cr_assert(k[4].times.count == 1 && k[4].times.total_ns == 10 && k[4].stream == 9 && k[4].times.id == 1);
    cr_assert_str_eq(k[4].name, "reduce");
    cr_assert(k[3].work == WORK_COPY && k[3].bytes == 65536 && k[3].stream == 13 && k[3].op == TRACE_NO_OWNER);
    cr_assert_str_eq(k[3].times.layer, "");
    cr_assert_eq(r->unattributed, 1);
    const struct rollup_op *conv = &r->ops[6 + 2], *bn = &r->ops[6 + 3];
    cr_assert(conv->device == 1 && conv->id == 2);
    cr_assert_eq(conv->count, 3, "the op of a kernel on another stream is not the one of the streams before");
    cr_assert_eq(conv->total_ns, 230 + 15 + 10);
    cr_assert(bn->count == 2 && bn->total_ns == 75 + 40);
    trace_unfollow(follower);
}

/* What the run starts itself has its place among the kernels, and is nobody's fault. */
Test(trace_kernels, that_are_the_runs_own_are_told_from_those_of_nobody)
{
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    struct trace_kernel own[] = {table[0], table[1], table[2], table[3]};
    own[1].op = own[2].op = TRACE_OF_RUN;
    own[1].registers = 40;
    sample_tables(s, 2, 6);
    s->kernel_table(s->context, own, 4);
    const struct trace_kernel_time times[] = {
        {0, 7, 1000, 1100}, {1, 7, 1110, 1150}, {2, 7, 1160, 1200}, {3, 7, 1210, 1300}};
    s->kernels(s->context, 1, times, 4);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->unattributed, 1, "the copy alone");
    cr_assert_eq(r->kernel_count, 4);
    const struct rollup_kernel *k = r->kernels;
    cr_assert(k[0].op == 2 && k[1].op == TRACE_OF_RUN && k[2].op == TRACE_OF_RUN && k[3].op == TRACE_NO_OWNER);
    cr_assert(k[1].registers == 40 && k[1].times.total_ns == 40 && k[2].times.total_ns == 40);
    cr_assert_str_eq(k[1].name, "reduce");
    cr_assert_str_eq(k[1].times.pass, TRACE_RUN_PASS);
    cr_assert_str_eq(k[1].times.layer, "");
    cr_assert_eq(r->ops[6 + 2].total_ns, 100, "no op's time has any of it");
    struct error err = {0};
    struct summary summary = {0};
    cr_assert(summary_make(r, SUMMARY_LAYER, SUMMARY_TOTAL, &summary, &err));
    const struct summary_row *run = summary_find(&summary, SUMMARY_OF_RUN);
    const struct summary_row *nobody = summary_find(&summary, SUMMARY_NO_OP);
    cr_assert(run && run->instances == 2 && run->total_ns == 80);
    cr_assert(nobody && nobody->instances == 1 && nobody->total_ns == 90);
    summary_finish(&summary);
    trace_unfollow(follower);
    struct trace_report report;
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert(report.clean && report.unattributed == 1);
}

/* Steps of two micro-batches through ops 0 and 1, with op 2 on another stream and op 3 after them; then one more
 * micro-batch. */
static struct trace_follower *follow_micro_batches(uint32_t steps, bool last_op_has_kernels)
{
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    const struct trace_kernel kernels[] = {{.id = 0, .op = 0, .name = "conv"},
                                           {.id = 1, .op = 1, .name = "wgrad"},
                                           {.id = 2, .op = 2, .name = "nccl"},
                                           {.id = 3, .op = last_op_has_kernels ? 3 : TRACE_OF_RUN, .name = "sgd"},
                                           {.id = 4, .op = TRACE_OF_RUN, .name = "copy DtoH"}};
    const uint32_t order[] = {0, 1, 0, 1, 2, 3, 4};
    uint64_t at = 1000;
    sample_tables(s, 1, 4);
    s->kernel_table(s->context, kernels, 5);
    for (uint32_t i = 0; i < steps * 7 + 2; i++, at += 100)
        s->kernels(s->context, 0, &(struct trace_kernel_time){order[i % 7], order[i % 7] == 2 ? 9 : 7, at, at + 50}, 1);
    return end(writer);
}

Test(trace_kernels, tell_how_often_an_op_runs_in_a_step)
{
    for (uint32_t steps = 1; steps <= 5; steps++) {
        struct trace_follower *follower = follow_micro_batches(steps, true);
        const struct rollup *r = trace_follow_rollup(follower);
        for (uint32_t op = 0; op < 4; op++)
            cr_expect_eq(rollup_runs_a_step(r, &r->ops[op], steps), op < 2 ? 2 : 1, "op %u, %u steps", op, steps);
        trace_unfollow(follower);
    }
}

/* Then counts do, once a step that has begun makes no difference. */
Test(trace_kernels, tell_it_without_those_of_the_last_op)
{
    for (uint32_t steps = 1; steps <= 5; steps++) {
        struct trace_follower *follower = follow_micro_batches(steps, false);
        struct rollup running = *trace_follow_rollup(follower);
        running.ended = false;
        uint64_t timed[ROLLUP_MOST_DEVICES];
        rollup_timed_steps(&running, timed);
        cr_expect_eq(timed[0], steps);
        for (uint32_t op = 0; op < 3; op++) {
            uint64_t runs = rollup_runs_a_step(&running, &running.ops[op], timed[0]), right = op < 2 ? 2 : 1;
            cr_expect(runs == right || (runs == 0 && steps < 5), "op %u, %u steps: %u", op, steps, (unsigned)runs);
        }
        trace_unfollow(follower);
    }
}

/* What is planned of an op is known of its kernel where that is the only one; what it takes at the device's peaks is
 * its bound. */
Test(trace_kernels, that_are_alone_do_the_work_of_their_op)
{
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    const struct trace_kernel own[] = {
        {.id = 0, .op = 2, .name = "alone"}, {.id = 1, .op = 3, .name = "first"}, {.id = 2, .op = 3, .name = "second"}};
    sample_tables(s, 1, 6);
    s->peaks(s->context, 0, 1e8, 4e7);
    s->kernel_table(s->context, own, 3);
    const struct trace_kernel_time times[] = {{0, 7, 1000, 1100}, {1, 7, 1110, 1150}, {2, 7, 1160, 1200}};
    s->kernels(s->context, 0, times, 3);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    struct error err = {0};
    struct summary summary = {0};
    cr_assert(summary_make(r, SUMMARY_KERNEL, SUMMARY_TOTAL, &summary, &err));
    const struct summary_row *alone = summary_find(&summary, "alone"), *first = summary_find(&summary, "first");
    cr_assert(alone && first && alone->flops == 2 && alone->bytes_moved == 2 && first->flops == 0);
    struct roofline known = roofline_of(r, alone, 100), unknown = roofline_of(r, first, 40);
    cr_expect_float_eq(known.flops_per_second, 2e7, 1);
    cr_expect_float_eq(known.bytes_per_second, 2e7, 1);
    cr_expect(known.bound == ROOFLINE_BYTES && fabs(known.share - 0.5) < 1e-9, "50 of 100 ns: %g", known.share);
    cr_expect(unknown.bound == ROOFLINE_UNKNOWN && isnan(unknown.share) && isnan(unknown.flops_per_second));
    struct rollup other = *r;
    other.devices[0].peak_bandwidth = 1e9;
    known = roofline_of(&other, alone, 100);
    cr_expect(known.bound == ROOFLINE_FLOPS && fabs(known.share - 0.2) < 1e-9, "20 of 100 ns: %g", known.share);
    other.devices[0].peak_flops = 0;
    known = roofline_of(&other, alone, 100);
    cr_expect(known.bound == ROOFLINE_UNKNOWN && isnan(known.share) && !isnan(known.flops_per_second));
    summary_finish(&summary);
    trace_unfollow(follower);
}

Test(trace_kernels, of_ops_that_are_timed_themselves_are_not_added_to_them)
{
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 2, 6);
    s->kernel_table(s->context, table, 4);
    s->op_time(s->context, 1, 2, 900, 1300);
    sample_catch_up(writer, 1);
    s->kernels(s->context, 1, (struct trace_kernel_time[]){{0, 7, 1000, 1100}, {1, 7, 1105, 1120}}, 2);
    struct trace_follower *follower = end(writer);
    const struct rollup_op *conv = &trace_follow_rollup(follower)->ops[6 + 2];
    cr_assert(conv->count == 1 && conv->total_ns == 400);
    trace_unfollow(follower);
}

Test(trace_kernels, whose_number_is_given_away_keep_their_times)
{
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 2, 6);
    s->kernel_table(s->context, table, 4);
    s->kernels(s->context, 1, (struct trace_kernel_time[]){{0, 7, 1000, 1100}, {1, 7, 1105, 1120}}, 2);
    sample_catch_up(writer, 2);
    s->kernel_table(s->context, &(struct trace_kernel){.id = 0, .device = 1, .op = 3, .name = "another"}, 1);
    s->kernel_table(s->context, &table[1], 1);
    s->kernels(s->context, 1, (struct trace_kernel_time[]){{0, 7, 2000, 2007}, {1, 7, 2105, 2120}}, 2);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->kernel_count, 5);
    cr_assert_str_eq(r->kernels[0].name, "implicit_gemm");
    cr_assert(r->kernels[0].times.count == 1 && r->kernels[0].times.total_ns == 100);
    cr_assert(r->kernels[1].times.count == 2 && r->kernels[1].times.total_ns == 30, "told again, it is the same");
    cr_assert_str_eq(r->kernels[4].name, "another");
    cr_assert(r->kernels[4].times.count == 1 && r->kernels[4].times.total_ns == 7);
    trace_unfollow(follower);
}

Test(trace_kernels, without_times_or_tables_are_counted)
{
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 2, 6);
    s->kernel_table(s->context, table, 4);
    s->kernels(s->context, 1,
               (struct trace_kernel_time[]){{0, 7, 0, 0}, {1, 7, 50, 40}, {2, 7, 60, 70}, {99, 7, 80, 90}}, 4);
    s->kernels(s->context, 64, (struct trace_kernel_time[]){{0, 7, 1, 2}}, 1);
    s->kernels(s->context, 0, (struct trace_kernel_time[]){{UINT32_MAX, 7, 1, 2}}, 1);
    s->kernel_table(s->context, &(struct trace_kernel){.id = 0, .device = 99, .name = "x"}, 1);
    s->kernels(s->context, 1, NULL, 0);
    s->lost(s->context, 1, LOSS_RECORDS, 40, 100);
    s->lost(s->context, 1, LOSS_TIMESTAMPS, 2, 100);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->lost_timestamps, 2 + 2);
    cr_assert_eq(r->lost_records, 40);
    cr_assert_eq(r->unattributed, 1, "kernel 99 is in no table");
    cr_assert_eq(r->dropped, 40 + 3, "%llu", (unsigned long long)r->dropped);
    trace_unfollow(follower);
    struct error err = {0};
    struct trace_report report;
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert(report.clean && report.ended);
    cr_assert_eq(report.events[TRACE_KERNEL], 2);
    cr_assert_eq(report.unattributed, 1);
    cr_assert_eq(report.lost[LOSS_TIMESTAMPS], 4);
    cr_assert_eq(report.lost[LOSS_RECORDS], 40);
}

Test(trace_kernels, more_than_may_wait_are_dropped_and_counted)
{
    enum { most = 1 << 20 };
    struct trace_kernel_time *times = calloc(most, sizeof *times);
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    for (uint32_t i = 0; i < most; i++) times[i] = (struct trace_kernel_time){i % 4, 1, 10 + 10ull * i, 15 + 10ull * i};
    s->kernel_table(s->context, table, 4);
    s->kernels(s->context, 1, times, most);
    s->kernels(s->context, 1, times, 1000);
    free(times);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->dropped, most);
    cr_assert_eq(r->kernels[0].times.count + r->kernels[1].times.count + r->kernels[2].times.count +
                     r->kernels[3].times.count,
                 1000);
    trace_unfollow(follower);
    cr_assert_eq(mem_current_bytes(MEM_TRACE), 0);
}

Test(trace_kernels, counters_and_what_the_host_did_come_back)
{
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 2, 6);
    s->counter_table(s->context, (struct trace_counter[]){{0, "memory of the process", "bytes"}, {5, "power", "W"}}, 2);
    s->counter_table(s->context, &(struct trace_counter){256, "too many", "x"}, 1);
    s->counter(s->context, TRACE_OF_HOST, 0, 5e9, 1000);
    s->counter(s->context, TRACE_OF_HOST, 0, 4e9, 2000);
    s->counter(s->context, 1, 5, 0, 1500);
    s->counter(s->context, 1, 5, 250.5, 2500);
    s->counter(s->context, 1, 256, 1, 2500);
    s->span(s->context, 1, HOST_LOAD, 1000, 1400);
    s->span(s->context, 1, HOST_LOAD, 2000, 2100);
    s->span(s->context, 0, HOST_EVALUATE, 2000, 7000);
    s->span(s->context, 0, HOST_EVALUATE, 7, 5);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->counter_count, 6);
    cr_assert_str_eq(r->counters[0].name, "memory of the process");
    cr_assert_str_eq(r->counters[0].unit, "bytes");
    cr_assert_null(r->counters[1].name, "no such counter");
    const struct rollup_value *host = &r->counters[0].host, *power = &r->counters[5].devices[1];
    cr_assert(host->count == 2 && host->least == 4e9 && host->most == 5e9 && host->last == 4e9 &&
              host->last_ns == 2000);
    cr_assert(power->count == 2 && power->least == 0 && power->sum == 250.5);
    cr_assert_eq(r->counters[5].devices[0].count, 0, "never read is not zero");
    cr_assert_eq(r->counters[5].host.count, 0);
    cr_assert_eq(r->devices[1].host_ns[HOST_LOAD], 500);
    cr_assert_eq(r->devices[0].host_ns[HOST_EVALUATE], 5000);
    cr_assert_eq(r->dropped, 2);
    trace_unfollow(follower);
}

/* ---- As many as a ResNet-1001 starts: 5,000 a step on three streams of a replayed graph ---- */

#define KERNELS 5000
#define STREAMS 3

struct replayed {
    struct random random;
    uint64_t at[STREAMS];
    uint32_t usual[KERNELS];
};

static void make_replayed(struct replayed *replayed, struct trace_sink *sink)
{
    replayed->random = random_begin(5, RANDOM_SYNTHETIC, 5, 0);
    struct kernel_ids *ids = kernel_ids_create(sink);
    for (uint32_t i = 0; i < KERNELS; i++) {
        char name[64];
        uint32_t id;
        replayed->usual[i] = 2000 + random_below(&replayed->random, 12000);
        snprintf(name, sizeof name, "void kernel_%u<float, %u>(args)", i % 40, i % 7);
        cr_assert(kernel_ids_find(ids, &(struct trace_kernel){.op = i / 2, .name = name}, i, &id));
        cr_assert_eq(id, i);
        cr_assert(kernel_ids_find(ids, &(struct trace_kernel){.op = i / 2, .name = name}, i, &id));
        cr_assert_eq(id, i, "the same again");
    }
    kernel_ids_destroy(ids);
}

/* Most run on one stream, every tenth on the second, every hundredth on the third; in the order in which they end. */
static uint32_t stream_of(uint32_t id) { return id % 100 == 50 ? 2 : id % 10 == 3 ? 1 : 0; }

static void run_step(struct replayed *replayed, uint64_t step, struct trace_kernel_time times[KERNELS])
{
    for (int i = 0; i < STREAMS; i++) replayed->at[i] = (step + 1) * 45000000;
    for (uint32_t i = 0; i < KERNELS; i++) {
        uint32_t stream = stream_of(i);
        uint64_t ahead = stream ? replayed->at[0] : 0, at = replayed->at[stream] > ahead ? replayed->at[stream] : ahead;
        uint64_t begin = at + 900 + random_below(&replayed->random, 120);
        uint64_t end = begin + (uint64_t)(replayed->usual[i] * (1 + 0.03 * random_normal(&replayed->random)));
        replayed->at[stream] = end;
        times[i] = (struct trace_kernel_time){i, stream * 6 + 7, begin, end};
    }
}

Test(trace_kernels, take_four_bytes_on_three_streams)
{
    enum { steps = 60 };
    static struct replayed replayed;
    static struct trace_kernel_time times[KERNELS];
    static uint64_t total[KERNELS];
    struct trace_writer *writer = begin(&(struct trace_writer_options){.seal_ms = 20});
    struct trace_sink *sink = trace_writer_sink(writer);
    make_replayed(&replayed, sink);
    struct trace_writer_stats stats;
    for (uint64_t step = 0; step < steps; step++) {
        run_step(&replayed, step, times);
        sink->kernels(sink->context, 0, times, KERNELS / 2);
        sink->kernels(sink->context, 0, times + KERNELS / 2, KERNELS - KERNELS / 2);
        for (uint32_t i = 0; i < KERNELS; i++) total[i] += times[i].end_ns - times[i].begin_ns;
        sample_catch_up(writer, (step + 1) * KERNELS);
    }
    trace_writer_stop(writer);
    trace_writer_stats(writer, &stats);
    cr_assert_eq(stats.events, (uint64_t)steps * KERNELS);
    double each = (double)stats.bytes / ((double)steps * KERNELS);
    cr_assert_leq(each, 4.0 + 0.75 /* blocks sealed after every step of 20 ms, and tables for 60 steps alone */,
                  "%.2f bytes", each);
    struct trace_follower *follower = end(writer);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->kernel_count, KERNELS);
    for (uint32_t i = 0; i < KERNELS; i++) {
        cr_assert(r->kernels[i].times.count == steps && r->kernels[i].times.total_ns == total[i]);
        cr_assert_eq(r->kernels[i].stream, stream_of(i) * 6 + 7);
    }
    trace_unfollow(follower);
}

/* ---- Many at once ---- */

/* Kernels of ops, of nobody, of the run, of no table and on streams of their own, in any order. */
static void write_mixture(void)
{
    enum { kernels = 40 };
    struct random random = random_begin(9, RANDOM_SYNTHETIC, 1, 0);
    struct trace_kernel_time times[700];
    struct trace_writer *writer = begin(NULL);
    struct trace_sink *s = trace_writer_sink(writer);
    uint64_t at = 1000000;
    sample_tables(s, 2, 20);
    for (uint32_t i = 0; i < 2 * kernels; i++) {
        uint32_t op = i % 9 == 4 ? TRACE_NO_OWNER : i % 9 == 7 ? TRACE_OF_RUN : i % 20;
        const struct trace_kernel kernel = {.id = i / 2, .device = i % 2, .op = op, .name = "k", .work = i % 3 == 2};
        s->kernel_table(s->context, &kernel, 1);
    }
    for (uint64_t step = 0; step < 20; step++) {
        s->step_begin(s->context, 0, step, at);
        for (uint32_t i = 0; i < 700; i++) {
            uint64_t begin_ns = at += random_below(&random, 3000), ns = 1u << random_below(&random, 20);
            times[i] = (struct trace_kernel_time){random_below(&random, kernels + 2), random_below(&random, 3),
                                                  begin_ns, begin_ns + ns};
        }
        s->kernels(s->context, (uint32_t)(step % 2), times, 700);
        s->step_end(s->context, 0, step, at += 1u << 20);
    }
    trace_writer_close(writer);
}

static struct trace_follower *follow_by(uint64_t most)
{
    struct error err = {0};
    struct trace_follower *follower;
    uint64_t read;
    cr_assert(trace_follow(path, &follower, &err), "%s", err.text);
    do cr_assert(trace_follow_more(follower, most, &read, &err), "%s", err.text);
    while (read > 0);
    return follower;
}

static bool same_times(const struct rollup_op *a, const struct rollup_op *b)
{
    return a->count == b->count && a->total_ns == b->total_ns && a->least_ns == b->least_ns &&
           a->most_ns == b->most_ns && a->last_ns == b->last_ns && a->sum_of_squares == b->sum_of_squares &&
           a->histogram.from == b->histogram.from && a->histogram.shift == b->histogram.shift &&
           a->histogram.size == b->histogram.size &&
           memcmp(a->histogram.buckets, b->histogram.buckets, a->histogram.size * sizeof(uint32_t)) == 0;
}

Test(trace_kernels, are_the_same_in_bulk_and_one_by_one)
{
    write_mixture();
    struct trace_follower *followers[] = {follow_by(1), follow_by(0), follow_by(37)};
    const struct rollup *one = trace_follow_rollup(followers[0]);
    cr_assert(one->events > 14000 && one->unattributed > 1000 && one->kernel_count > 100);
    for (int i = 1; i < 3; i++) {
        const struct rollup *r = trace_follow_rollup(followers[i]);
        cr_expect(r->events == one->events && r->unattributed == one->unattributed);
        cr_expect(r->first_ns == one->first_ns && r->last_ns == one->last_ns);
        cr_assert(r->kernel_count == one->kernel_count && r->op_count == one->op_count);
        for (size_t k = 0; k < one->kernel_count; k++)
            cr_assert(same_times(&r->kernels[k].times, &one->kernels[k].times) &&
                          r->kernels[k].stream == one->kernels[k].stream,
                      "kernel %zu", k);
        for (size_t k = 0; k < one->op_count; k++) cr_assert(same_times(&r->ops[k], &one->ops[k]), "op %zu", k);
    }
    for (int i = 0; i < 3; i++) trace_unfollow(followers[i]);
}
