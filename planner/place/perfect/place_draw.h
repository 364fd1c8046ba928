/* The drawing of a packing without waste, from the first instant to the last, and its repair where it cannot go on. */
#ifndef FATHOM_PLACE_DRAW_H
#define FATHOM_PLACE_DRAW_H

#include "place_loose.h"

#define DRAW_PENDING 64

/* A vertex that may be taken in several ways. */
struct choice {
    uint64_t name; /* of the vertex */
    struct pq_copy copy;
    struct split *options; /* the likeliest first */
    uint32_t option_count, taken;
    uint32_t section;
    struct vertex *pending; /* those at the same instant that are still to come */
    uint32_t pending_count;
    size_t item_count;
};

/* What is to be taken of a vertex in place of the likeliest. */
struct wish {
    uint64_t vertex, option;
};

/* A choice that may have been wrong, and what to take instead. */
struct suspect {
    double doubt; /* the smaller the likelier */
    uint32_t choice, option;
    uint32_t reach; /* the section that the drawing came to with it */
};

struct drawing {
    struct pq pq;
    struct splits splits;
    uint32_t sections;
    size_t count;                            /* of buffers, air included */
    const uint32_t *end_start, *start_start; /* by section, and one past the last: positions in items[] */
    struct vertex *drawn;                    /* by number */
    bool *touched;                           /* scratch, by buffer */
    uint64_t most_copies_bytes, copies_bytes;
    uint64_t most_choices_bytes, choices_bytes; /* with their options, but for trees and items */
    uint64_t share;                             /* of splitting (place_splits.h), so much for one drawing */
    uint64_t most_work;                         /* where it ends, by that work */
    uint64_t next_look;                         /* at the clock, by that work */
    bool probing;                               /* what is drawn will not be gone back to */
    bool may_loosen;                            /* where it is stuck for good it goes on loosely (place_loose.h) */
    bool loosely;                               /* it has: no guess is sought for long any more */
    bool hurried;                               /* what it may take is taken: guesses are not made good any more */
    struct loose_limits limits;
    /* how far it is */
    uint32_t section;
    struct vertex pending[DRAW_PENDING];
    uint32_t pending_count;
    struct choice *choices;
    size_t choice_count, choice_capacity;
    struct wish *wishes;
    size_t wish_count, wish_capacity;
    struct suspect *suspects;
    size_t suspect_count, suspect_capacity;
    struct vertex stuck; /* where it could not go on */
    struct loose loose;
    struct choice base; /* where it last went on loosely, as one that is not gone back behind; no tree: the beginning */
    size_t base_vertex; /* the vertices before */
};

/* From what lives first to the last instant, with the tree and the lists ready. *drawn: to the end, exactly where
 * nothing is in loose.lost. False = out of memory. */
bool draw_all(struct drawing *drawing, bool *drawn, struct error *err);

/* Frees what a drawing has made; the rest is the caller's. */
void draw_finish(struct drawing *drawing);

#endif
