/* Placement of storages whose height changes over time: all pieces of one have the same offset. */
#ifndef FATHOM_PLACE_TIED_H
#define FATHOM_PLACE_TIED_H

#include "place_groups.h"
#include "place_problem.h"

/* The pieces as a problem, tied by storage. Piece i of the problem is groups->pieces[i]. */
struct tied {
    const struct groups *groups;
    struct problem problem;
    uint64_t *offset; /* of each storage: the best placement */
    uint64_t arena;   /* its arena */
};

/* Each storage into the lowest place where all its pieces are clear of those placed before, in several orders; improves
 * tied->offset and tied->arena and stops at `target` or at the deadline (on clock_now_ns). */
bool tied_first_fit(struct tied *tied, uint64_t target, uint64_t deadline_ns, const atomic_bool *stop,
                    struct error *err);

/* Depth-first over compact placements: storages by rising offset, each on top of what is there. For problems of a few
 * dozen storages. Improves the placement until `target`; *ended says that nothing below tied->arena exists (or below
 * `target`, where that was met). *nodes counts on and stops the search at most_nodes (0 = no limit). */
bool tied_search(struct tied *tied, uint64_t target, uint64_t most_nodes, uint64_t deadline_ns, const atomic_bool *stop,
                 uint64_t *nodes, bool *ended, struct error *err);

#endif
