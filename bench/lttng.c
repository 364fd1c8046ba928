/* The records of kernels through a tracepoint of LTTng-UST and through our writer, in turns: 5,000 kernels of a step on
 * three streams at a steady rate, as in cupti.c. bench/lttng.py starts LTTng's daemon and session around it.
 *
 *   bench_lttng [RECORDS A SECOND (250000) [SECONDS of each (10) [FILE (/tmp/fathom-bench-lttng.trace)]]] */
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "lttng_kernel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "random.h"
#include "writer.h"

#define NODES   5000u
#define STREAMS 3u
#define BATCH   1000u /* kernels that are handed over together, as from a buffer */

static struct trace_kernel_time batch[BATCH];
static struct random noise;

/* Kernels number `first` and on, one after the other every `every` ns. */
static void make_batch(uint64_t first, uint64_t start, uint64_t every)
{
    for (uint64_t i = 0; i < BATCH; i++) {
        uint32_t node = (uint32_t)((first + i) % NODES);
        uint64_t begin = start + (first + i) * every;
        batch[i] = (struct trace_kernel_time){node, 7 + node % STREAMS, begin,
                                              begin + every + random_below(&noise, (uint32_t)(every / 16 + 1))};
    }
}

static void report_lttng(void)
{
    for (uint32_t i = 0; i < BATCH; i++)
        lttng_ust_tracepoint(fathom_bench, kernel, batch[i].id, batch[i].stream, batch[i].begin_ns, batch[i].end_ns);
}

static void report_own(struct trace_sink *sink) { sink->kernels(sink->context, 0, batch, BATCH); }

static void describe_run(struct trace_sink *sink)
{
    static struct trace_kernel kernels[NODES];
    for (uint32_t i = 0; i < NODES; i++)
        kernels[i] = (struct trace_kernel){.id = i, .op = TRACE_NO_OWNER, .name = "implicit_gemm_f16"};
    sink->run(sink->context, &(struct trace_run){.model = "resnet-1001", .devices = 1});
    sink->kernel_table(sink->context, kernels, NODES);
}

/* A second of either, at the rate; the processor time that reporting took. */
static uint64_t run_second(struct trace_sink *sink, uint64_t rate, uint64_t first)
{
    uint64_t start = clock_now_ns(), every = 1000000000 / rate, cpu = 0;
    for (uint64_t made = 0; made < rate; made += BATCH) {
        make_batch(first + made, start - first * every, every);
        while (clock_now_ns() - start < (made + BATCH) * every) usleep(200);
        uint64_t before = clock_thread_cpu_ns();
        if (sink)
            report_own(sink);
        else
            report_lttng();
        cpu += clock_thread_cpu_ns() - before;
    }
    return cpu;
}

/* LTTng's session reaches a program some time after that has begun. */
static bool wait_for_session(void)
{
    for (int i = 0; i < 500 && !lttng_ust_tracepoint_enabled(fathom_bench, kernel); i++) usleep(10000);
    return lttng_ust_tracepoint_enabled(fathom_bench, kernel);
}

int main(int argc, char **argv)
{
    const uint64_t rate = (argc > 1 ? strtoull(argv[1], NULL, 10) : 250000) / BATCH * BATCH;
    const uint64_t seconds = argc > 2 ? strtoull(argv[2], NULL, 10) : 10;
    const char *path = argc > 3 ? argv[3] : "/tmp/fathom-bench-lttng.trace";
    struct trace_writer *writer;
    struct trace_writer_stats stats;
    struct error err = {0};
    uint64_t lttng = 0, own = 0;
    noise = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    if (rate == 0 || seconds == 0) return fprintf(stderr, "at least %u records a second\n", BATCH), 2;
    if (!wait_for_session()) return fprintf(stderr, "no session of LTTng has enabled fathom_bench:kernel\n"), 1;
    if (!trace_writer_open(path, NULL, &writer, &err)) return fprintf(stderr, "%s\n", err.text), 1;
    describe_run(trace_writer_sink(writer));
    for (uint64_t second = 0; second < seconds; second++) {
        lttng += run_second(NULL, rate, second * rate);
        own += run_second(trace_writer_sink(writer), rate, second * rate);
    }
    trace_writer_stop(writer);
    trace_writer_stats(writer, &stats);
    trace_writer_close(writer);
    const double records = (double)(rate * seconds);
    printf("{\"records\": %.0f, \"lttng_ns\": %.2f, \"own_ns\": %.2f, \"own_writer_ns\": %.2f, \"own_bytes\": %.3f, "
           "\"own_lost\": %" PRIu64 "}\n",
           records, (double)lttng / records, (double)own / records, (double)stats.cpu_ns / records,
           (double)stats.bytes / records, stats.dropped);
    return 0;
}
