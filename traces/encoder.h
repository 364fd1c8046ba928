/* Reports in, blocks out: the writer's thread without the thread. Holds the blocks being filled, the templates that ops
 * are told against, and the roll-up of all that came, which outlives the segments. */
#ifndef FATHOM_ENCODER_H
#define FATHOM_ENCODER_H

#include "codec.h"
#include "key_map.h"
#include "norm_blocks.h"
#include "output.h"
#include "rollup_private.h"
#include "tables.h"

/* A block being filled with events or one device's ops. */
struct encoder_block {
    uint8_t *bytes; /* TRACE_BLOCK_MOST; NULL before the first event */
    size_t length;  /* 0 = closed */
    uint32_t events;
    uint64_t first_ns, last_ns;
    union {
        struct trace_event_state event_state;
        struct trace_op_state op_state;
    };
};

/* What is usual of a device's ops, or of its kernels. */
struct encoder_usual {
    struct trace_template template; /* as last written */
    struct trace_learned learned;
    uint32_t generation;          /* of the template; 0 = none written */
    uint64_t seen, next_template; /* ops seen; a new template is due at so many */
};

/* Kernels of one stream: they follow one another, whatever runs on other streams. */
struct encoder_stream {
    uint32_t number;
    uint32_t open; /* position + 1 of its block among the open ones; 0 = none */
    uint32_t last; /* kernel, for learning */
    uint64_t end_ns;
};

/* Blocks of kernels that are filled at a time: with more streams than that all are written, so that a trace of any number
 * of them takes 16 MiB for each device at most. */
#define ENCODER_MOST_OPEN 256
struct encoder_open {
    struct encoder_block block;
    uint32_t stream; /* position */
};

struct encoder_device {
    struct encoder_block block;
    struct encoder_usual ops, kernels;
    struct encoder_stream *streams;
    size_t stream_count, stream_capacity;
    struct key_map by_stream; /* positions of streams, by their numbers */
    struct encoder_open *open; /* the first open_count are in use, the first open_made have been */
    size_t open_count, open_made, open_capacity;
};

struct encoder {
    struct trace_output *output;
    struct encoder_device devices[TRACE_MOST_DEVICES];
    struct encoder_block events, more, clocks;
    struct trace_follower past; /* without a file: all but ops and kernels */
    struct norm_store norms;    /* without a file, too: some of them */
    bool past_broken;           /* out of memory: no segment can be dropped any more */
    uint64_t past_bytes;        /* what it may take of each segment */
    bool limit_told;            /* a mark says that no more ops are written */
    uint64_t segment_bytes;     /* a segment is closed when it has so many after its head */
    uint64_t head_bytes;        /* of the open segment: past, tables, templates */
    uint64_t count, dropped;
    uint32_t first_generation; /* templates are numbered above it */
    uint8_t scratch[TRACE_BLOCK_MOST];
};

void encoder_init(struct encoder *encoder, struct trace_output *output);
void encoder_finish(struct encoder *encoder);
/* Takes room for the ops or kernels of a device's table, so that they can be learned; false when out of memory (they are
 * then told plainly). */
bool encoder_expect(struct encoder_usual *usual, size_t ops);
/* Takes one report; a mark's text, a batch's kernels and norms are freed. */
void encoder_take(struct encoder *encoder, const struct trace_event *event);
/* Writes every block that holds something; then, when it is due, ends the segment and begins the next one. */
void encoder_flush(struct encoder *encoder, struct tables *tables);
/* What begins a segment. The first one of a file has no past. */
void encoder_write_head(struct encoder *encoder, struct tables *tables);
void encoder_write_tables(struct encoder *encoder, struct tables *tables);
/* Where nothing but kernels and counters came to the tables. */
void encoder_write_kernel_tables(struct encoder *encoder, struct tables *tables);
void encoder_end(struct encoder *encoder);

#endif
