/* What a GPU's records cost on their way from CUPTI's buffers to the trace: a thread fills buffers as CUPTI does, with
 * the kernels of a replayed graph of 5,000 nodes on three streams, at a steady rate; the reader joins and reports them.
 *
 *   bench_cupti [RECORDS A SECOND, default 250000] [SECONDS, default 10] [FILE, default /tmp/fathom-bench-cupti.trace]
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "cupti_buffers.h"
#include "cupti_records.h"
#include "random.h"
#include "writer.h"

#define NODES   5000u
#define STREAMS 3u
#define GRAPH   (9ull << 32)

static struct producer {
    struct cupti_buffers *buffers;
    double rate, seconds;
    uint64_t made, dropped;
    _Atomic bool done;
} producer;

static CUptiResult CUPTIAPI next_record(uint8_t *bytes, size_t valid, CUpti_Activity **record)
{
    uint8_t *at = *record ? (uint8_t *)*record + sizeof(CUpti_ActivityKernel10) : bytes;
    if (at + sizeof(CUpti_ActivityKernel10) > bytes + valid) return CUPTI_ERROR_MAX_LIMIT_REACHED;
    *record = (CUpti_Activity *)(void *)at;
    return CUPTI_SUCCESS;
}

static void fill(CUpti_ActivityKernel10 *k, uint64_t number, uint64_t begin, uint64_t ns)
{
    uint32_t node = (uint32_t)(number % NODES);
    k->kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
    k->name = node % 3 ? "sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc" : "bn_backward_apply_f16";
    k->start = begin;
    k->end = begin + ns;
    k->streamId = 7 + node % STREAMS;
    k->graphNodeId = GRAPH | (node + 1);
}

/* As many as are due, and a buffer handed over when it is full or 20 ms have passed, as CUPTI's flushes do. */
static void *produce(void *context)
{
    struct producer *p = context;
    struct random random = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    uint64_t start = clock_now_ns(), handed = start, every = (uint64_t)(1e9 / p->rate);
    struct full_buffer full = {0};
    for (uint64_t now = start; (double)(now - start) < p->seconds * 1e9; now = clock_now_ns()) {
        while (p->made < (now - start) / every) {
            if (!full.bytes) full = (struct full_buffer){.bytes = cupti_buffers_request(p->buffers)};
            if (!full.bytes) {
                p->dropped++, p->made++;
                continue;
            }
            fill((CUpti_ActivityKernel10 *)(void *)(full.bytes + full.valid), p->made, start + p->made * every,
                 every + random_below(&random, (uint32_t)(every / 16 + 1)));
            full.valid += sizeof(CUpti_ActivityKernel10);
            p->made++;
            if (full.valid + sizeof(CUpti_ActivityKernel10) <= CUPTI_BUFFER_BYTES) continue;
            cupti_buffers_complete(p->buffers, full);
            full.bytes = NULL;
        }
        if (full.bytes && now - handed > 20000000) {
            cupti_buffers_complete(p->buffers, full);
            full.bytes = NULL;
            handed = now;
        }
        usleep(500);
    }
    if (full.bytes) cupti_buffers_complete(p->buffers, full);
    atomic_store(&p->done, true);
    return NULL;
}

static void describe_run(struct trace_sink *sink)
{
    static struct trace_op ops[NODES / 3 + 1];
    static char layers[NODES / 3 + 1][32];
    size_t count = sizeof ops / sizeof *ops;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(layers[i], sizeof layers[i], "stage%u/unit%u", i / 900, i / 8);
        ops[i] = (struct trace_op){.id = i, .layer = layers[i], .kind = "conv", .pass = "forward"};
    }
    sink->run(sink->context, &(struct trace_run){.model = "resnet-1001", .devices = 1});
    sink->op_table(sink->context, ops, count);
}

static bool add_nodes(struct owners *owners)
{
    for (uint32_t i = 0; i < NODES; i++)
        if (!owners_add_node(owners, GRAPH | (i + 1),
                             &(struct owner){.op = i / 3, .place = i % 3, .kernel = OWNER_NO_KERNEL}))
            return false;
    return true;
}

static uint64_t read_all(struct cupti_reader *reader)
{
    uint64_t cpu = clock_thread_cpu_ns();
    struct full_buffer full;
    for (bool last = false; !last;) {
        last = atomic_load(&producer.done);
        while (cupti_buffers_take(producer.buffers, last ? 0 : 50000000, &full)) {
            if (!cupti_reader_take(reader, full.bytes, full.valid)) exit(1);
            cupti_buffers_release(producer.buffers, full.bytes);
        }
    }
    return clock_thread_cpu_ns() - cpu;
}

int main(int argc, char **argv)
{
    const struct cupti_calls calls = {.ActivityGetNextRecord = next_record};
    const char *path = argc > 3 ? argv[3] : "/tmp/fathom-bench-cupti.trace";
    struct trace_writer *writer;
    struct error err = {0};
    pthread_t thread;
    producer.rate = argc > 1 ? atof(argv[1]) : 250000;
    producer.seconds = argc > 2 ? atof(argv[2]) : 10;
    producer.buffers = cupti_buffers_create(CUPTI_BUFFER_BYTES);
    struct owners *owners = owners_create();
    if (!trace_writer_open(path, NULL, &writer, &err)) return fprintf(stderr, "%s\n", err.text), 1;
    struct cupti_reader *reader = owners ? cupti_reader_create(&calls, owners, trace_writer_sink(writer)) : NULL;
    if (!producer.buffers || !reader || !add_nodes(owners)) return fprintf(stderr, "out of memory\n"), 1;
    describe_run(trace_writer_sink(writer));
    if (pthread_create(&thread, NULL, produce, &producer)) return fprintf(stderr, "no thread\n"), 1;
    uint64_t cpu = read_all(reader);
    pthread_join(thread, NULL);
    struct trace_writer_stats stats;
    struct cupti_counts counts = cupti_reader_counts(reader);
    trace_writer_stop(writer);
    trace_writer_stats(writer, &stats);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%" PRIu64 " records in %g s on %u streams: %" PRIu64 " dropped before us, %" PRIu64
           " by the writer, %" PRIu64 " of no op\n",
           counts.records, producer.seconds, STREAMS, producer.dropped, stats.dropped, counts.unattributed);
    printf("%.1f ns a record to read, join and report, %.1f in the writer; %.2f bytes a kernel; %.1f MiB resident\n",
           (double)cpu / (double)counts.records, (double)stats.cpu_ns / (double)counts.records,
           (double)stats.bytes / (double)counts.records, (double)usage.ru_maxrss / 1024);
    trace_writer_close(writer);
    cupti_reader_destroy(reader);
    owners_destroy(owners);
    cupti_buffers_destroy(producer.buffers);
    unlink(path);
    return 0;
}
