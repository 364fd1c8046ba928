#define _GNU_SOURCE
#include "writer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "encoder.h"
#include "history_private.h"
#include "mem.h"
#include "queue.h"
#include "thread.h"

#define DEFAULT_MOST_BYTES (256ull << 20)
#define DEFAULT_SEAL_MS    100

enum { CHANGED = 1, KERNELS_CHANGED = 2 };

struct trace_writer {
    struct trace_sink sink;
    struct queue queue;
    uint64_t most_wait_ns; /* between two drains */
    pthread_t thread;
    sem_t wake;
    _Atomic bool stop;
    bool stopped;
    _Atomic uint64_t bad_reports; /* of devices and ops that the format has no place for */
    _Atomic uint64_t batch_bytes; /* of kernels on their way */

    pthread_mutex_t tables_lock; /* taken by the few reports with names, and while they are written out */
    struct tables tables;
    _Atomic unsigned tables_changed; /* CHANGED, KERNELS_CHANGED */

    pthread_mutex_t stats_lock;
    struct trace_writer_stats stats;

    struct trace_output output; /* the rest is the writer's thread's */
    struct encoder encoder;
    uint64_t queue_dropped;
};

/* From the run's clock to the file's. */
static struct trace_event on_file_clock(const struct trace_event *event, uint64_t shift_ns)
{
    struct trace_event shifted = *event;
    if (trace_event_is_span(event)) {
        shifted.begin_ns += shift_ns;
        shifted.end_ns += shift_ns;
    } else if (trace_event_is_moment(event)) {
        shifted.at_ns += shift_ns;
    } else if (event->type != TRACE_METRIC && event->type < TRACE_UNIT_NORMS /* else shifted when it was copied */) {
        shifted.ns += shift_ns;
    }
    return shifted;
}

static bool put(struct trace_writer *writer, const struct trace_event *event)
{
    if (event->device >= TRACE_MOST_DEVICES) {
        atomic_fetch_add(&writer->bad_reports, 1);
        return false;
    }
    struct trace_event shifted = on_file_clock(event, writer->output.shift_ns);
    enum queue_result result = queue_put(&writer->queue, &shifted);
    if (result == QUEUE_HALF_FULL) sem_post(&writer->wake);
    return result != QUEUE_DROPPED;
}

static uint16_t clip_device(uint32_t device) { return (uint16_t)(device < UINT16_MAX ? device : UINT16_MAX); }

static void take_op(void *context, uint32_t device, uint32_t id, uint64_t begin_ns, uint64_t end_ns)
{
    struct trace_writer *writer = context;
    uint16_t clipped = clip_device(device);
    if (id >= TRACE_MOST_OPS)
        atomic_fetch_add(&writer->bad_reports, 1);
    else if (begin_ns == 0 || end_ns < begin_ns) /* the device lost its timestamps */
        put(writer, &(struct trace_event){.type = TRACE_LOST, .device = clipped, .ns = clock_now_ns()});
    else
        put(writer, &(struct trace_event){
                        .type = TRACE_OP, .device = clipped, .id = id, .begin_ns = begin_ns, .end_ns = end_ns});
}

static void take_step_begin(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    put(context,
        &(struct trace_event){.type = TRACE_STEP_BEGIN, .device = clip_device(device), .step = step, .ns = ns});
}

static void take_step_end(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    put(context, &(struct trace_event){.type = TRACE_STEP_END, .device = clip_device(device), .step = step, .ns = ns});
}

static void take_metric(void *context, enum trace_metric metric, uint64_t step, double value)
{
    if (metric >= TRACE_METRICS) return;
    put(context, &(struct trace_event){.type = TRACE_METRIC, .kind = (uint8_t)metric, .step = step, .value = value});
}

static void take_memory(void *context, uint32_t device, enum trace_sample kind, uint64_t bytes, uint64_t ns)
{
    if (kind >= TRACE_SAMPLES) return;
    put(context,
        &(struct trace_event){
            .type = TRACE_MEMORY, .kind = (uint8_t)kind, .device = clip_device(device), .bytes = bytes, .ns = ns});
}

static void take_gap(void *context, uint32_t device, enum trace_gap gap, uint64_t begin_ns, uint64_t end_ns)
{
    if (gap >= TRACE_GAPS) return;
    put(context, &(struct trace_event){.type = TRACE_GAP,
                                       .kind = (uint8_t)gap,
                                       .device = clip_device(device),
                                       .begin_ns = begin_ns,
                                       .end_ns = end_ns});
}

static void take_mark(void *context, uint64_t ns, const char *text)
{
    struct trace_writer *writer = context;
    size_t length = trace_text_length(text, TRACE_TEXT_MOST);
    char *copy = mem_alloc(MEM_TRACE, length + 1, 1);
    if (!copy) {
        atomic_fetch_add(&writer->bad_reports, 1);
        return;
    }
    if (length) memcpy(copy, text, length);
    struct trace_event event = {.type = TRACE_MARK, .id = (uint32_t)length, .text = copy, .ns = ns};
    if (!put(writer, &event)) mem_free(copy);
}

static void take_counter(void *context, uint32_t device, uint32_t counter, double value, uint64_t ns)
{
    struct trace_writer *writer = context;
    bool host = device == TRACE_OF_HOST;
    if (counter >= TRACE_MOST_COUNTERS)
        atomic_fetch_add(&writer->bad_reports, 1);
    else
        put(writer, &(struct trace_event){.type = TRACE_COUNTER,
                                          .kind = host,
                                          .device = host ? 0 : clip_device(device),
                                          .id = counter,
                                          .at_ns = ns,
                                          .value = value});
}

static void take_clock_pair(void *context, uint32_t device, uint64_t ns, uint64_t other_ns)
{
    bool host = device == TRACE_OF_HOST;
    put(context, &(struct trace_event){.type = TRACE_CLOCK_PAIR,
                                       .kind = !host,
                                       .device = host ? 0 : clip_device(device),
                                       .at_ns = ns,
                                       .other_ns = other_ns});
}

static void take_span(void *context, uint32_t device, enum trace_host what, uint64_t begin_ns, uint64_t end_ns)
{
    if (what >= TRACE_HOSTS || end_ns < begin_ns) return;
    put(context, &(struct trace_event){.type = TRACE_SPAN,
                                       .kind = (uint8_t)what,
                                       .device = clip_device(device),
                                       .begin_ns = begin_ns,
                                       .end_ns = end_ns});
}

static void take_lost(void *context, uint32_t device, enum trace_loss what, uint64_t count, uint64_t ns)
{
    if (what >= TRACE_LOSSES || count == 0) return;
    put(context,
        &(struct trace_event){
            .type = TRACE_LOSS, .kind = (uint8_t)what, .device = clip_device(device), .count = count, .ns = ns});
}

/* ---- Kernels: a copy goes through the queue as one report ---- */

#define BATCH_BYTES                                                                                                    \
    (8u << 20) /* of copies that wait for the writer's thread: 0.9 s of eight devices at 50,000 a second */

/* On the file's clock, without those that have no times or no place. Returns how many are left. */
static size_t copy_kernels(struct trace_writer *writer, struct trace_kernel_time *copies,
                           const struct trace_kernel_time *times, size_t count, uint64_t *untimed)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct trace_kernel_time copy = times[i];
        if (copy.begin_ns == 0 || copy.end_ns < copy.begin_ns) {
            ++*untimed;
        } else if (copy.id >= TRACE_MOST_OPS) {
            atomic_fetch_add(&writer->bad_reports, 1);
        } else {
            copy.begin_ns += writer->output.shift_ns;
            copy.end_ns += writer->output.shift_ns;
            copies[kept++] = copy;
        }
    }
    return kept;
}

static void drop_kernels(struct trace_writer *writer, uint64_t count)
{
    atomic_fetch_add(&writer->queue.dropped, count);
}

/* The copies go to the writer's thread, which frees them. */
static void put_batch(struct trace_writer *writer, uint32_t device, struct trace_kernel_time *copies, size_t count)
{
    struct trace_event event = {.type = TRACE_BATCH, .device = clip_device(device), .id = (uint32_t)count};
    event.kernels = copies;
    if (put(writer, &event)) return;
    mem_free(copies);
    atomic_fetch_sub(&writer->batch_bytes, count * sizeof *copies);
    if (count > 0) drop_kernels(writer, count - 1); /* one is counted already */
}

static void take_kernels(void *context, uint32_t device, const struct trace_kernel_time *times, size_t count)
{
    struct trace_writer *writer = context;
    if (count > BATCH_BYTES / sizeof *times) {
        drop_kernels(writer, count);
        return;
    }
    uint64_t bytes = count * sizeof *times, untimed = 0;
    bool room = atomic_fetch_add(&writer->batch_bytes, bytes) + bytes <= BATCH_BYTES;
    struct trace_kernel_time *copies = room ? mem_alloc(MEM_TRACE, count, sizeof *copies) : NULL;
    size_t kept = copies ? copy_kernels(writer, copies, times, count, &untimed) : 0;
    atomic_fetch_sub(&writer->batch_bytes, bytes - kept * sizeof *times);
    if (untimed > 0) take_lost(context, device, LOSS_TIMESTAMPS, untimed, clock_now_ns());
    if (copies)
        put_batch(writer, device, copies, kept);
    else
        drop_kernels(writer, count);
}

static void take_norms(void *context, uint32_t device, uint64_t step, const float *norms, size_t units, uint64_t ns)
{
    struct trace_writer *writer = context;
    const size_t bytes = units * TRACE_NORMS * sizeof *norms;
    bool known = units > 0 && units <= TRACE_MOST_UNITS;
    struct trace_norms *copy = known ? mem_alloc(MEM_TRACE, sizeof *copy + bytes, 1) : NULL;
    if (!copy) {
        atomic_fetch_add(&writer->bad_reports, 1);
        return;
    }
    *copy = (struct trace_norms){step, ns + writer->output.shift_ns, clip_device(device), units};
    memcpy(copy->norms, norms, bytes);
    struct trace_event event = {.type = TRACE_UNIT_NORMS, .device = clip_device(device)};
    event.norms = copy;
    if (!put(writer, &event)) mem_free(copy);
}

/* ---- Tables ---- */

static void end_change(struct trace_writer *writer, bool ok, unsigned changed)
{
    pthread_mutex_unlock(&writer->tables_lock);
    if (!ok) atomic_fetch_add(&writer->bad_reports, 1);
    atomic_fetch_or(&writer->tables_changed, changed);
}

static void take_run(void *context, const struct trace_run *run)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_run(&writer->tables, run), CHANGED);
}

static void take_device(void *context, const struct trace_device *device)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_device(&writer->tables, device), CHANGED);
}

static void take_op_table(void *context, const struct trace_op *ops, size_t count)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_ops(&writer->tables, ops, count), CHANGED);
}

static void take_kernel_table(void *context, const struct trace_kernel *kernels, size_t count)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_kernels(&writer->tables, kernels, count), KERNELS_CHANGED);
}

static void take_counter_table(void *context, const struct trace_counter *counters, size_t count)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_counters(&writer->tables, counters, count), KERNELS_CHANGED);
}

static void take_origin(void *context, const struct trace_origin *origin)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_origin(&writer->tables, origin), CHANGED);
}

static void take_hardware(void *context, uint32_t device, const char *slot)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_hardware(&writer->tables, device, slot), CHANGED);
}

static void take_peaks(void *context, uint32_t device, double flops, double bytes)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_peaks(&writer->tables, device, flops, bytes), CHANGED);
}

static void take_tensor_table(void *context, uint32_t device, uint32_t like, const struct trace_tensor *tensors,
                              size_t count)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_tensors(&writer->tables, device, like, tensors, count), CHANGED);
}

static void take_unit_table(void *context, uint32_t device, const struct trace_unit *units, size_t count)
{
    struct trace_writer *writer = context;
    pthread_mutex_lock(&writer->tables_lock);
    end_change(writer, tables_set_units(&writer->tables, device, units, count), CHANGED);
}

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
    writer->sink = (struct trace_sink){.context = writer,
                                       .run = take_run,
                                       .device = take_device,
                                       .op_table = take_op_table,
                                       .step_begin = take_step_begin,
                                       .step_end = take_step_end,
                                       .op = take_op,
                                       .metric = take_metric,
                                       .memory = take_memory,
                                       .gap = take_gap,
                                       .mark = take_mark,
                                       .kernel_table = take_kernel_table,
                                       .kernels = take_kernels,
                                       .origin = take_origin,
                                       .hardware = take_hardware,
                                       .peaks = take_peaks,
                                       .tensor_table = take_tensor_table,
                                       .unit_table = take_unit_table,
                                       .norms = take_norms,
                                       .clock_pair = take_clock_pair,
                                       .counter_table = take_counter_table,
                                       .counter = take_counter,
                                       .span = take_span,
                                       .lost = take_lost};
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
