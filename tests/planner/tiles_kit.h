/* Problems of which the optimum is known, for tests of placers. */
#ifndef FATHOM_TILES_KIT_H
#define FATHOM_TILES_KIT_H

#include "place.h"
#include "random.h"

#define TILES_SIDE 4096 /* how long they live, together */

/* A rectangle cut into so many tiles at random, by straight cuts: its optimum is its height. */
static inline void cut_tiles(struct place_buffer *tiles, size_t most, uint64_t height, struct random *random)
{
    struct place_buffer whole = {.upper = TILES_SIDE, .size = height, .align = 1, .fixed = PLACE_UNPLACED};
    tiles[0] = whole;
    for (size_t count = 1; count < most;) {
        struct place_buffer *tile = &tiles[random_below(random, (uint32_t)count)], *other = &tiles[count];
        uint64_t wide = tile->upper - tile->lower;
        *other = *tile;
        if (random_below(random, 2) && wide > 1) {
            tile->upper = other->lower = tile->lower + 1 + random_below(random, (uint32_t)wide - 1);
        } else if (tile->size > 8) {
            other->size = 4 + random_below(random, (uint32_t)tile->size - 7);
            tile->size -= other->size;
        } else {
            continue;
        }
        count++;
    }
}

#endif
