#include "verify_ranges.h"

#include <string.h>

#include "mem.h"

struct edge {
    uint64_t address;
    uint32_t which; /* 2 * tensor, + 1 for its end */
};

#define DIGIT_BITS 11u
#define DIGITS     (1u << DIGIT_BITS)

static void sort_by_digit(const struct edge *from, struct edge *to, size_t count, unsigned shift)
{
    uint32_t start[DIGITS + 1] = {0};
    for (size_t i = 0; i < count; i++) start[(from[i].address >> shift & (DIGITS - 1)) + 1]++;
    for (size_t d = 0; d < DIGITS; d++) start[d + 1] += start[d];
    for (size_t i = 0; i < count; i++) to[start[from[i].address >> shift & (DIGITS - 1)]++] = from[i];
}

/* Radix sort of edges[0, count) with as much scratch behind them; the result is where the return value points. */
static struct edge *sort_edges(struct edge *edges, size_t count)
{
    uint64_t highest = 0;
    for (size_t i = 0; i < count; i++) highest |= edges[i].address;
    struct edge *from = edges, *to = edges + count;
    for (unsigned shift = 0; shift < 64 && highest >> shift; shift += DIGIT_BITS) {
        sort_by_digit(from, to, count, shift);
        struct edge *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static bool number_boundaries(struct ranges *ranges, const struct plan_tensor *tensors, size_t count,
                              uint64_t host_base)
{
    struct edge *edges = mem_alloc(MEM_PLAN, 4 * count, sizeof *edges);
    if (!edges) return false;
    for (size_t t = 0; t < count; t++) {
        uint64_t begin = tensors[t].offset + (tensors[t].host ? host_base : 0);
        edges[2 * t] = (struct edge){begin, (uint32_t)(2 * t)};
        edges[2 * t + 1] = (struct edge){begin + tensors[t].bytes, (uint32_t)(2 * t + 1)};
    }
    const struct edge *sorted = sort_edges(edges, 2 * count);
    uint32_t number = 0;
    for (size_t i = 0; i < 2 * count; i++) {
        if (i > 0 && sorted[i].address != sorted[i - 1].address) number++;
        uint32_t *place = sorted[i].which & 1 ? ranges->end : ranges->begin;
        place[sorted[i].which / 2] = number;
    }
    ranges->boundaries = (size_t)number + 1;
    mem_free(edges);
    return true;
}

static bool lay_levels(struct ranges *ranges)
{
    size_t words = 0, sizes[RANGE_LEVELS], bits = ranges->boundaries;
    for (size_t level = 0; level < RANGE_LEVELS; level++) {
        sizes[level] = (bits + 63) / 64;
        words += sizes[level];
        bits = sizes[level];
    }
    ranges->words = mem_zalloc(MEM_PLAN, words, sizeof *ranges->words);
    if (!ranges->words) return false;
    uint64_t *next = ranges->words;
    for (size_t level = 0; level < RANGE_LEVELS; level++) {
        ranges->bits[level] = next;
        next += sizes[level];
    }
    return true;
}

static void set_bit(struct ranges *ranges, uint32_t bit)
{
    for (size_t level = 0; level < RANGE_LEVELS; level++, bit /= 64) {
        uint64_t *word = &ranges->bits[level][bit / 64], old = *word;
        *word |= UINT64_C(1) << (bit % 64);
        if (old) return;
    }
}

static void clear_bit(struct ranges *ranges, uint32_t bit)
{
    for (size_t level = 0; level < RANGE_LEVELS; level++, bit /= 64) {
        uint64_t *word = &ranges->bits[level][bit / 64];
        *word &= ~(UINT64_C(1) << (bit % 64));
        if (*word) return;
    }
}

/* The last set bit at or before `bit`; boundary 0 is always set. */
static uint32_t find_before(const struct ranges *ranges, uint32_t bit)
{
    uint64_t word = ranges->bits[0][bit / 64] << (63 - bit % 64);
    if (word) return bit - (uint32_t)__builtin_clzll(word);
    size_t level = 1;
    for (bit /= 64;; bit /= 64, level++) {
        word = bit % 64 ? ranges->bits[level][bit / 64] << (64 - bit % 64) : 0;
        if (word) break;
    }
    bit = bit - 1 - (uint32_t)__builtin_clzll(word);
    while (level-- > 0) bit = bit * 64 + 63 - (uint32_t)__builtin_clzll(ranges->bits[level][bit]);
    return bit;
}

/* The first set bit after `bit`, or the number of boundaries. */
static uint32_t find_after(const struct ranges *ranges, uint32_t bit)
{
    size_t level = 0;
    uint64_t word;
    for (;; bit /= 64, level++) {
        if (level == RANGE_LEVELS) return (uint32_t)ranges->boundaries;
        word = bit % 64 == 63 ? 0 : ranges->bits[level][bit / 64] >> (bit % 64 + 1);
        if (word) break;
    }
    bit = bit + 1 + (uint32_t)__builtin_ctzll(word);
    while (level-- > 0) bit = bit * 64 + (uint32_t)__builtin_ctzll(ranges->bits[level][bit]);
    return bit;
}

bool ranges_init(struct ranges *ranges, const struct plan_tensor *tensors, size_t count, uint64_t host_base,
                 struct error *err)
{
    *ranges = (struct ranges){0};
    ranges->begin = mem_alloc(MEM_PLAN, count, sizeof *ranges->begin);
    ranges->end = mem_alloc(MEM_PLAN, count, sizeof *ranges->end);
    bool ok =
        ranges->begin && ranges->end && number_boundaries(ranges, tensors, count, host_base) && lay_levels(ranges);
    if (ok) ranges->owner = mem_alloc(MEM_PLAN, ranges->boundaries, sizeof *ranges->owner);
    if (!ok || !ranges->owner) return error_memory(err, count * sizeof(struct edge), "verifying a plan");
    ranges_clear(ranges);
    return true;
}

void ranges_finish(struct ranges *ranges)
{
    mem_free(ranges->begin);
    mem_free(ranges->end);
    mem_free(ranges->owner);
    mem_free(ranges->words);
    *ranges = (struct ranges){0};
}

void ranges_clear(struct ranges *ranges)
{
    for (uint32_t bit = find_after(ranges, 0); bit < ranges->boundaries; bit = find_after(ranges, bit))
        clear_bit(ranges, bit);
    set_bit(ranges, 0);
    ranges->owner[0] = (struct range_owner){NO_TENSOR, 0};
}

void ranges_assign(struct ranges *ranges, uint32_t tensor, struct range_owner owner)
{
    uint32_t begin = ranges->begin[tensor], end = ranges->end[tensor];
    uint32_t last = find_before(ranges, end);
    if (last < end) {
        ranges->owner[end] = ranges->owner[last];
        set_bit(ranges, end);
    }
    for (uint32_t bit = find_after(ranges, begin); bit < end; bit = find_after(ranges, bit)) clear_bit(ranges, bit);
    set_bit(ranges, begin);
    ranges->owner[begin] = owner;
}

bool ranges_next(const struct ranges *ranges, uint32_t tensor, uint32_t *cursor, struct range_owner *owner)
{
    if (*cursor >= ranges->end[tensor]) return false;
    *owner = ranges->owner[find_before(ranges, *cursor)];
    *cursor = find_after(ranges, *cursor);
    return true;
}
