/* A cut that is told leaves both sides as much room as it can. */
#include "place_sides_private.h"

/* The least room that a strand leaves on a side, which it is not on. */
static uint64_t room_for(const struct sides *sides, uint32_t strand, uint32_t side, const uint64_t height[2])
{
    const struct strands *strands = sides->strands;
    const uint64_t *profile = strands->profile + strands->profile_start[strand];
    const uint64_t *live = sides->live[side] + strands->first[strand];
    uint64_t room = UINT64_MAX;
    for (size_t k = 0; k < strands->last[strand] - strands->first[strand]; k++) {
        if (live[k] + profile[k] > height[side]) return 0;
        if (height[side] - live[k] - profile[k] < room) room = height[side] - live[k] - profile[k];
    }
    return room;
}

/* Whether it costs nothing to have the strand on the other side. */
static bool is_free(const struct sides *sides, uint32_t strand)
{
    const struct strands *strands = sides->strands;
    uint32_t side = sides->side[strand];
    for (size_t k = strands->change_start[strand]; k < strands->change_start[strand + 1]; k++) {
        const struct event *event = &sides->events[strands->changes[k].event];
        int64_t here = event->bytes[side] - strands->changes[k].bytes;
        int64_t there = event->bytes[!side] + strands->changes[k].bytes;
        if (sides_cost(here, there, event->strands[side] > 1, true) >
            sides_cost(event->bytes[side], event->bytes[!side], true, event->strands[!side] > 0))
            return false;
    }
    return true;
}

static void move(struct sides *sides, uint32_t strand)
{
    const struct strands *strands = sides->strands;
    uint8_t side = sides->side[strand];
    for (size_t k = strands->first[strand]; k < strands->last[strand]; k++)
        sides->live[side][k] -= strands->profile[strands->profile_start[strand] + k - strands->first[strand]];
    for (size_t k = strands->change_start[strand]; k < strands->change_start[strand + 1]; k++) {
        sides->events[strands->changes[k].event].bytes[side] -= strands->changes[k].bytes;
        sides->events[strands->changes[k].event].strands[side]--;
    }
    sides->buffers[side] -= strands->buffers[strand];
    sides_put(sides, strand, !side);
}

void sides_spread(struct sides *sides, const uint64_t height[2])
{
    for (uint32_t i = 0; i < sides->strands->count; i++) {
        uint8_t side = sides->side[i];
        if (!is_free(sides, i) || sides->buffers[side] == sides->strands->buffers[i]) continue;
        uint64_t there = room_for(sides, i, !side, height);
        if (there == 0) continue;
        move(sides, i);
        if (room_for(sides, i, side, height) >= there) move(sides, i);
    }
}
