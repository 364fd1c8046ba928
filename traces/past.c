#include "past.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void put_u32(struct trace_out *out, uint32_t value)
{
    for (int i = 0; i < 4; i++) out->bytes[out->length++] = (uint8_t)(value >> 8 * i);
}

static uint32_t get_u32(struct trace_in *in)
{
    uint32_t value = 0;
    if (in->end - in->at < 4) {
        in->bad = true;
        in->at = in->end;
        return 0;
    }
    for (int i = 0; i < 4; i++) value |= (uint32_t)*in->at++ << 8 * i;
    return value;
}

/* Number and times as differences; which metrics there are, which of them are others than the step before had, and
 * those. */
static void put_step(struct trace_past_state *state, struct trace_out *out, const struct rollup_step *step)
{
    trace_put_signed(out, (int64_t)(step->step - state->step));
    trace_put_signed(out, (int64_t)(step->begin_ns - state->ns));
    trace_put_signed(out, step->end_ns ? (int64_t)(step->end_ns - step->begin_ns + 1) : 0);
    size_t known_at = out->length, changed_at = known_at + 1;
    out->length += 2;
    out->bytes[known_at] = out->bytes[changed_at] = 0;
    for (int i = 0; i < TRACE_METRICS; i++) {
        uint32_t bits = bits_of(step->metric[i]);
        if (isnan(step->metric[i])) continue;
        out->bytes[known_at] |= (uint8_t)(1 << i);
        if (bits == state->metric[i]) continue;
        out->bytes[changed_at] |= (uint8_t)(1 << i);
        put_u32(out, bits);
        state->metric[i] = bits;
    }
    state->step = step->step;
    state->ns = step->end_ns ? step->end_ns : step->begin_ns;
}
_Static_assert(TRACE_METRICS <= 8, "metrics of a step in the past are bits of one byte");

static void get_step(struct trace_past_state *state, struct trace_in *in, struct rollup_step *step)
{
    step->step = state->step += (uint64_t)trace_get_signed(in);
    step->begin_ns = state->ns + (uint64_t)trace_get_signed(in);
    uint64_t lasted = (uint64_t)trace_get_signed(in);
    step->end_ns = lasted ? step->begin_ns + lasted - 1 : 0;
    unsigned known = 0, changed = 0;
    if (in->end - in->at >= 2) {
        known = *in->at++;
        changed = *in->at++;
    } else {
        in->bad = true;
    }
    for (unsigned i = 0; i < TRACE_METRICS; i++) {
        if (changed >> i & 1) state->metric[i] = get_u32(in);
        step->metric[i] = NAN;
        if (known >> i & 1) memcpy(&step->metric[i], &state->metric[i], sizeof state->metric[i]);
    }
    state->ns = step->end_ns ? step->end_ns : step->begin_ns;
}

static void put_value(struct trace_out *out, const struct rollup_value *value)
{
    trace_put_varint(out, value->count);
    trace_put_varint(out, value->last_ns);
    trace_put_double(out, value->last);
    trace_put_double(out, value->least);
    trace_put_double(out, value->most);
    trace_put_double(out, value->sum);
}

static void get_value(struct trace_in *in, struct rollup_value *value)
{
    value->count = trace_get_varint(in);
    value->last_ns = trace_get_varint(in);
    value->last = trace_get_double(in);
    value->least = trace_get_double(in);
    value->most = trace_get_double(in);
    value->sum = trace_get_double(in);
}

void trace_encode_past(struct trace_past_state *state, struct trace_out *out, const struct trace_past *past)
{
    out->bytes[out->length++] = (uint8_t)(past->type | past->kind << 4);
    if (past->type == PAST_STEP) {
        put_step(state, out, &past->step);
        return;
    }
    if (past->type == PAST_MARK) {
        trace_put_varint(out, past->mark.ns);
        trace_put_varint(out, past->mark.length);
        memcpy(out->bytes + out->length, past->mark.text, past->mark.length);
        out->length += past->mark.length;
        return;
    }
    trace_put_varint(out, past->device);
    if (past->type == PAST_MEMORY) {
        trace_put_varint(out, past->memory.used_bytes);
        trace_put_varint(out, past->memory.peak_bytes);
    } else if (past->type == PAST_COUNTER) {
        trace_put_varint(out, past->id);
        put_value(out, &past->value);
    } else {
        trace_put_varint(out, past->total);
    }
}

static void get_rest(struct trace_in *in, struct trace_past *past)
{
    uint64_t device = trace_get_varint(in);
    if (device >= TRACE_MOST_DEVICES) in->bad = true;
    past->device = in->bad ? 0 : (uint32_t)device;
    if (past->type == PAST_MEMORY) {
        past->memory.used_bytes = trace_get_varint(in);
        past->memory.peak_bytes = trace_get_varint(in);
    } else if (past->type == PAST_COUNTER) {
        uint64_t id = trace_get_varint(in);
        if (id >= TRACE_MOST_COUNTERS) in->bad = true;
        past->id = in->bad ? 0 : (uint32_t)id;
        get_value(in, &past->value);
    } else {
        past->total = trace_get_varint(in);
    }
}

bool trace_decode_past(struct trace_past_state *state, struct trace_in *in, struct trace_past *past)
{
    if (in->at >= in->end) return false;
    uint8_t head = *in->at++;
    *past = (struct trace_past){.type = head & 15, .kind = head >> 4};
    if (past->type == PAST_STEP) {
        get_step(state, in, &past->step);
    } else if (past->type == PAST_MARK) {
        past->mark.ns = trace_get_varint(in);
        past->mark.text = trace_get_text(in, &past->mark.length);
    } else if (past->type < TRACE_PAST_TYPES) {
        get_rest(in, past);
    } else {
        in->bad = true;
    }
    return !in->bad;
}
