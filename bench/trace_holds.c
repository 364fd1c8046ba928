/* What a trace holds when its run is killed, and what it takes when its run is long.
 *
 *   bench_trace_holds kill [RUNS, default 100] [FILE]   a process that reports 100,000 kernels a second is killed at a
 * random moment (SIGKILL), so many times. Told: how old the oldest report is that is not in the file, and, while it
 * runs, how long after its end a kernel can be read there bench_trace_holds day [HOURS, default 24] [FILE]    steps
 * with 100,000 kernels a second, as fast as they can be written: the disk and the memory that they take
 *
 * Exit code 1 where a goal is missed: 100 ms lost, 100 ms (p99) to the disk; the limit and 5 %, and memory that stays.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"
#include "random.h"
#include "stream.h"
#include "writer.h"

#define RATE      100000u /* kernels a second */
#define KERNELS   5000u   /* of a step: ResNet-1001's */
#define LIMIT     (64ull << 20)
#define GOAL_NS   UINT64_C(100000000)
#define SECOND_NS UINT64_C(1000000000)
#define KERNEL_NS (SECOND_NS / RATE)
#define LATENCIES 4096u /* of a run, spread over it */

static void describe(struct trace_sink *sink)
{
    static struct trace_kernel kernels[KERNELS];
    static struct trace_op ops[KERNELS];
    for (uint32_t i = 0; i < KERNELS; i++) {
        ops[i] = (struct trace_op){.id = i, .layer = "stage2/unit17/conv2", .kind = "conv", .pass = "forward"};
        kernels[i] = (struct trace_kernel){.id = i, .op = i, .name = i % 3 ? "sm90_xmma_fprop" : "bn_apply_f16"};
    }
    sink->run(sink->context, &(struct trace_run){.model = "resnet-1001",
                                                 .dataset = "cifar10",
                                                 .backend = "cuda",
                                                 .host = "",
                                                 .command = "",
                                                 .devices = 1,
                                                 .pid = (uint64_t)getpid()});
    sink->op_table(sink->context, ops, KERNELS);
    sink->kernel_table(sink->context, kernels, KERNELS);
}

static uint32_t stream_of(uint32_t kernel) { return kernel % 100 == 50 ? 19 : kernel % 10 == 3 ? 13 : 7; }

/* The kernels that end in a stretch of time, of the run's number `first` on. */
static size_t make_kernels(struct random *random, uint64_t first, uint64_t from_ns, struct trace_kernel_time *times,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t id = (uint32_t)((first + i) % KERNELS);
        uint64_t begin = from_ns + i * KERNEL_NS + random_below(random, 300);
        times[i] = (struct trace_kernel_time){id, stream_of(id), begin, begin + 7000 + id % 2000};
    }
    return count;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* ---- Killed ---- */

/* Shared with the process that is killed: when its last report was made, and its clock. */
struct shared {
    _Atomic uint64_t reported_ns;
};

/* Reports what has ended since, every millisecond, as a profiler's thread does; never returns. */
static void report_for_ever(const char *path, struct shared *shared)
{
    static struct trace_kernel_time times[RATE];
    struct error err = {0};
    struct trace_writer *writer;
    struct random random = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    if (!trace_writer_open(path, NULL, &writer, &err)) {
        fprintf(stderr, "bench_trace_holds: %s\n", err.text);
        _exit(1);
    }
    struct trace_sink *sink = trace_writer_sink(writer);
    describe(sink);
    uint64_t from = clock_now_ns(), number = 0;
    for (;;) {
        usleep(1000);
        uint64_t count = (clock_now_ns() - from) / KERNEL_NS;
        if (count > RATE) count = RATE;
        if (count < 2) continue;
        make_kernels(&random, number, from, times, count);
        sink->kernels(sink->context, 0, times, count);
        number += count;
        from += count * KERNEL_NS;
        atomic_store(&shared->reported_ns, times[count - 1].end_ns);
    }
}

struct killed {
    uint64_t lost_ns, kernels;
    uint64_t latencies[LATENCIES];
    size_t latency_count;
};

/* Reads on; how long after its end each kernel is seen. */
static void read_on(struct trace_stream *stream, struct killed *killed, uint64_t *last_ns)
{
    struct trace_item item;
    struct error err = {0};
    while (trace_stream_next(stream, &item, &err) && item.type != TRACE_ITEM_NONE) {
        if (item.type != TRACE_ITEM_EVENT || item.event.type != TRACE_KERNEL) continue;
        if (item.event.end_ns > *last_ns) *last_ns = item.event.end_ns;
        if (killed->kernels++ % 64 == 0 && killed->latency_count < LATENCIES)
            killed->latencies[killed->latency_count++] = clock_now_ns() - item.event.end_ns;
    }
}

static bool kill_once(const char *path, struct shared *shared, uint64_t after_ns, struct killed *killed)
{
    struct error err = {0};
    struct trace_stream *stream = NULL;
    uint64_t last = 0, begun = clock_now_ns();
    *killed = (struct killed){0};
    atomic_store(&shared->reported_ns, 0);
    unlink(path);
    pid_t child = fork();
    if (child == 0) report_for_ever(path, shared);
    while (clock_now_ns() - begun < after_ns) {
        usleep(500);
        if (!stream && atomic_load(&shared->reported_ns) && !trace_stream_open(path, &stream, &err)) stream = NULL;
        if (stream) read_on(stream, killed, &last);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    size_t told = killed->latency_count; /* what comes now was read late because this process waited */
    if (stream) read_on(stream, killed, &last);
    killed->latency_count = told;
    trace_stream_close(stream);
    uint64_t reported = atomic_load(&shared->reported_ns);
    killed->lost_ns = reported > last ? reported - last : 0;
    return reported > 0 && last > 0;
}

static int bench_kill(uint64_t runs, const char *path)
{
    struct random random = random_begin(clock_now_ns(), RANDOM_SYNTHETIC, 0, 0);
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t *lost = malloc(runs * sizeof *lost), *p99 = malloc(runs * sizeof *p99), kernels = 0;
    uint64_t *all = malloc(runs * LATENCIES * sizeof *all); /* of every run */
    size_t count = 0, looked = 0;
    static struct killed killed;
    if (shared == MAP_FAILED || !lost || !p99 || !all) return 1;
    for (uint64_t i = 0; i < runs; i++) {
        uint64_t after = 200000000 + random_below(&random, 500000000);
        if (!kill_once(path, shared, after, &killed)) continue; /* it had not begun */
        qsort(killed.latencies, killed.latency_count, sizeof killed.latencies[0], compare);
        p99[count] = killed.latency_count ? killed.latencies[(killed.latency_count - 1) * 99 / 100] : 0;
        lost[count++] = killed.lost_ns;
        memcpy(all + looked, killed.latencies, killed.latency_count * sizeof *all);
        looked += killed.latency_count;
        kernels += killed.kernels;
    }
    unlink(path);
    if (count == 0 || looked == 0) return 1;
    qsort(lost, count, sizeof *lost, compare);
    qsort(p99, count, sizeof *p99, compare);
    qsort(all, looked, sizeof *all, compare);
    uint64_t p99_of_all = all[(looked - 1) * 99 / 100];
    printf("killed  %zu times at random moments, %.3g million kernels read: of what was reported the last %.1f ms were "
           "lost "
           "(median), %.1f ms at most (goal 100)\n",
           count, 1e-6 * (double)kernels, 1e-6 * (double)lost[count / 2], 1e-6 * (double)lost[count - 1]);
    printf(
        "on disk a kernel can be read %.1f ms after its end (p99 of %zu looked at, goal 100), %.1f ms at most; p99 of "
        "the median run %.1f ms, of the slowest %.1f ms\n",
        1e-6 * (double)p99_of_all, looked, 1e-6 * (double)all[looked - 1], 1e-6 * (double)p99[count / 2],
        1e-6 * (double)p99[count - 1]);
    bool ok = lost[count - 1] <= GOAL_NS && p99_of_all <= GOAL_NS;
    free(all);
    free(lost);
    free(p99);
    return ok ? 0 : 1;
}

/* ---- Long ---- */

static uint64_t disk_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_blocks * 512 : 0;
}

/* Until the writer has taken in all but a little. */
static void catch_up(struct trace_writer *writer, uint64_t events)
{
    struct trace_writer_stats stats;
    for (;;) {
        trace_writer_stats(writer, &stats);
        if (stats.events + stats.dropped + 40 * KERNELS >= events) return;
        usleep(200);
    }
}

struct look {
    uint64_t disk, memory, most_disk;
};

static void look_at(const char *path, struct look *look)
{
    uint64_t peak;
    look->disk = disk_bytes(path);
    if (!process_memory_read(&look->memory, &peak)) look->memory = 0;
    if (look->disk > look->most_disk) look->most_disk = look->disk;
}

static int bench_day(double hours, const char *path)
{
    static struct trace_kernel_time times[KERNELS];
    struct error err = {0};
    struct trace_writer *writer;
    struct random random = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    const struct trace_writer_options options = {.most_bytes = LIMIT,
                                                 .seal_ms = 4 /* faster than the clock, so more often */};
    uint64_t steps = (uint64_t)(hours * 3600 * RATE / KERNELS), events = 0, early = 0, begun = clock_now_ns();
    struct look look = {0};
    unlink(path);
    if (!trace_writer_open(path, &options, &writer, &err)) {
        fprintf(stderr, "bench_trace_holds: %s\n", err.text);
        return 1;
    }
    struct trace_sink *sink = trace_writer_sink(writer);
    describe(sink);
    for (uint64_t step = 0, at = SECOND_NS; step < steps; step++, at += KERNELS * KERNEL_NS) {
        make_kernels(&random, step * KERNELS, at, times, KERNELS);
        sink->step_begin(sink->context, 0, step, at);
        sink->kernels(sink->context, 0, times, KERNELS);
        sink->step_end(sink->context, 0, step, at + KERNELS * KERNEL_NS - 1000);
        sink->metric(sink->context, METRIC_LOSS, step, 1.0 / (double)(step + 1));
        catch_up(writer, events += KERNELS + 3);
        if (step % 64 == 0 || step + 1 == steps) look_at(path, &look);
        if (step == steps / 8) early = look.memory; /* the step table has grown to its end */
    }
    struct trace_writer_stats stats;
    trace_writer_stop(writer);
    trace_writer_stats(writer, &stats);
    trace_writer_close(writer);
    look_at(path, &look);
    unlink(path);
    printf("long    %.2f hours of %" PRIu64 " steps and %.3g million kernels in %.0f s, %" PRIu64
           " dropped; disk at most %.2f MiB of a "
           "limit of %.0f (%+.1f %%, goal +5); memory %.1f MiB after an eighth, %.1f at the end\n",
           hours, steps, 1e-6 * (double)steps * KERNELS, 1e-9 * (double)(clock_now_ns() - begun), stats.dropped,
           (double)look.most_disk / (1 << 20), (double)LIMIT / (1 << 20),
           100 * ((double)look.most_disk / (double)LIMIT - 1), (double)early / (1 << 20),
           (double)look.memory / (1 << 20));
    bool flat = look.memory <= early + (2u << 20);
    return stats.dropped == 0 && (double)look.most_disk <= 1.05 * (double)LIMIT && flat ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *path = argc > 3 ? argv[3] : "/tmp/fathom-bench-holds.trace";
    double much = argc > 2 ? strtod(argv[2], NULL) : 0;
    if (argc > 1 && strcmp(argv[1], "kill") == 0) return bench_kill(much >= 1 ? (uint64_t)much : 100, path);
    if (argc > 1 && strcmp(argv[1], "day") == 0) return bench_day(much > 0 ? much : 24, path);
    fprintf(stderr, "usage: bench_trace_holds kill [RUNS] [FILE] | day [HOURS] [FILE]\n");
    return 2;
}
