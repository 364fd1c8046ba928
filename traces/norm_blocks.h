/* Norms of units as blocks of a trace: written, kept for later segments, and read. */
#ifndef FATHOM_NORM_BLOCKS_H
#define FATHOM_NORM_BLOCKS_H

#include "codec.h"
#include "output.h"

/* As one block, or several where there are many units. `buffer` holds TRACE_BLOCK_MOST bytes. */
void norm_blocks_write(const struct trace_norms *norms, struct trace_output *output, uint8_t *buffer);

/* Of one unit in one step of one device; NAN = unknown. */
struct trace_unit_norms {
    uint64_t step, ns;
    uint32_t device, unit, total;
    float norms[TRACE_NORMS];
};

/* Steps' norms, evenly spread over all that came: what each segment tells again, so that dropping old ones leaves their
 * course. Zeroed = empty. */
struct norm_store {
    struct trace_norms **kept;
    uint64_t *numbers; /* of their steps, counted as they come: multiples of `every` */
    size_t count, capacity;
    uint64_t bytes, every; /* every 0: as 1 */
    uint64_t steps, last_step; /* how many came, the last one's number */
    struct trace_norms *open;  /* of a file that is read: still coming */
};
/* Takes ownership; with more than most_bytes every second step goes. */
void norm_store_take(struct norm_store *store, struct trace_norms *norms, uint64_t most_bytes);
/* Of a file that is read, unit by unit; what was told before and is told again is passed over. False without memory. */
bool norm_store_read(struct norm_store *store, const struct trace_unit_norms *norms, uint64_t most_bytes);
/* What is read has ended, or a resumed run does again all but the first `done` steps. */
void norm_store_go_on(struct norm_store *store, uint64_t done, uint64_t most_bytes);
void norm_store_write(const struct norm_store *store, struct trace_output *output, uint8_t *buffer);
void norm_store_finish(struct norm_store *store);

/* A block being read. */
struct norm_block {
    uint64_t step, ns;
    uint32_t device, number, total; /* number: the next unit's */
};
/* What is malformed sets in->bad. */
void norm_block_begin(struct norm_block *block, struct trace_in *in);
/* False at the block's end, or where the rest is malformed. */
bool norm_block_next(struct norm_block *block, struct trace_in *in, struct trace_unit_norms *norms);

#endif
