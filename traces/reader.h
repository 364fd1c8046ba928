/* A trace file as a stream of checked blocks, also while it grows. Nothing in the file is trusted. */
#ifndef FATHOM_READER_H
#define FATHOM_READER_H

#include "format.h"

struct trace_reader;

struct trace_reader_stats {
    struct trace_file_header header;
    uint64_t blocks;                          /* read whole */
    uint64_t damaged;                         /* places where bytes were no block, and blocks that are missing */
    uint64_t damaged_bytes;                   /* passed over */
    uint64_t dropped_segments, dropped_bytes; /* given back to the disk by the writer */
    uint64_t tail_bytes;                      /* after the last whole block: cut off, or being written */
    uint64_t size_bytes;                      /* of the file, as last seen */
    uint64_t reads;                           /* how often the file was asked for bytes */
    uint64_t end_offset;                      /* of the last whole block, or of the file's header */
};

/* ERROR_INPUT when missing or not a trace. */
bool trace_reader_open(const char *path, struct trace_reader **reader, struct error *err);
void trace_reader_close(struct trace_reader *reader);

/* The next whole block; *payload stays valid until the next call. *found is false at the end of what is written so far;
 * a later call goes on from there. */
bool trace_reader_next(struct trace_reader *reader, struct trace_block *block, const uint8_t **payload, bool *found,
                       struct error *err);
/* From now on the file is not asked for more once its end has been met, until this is called again: where blocks are read until
 * there are no more, several times a second, the end is asked for once and not twice. */
void trace_reader_look(struct trace_reader *reader);
void trace_reader_stats(const struct trace_reader *reader, struct trace_reader_stats *stats);
/* stats.end_offset alone. */
uint64_t trace_reader_end_offset(const struct trace_reader *reader);

#endif
