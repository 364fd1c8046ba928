/* Records of one size in order, as many as the disk holds, in little memory: what does not fit is sorted in chunks, which
 * wait in a file without a name and are merged when they are read. One thread. */
#ifndef FATHOM_SPILL_H
#define FATHOM_SPILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define SPILL_BYTES (1u << 20) /* of a chunk, and for reading all of them */

struct spill_chunk {   /* sorted, in the file */
    uint64_t at, end;  /* offsets of what is still to be read */
    uint64_t begin;
    unsigned char *records; /* a part of the buffer */
    size_t next, count;     /* of what is in it */
};

/* A zeroed one may be finished. */
struct spill {
    size_t size; /* of a record */
    int (*compare)(const void *a, const void *b);
    const char *beside; /* path beside which the file lies */
    size_t most_bytes;  /* SPILL_BYTES */
    unsigned char *records; /* the chunk that is being filled, or all there is */
    size_t count, capacity, next;
    uint64_t total; /* records */
    int file;       /* -1 = all is in memory */
    uint64_t file_bytes;
    struct spill_chunk *chunks;
    size_t chunk_count, chunk_capacity;
    size_t *heap; /* chunks, the one with the least record first */
    size_t heap_count;
    unsigned char *buffer;
    size_t buffer_records; /* of each chunk */
    unsigned char *given;  /* the record that was handed out last */
};

/* Records that compare as equal come in any order. Borrows `beside`. most_bytes 0 = SPILL_BYTES. */
void spill_begin(struct spill *spill, size_t size, int (*compare)(const void *a, const void *b), const char *beside,
                 size_t most_bytes);
/* Before the first spill_rewind. ERROR_MEMORY; ERROR_FAILED when the disk is full. */
bool spill_add(struct spill *spill, const void *record, struct error *err);
/* To the first record; may be called again. */
bool spill_rewind(struct spill *spill, struct error *err);
/* *record is valid until the next call; NULL behind the last one. */
bool spill_next(struct spill *spill, const void **record, struct error *err);
/* Gives memory and disk back. */
void spill_finish(struct spill *spill);

#endif
