/* A trace file as a stream of what was reported: tables and events, in the order they were written. */
#ifndef FATHOM_STREAM_H
#define FATHOM_STREAM_H

#include "codec.h"
#include "norm_blocks.h"
#include "past.h"
#include "reader.h"
#include "sink.h"
#include "tables.h"

struct trace_stream;

enum trace_item_type {
    TRACE_ITEM_NONE, /* the end of what is written so far */
    TRACE_ITEM_EVENT,
    TRACE_ITEM_RUN, /* repeated by each segment, as are its part, devices and ops */
    TRACE_ITEM_PART,
    TRACE_ITEM_DEVICE,
    TRACE_ITEM_OP,    /* an entry of the op table */
    TRACE_ITEM_CLOCK, /* a clock pair */
    TRACE_ITEM_END,
    TRACE_ITEM_KERNEL, /* an entry of the kernel table */
    TRACE_ITEM_COUNTER, /* an entry of the counter table */
    TRACE_ITEM_PAST,    /* what is missing in the file before, in short; only where something is */
    TRACE_ITEM_ORIGIN,
    TRACE_ITEM_HARDWARE,
    TRACE_ITEM_PEAKS,
    TRACE_ITEM_TENSOR,
    TRACE_ITEM_TENSORS_LIKE, /* a device whose tensors are those of another one */
    TRACE_ITEM_UNIT,
    TRACE_ITEM_NORMS, /* of one unit in one step */
    TRACE_ITEM_WRITER
};

/* An entry of a device's tensor table, which has `total` of them. */
struct trace_tensor_entry {
    uint32_t device, id, total;
    struct trace_tensor tensor; /* names stay valid until trace_stream_close */
};

/* An entry of a device's unit table, which has `total` of them. */
struct trace_unit_entry {
    uint32_t device, id, total;
    struct trace_unit unit; /* names stay valid until trace_stream_close */
};

struct trace_item {
    enum trace_item_type type;
    bool again; /* an event from a digest, some of whose events may have come before */
    uint32_t stream; /* of an event TRACE_KERNEL */
    union {
        struct trace_event event; /* steps are numbered from 1 here, as people see them; in the file from 0 */
        struct trace_run run;       /* valid until the next call */
        struct trace_part part;     /* of a resumed run alone */
        struct trace_device device; /* as above */
        struct trace_op op;         /* names stay valid until trace_stream_close, also of what follows */
        struct trace_kernel kernel;
        struct trace_counter counter;
        struct trace_origin origin; /* host valid until the next call */
        struct {
            uint32_t device;
            const char *slot; /* valid until the next call */
        } hardware;
        struct {
            uint64_t pid, pid_space; /* of the run whose process has that number */
        } writer;
        struct {
            uint32_t device;
            uint64_t flops, bytes; /* a second; 0 = unknown */
        } peaks;
        struct trace_tensor_entry tensor;
        struct {
            uint32_t device, like;
        } like;
        struct trace_unit_entry unit;
        struct trace_unit_norms norms; /* steps are numbered from 1 */
        struct trace_past past; /* steps are numbered from 1; text valid until the next call */
        struct {
            uint64_t clock_ns, wall_ns;
        } clock;
    };
};

struct trace_stream_stats {
    struct trace_reader_stats reader;
    uint64_t dropped;   /* reports that the writer had no room for */
    uint64_t malformed; /* blocks with a good checksum and senseless content */
    uint64_t undecoded; /* ops whose template was lost */
    uint64_t unknown;   /* blocks of types that this version does not know */
    uint64_t last_ns;   /* end of the last block */
};

/* As trace_reader_open. */
bool trace_stream_open(const char *path, struct trace_stream **stream, struct error *err);
void trace_stream_close(struct trace_stream *stream);
bool trace_stream_next(struct trace_stream *stream, struct trace_item *item, struct error *err);
/* Ops, or kernels, of one device and stream in bulk, which is faster than one by one. */
struct trace_time {
    uint32_t id;
    uint64_t begin_ns, end_ns;
};
/* After an item that was an op's or a kernel's event: those that follow it in its block, at most so many; returns how many. */
size_t trace_stream_times(struct trace_stream *stream, struct trace_time *times, size_t most);
/* Name `number` of those read so far, NULL for one that was lost. False past the last. */
bool trace_stream_name(const struct trace_stream *stream, size_t number, const char **name);
/* See trace_reader_look. */
void trace_stream_look(struct trace_stream *stream);
void trace_stream_stats(const struct trace_stream *stream, struct trace_stream_stats *stats);

#endif
