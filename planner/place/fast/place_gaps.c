#include "place_gaps.h"

#include <string.h>

#include "mem.h"

#define FAN_BITS   3
#define FAN        (1u << FAN_BITS)
#define MOST_HEADS (GAPS_LEVELS * (4 * FAN + 2))
#define LEAST_ROOM 4

bool gaps_init(struct gaps *gaps, const struct problem *problem, struct error *err)
{
    *gaps = (struct gaps){.chunk = problem->chunk};
    size_t width = problem->sections > 0 ? problem->sections : 1;
    for (;; width = (width + FAN - 1) / FAN) {
        gaps->level_start[gaps->level_count++] = gaps->node_count;
        gaps->node_count += width;
        if (width == 1) break;
    }
    gaps->whole = mem_zalloc(MEM_SEARCH, gaps->node_count, sizeof *gaps->whole);
    gaps->part = mem_zalloc(MEM_SEARCH, gaps->node_count, sizeof *gaps->part);
    gaps->pool = mem_alloc(MEM_SEARCH, LEAST_ROOM, sizeof *gaps->pool); /* empty lists point into it, too */
    gaps->pool_capacity = LEAST_ROOM;
    if (gaps->whole && gaps->part && gaps->pool) return true;
    error_memory(err, gaps->node_count * 2 * sizeof *gaps->whole, "first-fit placement");
    gaps_finish(gaps);
    return false;
}

void gaps_finish(struct gaps *gaps)
{
    mem_free(gaps->whole);
    mem_free(gaps->part);
    mem_free(gaps->pool);
    *gaps = (struct gaps){0};
}

void gaps_clear(struct gaps *gaps)
{
    for (size_t i = 0; i < gaps->node_count; i++) gaps->whole[i].count = gaps->part[i].count = 0;
    gaps->steps = 0;
}

static bool make_room(struct gaps *gaps, struct gaps_list *list)
{
    if (list->count < list->capacity) return true;
    uint32_t capacity = list->capacity ? 2 * list->capacity : LEAST_ROOM;
    void *pool = gaps->pool;
    if (!mem_grow(MEM_SEARCH, &pool, &gaps->pool_capacity, gaps->pool_count + capacity, sizeof *gaps->pool))
        return false;
    gaps->pool = pool;
    memcpy(gaps->pool + gaps->pool_count, gaps->pool + list->start, list->count * sizeof *gaps->pool);
    list->start = gaps->pool_count;
    list->capacity = capacity;
    gaps->pool_count += capacity;
    return true;
}

/* Adds [low, high) to the ranges; those that it meets or touches become one with it. */
static bool join(struct gaps *gaps, struct gaps_list *list, uint64_t low, uint64_t high)
{
    const struct gaps_range *held = gaps->pool + list->start;
    size_t from = 0, to = list->count;
    if (to > 0 && held[to - 1].high < low) from = to; /* on top or at the last one, as often */
    if (to > 1 && held[to - 2].high < low && from == 0) from = to - 1;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (held[middle].high < low)
            from = middle + 1;
        else
            to = middle;
    }
    size_t end = from;
    for (; end < list->count && held[end].low <= high; end++) {
        if (held[end].low < low) low = held[end].low;
        if (held[end].high > high) high = held[end].high;
    }
    if (end == from && !make_room(gaps, list)) return false;
    struct gaps_range *ranges = gaps->pool + list->start;
    if (end != from + 1) memmove(ranges + from + 1, ranges + end, (list->count - end) * sizeof *ranges);
    ranges[from] = (struct gaps_range){low, high};
    gaps->steps += list->count - from;
    list->count -= (uint32_t)(end - from);
    list->count++;
    return true;
}

/* The run of nodes of one level that lie within [first, last) while their parents do not: up to the left, from the
 * right. Level by level [*from, *to) are the nodes within; true at the last level that has any. */
static bool split_level(uint32_t from, uint32_t to, uint32_t *up, uint32_t *down)
{
    uint32_t left = (from + FAN - 1) / FAN, right = to / FAN;
    bool last = left >= right;
    *up = last ? to : left * FAN;
    *down = last ? to : right * FAN;
    return last;
}

bool gaps_take(struct gaps *gaps, uint32_t first, uint32_t last, uint64_t low, uint64_t high)
{
    uint32_t from = first, to = last;
    bool within = true;
    for (size_t level = 0; level < gaps->level_count; level++) {
        size_t start = gaps->level_start[level];
        uint32_t left = first >> (FAN_BITS * level), right = (last - 1) >> (FAN_BITS * level);
        if (within) {
            uint32_t up, down;
            bool ends = split_level(from, to, &up, &down);
            for (uint32_t i = from; i < up; i++)
                if (!join(gaps, &gaps->whole[start + i], low, high)) return false;
            for (uint32_t i = down; i < to; i++)
                if (!join(gaps, &gaps->whole[start + i], low, high)) return false;
            if (left < from && !join(gaps, &gaps->part[start + left], low, high)) return false;
            if (right >= to && !join(gaps, &gaps->part[start + right], low, high)) return false;
            within = !ends;
            from = up / FAN;
            to = down / FAN;
        } else {
            if (!join(gaps, &gaps->part[start + left], low, high)) return false;
            if (right != left && !join(gaps, &gaps->part[start + right], low, high)) return false;
        }
    }
    return true;
}

struct heads {
    struct {
        const struct gaps_range *at, *end;
    } list[MOST_HEADS];
    size_t count;
};

static void add_head(struct heads *heads, const struct gaps *gaps, const struct gaps_list *list)
{
    if (list->count == 0) return;
    const struct gaps_range *at = gaps->pool + list->start;
    heads->list[heads->count].at = at;
    heads->list[heads->count++].end = at + list->count;
}

static void add_nodes(struct heads *heads, const struct gaps *gaps, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        add_head(heads, gaps, &gaps->whole[i]);
        add_head(heads, gaps, &gaps->part[i]);
    }
}

/* Every list with a range that may be in the way. */
static void find_heads(struct heads *heads, const struct gaps *gaps, uint32_t first, uint32_t last)
{
    uint32_t from = first, to = last;
    bool within = true;
    heads->count = 0;
    for (size_t level = 0; level < gaps->level_count; level++) {
        size_t start = gaps->level_start[level];
        uint32_t left = first >> (FAN_BITS * level), right = (last - 1) >> (FAN_BITS * level);
        if (within) {
            uint32_t up, down;
            bool ends = split_level(from, to, &up, &down);
            add_nodes(heads, gaps, start + from, start + up);
            add_nodes(heads, gaps, start + down, start + to);
            if (left < from) add_head(heads, gaps, &gaps->whole[start + left]);
            if (right >= to) add_head(heads, gaps, &gaps->whole[start + right]);
            within = !ends;
            from = up / FAN;
            to = down / FAN;
        } else {
            add_head(heads, gaps, &gaps->whole[start + left]);
            if (right != left) add_head(heads, gaps, &gaps->whole[start + right]);
        }
    }
}

/* Moves `at` past every range of one list that is in the way; where the list goes on from there. */
static const struct gaps_range *pass(const struct gaps *gaps, const struct gaps_range *range,
                                     const struct gaps_range *end, uint64_t size, uint64_t align, uint64_t *at)
{
    while (range < end && range->low < *at + size) {
        if (range->high > *at) *at = settle_offset(range->high, size, align, gaps->chunk);
        range++;
    }
    return range;
}

uint64_t gaps_lowest(struct gaps *gaps, uint32_t first, uint32_t last, uint64_t size, uint64_t align)
{
    struct heads heads;
    find_heads(&heads, gaps, first, last);
    uint64_t at = 0, before;
    do {
        before = at;
        gaps->steps += heads.count;
        for (size_t i = 0; i < heads.count;) {
            const struct gaps_range *range = heads.list[i].at;
            heads.list[i].at = pass(gaps, range, heads.list[i].end, size, align, &at);
            gaps->steps += (uint64_t)(heads.list[i].at - range);
            if (heads.list[i].at == heads.list[i].end)
                heads.list[i] = heads.list[--heads.count];
            else
                i++;
        }
    } while (at != before);
    return at;
}

uint64_t gaps_above(struct gaps *gaps, uint32_t first, uint32_t last, uint64_t size, uint64_t align)
{
    struct heads heads;
    uint64_t top = 0;
    find_heads(&heads, gaps, first, last);
    gaps->steps += heads.count;
    for (size_t i = 0; i < heads.count; i++)
        if (heads.list[i].end[-1].high > top) top = heads.list[i].end[-1].high;
    return settle_offset(top, size, align, gaps->chunk);
}
