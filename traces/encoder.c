#include "encoder.h"

#include <string.h>

#include "mem.h"

#define FIRST_TEMPLATE_STEPS 2 /* the first step warms up; then templates are renewed ever more rarely */
#define TEMPLATE_GROWTH      4
#define OP_ROOM              (4 * TRACE_VARINT_MOST)

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

void encoder_init(struct encoder *encoder, struct trace_output *output)
{
    memset(encoder, 0, sizeof *encoder);
    encoder->output = output;
    encoder->segment_bytes = clamp(output->most_bytes / 16, 64u << 10, 16u << 20);
    encoder->past_bytes = clamp(output->most_bytes / 128, 128u << 10, 2u << 20);
    if (encoder->past_bytes > output->most_bytes / 4) encoder->past_bytes = output->most_bytes / 4;
    rollup_begin(&encoder->past, ROLLUP_MOST_STEPS);
}

static void finish_usual(struct encoder_usual *usual)
{
    mem_free(usual->template.ops);
    mem_free(usual->learned.ops);
}

static void finish_device(struct encoder_device *device)
{
    mem_free(device->block.bytes);
    finish_usual(&device->ops);
    finish_usual(&device->kernels);
    for (size_t i = 0; i < device->open_made; i++) mem_free(device->open[i].block.bytes);
    mem_free(device->open);
    mem_free(device->streams);
    key_map_finish(&device->by_stream);
}

void encoder_finish(struct encoder *encoder)
{
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) finish_device(&encoder->devices[i]);
    rollup_finish(&encoder->past);
    norm_store_finish(&encoder->norms);
    mem_free(encoder->events.bytes);
    mem_free(encoder->more.bytes);
    mem_free(encoder->clocks.bytes);
}

bool encoder_expect(struct encoder_usual *usual, size_t ops)
{
    size_t old = usual->learned.count;
    if (ops <= old) return true;
    struct trace_expected *learned = mem_resize(MEM_TRACE, usual->learned.ops, ops, sizeof *learned);
    if (!learned) return false;
    usual->learned.ops = learned;
    struct trace_expected *template = mem_resize(MEM_TRACE, usual->template.ops, ops, sizeof *template);
    if (!template) return false;
    usual->template.ops = template;
    for (size_t i = old; i < ops; i++) learned[i] = (struct trace_expected){TRACE_NO_OP, 0, 0};
    usual->learned.count = ops;
    usual->next_template = usual->seen + FIRST_TEMPLATE_STEPS * ops;
    return true;
}

static bool open_block(struct encoder_block *block, uint64_t ns)
{
    if (!block->bytes) block->bytes = mem_alloc(MEM_TRACE, TRACE_BLOCK_MOST, 1);
    if (!block->bytes) return false;
    block->length = TRACE_BLOCK_HEADER;
    block->events = 0;
    block->first_ns = block->last_ns = ns;
    return true;
}

static void cover(struct encoder_block *block, uint64_t first_ns, uint64_t last_ns)
{
    block->events++;
    if (first_ns < block->first_ns) block->first_ns = first_ns;
    if (last_ns > block->last_ns) block->last_ns = last_ns;
}

static void write_block(struct encoder *encoder, enum trace_block_type type, struct encoder_block *block)
{
    if (block->length == 0) return;
    trace_output_block(encoder->output, type, block->bytes, block->length, block->events, block->first_ns,
                       block->last_ns);
    block->length = 0;
}

static void write_kernel_times(struct encoder *encoder, struct encoder_device *device)
{
    for (size_t i = 0; i < device->open_count; i++) {
        write_block(encoder, TRACE_BLOCK_KERNEL_TIMES, &device->open[i].block);
        device->streams[device->open[i].stream].open = 0;
    }
    device->open_count = 0;
}

static void put_expected(struct trace_out *out, struct trace_expected *expected, uint32_t id)
{
    if (expected->next == TRACE_NO_OP) *expected = (struct trace_expected){id + 1, 0, 0};
    trace_put_signed(out, (int64_t)expected->next - id - 1);
    trace_put_signed(out, expected->gap_ns);
    trace_put_varint(out, expected->duration_ns);
}

/* What has been learned becomes the template. Ops in open blocks were told against the old one, so that those blocks
 * have to be written before. */
static void write_template(struct encoder *encoder, enum trace_block_type type, struct encoder_usual *usual,
                           uint32_t number)
{
    size_t count = usual->learned.count;
    memcpy(usual->template.ops, usual->learned.ops, count * sizeof *usual->template.ops);
    usual->template.count = count;
    if (usual->generation == 0) usual->generation = encoder->first_generation;
    usual->generation++;
    uint64_t now = trace_output_now(encoder->output);
    for (size_t i = 0; i < count;) {
        struct trace_out out = trace_payload(encoder->scratch);
        trace_put_varint(&out, number);
        trace_put_varint(&out, usual->generation);
        trace_put_varint(&out, count);
        trace_put_varint(&out, i);
        for (; i < count && trace_room(&out) > OP_ROOM; i++) put_expected(&out, &usual->template.ops[i], (uint32_t)i);
        trace_output_block(encoder->output, type, out.bytes, out.length, 0, now, now);
    }
}

static void write_op_template(struct encoder *encoder, uint32_t number)
{
    struct encoder_device *device = &encoder->devices[number];
    write_block(encoder, TRACE_BLOCK_TIMES, &device->block);
    write_template(encoder, TRACE_BLOCK_TEMPLATE, &device->ops, number);
}

static void write_kernel_template(struct encoder *encoder, uint32_t number)
{
    struct encoder_device *device = &encoder->devices[number];
    write_kernel_times(encoder, device);
    write_template(encoder, TRACE_BLOCK_KERNEL_TEMPLATE, &device->kernels, number);
}

/* Whether a new template is due; the next one is, when there are four times as many ops. */
static bool is_due(struct encoder_usual *usual)
{
    if (usual->learned.count == 0 || usual->seen < usual->next_template) return false;
    usual->next_template = usual->seen * TEMPLATE_GROWTH;
    return true;
}

/* Room for one op more, in a block that begins with these numbers and the time of its first op. */
static bool make_room(struct encoder *encoder, enum trace_block_type type, struct encoder_block *block,
                      const uint32_t *head, size_t numbers, uint64_t begin_ns)
{
    if (block->length > TRACE_BLOCK_MOST - OP_ROOM) write_block(encoder, type, block);
    if (block->length > 0) return true;
    if (!open_block(block, begin_ns)) return false;
    struct trace_out out = {block->bytes, block->length, TRACE_BLOCK_MOST};
    for (size_t i = 0; i < numbers; i++) trace_put_varint(&out, head[i]);
    trace_put_varint(&out, begin_ns);
    block->length = out.length;
    block->op_state = (struct trace_op_state){TRACE_NO_OP, begin_ns};
    return true;
}

static void put_op(struct encoder *encoder, struct encoder_block *block, struct encoder_usual *usual, uint32_t id,
                   uint64_t begin_ns, uint64_t end_ns)
{
    struct trace_out out = {block->bytes, block->length, TRACE_BLOCK_MOST};
    trace_encode_op(&block->op_state, &usual->template, &out, id, begin_ns, end_ns);
    block->length = out.length;
    cover(block, begin_ns, end_ns);
    usual->seen++;
    encoder->count++;
}

static void take_op(struct encoder *encoder, const struct trace_event *event)
{
    struct encoder_device *device = &encoder->devices[event->device];
    if (is_due(&device->ops)) write_op_template(encoder, event->device);
    const uint32_t head[] = {event->device, device->ops.generation};
    if (!make_room(encoder, TRACE_BLOCK_TIMES, &device->block, head, 2, event->begin_ns)) {
        encoder->dropped++;
        return;
    }
    put_op(encoder, &device->block, &device->ops, event->id, event->begin_ns, event->end_ns);
    trace_learn(&device->ops.learned, event->id, event->begin_ns, event->end_ns);
}

/* ---- Kernels ---- */

static bool find_stream(struct encoder_device *device, uint32_t number, uint32_t *at)
{
    void *streams = device->streams;
    if (key_map_find(&device->by_stream, number, at)) return true;
    *at = (uint32_t)device->stream_count;
    bool grown =
        mem_grow(MEM_TRACE, &streams, &device->stream_capacity, device->stream_count + 1, sizeof *device->streams);
    device->streams = streams;
    if (!grown || !key_map_add(&device->by_stream, number, *at)) return false;
    device->streams[device->stream_count++] = (struct encoder_stream){.number = number, .last = TRACE_NO_OP};
    return true;
}

/* The block that a stream's kernels go to; NULL when out of memory. */
static struct encoder_block *block_of(struct encoder *encoder, struct encoder_device *device, uint32_t at)
{
    void *open = device->open;
    if (device->streams[at].open) return &device->open[device->streams[at].open - 1].block;
    if (device->open_count == ENCODER_MOST_OPEN) write_kernel_times(encoder, device);
    bool grown = mem_grow(MEM_TRACE, &open, &device->open_capacity, device->open_count + 1, sizeof *device->open);
    device->open = open;
    if (!grown) return NULL;
    struct encoder_open *next = &device->open[device->open_count++];
    if (device->open_count > device->open_made) device->open[device->open_made++] = (struct encoder_open){.stream = 0};
    next->stream = at;
    device->streams[at].open = (uint32_t)device->open_count;
    return &next->block;
}

static bool take_kernel(struct encoder *encoder, uint32_t number, uint32_t at, const struct trace_kernel_time *kernel)
{
    struct encoder_device *device = &encoder->devices[number];
    struct encoder_stream *stream = &device->streams[at];
    struct encoder_usual *usual = &device->kernels;
    if (is_due(usual)) write_kernel_template(encoder, number);
    const uint32_t head[] = {number, stream->number, usual->generation};
    struct encoder_block *block = block_of(encoder, device, at);
    if (!block || !make_room(encoder, TRACE_BLOCK_KERNEL_TIMES, block, head, 3, kernel->begin_ns)) return false;
    put_op(encoder, block, usual, kernel->id, kernel->begin_ns, kernel->end_ns);
    usual->learned.last = stream->last;
    usual->learned.end_ns = stream->end_ns;
    trace_learn(&usual->learned, kernel->id, kernel->begin_ns, kernel->end_ns);
    stream->last = kernel->id;
    stream->end_ns = kernel->end_ns;
    return true;
}

static void take_batch(struct encoder *encoder, const struct trace_event *event)
{
    struct encoder_device *device = &encoder->devices[event->device];
    uint32_t at = 0;
    for (uint32_t i = 0; i < event->id; i++) {
        const struct trace_kernel_time *kernel = &event->kernels[i];
        bool same = at < device->stream_count && device->streams[at].number == kernel->stream;
        if (encoder->output->limit_reached || (!same && !find_stream(device, kernel->stream, &at)) ||
            !take_kernel(encoder, event->device, at, kernel))
            encoder->dropped++;
    }
    mem_free(event->kernels);
}

/* ---- Norms ---- */

/* They are many at once and seldom, so each step's has blocks of its own. */
static void take_norms(struct encoder *encoder, struct trace_norms *norms)
{
    if (encoder->output->limit_reached)
        encoder->dropped++;
    else
        norm_blocks_write(norms, encoder->output, encoder->scratch);
    encoder->count++;
    norm_store_take(&encoder->norms, norms, encoder->past_bytes / 2);
}

/* ---- Everything else ---- */

/* The block starts at the event's time, which metrics have not: they take `now`. */
static bool put_event(struct encoder_block *block, const struct trace_event *event, uint64_t now)
{
    uint64_t first, last;
    if (!trace_event_time(event, &first, &last)) first = last = block->length ? block->last_ns : now;
    if (block->length == 0) {
        if (!open_block(block, first)) return false;
        struct trace_out head = {block->bytes, block->length, TRACE_BLOCK_MOST};
        trace_put_varint(&head, first);
        block->length = head.length;
        block->event_state = (struct trace_event_state){first, 0};
    }
    struct trace_out out = {block->bytes, block->length, TRACE_BLOCK_MOST};
    trace_encode_event(&block->event_state, &out, event);
    block->length = out.length;
    cover(block, first, last);
    return true;
}

static bool has_room(const struct encoder_block *block, const struct trace_event *event)
{
    size_t wanted = TRACE_EVENT_ROOM + (event->type == TRACE_MARK ? event->id : 0);
    return block->length + wanted <= TRACE_BLOCK_MOST;
}

static void put_past(struct encoder *encoder, const struct trace_event *event)
{
    struct trace_item item = {.type = TRACE_ITEM_EVENT, .event = *event};
    struct error err = {0};
    bool step = event->type == TRACE_STEP_BEGIN || event->type == TRACE_STEP_END || event->type == TRACE_METRIC;
    if (step) item.event.step++; /* there they are numbered from 1 */
    if (!rollup_take_item(&encoder->past, &item, &err)) encoder->past_broken = true;
}

static void take_event(struct encoder *encoder, enum trace_block_type type, struct encoder_block *block,
                       const struct trace_event *event)
{
    if (!has_room(block, event)) write_block(encoder, type, block);
    if (put_event(block, event, trace_output_now(encoder->output)))
        encoder->count++;
    else
        encoder->dropped++;
    put_past(encoder, event);
}

void encoder_take(struct encoder *encoder, const struct trace_event *event)
{
    if (event->type == TRACE_OP) {
        if (encoder->output->limit_reached)
            encoder->dropped++;
        else
            take_op(encoder, event);
    } else if (event->type == TRACE_BATCH) {
        take_batch(encoder, event);
    } else if (event->type == TRACE_UNIT_NORMS) {
        take_norms(encoder, event->norms);
    } else if (event->type == TRACE_CLOCK_PAIR) {
        take_event(encoder, TRACE_BLOCK_CLOCKS, &encoder->clocks, event);
    } else if (event->type >= TRACE_COUNTER) {
        if (event->type == TRACE_LOSS && event->kind == LOSS_RECORDS) encoder->dropped += event->count;
        take_event(encoder, TRACE_BLOCK_MORE, &encoder->more, event);
    } else {
        take_event(encoder, TRACE_BLOCK_EVENTS, &encoder->events, event);
        if (event->type == TRACE_MARK) mem_free((void *)(uintptr_t)event->text);
    }
}

void encoder_write_tables(struct encoder *encoder, struct tables *tables)
{
    tables_write(tables, encoder->output, encoder->scratch);
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        encoder_expect(&encoder->devices[i].ops, tables->devices[i].op_count);
        encoder_expect(&encoder->devices[i].kernels, tables->devices[i].kernel_count);
    }
}

void encoder_write_kernel_tables(struct encoder *encoder, struct tables *tables)
{
    tables_write_kernels(tables, encoder->output, encoder->scratch);
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++)
        encoder_expect(&encoder->devices[i].kernels, tables->devices[i].kernel_count);
}

static bool segment_is_full(const struct encoder *encoder)
{
    const struct trace_output *output = encoder->output;
    if (output->limit_reached || output->failed) return false;
    return output->offset - output->segment_begin >= encoder->head_bytes + encoder->segment_bytes;
}

/* Of the segments that are kept at least one has the tensors. */
static uint64_t tensors_every(const struct encoder *encoder)
{
    return clamp(encoder->output->most_bytes / encoder->segment_bytes / 2, 1, 16);
}

void encoder_write_head(struct encoder *encoder, struct tables *tables)
{
    struct trace_output *output = encoder->output;
    trace_output_make_room(output, encoder->head_bytes + encoder->segment_bytes);
    if (output->sequence > 0) rollup_write_past(&encoder->past, output, encoder->past_bytes, encoder->scratch);
    tables->tensors_wanted = output->segment % tensors_every(encoder) == 0;
    encoder_write_tables(encoder, tables);
    norm_store_write(&encoder->norms, output, encoder->scratch);
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        if (encoder->devices[i].ops.generation) write_op_template(encoder, i);
        if (encoder->devices[i].kernels.generation) write_kernel_template(encoder, i);
    }
    encoder->head_bytes = output->offset - output->segment_begin;
    trace_output_make_room(output, encoder->head_bytes + encoder->segment_bytes);
}

/* The file system cannot give back old bytes, and there are as many as may be. */
static void tell_limit(struct encoder *encoder)
{
    static const char text[] = "op times end here: the disk limit is reached, and old ones cannot be let go";
    struct trace_event mark = {.type = TRACE_MARK, .id = sizeof text - 1, .ns = trace_output_now(encoder->output)};
    encoder->limit_told = true;
    mark.text = mem_strdup(MEM_TRACE, text);
    if (mark.text) encoder_take(encoder, &mark);
}

void encoder_flush(struct encoder *encoder, struct tables *tables)
{
    if (encoder->output->limit_reached && !encoder->limit_told) tell_limit(encoder);
    encoder->output->dropped += encoder->dropped;
    encoder->dropped = 0;
    write_block(encoder, TRACE_BLOCK_EVENTS, &encoder->events);
    write_block(encoder, TRACE_BLOCK_MORE, &encoder->more);
    write_block(encoder, TRACE_BLOCK_CLOCKS, &encoder->clocks);
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        write_block(encoder, TRACE_BLOCK_TIMES, &encoder->devices[i].block);
        write_kernel_times(encoder, &encoder->devices[i]);
    }
    if (!segment_is_full(encoder)) return;
    trace_output_end_segment(encoder->output, !encoder->past_broken);
    encoder_write_head(encoder, tables);
}

void encoder_end(struct encoder *encoder)
{
    uint64_t now = trace_output_now(encoder->output);
    trace_output_block(encoder->output, TRACE_BLOCK_END, encoder->scratch, TRACE_BLOCK_HEADER, 0, now, now);
}
