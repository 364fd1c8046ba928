#include "place_holes.h"

#include <string.h>

#include "mem.h"
#include "place_problem.h"

/* Two neighbours of together at most half a block become one, so blocks are at least a quarter full on average. */
#define MERGE_COUNT (HOLES_BLOCK / 2)
#define BLOCK_STEPS 4 /* of passing over a block, where a hole takes one */

/* With chunks a hole more for each chunk, of which a buffer opens one at most. */
bool holes_init(struct holes *holes, size_t most, uint64_t chunk, struct error *err)
{
    size_t runs = chunk > 0 ? 2 * most + 1 : most + 1;
    *holes = (struct holes){.capacity = runs / (MERGE_COUNT / 2) + 3, .chunk = chunk};
    holes->pool = mem_alloc(MEM_SEARCH, holes->capacity, sizeof *holes->pool);
    holes->block = mem_alloc(MEM_SEARCH, holes->capacity, sizeof *holes->block);
    holes->spare = mem_alloc(MEM_SEARCH, holes->capacity, sizeof *holes->spare);
    if (holes->pool && holes->block && holes->spare) return true;
    error_memory(err, holes->capacity * sizeof *holes->pool, "the free space of a placement");
    holes_finish(holes);
    return false;
}

void holes_finish(struct holes *holes)
{
    mem_free(holes->pool);
    mem_free(holes->block);
    mem_free(holes->spare);
    *holes = (struct holes){0};
}

void holes_reset(struct holes *holes, uint64_t low)
{
    holes->spares = holes->capacity - 1;
    for (size_t i = 0; i < holes->spares; i++) holes->spare[i] = &holes->pool[holes->capacity - 1 - i];
    holes->block[0] = holes->pool;
    holes->count = 1;
    *holes->block[0] =
        (struct hole_block){.hole = {{low, UINT64_MAX / 2}}, .largest = UINT64_MAX / 2 - low, .count = 1};
}

static bool takes(const struct holes *holes, const struct hole *hole, uint64_t size, uint64_t align)
{
    uint64_t low = settle_offset(hole->low, size, align, holes->chunk);
    return low < hole->high && hole->high - low >= size;
}

static struct hole_place last_place(const struct holes *holes)
{
    return (struct hole_place){holes->count - 1, holes->block[holes->count - 1]->count - 1};
}

bool holes_is_last(const struct holes *holes, struct hole_place place)
{
    return place.block == holes->count - 1 && place.at == holes->block[place.block]->count - 1;
}

uint64_t holes_bottom(const struct holes *holes, struct hole_place place, uint64_t size, uint64_t align)
{
    return settle_offset(holes_get(holes, place)->low, size, align, holes->chunk);
}

uint64_t holes_top(const struct holes *holes, struct hole_place place, uint64_t size, uint64_t align)
{
    uint64_t high = holes_get(holes, place)->high, base = holes->chunk ? (high - 1) / holes->chunk * holes->chunk : 0;
    return base + (high - base - size) / align * align;
}

struct hole_place holes_lowest(struct holes *holes, uint64_t size, uint64_t align)
{
    for (size_t b = 0; b < holes->count; b++) {
        const struct hole_block *block = holes->block[b];
        holes->steps += BLOCK_STEPS;
        if (block->largest < size) continue;
        holes->steps += block->count;
        for (size_t i = 0; i < block->count; i++)
            if (takes(holes, &block->hole[i], size, align)) return (struct hole_place){b, i};
    }
    return last_place(holes);
}

struct hole_place holes_highest(struct holes *holes, uint64_t size, uint64_t align)
{
    struct hole_place last = last_place(holes);
    for (size_t b = holes->count; b-- > 0;) {
        const struct hole_block *block = holes->block[b];
        holes->steps += BLOCK_STEPS;
        if (block->largest < size) continue;
        holes->steps += block->count;
        for (size_t i = b == last.block ? last.at : block->count; i-- > 0;)
            if (takes(holes, &block->hole[i], size, align)) return (struct hole_place){b, i};
    }
    return last;
}

struct hole_place holes_tightest(struct holes *holes, uint64_t size, uint64_t align)
{
    struct hole_place best = last_place(holes);
    uint64_t least = UINT64_MAX;
    for (size_t b = 0; b < holes->count && least > size; b++) {
        const struct hole_block *block = holes->block[b];
        holes->steps += BLOCK_STEPS;
        if (block->largest < size) continue;
        holes->steps += block->count;
        for (size_t i = 0; i < block->count; i++) {
            uint64_t room = block->hole[i].high - block->hole[i].low;
            if (room >= least || room < size || !takes(holes, &block->hole[i], size, align)) continue;
            least = room;
            best = (struct hole_place){b, i};
        }
    }
    return best;
}

static void find_largest(struct hole_block *block)
{
    uint64_t largest = 0;
    for (size_t i = 0; i < block->count; i++) {
        uint64_t room = block->hole[i].high - block->hole[i].low;
        largest = room > largest ? room : largest;
    }
    block->largest = largest;
}

static void raise_largest(struct hole_block *block, const struct hole *hole)
{
    if (hole->high - hole->low > block->largest) block->largest = hole->high - hole->low;
}

static void drop_block(struct holes *holes, size_t at)
{
    holes->spare[holes->spares++] = holes->block[at];
    memmove(holes->block + at, holes->block + at + 1, (holes->count - at - 1) * sizeof *holes->block);
    holes->count--;
}

static void merge_next(struct holes *holes, size_t at)
{
    if (at + 1 >= holes->count || holes->block[at]->count + holes->block[at + 1]->count > MERGE_COUNT) return;
    struct hole_block *block = holes->block[at], *next = holes->block[at + 1];
    memcpy(block->hole + block->count, next->hole, next->count * sizeof *next->hole);
    block->count += next->count;
    if (next->largest > block->largest) block->largest = next->largest;
    drop_block(holes, at + 1);
}

static void remove_hole(struct holes *holes, struct hole_place place)
{
    struct hole_block *block = holes->block[place.block];
    uint64_t room = block->hole[place.at].high - block->hole[place.at].low;
    memmove(block->hole + place.at, block->hole + place.at + 1, (block->count - place.at - 1) * sizeof *block->hole);
    block->count--;
    if (room == block->largest) find_largest(block);
    if (block->count == 0) {
        drop_block(holes, place.block); /* never the last hole's */
        return;
    }
    merge_next(holes, place.block);
    if (place.block > 0) merge_next(holes, place.block - 1);
}

static void split_block(struct holes *holes, size_t at)
{
    struct hole_block *block = holes->block[at], *next = holes->spare[--holes->spares];
    next->count = HOLES_BLOCK / 2;
    block->count = HOLES_BLOCK - next->count;
    memcpy(next->hole, block->hole + block->count, next->count * sizeof *next->hole);
    find_largest(block);
    find_largest(next);
    memmove(holes->block + at + 2, holes->block + at + 1, (holes->count - at - 1) * sizeof *holes->block);
    holes->block[at + 1] = next;
    holes->count++;
}

static void insert_hole(struct holes *holes, struct hole_place place, struct hole hole)
{
    if (holes->block[place.block]->count == HOLES_BLOCK) {
        split_block(holes, place.block);
        size_t kept = holes->block[place.block]->count;
        if (place.at > kept) place = (struct hole_place){place.block + 1, place.at - kept};
    }
    struct hole_block *block = holes->block[place.block];
    memmove(block->hole + place.at + 1, block->hole + place.at, (block->count - place.at) * sizeof *block->hole);
    block->hole[place.at] = hole;
    block->count++;
    raise_largest(block, &hole);
}

static void change_hole(struct holes *holes, struct hole_place place, struct hole hole)
{
    struct hole_block *block = holes->block[place.block];
    uint64_t room = block->hole[place.at].high - block->hole[place.at].low;
    block->hole[place.at] = hole;
    if (room == block->largest && hole.high - hole.low < room)
        find_largest(block);
    else
        raise_largest(block, &hole);
}

void holes_cut(struct holes *holes, struct hole_place place, uint64_t low, uint64_t high)
{
    struct hole hole = *holes_get(holes, place);
    bool below = hole.low < low, above = high < hole.high;
    if (below && above) {
        change_hole(holes, place, (struct hole){high, hole.high});
        insert_hole(holes, place, (struct hole){hole.low, low});
    } else if (below || above) {
        change_hole(holes, place, below ? (struct hole){hole.low, low} : (struct hole){high, hole.high});
    } else {
        remove_hole(holes, place);
    }
}

/* The first hole that begins at `low` or above; the last hole always does. */
static struct hole_place find_above(const struct holes *holes, uint64_t low)
{
    size_t from = 0, to = holes->count - 1;
    while (from < to) {
        size_t middle = (from + to) / 2;
        const struct hole_block *block = holes->block[middle];
        if (block->hole[block->count - 1].low < low)
            from = middle + 1;
        else
            to = middle;
    }
    const struct hole_block *block = holes->block[from];
    size_t at = 0, end = block->count;
    while (at < end) {
        size_t middle = (at + end) / 2;
        if (block->hole[middle].low < low)
            at = middle + 1;
        else
            end = middle;
    }
    return (struct hole_place){from, at};
}

static bool begins_chunk(const struct holes *holes, uint64_t address)
{
    return holes->chunk > 0 && address % holes->chunk == 0;
}

void holes_give(struct holes *holes, uint64_t low, uint64_t high)
{
    struct hole_place next = find_above(holes, low), before = next;
    bool any_before = next.at > 0 || next.block > 0;
    if (next.at > 0)
        before.at--;
    else if (any_before)
        before = (struct hole_place){next.block - 1, holes->block[next.block - 1]->count - 1};
    bool joins_before = any_before && holes_get(holes, before)->high == low && !begins_chunk(holes, low);
    bool joins_next = holes_get(holes, next)->low == high && !begins_chunk(holes, high);
    if (joins_before && joins_next) {
        change_hole(holes, before, (struct hole){holes_get(holes, before)->low, holes_get(holes, next)->high});
        remove_hole(holes, next);
    } else if (joins_before) {
        change_hole(holes, before, (struct hole){holes_get(holes, before)->low, high});
    } else if (joins_next) {
        change_hole(holes, next, (struct hole){low, holes_get(holes, next)->high});
    } else {
        insert_hole(holes, next, (struct hole){low, high});
    }
}
