#include "stream.h"

#include <string.h>

#include "mem.h"

#define MOST_NAMES   (1u << 20)
#define MOST_CLASSES 16
#define RUN_NAMES    5

struct stream_template {
    struct trace_template active;
    uint32_t generation;
    struct trace_expected *coming; /* parts of the next one, in order */
    size_t coming_count, coming_capacity;
    uint32_t coming_generation;
};

struct trace_stream {
    struct trace_reader *reader;
    struct trace_block block; /* being decoded; type 0 = none */
    struct trace_in in;
    uint64_t expected;       /* sequence number */
    uint64_t last_missing;   /* highest sequence number + 1 of the missing ones */
    uint32_t device, number; /* of the block; the next op of an op table, the next item of a run */
    struct trace_event_state event_state;
    struct trace_past_state past_state;
    struct trace_op_state op_state;
    struct trace_template template; /* of the block */
    uint32_t device_stream;         /* of a block of kernels */
    uint32_t tensors_like, tensor_count,
        tensor_first; /* of a block of tensors: the device, or its own number; all; the last one's op */
    uint64_t tensor_unit;
    struct stream_template templates[TRACE_MOST_DEVICES], kernel_templates[TRACE_MOST_DEVICES];
    char **names;
    size_t name_count, name_capacity;
    char text[MOST_CLASSES + 1][TRACE_TEXT_MOST + 1]; /* of the run or device being handed out */
    const char *class_names[MOST_CLASSES];
    uint64_t class_bytes[MOST_CLASSES];
    struct trace_stream_stats stats;
};

bool trace_stream_open(const char *path, struct trace_stream **out, struct error *err)
{
    struct trace_stream *stream = mem_zalloc(MEM_TRACE, 1, sizeof *stream);
    if (!stream) return error_memory(err, sizeof *stream, path);
    if (!trace_reader_open(path, &stream->reader, err)) {
        mem_free(stream);
        return false;
    }
    *out = stream;
    return true;
}

static void finish_template(struct stream_template *template)
{
    mem_free(template->active.ops);
    mem_free(template->coming);
}

void trace_stream_close(struct trace_stream *stream)
{
    if (!stream) return;
    trace_reader_close(stream->reader);
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        finish_template(&stream->templates[i]);
        finish_template(&stream->kernel_templates[i]);
    }
    for (size_t i = 0; i < stream->name_count; i++) mem_free(stream->names[i]);
    mem_free(stream->names);
    mem_free(stream);
}

void trace_stream_stats(const struct trace_stream *stream, struct trace_stream_stats *stats)
{
    *stats = stream->stats;
    trace_reader_stats(stream->reader, &stats->reader);
}

bool trace_stream_name(const struct trace_stream *stream, size_t number, const char **name)
{
    if (number >= stream->name_count) return false;
    *name = stream->names[number];
    return true;
}

static uint32_t get_device(struct trace_in *in)
{
    uint64_t device = trace_get_varint(in);
    if (device >= TRACE_MOST_DEVICES) in->bad = true;
    return in->bad ? 0 : (uint32_t)device;
}

static uint32_t get_u32(struct trace_in *in)
{
    uint64_t value = trace_get_varint(in);
    if (value > UINT32_MAX) in->bad = true;
    return (uint32_t)value;
}

static const char *get_copy(struct trace_in *in, char copy[TRACE_TEXT_MOST + 1])
{
    size_t length;
    const char *text = trace_get_text(in, &length);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

/* A name once read stays: it has been handed out. */
static bool set_name(struct trace_stream *stream, size_t number, const char *text, size_t length, struct error *err)
{
    void *names = stream->names;
    if (!mem_grow(MEM_TRACE, &names, &stream->name_capacity, number + 1, sizeof(char *)))
        return error_memory(err, (number + 1) * sizeof(char *), "the names of a trace");
    stream->names = names;
    while (stream->name_count <= number) stream->names[stream->name_count++] = NULL;
    if (stream->names[number]) return true;
    char *copy = mem_alloc(MEM_TRACE, length + 1, 1);
    if (!copy) return error_memory(err, length + 1, "a name of a trace");
    if (length) memcpy(copy, text, length);
    copy[length] = '\0';
    stream->names[number] = copy;
    return true;
}

static bool read_names(struct trace_stream *stream, struct error *err)
{
    struct trace_in *in = &stream->in;
    for (uint64_t number = trace_get_varint(in); !in->bad && in->at < in->end; number++) {
        size_t length;
        const char *text = trace_get_text(in, &length);
        if (number >= MOST_NAMES) in->bad = true;
        if (!in->bad) TRY(set_name(stream, (size_t)number, text, length, err));
    }
    return true;
}

static const char *name_of(const struct trace_stream *stream, uint64_t number)
{
    const char *name = number < stream->name_count ? stream->names[number] : NULL;
    return name ? name : "?";
}

static bool add_expected(struct stream_template *template, struct trace_in *in, struct error *err)
{
    void *coming = template->coming;
    size_t id = template->coming_count;
    if (!mem_grow(MEM_TRACE, &coming, &template->coming_capacity, id + 1, sizeof(struct trace_expected)))
        return error_memory(err, (id + 1) * sizeof(struct trace_expected), "a template of a trace");
    template->coming = coming;
    int64_t next = (int64_t)id + 1 + trace_get_signed(in), gap = trace_get_signed(in);
    uint32_t duration = get_u32(in);
    if (next < 0 || next > (int64_t)TRACE_MOST_OPS || gap < INT32_MIN || gap > INT32_MAX) in->bad = true;
    if (in->bad) return true;
    template->coming[template->coming_count++] = (struct trace_expected){(uint32_t)next, (int32_t)gap, duration};
    return true;
}

/* Parts come in order; the last one puts the template into use. */
static bool read_template(struct trace_stream *stream, struct stream_template *templates, struct error *err)
{
    struct trace_in *in = &stream->in;
    struct stream_template *template = &templates[get_device(in)];
    uint32_t generation = get_u32(in);
    uint64_t total = trace_get_varint(in), first = trace_get_varint(in);
    if (in->bad || total > TRACE_MOST_OPS) return true;
    if (first == 0) {
        template->coming_count = 0;
        template->coming_generation = generation;
    }
    if (template->coming_generation != generation || template->coming_count != first) return true;
    while (in->at < in->end && !in->bad) TRY(add_expected(template, in, err));
    if (in->bad || template->coming_count != total) return true;
    struct trace_expected *old = template->active.ops;
    size_t capacity = template->active.count;
    template->active = (struct trace_template){template->coming, template->coming_count};
    template->generation = generation;
    template->coming = old;
    template->coming_count = 0;
    template->coming_capacity = capacity;
    return true;
}

static void begin_times(struct trace_stream *stream, const struct stream_template *templates)
{
    struct trace_in *in = &stream->in;
    stream->device = get_device(in);
    if (stream->block.type == TRACE_BLOCK_KERNEL_TIMES) stream->device_stream = get_u32(in);
    uint32_t generation = get_u32(in);
    const struct stream_template *template = &templates[stream->device];
    stream->op_state = (struct trace_op_state){TRACE_NO_OP, trace_get_varint(in)};
    stream->template = generation == 0 ? (struct trace_template){0} : template->active;
    if (in->bad || generation == 0 || generation == template->generation) return;
    stream->stats.undecoded += stream->block.events;
    in->at = in->end;
}

static void begin_events(struct trace_stream *stream)
{
    struct trace_in *in = &stream->in;
    if (stream->block.type == TRACE_BLOCK_DIGEST) {
        uint64_t first = trace_get_varint(in);
        trace_get_varint(in);
        if (stream->last_missing <= first) in->at = in->end; /* nothing of that segment is missing */
    }
    if (in->at < in->end) stream->event_state = (struct trace_event_state){trace_get_varint(in), 0};
}

static void begin_tensors(struct trace_stream *stream)
{
    struct trace_in *in = &stream->in;
    stream->device = get_device(in);
    stream->tensors_like = get_u32(in) - 1;
    stream->number = get_u32(in);
    stream->tensor_count = get_u32(in);
    stream->tensor_unit = trace_get_varint(in);
    stream->tensor_first = 0;
    if (stream->tensors_like >= TRACE_MOST_DEVICES || stream->tensor_count > TRACE_MOST_TENSORS) in->bad = true;
}

static void begin_past(struct trace_stream *stream)
{
    trace_get_varint(&stream->in); /* where it begins: the reader's business */
    stream->past_state = (struct trace_past_state){0};
    if (stream->last_missing == 0) stream->in.at = stream->in.end;
}

static bool begin_block(struct trace_stream *stream, struct error *err)
{
    const struct trace_block *block = &stream->block;
    if (block->sequence > stream->expected) stream->last_missing = block->sequence;
    stream->expected = block->sequence + 1;
    if (block->dropped > stream->stats.dropped) stream->stats.dropped = block->dropped;
    if (block->version > 1 || block->type == 0 || block->type >= TRACE_BLOCK_TYPES) {
        stream->stats.unknown++;
        stream->block.type = 0;
        return true;
    }
    if (block->last_ns > stream->stats.last_ns) stream->stats.last_ns = block->last_ns;
    switch ((enum trace_block_type)block->type) {
    case TRACE_BLOCK_STRINGS: return read_names(stream, err);
    case TRACE_BLOCK_TEMPLATE: return read_template(stream, stream->templates, err);
    case TRACE_BLOCK_KERNEL_TEMPLATE: return read_template(stream, stream->kernel_templates, err);
    case TRACE_BLOCK_TIMES: begin_times(stream, stream->templates); return true;
    case TRACE_BLOCK_KERNEL_TIMES: begin_times(stream, stream->kernel_templates); return true;
    case TRACE_BLOCK_EVENTS:
    case TRACE_BLOCK_MORE:
    case TRACE_BLOCK_CLOCKS:
    case TRACE_BLOCK_DIGEST: begin_events(stream); return true;
    case TRACE_BLOCK_PAST: begin_past(stream); return true;
    case TRACE_BLOCK_ORIGIN:
    case TRACE_BLOCK_COUNTERS:
    case TRACE_BLOCK_RUN: stream->number = 0; return true;
    case TRACE_BLOCK_TENSORS: begin_tensors(stream); return true;
    case TRACE_BLOCK_KERNELS:
    case TRACE_BLOCK_RUN_KERNELS:
    case TRACE_BLOCK_OPS:
        stream->device = get_device(&stream->in);
        stream->number = get_u32(&stream->in);
        return true;
    default: return true;
    }
}

static void take_time(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_event *event = &item->event;
    event->type = stream->block.type == TRACE_BLOCK_TIMES ? TRACE_OP : TRACE_KERNEL;
    event->kind = 0;
    item->stream = stream->device_stream;
    event->device = (uint16_t)stream->device;
    if (trace_decode_op(&stream->op_state, &stream->template, &stream->in, &event->id, &event->begin_ns,
                        &event->end_ns))
        item->type = TRACE_ITEM_EVENT;
}

size_t trace_stream_times(struct trace_stream *stream, struct trace_time *times, size_t most)
{
    uint16_t type = stream->block.type;
    if (type != TRACE_BLOCK_TIMES && type != TRACE_BLOCK_KERNEL_TIMES) return 0;
    struct trace_in in = stream->in; /* copies, so that they stay in registers */
    struct trace_op_state state = stream->op_state;
    const struct trace_template template = stream->template;
    size_t count = 0;
    while (count < most &&
           trace_decode_op(&state, &template, &in, &times[count].id, &times[count].begin_ns, &times[count].end_ns))
        count++;
    stream->in = in;
    stream->op_state = state;
    return count;
}

static void take_event(struct trace_stream *stream, struct trace_item *item)
{
    if (!trace_decode_event(&stream->event_state, &stream->in, &item->event)) return;
    struct trace_event *event = &item->event;
    if (event->type == TRACE_STEP_BEGIN || event->type == TRACE_STEP_END || event->type == TRACE_METRIC) event->step++;
    item->type = TRACE_ITEM_EVENT;
    item->again = stream->block.type == TRACE_BLOCK_DIGEST;
}

static void take_past(struct trace_stream *stream, struct trace_item *item)
{
    if (!trace_decode_past(&stream->past_state, &stream->in, &item->past)) return;
    if (item->past.type == PAST_STEP) item->past.step.step++;
    item->type = TRACE_ITEM_PAST;
}

static void take_op(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at >= in->end) return;
    uint64_t layer = trace_get_varint(in), kind = trace_get_varint(in), pass = trace_get_varint(in);
    item->op = (struct trace_op){.id = stream->number++,
                                 .device = stream->device,
                                 .layer = name_of(stream, layer),
                                 .kind = name_of(stream, kind),
                                 .pass = name_of(stream, pass)};
    item->op.flops = trace_get_varint(in);
    item->op.bytes_moved = trace_get_varint(in);
    item->op.live_bytes = trace_get_varint(in);
    if (item->op.id >= TRACE_MOST_OPS) in->bad = true;
    if (!in->bad) item->type = TRACE_ITEM_OP;
}

static void take_kernel(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at >= in->end) return;
    struct trace_kernel *kernel = &item->kernel;
    uint64_t op = trace_get_varint(in), name = trace_get_varint(in), work = trace_get_varint(in);
    uint32_t nobody = stream->block.type == TRACE_BLOCK_RUN_KERNELS ? TRACE_OF_RUN : TRACE_NO_OWNER;
    *kernel = (struct trace_kernel){.id = stream->number++,
                                    .device = stream->device,
                                    .op = op ? (uint32_t)(op - 1) : nobody,
                                    .work = (enum trace_work)work,
                                    .name = name_of(stream, name)};
    for (size_t i = 0; i < 3; i++) kernel->grid[i] = get_u32(in);
    for (size_t i = 0; i < 3; i++) kernel->block[i] = get_u32(in);
    kernel->registers = get_u32(in);
    kernel->bytes = trace_get_varint(in);
    if (kernel->id >= TRACE_MOST_OPS || op > TRACE_MOST_OPS || work >= TRACE_WORKS) in->bad = true;
    if (!in->bad) item->type = TRACE_ITEM_KERNEL;
}

static void take_counter(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at >= in->end) return;
    uint64_t name = trace_get_varint(in), unit = trace_get_varint(in);
    item->counter = (struct trace_counter){stream->number++, name_of(stream, name), name_of(stream, unit)};
    if (item->counter.id >= TRACE_MOST_COUNTERS) in->bad = true;
    if (!in->bad) item->type = TRACE_ITEM_COUNTER;
}

static void take_clock(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    item->clock.clock_ns = trace_get_varint(in);
    item->clock.wall_ns = trace_get_varint(in);
    if (trace_get_varint(in) == 0) in->at = in->end;
    if (!in->bad) item->type = TRACE_ITEM_CLOCK;
}

static void take_run(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    const char *names[RUN_NAMES];
    for (size_t i = 0; i < RUN_NAMES; i++) names[i] = get_copy(in, stream->text[i]);
    item->run = (struct trace_run){names[0], names[1], names[2], names[3], names[4], get_u32(in), 0, 0, 0, 0};
    item->run.devices = get_u32(in);
    item->run.iterations = trace_get_varint(in);
    item->run.parameters = trace_get_varint(in);
    if (!in->bad && in->at < in->end) item->run.pid = trace_get_varint(in); /* the first traces end before it */
    if (!in->bad) item->type = TRACE_ITEM_RUN;
}

static void take_part(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    item->part.done = trace_get_varint(in);
    item->part.begun_ns = trace_get_varint(in);
    if (!in->bad) item->type = TRACE_ITEM_PART;
    in->at = in->end;
}

/* The clock pair, then, when the run is known, the run, then, when it was resumed, its part: items of one block. */
static void take_run_item(struct trace_stream *stream, struct trace_item *item)
{
    if (stream->in.at == stream->in.end) return;
    switch (stream->number++) {
    case 0: take_clock(stream, item); break;
    case 1: take_run(stream, item); break;
    default: take_part(stream, item);
    }
}

static void take_device(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at == in->end) return;
    struct trace_device *device = &item->device;
    *device = (struct trace_device){.device = get_device(in), .name = get_copy(in, stream->text[MOST_CLASSES])};
    device->memory_bytes = trace_get_varint(in);
    device->planned_bytes = trace_get_varint(in);
    device->arena_bytes = trace_get_varint(in);
    device->images = get_u32(in);
    device->classes = get_u32(in);
    if (device->classes > MOST_CLASSES) in->bad = true;
    for (uint32_t i = 0; i < device->classes && !in->bad; i++) {
        stream->class_names[i] = get_copy(in, stream->text[i]);
        stream->class_bytes[i] = trace_get_varint(in);
    }
    device->class_names = stream->class_names;
    device->class_bytes = stream->class_bytes;
    if (in->bad) return;
    item->type = TRACE_ITEM_DEVICE;
    in->at = in->end;
}

/* The process, then the hardware of its devices: items of one block. */
static void take_origin_item(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at == in->end) return;
    if (stream->number++ == 0) {
        item->origin.rank = get_u32(in);
        item->origin.ranks = get_u32(in);
        item->origin.host = get_copy(in, stream->text[0]);
        item->origin.first_device = get_u32(in);
        item->origin.devices = get_u32(in);
        if (!in->bad) item->type = TRACE_ITEM_ORIGIN;
        return;
    }
    item->hardware.device = get_device(in);
    item->hardware.slot = get_copy(in, stream->text[0]);
    if (!in->bad) item->type = TRACE_ITEM_HARDWARE;
}

static void take_peaks(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at == in->end) return;
    item->peaks.device = get_device(in);
    item->peaks.flops = trace_get_varint(in);
    item->peaks.bytes = trace_get_varint(in);
    if (!in->bad) item->type = TRACE_ITEM_PEAKS;
}

static void take_like(struct trace_stream *stream, struct trace_item *item)
{
    item->like.device = stream->device;
    item->like.like = stream->tensors_like;
    item->type = TRACE_ITEM_TENSORS_LIKE;
    stream->block.type = 0;
}

static void take_tensor(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->bad) return;
    if (stream->tensors_like != stream->device) {
        take_like(stream, item);
        return;
    }
    if (in->at >= in->end) return;
    struct trace_tensor *tensor = &item->tensor.tensor;
    uint64_t layer = trace_get_varint(in), role = trace_get_varint(in), class = trace_get_varint(in);
    *tensor = (struct trace_tensor){.layer = name_of(stream, layer),
                                    .role = name_of(stream, role),
                                    .class_name = name_of(stream, class >> 1),
                                    .host = class & 1};
    tensor->offset = trace_get_varint(in) * stream->tensor_unit;
    tensor->bytes = trace_get_varint(in);
    int64_t first = stream->tensor_first + trace_get_signed(in);
    uint64_t length = trace_get_varint(in);
    if (first < 0 || first >= TRACE_MOST_OPS || length >= TRACE_MOST_OPS || stream->number >= stream->tensor_count)
        in->bad = true;
    if (in->bad) return;
    tensor->first = stream->tensor_first = (uint32_t)first;
    tensor->last = (uint32_t)((uint64_t)first + length);
    item->tensor.device = stream->device;
    item->tensor.id = stream->number++;
    item->tensor.total = stream->tensor_count;
    item->type = TRACE_ITEM_TENSOR;
}

/* Leaves the item's type alone when the block holds no more. */
static void take_item(struct trace_stream *stream, struct trace_item *item)
{
    switch ((enum trace_block_type)stream->block.type) {
    case TRACE_BLOCK_TIMES:
    case TRACE_BLOCK_KERNEL_TIMES: take_time(stream, item); break;
    case TRACE_BLOCK_KERNELS:
    case TRACE_BLOCK_RUN_KERNELS: take_kernel(stream, item); break;
    case TRACE_BLOCK_COUNTERS: take_counter(stream, item); break;
    case TRACE_BLOCK_EVENTS:
    case TRACE_BLOCK_MORE:
    case TRACE_BLOCK_CLOCKS:
    case TRACE_BLOCK_DIGEST: take_event(stream, item); break;
    case TRACE_BLOCK_OPS: take_op(stream, item); break;
    case TRACE_BLOCK_PAST: take_past(stream, item); break;
    case TRACE_BLOCK_RUN: take_run_item(stream, item); break;
    case TRACE_BLOCK_DEVICE: take_device(stream, item); break;
    case TRACE_BLOCK_ORIGIN: take_origin_item(stream, item); break;
    case TRACE_BLOCK_PEAKS: take_peaks(stream, item); break;
    case TRACE_BLOCK_TENSORS: take_tensor(stream, item); break;
    case TRACE_BLOCK_END:
        item->type = TRACE_ITEM_END;
        stream->block.type = 0;
        break;
    default: break;
    }
}

bool trace_stream_next(struct trace_stream *stream, struct trace_item *item, struct error *err)
{
    item->type = TRACE_ITEM_NONE;
    item->again = false;
    for (;;) {
        if (stream->block.type) take_item(stream, item);
        if (item->type != TRACE_ITEM_NONE) return true;
        if (stream->block.type && stream->in.bad) stream->stats.malformed++;
        stream->block.type = 0;
        bool found;
        const uint8_t *payload;
        bool ok = trace_reader_next(stream->reader, &stream->block, &payload, &found, err);
        if (!ok || !found) {
            stream->block.type = 0;
            return ok;
        }
        stream->in = (struct trace_in){payload, payload + stream->block.length, false};
        TRY(begin_block(stream, err));
    }
}
