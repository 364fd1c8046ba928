/* The items of ejection (place_eject_items.c), and one lane's search (place_eject_lane.c). */
#ifndef FATHOM_PLACE_EJECT_PRIVATE_H
#define FATHOM_PLACE_EJECT_PRIVATE_H

#include "place_problem.h"
#include "random.h"

/* What is placed, in quanta: a buffer, or small ones of one lifetime on top of each other. */
struct eject_items {
    uint32_t count, sections;
    uint64_t quantum;       /* bytes; each size is a multiple of it */
    uint32_t *first, *last; /* of each item, in sections */
    int32_t *size;
    uint64_t *base;   /* what it weighs at first, from 1 to MOST_BASE */
    uint32_t *start;  /* count + 1: in members */
    uint32_t *member; /* the problem's buffers, lowest first */
};
#define MOST_BASE 256

bool items_init(struct eject_items *items, const struct problem *problem, uint64_t quantum, struct error *err);
void items_finish(struct eject_items *items);

/* An offset from which on something is in the way, or no longer. */
struct eject_event {
    int32_t at;
    uint64_t weight;
};

struct eject_run {
    int32_t from, to;
};

struct eject_lane {
    const struct eject_items *items;
    int32_t capacity;
    int32_t *low, *high; /* of each placed item: the least and greatest offset that the order allows */
    int32_t *middle;     /* twice where its middle is taken to be: rises in the order */
    uint32_t *order;     /* placed items, so that what lies below comes before */
    uint32_t placed;
    uint32_t *pool; /* the others */
    uint32_t waiting;
    uint64_t *weight;
    uint64_t grain; /* what the next ejection adds, for each unit of base */
    int32_t *top;   /* of each section, while offsets are worked out */
    struct eject_event *begins, *ends;
    struct eject_run *runs;
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
