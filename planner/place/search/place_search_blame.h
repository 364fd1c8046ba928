/* What a failure of the exact search follows from: sets of placements that are open, each named by its level. A failure
 * that does not follow from the latest placement would meet each of its alternatives, too: the search goes back beyond
 * them at once (conflict-directed backjumping: Prosser, Computational Intelligence 9(3), 1993). */
#ifndef FATHOM_PLACE_SEARCH_BLAME_H
#define FATHOM_PLACE_SEARCH_BLAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NO_CAUSE 0u

/* A cause is NO_CAUSE, one level, or a set on the stack; a set is named by its place there, in words. */
struct blame {
    size_t words; /* of one set */
    uint64_t *sets;
    size_t count, capacity; /* in words */
    uint64_t *failure;      /* what the last branch that ended failed by */
};

static inline uint32_t blame_level(uint32_t level) { return level + 1; }

/* A new set, empty or what *failure holds; the room for it is there already. */
size_t blame_push(struct blame *blame);
uint32_t blame_push_failure(struct blame *blame);

void blame_add(const struct blame *blame, uint64_t *set, uint32_t cause);
/* Whether *failure follows from this level. If so, the rest of what it follows from joins the set. */
bool blame_pass_on(const struct blame *blame, uint32_t level, size_t set);

#endif
