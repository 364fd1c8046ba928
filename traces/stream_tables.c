/* Tables of a trace, entry by entry: the run, devices, ops, kernels, counters, tensors, units. */
#include <string.h>

#include "stream_private.h"

#define RUN_NAMES 5

static const char *get_copy(struct trace_in *in, char copy[TRACE_TEXT_MOST + 1])
{
    size_t length;
    const char *text = trace_get_text(in, &length);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

static const char *name_of(const struct trace_stream *stream, uint64_t number)
{
    const char *name = number < stream->name_count ? stream->names[number] : NULL;
    return name ? name : "?";
}

static uint32_t *ids_of(struct trace_stream *stream)
{
    return stream->block.type == TRACE_BLOCK_OPS ? &stream->op_ids[stream->device]
                                                 : &stream->kernel_ids[stream->device];
}

/* Readers keep tables by id. Entries that are missing were told by bytes before these, one each at least: a file
 * without so many would have its reader take memory for nothing. */
void stream_begin_entries(struct trace_stream *stream)
{
    struct trace_in *in = &stream->in;
    stream->device = stream_get_device(in);
    stream->number = stream_get_u32(in);
    uint32_t *ids = ids_of(stream), missing = stream->number > *ids ? stream->number - *ids : 0;
    if (stream->ids + missing > trace_reader_end_offset(stream->reader)) in->bad = true;
    if (in->bad) return;
    stream->ids += missing;
    *ids += missing;
}

static uint32_t take_id(struct trace_stream *stream)
{
    uint32_t *ids = ids_of(stream);
    if (stream->number == *ids) {
        ++*ids;
        stream->ids++;
    }
    return stream->number++;
}

void stream_begin_tensors(struct trace_stream *stream)
{
    struct trace_in *in = &stream->in;
    stream->device = stream_get_device(in);
    stream->tensors_like = stream_get_u32(in) - 1;
    stream->number = stream_get_u32(in);
    stream->tensor_count = stream_get_u32(in);
    stream->tensor_unit = trace_get_varint(in);
    stream->tensor_first = 0;
    if (stream->tensors_like >= TRACE_MOST_DEVICES || stream->tensor_count > TRACE_MOST_TENSORS) in->bad = true;
}

void stream_begin_units(struct trace_stream *stream)
{
    struct trace_in *in = &stream->in;
    stream->device = stream_get_device(in);
    stream->number = stream_get_u32(in);
    stream->unit_count = stream_get_u32(in);
    if (stream->unit_count > TRACE_MOST_UNITS) in->bad = true;
}

void stream_take_op(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at >= in->end) return;
    uint64_t layer = trace_get_varint(in), kind = trace_get_varint(in), pass = trace_get_varint(in);
    item->op = (struct trace_op){.id = take_id(stream),
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

void stream_take_kernel(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at >= in->end) return;
    struct trace_kernel *kernel = &item->kernel;
    uint64_t op = trace_get_varint(in), name = trace_get_varint(in), work = trace_get_varint(in);
    uint32_t nobody = stream->block.type == TRACE_BLOCK_RUN_KERNELS ? TRACE_OF_RUN : TRACE_NO_OWNER;
    *kernel = (struct trace_kernel){.id = take_id(stream),
                                    .device = stream->device,
                                    .op = op ? (uint32_t)(op - 1) : nobody,
                                    .work = (enum trace_work)work,
                                    .name = name_of(stream, name)};
    for (size_t i = 0; i < 3; i++) kernel->grid[i] = stream_get_u32(in);
    for (size_t i = 0; i < 3; i++) kernel->block[i] = stream_get_u32(in);
    kernel->registers = stream_get_u32(in);
    kernel->bytes = trace_get_varint(in);
    if (kernel->id >= TRACE_MOST_OPS || op > TRACE_MOST_OPS || work >= TRACE_WORKS) in->bad = true;
    if (!in->bad) item->type = TRACE_ITEM_KERNEL;
}

void stream_take_counter(struct trace_stream *stream, struct trace_item *item)
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
    item->run = (struct trace_run){names[0], names[1], names[2], names[3], names[4], stream_get_u32(in), 0, 0, 0, 0};
    item->run.devices = stream_get_u32(in);
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
void stream_take_run_item(struct trace_stream *stream, struct trace_item *item)
{
    if (stream->in.at == stream->in.end) return;
    switch (stream->number++) {
    case 0: take_clock(stream, item); break;
    case 1: take_run(stream, item); break;
    default: take_part(stream, item);
    }
}

void stream_take_device(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at == in->end) return;
    struct trace_device *device = &item->device;
    *device =
        (struct trace_device){.device = stream_get_device(in), .name = get_copy(in, stream->text[STREAM_CLASSES])};
    device->memory_bytes = trace_get_varint(in);
    device->planned_bytes = trace_get_varint(in);
    device->arena_bytes = trace_get_varint(in);
    device->images = stream_get_u32(in);
    device->classes = stream_get_u32(in);
    if (device->classes > STREAM_CLASSES) in->bad = true;
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
void stream_take_origin_item(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at == in->end) return;
    if (stream->number++ == 0) {
        item->origin.rank = stream_get_u32(in);
        item->origin.ranks = stream_get_u32(in);
        item->origin.host = get_copy(in, stream->text[0]);
        item->origin.first_device = stream_get_u32(in);
        item->origin.devices = stream_get_u32(in);
        if (!in->bad) item->type = TRACE_ITEM_ORIGIN;
        return;
    }
    item->hardware.device = stream_get_device(in);
    item->hardware.slot = get_copy(in, stream->text[0]);
    if (!in->bad) item->type = TRACE_ITEM_HARDWARE;
}

void stream_take_writer(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at == in->end) return;
    item->writer.pid = trace_get_varint(in);
    item->writer.pid_space = trace_get_varint(in);
    if (!in->bad) item->type = TRACE_ITEM_WRITER;
    in->at = in->end;
}

void stream_take_peaks(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->at == in->end) return;
    item->peaks.device = stream_get_device(in);
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

void stream_take_tensor(struct trace_stream *stream, struct trace_item *item)
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

void stream_take_unit(struct trace_stream *stream, struct trace_item *item)
{
    struct trace_in *in = &stream->in;
    if (in->bad || in->at >= in->end) return;
    struct trace_unit *unit = &item->unit.unit;
    uint64_t layer = trace_get_varint(in), output = trace_get_varint(in), gradient = trace_get_varint(in);
    *unit = (struct trace_unit){
        .layer = name_of(stream, layer), .output = name_of(stream, output), .gradient = name_of(stream, gradient)};
    unit->output_elements = trace_get_varint(in);
    unit->weight_elements = trace_get_varint(in);
    if (stream->number >= stream->unit_count) in->bad = true;
    if (in->bad) return;
    item->unit.device = stream->device;
    item->unit.id = stream->number++;
    item->unit.total = stream->unit_count;
    item->type = TRACE_ITEM_UNIT;
}
