#define _GNU_SOURCE
#include "writer_private.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "history_private.h"
#include "mem.h"
#include "thread.h"

#define DEFAULT_MOST_BYTES (256ull << 20)
#define DEFAULT_SEAL_MS    100

/* ---- The writer's thread ---- */

static void encode(void *context, const struct trace_event *event)
{
    struct trace_writer *writer = context;
    encoder_take(&writer->encoder, event);
    if (event->type == TRACE_BATCH)
        atomic_fetch_sub(&writer->batch_bytes, (uint64_t)event->id * sizeof *event->kernels);
}

static void publish_stats(struct trace_writer *writer)
{
    const struct trace_output *output = &writer->output;
    pthread_mutex_lock(&writer->stats_lock);
    writer->stats.events = writer->encoder.count;
    writer->stats.dropped = output->dropped;
    writer->stats.queue_dropped = writer->queue_dropped;
    writer->stats.queue_bytes = writer->queue.capacity * sizeof(struct trace_event);
    writer->stats.bytes = output->bytes;
    writer->stats.blocks = output->blocks;
    writer->stats.cpu_ns = clock_thread_cpu_ns() + atomic_load(&writer->queue.cost_ns);
    writer->stats.failed = output->failed;
    memcpy(writer->stats.failure, output->failure, sizeof output->failure);
    pthread_mutex_unlock(&writer->stats_lock);
}

/* What the queue held is looked at before the tables: an op's table was reported before the op, so it is seen too. */
static void drain(struct trace_writer *writer)
{
    struct queue_view view;
    queue_look(&writer->queue, &view);
    pthread_mutex_lock(&writer->tables_lock);
    unsigned changed = atomic_exchange(&writer->tables_changed, 0);
    if (changed & CHANGED)
        encoder_write_tables(&writer->encoder, &writer->tables);
    else if (changed)
        encoder_write_kernel_tables(&writer->encoder, &writer->tables);
    pthread_mutex_unlock(&writer->tables_lock);
    queue_drain(&writer->queue, &view, encode, writer);
    uint64_t dropped = atomic_exchange(&writer->queue.dropped, 0);
    writer->queue_dropped += dropped;
    writer->encoder.dropped += dropped + atomic_exchange(&writer->bad_reports, 0);
    pthread_mutex_lock(&writer->tables_lock);
    encoder_flush(&writer->encoder, &writer->tables);
    pthread_mutex_unlock(&writer->tables_lock);
    publish_stats(writer);
}

static void wait_for_work(struct trace_writer *writer)
{
    struct timespec until = thread_deadline(writer->most_wait_ns);
    sem_clockwait(&writer->wake, CLOCK_MONOTONIC, &until); /* whatever woke it: there is something to do or nothing */
}

static void *run_thread(void *context)
{
    struct trace_writer *writer = context;
    while (!atomic_load(&writer->stop)) {
        wait_for_work(writer);
        drain(writer);
    }
    drain(writer);
    encoder_end(&writer->encoder);
    publish_stats(writer);
    return NULL;
}

static void release(struct trace_writer *writer)
{
    trace_output_close(&writer->output);
    encoder_finish(&writer->encoder);
    tables_finish(&writer->tables);
    queue_finish(&writer->queue);
    sem_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->tables_lock);
    pthread_mutex_destroy(&writer->stats_lock);
    mem_free(writer);
}

static struct trace_writer *create(const struct trace_writer_options *options)
{
    uint64_t seal_ms = options && options->seal_ms ? options->seal_ms : DEFAULT_SEAL_MS;
    struct trace_writer *writer = mem_zalloc(MEM_TRACE, 1, sizeof *writer);
    if (!writer) return NULL;
    writer->output.fd = -1;
    queue_init(&writer->queue, options ? options->queue_bytes : 0);
    sem_init(&writer->wake, 0, 0);
    pthread_mutex_init(&writer->tables_lock, NULL);
    pthread_mutex_init(&writer->stats_lock, NULL);
    writer->most_wait_ns = seal_ms * 1000000 / 2; /* the rest is for a processor to come, and for the writing */
    trace_writer_take_reports(writer);
    return writer;
}

/* A run that goes on in a file says so at once: whoever waits for the run's end must not take the old one for it. */
static void go_on(struct trace_writer *writer, struct trace_history *history, uint64_t done)
{
    writer->tables = history->tables;
    writer->tables.part = (struct trace_part){done, trace_output_now(&writer->output)};
    history->tables = (struct tables){0};
    writer->encoder.first_generation = (uint32_t)writer->output.sequence;
    rollup_finish(&writer->encoder.past);
    writer->encoder.past = history->past;
    history->past = (struct trace_follower){0};
    writer->encoder.norms = history->norms;
    norm_store_go_on(&writer->encoder.norms, done, writer->encoder.past_bytes / 2);
    history->norms = (struct norm_store){0};
    struct trace_item part = {.type = TRACE_ITEM_PART, .part = writer->tables.part};
    struct error err = {0};
    if (!rollup_take_item(&writer->encoder.past, &part, &err)) writer->encoder.past_broken = true;
    encoder_write_head(&writer->encoder, &writer->tables);
}

bool trace_writer_open(const char *path, const struct trace_writer_options *options, struct trace_writer **out,
                       struct error *err)
{
    struct trace_history *history = options ? options->history : NULL;
    uint64_t most_bytes = options && options->most_bytes ? options->most_bytes : DEFAULT_MOST_BYTES;
    struct trace_writer *writer = create(options);
    if (!writer) return error_memory(err, sizeof *writer, "the trace writer");
    bool ok = history ? trace_output_go_on(&writer->output, path, most_bytes, &history->end, err)
                      : trace_output_open(&writer->output, path, most_bytes, err);
    if (!ok) {
        release(writer);
        return false;
    }
    encoder_init(&writer->encoder, &writer->output);
    if (history) go_on(writer, history, options->done);
    int cause = thread_start(&writer->thread, 0, "trace", run_thread, writer);
    if (cause != 0) {
        release(writer);
        return error_errno(err, ERROR_FAILED, cause, "%s: the trace writer's thread cannot be started", path);
    }
    *out = writer;
    return true;
}

struct trace_sink *trace_writer_sink(struct trace_writer *writer) { return &writer->sink; }

struct trace_views trace_writer_views(const struct trace_writer *writer) { return trace_views_of(writer->output.fd); }

void trace_writer_stats(const struct trace_writer *writer, struct trace_writer_stats *stats)
{
    struct trace_writer *locked = (struct trace_writer *)(uintptr_t)writer;
    pthread_mutex_lock(&locked->stats_lock);
    *stats = writer->stats;
    pthread_mutex_unlock(&locked->stats_lock);
}

void trace_writer_stop(struct trace_writer *writer)
{
    if (writer->stopped) return;
    writer->stopped = true;
    atomic_store(&writer->stop, true);
    sem_post(&writer->wake);
    pthread_join(writer->thread, NULL);
}

void trace_writer_close(struct trace_writer *writer)
{
    if (!writer) return;
    trace_writer_stop(writer);
    release(writer);
}
