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

#define DEFAULT_MEMORY_MS 250
#define LEAST_MEMORY_MS   200 /* five looks a second, at most */
#define LEAVE_ALONE       32  /* with every step asked for, one in so many is left untimed */
#define MOST_EVERY        1024
#define PAIRS             64 /* compared steps whose median is the cost */
#define LEAST_PAIRS       8
#define OP_COST_NS        200 /* guess before anything is measured: two clock reads and a report */
#define GUESS_STEPS       3
#define CLOCK_EVERY_NS    UINT64_C(1000000000)

/* A step of device 0 that ended. */
struct ended_step {
    uint64_t step, ns;
    bool timed;
};

struct session {
    struct sink_forward forward; /* comes first (sink_forward.h) */
    struct trace_sink sink;      /* for the run */
    _Atomic uint64_t every;
    _Atomic uint64_t asked_first, asked_end;
    _Atomic uint64_t asked_next; /* steps, from the next one on; 0 = none */
    double most_cost;
    _Atomic uint32_t ops; /* of device 0's step */
    bool guesses;         /* `every` is to be chosen here */

    uint64_t step, begin_ns; /* of device 0; touched by its thread alone, as is all up to `cost` */
    struct ended_step last[GUESS_STEPS];
    size_t ended;
    double ratios[PAIRS]; /* timed over untimed, minus 1: the newest ones, as a ring */
    size_t pairs;
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

static bool is_timed(const struct session *session, uint64_t step)
{
    uint64_t every = atomic_load_explicit(&session->every, memory_order_relaxed);
    uint64_t first = atomic_load_explicit(&session->asked_first, memory_order_relaxed);
    uint64_t end = atomic_load_explicit(&session->asked_end, memory_order_relaxed);
    if (step >= first && step < end) return true;
    return every == 1 ? step % LEAVE_ALONE != LEAVE_ALONE - 1 : step % every == 0;
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

static int compare_ratios(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* How many steps more are timed than not, as a fraction. */
static double timed_share(uint64_t every) { return every == 1 ? 1 - 1.0 / LEAVE_ALONE : 1 / (double)every; }

struct cost {
    double median, surely; /* the median of the pairs, and what it is above of, twice its standard error away */
};

/* The standard error of a median is 1.25 that of a mean; the middle half of normal values spans 1.35 deviations. */
static struct cost measure_cost(const struct session *session, uint64_t every)
{
    double sorted[PAIRS];
    size_t count = session->pairs < PAIRS ? session->pairs : PAIRS;
    memcpy(sorted, session->ratios, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_ratios);
    double median = count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
    double error = 1.25 / 1.35 * (sorted[count * 3 / 4] - sorted[count / 4]) / sqrt((double)count);
    double share = timed_share(every);
    return (struct cost){median > 0 ? median * share : 0 /* the noise is larger than the cost */,
                         (median - 2 * error) * share};
}

static void report_cost(struct session *session, uint64_t step)
{
    uint64_t every = atomic_load(&session->every);
    struct cost cost = measure_cost(session, every);
    atomic_store(&session->cost, cost.median);
    if (session->sink.metric) session->sink.metric(session->sink.context, METRIC_PROFILER_COST, step, cost.median);
    if (session->most_cost <= 0 || cost.surely <= session->most_cost || every >= MOST_EVERY) return;
    char text[128];
    atomic_store(&session->every, every * 2);
    snprintf(text, sizeof text, "timing ops cost %.2g %%: 1 of %llu steps is timed from now on", 100 * cost.median,
             (unsigned long long)every * 2);
    report_mark(session, text);
    session->pairs = 0;
}

static void add_ratio(struct session *session, double ratio, uint64_t step)
{
    session->ratios[session->pairs++ % PAIRS] = ratio;
    if (session->pairs >= LEAST_PAIRS && session->pairs % LEAST_PAIRS == 0) report_cost(session, step);
}

/* A step between two of the other sort is compared with their mean, so that a drift falls out. */
static void compare_steps(struct session *session)
{
    const struct ended_step *a = &session->last[0], *b = &session->last[1], *c = &session->last[2];
    if (session->ended < 3 || a->timed == b->timed || c->timed == b->timed) return;
    if (b->step != a->step + 1 || c->step != b->step + 1) return;
    double around = ((double)a->ns + (double)c->ns) / 2, middle = (double)b->ns;
    if (around <= 0 || middle <= 0) return;
    add_ratio(session, (b->timed ? middle / around : around / middle) - 1, c->step);
}

/* From the fastest of the first steps: the very first is slow for other reasons. */
static void guess_every(struct session *session)
{
    session->guesses = false;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < GUESS_STEPS; i++)
        if (session->last[i].ns < least) least = session->last[i].ns;
    double affordable = (session->most_cost > 0 ? session->most_cost : 0.01) / 2 * (double)least;
    double every = ceil((double)atomic_load(&session->ops) * OP_COST_NS / (affordable + 1));
    atomic_store(&session->every, every < 1 ? 1 : every > SESSION_EVERY ? SESSION_EVERY : (uint64_t)every);
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

static void see_step_end(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    struct session *session = context;
    if (session->forward.next->step_end)
        session->forward.next->step_end(session->forward.next->context, device, step, ns);
    if (device != 0 || step != session->step || ns < session->begin_ns) return;
    memmove(session->last, session->last + 1, sizeof session->last - sizeof session->last[0]);
    session->last[2] = (struct ended_step){step, ns - session->begin_ns, is_timed(session, step)};
    session->ended++;
    compare_steps(session);
    if (session->guesses && session->ended >= GUESS_STEPS) guess_every(session);
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
    session->sink.wants_ops = wants_ops;
    session->guesses = !options || options->every == 0;
    atomic_init(&session->every, session->guesses ? 1 : options->every);
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
