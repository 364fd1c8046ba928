/* A guess grows: strand by strand, what is open goes to a side. */
#include <string.h>

#include "place_sides_private.h"

#define HINT 1 /* where too many are open: to the side that is there */

/* The height of a side with one strand more. */
static uint64_t height_with(const struct sides *sides, uint32_t strand, uint32_t side)
{
    const struct strands *strands = sides->strands;
    const uint64_t *profile = strands->profile + strands->profile_start[strand];
    const uint64_t *live = sides->live[side] + strands->first[strand];
    uint64_t height = sides->height[side];
    for (size_t k = 0; k < strands->last[strand] - strands->first[strand]; k++)
        if (live[k] + profile[k] > height) height = live[k] + profile[k];
    return height;
}

void sides_put(struct sides *sides, uint32_t strand, uint8_t side)
{
    const struct strands *strands = sides->strands;
    const uint64_t *profile = strands->profile + strands->profile_start[strand];
    uint64_t *live = sides->live[side] + strands->first[strand];
    sides->side[strand] = side;
    sides->buffers[side] += strands->buffers[strand];
    for (size_t k = 0; k < strands->last[strand] - strands->first[strand]; k++) {
        live[k] += profile[k];
        if (live[k] > sides->height[side]) sides->height[side] = live[k];
    }
    for (size_t k = strands->change_start[strand]; k < strands->change_start[strand + 1]; k++) {
        struct event *event = &sides->events[strands->changes[k].event];
        event->bytes[side] += strands->changes[k].bytes;
        event->strands[side]++;
    }
}

void sides_clear(struct sides *sides)
{
    const struct strands *strands = sides->strands;
    memset(sides->events, 0, strands->events * sizeof *sides->events);
    memset(sides->live[0], 0, strands->events * sizeof *sides->live[0]);
    memset(sides->live[1], 0, strands->events * sizeof *sides->live[1]);
    memset(sides->pull, 0, strands->count * sizeof *sides->pull);
    memset(sides->share, 0, strands->member_start[strands->events] * sizeof *sides->share);
    sides->height[0] = sides->height[1] = 0;
    sides->buffers[0] = sides->buffers[1] = 0;
}

/* All ways of an event's open strands: open[i]'s share is what it costs at least on side 1, less that on side 0. */
static void weigh(struct sides *sides, const struct event *event, const size_t *open, uint32_t count)
{
    const struct change *members = sides->strands->members;
    uint32_t reach[2][COST_LEVELS] = {{0}}, all = (1u << count) - 1;
    int64_t *sums = sides->sums;
    sums[0] = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t set = 0; set < 1u << i; set++) sums[set | 1u << i] = sums[set] + members[open[i]].bytes;
    for (uint32_t set = 0; set <= all; set++) {
        int64_t one = event->bytes[1] + sums[set], zero = event->bytes[0] + sums[all] - sums[set];
        uint32_t cost = sides_cost(zero, one, event->strands[0] > 0 || set != all, event->strands[1] > 0 || set != 0);
        reach[1][cost] |= set;
        reach[0][cost] |= all & ~set;
    }
    for (uint32_t i = 0; i < count; i++) {
        int least[2] = {0, 0};
        for (uint32_t side = 0; side < 2; side++)
            while (!(reach[side][least[side]] >> i & 1)) least[side]++;
        sides->share[open[i]] = (int8_t)(least[1] - least[0]);
    }
}

static void look_again(struct sides *sides, uint32_t number)
{
    const struct strands *strands = sides->strands;
    const struct event *event = &sides->events[number];
    size_t open[MOST_OPEN];
    uint32_t count = 0;
    bool here[2] = {event->strands[0] > 0, event->strands[1] > 0};
    for (size_t k = strands->member_start[number]; k < strands->member_start[number + 1]; k++) {
        uint32_t strand = strands->members[k].strand;
        sides->pull[strand] -= sides->share[k];
        sides->share[k] = 0;
        if (sides->side[strand] != SIDE_OPEN) continue;
        if (count < MOST_OPEN) open[count] = k;
        count++;
    }
    if (count == 0 || (!here[0] && !here[1])) return;
    if (count <= MOST_OPEN) weigh(sides, event, open, count);
    for (size_t k = strands->member_start[number]; k < strands->member_start[number + 1]; k++) {
        uint32_t strand = strands->members[k].strand;
        if (sides->side[strand] != SIDE_OPEN) continue;
        if (count > MOST_OPEN && here[0] != here[1]) sides->share[k] = here[0] ? HINT : -HINT;
        sides->pull[strand] += sides->share[k];
    }
}

/* The surest of the open ones; the number of strands where none is open. */
static uint32_t choose(const struct sides *sides)
{
    uint32_t count = (uint32_t)sides->strands->count, best = count;
    int32_t most = -1;
    for (uint32_t i = 0; i < count; i++) {
        if (sides->side[i] != SIDE_OPEN) continue;
        int32_t pull = sides->pull[i], sure = (pull < 0 ? -pull : pull) * 256 + sides->luck[i];
        if (sure <= most) continue;
        most = sure;
        best = i;
    }
    return best;
}

/* Where it is pulled to, unless the sides would be too high then and would not otherwise. */
static uint8_t choose_side(struct sides *sides, uint32_t strand)
{
    bool side = sides->pull[strand] ? sides->pull[strand] < 0 : random_below(&sides->random, 2);
    bool fits[2];
    for (uint32_t k = 0; k < 2; k++) fits[k] = height_with(sides, strand, k) + sides->height[!k] <= sides->target;
    return fits[0] == fits[1] ? side : fits[1];
}

void sides_grow(struct sides *sides)
{
    const struct strands *strands = sides->strands;
    sides_clear(sides);
    for (uint32_t i = 0; i < strands->count; i++) {
        sides->luck[i] = (uint8_t)random_next(&sides->random);
        if (sides->side[i] != SIDE_OPEN) sides_put(sides, i, sides->side[i]);
    }
    for (uint32_t e = 0; e < strands->events; e++) look_again(sides, e);
    for (;;) {
        uint32_t strand = choose(sides);
        if (strand == strands->count) return;
        sides_put(sides, strand, choose_side(sides, strand));
        for (size_t k = strands->change_start[strand]; k < strands->change_start[strand + 1]; k++)
            look_again(sides, strands->changes[k].event);
    }
}
