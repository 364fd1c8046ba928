/* The trace file, byte by byte (docs/formats.md, "Trace"). Shared by the writer and the reader.
 *
 * A file header, then blocks of at most 64 KiB, appended in order of their sequence numbers. All numbers are
 * little-endian. A block says its own length and checksum, so a reader skips types it does not know and finds its place
 * again after damage. Times of ops are told as differences from a template (codec.h). */
#ifndef FATHOM_FORMAT_H
#define FATHOM_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define TRACE_VERSION      1
#define TRACE_FILE_HEADER  48
#define TRACE_BLOCK_HEADER 64
#define TRACE_BLOCK_MOST   65536 /* header included */
#define TRACE_PAYLOAD_MOST (TRACE_BLOCK_MOST - TRACE_BLOCK_HEADER)

#define TRACE_MOST_DEVICES 64
#define TRACE_MOST_OPS     (1u << 20) /* per device; of kernels too */
#define TRACE_MOST_COUNTERS 256
#define TRACE_MOST_TENSORS (1u << 20) /* per device */
#define TRACE_MOST_UNITS   (1u << 16) /* per device */
#define TRACE_TEXT_MOST    1000       /* bytes of a name or a mark; longer ones are cut */

enum trace_block_type {
    TRACE_BLOCK_RUN = 1,  /* the run and a clock pair; begins each segment */
    TRACE_BLOCK_DEVICE,   /* one device */
    TRACE_BLOCK_STRINGS,  /* names, numbered through the file */
    TRACE_BLOCK_OPS,      /* part of a device's op table */
    TRACE_BLOCK_TEMPLATE, /* part of a device's template: what follows each op, and its usual times */
    TRACE_BLOCK_TIMES,    /* ops of one device, against a template */
    TRACE_BLOCK_EVENTS,   /* everything else that happened */
    TRACE_BLOCK_DIGEST,   /* of older files: a copy of a segment's events, written after it */
    TRACE_BLOCK_END,      /* the run closed its trace */
    TRACE_BLOCK_KERNELS,  /* part of a device's kernel table; this and what follows came later: older readers pass over */
    TRACE_BLOCK_KERNEL_TEMPLATE, /* as TEMPLATE, of a device's kernels */
    TRACE_BLOCK_KERNEL_TIMES,    /* kernels of one stream of one device, against the template */
    TRACE_BLOCK_COUNTERS,        /* the names and units of counters */
    TRACE_BLOCK_MORE,            /* as EVENTS, of the types from TRACE_COUNTER */
    TRACE_BLOCK_PAST, /* begins a segment: all that came before it, in short, for when that is dropped */
    TRACE_BLOCK_RUN_KERNELS, /* as KERNELS, of those that are the run's own */
    TRACE_BLOCK_TENSORS, /* part of a device's tensor table */
    TRACE_BLOCK_ORIGIN,  /* the process that writes, and its devices' hardware */
    TRACE_BLOCK_CLOCKS,  /* as EVENTS, of TRACE_CLOCK_PAIR alone */
    TRACE_BLOCK_PEAKS,   /* what devices do at most */
    TRACE_BLOCK_UNITS,   /* part of a device's unit table */
    TRACE_BLOCK_NORMS,   /* of units, in one step of one device */
    TRACE_BLOCK_WRITER,  /* where the process's number counts */
    TRACE_BLOCK_TYPES
};

struct trace_file_header {
    uint32_t version;
    uint64_t clock_ns, wall_ns; /* read at the same moment */
};

struct trace_block {
    uint16_t type, version;
    uint32_t length; /* of the payload */
    uint32_t events;
    uint64_t sequence; /* one more than the block before */
    uint64_t first_ns, last_ns;
    uint64_t dropped; /* reports lost for want of room since the run began */
    uint64_t segment;
};

void trace_put_file_header(const struct trace_file_header *header, uint8_t out[TRACE_FILE_HEADER]);
/* ERROR_INPUT when it is not a trace, damaged, or of a newer version; `name` is the file's, for the sentence. */
bool trace_get_file_header(const uint8_t *bytes, size_t length, const char *name, struct trace_file_header *header,
                           struct error *err);

/* Fills in the header in front of a payload: `bytes` holds TRACE_BLOCK_HEADER free bytes, then block->length ones. */
void trace_put_block_header(const struct trace_block *block, uint8_t *bytes);
enum trace_block_state { TRACE_BLOCK_GOOD, TRACE_BLOCK_PARTIAL, TRACE_BLOCK_BAD };
/* Looks for a block at the start of `bytes`: PARTIAL when `length` ends before the block does. */
enum trace_block_state trace_get_block(const uint8_t *bytes, size_t length, struct trace_block *block);
/* Offset of the next place at or after `from` where a block may start; `length` when there is none. A magic cut off by
 * the end counts. */
size_t trace_find_block(const uint8_t *bytes, size_t length, size_t from);

/* A buffer being filled. Callers make sure of the room before they put. */
struct trace_out {
    uint8_t *bytes;
    size_t length, capacity;
};
static inline size_t trace_room(const struct trace_out *out) { return out->capacity - out->length; }

#define TRACE_VARINT_MOST 10
static inline void trace_put_varint(struct trace_out *out, uint64_t value)
{
    uint8_t *at = out->bytes + out->length;
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    out->length = (size_t)(at - out->bytes);
}

/* Small numbers of either sign become small unsigned ones. */
static inline uint64_t trace_zigzag(int64_t value) { return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63); }
static inline int64_t trace_unzigzag(uint64_t value) { return (int64_t)((value >> 1) ^ (0 - (value & 1))); }

static inline void trace_put_signed(struct trace_out *out, int64_t value)
{
    trace_put_varint(out, trace_zigzag(value));
}
void trace_put_double(struct trace_out *out, double value);
/* Length, then bytes; cut to TRACE_TEXT_MOST at a character's end. NULL is the empty text. */
void trace_put_text(struct trace_out *out, const char *text);
size_t trace_text_length(const char *text, size_t most);

/* Bytes being read. A read past the end or of a malformed number sets `bad`, gives 0 and moves to the end. */
struct trace_in {
    const uint8_t *at, *end;
    bool bad;
};
uint64_t trace_get_varint_slowly(struct trace_in *in);
static inline uint64_t trace_get_varint(struct trace_in *in)
{
    if (in->end - in->at >= 2) {
        uint64_t low = in->at[0], high = in->at[1];
        if (low < 0x80) {
            in->at += 1;
            return low;
        }
        if (high < 0x80) {
            in->at += 2;
            return (low & 0x7f) | high << 7;
        }
    }
    return trace_get_varint_slowly(in);
}
static inline int64_t trace_get_signed(struct trace_in *in) { return trace_unzigzag(trace_get_varint(in)); }
double trace_get_double(struct trace_in *in);
/* Not NUL-terminated; inside the block. */
const char *trace_get_text(struct trace_in *in, size_t *length);

#endif
