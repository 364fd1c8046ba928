/* What reporting threads do: each report is checked, put on the file's clock and queued; tables are kept. */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "writer_private.h"

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

static void take_op_time(void *context, uint32_t device, uint32_t id, uint64_t begin_ns, uint64_t end_ns)
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
                                          .kind = host ? READING_OF_HOST : READING_OF_DEVICE,
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

void trace_writer_take_reports(struct trace_writer *writer)
{
    writer->sink = (struct trace_sink){.context = writer,
                                       .run = take_run,
                                       .device = take_device,
                                       .op_table = take_op_table,
                                       .step_begin = take_step_begin,
                                       .step_end = take_step_end,
                                       .op_time = take_op_time,
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
}
