#include <string.h>

#include "mem.h"
#include "place_eject_private.h"
#include "vector_units.h"

/* An item in a queue: its distance may have risen and is in `least` already, or is to be worked out anew. */
enum { STATE_OUT, STATE_RISEN, STATE_ANEW };

#define ITEM_BITS 16
#define KEY_ZERO  ((int64_t)1 << 40) /* keys, of either sign, are above it */

bool chains_init(struct eject_chains *chains, const struct eject_items *items, struct error *err)
{
    size_t count = items->count + END_COUNT, cells = items->cell[count];
    *chains = (struct eject_chains){.items = items};
    chains->middle = mem_alloc(MEM_SEARCH, count, sizeof *chains->middle);
    bool ok = chains->middle;
    for (int end = 0; end < END_COUNT; end++) {
        chains->least[end] = mem_alloc(MEM_SEARCH, count, sizeof *chains->least[end]);
        chains->next[end] = mem_alloc(MEM_SEARCH, cells, sizeof *chains->next[end]);
        chains->queue[end] = mem_alloc(MEM_SEARCH, count, sizeof *chains->queue[end]);
        chains->state[end] = mem_zalloc(MEM_SEARCH, count, sizeof *chains->state[end]);
        chains->before[end] = mem_alloc(MEM_SEARCH, count, sizeof *chains->before[end]);
        ok = ok && chains->before[end] && chains->least[end] && chains->next[end] && chains->queue[end] &&
             chains->state[end];
    }
    return ok || error_memory(err, count * 38 + cells * 4, "a search by ejection");
}

void chains_finish(struct eject_chains *chains)
{
    mem_free(chains->middle);
    for (int end = 0; end < END_COUNT; end++) {
        mem_free(chains->least[end]);
        mem_free(chains->next[end]);
        mem_free(chains->queue[end]);
        mem_free(chains->state[end]);
        mem_free(chains->before[end]);
    }
}

void chains_clear(struct eject_chains *chains)
{
    const struct eject_items *items = chains->items;
    uint32_t ends[END_COUNT] = {items->count + END_FLOOR, items->count + END_CEILING};
    for (int end = 0; end < END_COUNT; end++) {
        int other = !end;
        for (uint32_t i = 0; i < items->count; i++) chains->least[end][i] = CHAINS_NOWHERE;
        chains->least[end][ends[end]] = 0;
        chains->least[end][ends[other]] = -CHAINS_NOWHERE; /* nothing lifts it */
        for (uint32_t s = 0; s < items->sections; s++)
            chains->next[end][items->cell[ends[other]] + s] = (uint16_t)ends[end];
        chains->queued[end] = 0;
    }
    chains->fresh = UINT32_MAX;
    chains->middle[ends[END_FLOOR]] = INT32_MIN;
    chains->middle[ends[END_CEILING]] = INT32_MAX;
}

FOR_VECTOR_UNITS static void blend_all(uint32_t count, int32_t capacity, int32_t steps, const int32_t *restrict size,
                                       const int32_t *restrict below, const int32_t *restrict above,
                                       int32_t *restrict middle)
{
    for (uint32_t i = 0; i < count; i++) {
        int32_t high = capacity - above[i] - size[i];
        int64_t down = (int64_t)(high - below[i]) * steps;
        middle[i] = 2 * (high - (int32_t)(down / BLEND_STEPS)) + size[i];
    }
}

void chains_blend(struct eject_chains *chains, int32_t capacity, int32_t steps)
{
    const struct eject_items *items = chains->items;
    blend_all(items->count, capacity, steps, items->size, chains->least[END_FLOOR], chains->least[END_CEILING],
              chains->middle);
    chains->fresh = UINT32_MAX;
}

/* The least key last: few wait at a time. */
static void push(struct eject_chains *chains, int end, uint32_t item, int64_t key, uint8_t state)
{
    uint64_t *queue = chains->queue[end], entry = (uint64_t)(key + KEY_ZERO) << ITEM_BITS | item;
    uint32_t at = chains->queued[end]++;
    for (; at > 0 && queue[at - 1] < entry; at--) queue[at] = queue[at - 1];
    queue[at] = entry;
    chains->state[end][item] = state;
}

static uint32_t pop(struct eject_chains *chains, int end)
{
    return chains->queue[end][--chains->queued[end]] & (((uint32_t)1 << ITEM_BITS) - 1);
}

/* In the order of middles from that end. */
static void enqueue(struct eject_chains *chains, int end, uint32_t item, uint8_t state)
{
    int64_t key = 2 * (int64_t)chains->middle[item] + (item != chains->fresh);
    if (chains->state[end][item] == STATE_OUT) {
        chains->before[end][item] = chains->least[end][item];
        push(chains, end, item, end == END_FLOOR ? key : -key, state);
    } else if (state > chains->state[end][item]) {
        chains->state[end][item] = state;
    }
}

static uint32_t cell_of(const struct eject_items *items, uint32_t item, uint32_t section)
{
    return items->cell[item] + (section - items->first[item]);
}

void chains_remove(struct eject_chains *chains, uint32_t item)
{
    const struct eject_items *items = chains->items;
    const int32_t *from_floor = chains->least[END_FLOOR], *from_ceiling = chains->least[END_CEILING];
    int32_t size = items->size[item], low = from_floor[item] + size, high = from_ceiling[item] + size;
    uint32_t cell = items->cell[item];
    for (uint32_t s = items->first[item]; s < items->last[item]; s++, cell++) {
        uint32_t below = chains->next[END_FLOOR][cell], above = chains->next[END_CEILING][cell];
        chains->next[END_CEILING][cell_of(items, below, s)] = (uint16_t)above;
        chains->next[END_FLOOR][cell_of(items, above, s)] = (uint16_t)below;
        if (from_floor[above] == low) enqueue(chains, END_FLOOR, above, STATE_ANEW);
        if (from_ceiling[below] == high) enqueue(chains, END_CEILING, below, STATE_ANEW);
    }
    chains->least[END_FLOOR][item] = chains->least[END_CEILING][item] = CHAINS_NOWHERE;
}

/* Of what lives in that section with the item and is below that middle, the highest. */
static uint32_t find_below(const struct eject_chains *chains, uint32_t item, int32_t middle)
{
    const struct eject_items *items = chains->items;
    uint32_t section = items->first[item], found = items->count + END_FLOOR;
    int32_t highest = INT32_MIN;
    for (uint32_t k = items->near_start[item]; k < items->near_start[item + 1]; k++) {
        uint32_t other = items->near[k];
        bool there = (items->first[other] <= section) & (chains->least[END_FLOOR][other] >= 0);
        int32_t at = chains->middle[other];
        bool higher = there & (at < middle) & (at > highest);
        highest = higher ? at : highest;
        found = higher ? other : found;
    }
    return found;
}

void chains_insert(struct eject_chains *chains, uint32_t item, int32_t middle)
{
    const struct eject_items *items = chains->items;
    uint32_t below = find_below(chains, item, middle), cell = items->cell[item];
    for (uint32_t s = items->first[item]; s < items->last[item]; s++, cell++) {
        while (items->last[below] <= s) below = chains->next[END_FLOOR][cell_of(items, below, s - 1)];
        uint32_t above = chains->next[END_CEILING][cell_of(items, below, s)];
        while (chains->middle[above] < middle) {
            below = above;
            above = chains->next[END_CEILING][cell_of(items, below, s)];
        }
        chains->next[END_FLOOR][cell] = (uint16_t)below;
        chains->next[END_CEILING][cell] = (uint16_t)above;
        chains->next[END_CEILING][cell_of(items, below, s)] = (uint16_t)item;
        chains->next[END_FLOOR][cell_of(items, above, s)] = (uint16_t)item;
    }
    chains->middle[item] = middle;
    chains->fresh = item;
    enqueue(chains, END_FLOOR, item, STATE_ANEW);
    enqueue(chains, END_CEILING, item, STATE_ANEW);
}

/* Each that lies next to `item` on the other side is at least as far as that. */
static void lift(struct eject_chains *chains, int end, uint32_t item, int32_t distance)
{
    const struct eject_items *items = chains->items;
    const uint16_t *next = chains->next[!end];
    int32_t *least = chains->least[end];
    for (uint32_t cell = items->cell[item]; cell < items->cell[item + 1]; cell++) {
        uint32_t other = next[cell];
        if (least[other] >= distance) continue;
        enqueue(chains, end, other, STATE_RISEN);
        least[other] = distance;
    }
}

/* Each that was as far as that because of `item` may come nearer. */
static void release(struct eject_chains *chains, int end, uint32_t item, int32_t distance)
{
    const struct eject_items *items = chains->items;
    const uint16_t *next = chains->next[!end];
    for (uint32_t cell = items->cell[item]; cell < items->cell[item + 1]; cell++)
        if (chains->least[end][next[cell]] == distance) enqueue(chains, end, next[cell], STATE_ANEW);
}

static int32_t measure(const struct eject_chains *chains, int end, uint32_t item)
{
    const struct eject_items *items = chains->items;
    const uint16_t *next = chains->next[end];
    int32_t most = 0;
    for (uint32_t cell = items->cell[item]; cell < items->cell[item + 1]; cell++) {
        int32_t at = chains->least[end][next[cell]] + items->size[next[cell]];
        most = at > most ? at : most;
    }
    return most;
}

/* Everything that an item's distance depends on has its own when its turn comes. */
static void settle_end(struct eject_chains *chains, int end)
{
    const struct eject_items *items = chains->items;
    while (chains->queued[end] > 0) {
        uint32_t item = pop(chains, end);
        bool anew = chains->state[end][item] == STATE_ANEW;
        int32_t *least = &chains->least[end][item], before = chains->before[end][item];
        chains->state[end][item] = STATE_OUT;
        if (*least == CHAINS_NOWHERE && item != chains->fresh) continue;
        if (anew) *least = measure(chains, end, item);
        if (*least > before) lift(chains, end, item, *least + items->size[item]);
        if (*least < before) release(chains, end, item, before + items->size[item]);
    }
}

void chains_settle(struct eject_chains *chains)
{
    settle_end(chains, END_FLOOR);
    settle_end(chains, END_CEILING);
}
