/* Buffers that a horizontal cut of a placement leaves on one side together, as far as sums of sizes tell.
 *
 * A cut through the arena, at one height for all time, makes two problems of one. Each is itself a packing: where nothing
 * is wasted, what ends at an instant on one side has the size of what begins there on the same side. An event is an
 * instant with all that ends or begins there. Where these sum up to nothing, ends counted negative, and no part of them
 * does, all are on one side, and so on with what has been found to belong together: a strand. */
#ifndef FATHOM_PLACE_STRANDS_H
#define FATHOM_PLACE_STRANDS_H

#include "errors.h"
#include "place_problem.h"

/* By how much a strand changes the live sum at an event. */
struct change {
    uint32_t strand, event;
    int64_t bytes;
};

struct strands {
    size_t count;
    uint32_t events;        /* in the order of time; between two of them is a stretch of one live sum */
    uint32_t *of;           /* of each buffer: its strand */
    uint32_t *buffers;      /* of each strand: how many it has */
    uint32_t *first, *last; /* of each strand: its first and last event */
    size_t *change_start;   /* of each strand, count + 1: in changes[] */
    struct change *changes; /* by strands, then by events */
    size_t *member_start;   /* of each event, events + 1: in members[] */
    struct change *members; /* the same by events */
    size_t *profile_start;  /* of each strand, count + 1: in profile[] */
    uint64_t *profile;      /* live sums of a strand in the stretches from its first event to its last */
};

/* Whether a problem can be looked at: no offsets are given, one alignment, no more than can be gone through often. */
bool strands_suit(const struct problem *problem);

/* Buffers of one lifetime are of one strand, or what events say decides alone: where problems that are mixed count time
 * in the same way, lifetimes are the same by chance. No strands where their profiles would take more than so many bytes.
 * Ended by strands_finish, which takes a zeroed object. On failure it is finished already. */
bool strands_init(struct strands *strands, const struct problem *problem, bool by_lifetime, uint64_t most_bytes,
                  struct error *err);
void strands_finish(struct strands *strands);

#endif
