/* Traces for the dashboard's figures (bench/run top).
 *
 *   bench_top live DEVICES OPS RATE SECONDS FILE
 *     a run of so many devices that reports RATE ops a second, of all of them, as they end
 *   bench_top past OPS MILLIONS FILE [RANK RANKS]
 *     one that has ended after so many millions of ops of a device, which is one of several ranks if they are named
 *   bench_top beacon FILE
 *     one that ends steps 1111111, 2222222, ... of 9999999, one in 0.7 s, and says on standard output when */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "random.h"
#include "writer.h"

#define MOST_DEVICES 8u
#define MOST_OPS     8192u
#define TICK_NS      UINT64_C(10000000)
#define BEACONS      9u
#define BEACON       UINT64_C(1111111)

static struct {
    struct trace_writer *writer;
    struct trace_sink *sink;
    uint32_t devices, ops;
    uint32_t next[MOST_DEVICES];
    uint64_t step[MOST_DEVICES], at[MOST_DEVICES], reports;
    uint32_t rank, ranks;
    struct random random;
} live;

static void describe(uint64_t iterations)
{
    static struct trace_op ops[MOST_OPS];
    static char layers[MOST_OPS][40];
    static const char *const kinds[] = {"conv", "bn", "conv_bwd_data", "conv_bwd_weights", "bn_bwd"};
    struct trace_sink *s = live.sink;
    s->run(s->context, &(struct trace_run){.model = "resnet-1001",
                                           .dataset = "cifar10",
                                           .backend = "cuda",
                                           .batch = 128,
                                           .iterations = iterations,
                                           .devices = live.devices,
                                           .pid = (uint64_t)getpid()});
    if (live.ranks) s->origin(s->context, &(struct trace_origin){live.rank, live.ranks, "bench", live.rank, 1});
    for (uint32_t d = 0; d < live.devices; d++) {
        s->device(s->context, &(struct trace_device){.device = d, .name = "h200", .memory_bytes = 140ull << 30});
        for (uint32_t i = 0; i < live.ops; i++) {
            snprintf(layers[i], sizeof layers[i], "stage%u/unit%u/conv%u", i / 1900 + 1, i / 17 % 111 + 1, i % 3 + 1);
            ops[i] = (struct trace_op){.id = i,
                                       .device = d,
                                       .layer = layers[i],
                                       .kind = kinds[i % 5],
                                       .pass = i < live.ops / 3 ? "forward" : "backward",
                                       .flops = 1000000,
                                       .bytes_moved = 100000};
        }
        s->op_table(s->context, ops, live.ops);
    }
}

static bool open_run(const char *path, uint64_t iterations, uint32_t seal_ms)
{
    struct error err = {0};
    const struct trace_writer_options options = {.most_bytes = 1ull << 30, .seal_ms = seal_ms};
    unlink(path);
    live.random = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    if (!trace_writer_open(path, &options, &live.writer, &err)) return fprintf(stderr, "%s\n", err.text), false;
    live.sink = trace_writer_sink(live.writer);
    describe(iterations);
    return true;
}

/* The next ops of a device, up to that time. */
static void report(uint32_t d, uint64_t until_ns, uint64_t each_ns)
{
    struct trace_sink *s = live.sink;
    while (live.at[d] + each_ns <= until_ns) {
        if (live.next[d] == 0) s->step_begin(s->context, d, live.step[d], live.at[d]);
        uint64_t begin = live.at[d] + random_below(&live.random, (uint32_t)(each_ns / 8));
        live.at[d] += each_ns;
        s->op_time(s->context, d, live.next[d]++, begin, live.at[d]);
        live.reports++;
        if (live.next[d] < live.ops) continue;
        s->step_end(s->context, d, live.step[d], live.at[d]);
        if (d == 0) s->metric(s->context, METRIC_LOSS, live.step[d], 2.0 / (double)(1 + live.step[d]));
        live.next[d] = 0;
        live.step[d]++;
        live.reports += 3;
    }
}

static int write_live(double rate, double seconds, const char *path)
{
    if (!open_run(path, 1000000, 0)) return 1;
    uint64_t begun = clock_now_ns(), each = (uint64_t)(1e9 * live.devices / rate);
    for (uint32_t d = 0; d < live.devices; d++) live.at[d] = begun;
    for (uint64_t now = begun; (double)(now - begun) < seconds * 1e9; now = clock_now_ns()) {
        for (uint32_t d = 0; d < live.devices; d++) report(d, now, each);
        usleep(TICK_NS / 1000);
    }
    trace_writer_close(live.writer);
    return 0;
}

static void catch_up(void)
{
    struct trace_writer_stats stats;
    do {
        trace_writer_stats(live.writer, &stats);
        if (stats.events + stats.dropped + 8192 >= live.reports) return;
        usleep(500);
    } while (true);
}

static int write_past(double millions, const char *path)
{
    if (!open_run(path, 1000000, 4 /* faster than the clock, so more often */)) return 1;
    live.at[0] = clock_now_ns();
    for (uint64_t until = live.at[0]; (double)live.reports < 1e6 * millions; catch_up())
        report(0, until += 80000000, 10000);
    trace_writer_close(live.writer);
    return 0;
}

static int write_beacons(const char *path)
{
    live.ops = live.devices = 1;
    if (!open_run(path, BEACONS * BEACON, 0)) return 1;
    struct trace_sink *s = live.sink;
    usleep(3000000);
    for (uint64_t i = 1; i <= BEACONS; i++) {
        uint64_t now = clock_now_ns(), step = i * BEACON - 1; /* in a trace steps are counted from 0 */
        s->step_begin(s->context, 0, step, now - 1000);
        s->step_end(s->context, 0, step, now);
        printf("%" PRIu64 "\n", step + 1);
        fflush(stdout);
        usleep(700000);
    }
    trace_writer_close(live.writer);
    return 0;
}

static bool take_sizes(const char *devices, const char *ops)
{
    live.devices = (uint32_t)strtoul(devices, NULL, 10);
    live.ops = (uint32_t)strtoul(ops, NULL, 10);
    return live.devices > 0 && live.devices <= MOST_DEVICES && live.ops > 0 && live.ops <= MOST_OPS;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "live") == 0 && argc == 7 && take_sizes(argv[2], argv[3]))
        return write_live(atof(argv[4]), atof(argv[5]), argv[6]);
    if (argc == 7 && strcmp(what, "past") == 0) {
        live.rank = (uint32_t)strtoul(argv[5], NULL, 10);
        live.ranks = (uint32_t)strtoul(argv[6], NULL, 10);
    }
    if (strcmp(what, "past") == 0 && (argc == 5 || argc == 7) && take_sizes("1", argv[2]))
        return write_past(atof(argv[3]), argv[4]);
    if (strcmp(what, "beacon") == 0 && argc == 3) return write_beacons(argv[2]);
    fprintf(
        stderr,
        "usage: bench_top live DEVICES OPS RATE SECONDS FILE | past OPS MILLIONS FILE [RANK RANKS] | beacon FILE\n");
    return 2;
}
