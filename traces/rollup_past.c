/* The past of a trace, into a roll-up and out of it. */
#include <string.h>

#include "rollup_private.h"

/* ---- Into a roll-up ---- */

static bool take_step(struct trace_follower *follower, const struct rollup_step *step, struct error *err)
{
    struct rollup_step *known;
    TRY(rollup_find_step(follower, step->step, &known, err));
    if (!known || known->begin_ns != 0) return true;
    *known = *step;
    follower->rollup.unreported = 0; /* perhaps */
    return true;
}

static bool take_mark(struct trace_follower *follower, const struct trace_past *past, struct error *err)
{
    struct rollup_mark mark = rollup_make_mark(past->mark.ns, past->mark.text, past->mark.length);
    return rollup_has_mark(&follower->rollup, &mark) || rollup_add_mark(follower, &mark, err);
}

static void take_memory(struct rollup_device *device, const struct trace_past *past)
{
    if (past->kind >= TRACE_SAMPLES) return;
    device->used_bytes[past->kind] = past->memory.used_bytes;
    device->used_known[past->kind] = true;
    if (past->memory.peak_bytes > device->peak_bytes[past->kind])
        device->peak_bytes[past->kind] = past->memory.peak_bytes;
}

static bool take_counter(struct trace_follower *follower, const struct trace_past *past, struct error *err)
{
    struct rollup_value *value =
        rollup_counter_value(follower, past->id, past->kind == READING_OF_HOST, past->device, err);
    if (!value) return false;
    *value = past->value;
    return true;
}

static void take_loss(struct rollup *rollup, const struct trace_past *past)
{
    if (past->kind == LOSS_TIMESTAMPS) rollup->lost_timestamps = past->total;
    if (past->kind == LOSS_RECORDS) rollup->lost_records = past->total;
}

bool rollup_take_past(struct trace_follower *follower, const struct trace_past *past, struct error *err)
{
    struct rollup_device *device = &follower->rollup.devices[past->device];
    switch ((enum trace_past_type)past->type) {
    case PAST_STEP: return take_step(follower, &past->step, err);
    case PAST_MARK: return take_mark(follower, past, err);
    case PAST_MEMORY: take_memory(device, past); return true;
    case PAST_GAP:
        if (past->kind < TRACE_GAPS) device->gap_ns[past->kind] = past->total;
        return true;
    case PAST_HOST:
        if (past->kind < TRACE_HOSTS) device->host_ns[past->kind] = past->total;
        return true;
    case PAST_COUNTER: return take_counter(follower, past, err);
    case PAST_LOSS: take_loss(&follower->rollup, past); return true;
    case TRACE_PAST_TYPES: break;
    }
    return true;
}

/* ---- Out of a roll-up ---- */

#define MOST_PAST_MARKS 1000

/* Blocks being written; without an output they are only counted. */
struct past_writer {
    struct trace_output *output;
    uint8_t *buffer;
    struct trace_out out;
    struct trace_past_state state;
    uint64_t before; /* the sequence number of the first of these blocks */
    uint64_t bytes;
};

static void begin_block(struct past_writer *writer)
{
    writer->out = trace_payload(writer->buffer);
    writer->state = (struct trace_past_state){0};
    trace_put_varint(&writer->out, writer->before);
}

static void end_block(struct past_writer *writer)
{
    writer->bytes += writer->out.length;
    if (!writer->output) return;
    uint64_t now = trace_output_now(writer->output);
    trace_output_block(writer->output, TRACE_BLOCK_PAST, writer->out.bytes, writer->out.length, 0, now, now);
}

static void put(struct past_writer *writer, const struct trace_past *past)
{
    size_t wanted = TRACE_PAST_ROOM + (past->type == PAST_MARK ? past->mark.length : 0);
    if (trace_room(&writer->out) < wanted) {
        end_block(writer);
        begin_block(writer);
    }
    trace_encode_past(&writer->state, &writer->out, past);
}

static void put_sums(struct past_writer *writer, enum trace_past_type type, uint32_t device, const uint64_t *totals,
                     uint8_t count)
{
    for (uint8_t kind = 0; kind < count; kind++)
        if (totals[kind] > 0)
            put(writer,
                &(struct trace_past){.type = (uint8_t)type, .kind = kind, .device = device, .total = totals[kind]});
}

static void put_device(struct past_writer *writer, uint32_t number, const struct rollup_device *device)
{
    put_sums(writer, PAST_GAP, number, device->gap_ns, TRACE_GAPS);
    put_sums(writer, PAST_HOST, number, device->host_ns, TRACE_HOSTS);
    for (uint8_t kind = 0; kind < TRACE_SAMPLES; kind++) {
        struct trace_past past = {.type = PAST_MEMORY, .kind = kind, .device = number};
        past.memory.used_bytes = device->used_bytes[kind];
        past.memory.peak_bytes = device->peak_bytes[kind];
        if (device->used_known[kind]) put(writer, &past);
    }
}

static void put_counter(struct past_writer *writer, uint32_t id, const struct rollup_counter *counter)
{
    struct trace_past past = {.type = PAST_COUNTER, .kind = READING_OF_HOST, .id = id, .value = counter->host};
    if (counter->host.count > 0) put(writer, &past);
    past.kind = READING_OF_DEVICE;
    for (uint32_t i = 0; i < ROLLUP_MOST_DEVICES; i++) {
        past.device = i;
        past.value = counter->devices[i];
        if (past.value.count > 0) put(writer, &past);
    }
}

static uint64_t put_rollup(struct past_writer *writer, const struct rollup *rollup)
{
    const uint64_t losses[TRACE_LOSSES] = {
        [LOSS_RECORDS] = rollup->lost_records, [LOSS_TIMESTAMPS] = rollup->lost_timestamps};
    size_t marks = rollup->mark_count < MOST_PAST_MARKS ? rollup->mark_count : MOST_PAST_MARKS;
    writer->bytes = 0;
    begin_block(writer);
    put_sums(writer, PAST_LOSS, 0, losses, TRACE_LOSSES);
    for (uint32_t i = 0; i < ROLLUP_MOST_DEVICES; i++) put_device(writer, i, &rollup->devices[i]);
    for (uint32_t i = 0; i < rollup->counter_count; i++) put_counter(writer, i, &rollup->counters[i]);
    for (size_t i = rollup->mark_count - marks; i < rollup->mark_count; i++) {
        struct trace_past past = {.type = PAST_MARK, .mark = {rollup->marks[i].ns, rollup->marks[i].text, 0}};
        past.mark.length = strlen(rollup->marks[i].text);
        put(writer, &past);
    }
    for (size_t i = 0; i < rollup->step_count; i++) {
        struct trace_past past = {.type = PAST_STEP, .step = rollup->steps[i]};
        past.step.step--; /* in files they are numbered from 0 */
        put(writer, &past);
    }
    end_block(writer);
    return writer->bytes;
}

void rollup_write_past(struct trace_follower *follower, struct trace_output *output, uint64_t most_bytes,
                       uint8_t *buffer)
{
    struct past_writer writer = {.buffer = buffer, .before = output->sequence};
    const struct rollup *rollup = &follower->rollup;
    while (put_rollup(&writer, rollup) > most_bytes && rollup->step_count > 1)
        rollup_thin_steps(follower, rollup->step_count);
    writer.output = output;
    put_rollup(&writer, rollup);
}
