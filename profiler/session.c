#define _GNU_SOURCE
#include "session.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "mem.h"
#include "process.h"
#include "sink_forward.h"
#include "thread.h"
#include "timing_cost.h"

#define DEFAULT_MEMORY_MS 250
#define LEAST_MEMORY_MS   200 /* five looks a second, at most */
#define LEAVE_ALONE       32  /* with every step asked for, one in so many is left untimed */
#define ALONE_BELOW       4   /* where steps overlap, these need some that are left alone too */
#define ALONE_STEPS       4   /* in a row, where steps overlap */
#define MOST_EVERY        1024
#define ENOUGH_RATIOS     64
#define OP_COST_NS        200 /* guess before anything is measured: two clock reads and a report */
#define GUESS_STEPS       3
#define CLOCK_EVERY_NS    UINT64_C(1000000000)

struct session {
    struct sink_forward forward; /* comes first (sink_forward.h) */
    struct trace_sink sink;      /* for the run */
    _Atomic uint64_t every;
    _Atomic uint64_t asked_first, asked_end;
    _Atomic uint64_t asked_next; /* steps, from the next one on; 0 = none */
    double most_cost;
    _Atomic uint32_t ops; /* of device 0's step */
    bool guesses;         /* `every` is to be chosen here */

    _Atomic bool rested;     /* an evaluation, a checkpoint or norms came since the last step ended */
    bool overlap;            /* of steps in flight */
    uint64_t step, begin_ns; /* of device 0; touched by its thread alone, as is all up to `cost` */
    uint64_t ended, ended_step, ended_ns, fastest_ns;
    bool ended_timed, ended_asked;
    struct timing_cost timing;
    _Atomic double cost;

    uint64_t memory_ns;
    uint32_t memory_device;
    struct trace_views (*views)(void *context);
    void *views_context;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* with `wake`, of `stop` alone */
    pthread_cond_t wake;
    bool stop;
};

static bool is_asked(const struct session *session, uint64_t step)
{
    return step >= atomic_load_explicit(&session->asked_first, memory_order_relaxed) &&
           step < atomic_load_explicit(&session->asked_end, memory_order_relaxed);
}

/* Of steps that are timed in rows, some are left alone, to compare with: where steps overlap, as many in a row as it
 * takes for some to be as if none were timed. */
static bool is_left_alone(const struct session *session, uint64_t step, uint64_t every)
{
    if (every >= (session->overlap ? ALONE_BELOW : 2)) return false;
    uint64_t row = session->overlap ? ALONE_STEPS : 1;
    return step % (LEAVE_ALONE * row) >= (LEAVE_ALONE - 1) * row;
}

static bool is_timed(const struct session *session, uint64_t step)
{
    uint64_t every = atomic_load_explicit(&session->every, memory_order_relaxed);
    if (is_asked(session, step)) return true;
    return step % every == 0 && !is_left_alone(session, step, every);
}

static bool wants_ops(void *context, uint64_t step)
{
    const struct session *session = context;
    if (!is_timed(session, step)) return false;
    return !session->forward.next->wants_ops || session->forward.next->wants_ops(session->forward.next->context, step);
}

static void see_op_table(void *context, const struct trace_op *ops, size_t count)
{
    struct session *session = context;
    const struct trace_sink *next = session->forward.next;
    for (size_t i = 0; i < count; i++)
        if (ops[i].device == 0 && ops[i].id >= atomic_load(&session->ops)) atomic_store(&session->ops, ops[i].id + 1);
    if (next->op_table) next->op_table(next->context, ops, count);
}

static void report_mark(const struct session *session, const char *text)
{
    if (session->sink.mark) session->sink.mark(session->sink.context, clock_now_ns(), text);
}

static void describe_counters(const struct session *session)
{
    static const struct trace_counter counters[] = {{COUNTER_PROCESS_MEMORY, "memory of the process", "bytes"},
                                                    {COUNTER_PROCESS_CPU, "processors in use", "cores"}};
    if (session->sink.counter_table) session->sink.counter_table(session->sink.context, counters, 2);
}

static void report_counter(const struct session *session, enum trace_host_counter counter, double value, uint64_t ns)
{
    if (session->sink.counter) session->sink.counter(session->sink.context, TRACE_OF_HOST, counter, value, ns);
}

/* ---- Recording that was asked for ---- */

static void say_recorded(const struct session *session, uint64_t first, uint64_t end)
{
    static const struct trace_counter counter = {COUNTER_RECORDED_UNTIL, "recorded until", "step"};
    char text[96];
    if (session->sink.counter_table) session->sink.counter_table(session->sink.context, &counter, 1);
    report_counter(session, COUNTER_RECORDED_UNTIL, (double)end, clock_now_ns());
    snprintf(text, sizeof text, "steps %llu to %llu are recorded, as somebody asked", (unsigned long long)first + 1,
             (unsigned long long)end);
    report_mark(session, text);
}

/* What is asked for now holds from the next step on: whether this one may be in flight with others is decided. */
static void see_step_submit(void *context, uint64_t step)
{
    struct session *session = context;
    const struct trace_sink *next = session->forward.next;
    uint64_t count = atomic_exchange_explicit(&session->asked_next, 0, memory_order_relaxed);
    uint64_t first = atomic_load(&session->asked_first), end = atomic_load(&session->asked_end);
    if (step == first && end > first) say_recorded(session, first, end);
    if (count > 0) session_ask(session, step + 1, count);
    if (next->step_submit) next->step_submit(next->context, step);
}

static void report_memory(const struct session *session, uint64_t bytes, uint64_t ns)
{
    if (session->sink.memory)
        session->sink.memory(session->sink.context, session->memory_device, SAMPLE_PROCESS, bytes, ns);
}

/* ---- What the timing costs ---- */

/* Which part of the run bears what an estimate is a fraction of. */
static double timed_share(const struct timing_cost *cost, uint64_t every)
{
    double left = cost->in_rows || (cost->overlap && every < ALONE_BELOW) ? 1 - 1.0 / LEAVE_ALONE : 1;
    double block = cost->overlap ? 2 : 1;
    return left * (block < (double)every ? block / (double)every : 1);
}

static void begin_cost(struct session *session, uint64_t every)
{
    atomic_store(&session->every, every);
    timing_cost_begin(&session->timing, session->overlap, every == 1);
}

/* Half as many steps are timed when that is surely too dear, and when many comparisons cannot show that it is not: the
 * noise of steps then hides what half as many cost half as well. */
static void time_fewer(struct session *session, const struct timing_estimate *run, uint64_t every)
{
    bool surely = run->least > session->most_cost && session->timing.count > COST_LEAST;
    if (session->most_cost <= 0 || every >= MOST_EVERY || run->most <= session->most_cost) return;
    if (!surely && session->timing.count < ENOUGH_RATIOS) return;
    char text[128];
    snprintf(text, sizeof text, "timing ops costs %s%.2g %%: 1 of %llu steps is timed from now on",
             surely ? "" : "up to ", 100 * (surely ? run->median : run->most), (unsigned long long)every * 2);
    report_mark(session, text);
    begin_cost(session, every * 2);
}

static void report_cost(struct session *session, uint64_t step)
{
    static const struct trace_counter counter = {COUNTER_COST_MOST, "cost of timing at most", "%"};
    uint64_t every = atomic_load(&session->every);
    struct timing_estimate run = timing_cost_estimate(&session->timing);
    double share = timed_share(&session->timing, every);
    run.median = fmax(0, run.median * share);
    run.least *= share;
    run.most = fmax(run.median, run.most * share);
    atomic_store(&session->cost, run.median);
    if (session->sink.metric) session->sink.metric(session->sink.context, METRIC_PROFILER_COST, step, run.median);
    if (session->sink.counter_table) session->sink.counter_table(session->sink.context, &counter, 1);
    report_counter(session, COUNTER_COST_MOST, 100 * run.most, clock_now_ns());
    time_fewer(session, &run, every);
}

/* A power of two, from the fastest of the first steps: the very first is slow for other reasons. */
static void guess_every(struct session *session)
{
    double affordable = (session->most_cost > 0 ? session->most_cost : 0.01) / 2 * (double)session->fastest_ns;
    double wanted = (double)atomic_load(&session->ops) * OP_COST_NS / (affordable + 1);
    uint64_t every = 1;
    while (every < SESSION_EVERY && (double)every < wanted) every *= 2;
    session->guesses = false;
    begin_cost(session, every);
}

static void see_step_begin(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    struct session *session = context;
    if (device == 0) {
        session->step = step;
        session->begin_ns = ns;
    }
    if (session->forward.next->step_begin)
        session->forward.next->step_begin(session->forward.next->context, device, step, ns);
}

/* A step is comparable when it ended right after the one before, and nobody asked for it. */
static enum step_sort sort_step(struct session *session, uint64_t step)
{
    bool after_timed = session->ended_timed, was_asked = session->ended_asked;
    bool follows = session->ended > 0 && step == session->ended_step + 1;
    session->ended_timed = is_timed(session, step);
    session->ended_asked = is_asked(session, step);
    if (atomic_exchange(&session->rested, false) || !follows || was_asked || session->ended_asked) return STEP_OTHER;
    if (session->ended_timed) return STEP_TIMED;
    return after_timed && session->overlap ? STEP_AFTER : STEP_PLAIN;
}

static void see_step_end(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    struct session *session = context;
    if (session->forward.next->step_end)
        session->forward.next->step_end(session->forward.next->context, device, step, ns);
    if (device != 0 || step != session->step || ns < session->begin_ns) return;
    enum step_sort sort = sort_step(session, step);
    if (timing_cost_see(&session->timing, sort, ns - session->ended_ns)) report_cost(session, step);
    if (ns - session->begin_ns < session->fastest_ns) session->fastest_ns = ns - session->begin_ns;
    session->ended_step = step;
    session->ended_ns = ns;
    if (++session->ended >= GUESS_STEPS && session->guesses) guess_every(session);
}

/* A step whose norms were taken was slower for that. */
static void see_norms(void *context, uint32_t device, uint64_t step, const float *norms, size_t units, uint64_t ns)
{
    struct session *session = context;
    const struct trace_sink *next = session->forward.next;
    if (device == 0) atomic_store(&session->rested, true);
    if (next->norms) next->norms(next->context, device, step, norms, units, ns);
}

/* What comes between two steps is none of theirs. */
static void see_span(void *context, uint32_t device, enum trace_host what, uint64_t begin_ns, uint64_t end_ns)
{
    struct session *session = context;
    const struct trace_sink *next = session->forward.next;
    if (what == HOST_EVALUATE || what == HOST_CHECKPOINT) atomic_store(&session->rested, true);
    if (next->span) next->span(next->context, device, what, begin_ns, end_ns);
}

/* ---- The process ---- */

static void wait_for_next(struct session *session, bool *stop)
{
    struct timespec until = thread_deadline(session->memory_ns);
    pthread_mutex_lock(&session->lock);
    while (!session->stop && pthread_cond_timedwait(&session->wake, &session->lock, &until) == 0) {
    }
    *stop = session->stop;
    pthread_mutex_unlock(&session->lock);
}

/* Processors that the process kept busy between two looks. */
struct cpu_look {
    uint64_t cpu_ns, now_ns;
};

static void look_at_cpu(const struct session *session, struct cpu_look *last, uint64_t now)
{
    struct cpu_look look = {clock_process_cpu_ns(), now};
    if (last->now_ns > 0 && now > last->now_ns)
        report_counter(session, COUNTER_PROCESS_CPU,
                       (double)(look.cpu_ns - last->cpu_ns) / (double)(now - last->now_ns), now);
    *last = look;
}

/* Once a second, so that traces of several hosts can be laid side by side. */
static uint64_t pair_clocks(const struct session *session, uint64_t last, uint64_t now)
{
    if (last > 0 && now - last < CLOCK_EVERY_NS) return last;
    uint64_t before = clock_now_ns(), wall = clock_wall_ns(), after = clock_now_ns();
    if (session->sink.clock_pair)
        session->sink.clock_pair(session->sink.context, TRACE_OF_HOST, before + (after - before) / 2, wall);
    return now;
}

/* A request stands for a while: it counts when it comes. */
static uint64_t look_at_views(struct session *session, uint64_t before)
{
    if (!session->views) return 0;
    uint64_t asked = session->views(session->views_context).asked_steps;
    if (asked > 0 && before == 0) session_ask_next(session, asked);
    return asked;
}

/* A peak between two looks is told too: the kernel keeps it. */
static void *sample_memory(void *context)
{
    struct session *session = context;
    uint64_t known_peak = 0, paired = 0;
    struct cpu_look cpu = {0};
    describe_counters(session);
    uint64_t asked = 0;
    for (bool stop = false;;) {
        uint64_t resident, peak, now = clock_now_ns();
        asked = look_at_views(session, asked);
        if (!process_memory_read(&resident, &peak)) {
            report_mark(session, "memory is no longer sampled: /proc/self/status cannot be read");
            return NULL;
        }
        if (peak > known_peak && peak > resident) report_memory(session, peak, now);
        report_memory(session, resident, now);
        report_counter(session, COUNTER_PROCESS_MEMORY, (double)resident, now);
        look_at_cpu(session, &cpu, now);
        paired = pair_clocks(session, paired, now);
        known_peak = peak;
        if (stop) return NULL; /* the last look came after the run's end */
        wait_for_next(session, &stop);
    }
}

static void start_thread(struct session *session)
{
    session->has_thread = thread_start(&session->thread, 0, "memory", sample_memory, session) == 0;
    if (!session->has_thread) report_mark(session, "memory is not sampled: no thread could be started");
}

bool session_open(struct trace_sink *sink, const struct session_options *options, struct session **out,
                  struct error *err)
{
    struct session *session = mem_zalloc(MEM_TRACE, 1, sizeof *session);
    if (!session) return error_memory(err, sizeof *session, "the profiling session");
    uint64_t memory_ms = options && options->memory_ms ? options->memory_ms : DEFAULT_MEMORY_MS;
    session->forward.next = sink;
    session->sink = sink_forward_to(&session->forward);
    session->sink.op_table = see_op_table;
    session->sink.step_submit = see_step_submit;
    session->sink.step_begin = see_step_begin;
    session->sink.step_end = see_step_end;
    session->sink.span = see_span;
    session->sink.norms = see_norms;
    session->sink.wants_ops = wants_ops;
    session->guesses = !options || options->every == 0;
    session->overlap = options && options->overlap;
    session->fastest_ns = UINT64_MAX;
    begin_cost(session, session->guesses ? 1 : options->every);
    atomic_init(&session->asked_first, 0);
    atomic_init(&session->asked_end, 0);
    atomic_init(&session->asked_next, 0);
    atomic_init(&session->ops, 0);
    atomic_init(&session->cost, NAN);
    session->most_cost = options ? options->most_cost : 0;
    session->memory_device = options ? options->memory_device : 0;
    session->views = options ? options->views : NULL;
    session->views_context = options ? options->views_context : NULL;
    session->memory_ns = 1000000 * (memory_ms < LEAST_MEMORY_MS ? LEAST_MEMORY_MS : memory_ms);
    thread_cond_init(&session->wake);
    pthread_mutex_init(&session->lock, NULL);
    start_thread(session);
    *out = session;
    return true;
}

struct trace_sink *session_sink(struct session *session) { return &session->sink; }

void session_ask(struct session *session, uint64_t first, uint64_t count)
{
    atomic_store(&session->asked_end, 0); /* never a mixture of two ranges */
    atomic_store(&session->asked_first, first);
    atomic_store(&session->asked_end, count > UINT64_MAX - first ? UINT64_MAX : first + count);
}

void session_ask_next(struct session *session, uint64_t count)
{
    atomic_store_explicit(&session->asked_next, count, memory_order_relaxed);
}

double session_cost(const struct session *session) { return atomic_load(&session->cost); }

void session_close(struct session *session)
{
    if (!session) return;
    pthread_mutex_lock(&session->lock);
    session->stop = true;
    pthread_cond_signal(&session->wake);
    pthread_mutex_unlock(&session->lock);
    if (session->has_thread) pthread_join(session->thread, NULL);
    pthread_cond_destroy(&session->wake);
    pthread_mutex_destroy(&session->lock);
    mem_free(session);
}
