/* Rectangles cut into tiles, whose offsets are thrown away: their optimum is SIDE. In two pieces or in five, for tests
 * of placers that put them together again. */
#ifndef FATHOM_TILINGS_KIT_H
#define FATHOM_TILINGS_KIT_H

#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "random.h"

#define SIDE (1u << 20) /* bytes, the optimum */

struct tile {
    uint32_t from, to, low, high;
};

/* In two, along time or space; how many. */
static inline size_t cut_in_two(struct tile tile, uint32_t least, struct random *random, struct tile parts[5])
{
    uint32_t wide = tile.to - tile.from, tall = tile.high - tile.low;
    bool time = wide >= 2, space = tall >= 2 * least;
    if (!time && !space) return 0;
    if (time && space) time = random_below(random, 2) == 0;
    parts[0] = parts[1] = tile;
    if (time)
        parts[0].to = parts[1].from = tile.from + 1 + random_below(random, wide - 1);
    else
        parts[0].high = parts[1].low = tile.low + least + random_below(random, tall - 2 * least + 1);
    return 2;
}

/* Four around one in the middle, so that no straight cut runs through. */
static inline size_t cut_in_five(struct tile t, uint32_t least, struct random *random, struct tile parts[5])
{
    uint32_t wide = t.to - t.from, tall = t.high - t.low;
    if (wide < 3 || tall < 3 * least) return 0;
    uint32_t a = 1 + random_below(random, (wide - 1) / 2),
             b = least + random_below(random, tall / 2 - 3 * least / 2 + 1);
    if (2 * b >= tall) b = tall / 3;
    parts[0] = (struct tile){t.from, t.to - a, t.low, t.low + b};
    parts[1] = (struct tile){t.to - a, t.to, t.low, t.high - b};
    parts[2] = (struct tile){t.from + a, t.to, t.high - b, t.high};
    parts[3] = (struct tile){t.from, t.from + a, t.low + b, t.high};
    parts[4] = (struct tile){t.from + a, t.to - a, t.low + b, t.high - b};
    return 5;
}

/* Cuts at random until there are so many, the largest of eight first. */
static inline size_t make_tiling(struct place_buffer *buffers, size_t most, uint32_t side, bool five, uint64_t seed)
{
    struct random random = random_begin(seed, RANDOM_SEARCH, five, 1);
    struct tile *tiles = malloc((most + 5) * sizeof *tiles), parts[5];
    uint32_t least = SIDE / 2 / (uint32_t)most + 1;
    size_t count = 1;
    tiles[0] = (struct tile){0, side, 0, SIDE};
    for (size_t tries = 0; count < most && tries < 20 * most; tries++) {
        size_t best = random_below(&random, (uint32_t)count);
        for (int i = 0; i < 8; i++) {
            size_t other = random_below(&random, (uint32_t)count);
            double area = (double)(tiles[other].to - tiles[other].from) * (tiles[other].high - tiles[other].low);
            if (area > (double)(tiles[best].to - tiles[best].from) * (tiles[best].high - tiles[best].low)) best = other;
        }
        size_t made = (five ? cut_in_five : cut_in_two)(tiles[best], least, &random, parts);
        if (made == 0) continue;
        tiles[best] = parts[0];
        memcpy(tiles + count, parts + 1, (made - 1) * sizeof *parts);
        count += made - 1;
    }
    for (size_t i = 0; i < count; i++)
        buffers[i] = (struct place_buffer){.lower = tiles[i].from,
                                           .upper = tiles[i].to,
                                           .size = tiles[i].high - tiles[i].low,
                                           .fixed = PLACE_UNPLACED};
    free(tiles);
    return count;
}

#endif
