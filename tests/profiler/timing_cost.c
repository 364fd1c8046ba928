#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "random.h"
#include "session.h"
#include "timing_cost.h"

/* A step of a machine that others use too: noise only ever makes it longer. */
static uint64_t noisy_ns(struct random *random, double factor)
{
    double hit = random_normal(random);
    return (uint64_t)(1e6 * factor * (1 + 0.02 * hit * hit));
}

/* How the cost is compared: 1 step of `every` is timed; of rows (every 1) `alone` in `of` are not. */
static const struct way {
    bool overlap;
    uint64_t every, of, alone;
} ways[] = {{false, 1, 32, 1}, {false, 2, 0, 0}, {false, 8, 0, 0}, {true, 1, 128, 4},
            {true, 2, 128, 4}, {true, 4, 0, 0},  {true, 8, 0, 0}};
#define WAYS (sizeof ways / sizeof ways[0])

static bool times(const struct way *way, uint64_t step)
{
    if (way->of && step % way->of >= way->of - way->alone) return false;
    return step % way->every == 0;
}

/* Timed steps take `timed` times as long; where steps overlap, the one after them `after` times. */
static struct timing_estimate measure(const struct way *way, uint64_t seed, uint64_t steps, double timed, double after)
{
    struct timing_cost cost;
    struct random random = random_begin(seed, RANDOM_SYNTHETIC, way->every, way->overlap);
    timing_cost_begin(&cost, way->overlap, way->every == 1);
    for (uint64_t step = 1; step <= steps; step++) {
        enum step_sort sort = times(way, step)                       ? STEP_TIMED
                              : way->overlap && times(way, step - 1) ? STEP_AFTER
                                                                     : STEP_PLAIN;
        double factor = sort == STEP_TIMED ? timed : sort == STEP_AFTER ? after : 1;
        timing_cost_see(&cost, sort, noisy_ns(&random, factor));
    }
    cr_assert_geq(cost.count, COST_LEAST);
    return timing_cost_estimate(&cost);
}

Test(timing_cost, is_none_where_noise_is_all_there_is)
{
    for (size_t i = 0; i < WAYS; i++) {
        double sum = 0;
        int outside = 0;
        for (uint64_t seed = 0; seed < 60; seed++) {
            struct timing_estimate e = measure(&ways[i], seed, 4096, 1, 1);
            cr_assert(e.least <= e.median && e.median <= e.most);
            sum += e.median;
            outside += e.least > 0 || e.most < 0;
        }
        cr_expect_lt(fabs(sum / 60), 0.002, "way %zu: %g", i, sum / 60);
        cr_expect_leq(outside, 8, "way %zu: %d of 60", i, outside);
    }
}

Test(timing_cost, is_what_timed_steps_take_longer)
{
    for (size_t i = 0; i < WAYS; i++) {
        /* Of rows the step after them is not counted: there are few. */
        double expected = !ways[i].overlap || ways[i].every == 1 ? 0.1 : (0.1 + 0.3) / 2;
        struct timing_estimate e = measure(&ways[i], 7, 16384, 1.1, 1.3);
        cr_expect_float_eq(e.median, expected, 0.01, "way %zu: %g", i, e.median);
        cr_expect(e.least < expected && expected < e.most, "way %zu: %g to %g", i, e.least, e.most);
        cr_expect_leq(e.most - e.least, 0.03, "way %zu", i);
    }
}

Test(timing_cost, is_known_better_with_more_steps)
{
    struct timing_estimate few = measure(&ways[2], 3, 64, 1, 1), more = measure(&ways[2], 3, 2048, 1, 1);
    cr_expect_lt(more.most - more.least, (few.most - few.least) / 2);
}

/* ---- Windows that keep to a limit ---- */

/* What a session told last. */
static struct told {
    double cost, most;
    int marks;
} told;

static void hear_metric(void *context, enum trace_metric metric, uint64_t step, double value)
{
    cr_assert(context == &told && step > 0);
    if (metric == METRIC_PROFILER_COST) told.cost = value;
}

static void hear_counter(void *context, uint32_t device, uint32_t counter, double value, uint64_t ns)
{
    cr_assert(context == &told && ns > 0);
    if (device == TRACE_OF_HOST && counter == COUNTER_COST_MOST) told.most = value / 100;
}

static void hear_mark(void *context, uint64_t ns, const char *text)
{
    cr_assert(context == &told && ns > 0);
    told.marks += strstr(text, "is timed from now on") != NULL;
}

static struct trace_sink hearing = {
    .context = &told, .metric = hear_metric, .counter = hear_counter, .mark = hear_mark};

/* A run whose steps take 1 ms, `timed` times that when they are timed; up to `in_flight` are, where none is timed. */
struct pretended {
    struct session *session;
    struct random random;
    uint64_t submitted, ended, now, in_flight;
    double noise, timed, after;
    uint64_t evaluate_every;
};

static struct pretended begin_run(uint64_t in_flight, double noise, double timed, double after)
{
    struct error err = {0};
    struct pretended run = {.in_flight = in_flight, .noise = noise, .timed = timed, .after = after, .now = 1};
    cr_assert(session_open(&hearing, &(struct session_options){.most_cost = 0.005, .overlap = in_flight > 1},
                           &run.session, &err));
    run.random = random_begin(1, RANDOM_SYNTHETIC, in_flight, 0);
    told = (struct told){.cost = NAN, .most = NAN};
    return run;
}

static bool may_join(struct trace_sink *s, const struct pretended *run)
{
    uint64_t next = run->submitted;
    if (next == run->ended) return true;
    if (run->evaluate_every && next % run->evaluate_every == 0) return false;
    return next - run->ended < run->in_flight && !s->wants_ops(s->context, next) && !s->wants_ops(s->context, next - 1);
}

/* Steps of whom so many were timed. */
static uint64_t run_steps(struct pretended *run, uint64_t count)
{
    struct trace_sink *s = session_sink(run->session);
    uint64_t timed_steps = 0;
    for (uint64_t end = run->ended + count; run->ended < end;) {
        while (may_join(s, run)) s->step_submit(s->context, run->submitted++);
        uint64_t step = run->ended++;
        bool timed = s->wants_ops(s->context, step), after = step > 0 && s->wants_ops(s->context, step - 1);
        double hit = random_normal(&run->random);
        double ns = 1e6 * (timed ? run->timed : after ? run->after : 1) * (1 + run->noise * hit * hit);
        s->step_begin(s->context, 0, step, run->now);
        run->now += (uint64_t)ns;
        s->step_end(s->context, 0, step, run->now);
        timed_steps += timed;
        if (!run->evaluate_every || run->ended % run->evaluate_every) continue;
        s->span(s->context, 0, HOST_EVALUATE, run->now, run->now + 50000000);
        run->now += 50000000;
    }
    return timed_steps;
}

Test(windows, are_all_steps_where_that_costs_nothing)
{
    struct pretended run = begin_run(1, 0.001, 1, 1);
    run_steps(&run, 20000);
    cr_expect_eq(told.marks, 0);
    cr_expect_leq(told.most, 0.005);
    cr_expect_eq(run_steps(&run, 3200), 3100);
    session_close(run.session);
}

/* What cannot be told from noise is not shown as cost, and windows are as small as it takes to say that it is below. */
Test(windows, are_fewer_where_noise_hides_what_they_cost)
{
    struct pretended run = begin_run(1, 0.05, 1, 1);
    run_steps(&run, 40000);
    cr_expect_leq(told.most, 0.005);
    cr_expect_leq(told.cost, told.most);
    uint64_t timed = run_steps(&run, 3200);
    cr_expect(timed < 3100 && timed >= 50, "%llu", (unsigned long long)timed);
    session_close(run.session);
}

/* Also what it costs to empty the device before and after a timed step. */
Test(windows, count_the_step_after_them_where_steps_overlap)
{
    struct pretended run = begin_run(3, 0.002, 1.02, 1.06);
    run_steps(&run, 20000);
    cr_expect_geq(told.marks, 1);
    cr_expect_leq(told.most, 0.005);
    uint64_t timed = run_steps(&run, 3200);
    cr_expect(timed == 200 || timed == 100, "%llu: 8 %% of a step in 16 or 32", (unsigned long long)timed);
    cr_expect_float_eq(told.cost, 0.08 * (double)timed / 3200, 0.0005, "%g", told.cost);
    session_close(run.session);
}

/* An evaluation after every eighth step falls before a timed one each time. */
Test(windows, do_not_bear_the_evaluations)
{
    struct pretended run = begin_run(1, 0.001, 1, 1);
    struct trace_sink *s = session_sink(run.session);
    s->op_table(s->context, &(struct trace_op){.id = 4999}, 1);
    run.evaluate_every = 8;
    cr_expect_eq(run_steps(&run, 3), 3);
    cr_expect_eq(run_steps(&run, 7997), 1000 - 1);
    cr_expect_eq(told.marks, 0);
    cr_expect(isnan(told.cost) || told.cost < 0.001, "%g", told.cost);
    session_close(run.session);
}

Test(windows, do_not_bear_what_somebody_asked_for)
{
    struct pretended run = begin_run(1, 0.001, 1.5, 1);
    struct trace_sink *s = session_sink(run.session);
    s->op_table(s->context, &(struct trace_op){.id = 4999}, 1);
    run.timed = 1;
    run_steps(&run, 1000);
    run.timed = 1.5;
    session_ask(run.session, 1000, 1000);
    cr_expect_eq(run_steps(&run, 1000), 1000);
    cr_expect_leq(told.most, 0.005);
    cr_expect_eq(told.marks, 0);
    session_close(run.session);
}
