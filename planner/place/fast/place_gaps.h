/* The space taken over time, for first fit on 10^5 buffers: a tree over the sections whose nodes hold disjoint ranges
 * of offsets. A lookup or an insertion touches O(log sections) nodes; ranges that touch are one, so a stack of
 * long-lived buffers costs no more than one buffer. */
#ifndef FATHOM_PLACE_GAPS_H
#define FATHOM_PLACE_GAPS_H

#include "place_problem.h"

#define GAPS_LEVELS 12 /* 8^11 > 2^32 sections */

struct gaps_range {
    uint64_t low, high;
};

/* Rising, apart from each other; where in the pool. */
struct gaps_list {
    size_t start;
    uint32_t count, capacity;
};

struct gaps {
    size_t level_count, node_count;
    size_t level_start[GAPS_LEVELS]; /* of the nodes; level l's nodes are 8^l sections wide */
    struct gaps_list *whole;         /* by node: taken during all of it, by buffers that cover none of its parent */
    struct gaps_list *part;          /* by node: taken during some of it, by buffers that do not cover it */
    struct gaps_range *pool;
    size_t pool_count, pool_capacity;
    uint64_t chunk;
    uint64_t steps; /* ranges looked at and moved so far */
};

bool gaps_init(struct gaps *gaps, const struct problem *problem, struct error *err);
void gaps_finish(struct gaps *gaps);
/* Everything is free again. */
void gaps_clear(struct gaps *gaps);
/* false = out of memory. */
bool gaps_take(struct gaps *gaps, uint32_t first, uint32_t last, uint64_t low, uint64_t high);
/* The lowest aligned offset at which `size` bytes are free throughout [first, last). */
uint64_t gaps_lowest(struct gaps *gaps, uint32_t first, uint32_t last, uint64_t size, uint64_t align);
/* The lowest aligned offset above which all is free throughout [first, last): no gap is looked for, in O(log sections). */
uint64_t gaps_above(struct gaps *gaps, uint32_t first, uint32_t last, uint64_t size, uint64_t align);

#endif
