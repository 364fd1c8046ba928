/* A step of a stream is known to others only with all that its event knew, and only an event of that stream can have it
 * first; so an event cannot be of a stream where somebody has its step and not its knowledge. Where that leaves
 * several, the step is shared by the fewest other clocks on the stream that took it. Events with one clock are one
 * event, so the buffers that begin and end there are all of one stream. */
#include "place_streams.h"

#include <string.h>

#include "hash.h"
#include "mem.h"
#include "place_sort.h"

#define UNLIKELY 1000000 /* what a stream costs that the event cannot be of: the others may be wrong */

struct streams {
    const struct place_clocks *clocks;
    size_t count;
    struct sort_pair *pairs;
    uint64_t *cost;   /* of each buffer, and stream */
    uint32_t *leader; /* of each buffer: another of its stream, or itself */
    uint32_t *slots;  /* by an event's clock: a buffer that begins or ends with it, + 1 */
    size_t slot_count;
};

/* Beginnings, then ends. */
static const uint64_t *event_of(const struct streams *streams, size_t event)
{
    const struct place_clocks *clocks = streams->clocks;
    return event < streams->count ? clocks->start + event * clocks->streams
                                  : clocks->end + (event - streams->count) * clocks->streams;
}

static bool are_same(const struct streams *streams, size_t event, const uint64_t *clock)
{
    return memcmp(event_of(streams, event), clock, streams->clocks->streams * sizeof *clock) == 0;
}

/* What is said of the events that have one step of a stream, pairs[from … to]: `least` is what all later ones know. */
static void count_costs(struct streams *streams, size_t stream, size_t from, size_t to, const uint64_t *least)
{
    uint64_t same = 0;
    for (size_t i = from; i < to; i++) same += are_same(streams, streams->pairs[i].index, least);
    for (size_t i = from; i < to; i++) {
        uint32_t event = streams->pairs[i].index;
        streams->cost[event % streams->count * streams->clocks->streams + stream] +=
            are_same(streams, event, least) ? to - from - same : UNLIKELY;
    }
}

static void weigh_stream(struct streams *streams, size_t stream)
{
    size_t width = streams->clocks->streams, events = 2 * streams->count;
    uint64_t least[CLOCKS_MOST_STREAMS];
    for (size_t k = 0; k < width; k++) least[k] = UINT64_MAX;
    for (uint32_t e = 0; e < events; e++) streams->pairs[e] = (struct sort_pair){event_of(streams, e)[stream], e};
    sort_pairs(streams->pairs, streams->pairs + events, events);
    for (size_t to = events, from; to > 0; to = from) {
        for (from = to; from > 0 && streams->pairs[from - 1].key == streams->pairs[to - 1].key; from--) {
            const uint64_t *clock = event_of(streams, streams->pairs[from - 1].index);
            for (size_t k = 0; k < width; k++)
                if (clock[k] < least[k]) least[k] = clock[k];
        }
        count_costs(streams, stream, from, to, least);
    }
}

static uint32_t find_leader(const struct streams *streams, uint32_t buffer)
{
    while (streams->leader[buffer] != buffer) buffer = streams->leader[buffer];
    return buffer;
}

static bool is_origin(const uint64_t *clock, size_t width)
{
    for (size_t k = 0; k < width; k++)
        if (clock[k] > 0) return false;
    return true;
}

/* One of whom this is the same event has its leader from now on. All streams begin at the origin. */
static void join_event(struct streams *streams, uint32_t event)
{
    size_t width = streams->clocks->streams;
    const uint64_t *clock = event_of(streams, event);
    uint32_t buffer = (uint32_t)(event % streams->count);
    if (is_origin(clock, width)) return;
    size_t at = hash_bytes(clock, width * sizeof *clock, 0) & (streams->slot_count - 1);
    while (streams->slots[at] > 0 && !are_same(streams, streams->slots[at] - 1, clock))
        at = (at + 1) & (streams->slot_count - 1);
    if (streams->slots[at] == 0) {
        streams->slots[at] = event + 1;
        return;
    }
    uint32_t mine = find_leader(streams, buffer);
    uint32_t other = find_leader(streams, (uint32_t)((streams->slots[at] - 1) % streams->count));
    streams->leader[mine > other ? mine : other] = mine < other ? mine : other;
}

static bool reserve(struct streams *streams, struct error *err)
{
    size_t events = 2 * streams->count, width = streams->clocks->streams;
    streams->slot_count = 16;
    while (streams->slot_count < 2 * events) streams->slot_count *= 2;
    streams->pairs = mem_alloc(MEM_SEARCH, 2 * events, sizeof *streams->pairs);
    streams->cost = mem_zalloc(MEM_SEARCH, streams->count * width, sizeof *streams->cost);
    streams->leader = mem_alloc(MEM_SEARCH, streams->count, sizeof *streams->leader);
    streams->slots = mem_zalloc(MEM_SEARCH, streams->slot_count, sizeof *streams->slots);
    bool ok = streams->pairs && streams->cost && streams->leader && streams->slots;
    return ok || error_memory(err, streams->count * (64 + 8 * width), "the streams of buffers");
}

/* Costs of all that have one leader are the leader's. */
static void choose(struct streams *streams, uint32_t *stream)
{
    size_t width = streams->clocks->streams;
    for (uint32_t i = 0; i < streams->count; i++) {
        uint32_t leader = find_leader(streams, i);
        for (size_t k = 0; leader != i && k < width; k++)
            streams->cost[leader * width + k] += streams->cost[i * width + k];
    }
    for (uint32_t i = 0; i < streams->count; i++) {
        const uint64_t *cost = streams->cost + find_leader(streams, i) * width;
        stream[i] = 0;
        for (uint32_t k = 1; k < width; k++)
            if (cost[k] < cost[stream[i]]) stream[i] = k;
    }
}

bool streams_find(const struct place_clocks *clocks, size_t count, uint32_t *stream, struct error *err)
{
    struct streams streams = {.clocks = clocks, .count = count};
    bool ok = reserve(&streams, err);
    for (uint32_t i = 0; ok && i < count; i++) streams.leader[i] = i;
    for (size_t k = 0; ok && k < clocks->streams; k++) weigh_stream(&streams, k);
    for (uint32_t e = 0; ok && e < 2 * count; e++) join_event(&streams, e);
    for (size_t i = 0; ok && i < count; i++) { /* no time passes there */
        const uint64_t *start = event_of(&streams, i), *end = event_of(&streams, count + i);
        for (size_t k = 0; k < clocks->streams; k++)
            if (start[k] == end[k]) streams.cost[i * clocks->streams + k] += UNLIKELY;
    }
    if (ok) choose(&streams, stream);
    mem_free(streams.pairs);
    mem_free(streams.cost);
    mem_free(streams.leader);
    mem_free(streams.slots);
    return ok;
}
