/* Exact search for few blocks (place_groups.h): do they fit into so many chunks? */
#ifndef FATHOM_PLACE_CHUNKS_SEARCH_H
#define FATHOM_PLACE_CHUNKS_SEARCH_H

#include "place_groups.h"
#include "place_problem.h"

#define CHUNKS_MOST_BLOCKS 64 /* a set of them is one word */

enum chunks_verdict { CHUNKS_FOUND, CHUNKS_IMPOSSIBLE, CHUNKS_STOPPED };

struct chunks_question {
    const struct problem *problem; /* of the blocks, its fixed offsets as addresses over chunks laid end to end */
    const struct groups *groups;
    uint64_t chunks;
    const struct place_options *options;
    uint64_t deadline_ns; /* on clock_now_ns */
    uint64_t nodes;       /* out */
};

/* Who goes where by live sums, depth first; each full assignment is then placed chunk by chunk, exactly. A chunk that
 * cannot be placed is blamed on the last block that came into it. On CHUNKS_FOUND *best is the placement, by addresses
 * over all chunks. */
bool chunks_search(struct chunks_question *question, struct placement *best, enum chunks_verdict *verdict,
                   struct error *err);

#endif
