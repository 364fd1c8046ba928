/* A stream's inside: what stream.c and stream_tables.c share. */
#ifndef FATHOM_STREAM_PRIVATE_H
#define FATHOM_STREAM_PRIVATE_H

#include "stream.h"

#define STREAM_CLASSES 16

struct stream_template {
    struct trace_template active;
    uint32_t generation;
    struct trace_expected *coming; /* parts of the next one, in order */
    size_t coming_count, coming_capacity;
    uint32_t coming_generation;
};

struct trace_stream {
    struct trace_reader *reader;
    struct trace_block block; /* being decoded; type 0 = none */
    struct trace_in in;
    uint64_t expected;       /* sequence number */
    uint64_t last_missing;   /* highest sequence number + 1 of the missing ones */
    uint32_t device, number; /* of the block; the next op of an op table, the next item of a run */
    struct trace_event_state event_state;
    struct trace_past_state past_state;
    struct trace_op_state op_state;
    struct trace_template template; /* of the block */
    uint32_t device_stream;         /* of a block of kernels */
    uint32_t tensors_like, tensor_count,
        tensor_first; /* of a block of tensors: the device, or its own number; all; the last one's op */
    uint64_t tensor_unit;
    struct norm_block norms;
    uint32_t unit_count; /* of a block of units: all */
    uint32_t op_ids[TRACE_MOST_DEVICES], kernel_ids[TRACE_MOST_DEVICES]; /* of the tables so far, with what is missing */
    uint64_t ids;                                                        /* all of these */
    struct stream_template templates[TRACE_MOST_DEVICES], kernel_templates[TRACE_MOST_DEVICES];
    char **names;
    size_t name_count, name_capacity;
    char text[STREAM_CLASSES + 1][TRACE_TEXT_MOST + 1]; /* of the run or device being handed out */
    const char *class_names[STREAM_CLASSES];
    uint64_t class_bytes[STREAM_CLASSES];
    struct trace_stream_stats stats;
};

static inline uint32_t stream_get_device(struct trace_in *in)
{
    uint64_t device = trace_get_varint(in);
    if (device >= TRACE_MOST_DEVICES) in->bad = true;
    return in->bad ? 0 : (uint32_t)device;
}

static inline uint32_t stream_get_u32(struct trace_in *in)
{
    uint64_t value = trace_get_varint(in);
    if (value > UINT32_MAX) in->bad = true;
    return (uint32_t)value;
}

/* ---- stream_tables.c: the block's next entry; the item's type stays where it holds no more ---- */

void stream_begin_entries(struct trace_stream *stream); /* of ops or kernels */
void stream_begin_tensors(struct trace_stream *stream);
void stream_begin_units(struct trace_stream *stream);
void stream_take_op(struct trace_stream *stream, struct trace_item *item);
void stream_take_kernel(struct trace_stream *stream, struct trace_item *item);
void stream_take_counter(struct trace_stream *stream, struct trace_item *item);
void stream_take_run_item(struct trace_stream *stream, struct trace_item *item);
void stream_take_device(struct trace_stream *stream, struct trace_item *item);
void stream_take_origin_item(struct trace_stream *stream, struct trace_item *item);
void stream_take_writer(struct trace_stream *stream, struct trace_item *item);
void stream_take_peaks(struct trace_stream *stream, struct trace_item *item);
void stream_take_tensor(struct trace_stream *stream, struct trace_item *item);
void stream_take_unit(struct trace_stream *stream, struct trace_item *item);

#endif
