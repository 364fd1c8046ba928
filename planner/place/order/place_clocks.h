/* Buffers of several streams: lifetimes whose beginnings and ends are vector clocks.
 *
 * An event's clock (Fidge 1988, Mattern 1989) counts, for each stream, how many of its steps the event knows to have
 * happened. One event happens before another or at the same time where no component of its clock is larger. Two buffers
 * may share bytes where one ends before the other begins in this order; otherwise they conflict, whether or not any one
 * run has them live at once. Of one stream the clocks are plain times and conflicts are overlaps.
 *
 * No arena is smaller than a set of buffers of which any two conflict: the bound is the largest such set that was found,
 * the largest there is up to CLOCKS_MOST_EXACT buffers. */
#ifndef FATHOM_PLACE_CLOCKS_H
#define FATHOM_PLACE_CLOCKS_H

#include "errors.h"
#include "place_buffer.h"

#define CLOCKS_MOST_STREAMS 64
#define CLOCKS_MOST_BUFFERS 10000
#define CLOCKS_MOST_TIME    ((uint64_t)1 << 50) /* of a component, so that sums of them do not overflow */
#define CLOCKS_MOST_EXACT   1500

struct place_clocks {
    size_t streams;
    uint64_t *start, *end; /* of each buffer: so many components; owned by whoever made them */
};

/* As place_solve, by clocks: lower and upper of the buffers are not looked at, and names of one storage are refused.
 * clique[*clique_count], with room for `count`, are the buffers whose sizes make result->lower_bound_bytes, the largest
 * first; where some are fixed the bound may be above. result->peak_instant means nothing. */
bool place_clocks_solve(struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                        const struct place_options *options, struct place_result *result, uint32_t *clique,
                        size_t *clique_count, struct error *err);

#endif
