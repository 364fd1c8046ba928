/* Several device threads report through one session to one writer while two others follow the file: nothing is lost,
 * mixed up or raced for, however long the writer waits for a processor: every thread has a queue of its own, which
 * holds all that it reports. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "session.h"
#include "trace_samples.h"

#define THREADS 20
#define READERS 2
#define STEPS   150
#define OPS     30

static struct trace_sink *sink;
static char path[SAMPLE_PATH];
static _Atomic bool done;

static void *report(void *argument)
{
    uint32_t device = (uint32_t)(uintptr_t)argument;
    for (uint64_t step = 0; step < STEPS; step += 5) {
        sample_steps(sink, device, OPS, step, 5);
        usleep(3000);
    }
    return NULL;
}

#define PROFILED THREADS /* a device of its own: what is told first of a device, ops or kernels, times its ops */
#define KERNELS  40
#define BATCHES  100
/* As a profiler does: kernels become known one by one while batches of them are told. */
static void *report_kernels(void *argument)
{
    struct trace_kernel_time times[KERNELS];
    for (uint32_t batch = 0; batch < BATCHES; batch++) {
        if (batch < KERNELS)
            sink->kernel_table(
                sink->context,
                &(struct trace_kernel){.id = batch, .device = PROFILED, .op = batch % OPS, .name = "kernel"}, 1);
        for (uint32_t i = 0; i < KERNELS; i++) {
            uint64_t at = 1000000ull * (batch + 1) + 1000 * i;
            times[i] = (struct trace_kernel_time){i <= batch ? i : batch, i % 3, at, at + 500};
        }
        sink->kernels(sink->context, PROFILED, times, KERNELS);
        sink->counter(sink->context, PROFILED, TRACE_FIRST_COUNTER, batch, 1000000ull * batch);
        usleep(1000);
    }
    return argument;
}

static void *follow(void *argument)
{
    struct error err = {0};
    struct trace_follower *follower;
    uint64_t read;
    if (!trace_follow(path, &follower, &err)) return argument;
    while (!atomic_load(&done)) {
        if (!trace_follow_more(follower, 1000, &read, &err)) break;
        usleep(1000);
    }
    bool good = err.kind == ERROR_NONE && trace_follow_rollup(follower)->damaged_blocks == 0;
    trace_unfollow(follower);
    return good ? NULL : argument;
}

static int check(const struct rollup *r)
{
    uint64_t counted = 0;
    for (size_t i = 0; i < r->op_count; i++) counted += r->ops[i].device < THREADS && r->ops[i].count == STEPS;
    printf("%llu events, %llu dropped, %zu ops, %llu with every step\n", (unsigned long long)r->events,
           (unsigned long long)r->dropped, r->op_count, (unsigned long long)counted);
    uint64_t kernels = 0;
    for (size_t i = 0; i < r->kernel_count; i++) kernels += r->kernels[i].times.count;
    if (kernels != KERNELS * BATCHES) printf("%llu kernels\n", (unsigned long long)kernels);
    return kernels == KERNELS * BATCHES && r->dropped == 0 && r->damaged_blocks == 0 &&
                   r->op_count == (THREADS + 1) * OPS && counted == THREADS * OPS && r->step_count == STEPS && r->ended
               ? 0
               : 1;
}

int main(void)
{
    struct error err = {0};
    struct trace_writer *writer;
    struct trace_writer_stats stats;
    struct session *session;
    pthread_t threads[THREADS], readers[READERS], profiler;
    void *failed[READERS] = {NULL};
    sample_path(path);
    if (!trace_writer_open(path, &(struct trace_writer_options){.seal_ms = 10}, &writer, &err)) return 1;
    if (!session_open(trace_writer_sink(writer), NULL, &session, &err)) return 1;
    sink = session_sink(session);
    sample_tables(sink, THREADS + 1, OPS);
    for (int i = 0; i < READERS; i++) pthread_create(&readers[i], NULL, follow, path);
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, report, (void *)i);
    pthread_create(&profiler, NULL, report_kernels, NULL);
    for (int i = 0; i < 20; i++) trace_writer_stats(writer, &stats);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pthread_join(profiler, NULL);
    session_close(session);
    trace_writer_close(writer);
    atomic_store(&done, true);
    for (int i = 0; i < READERS; i++) pthread_join(readers[i], &failed[i]);
    struct trace_follower *follower;
    uint64_t read;
    if (failed[0] || failed[1] || !trace_follow(path, &follower, &err) || !trace_follow_more(follower, 0, &read, &err))
        return 1;
    int code = check(trace_follow_rollup(follower));
    trace_unfollow(follower);
    unlink(path);
    return code;
}
