/* Where a guess begins: two strands, or a part of a cut that is kept. */
#include <string.h>

#include "place_sides_private.h"

#define SEED_TRIES 200

static bool meet(const struct strands *strands, uint32_t a, uint32_t b)
{
    return a != b && strands->first[a] < strands->last[b] && strands->first[b] < strands->last[a];
}

bool sides_plant(struct sides *sides)
{
    uint32_t count = (uint32_t)sides->problem->count;
    memset(sides->side, SIDE_OPEN, sides->strands->count);
    for (uint32_t i = 0; i < SEED_TRIES; i++) {
        uint32_t a = sides->owner[random_below(&sides->random, count)];
        uint32_t b = sides->owner[random_below(&sides->random, count)];
        if (!meet(sides->strands, a, b)) continue;
        sides->side[a] = 0;
        sides->side[b] = 1;
        return true;
    }
    return false;
}

static uint32_t cost_in(const struct sides *sides, const struct cut *cut, uint32_t number)
{
    const struct strands *strands = sides->strands;
    struct event event = {0};
    for (size_t k = strands->member_start[number]; k < strands->member_start[number + 1]; k++) {
        uint8_t side = cut->side[strands->members[k].strand];
        event.bytes[side] += strands->members[k].bytes;
        event.strands[side]++;
    }
    return sides_cost(event.bytes[0], event.bytes[1], event.strands[0] > 0, event.strands[1] > 0);
}

/* An event by its cost. */
static uint32_t choose_costly(struct sides *sides, const struct cut *cut)
{
    uint32_t chosen = 0, sum = 0;
    for (uint32_t e = 0; e < sides->strands->events; e++) {
        uint32_t cost = cost_in(sides, cut, e);
        sum += cost;
        if (cost > 0 && random_below(&sides->random, sum) < cost) chosen = e;
    }
    return chosen;
}

static void open_members(struct sides *sides, uint32_t event, size_t *count, size_t most)
{
    const struct strands *strands = sides->strands;
    for (size_t k = strands->member_start[event]; k < strands->member_start[event + 1] && *count < most; k++) {
        uint32_t strand = strands->members[k].strand;
        if (sides->side[strand] == SIDE_OPEN) continue;
        sides->side[strand] = SIDE_OPEN;
        sides->queue[(*count)++] = strand;
    }
}

void sides_open_around(struct sides *sides, const struct cut *cut)
{
    const struct strands *strands = sides->strands;
    size_t count = 0, most = 2 + strands->count / 40 + random_below(&sides->random, (uint32_t)strands->count / 3 + 1);
    memcpy(sides->side, cut->side, strands->count);
    open_members(sides, choose_costly(sides, cut), &count, most);
    for (size_t i = 0; i < count && count < most; i++)
        for (size_t k = strands->change_start[sides->queue[i]]; k < strands->change_start[sides->queue[i] + 1]; k++)
            open_members(sides, strands->changes[k].event, &count, most);
}

void sides_prune(struct sides *sides, const struct cut *cut)
{
    const struct strands *strands = sides->strands;
    struct random *random = &sides->random;
    uint32_t kind = random_below(random, 4), at = random_below(random, strands->events), side = random_next(random) & 1;
    uint32_t end = at + strands->events / 20 + random_below(random, strands->events / 2 + 1);
    double part = kind == 0 ? 0.1 + 0.5 * random_real(random) : 0.3 + 0.6 * random_real(random);
    for (uint32_t i = 0; i < strands->count; i++) {
        bool open = kind == 0   ? random_real(random) < part
                    : kind == 1 ? strands->first[i] < end && strands->last[i] > at
                    : kind == 2 ? (side ? strands->first[i] >= at : strands->last[i] <= at)
                                : cut->side[i] == side && random_real(random) < part;
        sides->side[i] = open ? SIDE_OPEN : cut->side[i];
    }
}
