/* Who owns which bytes: a partition of an arena into ranges, each with the tensor that last claimed it. Part of the
 * verifier alone. */
#ifndef FATHOM_VERIFY_RANGES_H
#define FATHOM_VERIFY_RANGES_H

#include "plan.h"

struct range_owner {
    uint32_t tensor; /* plan tensor, NO_TENSOR = nobody's */
    uint32_t stamp;  /* which of its values */
};

#define RANGE_LEVELS 6

/* Boundaries are the ends of the program's tensors, numbered in order of address. A set bit starts a range, which goes
 * up to the next set bit; words of the upper levels tell which words of the level below are not empty, so that
 * neighbours are found in a few steps however many ranges there are. */
struct ranges {
    uint32_t *begin, *end; /* per plan tensor: its boundaries' numbers */
    size_t boundaries;
    uint64_t *bits[RANGE_LEVELS];
    struct range_owner *owner; /* per boundary that starts a range */
    uint64_t *words;           /* storage of bits */
};

/* One range, nobody's. Host memory is taken to begin at address host_base, behind the arena. The caller ends it with
 * ranges_finish, also after a failure. ERROR_MEMORY. */
bool ranges_init(struct ranges *ranges, const struct plan_tensor *tensors, size_t count, uint64_t host_base,
                 struct error *err);
void ranges_finish(struct ranges *ranges);
void ranges_clear(struct ranges *ranges);

/* The bytes of a tensor now belong to owner. Amortised O(log n). */
void ranges_assign(struct ranges *ranges, uint32_t tensor, struct range_owner owner);

/* Walks the ranges that meet a tensor's bytes: first call with *cursor = the tensor's begin; false past its end. */
bool ranges_next(const struct ranges *ranges, uint32_t tensor, uint32_t *cursor, struct range_owner *owner);

#endif
