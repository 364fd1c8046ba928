#include "encoder.h"

#include <string.h>

#include "mem.h"

#define FIRST_TEMPLATE_STEPS 2 /* the first step warms up; then templates are renewed ever more rarely */
#define TEMPLATE_GROWTH      4
#define OP_ROOM              (4 * TRACE_VARINT_MOST)
#define DIGEST_HEAD          (2 * TRACE_VARINT_MOST) /* what a digest says before its events */

void encoder_init(struct encoder *encoder, struct trace_output *output)
{
    memset(encoder, 0, sizeof *encoder);
    encoder->output = output;
    uint64_t bytes = output->most_bytes / 16;
    encoder->segment_bytes = bytes < (64u << 10) ? 64u << 10 : bytes > (16u << 20) ? 16u << 20 : bytes;
}

void encoder_finish(struct encoder *encoder)
{
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        mem_free(encoder->devices[i].block.bytes);
        mem_free(encoder->devices[i].template.ops);
        mem_free(encoder->devices[i].learned.ops);
    }
    for (size_t i = 0; i < ENCODER_DIGEST_CHUNKS; i++) mem_free(encoder->digest[i].bytes);
    mem_free(encoder->events.bytes);
}

bool encoder_expect(struct encoder *encoder, uint32_t number, size_t ops)
{
    struct encoder_device *device = &encoder->devices[number];
    size_t old = device->learned.count;
    if (ops <= old) return true;
    struct trace_expected *learned = mem_resize(MEM_TRACE, device->learned.ops, ops, sizeof *learned);
    if (!learned) return false;
    device->learned.ops = learned;
    struct trace_expected *template = mem_resize(MEM_TRACE, device->template.ops, ops, sizeof *template);
    if (!template) return false;
    device->template.ops = template;
    for (size_t i = old; i < ops; i++) learned[i] = (struct trace_expected){TRACE_NO_OP, 0, 0};
    device->learned.count = ops;
    device->next_template = device->seen + FIRST_TEMPLATE_STEPS * ops;
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

static void write_times(struct encoder *encoder, struct encoder_device *device)
{
    encoder->detail_bytes += device->block.length;
    write_block(encoder, TRACE_BLOCK_TIMES, &device->block);
}

static void put_expected(struct trace_out *out, struct trace_expected *expected, uint32_t id)
{
    if (expected->next == TRACE_NO_OP) *expected = (struct trace_expected){id + 1, 0, 0};
    trace_put_signed(out, (int64_t)expected->next - id - 1);
    trace_put_signed(out, expected->gap_ns);
    trace_put_varint(out, expected->duration_ns);
}

/* What has been learned becomes the template. Ops already in the open block were told against the old one, so that
 * block goes first. */
static void write_template(struct encoder *encoder, struct encoder_device *device, uint32_t number)
{
    size_t count = device->learned.count;
    write_times(encoder, device);
    memcpy(device->template.ops, device->learned.ops, count * sizeof *device->template.ops);
    device->template.count = count;
    if (device->generation == 0) device->generation = encoder->first_generation;
    device->generation++;
    uint64_t now = trace_output_now(encoder->output);
    for (size_t i = 0; i < count;) {
        struct trace_out out = trace_payload(encoder->scratch);
        trace_put_varint(&out, number);
        trace_put_varint(&out, device->generation);
        trace_put_varint(&out, count);
        trace_put_varint(&out, i);
        for (; i < count && trace_room(&out) > OP_ROOM; i++) put_expected(&out, &device->template.ops[i], (uint32_t)i);
        trace_output_block(encoder->output, TRACE_BLOCK_TEMPLATE, out.bytes, out.length, 0, now, now);
    }
}

static void take_op(struct encoder *encoder, const struct trace_event *event)
{
    struct encoder_device *device = &encoder->devices[event->device];
    struct encoder_block *block = &device->block;
    if (device->learned.count > 0 && device->seen >= device->next_template) {
        write_template(encoder, device, event->device);
        device->next_template = device->seen * TEMPLATE_GROWTH;
    }
    if (block->length > TRACE_BLOCK_MOST - OP_ROOM) write_times(encoder, device);
    if (block->length == 0) {
        if (!open_block(block, event->begin_ns)) {
            encoder->dropped++;
            return;
        }
        struct trace_out head = {block->bytes, block->length, TRACE_BLOCK_MOST};
        trace_put_varint(&head, event->device);
        trace_put_varint(&head, device->generation);
        trace_put_varint(&head, event->begin_ns);
        block->length = head.length;
        block->op_state = (struct trace_op_state){TRACE_NO_OP, event->begin_ns};
    }
    struct trace_out out = {block->bytes, block->length, TRACE_BLOCK_MOST};
    trace_encode_op(&block->op_state, &device->template, &out, event->id, event->begin_ns, event->end_ns);
    block->length = out.length;
    cover(block, event->begin_ns, event->end_ns);
    trace_learn(&device->learned, event->id, event->begin_ns, event->end_ns);
    device->seen++;
    encoder->count++;
}

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
    return block->length + wanted + DIGEST_HEAD <= TRACE_BLOCK_MOST;
}

static void put_digest(struct encoder *encoder, const struct trace_event *event)
{
    struct encoder_block *chunk = &encoder->digest[encoder->digest_chunk];
    if (!has_room(chunk, event) && encoder->digest_chunk + 1 < ENCODER_DIGEST_CHUNKS) {
        encoder->digest_chunk++;
        chunk++;
    }
    if (!has_room(chunk, event) || !put_event(chunk, event, trace_output_now(encoder->output)))
        encoder->digest_broken = true;
}

void encoder_take(struct encoder *encoder, const struct trace_event *event)
{
    if (event->type == TRACE_OP) {
        if (encoder->output->limit_reached)
            encoder->dropped++;
        else
            take_op(encoder, event);
        return;
    }
    if (!has_room(&encoder->events, event)) write_block(encoder, TRACE_BLOCK_EVENTS, &encoder->events);
    if (put_event(&encoder->events, event, trace_output_now(encoder->output)))
        encoder->count++;
    else
        encoder->dropped++;
    put_digest(encoder, event);
    if (event->type == TRACE_MARK) mem_free((void *)(uintptr_t)event->text);
}

void encoder_write_tables(struct encoder *encoder, const struct tables *tables)
{
    tables_write(tables, encoder->output, encoder->scratch);
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++) encoder_expect(encoder, i, tables->devices[i].op_count);
}

/* Each digest block names the segment it stands for by its sequence numbers; an empty segment leaves one too. */
static void write_digest(struct encoder *encoder, uint64_t first_sequence, uint64_t last_sequence)
{
    for (size_t i = 0; i <= encoder->digest_chunk; i++) {
        struct encoder_block *chunk = &encoder->digest[i];
        struct trace_out out = trace_payload(encoder->scratch);
        trace_put_varint(&out, first_sequence);
        trace_put_varint(&out, last_sequence);
        size_t length = chunk->length ? chunk->length - TRACE_BLOCK_HEADER : 0;
        if (length) memcpy(out.bytes + out.length, chunk->bytes + TRACE_BLOCK_HEADER, length);
        trace_output_block(encoder->output, TRACE_BLOCK_DIGEST, out.bytes, out.length + length, chunk->events,
                           chunk->first_ns, chunk->last_ns);
        chunk->length = 0;
    }
    encoder->digest_chunk = 0;
}

static bool segment_is_full(const struct encoder *encoder)
{
    return encoder->detail_bytes >= encoder->segment_bytes || encoder->digest_chunk >= ENCODER_DIGEST_CHUNKS / 2;
}

static void change_segment(struct encoder *encoder, const struct tables *tables)
{
    struct trace_output *output = encoder->output;
    uint64_t first = output->segment_sequence, last = output->sequence - 1;
    trace_output_end_segment(output, !encoder->digest_broken);
    write_digest(encoder, first, last);
    encoder->digest_broken = false;
    encoder->detail_bytes = 0;
    trace_output_begin_segment(output);
    encoder_write_tables(encoder, tables);
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++)
        if (encoder->devices[i].generation) write_template(encoder, &encoder->devices[i], i);
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

void encoder_flush(struct encoder *encoder, const struct tables *tables)
{
    if (encoder->output->limit_reached && !encoder->limit_told) tell_limit(encoder);
    encoder->output->dropped += encoder->dropped;
    encoder->dropped = 0;
    write_block(encoder, TRACE_BLOCK_EVENTS, &encoder->events);
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) write_times(encoder, &encoder->devices[i]);
    if (segment_is_full(encoder)) change_segment(encoder, tables);
}

void encoder_end(struct encoder *encoder)
{
    uint64_t now = trace_output_now(encoder->output);
    trace_output_block(encoder->output, TRACE_BLOCK_END, encoder->scratch, TRACE_BLOCK_HEADER, 0, now, now);
}
