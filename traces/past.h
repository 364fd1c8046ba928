/* All that a trace told before some moment, in short: what a block PAST holds. Sums are those since the run began. */
#ifndef FATHOM_PAST_H
#define FATHOM_PAST_H

#include "format.h"
#include "rollup_step.h"

enum trace_past_type {
    PAST_STEP,
    PAST_MARK,
    PAST_MEMORY,  /* kind: enum trace_sample */
    PAST_GAP,     /* kind: enum trace_gap */
    PAST_HOST,    /* kind: enum trace_host */
    PAST_COUNTER, /* kind: enum trace_reading (codec.h) */
    PAST_LOSS,    /* kind: enum trace_loss; of all devices */
    TRACE_PAST_TYPES
};

struct trace_past {
    uint8_t type, kind;
    uint32_t device, id; /* id: of a counter */
    union {
        struct rollup_step step;
        struct {
            uint64_t ns;
            const char *text; /* not NUL-terminated when decoded */
            size_t length;
        } mark;
        struct {
            uint64_t used_bytes, peak_bytes;
        } memory;
        uint64_t total; /* GAP, HOST: ns; LOSS: how many */
        struct rollup_value value;
    };
};

/* What differences are from; starts zeroed in each block. */
struct trace_past_state {
    uint64_t step, ns;
    uint32_t metric[TRACE_METRICS]; /* as bits */
};

/* Room for any record but a mark's text. */
#define TRACE_PAST_ROOM 128

void trace_encode_past(struct trace_past_state *state, struct trace_out *out, const struct trace_past *past);
/* False at the end of the block or when the rest of it is malformed (in->bad). */
bool trace_decode_past(struct trace_past_state *state, struct trace_in *in, struct trace_past *past);

#endif
