#include <string.h>

#include "mem.h"
#include "place_eject_private.h"
#include "vector_units.h"

#define GRAIN_BITS  16 /* of its fraction */
#define FIRST_GRAIN ((uint64_t)1 << 12 << GRAIN_BITS)
#define MOST_GRAIN  ((uint64_t)1 << 26 << GRAIN_BITS) /* sums of weights stay below 2^64 */
#define GRAIN_SHIFT 15 /* it grows by so many bits' inverse: the last 30,000 ejections count most */
#define FIRST_SHARE 4  /* of an ejection, what an item weighs before any, inverse */
#define MOST_RATIO  2  /* what leaves weighs at most so many times what comes: otherwise it waits on, and weighs more */
#define BLEND_STEPS 256

bool lane_init(struct eject_lane *lane, const struct eject_items *items, struct error *err)
{
    size_t count = items->count;
    *lane = (struct eject_lane){.items = items};
    lane->low = mem_alloc(MEM_SEARCH, count, sizeof *lane->low);
    lane->high = mem_alloc(MEM_SEARCH, count, sizeof *lane->high);
    lane->middle = mem_alloc(MEM_SEARCH, count, sizeof *lane->middle);
    lane->order = mem_alloc(MEM_SEARCH, count, sizeof *lane->order);
    lane->pool = mem_alloc(MEM_SEARCH, count, sizeof *lane->pool);
    lane->weight = mem_alloc(MEM_SEARCH, count, sizeof *lane->weight);
    lane->top = mem_alloc(MEM_SEARCH, items->sections, sizeof *lane->top);
    lane->begins = mem_alloc(MEM_SEARCH, count + 1, sizeof *lane->begins);
    lane->ends = mem_alloc(MEM_SEARCH, count + 1, sizeof *lane->ends);
    lane->runs = mem_alloc(MEM_SEARCH, 2 * count + 1, sizeof *lane->runs);
    bool ok = lane->low && lane->high && lane->middle && lane->order && lane->pool && lane->weight && lane->top &&
              lane->begins && lane->ends && lane->runs;
    return ok || error_memory(err, count * 72, "a search by ejection");
}

void lane_finish(struct eject_lane *lane)
{
    mem_free(lane->low);
    mem_free(lane->high);
    mem_free(lane->middle);
    mem_free(lane->order);
    mem_free(lane->pool);
    mem_free(lane->weight);
    mem_free(lane->top);
    mem_free(lane->begins);
    mem_free(lane->ends);
    mem_free(lane->runs);
}

void lane_begin(struct eject_lane *lane, int32_t capacity, uint64_t seed, uint64_t number)
{
    const struct eject_items *items = lane->items;
    lane->capacity = capacity;
    lane->random = random_begin(seed, RANDOM_SEARCH, number, 2);
    lane->grain = FIRST_GRAIN;
    lane->placed = 0;
    lane->waiting = items->count;
    for (uint32_t i = 0; i < items->count; i++) {
        lane->pool[i] = i;
        lane->weight[i] = items->base[i] * (FIRST_GRAIN >> GRAIN_BITS) / FIRST_SHARE;
    }
}

static void sort_order(struct eject_lane *lane)
{
    const int32_t *middle = lane->middle;
    uint32_t *order = lane->order;
    for (uint32_t k = 1; k < lane->placed; k++) {
        uint32_t item = order[k], at = k;
        int32_t key = middle[item];
        for (; at > 0 && middle[order[at - 1]] > key; at--) order[at] = order[at - 1];
        order[at] = item;
    }
}

FOR_VECTOR_UNITS static void sink(const struct eject_items *items, const uint32_t *order, uint32_t placed,
                                  int32_t *restrict top, int32_t *restrict low)
{
    memset(top, 0, items->sections * sizeof *top);
    for (uint32_t k = 0; k < placed; k++) {
        uint32_t item = order[k], from = items->first[item], to = items->last[item];
        int32_t at = 0;
        for (uint32_t s = from; s < to; s++) at = top[s] > at ? top[s] : at;
        low[item] = at;
        at += items->size[item];
        for (uint32_t s = from; s < to; s++) top[s] = at;
    }
}

FOR_VECTOR_UNITS static void rise(const struct eject_items *items, const uint32_t *order, uint32_t placed,
                                  int32_t capacity, int32_t *restrict top, int32_t *restrict high)
{
    for (uint32_t s = 0; s < items->sections; s++) top[s] = capacity;
    for (uint32_t k = placed; k-- > 0;) {
        uint32_t item = order[k], from = items->first[item], to = items->last[item];
        int32_t at = capacity;
        for (uint32_t s = from; s < to; s++) at = top[s] < at ? top[s] : at;
        at -= items->size[item];
        high[item] = at;
        for (uint32_t s = from; s < to; s++) top[s] = at;
    }
}

/* Any blend of two placements of one order is a placement of it; a new one each time lets those that do not live
 * together change places. */
static void settle(struct eject_lane *lane)
{
    sink(lane->items, lane->order, lane->placed, lane->top, lane->low);
    rise(lane->items, lane->order, lane->placed, lane->capacity, lane->top, lane->high);
    int32_t drawn = (int32_t)random_below(&lane->random, 2 * BLEND_STEPS) - BLEND_STEPS / 2;
    int64_t blend = drawn < 0 ? 0 : drawn > BLEND_STEPS ? BLEND_STEPS : drawn;
    for (uint32_t k = 0; k < lane->placed; k++) {
        uint32_t item = lane->order[k];
        int32_t at = (int32_t)((blend * lane->low[item] + (BLEND_STEPS - blend) * lane->high[item]) / BLEND_STEPS);
        lane->middle[item] = 2 * at + lane->items->size[item];
    }
    sort_order(lane);
}

static void sort_events(struct eject_event *events, size_t count)
{
    for (size_t k = 1; k < count; k++) {
        struct eject_event event = events[k];
        size_t at = k;
        for (; at > 0 && events[at - 1].at > event.at; at--) events[at] = events[at - 1];
        events[at] = event;
    }
}

/* For which offsets of `item` each of the placed ones would have to leave: where it is the lower one, those below which
 * it cannot get, and otherwise those above which the new one would not fit. */
static size_t list_events(struct eject_lane *lane, uint32_t item)
{
    const struct eject_items *items = lane->items;
    uint32_t first = items->first[item], last = items->last[item];
    int32_t size = items->size[item], most = lane->capacity - size;
    size_t count = 0;
    for (uint32_t k = 0; k < lane->placed; k++) {
        uint32_t other = lane->order[k];
        int32_t half = (lane->middle[other] - size) >> 1; /* up to here the new one is the lower one */
        int32_t from = lane->high[other] - size, to = lane->low[other] + items->size[other] - 1;
        from = (from < half ? from : half) + 1;
        to = to > half ? to : half;
        if (from < 0) from = 0;
        if (to > most) to = most;
        lane->begins[count] = (struct eject_event){from, lane->weight[other]};
        lane->ends[count] = (struct eject_event){to + 1, lane->weight[other]};
        count += (items->first[other] < last) & (first < items->last[other]) & (from <= to);
    }
    return count;
}

/* Where what has to leave weighs least: one of all such offsets, at random, and that weight. */
static int32_t choose_offset(struct eject_lane *lane, uint32_t item, uint64_t *least)
{
    int32_t most = lane->capacity - lane->items->size[item];
    size_t count = list_events(lane, item), b = 0, e = 0;
    struct eject_event *begins = lane->begins, *ends = lane->ends;
    sort_events(begins, count);
    sort_events(ends, count);
    uint64_t weight = 0;
    uint32_t runs = 0;
    *least = UINT64_MAX;
    for (int32_t at = 0; at <= most;) {
        for (; b < count && begins[b].at <= at; b++) weight += begins[b].weight;
        for (; e < count && ends[e].at <= at; e++) weight -= ends[e].weight;
        int32_t next = most + 1;
        if (b < count && begins[b].at < next) next = begins[b].at;
        if (e < count && ends[e].at < next) next = ends[e].at;
        if (weight < *least) runs = 0;
        if (weight <= *least) lane->runs[runs++] = (struct eject_run){at, next - 1};
        if (weight < *least) *least = weight;
        at = next;
    }
    struct eject_run run = lane->runs[random_below(&lane->random, runs)];
    uint32_t draw = random_below(&lane->random, 4), width = (uint32_t)(run.to - run.from) + 1;
    return draw == 0 ? run.from : draw == 1 ? run.to : run.from + (int32_t)random_below(&lane->random, width);
}

/* Into the order; what is in the way waits. */
static void insert(struct eject_lane *lane, uint32_t item, int32_t offset)
{
    const struct eject_items *items = lane->items;
    int32_t size = items->size[item], middle = 2 * offset + size;
    uint32_t kept = 0, placed = lane->placed, at = 0;
    for (uint32_t k = 0; k < placed; k++) {
        uint32_t other = lane->order[k];
        bool below = lane->middle[other] < middle;
        bool clear = below ? lane->low[other] + items->size[other] <= offset : lane->high[other] >= offset + size;
        bool meets = items->first[other] < items->last[item] && items->first[item] < items->last[other];
        if (meets && !clear) {
            lane->pool[lane->waiting++] = other;
            continue;
        }
        lane->order[kept++] = other;
        if (below) at = kept;
    }
    memmove(lane->order + at + 1, lane->order + at, (kept - at) * sizeof *lane->order);
    lane->order[at] = item;
    lane->middle[item] = middle;
    lane->placed = kept + 1;
}

static void add_weight(struct eject_lane *lane, uint32_t item)
{
    lane->weight[item] += lane->items->base[item] * (lane->grain >> GRAIN_BITS);
    lane->grain += lane->grain >> GRAIN_SHIFT;
    if (lane->grain < MOST_GRAIN) return;
    for (uint32_t i = 0; i < lane->items->count; i++) {
        lane->weight[i] = lane->weight[i] / (MOST_GRAIN / FIRST_GRAIN);
        if (lane->weight[i] == 0) lane->weight[i] = 1;
    }
    lane->grain = FIRST_GRAIN;
}

bool lane_step(struct eject_lane *lane)
{
    if (lane->waiting == 0) return true;
    uint32_t drawn = random_below(&lane->random, lane->waiting), item = lane->pool[drawn];
    uint64_t least;
    int32_t offset = choose_offset(lane, item, &least);
    bool too_much = least > MOST_RATIO * lane->weight[item];
    if (least > 0) add_weight(lane, item);
    if (too_much) return false;
    lane->pool[drawn] = lane->pool[--lane->waiting];
    insert(lane, item, offset);
    settle(lane);
    return lane->waiting == 0;
}

void lane_lower(struct eject_lane *lane, int32_t capacity)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < lane->placed; k++) {
        uint32_t item = lane->order[k];
        if (lane->low[item] + lane->items->size[item] <= capacity)
            lane->order[kept++] = item;
        else
            lane->pool[lane->waiting++] = item;
    }
    lane->placed = kept;
    lane->capacity = capacity;
    settle(lane);
}

int32_t lane_arena(const struct eject_lane *lane)
{
    int32_t arena = 0;
    for (uint32_t k = 0; k < lane->placed; k++) {
        int32_t end = lane->low[lane->order[k]] + lane->items->size[lane->order[k]];
        if (end > arena) arena = end;
    }
    return arena;
}
