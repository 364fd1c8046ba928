#include "stream_private.h"

#include <string.h>

#include "mem.h"

#define MOST_NAMES (1u << 20)

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

void trace_stream_look(struct trace_stream *stream) { trace_reader_look(stream->reader); }

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

static bool add_expected(struct stream_template *template, struct trace_in *in, struct error *err)
{
    void *coming = template->coming;
    size_t id = template->coming_count;
    if (!mem_grow(MEM_TRACE, &coming, &template->coming_capacity, id + 1, sizeof(struct trace_expected)))
        return error_memory(err, (id + 1) * sizeof(struct trace_expected), "a template of a trace");
    template->coming = coming;
    int64_t next = (int64_t)id + 1 + trace_get_signed(in), gap = trace_get_signed(in);
    uint32_t duration = stream_get_u32(in);
    if (next < 0 || next > (int64_t)TRACE_MOST_OPS || gap < INT32_MIN || gap > INT32_MAX) in->bad = true;
    if (in->bad) return true;
    template->coming[template->coming_count++] = (struct trace_expected){(uint32_t)next, (int32_t)gap, duration};
    return true;
}

/* Parts come in order; the last one puts the template into use. */
static bool read_template(struct trace_stream *stream, struct stream_template *templates, struct error *err)
{
    struct trace_in *in = &stream->in;
    struct stream_template *template = &templates[stream_get_device(in)];
    uint32_t generation = stream_get_u32(in);
    uint64_t total = trace_get_varint(in), first = trace_get_varint(in);
    if (in->bad || total > TRACE_MOST_OPS) return true;
    if (first == 0) {
        template->coming_count = 0;
        template->coming_generation = generation;
    }
    if (template->coming_generation != generation || template->coming_count != first) return true;
    while (in->at < in->end && !in->bad) TRY(add_expected(template, in, err));
    if (in->bad || template->coming_count != total) return true;
    mem_free(template->active.ops);
    template->active = (struct trace_template){template->coming, template->coming_count};
    template->generation = generation;
    template->coming = NULL;
    template->coming_count = template->coming_capacity = 0;
    return true;
}

static void begin_times(struct trace_stream *stream, const struct stream_template *templates)
{
    struct trace_in *in = &stream->in;
    stream->device = stream_get_device(in);
    if (stream->block.type == TRACE_BLOCK_KERNEL_TIMES) stream->device_stream = stream_get_u32(in);
    uint32_t generation = stream_get_u32(in);
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
    case TRACE_BLOCK_TENSORS: stream_begin_tensors(stream); return true;
    case TRACE_BLOCK_NORMS: norm_block_begin(&stream->norms, &stream->in); return true;
    case TRACE_BLOCK_UNITS: stream_begin_units(stream); return true;
    case TRACE_BLOCK_KERNELS:
    case TRACE_BLOCK_RUN_KERNELS:
    case TRACE_BLOCK_OPS: stream_begin_entries(stream); return true;
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

static void take_norms(struct trace_stream *stream, struct trace_item *item)
{
    if (!norm_block_next(&stream->norms, &stream->in, &item->norms)) return;
    item->norms.step++;
    item->type = TRACE_ITEM_NORMS;
}

/* Leaves the item's type alone when the block holds no more. */
static void take_item(struct trace_stream *stream, struct trace_item *item)
{
    switch ((enum trace_block_type)stream->block.type) {
    case TRACE_BLOCK_TIMES:
    case TRACE_BLOCK_KERNEL_TIMES: take_time(stream, item); break;
    case TRACE_BLOCK_KERNELS:
    case TRACE_BLOCK_RUN_KERNELS: stream_take_kernel(stream, item); break;
    case TRACE_BLOCK_COUNTERS: stream_take_counter(stream, item); break;
    case TRACE_BLOCK_EVENTS:
    case TRACE_BLOCK_MORE:
    case TRACE_BLOCK_CLOCKS:
    case TRACE_BLOCK_DIGEST: take_event(stream, item); break;
    case TRACE_BLOCK_OPS: stream_take_op(stream, item); break;
    case TRACE_BLOCK_PAST: take_past(stream, item); break;
    case TRACE_BLOCK_RUN: stream_take_run_item(stream, item); break;
    case TRACE_BLOCK_DEVICE: stream_take_device(stream, item); break;
    case TRACE_BLOCK_ORIGIN: stream_take_origin_item(stream, item); break;
    case TRACE_BLOCK_PEAKS: stream_take_peaks(stream, item); break;
    case TRACE_BLOCK_WRITER: stream_take_writer(stream, item); break;
    case TRACE_BLOCK_TENSORS: stream_take_tensor(stream, item); break;
    case TRACE_BLOCK_UNITS: stream_take_unit(stream, item); break;
    case TRACE_BLOCK_NORMS: take_norms(stream, item); break;
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
