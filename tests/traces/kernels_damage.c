/* Blocks of kernels, counters and spans that are damaged, and clocks that jump: what else was told stays. */
#include <criterion/criterion.h>
#include <math.h>

#include "check.h"
#include "trace_pair.h"

#define STEPS   400
#define MANY    4000 /* of several segments */
#define KERNELS 6    /* of a step, the last two the run's own */

static void report_tables(struct trace_sink *s)
{
    sample_tables(s, 1, 12);
    for (uint32_t i = 0; i < KERNELS; i++) {
        char name[16];
        snprintf(name, sizeof name, "kernel %u", i);
        s->kernel_table(s->context, &(struct trace_kernel){.id = i, .op = i < 4 ? i : TRACE_OF_RUN, .name = name}, 1);
    }
    s->counter_table(s->context, &(struct trace_counter){TRACE_FIRST_COUNTER, "power", "W"}, 1);
}

/* `jump`: from the 100th step on, all of the device's times are as much earlier, from the 200th on as they were. */
static void write_run(uint64_t most_bytes, uint64_t steps, uint64_t jump)
{
    struct error err = {0};
    struct trace_writer *writer;
    const struct trace_writer_options options = {.most_bytes = most_bytes, .seal_ms = 5};
    cr_assert(trace_writer_open(path, &options, &writer, &err), "%s", err.text);
    struct trace_sink *s = trace_writer_sink(writer);
    report_tables(s);
    for (uint64_t step = 0; step < steps; step++) {
        uint64_t at = UINT64_C(10000000000) + 1000000 * step, gone = step >= 100 && step < 200 ? jump : 0;
        struct trace_kernel_time times[KERNELS];
        for (uint32_t i = 0; i < KERNELS; i++)
            times[i] = (struct trace_kernel_time){i, i % 3, at - gone + 1000 * i, at - gone + 1000 * i + 100 + step};
        s->step_begin(s->context, 0, step, at);
        s->kernels(s->context, 0, times, KERNELS);
        s->counter(s->context, 0, TRACE_FIRST_COUNTER, 100, at);
        s->span(s->context, 0, HOST_LOAD, at, at + 10);
        s->clock_pair(s->context, 0, at, at - gone);
        s->clock_pair(s->context, TRACE_OF_HOST, at, 2 * at - gone);
        s->step_end(s->context, 0, step, at + 900000);
        if (step % (steps / 10) == 0) usleep(6000);
    }
    s->lost(s->context, 0, LOSS_TIMESTAMPS, 7, UINT64_C(11000000000));
    trace_writer_close(writer);
}

TestSuite(kernels_damage, .init = pair_setup, .fini = pair_teardown);

static struct trace_follower *follow(const char *name)
{
    struct error err = {0};
    struct trace_follower *follower = sample_follow(name, &err);
    cr_assert_not_null(follower, "%s", err.text);
    return follower;
}

static uint64_t count_kernels(const struct rollup *r)
{
    uint64_t count = 0;
    for (size_t i = 0; i < r->kernel_count; i++) count += r->kernels[i].times.count;
    return count;
}

/* What is lost is what the type tells, and nothing of the others. */
static void check_without(enum trace_block_type type, bool damage)
{
    uint64_t changed = sample_change_blocks(path, copy, type, damage);
    cr_assert_gt(changed, 0, "the file has no block of type %d", (int)type);
    struct trace_follower *follower = follow(copy);
    const struct rollup *r = trace_follow_rollup(follower);
    bool times_gone = type == TRACE_BLOCK_KERNEL_TIMES, more_gone = type == TRACE_BLOCK_MORE;
    if (damage) /* those that follow each other are one damage */
        cr_expect(r->damaged_blocks > 0 && r->damaged_blocks <= changed, "type %d: %llu of %llu", (int)type,
                  (unsigned long long)r->damaged_blocks, (unsigned long long)changed);
    else
        cr_expect_eq(r->damaged_blocks, 0);
    cr_expect_eq(r->step_count, STEPS, "type %d", (int)type);
    cr_expect(r->ended, "type %d", (int)type);
    uint64_t known = count_kernels(r);
    if (times_gone) cr_expect_eq(known + r->unattributed, 0);
    if (type == TRACE_BLOCK_KERNEL_TEMPLATE) /* times against a lost template are lost with it */
        cr_expect_leq(known + r->unattributed, STEPS * KERNELS);
    else if (!times_gone) /* those that are in no table any more are nobody's */
        cr_expect_eq(known + r->unattributed, STEPS * KERNELS, "type %d: %llu", (int)type, (unsigned long long)known);
    if (type == TRACE_BLOCK_KERNELS) cr_expect_eq(known, 2 * STEPS);
    if (type == TRACE_BLOCK_RUN_KERNELS) cr_expect_eq(known, 4 * STEPS);
    const struct rollup_counter *power =
        r->counter_count > TRACE_FIRST_COUNTER ? &r->counters[TRACE_FIRST_COUNTER] : NULL;
    cr_expect_eq(power && power->devices[0].count == STEPS, !more_gone, "type %d", (int)type);
    cr_expect_eq(power && power->name, type != TRACE_BLOCK_COUNTERS, "type %d", (int)type);
    cr_expect_eq(r->devices[0].host_ns[HOST_LOAD], more_gone ? 0 : 10 * STEPS, "type %d", (int)type);
    cr_expect_eq(r->wall.count, type == TRACE_BLOCK_CLOCKS ? 0 : STEPS, "type %d", (int)type);
    cr_expect_eq(r->lost_timestamps, more_gone ? 0 : 7, "type %d", (int)type);
    trace_unfollow(follower);
}

static const enum trace_block_type types[] = {TRACE_BLOCK_KERNELS,      TRACE_BLOCK_KERNEL_TEMPLATE,
                                              TRACE_BLOCK_KERNEL_TIMES, TRACE_BLOCK_COUNTERS,
                                              TRACE_BLOCK_MORE,         TRACE_BLOCK_RUN_KERNELS};

Test(kernels_damage, blocks_of_each_type_cost_what_they_told)
{
    write_run(0, STEPS, 0);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) check_without(types[i], true);
}

Test(kernels_damage, readers_that_know_none_of_it_pass_over)
{
    write_run(0, STEPS, 0);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) check_without(types[i], false);
}

/* The past is only taken where a block before it is missing. */
Test(kernels_damage, a_damaged_past_costs_nothing_where_all_before_it_is_there)
{
    write_run(1 << 20, MANY, 0);
    cr_assert_gt(sample_change_blocks(path, copy, TRACE_BLOCK_PAST, true), 0);
    struct trace_follower *whole = follow(path), *follower = follow(copy);
    cr_expect_eq(rollup_steps_done(trace_follow_rollup(follower)), MANY);
    cr_expect_eq(trace_follow_rollup(follower)->step_count, trace_follow_rollup(whole)->step_count);
    cr_expect_eq(count_kernels(trace_follow_rollup(follower)), count_kernels(trace_follow_rollup(whole)));
    cr_expect_gt(trace_follow_rollup(follower)->damaged_blocks, 0);
    trace_unfollow(whole);
    trace_unfollow(follower);
}

/* A GPU's clock that is set back by a second, and forth again, as the wall's is: nothing is lost, and the file is
 * whole. */
Test(kernels_damage, clocks_that_jump_lose_nothing)
{
    struct error err = {0};
    struct trace_report report;
    write_run(0, STEPS, 1000000000);
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_expect(report.clean);
    struct trace_follower *follower = follow(path);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_expect_eq(count_kernels(r), STEPS * KERNELS);
    cr_expect_eq(r->step_count, STEPS);
    for (size_t i = 0; i < r->kernel_count; i++) {
        cr_expect_eq(r->kernels[i].times.least_ns, 100);
        cr_expect_eq(r->kernels[i].times.most_ns, 100 + STEPS - 1);
    }
    cr_expect_eq(r->devices[0].clock.count, STEPS);
    cr_expect(isfinite(rollup_clock_drift(&r->wall)) || isnan(rollup_clock_drift(&r->wall)));
    trace_unfollow(follower);
}
