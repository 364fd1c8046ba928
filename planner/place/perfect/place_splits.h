/* Ways to take what ends and begins at one instant for two vertices of the drawing (place_pq.h): some of the ending
 * buffers hand over to some of the beginning ones, as their sizes add up to the same. */
#ifndef FATHOM_PLACE_SPLITS_H
#define FATHOM_PLACE_SPLITS_H

#include "place_pq.h"

#define SPLITS_MOST 64

/* Buffers that end and that begin, as positions in items[]. */
struct vertex {
    size_t ends, starts;
    uint32_t end_count, start_count;
    uint32_t choice; /* the choice that made it, or PQ_NONE */
};

struct split {
    struct vertex first, second;
    uint32_t cost; /* of joining each, as pq_join_cost counts */
};

struct splits {
    struct pq *pq;
    const uint64_t *size; /* by buffer */
    uint32_t *items;      /* lists of vertices, those of splits among them */
    size_t item_count, item_capacity;
    uint32_t *block; /* scratch, by buffer */
    uint64_t work;   /* subsets listed and ways looked at so far */
    bool eager;      /* ways that the tree alone speaks for count as much as taking the vertex for one */
    /* of the last question */
    struct split found[SPLITS_MOST];
    size_t count;
    double chance; /* how many such ways are to be expected of sizes that have nothing to do with each other */
};

/* Fills found[] with ways to split the vertex, at most SPLITS_MOST; `joins` says whether it may be taken as one. False =
 * out of memory. */
bool splits_find(struct splits *splits, const struct vertex *vertex, bool joins, struct error *err);

#endif
