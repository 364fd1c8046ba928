/* Events as bytes. Ops are told against a template: a step runs the same ops every time, so of each op only how its
 * start and its duration differ from the usual is written. Everything else is rare and told plainly, with times and
 * steps as differences from the event before. Sums wrap around, so any numbers survive. */
#ifndef FATHOM_CODEC_H
#define FATHOM_CODEC_H

#include "format.h"
#include "sink.h"

enum trace_event_type {
    TRACE_OP,
    TRACE_STEP_BEGIN,
    TRACE_STEP_END,
    TRACE_METRIC,
    TRACE_MEMORY,
    TRACE_GAP,
    TRACE_MARK,
    TRACE_LOST, /* an op came without usable times */
    TRACE_KERNEL,
    TRACE_COUNTER, /* from here on in blocks of their own: older readers know none of these */
    TRACE_SPAN,
    TRACE_LOSS,
    TRACE_CLOCK_PAIR, /* in blocks of its own again */
    TRACE_EVENT_TYPES
};
/* Kinds of a COUNTER. */
enum trace_reading { READING_OF_DEVICE, READING_OF_HOST };
/* Kernels on their way to the encoder, all of one device: no event of a file. */
#define TRACE_BATCH 0xff
/* Norms on their way to the encoder, on the file's clock: no event of a file either. */
#define TRACE_UNIT_NORMS 0xfe

struct trace_norms {
    uint64_t step, ns; /* step from 0 */
    uint32_t device;
    size_t units;
    float norms[];     /* TRACE_NORMS of each unit */
};

struct trace_event {
    uint8_t type;    /* enum trace_event_type */
    uint8_t kind;    /* METRIC: enum trace_metric; MEMORY: enum trace_sample; GAP: enum trace_gap; SPAN: enum trace_host;
                      * LOSS: enum trace_loss; COUNTER: enum trace_reading; CLOCK_PAIR: 0 = the wall's, 1 = the device's */
    uint16_t device; /* all but METRIC and MARK */
    uint32_t id;     /* OP: the op; KERNEL: the kernel; COUNTER: the counter; MARK: bytes of text; BATCH: kernels */
    union {
        uint64_t begin_ns; /* OP, KERNEL, GAP, SPAN */
        uint64_t step;     /* STEP_*, METRIC */
        uint64_t bytes;    /* MEMORY */
        uint64_t count;    /* LOSS */
        uint64_t at_ns;    /* COUNTER, CLOCK_PAIR */
        const char *text;  /* MARK; not NUL-terminated when decoded */
        struct trace_kernel_time *kernels; /* BATCH; owned by the event */
        struct trace_norms *norms;         /* UNIT_NORMS; likewise */
    };
    union {
        uint64_t end_ns; /* OP, KERNEL, GAP, SPAN */
        uint64_t ns;     /* STEP_*, MEMORY, MARK, LOST, LOSS */
        double value;    /* METRIC, COUNTER */
        uint64_t other_ns; /* CLOCK_PAIR */
    };
};

/* Room for any event but a mark, which needs its text's bytes on top. */
#define TRACE_EVENT_ROOM 64

/* What the differences of the next event (not op) are from; starts as {first_ns of the block, 0}. */
struct trace_event_state {
    uint64_t ns, step;
};
void trace_encode_event(struct trace_event_state *state, struct trace_out *out, const struct trace_event *event);
/* False at the end of the block or when the rest of it is malformed (in->bad). */
bool trace_decode_event(struct trace_event_state *state, struct trace_in *in, struct trace_event *event);
static inline bool trace_event_is_span(const struct trace_event *event)
{
    return event->type == TRACE_OP || event->type == TRACE_KERNEL || event->type == TRACE_GAP ||
           event->type == TRACE_SPAN;
}
/* One moment, in at_ns. */
static inline bool trace_event_is_moment(const struct trace_event *event)
{
    return event->type == TRACE_COUNTER || event->type == TRACE_CLOCK_PAIR;
}
/* The event's time for the block's span; false for metrics, which have none. */
bool trace_event_time(const struct trace_event *event, uint64_t *first_ns, uint64_t *last_ns);

/* What is expected of an op: the op after it, the time from the end of the op before, its duration. */
struct trace_expected {
    uint32_t next;
    int32_t gap_ns;
    uint32_t duration_ns;
};
/* Ops past `count` are expected to be followed by the next id and to take no time. */
struct trace_template {
    struct trace_expected *ops;
    size_t count;
};

/* Starts as {NO id, first_ns of the block}. */
#define TRACE_NO_OP UINT32_MAX
struct trace_op_state {
    uint32_t last;
    uint64_t end_ns;
};

static inline struct trace_expected trace_expect(const struct trace_template *template, uint32_t id)
{
    if (id < template->count) return template->ops[id];
    return (struct trace_expected){id + 1, 0, 0};
}

/* An expected op: zigzag(gap - expected gap) << 1, zigzag(duration - expected). Any other: id << 1 | 1, then the same
 * two without the shift. */
static inline void trace_encode_op(struct trace_op_state *state, const struct trace_template *template,
                                   struct trace_out *out, uint32_t id, uint64_t begin_ns, uint64_t end_ns)
{
    struct trace_expected expected = trace_expect(template, id);
    bool follows = state->last != TRACE_NO_OP && trace_expect(template, state->last).next == id;
    uint64_t gap = trace_zigzag((int64_t)(begin_ns - state->end_ns - (uint64_t)(int64_t)expected.gap_ns));
    if (follows && gap >> 63 == 0) {
        trace_put_varint(out, gap << 1);
    } else {
        trace_put_varint(out, (uint64_t)id << 1 | 1);
        trace_put_varint(out, gap);
    }
    trace_put_signed(out, (int64_t)(end_ns - begin_ns - expected.duration_ns));
    *state = (struct trace_op_state){id, end_ns};
}

static inline bool trace_decode_op(struct trace_op_state *state, const struct trace_template *template,
                                   struct trace_in *in, uint32_t *id, uint64_t *begin_ns, uint64_t *end_ns)
{
    if (in->at >= in->end) return false;
    uint64_t word = trace_get_varint(in);
    uint64_t gap = word >> 1;
    if (word & 1) {
        *id = (uint32_t)gap;
        if (gap >= TRACE_MOST_OPS) in->bad = true;
        gap = trace_get_varint(in);
    } else {
        *id = trace_expect(template, state->last).next;
        if (state->last == TRACE_NO_OP || *id >= TRACE_MOST_OPS) in->bad = true;
    }
    struct trace_expected expected = trace_expect(template, *id);
    *begin_ns = state->end_ns + (uint64_t)(int64_t)expected.gap_ns + (uint64_t)trace_unzigzag(gap);
    *end_ns = *begin_ns + expected.duration_ns + (uint64_t)trace_get_signed(in);
    *state = (struct trace_op_state){*id, *end_ns};
    return !in->bad;
}

/* What was seen of each op so far, from which templates are made. */
struct trace_learned {
    struct trace_expected *ops; /* next == TRACE_NO_OP: never seen */
    size_t count;
    uint32_t last;
    uint64_t end_ns;
};
void trace_learn(struct trace_learned *learned, uint32_t id, uint64_t begin_ns, uint64_t end_ns);

#endif
