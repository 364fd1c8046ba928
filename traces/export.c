#define _GNU_SOURCE
#include "export.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "mem.h"
#include "printable.h"
#include "stream.h"

const char *trace_metric_name(enum trace_metric metric)
{
    static const char *const names[TRACE_METRICS] = {"loss",        "learning_rate", "images_per_second",
                                                     "train_error", "test_loss",     "top1_error",
                                                     "top5_error",  "profiler_cost"};
    return metric < TRACE_METRICS ? names[metric] : "?";
}

const char *trace_sample_name(enum trace_sample sample)
{
    static const char *const names[TRACE_SAMPLES] = {"process_bytes", "device_bytes", "arena_bytes",
                                                     "device_bytes_but_context"};
    return sample < TRACE_SAMPLES ? names[sample] : "?";
}

const char *trace_gap_name(enum trace_gap gap)
{
    static const char *const names[TRACE_GAPS] = {"data", "sync", "checkpoint", "evaluate"};
    return gap < TRACE_GAPS ? names[gap] : "?";
}

const char *trace_host_name(enum trace_host what)
{
    static const char *const names[TRACE_HOSTS] = {"load", "launch", "wait", "checkpoint", "evaluate"};
    return what < TRACE_HOSTS ? names[what] : "?";
}

bool trace_export_is_stopped(const char *path, const volatile sig_atomic_t *stop, uint64_t items, struct error *err)
{
    if (items % 4096 != 0 || !stop || !*stop) return false;
    error_set(err, ERROR_FAILED, "%s: stopped before all of it was written", path);
    return true;
}

/* Threads within a device's process; streams come after. */
enum lane { LANE_STEPS = 1, LANE_OPS, LANE_GAPS, LANE_HOST, LANE_STREAMS = 100 };

struct chrome_kernel {
    char *rest; /* of its event: name, category, args; NULL = none of this number */
    size_t length;
};

#define MOST_STREAMS 256

struct chrome {
    FILE *out;
    struct trace_counter counters[TRACE_MOST_COUNTERS]; /* names belong to the stream; NULL = none */
    bool begun;
    uint64_t zero_ns; /* the trace's first time */
    uint64_t step_ns; /* where the last step of device 0 was: the time of metrics */
    struct chrome_device {
        bool named;
        struct trace_op *ops; /* names belong to the stream */
        size_t op_count, op_capacity;
        uint64_t step, step_begin_ns;
        struct chrome_kernel *kernels;
        size_t kernel_count, kernel_capacity;
        uint32_t streams[MOST_STREAMS]; /* that have a name */
        size_t stream_count;
        bool has_host_lane;
    } devices[TRACE_MOST_DEVICES];
};

static void begin_event(struct chrome *chrome)
{
    fputs(chrome->begun ? ",\n" : "\n", chrome->out);
    chrome->begun = true;
}

static double microseconds(const struct chrome *chrome, uint64_t ns)
{
    return (double)(int64_t)(ns - chrome->zero_ns) / 1000;
}

static void write_metadata(struct chrome *chrome, const char *what, uint32_t device, uint64_t lane, const char *name)
{
    begin_event(chrome);
    fprintf(chrome->out,
            "{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu64 ",\"args\":{\"name\":", what, device,
            lane);
    printable_write_json(chrome->out, name, strlen(name));
    fputs("}}", chrome->out);
}

static void name_device(struct chrome *chrome, const struct trace_device *device)
{
    char name[TRACE_TEXT_MOST + 32];
    if (chrome->devices[device->device].named) return;
    chrome->devices[device->device].named = true;
    snprintf(name, sizeof name, "device %" PRIu32 ": %s", device->device, device->name);
    write_metadata(chrome, "process_name", device->device, 0, name);
    write_metadata(chrome, "thread_name", device->device, LANE_STEPS, "steps");
    write_metadata(chrome, "thread_name", device->device, LANE_OPS, "ops");
    write_metadata(chrome, "thread_name", device->device, LANE_GAPS, "gaps");
}

/* Opens a complete event and leaves its object open for args. */
static void begin_span(struct chrome *chrome, uint32_t device, uint64_t lane, uint64_t begin_ns, uint64_t end_ns)
{
    begin_event(chrome);
    fprintf(chrome->out, "{\"ph\":\"X\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu64 ",\"ts\":%.3f,\"dur\":%.3f,", device,
            lane, microseconds(chrome, begin_ns), (double)(end_ns - begin_ns) / 1000);
}

static void write_op(struct chrome *chrome, const struct trace_event *event)
{
    const struct chrome_device *device = &chrome->devices[event->device];
    begin_span(chrome, event->device, LANE_OPS, event->begin_ns, event->end_ns);
    if (event->id >= device->op_count || !device->ops[event->id].layer) {
        fprintf(chrome->out, "\"name\":\"op %" PRIu32 "\"}", event->id);
        return;
    }
    const struct trace_op *op = &device->ops[event->id];
    fputs("\"name\":", chrome->out);
    printable_write_json(chrome->out, op->kind, strlen(op->kind));
    fputs(",\"cat\":", chrome->out);
    printable_write_json(chrome->out, op->pass, strlen(op->pass));
    fputs(",\"args\":{\"layer\":", chrome->out);
    printable_write_json(chrome->out, op->layer, strlen(op->layer));
    fprintf(chrome->out, ",\"flops\":%" PRIu64 ",\"bytes\":%" PRIu64 "}}", op->flops, op->bytes_moved);
}

/* ---- Kernels ---- */

static const char *work_name(enum trace_work work)
{
    return work == WORK_COPY ? "gpu_memcpy" : work == WORK_FILL ? "gpu_memset" : "kernel";
}

static void write_text(FILE *out, const char *key, const char *text)
{
    fprintf(out, ",\"%s\":", key);
    printable_write_json(out, text, strlen(text));
}

static void write_rest(FILE *out, const struct trace_kernel *kernel, const struct trace_op *op)
{
    const uint32_t *g = kernel->grid, *b = kernel->block;
    fputs("\"name\":", out);
    printable_write_json(out, kernel->name, strlen(kernel->name));
    fprintf(out, ",\"cat\":\"%s\",\"args\":{\"bytes\":%" PRIu64, work_name(kernel->work), kernel->bytes);
    if (op && op->layer) {
        write_text(out, "layer", op->layer);
        write_text(out, "op", op->kind);
        write_text(out, "pass", op->pass);
    }
    if (g[0]) fprintf(out, ",\"grid\":[%u,%u,%u],\"block\":[%u,%u,%u]", g[0], g[1], g[2], b[0], b[1], b[2]);
    if (kernel->registers) fprintf(out, ",\"registers\":%u", kernel->registers);
    fputs("}}", out);
}

#define REST_BYTES (4 * 6 * TRACE_TEXT_MOST + 512) /* four texts with every byte escaped */

/* What its events end with is put together once. */
static bool keep_kernel(struct chrome *chrome, const struct trace_kernel *kernel, struct error *err)
{
    struct chrome_device *device = &chrome->devices[kernel->device];
    void *kernels = device->kernels;
    char rest[REST_BYTES];
    size_t needed = (size_t)kernel->id + 1;
    bool grown = mem_grow(MEM_TRACE, &kernels, &device->kernel_capacity, needed, sizeof *device->kernels);
    device->kernels = kernels;
    if (!grown) return error_memory(err, needed * sizeof *device->kernels, "a trace's kernels");
    while (device->kernel_count < needed) device->kernels[device->kernel_count++] = (struct chrome_kernel){NULL, 0};
    FILE *out = fmemopen(rest, sizeof rest, "w");
    if (!out) return error_memory(err, sizeof rest, "a kernel's name");
    write_rest(out, kernel, kernel->op < device->op_count ? &device->ops[kernel->op] : NULL);
    fclose(out); /* ends it with NUL */
    mem_free(device->kernels[kernel->id].rest);
    device->kernels[kernel->id] = (struct chrome_kernel){mem_strdup(MEM_TRACE, rest), strlen(rest)};
    return device->kernels[kernel->id].rest || error_memory(err, sizeof rest, "a kernel's name");
}

static void name_stream(struct chrome *chrome, uint32_t number, uint32_t stream)
{
    struct chrome_device *device = &chrome->devices[number];
    char name[32];
    for (size_t i = device->stream_count; i-- > 0;)
        if (device->streams[i] == stream) return;
    if (device->stream_count == MOST_STREAMS) return;
    device->streams[device->stream_count++] = stream;
    snprintf(name, sizeof name, "stream %" PRIu32, stream);
    write_metadata(chrome, "thread_name", number, (uint64_t)LANE_STREAMS + stream, name);
}

static void write_kernel(struct chrome *chrome, const struct trace_event *event, uint32_t stream)
{
    const struct chrome_device *device = &chrome->devices[event->device];
    name_stream(chrome, event->device, stream);
    begin_span(chrome, event->device, (uint64_t)LANE_STREAMS + stream, event->begin_ns, event->end_ns);
    if (event->id < device->kernel_count && device->kernels[event->id].rest)
        fwrite(device->kernels[event->id].rest, 1, device->kernels[event->id].length, chrome->out);
    else
        fprintf(chrome->out, "\"name\":\"kernel %" PRIu32 "\"}", event->id);
}

/* ---- Everything else ---- */

static void write_step(struct chrome *chrome, const struct trace_event *event)
{
    struct chrome_device *device = &chrome->devices[event->device];
    if (event->device == 0) chrome->step_ns = event->ns;
    if (event->type == TRACE_STEP_BEGIN) {
        device->step = event->step;
        device->step_begin_ns = event->ns;
    } else if (device->step == event->step && device->step_begin_ns != 0) {
        begin_span(chrome, event->device, LANE_STEPS, device->step_begin_ns, event->ns);
        fprintf(chrome->out, "\"name\":\"step %" PRIu64 "\"}", event->step);
    }
}

static void write_counter(struct chrome *chrome, uint32_t device, const char *name, uint64_t ns, double value)
{
    if (!isfinite(value)) return;
    begin_event(chrome);
    fprintf(chrome->out, "{\"ph\":\"C\",\"pid\":%" PRIu32 ",\"name\":", device);
    printable_write_json(chrome->out, name, strlen(name));
    fprintf(chrome->out, ",\"ts\":%.3f,\"args\":{\"value\":%.9g}}", microseconds(chrome, ns), value);
}

static void write_gap(struct chrome *chrome, const struct trace_event *event)
{
    begin_span(chrome, event->device, LANE_GAPS, event->begin_ns, event->end_ns);
    fprintf(chrome->out, "\"name\":\"%s\"}", trace_gap_name(event->kind));
}

static void write_host(struct chrome *chrome, const struct trace_event *event)
{
    struct chrome_device *device = &chrome->devices[event->device];
    if (!device->has_host_lane) write_metadata(chrome, "thread_name", event->device, LANE_HOST, "host");
    device->has_host_lane = true;
    begin_span(chrome, event->device, LANE_HOST, event->begin_ns, event->end_ns);
    fprintf(chrome->out, "\"name\":\"%s\"}", trace_host_name(event->kind));
}

/* Those of the host stand beside device 0's. */
static void write_reading(struct chrome *chrome, const struct trace_event *event)
{
    const struct trace_counter *counter = &chrome->counters[event->id];
    char name[2 * TRACE_TEXT_MOST + 4];
    if (!counter->name) return;
    snprintf(name, sizeof name, "%s, %s", counter->name, counter->unit);
    write_counter(chrome, event->device, name, event->at_ns, event->value);
}

static void write_mark(struct chrome *chrome, const struct trace_event *event)
{
    begin_event(chrome);
    fprintf(chrome->out, "{\"ph\":\"i\",\"s\":\"g\",\"pid\":0,\"tid\":%d,\"ts\":%.3f,\"name\":", LANE_STEPS,
            microseconds(chrome, event->ns));
    printable_write_json(chrome->out, event->text, event->id);
    fputs("}", chrome->out);
}

static void write_event(struct chrome *chrome, const struct trace_item *item)
{
    const struct trace_event *event = &item->event;
    uint64_t first, last;
    if (chrome->zero_ns == 0 && trace_event_time(event, &first, &last)) chrome->zero_ns = chrome->step_ns = first;
    switch ((enum trace_event_type)event->type) {
    case TRACE_OP: write_op(chrome, event); break;
    case TRACE_STEP_BEGIN:
    case TRACE_STEP_END: write_step(chrome, event); break;
    case TRACE_METRIC: write_counter(chrome, 0, trace_metric_name(event->kind), chrome->step_ns, event->value); break;
    case TRACE_MEMORY:
        write_counter(chrome, event->device, trace_sample_name(event->kind), event->ns, (double)event->bytes);
        break;
    case TRACE_GAP: write_gap(chrome, event); break;
    case TRACE_MARK: write_mark(chrome, event); break;
    case TRACE_KERNEL: write_kernel(chrome, event, item->stream); break;
    case TRACE_COUNTER: write_reading(chrome, event); break;
    case TRACE_SPAN: write_host(chrome, event); break;
    case TRACE_LOST:
    case TRACE_LOSS:
    case TRACE_CLOCK_PAIR:
    case TRACE_EVENT_TYPES: break;
    }
}

static bool keep_op(struct chrome *chrome, const struct trace_op *op, struct error *err)
{
    struct chrome_device *device = &chrome->devices[op->device];
    void *ops = device->ops;
    size_t needed = (size_t)op->id + 1;
    if (!mem_grow(MEM_TRACE, &ops, &device->op_capacity, needed, sizeof *op))
        return error_memory(err, needed * sizeof *op, "a trace's op table");
    device->ops = ops;
    if (needed > device->op_count) {
        memset(device->ops + device->op_count, 0, (needed - device->op_count) * sizeof *op);
        device->op_count = needed;
    }
    device->ops[op->id] = *op;
    return true;
}

static bool write_item(struct chrome *chrome, const struct trace_item *item, struct error *err)
{
    if (item->type == TRACE_ITEM_OP) return keep_op(chrome, &item->op, err);
    if (item->type == TRACE_ITEM_DEVICE) name_device(chrome, &item->device);
    if (item->type == TRACE_ITEM_KERNEL) return keep_kernel(chrome, &item->kernel, err);
    if (item->type == TRACE_ITEM_COUNTER) chrome->counters[item->counter.id] = item->counter;
    if (item->type == TRACE_ITEM_EVENT) write_event(chrome, item);
    return true;
}

static void finish_device(struct chrome_device *device)
{
    for (size_t i = 0; i < device->kernel_count; i++) mem_free(device->kernels[i].rest);
    mem_free(device->kernels);
    mem_free(device->ops);
}

bool trace_export_chrome(const char *path, FILE *out, const volatile sig_atomic_t *stop, struct error *err)
{
    struct trace_stream *stream;
    struct chrome *chrome = mem_zalloc(MEM_TRACE, 1, sizeof *chrome);
    if (!chrome) return error_memory(err, sizeof *chrome, path);
    chrome->out = out;
    bool ok = trace_stream_open(path, &stream, err);
    if (ok) {
        struct trace_item item = {.type = TRACE_ITEM_CLOCK};
        fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", out);
        for (uint64_t items = 0; ok && item.type != TRACE_ITEM_NONE; items++)
            ok = !trace_export_is_stopped(path, stop, items, err) && trace_stream_next(stream, &item, err) &&
                 write_item(chrome, &item, err);
        fputs("\n]}\n", out);
        trace_stream_close(stream);
    }
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) finish_device(&chrome->devices[i]);
    mem_free(chrome);
    return ok;
}

void trace_export_csv(const struct summary *summary, const double *step_ns, FILE *out)
{
    fprintf(out, "Time (%%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name%s\n",
            step_ns ? ",Step (ns)" : "");
    for (size_t i = 0; i < summary->count; i++) {
        const struct summary_row *row = &summary->rows[i];
        fprintf(out, "%.1f,%" PRIu64 ",%" PRIu64 ",%.1f,%.1f,%" PRIu64 ",%" PRIu64 ",%.1f,", 100 * row->share,
                row->total_ns, row->instances, row->mean_ns, row->median_ns, row->least_ns, row->most_ns,
                row->deviation_ns);
        printable_write_csv_report(out, row->name);
        if (step_ns) putc(',', out);
        if (step_ns && isfinite(step_ns[i])) fprintf(out, "%.1f", step_ns[i]);
        putc('\n', out);
    }
}
