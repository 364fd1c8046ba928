#ifndef FATHOM_PLACE_BLOCKS_PRIVATE_H
#define FATHOM_PLACE_BLOCKS_PRIVATE_H

#include "place_blocks.h"

#define BLOCK_NONE UINT32_MAX
#define WHEEL      5 /* its parts */

enum block_kind { BLOCK_BUFFER, BLOCK_PILE, BLOCK_ROW, BLOCK_WHEEL };

/* A buffer, or a block. Those that are left are in two lists each: of what begins and of what ends at a section. */
struct block {
    uint64_t size;
    uint32_t first, last;
    uint32_t next_begin;   /* of a part: the next part of its block */
    uint32_t before_begin; /* likewise the list's, backwards */
    uint32_t next_end, before_end;
    uint32_t parts;   /* the first; of a buffer: its number in the problem */
    uint32_t spurned; /* with what it is to make no block at present, or BLOCK_NONE */
    uint8_t kind;
    bool left, queued, listed;
};

struct blocks {
    const struct problem *problem;
    struct block *all;
    uint64_t bytes;          /* of all[] */
    size_t count;            /* of it so far, those given up among them */
    uint32_t spare;          /* given up, as a list by parts */
    uint32_t *begins, *ends; /* by section: lists */
    uint32_t *queue;         /* what is to be looked at, the latest first */
    size_t queued;
    uint32_t *roots; /* what was left at some time since they were last gathered */
    size_t root_count, root_capacity;
    size_t left;
    uint64_t work, next_look; /* at the clock */
    uint64_t most_work, deadline_ns;
    uint32_t made; /* last */
    bool over;     /* by work or by time */
    bool gathers;  /* what becomes left goes to roots[] */
    bool failed;   /* out of memory for them */
};

/* Which blocks are sought. */
struct block_rules {
    bool wheels, piles, rows;
    bool groups;  /* piles of two and three where a row with them follows at once */
    bool doubled; /* rows, too, where several have that size */
    bool around;  /* whatever begins or ends where a block does is looked at again */
};

/* Looks at what is in the queue, and at what comes of it; the queue is empty then. */
void blocks_settle(struct blocks *blocks, const struct block_rules *rules);

/* For the files of blocks. */
void blocks_push(struct blocks *blocks, uint32_t block);
/* A block of these, which are left; it is to be looked at. A pile's parts lie one on the other in their order, a row's
 * one after the other, a wheel's as place_blocks.c spreads them. */
void blocks_join(struct blocks *blocks, enum block_kind kind, const uint32_t *parts, size_t count);

#endif
