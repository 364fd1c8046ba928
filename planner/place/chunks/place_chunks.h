/* Placement into several chunks of one size, as fragmented memory offers them: each buffer lies wholly in one chunk.
 *
 * Fewest chunks is bin packing at every instant, so the bound is one of bin packing: the largest, over the instants,
 * of the live sum over the chunk's size and of Martello and Toth's L2 (Knapsack Problems, 1990, 8.3). Placers are tried
 * first; where they miss the bound and few storages are asked for, a search decides who goes into which chunk. A number
 * of chunks is proved least where it meets the bound or the search has ended every smaller one. */
#ifndef FATHOM_PLACE_CHUNKS_H
#define FATHOM_PLACE_CHUNKS_H

#include "errors.h"
#include "place_buffer.h"

struct place_chunks_result {
    uint64_t chunks;            /* used by the placement */
    uint64_t least_chunks;      /* proved: no placement uses fewer */
    uint64_t lower_bound_bytes; /* the largest live sum */
    uint64_t peak_instant;      /* an instant at which it is reached */
    bool proved_least;          /* chunks equals least_chunks */
    double seconds;
    uint64_t nodes; /* of the search over who goes where */
};

/* Fills chunk[count] and every offset (counted from its chunk's start). On entry chunk[i] is the required chunk of a
 * buffer with a fixed offset, and PLACE_UNPLACED for the others. First fit in several orders comes first; where it
 * takes more than `enough` chunks, chunks are filled up to their live sums and each is then searched for a placement,
 * and at most 64 storages are then searched exactly, for at most options->seconds together. When more chunks come out
 * than there are, compare result->chunks; it is impossible where least_chunks is above. ERROR_INPUT for malformed
 * buffers or one larger than a chunk, ERROR_MEMORY; nothing is changed then. */
bool place_chunks_solve(struct place_buffer *buffers, uint64_t *chunk, size_t count, uint64_t chunk_bytes,
                        uint64_t enough, const struct place_options *options, struct place_chunks_result *result,
                        struct error *err);

#endif
