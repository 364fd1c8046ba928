#include <criterion/criterion.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "mem.h"
#include "process.h"
#include "random.h"
#include "session.h"

/* A sink that counts what arrives. */
static struct counted {
    int runs, devices, tables, begins, ends, launches, launched, ops, gaps, marks, costs;
    int kernel_tables, kernels, spans, losses;
    _Atomic int counter_tables, counters, own_tables, cpu_readings, memory_readings;
    _Atomic int samples;
    double cost, recorded_until;
    _Atomic uint64_t bytes, most_bytes;
    char mark[256];
} counted;

static void count_run(void *c, const struct trace_run *run) { ((struct counted *)c)->runs += run != NULL; }
static void count_device(void *c, const struct trace_device *d) { ((struct counted *)c)->devices += d != NULL; }
static void count_table(void *c, const struct trace_op *ops, size_t n)
{
    ((struct counted *)c)->tables += ops && n == 3;
}
static void count_begin(void *c, uint32_t device, uint64_t step, uint64_t ns)
{
    ((struct counted *)c)->begins += device + step + ns > 0;
}
static void count_end(void *c, uint32_t device, uint64_t step, uint64_t ns)
{
    ((struct counted *)c)->ends += device + step + ns > 0;
}
static void count_op(void *c, uint32_t device, uint32_t id, uint64_t begin, uint64_t end)
{
    ((struct counted *)c)->ops += device == 1 && id == 2 && begin == 3 && end == 4;
}
static void count_metric(void *c, enum trace_metric metric, uint64_t step, double value)
{
    struct counted *counts = c;
    if (metric != METRIC_PROFILER_COST || step == 0) return;
    counts->costs++;
    counts->cost = value;
}
static void count_memory(void *c, uint32_t device, enum trace_sample kind, uint64_t bytes, uint64_t ns)
{
    struct counted *counts = c;
    if (device != 0 || kind != SAMPLE_PROCESS || ns == 0) return;
    atomic_fetch_add(&counts->samples, 1);
    atomic_store(&counts->bytes, bytes);
    if (bytes > counts->most_bytes) counts->most_bytes = bytes;
}
static void count_gap(void *c, uint32_t device, enum trace_gap gap, uint64_t begin, uint64_t end)
{
    ((struct counted *)c)->gaps += device == 1 && gap == GAP_SYNC && begin == 5 && end == 6;
}
static void count_mark(void *c, uint64_t ns, const char *text)
{
    struct counted *counts = c;
    counts->marks += ns > 0;
    snprintf(counts->mark, sizeof counts->mark, "%s", text);
}

static void count_launch(void *c, uint32_t device, uint32_t id, const char *pass)
{
    ((struct counted *)c)->launches += device == 1 && id == 2 && strcmp(pass, "forward") == 0;
}
static void count_launched(void *c, uint32_t device) { ((struct counted *)c)->launched += device == 1; }

static void count_kernel_table(void *c, const struct trace_kernel *kernels, size_t n)
{
    ((struct counted *)c)->kernel_tables += kernels && n == 2;
}
static void count_kernels(void *c, uint32_t device, const struct trace_kernel_time *times, size_t n)
{
    ((struct counted *)c)->kernels += device == 1 && n == 2 && times[1].end_ns == 8;
}
static void count_counter_table(void *c, const struct trace_counter *counters, size_t n)
{
    struct counted *counts = c;
    counts->counter_tables += n == 1 && strcmp(counters[0].unit, "W") == 0;
    counts->own_tables += n == 2 && counters[0].id == COUNTER_PROCESS_MEMORY && counters[1].id == COUNTER_PROCESS_CPU;
}
static void count_counter(void *c, uint32_t device, uint32_t counter, double value, uint64_t ns)
{
    struct counted *counts = c;
    counts->counters += device == 1 && counter == 2 && value == 0.5 && ns == 9;
    if (device != TRACE_OF_HOST) return;
    if (counter == COUNTER_RECORDED_UNTIL) counts->recorded_until = value;
    counts->memory_readings += counter == COUNTER_PROCESS_MEMORY && value > 1e6 && ns > 0;
    counts->cpu_readings += counter == COUNTER_PROCESS_CPU && value >= 0 && value < 1e4 && ns > 0;
}
static void count_span(void *c, uint32_t device, enum trace_host what, uint64_t begin, uint64_t end)
{
    ((struct counted *)c)->spans += device == 1 && what == HOST_WAIT && begin == 5 && end == 6;
}
static void count_lost(void *c, uint32_t device, enum trace_loss what, uint64_t n, uint64_t ns)
{
    ((struct counted *)c)->losses += device == 1 && what == LOSS_RECORDS && n == 7 && ns == 8;
}

static struct trace_sink sink = {.context = &counted,
                                 .run = count_run,
                                 .device = count_device,
                                 .op_table = count_table,
                                 .step_begin = count_begin,
                                 .step_end = count_end,
                                 .launch_begin = count_launch,
                                 .launch_end = count_launched,
                                 .op_time = count_op,
                                 .metric = count_metric,
                                 .memory = count_memory,
                                 .gap = count_gap,
                                 .mark = count_mark,
                                 .kernel_table = count_kernel_table,
                                 .kernels = count_kernels,
                                 .counter_table = count_counter_table,
                                 .counter = count_counter,
                                 .span = count_span,
                                 .lost = count_lost};

static struct session *open_session(uint64_t every, double most_cost)
{
    struct error err = {0};
    struct session *session = NULL;
    struct session_options options = {.every = every, .most_cost = most_cost};
    cr_assert(session_open(&sink, &options, &session, &err), "%s", err.text);
    return session;
}

Test(session, passes_reports_on)
{
    struct session *session = open_session(0, 0);
    struct trace_sink *s = session_sink(session);
    struct trace_op ops[3] = {{0}};
    s->run(s->context, &(struct trace_run){.model = "m"});
    s->device(s->context, &(struct trace_device){.name = "d"});
    s->op_table(s->context, ops, 3);
    s->step_begin(s->context, 1, 1, 1);
    s->launch_begin(s->context, 1, 2, "forward");
    s->launch_end(s->context, 1);
    s->op_time(s->context, 1, 2, 3, 4);
    s->gap(s->context, 1, GAP_SYNC, 5, 6);
    s->step_end(s->context, 1, 1, 7);
    s->mark(s->context, 8, "hello");
    s->kernel_table(s->context, (struct trace_kernel[2]){{0}}, 2);
    s->kernels(s->context, 1, (struct trace_kernel_time[]){{0, 7, 1, 2}, {1, 7, 3, 8}}, 2);
    s->counter_table(s->context, &(struct trace_counter){2, "power", "W"}, 1);
    s->counter(s->context, 1, 2, 0.5, 9);
    s->span(s->context, 1, HOST_WAIT, 5, 6);
    s->lost(s->context, 1, LOSS_RECORDS, 7, 8);
    session_close(session);
    cr_assert(counted.kernel_tables == 1 && counted.kernels == 1 && counted.counter_tables == 1);
    cr_assert(counted.counters == 1 && counted.spans == 1 && counted.losses == 1);
    cr_assert(counted.runs == 1 && counted.devices == 1 && counted.tables == 1 && counted.begins == 1);
    cr_assert(counted.ends == 1 && counted.ops == 1 && counted.gaps == 1 && counted.marks == 1);
    cr_assert(counted.launches == 1 && counted.launched == 1);
    cr_assert_str_eq(counted.mark, "hello");
    session_close(NULL);
}

Test(session, a_sink_may_lack_everything)
{
    struct error err = {0};
    struct trace_sink none = {0};
    struct session *session;
    cr_assert(session_open(&none, NULL, &session, &err));
    struct trace_sink *s = session_sink(session);
    s->run(s->context, &(struct trace_run){.model = "m"});
    s->op_time(s->context, 1, 2, 3, 4);
    s->kernels(s->context, 1, &(struct trace_kernel_time){0, 7, 1, 2}, 1);
    s->lost(s->context, 1, LOSS_RECORDS, 7, 8);
    s->step_begin(s->context, 0, 1, 1);
    s->step_end(s->context, 0, 1, 7);
    s->mark(s->context, 8, "hello");
    session_close(session);
}

static uint64_t count_timed(struct trace_sink *s, uint64_t first, uint64_t count)
{
    uint64_t timed = 0;
    for (uint64_t step = first; step < first + count; step++) timed += s->wants_ops(s->context, step);
    return timed;
}

Test(session, times_a_window_of_the_steps_and_those_asked_for)
{
    struct session *session = open_session(8, 0);
    struct trace_sink *s = session_sink(session);
    cr_assert_eq(count_timed(s, 0, 800), 100);
    cr_assert(s->wants_ops(s->context, 0), "the first step is timed, so that there is something to see");
    session_ask(session, 1000, 20);
    cr_assert_eq(count_timed(s, 1000, 20), 20);
    cr_assert_eq(count_timed(s, 1024, 80), 10);
    session_ask(session, UINT64_MAX - 5, 100);
    cr_assert_eq(count_timed(s, UINT64_MAX - 5, 4), 4);
    session_close(session);
    session = open_session(1, 0);
    s = session_sink(session);
    cr_assert_eq(count_timed(s, 0, 320), 310, "one in 32 stays untimed, to compare with");
    session_close(session);
}

static _Atomic uint64_t asked_by_viewer;

static struct trace_views see_viewer(void *context)
{
    cr_expect_eq(context, &asked_by_viewer);
    return (struct trace_views){.watched = true, .asked_steps = atomic_load(&asked_by_viewer)};
}

/* Submits steps up to `last`; returns how many of them were timed. */
static uint64_t submit(struct trace_sink *s, uint64_t *next, uint64_t last)
{
    uint64_t timed = 0;
    for (; *next <= last; ++*next) {
        s->step_submit(s->context, *next);
        timed += s->wants_ops(s->context, *next);
    }
    return timed;
}

Test(session, records_what_is_asked_for_from_the_next_step_on)
{
    struct session *session = open_session(1u << 30, 0);
    struct trace_sink *s = session_sink(session);
    uint64_t next = 1;
    cr_expect_eq(submit(s, &next, 9), 0);
    session_ask_next(session, 64);
    cr_expect_eq(submit(s, &next, 10), 0, "what is in flight beside this one was decided before");
    cr_expect_eq(counted.recorded_until, 0);
    cr_expect_eq(submit(s, &next, 200), 64);
    cr_expect_eq(counted.recorded_until, 75, "the last of them, from 1");
    cr_expect_str_eq(counted.mark, "steps 12 to 75 are recorded, as somebody asked");
    session_close(session);
}

Test(session, a_viewer_s_request_counts_once)
{
    struct error err = {0};
    struct session *session;
    const struct session_options options = {
        .every = 1u << 30, .memory_ms = 200, .views = see_viewer, .views_context = &asked_by_viewer};
    cr_assert(session_open(&sink, &options, &session, &err), "%s", err.text);
    struct trace_sink *s = session_sink(session);
    uint64_t next = 1, timed = 0, begun = clock_now_ns();
    atomic_store(&asked_by_viewer, 5);
    while (timed < 5 && clock_now_ns() - begun < UINT64_C(60000000000)) {
        timed += submit(s, &next, next);
        usleep(1000);
    }
    cr_expect_eq(timed, 5);
    usleep(500000); /* it still stands */
    cr_expect_eq(submit(s, &next, next + 100), 0);
    session_close(session);
}

static bool never(void *context, uint64_t step) { return context == &step; }

Test(session, asks_the_sink_too)
{
    struct error err = {0};
    struct trace_sink refusing = sink;
    refusing.wants_ops = never;
    struct session *session;
    cr_assert(session_open(&refusing, NULL, &session, &err));
    cr_assert_eq(count_timed(session_sink(session), 0, 800), 0);
    session_close(session);
}

/* Steps of 1 ms, of which a timed one takes `cost` more, with a drift of a half over the run and noise: of 1 %, and, as
 * of a machine that others use too, of `delay` more, which only ever makes a step longer. */
static void run_noisy_steps(struct session *session, uint64_t first, uint64_t count, double cost, double delay)
{
    struct trace_sink *s = session_sink(session);
    struct random random = random_begin(5, RANDOM_SYNTHETIC, first, 0);
    uint64_t now = 1000;
    for (uint64_t step = first; step < first + count; step++) {
        double hit = random_normal(&random), noise = 1 + 0.01 * random_normal(&random) + delay * hit * hit;
        double ns = 1e6 * (1 + 0.5 * (double)(step - first) / (double)count) * noise;
        if (s->wants_ops(s->context, step)) ns *= 1 + cost;
        s->step_begin(s->context, 0, step, now);
        now += (uint64_t)ns;
        s->step_end(s->context, 0, step, now);
        now += 10000;
    }
}

static void run_steps(struct session *session, uint64_t first, uint64_t count, double cost)
{
    run_noisy_steps(session, first, count, cost, 0);
}

Test(session, measures_its_own_cost)
{
    const double costs[] = {0.0, 0.02, 0.1};
    const uint64_t everies[] = {8, 2, 1};
    for (size_t i = 0; i < 9; i++) {
        uint64_t every = everies[i / 3];
        struct session *session = open_session(every, 0);
        cr_assert(isnan(session_cost(session)), "unknown is never zero");
        run_steps(session, 0, 4000, costs[i % 3]);
        double expected = costs[i % 3] * (every == 1 ? 31.0 / 32 : 1.0 / (double)every);
        cr_assert_float_eq(session_cost(session), expected, 0.004, "%g of %g at %llu", session_cost(session), expected,
                           (unsigned long long)every);
        cr_assert_eq(counted.cost, session_cost(session));
        session_close(session);
    }
    cr_assert_gt(counted.costs, 9);
    cr_assert_eq(counted.marks, 0);
}

/* Every fourth step takes three times as long, and is neither dear nor cheap to time. */
Test(session, steps_whose_norms_are_taken_are_not_compared)
{
    struct session *session = open_session(2, 0);
    struct trace_sink *s = session_sink(session);
    const float norms[TRACE_NORMS] = {1, 1, 1};
    uint64_t now = 1000;
    for (uint64_t step = 0; step < 2000; step++) {
        bool taken = step % 4 == 3, timed = s->wants_ops(s->context, step);
        s->step_begin(s->context, 0, step, now);
        now += (taken ? 3000000u : 1000000u) + (timed ? 20000u : 0);
        if (taken) s->norms(s->context, 0, step, norms, 1, now);
        s->step_end(s->context, 0, step, now);
    }
    cr_assert_float_eq(session_cost(session), 0.01, 0.001, "%g", session_cost(session));
    session_close(session);
}

Test(session, guesses_how_many_steps_it_can_afford)
{
    const struct {
        uint32_t ops;
        uint64_t timed;                          /* of 320 */
    } rows[] = {{5, 310}, {40, 80}, {5000, 40}}; /* 0.1 %, 0.8 % and 100 % of a step of 1 ms */
    for (size_t i = 0; i < 3; i++) {
        struct session *session = open_session(0, 0.005);
        struct trace_sink *s = session_sink(session);
        struct trace_op last = {.id = rows[i].ops - 1};
        s->op_table(s->context, &last, 1);
        cr_assert_eq(count_timed(s, 0, 3), 3);
        run_steps(session, 0, 4, 0);
        cr_assert_eq(count_timed(s, 0, 320), rows[i].timed, "%u ops", rows[i].ops);
        session_close(session);
    }
}

Test(session, times_fewer_steps_when_it_costs_too_much)
{
    struct session *session = open_session(8, 0.005);
    run_steps(session, 0, 8000, 0.1);
    struct trace_sink *s = session_sink(session);
    uint64_t timed = count_timed(s, 0, 32000);
    cr_assert(timed <= 2000 && timed >= 1000, "%llu", (unsigned long long)timed);
    cr_assert_geq(counted.marks, 1);
    cr_assert_not_null(strstr(counted.mark, "steps is timed from now on"), "%s", counted.mark);
    cr_assert_leq(session_cost(session), 0.01);
    session_close(session);
}

Test(session, samples_memory_and_catches_peaks)
{
    struct error err = {0};
    struct session *session;
    uint64_t begun = clock_now_ns();
    cr_assert(session_open(&sink, &(struct session_options){.memory_ms = 1}, &session, &err));
    usleep(50000);
    size_t peak = 64 << 20;
    char *bytes = mem_map(MEM_GENERAL, peak);
    memset(bytes, 1, peak);
    uint64_t resident, most;
    cr_assert(process_memory_read(&resident, &most));
    mem_unmap(MEM_GENERAL, bytes, peak);
    usleep(700000);
    for (int i = 0; i < 6000 && counted.samples < 3; i++) usleep(10000); /* a busy machine */
    session_close(session);
    double seconds = (double)(clock_now_ns() - begun) * 1e-9;
    cr_assert_eq(counted.own_tables, 1);
    cr_assert_geq(counted.memory_readings, 3);
    cr_assert_geq(counted.cpu_readings, counted.memory_readings - 1, "the first look has none before it");
    cr_assert(counted.samples >= 3 && counted.samples <= 8.25 + 5 * seconds, "%d: at most five a second, and peaks",
              counted.samples);
    cr_assert_geq(counted.most_bytes + (1 << 20), resident, "%llu of %llu", (unsigned long long)counted.most_bytes,
                  (unsigned long long)resident); /* the kernel counts in batches of pages */
    cr_assert_lt(counted.bytes, resident);
}

Test(session, survives_a_failed_allocation)
{
    struct error err = {0};
    struct session *session = NULL;
    uint64_t before = mem_current_bytes(MEM_TRACE);
    mem_fail_at(1);
    cr_assert_not(session_open(&sink, NULL, &session, &err));
    mem_fail_at(0);
    cr_assert(err.kind == ERROR_MEMORY && session == NULL);
    cr_assert_eq(mem_current_bytes(MEM_TRACE), before);
}

Test(session, reads_the_kernels_words)
{
    uint64_t resident = 7, peak = 7;
    cr_assert(process_memory_parse("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     12 kB\n", &resident, &peak));
    cr_assert(resident == 12 * 1024 && peak == 2048 * 1024);
    const char *const wrong[] = {"", "VmRSS: 5 kB\n", "VmRSS: x kB\nVmHWM: 5 kB", "VmRSS: 5\nVmHWM: 5\n",
                                 "NotVmRSS: 5 kB\nNotVmHWM: 5 kB\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        resident = peak = 7;
        cr_assert_not(process_memory_parse(wrong[i], &resident, &peak), "%s", wrong[i]);
        cr_assert(resident == 7 && peak == 7);
    }
}
