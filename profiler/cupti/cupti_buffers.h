/* The buffers that CUPTI fills with records: a fixed number of them, between CUPTI's threads and the one that reads. */
#ifndef FATHOM_CUPTI_BUFFERS_H
#define FATHOM_CUPTI_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Small ones: a buffer comes back only when every record in it is complete, and 1 MiB is 50 ms of 100,000 kernels a second.
 * 32 of them, so that the reader may be late by a second and a half. */
#define CUPTI_BUFFER_BYTES (1u << 20)
#define CUPTI_BUFFERS      32u

struct cupti_buffers;

/* A buffer with records in it. */
struct full_buffer {
    uint8_t *bytes;
    size_t valid;
    void *context; /* CUcontext and stream that it was of, for CUPTI's count of what it dropped */
    uint32_t stream;
};

/* `bytes` each. NULL when out of memory. */
struct cupti_buffers *cupti_buffers_create(size_t bytes);
/* Memory of which CUPTI still has a buffer stays with it, and with the process. Takes NULL. */
void cupti_buffers_destroy(struct cupti_buffers *buffers);

/* NULL: none is free, and CUPTI drops what it has. */
uint8_t *cupti_buffers_request(struct cupti_buffers *buffers);
void cupti_buffers_complete(struct cupti_buffers *buffers, struct full_buffer full);

/* Waits for a full one, at most so long. False: none came. The reader gives it back with release. */
bool cupti_buffers_take(struct cupti_buffers *buffers, uint64_t wait_ns, struct full_buffer *full);
void cupti_buffers_release(struct cupti_buffers *buffers, uint8_t *bytes);
/* How many CUPTI holds. */
uint32_t cupti_buffers_lent(struct cupti_buffers *buffers);
/* Nobody waits any more. */
void cupti_buffers_stop(struct cupti_buffers *buffers);

#endif
