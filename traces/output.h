/* The writer's end of the file: blocks out, segments counted, old segments' bytes given back to the disk. One thread.
 */
#ifndef FATHOM_OUTPUT_H
#define FATHOM_OUTPUT_H

#include "format.h"

#define OUTPUT_MOST_SEGMENTS 64

struct trace_span {
    uint64_t begin, end; /* file offsets */
};

/* Where a trace ends, for one who goes on in it: numbers are the next ones. */
struct trace_output_end {
    uint64_t offset, sequence, segment, dropped;
    uint64_t file_bytes;                            /* with what is cut off */
    uint64_t last_ns;                               /* on the file's clock */
    struct trace_span closed[OUTPUT_MOST_SEGMENTS]; /* oldest first */
    size_t closed_count;
};

struct trace_output {
    int fd;
    uint64_t offset, sequence;
    uint64_t segment;       /* number of the open one */
    uint64_t segment_begin; /* its offset */
    uint64_t dropped; /* told in each block's header */
    uint64_t blocks, bytes;
    uint64_t most_bytes;                            /* on disk, of all segments */
    uint64_t closed_bytes;                          /* of them now */
    struct trace_span closed[OUTPUT_MOST_SEGMENTS]; /* oldest first */
    size_t closed_count;
    struct trace_span given_back;                   /* the last stretch of it */
    bool limit_reached; /* the file system cannot give back bytes, so no more detail may be written */
    bool failed;
    char failure[256];
    uint64_t shift_ns; /* the file's clock is clock_now_ns and this, modulo 2^64 */
};

/* Creates the file and writes its header. A file in the way is replaced when it is a trace or empty and no other process
 * writes to it, and refused otherwise, as a pipe is. ERROR_INPUT. */
bool trace_output_open(struct trace_output *output, const char *path, uint64_t most_bytes, struct error *err);
/* Begins one in an empty file, which stays its owner's: what the output says to be failed has not been written. */
bool trace_output_begin(struct trace_output *output, int fd, uint64_t most_bytes);
/* Goes on in a trace after its last whole block; what is cut off behind it is removed. ERROR_INPUT. */
bool trace_output_go_on(struct trace_output *output, const char *path, uint64_t most_bytes,
                        const struct trace_output_end *end, struct error *err);
void trace_output_close(struct trace_output *output);

/* Writes a block whose payload is bytes[TRACE_BLOCK_HEADER..length). After a failure it does nothing. */
void trace_output_block(struct trace_output *output, enum trace_block_type type, uint8_t *bytes, size_t length,
                        uint32_t events, uint64_t first_ns, uint64_t last_ns);

/* Closes the open segment and begins the next one. Its bytes may from now on be given back, when `droppable`: the new one
 * begins by telling of it in short. */
void trace_output_end_segment(struct trace_output *output, bool droppable);
/* Gives back the oldest closed segments until so many bytes more are within most_bytes, or none is left. */
void trace_output_make_room(struct trace_output *output, uint64_t bytes);

/* Now, on the file's clock. */
uint64_t trace_output_now(const struct trace_output *output);

/* A fresh payload in a buffer of TRACE_BLOCK_MOST bytes. */
static inline struct trace_out trace_payload(uint8_t *buffer)
{
    return (struct trace_out){buffer, TRACE_BLOCK_HEADER, TRACE_BLOCK_MOST};
}

#endif
