#include "codec.h"

#include <string.h>

static void put_time(struct trace_event_state *state, struct trace_out *out, uint64_t ns)
{
    trace_put_signed(out, (int64_t)(ns - state->ns));
    state->ns = ns;
}

static uint64_t get_time(struct trace_event_state *state, struct trace_in *in)
{
    return state->ns += (uint64_t)trace_get_signed(in);
}

static void put_step(struct trace_event_state *state, struct trace_out *out, uint64_t step)
{
    trace_put_signed(out, (int64_t)(step - state->step));
    state->step = step;
}

static uint64_t get_step(struct trace_event_state *state, struct trace_in *in)
{
    return state->step += (uint64_t)trace_get_signed(in);
}

void trace_encode_event(struct trace_event_state *state, struct trace_out *out, const struct trace_event *event)
{
    out->bytes[out->length++] = (uint8_t)(event->type | event->kind << 4);
    switch ((enum trace_event_type)event->type) {
    case TRACE_STEP_BEGIN:
    case TRACE_STEP_END:
        trace_put_varint(out, event->device);
        put_step(state, out, event->step);
        put_time(state, out, event->ns);
        break;
    case TRACE_METRIC:
        put_step(state, out, event->step);
        trace_put_double(out, event->value);
        break;
    case TRACE_MEMORY:
        trace_put_varint(out, event->device);
        trace_put_varint(out, event->bytes);
        put_time(state, out, event->ns);
        break;
    case TRACE_GAP:
        trace_put_varint(out, event->device);
        put_time(state, out, event->begin_ns);
        put_time(state, out, event->end_ns);
        break;
    case TRACE_MARK:
        put_time(state, out, event->ns);
        trace_put_varint(out, event->id);
        memcpy(out->bytes + out->length, event->text, event->id);
        out->length += event->id;
        break;
    case TRACE_LOST:
        trace_put_varint(out, event->device);
        put_time(state, out, event->ns);
        break;
    case TRACE_COUNTER:
        trace_put_varint(out, event->device);
        trace_put_varint(out, event->id);
        put_time(state, out, event->at_ns);
        trace_put_double(out, event->value);
        break;
    case TRACE_SPAN:
        trace_put_varint(out, event->device);
        put_time(state, out, event->begin_ns);
        put_time(state, out, event->end_ns);
        break;
    case TRACE_LOSS:
        trace_put_varint(out, event->device);
        trace_put_varint(out, event->count);
        put_time(state, out, event->ns);
        break;
    case TRACE_CLOCK_PAIR:
        trace_put_varint(out, event->device);
        put_time(state, out, event->at_ns);
        trace_put_signed(out, (int64_t)(event->other_ns - event->at_ns));
        break;
    case TRACE_OP:
    case TRACE_KERNEL:
    case TRACE_EVENT_TYPES: break;
    }
}

static uint16_t get_device(struct trace_in *in)
{
    uint64_t device = trace_get_varint(in);
    if (device >= TRACE_MOST_DEVICES) in->bad = true;
    return (uint16_t)device;
}

static uint32_t get_counter(struct trace_in *in)
{
    uint64_t id = trace_get_varint(in);
    if (id >= TRACE_MOST_COUNTERS) in->bad = true;
    return (uint32_t)id;
}

bool trace_decode_event(struct trace_event_state *state, struct trace_in *in, struct trace_event *event)
{
    if (in->at >= in->end) return false;
    uint8_t head = *in->at++;
    *event = (struct trace_event){.type = head & 15, .kind = head >> 4};
    size_t length;
    switch ((enum trace_event_type)event->type) {
    case TRACE_STEP_BEGIN:
    case TRACE_STEP_END:
        event->device = get_device(in);
        event->step = get_step(state, in);
        event->ns = get_time(state, in);
        break;
    case TRACE_METRIC:
        event->step = get_step(state, in);
        event->value = trace_get_double(in);
        break;
    case TRACE_MEMORY:
        event->device = get_device(in);
        event->bytes = trace_get_varint(in);
        event->ns = get_time(state, in);
        break;
    case TRACE_GAP:
        event->device = get_device(in);
        event->begin_ns = get_time(state, in);
        event->end_ns = get_time(state, in);
        break;
    case TRACE_MARK:
        event->ns = get_time(state, in);
        event->text = trace_get_text(in, &length);
        event->id = (uint32_t)length;
        break;
    case TRACE_LOST:
        event->device = get_device(in);
        event->ns = get_time(state, in);
        break;
    case TRACE_COUNTER:
        event->device = get_device(in);
        event->id = get_counter(in);
        event->at_ns = get_time(state, in);
        event->value = trace_get_double(in);
        break;
    case TRACE_SPAN:
        event->device = get_device(in);
        event->begin_ns = get_time(state, in);
        event->end_ns = get_time(state, in);
        break;
    case TRACE_LOSS:
        event->device = get_device(in);
        event->count = trace_get_varint(in);
        event->ns = get_time(state, in);
        break;
    case TRACE_CLOCK_PAIR:
        event->device = get_device(in);
        event->at_ns = get_time(state, in);
        event->other_ns = event->at_ns + (uint64_t)trace_get_signed(in);
        break;
    default: in->bad = true; break;
    }
    return !in->bad;
}

bool trace_event_time(const struct trace_event *event, uint64_t *first_ns, uint64_t *last_ns)
{
    if (event->type == TRACE_METRIC) return false;
    bool span = trace_event_is_span(event), moment = trace_event_is_moment(event);
    *first_ns = span ? event->begin_ns : moment ? event->at_ns : event->ns;
    *last_ns = span ? event->end_ns : moment ? event->at_ns : event->ns;
    return true;
}

static int32_t clamp_gap(int64_t gap)
{
    return (int32_t)(gap > INT32_MAX ? INT32_MAX : gap < INT32_MIN ? INT32_MIN : gap);
}

/* A moving average over about four steps: noise of single steps goes out of the template, a slow drift comes in. */
void trace_learn(struct trace_learned *learned, uint32_t id, uint64_t begin_ns, uint64_t end_ns)
{
    int64_t gap = (int64_t)(begin_ns - learned->end_ns);
    uint64_t duration = end_ns - begin_ns;
    uint32_t last = learned->last;
    learned->last = id;
    learned->end_ns = end_ns;
    if (last < learned->count) learned->ops[last].next = id;
    if (id >= learned->count) return;
    struct trace_expected *op = &learned->ops[id];
    uint32_t clamped = duration > UINT32_MAX ? UINT32_MAX : (uint32_t)duration;
    if (op->next == TRACE_NO_OP) {
        *op = (struct trace_expected){id + 1, clamp_gap(gap), clamped};
        return;
    }
    op->gap_ns = (int32_t)(op->gap_ns + ((int64_t)clamp_gap(gap) - op->gap_ns) / 4);
    op->duration_ns = (uint32_t)(op->duration_ns + ((int64_t)clamped - (int64_t)op->duration_ns) / 4);
}
