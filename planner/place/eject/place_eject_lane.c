#include <string.h>

#include "mem.h"
#include "place_eject_private.h"
#include "vector_units.h"

#define GRAIN_BITS   16 /* of its fraction */
#define FIRST_GRAIN  ((uint64_t)1 << 12 << GRAIN_BITS)
#define MOST_GRAIN   ((uint64_t)1 << 26 << GRAIN_BITS) /* sums of weights stay below 2^64 */
#define GRAIN_SHIFT  14 /* it grows by so many bits' inverse: the last 16,000 ejections count most */
#define FIRST_SHARE  4  /* of an ejection, what an item weighs before any, inverse */
#define DRAWS        10
#define MOST_OFFSETS 4096 /* each of up to so many is weighed */
#define MOST_RATIO   2 /* what leaves weighs at most so many times what comes: otherwise it waits on, and weighs more */

bool lane_init(struct eject_lane *lane, const struct eject_items *items, struct error *err)
{
    size_t count = items->count;
    *lane = (struct eject_lane){.items = items};
    TRY(chains_init(&lane->chains, items, err));
    lane->pool = mem_alloc(MEM_SEARCH, count, sizeof *lane->pool);
    lane->weight = mem_alloc(MEM_SEARCH, count, sizeof *lane->weight);
    lane->from = mem_alloc(MEM_SEARCH, count, sizeof *lane->from);
    lane->to = mem_alloc(MEM_SEARCH, count, sizeof *lane->to);
    lane->change = mem_alloc(MEM_SEARCH, MOST_OFFSETS + 1, sizeof *lane->change);
    lane->pairs = mem_alloc(MEM_SEARCH, 4 * count, sizeof *lane->pairs);
    lane->runs = mem_alloc(MEM_SEARCH, 2 * count + MOST_OFFSETS, sizeof *lane->runs);
    bool ok = lane->pool && lane->weight && lane->from && lane->to && lane->change && lane->pairs && lane->runs;
    return ok || error_memory(err, count * 100, "a search by ejection");
}

void lane_finish(struct eject_lane *lane)
{
    chains_finish(&lane->chains);
    mem_free(lane->pool);
    mem_free(lane->weight);
    mem_free(lane->from);
    mem_free(lane->to);
    mem_free(lane->change);
    mem_free(lane->pairs);
    mem_free(lane->runs);
}

void lane_begin(struct eject_lane *lane, int32_t capacity, uint64_t seed, uint64_t number)
{
    const struct eject_items *items = lane->items;
    chains_clear(&lane->chains);
    lane->capacity = capacity;
    lane->random = random_begin(seed, RANDOM_SEARCH, number, 2);
    lane->grain = FIRST_GRAIN;
    lane->waiting = items->count;
    for (uint32_t i = 0; i < items->count; i++) {
        lane->pool[i] = i;
        lane->weight[i] = items->base[i] * (FIRST_GRAIN >> GRAIN_BITS) / FIRST_SHARE;
    }
}

/* A new blend each time lets those that do not live together change places; the ends come more often than others. */
static void blend(struct eject_lane *lane)
{
    int32_t drawn = (int32_t)random_below(&lane->random, 2 * BLEND_STEPS) - BLEND_STEPS / 2;
    chains_blend(&lane->chains, lane->capacity, drawn < 0 ? 0 : drawn > BLEND_STEPS ? BLEND_STEPS : drawn);
}

/* For which offsets of `item` each of those that live with it would have to leave, from..to - 1, none where they are
 * the same: where it is the lower one, those below which it cannot get, and otherwise those above which the new one
 * would not fit. */
FOR_VECTOR_UNITS static void list_bans(const struct eject_items *items, const struct eject_chains *chains,
                                       uint32_t item, int32_t most, int32_t *restrict from, int32_t *restrict to)
{
    const uint16_t *near = items->near + items->near_start[item];
    const int32_t *middle = chains->middle, *above = chains->least[END_CEILING], *below = chains->least[END_FLOOR];
    uint32_t count = items->near_start[item + 1] - items->near_start[item];
    int32_t size = items->size[item];
    for (uint32_t k = 0; k < count; k++) {
        uint32_t other = near[k];
        int32_t half = ((middle[other] - size) >> 1) + 1; /* before it the new one is the lower one */
        int32_t lowest = most - above[other] - items->size[other] + 1, highest = below[other] + items->size[other];
        lowest = lowest < half ? lowest : half;
        highest = highest > half ? highest : half;
        lowest = lowest < 0 ? 0 : lowest;
        from[k] = lowest > most ? most + 1 : lowest;
        highest = highest < from[k] ? from[k] : highest;
        to[k] = highest > most ? most + 1 : highest;
    }
}

/* Between these offsets so much has to leave. */
static void add_run(struct eject_lane *lane, int32_t from, int32_t to, uint64_t weight)
{
    if (weight < lane->least) lane->runs_count = 0;
    lane->least = weight;
    if (lane->runs_count > 0 && lane->runs[lane->runs_count - 1].to == from - 1)
        lane->runs[lane->runs_count - 1].to = to;
    else
        lane->runs[lane->runs_count++] = (struct eject_run){from, to};
}

/* The weight at each offset, as sums of what changes there. */
static void weigh_each(struct eject_lane *lane, const uint16_t *near, uint32_t count, int32_t most)
{
    uint64_t *change = lane->change, weight = 0;
    memset(change, 0, ((size_t)most + 2) * sizeof *change);
    for (uint32_t k = 0; k < count; k++) {
        uint64_t of_other = lane->weight[near[k]];
        change[lane->from[k]] += of_other;
        change[lane->to[k]] -= of_other;
    }
    for (int32_t at = 0; at <= most; at++) {
        weight += change[at];
        if (weight <= lane->least) add_run(lane, at, at, weight);
    }
}

/* The same of too many offsets, from one where it changes to the next. */
static void weigh_changes(struct eject_lane *lane, const uint16_t *near, uint32_t count, int32_t most)
{
    struct sort_pair *pairs = lane->pairs;
    uint64_t weight = 0;
    for (uint32_t k = 0; k < count; k++) {
        pairs[2 * k] = (struct sort_pair){(uint64_t)lane->from[k], 2 * k};
        pairs[2 * k + 1] = (struct sort_pair){(uint64_t)lane->to[k], 2 * k + 1};
    }
    sort_pairs(pairs, pairs + 2 * (size_t)count, 2 * (size_t)count);
    for (int32_t from = 0, k = 0; from <= most;) {
        for (; k < 2 * (int32_t)count && (int32_t)pairs[k].key == from; k++) {
            uint64_t of_other = lane->weight[near[pairs[k].index / 2]];
            weight += pairs[k].index % 2 ? -of_other : of_other;
        }
        int32_t next = k < 2 * (int32_t)count ? (int32_t)pairs[k].key : most + 1;
        if (weight <= lane->least) add_run(lane, from, next - 1, weight);
        from = next;
    }
}

/* Where what has to leave weighs least (lane->least): one of all such offsets, at random. */
static int32_t choose_offset(struct eject_lane *lane, uint32_t item)
{
    const struct eject_items *items = lane->items;
    const uint16_t *near = items->near + items->near_start[item];
    uint32_t count = items->near_start[item + 1] - items->near_start[item];
    int32_t most = lane->capacity - items->size[item];
    list_bans(items, &lane->chains, item, most, lane->from, lane->to);
    lane->least = UINT64_MAX;
    lane->runs_count = 0;
    if (most < MOST_OFFSETS)
        weigh_each(lane, near, count, most);
    else
        weigh_changes(lane, near, count, most);
    struct eject_run run = lane->runs[random_below(&lane->random, lane->runs_count)];
    uint32_t draw = random_below(&lane->random, 4), width = (uint32_t)(run.to - run.from) + 1;
    return draw == 0 ? run.from : draw == 1 ? run.to : run.from + (int32_t)random_below(&lane->random, width);
}

/* Of a few drawn from the pool, the one that has made most leave: where in the pool it is. */
static uint32_t draw_waiting(struct eject_lane *lane)
{
    uint32_t drawn = random_below(&lane->random, lane->waiting);
    for (uint32_t k = 1; k < DRAWS; k++) {
        uint32_t other = random_below(&lane->random, lane->waiting);
        if (lane->weight[lane->pool[other]] > lane->weight[lane->pool[drawn]]) drawn = other;
    }
    return drawn;
}

/* Into the order; what is in the way waits. */
static void insert(struct eject_lane *lane, uint32_t item, int32_t offset)
{
    const struct eject_items *items = lane->items;
    struct eject_chains *chains = &lane->chains;
    int32_t size = items->size[item], middle = 2 * offset + size, above = lane->capacity - offset - size;
    uint32_t waiting = lane->waiting;
    for (uint32_t k = items->near_start[item]; k < items->near_start[item + 1]; k++) {
        uint32_t other = items->near[k];
        bool below = chains->middle[other] < middle;
        int32_t least = chains->least[below ? END_FLOOR : END_CEILING][other];
        bool clear = least + items->size[other] <= (below ? offset : above);
        lane->pool[lane->waiting] = other;
        lane->waiting += !clear;
    }
    for (uint32_t k = waiting; k < lane->waiting; k++) chains_remove(chains, lane->pool[k]);
    chains_insert(chains, item, middle);
    chains_settle(chains);
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
    uint32_t drawn = draw_waiting(lane), item = lane->pool[drawn];
    blend(lane);
    int32_t offset = choose_offset(lane, item);
    bool too_much = lane->least > MOST_RATIO * lane->weight[item];
    if (lane->least > 0) add_weight(lane, item);
    if (too_much) return false;
    lane->pool[drawn] = lane->pool[--lane->waiting];
    insert(lane, item, offset);
    return lane->waiting == 0;
}

void lane_lower(struct eject_lane *lane, int32_t capacity)
{
    struct eject_chains *chains = &lane->chains;
    chains_blend(chains, lane->capacity, BLEND_STEPS);
    for (uint32_t i = 0; i < lane->items->count; i++) {
        if (chains->least[END_FLOOR][i] + lane->items->size[i] <= capacity) continue;
        chains_remove(chains, i);
        lane->pool[lane->waiting++] = i;
    }
    chains_settle(chains);
    lane->capacity = capacity;
}

int32_t lane_arena(const struct eject_lane *lane)
{
    int32_t arena = 0;
    for (uint32_t i = 0; i < lane->items->count; i++) {
        int32_t end = lane->chains.least[END_FLOOR][i] + lane->items->size[i];
        if (end > arena) arena = end;
    }
    return arena;
}
