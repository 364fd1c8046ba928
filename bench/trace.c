/* What recording and replaying cost: nanoseconds and bytes for each op event, on the busiest stream there is
 * (8,000 kernels a step, each of 2 to 14 microseconds with 3 % of noise), and for each kernel on three streams. Medians
 * of several rounds.
 *
 *   bench_trace [FILE to write, default /tmp/fathom-bench.trace] */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "random.h"
#include "rollup.h"
#include "stream.h"
#include "writer.h"

#define OPS    8000
#define STEPS  100
#define ROUNDS 7
#define BATCH  2000 /* kernels in a report */

static struct trace_op table[OPS];
static char layers[OPS][32];
static uint64_t usual_ns[OPS];

static void make_table(void)
{
    struct random random = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    static const char *const kinds[] = {"conv", "bn", "relu", "add"};
    for (uint32_t i = 0; i < OPS; i++) {
        snprintf(layers[i], sizeof layers[i], "stage%u/unit%u/part%u", i / 2700, i / 24, i % 24);
        table[i] =
            (struct trace_op){i, 0, layers[i], kinds[i % 4], i < OPS / 2 ? "forward" : "backward", 1000, 1000, i};
        usual_ns[i] = 2000 + random_below(&random, 12000);
    }
}

/* Noise is drawn beforehand, so that drawing it is not measured. */
static uint64_t *draw_times(void)
{
    struct random random = random_begin(2, RANDOM_SYNTHETIC, 0, 0);
    uint64_t *times = malloc((size_t)STEPS * OPS * 2 * sizeof *times), at = 1u << 30;
    for (size_t i = 0; times && i < (size_t)STEPS * OPS; i++) {
        times[2 * i] = at + 900 + random_below(&random, 120);
        at = times[2 * i] + (uint64_t)((double)usual_ns[i % OPS] * (1 + 0.03 * random_normal(&random)));
        times[2 * i + 1] = at;
    }
    return times;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

struct recording {
    double call_ns, writer_ns, bytes; /* per event */
};

/* The CPU time of the reporting thread and of the writer's own, per event. Steps are spaced so that the queue, which
 * holds 0.3 s of such a device, never fills. */
static bool record(const char *path, const uint64_t *times, struct recording *recording)
{
    struct error err = {0};
    struct trace_writer *writer;
    if (!trace_writer_open(path, NULL, &writer, &err)) {
        fprintf(stderr, "bench_trace: %s\n", err.text);
        return false;
    }
    struct trace_sink *sink = trace_writer_sink(writer);
    sink->run(sink->context, &(struct trace_run){.model = "bench", .devices = 1});
    sink->op_table(sink->context, table, OPS);
    uint64_t calls_ns = 0, process_ns = clock_process_cpu_ns(), own_ns = clock_thread_cpu_ns();
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t start = clock_thread_cpu_ns();
        const uint64_t *at = times + step * OPS * 2;
        for (uint32_t i = 0; i < OPS; i++) sink->op_time(sink->context, 0, i, at[2 * i], at[2 * i + 1]);
        calls_ns += clock_thread_cpu_ns() - start;
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    own_ns = clock_thread_cpu_ns() - own_ns;
    trace_writer_close(writer); /* the writer's thread is counted to its end */
    process_ns = clock_process_cpu_ns() - process_ns;
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    fseek(file, 0, SEEK_END);
    double events = (double)STEPS * OPS;
    *recording = (struct recording){(double)calls_ns / events, (double)(process_ns - own_ns) / events,
                                    (double)ftell(file) / events};
    fclose(file);
    return true;
}

/* The same times as kernels: every tenth on a second stream and every hundredth on a third one, which follow the first.
 */
static void make_kernels(const uint64_t *times, struct trace_kernel_time *kernels)
{
    for (uint32_t i = 0; i < OPS; i++)
        kernels[i] = (struct trace_kernel_time){i,
                                                i % 100 == 50 ? 19
                                                : i % 10 == 3 ? 13
                                                              : 7,
                                                times[2 * i], times[2 * i + 1]};
}

static bool record_kernels(const char *path, const uint64_t *times, struct recording *recording)
{
    static struct trace_kernel_time kernels[OPS];
    struct error err = {0};
    struct trace_writer *writer;
    if (!trace_writer_open(path, NULL, &writer, &err)) return false;
    struct trace_sink *sink = trace_writer_sink(writer);
    sink->op_table(sink->context, table, OPS);
    for (uint32_t i = 0; i < OPS; i++)
        sink->kernel_table(sink->context, &(struct trace_kernel){.id = i, .op = i / 2, .name = layers[i]}, 1);
    uint64_t calls_ns = 0, process_ns = clock_process_cpu_ns(), own_ns = clock_thread_cpu_ns();
    for (size_t step = 0; step < STEPS; step++) {
        make_kernels(times + step * OPS * 2, kernels);
        uint64_t start = clock_thread_cpu_ns();
        for (size_t i = 0; i < OPS; i += BATCH) sink->kernels(sink->context, 0, kernels + i, BATCH);
        calls_ns += clock_thread_cpu_ns() - start;
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    own_ns = clock_thread_cpu_ns() - own_ns;
    trace_writer_close(writer);
    process_ns = clock_process_cpu_ns() - process_ns;
    struct stat info;
    if (stat(path, &info) != 0) return false;
    double events = (double)STEPS * OPS;
    *recording = (struct recording){(double)calls_ns / events, (double)(process_ns - own_ns) / events,
                                    (double)info.st_size / events};
    return true;
}

static bool replay(const char *path, double *rollup_ns, double *decode_ns, uint64_t *dropped)
{
    struct error err = {0};
    struct trace_follower *follower;
    struct trace_stream *stream;
    uint64_t read, start = clock_thread_cpu_ns(), events = 0;
    if (!trace_follow(path, &follower, &err) || !trace_follow_more(follower, 0, &read, &err)) return false;
    *rollup_ns = (double)(clock_thread_cpu_ns() - start) / (double)read;
    *dropped = trace_follow_rollup(follower)->dropped;
    trace_unfollow(follower);
    start = clock_thread_cpu_ns();
    if (!trace_stream_open(path, &stream, &err)) return false;
    struct trace_item item;
    while (trace_stream_next(stream, &item, &err) && item.type != TRACE_ITEM_NONE)
        events += item.type == TRACE_ITEM_EVENT;
    *decode_ns = (double)(clock_thread_cpu_ns() - start) / (double)events;
    trace_stream_close(stream);
    return true;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/tmp/fathom-bench.trace";
    double calls[ROUNDS], writers[ROUNDS], rollups[ROUNDS], rollups_kernels[ROUNDS], decodes[ROUNDS], bytes = 0;
    double kernel_bytes = 0;
    uint64_t dropped = 0;
    make_table();
    uint64_t *times = draw_times();
    if (!times) return 1;
    for (int round = 0; round < ROUNDS; round++) {
        struct recording recording;
        if (!record(path, times, &recording) || !replay(path, &rollups[round], &decodes[round], &dropped)) return 1;
        calls[round] = recording.call_ns;
        writers[round] = recording.writer_ns;
        bytes = recording.bytes;
    }
    double call = median(calls), writer = median(writers), rollup = median(rollups), decode = median(decodes);
    printf("%d events a step, %d steps, %d rounds, %" PRIu64 " dropped\n", OPS, STEPS, ROUNDS, dropped);
    printf("record  %6.1f ns/event in the run's thread, %6.1f in the writer's, %6.1f together (goal 40)\n", call,
           writer, call + writer);
    printf("size    %6.2f bytes/event, tables included (goal 4)\n", bytes);
    for (int round = 0; round < ROUNDS; round++) {
        struct recording recording;
        uint64_t dropped_now = 0;
        if (!record_kernels(path, times, &recording) ||
            !replay(path, &rollups_kernels[round], &decodes[round], &dropped_now))
            return 1;
        calls[round] = recording.call_ns;
        writers[round] = recording.writer_ns;
        kernel_bytes = recording.bytes;
        dropped += dropped_now;
    }
    double kernel_call = median(calls), kernel_writer = median(writers);
    printf("kernels %6.1f ns/kernel in the profiler's thread, %6.1f in the writer's, %6.1f together (goal 40)\n",
           kernel_call, kernel_writer, kernel_call + kernel_writer);
    printf("size    %6.2f bytes/kernel on three streams, tables included (goal 4), %" PRIu64 " dropped\n", kernel_bytes,
           dropped);
    printf("replay  %6.1f M kernels/s into a roll-up (goal 20)\n", 1000 / median(rollups_kernels));
    printf("replay  %6.1f M events/s into a roll-up (goal 20), %6.1f decoded alone\n", 1000 / rollup, 1000 / decode);
    free(times);
    unlink(path);
    return 0;
}
