/* An independent judge of a placement: shares no code with the solver and names the violated rule. */
#ifndef FATHOM_PLACE_CHECK_H
#define FATHOM_PLACE_CHECK_H

#include "errors.h"
#include "place_buffer.h"

/* Every offset a multiple of its alignment and equal to a fixed one, names of one storage at one offset, no two live
 * buffers overlapping (each taking its size rounded up to its alignment, or its storage's) unless they are names of one
 * storage, none above arena_bytes, and arena_bytes reached by one. O(n log n), and the names of one storage that are
 * live together squared. ERROR_INPUT with the two buffers named. */
bool place_check(const struct place_buffer *buffers, size_t count, uint64_t arena_bytes, struct error *err);

/* As place_check for an arena of unknown size: *arena_bytes is where the highest buffer ends, *fixed_end_bytes where
 * the highest fixed one does. */
bool place_check_arena(const struct place_buffer *buffers, size_t count, uint64_t *arena_bytes,
                       uint64_t *fixed_end_bytes, struct error *err);

/* As place_check for chunks of chunk_bytes each: buffer i lies wholly in chunk[i], which is below `chunks`, at an
 * offset that counts from that chunk's start. `fixed` is not looked at. */
bool place_check_chunks(const struct place_buffer *buffers, const uint64_t *chunk, size_t count, uint64_t chunk_bytes,
                        uint64_t chunks, struct error *err);

/* As place_check_chunks for chunks of different sizes[chunks]. */
bool place_check_fragments(const struct place_buffer *buffers, const uint64_t *chunk, size_t count,
                           const uint64_t *sizes, size_t chunks, struct error *err);

/* The largest live sum, counted afresh: what no arena can be below. */
bool place_check_live(const struct place_buffer *buffers, size_t count, uint64_t *bytes, uint64_t *instant,
                      struct error *err);

#endif
