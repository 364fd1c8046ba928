/* Guesses of a cut in the making: who is on which side, and what the events cost (place_sides.h). */
#ifndef FATHOM_PLACE_SIDES_PRIVATE_H
#define FATHOM_PLACE_SIDES_PRIVATE_H

#include "place_sides.h"
#include "random.h"

#define CUTS_KEPT      8
#define SIDE_OPEN      2  /* on no side yet */
#define MOST_OPEN      10 /* strands at an event of which all ways are gone through */
#define COST_MEETING   2  /* of an event at which both sides meet, in halves */
#define COST_IMBALANCE 4  /* and of each side that does not balance, beyond what the event does not */
#define COST_LEVELS    (COST_MEETING + 2 * COST_IMBALANCE + 1)

struct cut {
    uint8_t *side; /* of each strand */
    uint64_t height[2];
    size_t fewer; /* buffers of the smaller side */
    double score;
    uint32_t told; /* in how many rounds it, or one much like it, was */
    bool now;      /* and in this one */
};

struct event {
    int64_t bytes[2];    /* what the sides change */
    uint32_t strands[2]; /* that are there */
};

struct sides {
    const struct strands *strands;
    const struct problem *problem;
    uint64_t target;
    struct random random;
    uint8_t *side;
    int32_t *pull; /* of each open strand: what side 1 would cost more than side 0, in all its events */
    int8_t *share; /* of each member of an event: that event's part of it */
    uint8_t *luck; /* of each strand: decides between equals */
    struct event *events;
    uint64_t *live[2]; /* of each side, by stretch */
    uint64_t height[2];
    size_t buffers[2];
    uint32_t *queue; /* scratch, strands */
    uint32_t *owner; /* strands, each as often as it has buffers */
    struct cut cuts[CUTS_KEPT];
    size_t cut_count;
    int64_t sums[1 << MOST_OPEN]; /* scratch */
};

/* What an event costs of which the sides' parts sum up to so much, where there are any. */
static inline uint32_t sides_cost(int64_t zero, int64_t one, bool any_zero, bool any_one)
{
    if (!any_zero || !any_one) return 0;
    uint32_t apart = (uint32_t)(zero != 0) + (uint32_t)(one != 0) - (uint32_t)(zero + one != 0);
    return COST_MEETING + COST_IMBALANCE * apart;
}

/* Nobody is on a side; side[] stays as it is. */
void sides_clear(struct sides *sides);

void sides_put(struct sides *sides, uint32_t strand, uint8_t side);

/* Puts each open strand on a side, the surest first: what side[] tells of the others stays. */
void sides_grow(struct sides *sides);

/* Beginnings of a guess, in side[]. Two strands that live together, those of many buffers sooner; false where none is
 * found. */
bool sides_plant(struct sides *sides);

/* A cut of which what is near a costly event is open: strands that are there, and those that they meet at events. */
void sides_open_around(struct sides *sides, const struct cut *cut);

/* A cut of which some strands are open: a part of all, those in a stretch of time, those before or after some time, or a
 * part of one side. */
void sides_prune(struct sides *sides, const struct cut *cut);

/* Strands that may as well be on the other side go there where it leaves them more room, in sides of these heights. */
void sides_spread(struct sides *sides, const uint64_t height[2]);

#endif
