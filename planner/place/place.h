/* Offset assignment: buffers with lifetimes and sizes into the smallest arena, with a certificate.
 *
 * The problem is dynamic storage allocation (NP-hard); the lower bound is the largest sum of sizes live at one instant.
 * Knows nothing of graphs or plans. */
#ifndef FATHOM_PLACE_H
#define FATHOM_PLACE_H

#include "errors.h"
#include "place_buffer.h"

/* Fills every offset. ERROR_MEMORY, or ERROR_INPUT for a malformed buffer (lower >= upper, overflow, conflicting fixed
 * offsets or names of one storage). When options->capacity cannot be met the best placement found is still there:
 * compare arena_bytes; it is impossible where lower_bound_bytes is above it. The same seed and number of threads give
 * the same offsets whenever the search ends by itself or at options->nodes, not at the time limit. */
bool place_solve(struct place_buffer *buffers, size_t count, const struct place_options *options,
                 struct place_result *result, struct error *err);

/* The largest live sum and an instant where it is reached. */
bool place_lower_bound(const struct place_buffer *buffers, size_t count, uint64_t *bytes, uint64_t *instant,
                       struct error *err);

/* The buffers that are live at an instant, the largest first: their indices into indices[count], their number into
 * *live. Empty buffers are left out. */
bool place_live_at(const struct place_buffer *buffers, size_t count, uint64_t instant, uint32_t *indices, size_t *live,
                   struct error *err);

#endif
