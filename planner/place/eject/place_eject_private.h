/* The items of ejection (place_eject_items.c), who lies below whom (place_eject_chains.c), and one lane's search
 * (place_eject_lane.c). */
#ifndef FATHOM_PLACE_EJECT_PRIVATE_H
#define FATHOM_PLACE_EJECT_PRIVATE_H

#include "place_problem.h"
#include "place_sort.h"
#include "random.h"

#define MOST_ITEMS     8192
#define MOST_QUANTA    (1 << 27)                   /* of a capacity: sums of a few of them are in a word */
#define CHAINS_NOWHERE (-4 * (int32_t)MOST_QUANTA) /* of an item that is not placed */

/* What is placed, in quanta: a buffer, or small ones of one lifetime on top of each other. After the last come the
 * floor and the ceiling, of no size and live all the time. */
struct eject_items {
    uint32_t count, sections;
    uint64_t quantum;       /* bytes; each size is a multiple of it */
    uint32_t *first, *last; /* of each item, in sections */
    int32_t *size;
    uint64_t *base;       /* what it weighs at first, from 1 to MOST_BASE */
    uint32_t *start;      /* count + 1: in members */
    uint32_t *member;     /* the problem's buffers, lowest first */
    uint32_t *cell;       /* count + 3: where an item's sections begin, when all items' are in a row */
    uint32_t *near_start; /* count + 1: in near */
    uint16_t *near;       /* for each item, those that live at a time with it */
};
#define MOST_BASE 256

/* Sums over the problem's buffers of what items of them need at most: sections, and pairs that live at one time. */
bool items_fit(const struct problem *problem);
bool items_init(struct eject_items *items, const struct problem *problem, uint64_t quantum, struct error *err);
void items_finish(struct eject_items *items);

enum eject_end { END_FLOOR, END_CEILING, END_COUNT };

/* What is placed has no offsets but, in each section, a list from the floor to the ceiling. The least distance from
 * either end that the lists allow is kept for each item, by changing what a change reaches. */
struct eject_chains {
    const struct eject_items *items;
    int32_t *least[END_COUNT];  /* of each item; CHAINS_NOWHERE = not placed */
    uint16_t *next[END_COUNT];  /* of each cell: the neighbour towards that end */
    uint64_t *queue[END_COUNT]; /* what has to be looked at, the last first: by middle from that end, over items */
    uint32_t queued[END_COUNT];
    uint8_t *state[END_COUNT];  /* of each item, in that queue or not */
    int32_t *before[END_COUNT]; /* of each item: its least when it came into that queue */
    int32_t *middle;            /* of each item: twice where its middle is, in the last blend; rises in each list */
    uint32_t fresh;             /* inserted since; before what has the same middle */
};

bool chains_init(struct eject_chains *chains, const struct eject_items *items, struct error *err);
void chains_finish(struct eject_chains *chains);
/* Nothing is placed. */
void chains_clear(struct eject_chains *chains);
/* Any blend of the lowest and the highest placement is one: sets each middle to that with `steps` of BLEND_STEPS of the
 * lowest, under that capacity. */
#define BLEND_STEPS 256
void chains_blend(struct eject_chains *chains, int32_t capacity, int32_t steps);
/* Both leave the distances of others to chains_settle. `middle` tells what the item comes to lie between. */
void chains_remove(struct eject_chains *chains, uint32_t item);
void chains_insert(struct eject_chains *chains, uint32_t item, int32_t middle);
void chains_settle(struct eject_chains *chains);

struct eject_run {
    int32_t from, to;
};

struct eject_lane {
    const struct eject_items *items;
    struct eject_chains chains;
    int32_t capacity;
    uint32_t *pool; /* what is not placed */
    uint32_t waiting;
    uint64_t *weight;
    uint64_t grain;     /* what the next ejection adds, for each unit of base */
    int32_t *from, *to; /* of those that live with an item, between which offsets they have to leave for it */
    uint64_t *change;   /* of what has to leave, by offset */
    struct sort_pair *pairs;
    struct eject_run *runs; /* offsets at which it is `least` */
    uint32_t runs_count;
    uint64_t least;
    struct random random;
};

bool lane_init(struct eject_lane *lane, const struct eject_items *items, struct error *err);
void lane_finish(struct eject_lane *lane);
/* Nothing is placed. */
void lane_begin(struct eject_lane *lane, int32_t capacity, uint64_t seed, uint64_t number);
/* The capacity falls: what sticks out waits, the others keep their order. */
void lane_lower(struct eject_lane *lane, int32_t capacity);
/* Of what is placed, as low as the order allows. */
int32_t lane_arena(const struct eject_lane *lane);
/* One insertion, and what it throws out; true once all are placed. */
bool lane_step(struct eject_lane *lane);

#endif
