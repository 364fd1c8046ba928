/* Free space by rising address, in blocks that know their largest hole: the first hole that takes a buffer is found
 * without looking at every one, however fragmented the space is. The last hole has no end. */
#ifndef FATHOM_PLACE_HOLES_H
#define FATHOM_PLACE_HOLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define HOLES_BLOCK 128

struct hole {
    uint64_t low, high;
};

struct hole_block {
    struct hole hole[HOLES_BLOCK];
    uint64_t largest;
    size_t count;
};

struct holes {
    struct hole_block *pool;   /* each block is in use or in spare[] */
    struct hole_block **block; /* those in use, by address */
    struct hole_block **spare;
    size_t count, spares, capacity;
    uint64_t chunk; /* no hole but the last reaches over a multiple of it, nor does what is taken; 0 = one arena */
    uint64_t steps; /* holes and blocks looked at so far */
};

/* Which hole: the position of its block and its own within. */
struct hole_place {
    size_t block, at;
};

/* Room for as many holes as `most` buffers can leave between them, in chunks of so many bytes or in one arena (0). Ended
 * by holes_finish, which takes a zeroed object. */
bool holes_init(struct holes *holes, size_t most, uint64_t chunk, struct error *err);
void holes_finish(struct holes *holes);

/* One hole, from `low` on. */
void holes_reset(struct holes *holes, uint64_t low);

/* The lowest, the highest but the last, or the smallest (the lowest of those) that takes so many bytes at a multiple of
 * `align`; the last one where no other does. */
struct hole_place holes_lowest(struct holes *holes, uint64_t size, uint64_t align);
struct hole_place holes_highest(struct holes *holes, uint64_t size, uint64_t align);
struct hole_place holes_tightest(struct holes *holes, uint64_t size, uint64_t align);

static inline const struct hole *holes_get(const struct holes *holes, struct hole_place place)
{
    return &holes->block[place.block]->hole[place.at];
}

/* Where a buffer lies in a hole that takes it: at its bottom, or at its top, which the last one does not have. */
uint64_t holes_bottom(const struct holes *holes, struct hole_place place, uint64_t size, uint64_t align);
uint64_t holes_top(const struct holes *holes, struct hole_place place, uint64_t size, uint64_t align);

bool holes_is_last(const struct holes *holes, struct hole_place place);

/* Cuts [low, high) out of a hole that contains it. */
void holes_cut(struct holes *holes, struct hole_place place, uint64_t low, uint64_t high);
/* Gives [low, high) back: it lies in no hole, and joins those that it touches. */
void holes_give(struct holes *holes, uint64_t low, uint64_t high);

#endif
