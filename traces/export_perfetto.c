/* Perfetto's trace format: a stream of TracePacket messages, of tracks and of what happens on them. */
#include <math.h>
#include <string.h>

#include "export.h"
#include "mem.h"
#include "perfetto_private.h"
#include "stream.h"

enum { TRACK_UUID = 1, TRACK_NAME = 2, TRACK_PARENT = 5, TRACK_COUNTER = 8 };
enum {
    EVENT_CATEGORY_ID = 3,
    EVENT_TYPE = 9,
    EVENT_NAME_ID = 10,
    EVENT_TRACK = 11,
    EVENT_NAME = 23,
    EVENT_DOUBLE = 44
};
enum { TYPE_BEGIN = 1, TYPE_END = 2, TYPE_INSTANT = 3, TYPE_COUNTER = 4 };
enum { NAME_ID = 1, NAME_TEXT = 2 };

static uint64_t track_of(uint32_t device, int lane) { return (uint64_t)device * LANES + (uint64_t)lane + 1; }

static void describe(struct perfetto *p, uint32_t device, int lane, const char *name)
{
    if (p->described[device][lane]) return;
    p->described[device][lane] = true;
    message_begin(&p->packet);
    message_begin(&p->body);
    message_put_number(&p->body, TRACK_UUID, track_of(device, lane));
    message_put_bytes(&p->body, TRACK_NAME, name, strlen(name));
    if (lane != LANE_DEVICE) message_put_number(&p->body, TRACK_PARENT, track_of(device, LANE_DEVICE));
    if (lane >= LANE_METRICS && lane < LANE_STREAMS) message_put_bytes(&p->body, TRACK_COUNTER, "", 0);
    message_put_message(&p->packet, PACKET_TRACK_DESCRIPTOR, &p->body);
    perfetto_write_packet(p);
}

static void describe_device(struct perfetto *p, uint32_t device, const char *name)
{
    char text[TRACE_TEXT_MOST + 32];
    snprintf(text, sizeof text, "device %u: %s", (unsigned)device, name);
    describe(p, device, LANE_DEVICE, text);
}

static void begin_event(struct perfetto *p, uint64_t ns, int type, uint32_t device, int lane)
{
    message_begin(&p->packet);
    message_begin(&p->body);
    message_put_number(&p->packet, PACKET_TIMESTAMP, ns);
    message_put_number(&p->body, EVENT_TYPE, (uint64_t)type);
    message_put_number(&p->body, EVENT_TRACK, track_of(device, lane));
}

static void end_event(struct perfetto *p)
{
    message_put_message(&p->packet, PACKET_TRACK_EVENT, &p->body);
    perfetto_write_packet(p);
}

static void write_slice(struct perfetto *p, uint32_t device, int lane, const struct trace_event *event,
                        const char *name)
{
    begin_event(p, event->begin_ns, TYPE_BEGIN, device, lane);
    message_put_bytes(&p->body, EVENT_NAME, name, strlen(name));
    end_event(p);
    begin_event(p, event->end_ns, TYPE_END, device, lane);
    end_event(p);
}

static void write_counter(struct perfetto *p, uint32_t device, int lane, const char *name, uint64_t ns, double value)
{
    if (!isfinite(value)) return;
    describe(p, device, lane, name);
    begin_event(p, ns, TYPE_COUNTER, device, lane);
    message_put_double(&p->body, EVENT_DOUBLE, value);
    end_event(p);
}

/* A name goes out once; later events give its number. */
static uint64_t intern(struct perfetto *p, uint64_t table, const char *text)
{
    uint64_t number = ++p->name_count;
    size_t length = strlen(text);
    message_begin(&p->packet);
    message_begin(&p->body);
    message_begin(&p->name);
    message_put_number(&p->name, NAME_ID, number);
    message_put_bytes(&p->name, NAME_TEXT, text, length < 2 * TRACE_TEXT_MOST + 2 ? length : 2 * TRACE_TEXT_MOST + 2);
    message_put_message(&p->body, table, &p->name);
    message_put_message(&p->packet, PACKET_INTERNED, &p->body);
    perfetto_write_packet(p);
    return number;
}

static bool grow_names(struct device_names *names, uint32_t id, struct error *err)
{
    void *ids = names->ids;
    size_t needed = (size_t)id + 1;
    if (!mem_grow(MEM_TRACE, &ids, &names->capacity, needed, sizeof *names->ids))
        return error_memory(err, needed * sizeof *names->ids, "a trace's op table");
    names->ids = ids;
    while (names->count < needed) names->ids[names->count++] = (struct interned){0};
    return true;
}

/* Of an op "layer kind"; its layer is the category of its kernels. */
static bool intern_op(struct perfetto *p, const struct trace_op *op, struct error *err)
{
    struct device_names *names = &p->names[op->device];
    char text[2 * TRACE_TEXT_MOST + 2];
    TRY(grow_names(names, op->id, err));
    if (names->ids[op->id].name) return true;
    snprintf(text, sizeof text, "%s %s", op->layer, op->kind);
    names->ids[op->id].name = intern(p, INTERNED_EVENT_NAMES, text);
    names->ids[op->id].layer = op->layer;
    return true;
}

static bool intern_kernel(struct perfetto *p, const struct trace_kernel *kernel, struct error *err)
{
    struct device_names *kernels = &p->kernels[kernel->device];
    struct device_names *ops = &p->names[kernel->device];
    TRY(grow_names(kernels, kernel->id, err));
    if (kernels->ids[kernel->id].name) return true;
    kernels->ids[kernel->id].name = intern(p, INTERNED_EVENT_NAMES, kernel->name);
    kernels->ids[kernel->id].kernel = *kernel;
    kernels->ids[kernel->id].layer = kernel->op < ops->count ? ops->ids[kernel->op].layer : NULL;
    struct interned *op = kernel->op < ops->count ? &ops->ids[kernel->op] : NULL;
    if (op && op->layer && op->category == 0) op->category = intern(p, INTERNED_CATEGORIES, op->layer);
    if (op) kernels->ids[kernel->id].category = op->category;
    return true;
}

static void write_interned(struct perfetto *p, const struct trace_event *event, int lane, struct interned ids)
{
    begin_event(p, event->begin_ns, TYPE_BEGIN, event->device, lane);
    if (ids.category) message_put_number(&p->body, EVENT_CATEGORY_ID, ids.category);
    message_put_number(&p->body, EVENT_NAME_ID, ids.name);
    end_event(p);
    begin_event(p, event->end_ns, TYPE_END, event->device, lane);
    end_event(p);
}

static void write_op(struct perfetto *p, const struct trace_event *event)
{
    const struct device_names *names = &p->names[event->device];
    struct interned ids = {.name = event->id < names->count ? names->ids[event->id].name : 0};
    if (ids.name)
        write_interned(p, event, LANE_OPS, ids);
    else
        write_slice(p, event->device, LANE_OPS, event, "?");
}

static int lane_of_stream(struct perfetto *p, uint32_t device, uint32_t stream)
{
    struct device_streams *streams = &p->streams[device];
    char name[32];
    size_t at = 0;
    while (at < streams->count && streams->numbers[at] != stream) at++;
    if (at == MOST_STREAMS) at--;
    if (at == streams->count) {
        streams->numbers[streams->count++] = stream;
        snprintf(name, sizeof name, "stream %u", (unsigned)stream);
        describe(p, device, LANE_STREAMS + (int)at, name);
        perfetto_describe_queue(p, device, LANE_STREAMS + (int)at, name);
    }
    return LANE_STREAMS + (int)at;
}

static void write_kernel(struct perfetto *p, const struct trace_event *event, uint32_t stream)
{
    const struct device_names *kernels = &p->kernels[event->device];
    int lane = lane_of_stream(p, event->device, stream);
    if (event->id >= kernels->count || !kernels->ids[event->id].name) {
        write_slice(p, event->device, lane, event, "?");
        return;
    }
    write_interned(p, event, lane, kernels->ids[event->id]);
    perfetto_write_stage(p, event, lane, &kernels->ids[event->id]);
}

static void write_reading(struct perfetto *p, const struct trace_event *event)
{
    const struct trace_counter *counter = &p->counters[event->id];
    char name[TRACE_TEXT_MOST + 1];
    if (!counter->name) return;
    snprintf(name, sizeof name, "%.800s, %.190s", counter->name, counter->unit);
    write_counter(p, event->device, LANE_COUNTERS + (int)event->id, name, event->at_ns, event->value);
}

static void write_host(struct perfetto *p, const struct trace_event *event)
{
    describe(p, event->device, LANE_HOST, "host");
    write_slice(p, event->device, LANE_HOST, event, trace_host_name(event->kind));
}

static void write_step(struct perfetto *p, const struct trace_event *event)
{
    char name[32];
    if (event->device == 0) p->step_ns = event->ns;
    begin_event(p, event->ns, event->type == TRACE_STEP_BEGIN ? TYPE_BEGIN : TYPE_END, event->device, LANE_STEPS);
    snprintf(name, sizeof name, "step %llu", (unsigned long long)event->step);
    if (event->type == TRACE_STEP_BEGIN) message_put_bytes(&p->body, EVENT_NAME, name, strlen(name));
    end_event(p);
}

static void write_mark(struct perfetto *p, const struct trace_event *event)
{
    describe(p, 0, LANE_MARKS, "marks");
    begin_event(p, event->ns, TYPE_INSTANT, 0, LANE_MARKS);
    message_put_bytes(&p->body, EVENT_NAME, event->text, event->id);
    end_event(p);
}

static void describe_lanes(struct perfetto *p, uint32_t device)
{
    describe_device(p, device, "?");
    describe(p, device, LANE_STEPS, "steps");
    describe(p, device, LANE_OPS, "ops");
    describe(p, device, LANE_GAPS, "gaps");
}

static void write_event(struct perfetto *p, const struct trace_item *item)
{
    const struct trace_event *event = &item->event;
    describe_lanes(p, event->device);
    switch ((enum trace_event_type)event->type) {
    case TRACE_OP: write_op(p, event); break;
    case TRACE_STEP_BEGIN:
    case TRACE_STEP_END: write_step(p, event); break;
    case TRACE_METRIC:
        if (event->kind < TRACE_METRICS)
            write_counter(p, 0, LANE_METRICS + event->kind, trace_metric_name(event->kind), p->step_ns, event->value);
        break;
    case TRACE_MEMORY:
        if (event->kind < TRACE_SAMPLES)
            write_counter(p, event->device, LANE_MEMORY + event->kind, trace_sample_name(event->kind), event->ns,
                          (double)event->bytes);
        break;
    case TRACE_GAP: write_slice(p, event->device, LANE_GAPS, event, trace_gap_name(event->kind)); break;
    case TRACE_MARK: write_mark(p, event); break;
    case TRACE_KERNEL: write_kernel(p, event, item->stream); break;
    case TRACE_COUNTER: write_reading(p, event); break;
    case TRACE_SPAN: write_host(p, event); break;
    case TRACE_LOST:
    case TRACE_LOSS:
    case TRACE_CLOCK_PAIR:
    case TRACE_EVENT_TYPES: break;
    }
}

static bool write_item(struct perfetto *p, const struct trace_item *item, struct error *err)
{
    if (item->type == TRACE_ITEM_OP) return intern_op(p, &item->op, err);
    if (item->type == TRACE_ITEM_RUN) p->pid = item->run.pid;
    if (item->type == TRACE_ITEM_DEVICE) describe_device(p, item->device.device, item->device.name);
    if (item->type == TRACE_ITEM_KERNEL) return intern_kernel(p, &item->kernel, err);
    if (item->type == TRACE_ITEM_COUNTER) p->counters[item->counter.id] = item->counter;
    if (item->type == TRACE_ITEM_EVENT) write_event(p, item);
    return true;
}

bool trace_export_perfetto(const char *path, FILE *out, const volatile sig_atomic_t *stop, struct error *err)
{
    struct trace_stream *stream;
    struct perfetto *p = mem_zalloc(MEM_TRACE, 1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, path);
    p->out = out;
    bool ok = trace_stream_open(path, &stream, err);
    if (ok) {
        struct trace_item item = {.type = TRACE_ITEM_CLOCK};
        for (uint64_t items = 0; ok && item.type != TRACE_ITEM_NONE; items++)
            ok = !trace_export_is_stopped(path, stop, items, err) && trace_stream_next(stream, &item, err) &&
                 write_item(p, &item, err);
        trace_stream_close(stream);
    }
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        mem_free(p->names[i].ids);
        mem_free(p->kernels[i].ids);
    }
    mem_free(p);
    return ok;
}
