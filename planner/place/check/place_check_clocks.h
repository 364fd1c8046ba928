/* The judge of placements of several streams: shares no code with the solver. */
#ifndef FATHOM_PLACE_CHECK_CLOCKS_H
#define FATHOM_PLACE_CHECK_CLOCKS_H

#include "place_clocks.h"

/* As place_check_arena: every two buffers that overlap in space are compared.
 * ERROR_INPUT where one's end is beyond 64 bits. */
bool place_check_clocks(const struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                        uint64_t *arena_bytes, struct error *err);
/* The largest sum of buffers that have begun and not ended by a buffer's beginning: no arena is below.
 * ERROR_INPUT where a sum is beyond 64 bits. */
bool place_check_clocks_live(const struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                             uint64_t *bytes, struct error *err);

#endif
