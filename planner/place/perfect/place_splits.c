#include "place_splits.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define MOST_LIST    12  /* lists up to here: every subset */
#define MOST_TRIPLES 40  /* up to here: one to three of them */
#define MOST_PAIRS   128 /* up to here: one or two; beyond: one of so many */
#define MOST_HALVES  26  /* against blocks, every subset in two halves */
#define MOST_BLOCKS  10
#define MOST_BY_SUMS 20 /* ways that sums alone offer: the rest of the room is for those that the tree speaks for */
#define HOPELESS     50 /* the cost of what cannot be joined, and has to be split again */
#define LAST_RESORT  20 /* added to the cost of ways that only blocks speak for, where there is no need to split */
#define CODE_BITS    8

/* Some of a list: as bits where `bits`, otherwise up to three positions + 1, CODE_BITS each. */
struct subset {
    uint64_t sum;
    uint32_t code;
};

struct subsets {
    struct subset *list;
    size_t count;
    bool bits;
};

static int compare_sums(const void *left, const void *right)
{
    const struct subset *a = left, *b = right;
    if (a->sum != b->sum) return a->sum < b->sum ? -1 : 1;
    return a->code < b->code ? -1 : a->code > b->code;
}

static bool has(const struct subsets *subsets, uint32_t code, uint32_t at)
{
    if (subsets->bits) return code >> at & 1;
    for (; code > 0; code >>= CODE_BITS)
        if ((code & ((1u << CODE_BITS) - 1)) == at + 1) return true;
    return false;
}

static void add_all(const struct splits *splits, const uint32_t *items, uint32_t count, struct subsets *subsets)
{
    subsets->bits = true;
    subsets->list[0] = (struct subset){0, 0};
    subsets->count = 1;
    for (uint32_t i = 0; i < count; i++)
        for (size_t k = 0, before = subsets->count; k < before; k++)
            subsets->list[subsets->count++] =
                (struct subset){subsets->list[k].sum + splits->size[items[i]], subsets->list[k].code | 1u << i};
}

static void add_few(const struct splits *splits, const uint32_t *items, uint32_t count, struct subsets *subsets)
{
    const uint64_t *size = splits->size;
    uint32_t most = count < MOST_PAIRS ? count : MOST_PAIRS;
    for (uint32_t i = 0; i < most; i++) {
        subsets->list[subsets->count++] = (struct subset){size[items[i]], i + 1};
        for (uint32_t j = 0; j < i; j++) {
            uint64_t sum = size[items[i]] + size[items[j]];
            uint32_t code = (i + 1) | (j + 1) << CODE_BITS;
            subsets->list[subsets->count++] = (struct subset){sum, code};
            for (uint32_t k = 0; count <= MOST_TRIPLES && k < j; k++)
                subsets->list[subsets->count++] =
                    (struct subset){sum + size[items[k]], code | (k + 1) << (2 * CODE_BITS)};
        }
    }
}

/* By rising sum. `whole`: every subset of the list, which is short. */
static bool list_subsets(const struct splits *splits, const uint32_t *items, uint32_t count, bool whole,
                         struct subsets *subsets, struct error *err)
{
    size_t n = count < MOST_PAIRS ? count : MOST_PAIRS;
    size_t most = whole ? (size_t)1 << count : n + n * n / 2 + (count <= MOST_TRIPLES ? n * n * n / 6 : 0) + 1;
    *subsets = (struct subsets){.list = mem_alloc(MEM_SEARCH, most, sizeof *subsets->list)};
    if (!subsets->list) return error_memory(err, most * sizeof *subsets->list, "sums of sizes");
    (whole ? add_all : add_few)(splits, items, count, subsets);
    qsort(subsets->list, subsets->count, sizeof *subsets->list, compare_sums);
    return true;
}

/* ---- Candidates ---- */

/* Which of the vertex's buffers are the first part's. */
struct choice_of {
    const struct subsets *subsets, *more; /* more: of the list's second half, from `half` on; may be NULL */
    uint32_t code, more_code, half;
    const uint32_t *block; /* instead of subsets: those whose block is in `code`; by buffer */
};

static bool is_first(const struct choice_of *choice, uint32_t item, uint32_t at)
{
    if (choice->block) return choice->code >> choice->block[item] & 1;
    if (choice->more && at >= choice->half) return has(choice->more, choice->more_code, at - choice->half);
    return has(choice->subsets, choice->code, at);
}

/* A list again, the first part's before the second's. */
static uint32_t part_list(struct splits *splits, size_t from, uint32_t count, const struct choice_of *choice)
{
    uint32_t first = 0;
    for (int part = 1; part >= 0; part--)
        for (uint32_t i = 0; i < count; i++) {
            uint32_t item = splits->items[from + i];
            if (is_first(choice, item, i) != (part == 1)) continue;
            splits->items[splits->item_count++] = item;
            first += part == 1;
        }
    return first;
}

static bool is_known(const struct splits *splits, const struct split *split)
{
    uint32_t ends = split->first.end_count, starts = split->first.start_count;
    for (size_t i = 0; i < splits->count; i++) {
        const struct vertex *known = &splits->found[i].first;
        if (known->end_count != ends || known->start_count != starts) continue;
        const uint32_t *items = splits->items;
        if (memcmp(items + known->ends, items + split->first.ends, ends * sizeof *items) == 0 &&
            memcmp(items + known->starts, items + split->first.starts, starts * sizeof *items) == 0)
            return true;
    }
    return false;
}

static uint32_t cost_of(const struct splits *splits, const struct vertex *vertex)
{
    uint32_t cost = pq_join_cost(splits->pq, splits->items + vertex->ends, vertex->end_count);
    return cost == PQ_NONE ? HOPELESS : cost;
}

/* Both parts have both kinds, and at least one of them can be joined unless they are made of blocks. False = out of
 * memory. */
static bool add_split(struct splits *splits, const struct vertex *vertex, const struct choice_of *ends,
                      const struct choice_of *starts, struct error *err)
{
    uint32_t all_ends = vertex->end_count, all_starts = vertex->start_count;
    size_t before = splits->item_count;
    splits->work += all_ends + all_starts;
    void *items = splits->items;
    if (!mem_grow(MEM_SEARCH, &items, &splits->item_capacity, before + all_ends + all_starts, sizeof *splits->items))
        return error_memory(err, (all_ends + all_starts) * sizeof *splits->items, "vertices");
    splits->items = items;
    uint32_t e = part_list(splits, vertex->ends, all_ends, ends);
    uint32_t s = part_list(splits, vertex->starts, all_starts, starts);
    struct split split = {.first = {before, before + all_ends, e, s, PQ_NONE},
                          .second = {before + e, before + all_ends + s, all_ends - e, all_starts - s, PQ_NONE}};
    bool good = e > 0 && e < all_ends && s > 0 && s < all_starts && !is_known(splits, &split);
    if (good) split.cost = cost_of(splits, &split.first) + cost_of(splits, &split.second);
    if (good && (ends->block || split.cost < 2 * HOPELESS))
        splits->found[splits->count++] = split;
    else
        splits->item_count = before;
    return true;
}

/* Subsets of what ends against subsets of what begins. Where both are whole, the first part has the first that ends:
 * the rest are the same ways, read the other way round. */
static bool match_subsets(struct splits *splits, const struct vertex *vertex, const struct subsets *ends,
                          const struct subsets *starts, struct error *err)
{
    for (size_t i = 0, j = 0; i < ends->count && j < starts->count && splits->count < MOST_BY_SUMS;) {
        const struct subset *e = &ends->list[i], *s = &starts->list[j];
        if (e->sum != s->sum) {
            *(e->sum < s->sum ? &i : &j) += 1;
            continue;
        }
        bool mirrored = ends->bits && starts->bits && !(e->code & 1);
        for (size_t k = j; !mirrored && k < starts->count && starts->list[k].sum == e->sum; k++) {
            if (splits->count == MOST_BY_SUMS) break;
            TRY(add_split(splits, vertex, &(struct choice_of){.subsets = ends, .code = e->code},
                          &(struct choice_of){.subsets = starts, .code = starts->list[k].code}, err));
        }
        i++;
    }
    return true;
}

static bool find_by_subsets(struct splits *splits, const struct vertex *vertex, struct error *err)
{
    struct subsets ends = {0}, starts = {0};
    const uint32_t *items = splits->items;
    uint64_t total = 0;
    for (uint32_t i = 0; i < vertex->end_count; i++) total += splits->size[items[vertex->ends + i]];
    bool ok =
        list_subsets(splits, items + vertex->ends, vertex->end_count, vertex->end_count <= MOST_LIST, &ends, err) &&
        list_subsets(splits, items + vertex->starts, vertex->start_count, vertex->start_count <= MOST_LIST, &starts,
                     err);
    splits->work += ends.count + starts.count;
    splits->chance = (double)ends.count * (double)starts.count / (double)total;
    ok = ok && match_subsets(splits, vertex, &ends, &starts, err);
    mem_free(ends.list);
    mem_free(starts.list);
    return ok;
}

/* One union of blocks against every subset of what begins: of two halves, by rising and falling sum. */
static bool match_halves(struct splits *splits, const struct vertex *vertex, const struct choice_of *ends, uint64_t sum,
                         const struct choice_of *halves, struct error *err)
{
    struct choice_of starts = *halves;
    const struct subsets *low = starts.subsets, *high = starts.more;
    splits->work += low->count + high->count;
    size_t j = high->count;
    for (size_t i = 0; i < low->count && low->list[i].sum <= sum; i++) {
        uint64_t rest = sum - low->list[i].sum;
        while (j > 0 && high->list[j - 1].sum > rest) j--;
        for (size_t k = j; k > 0 && high->list[k - 1].sum == rest; k--) {
            if (splits->count == SPLITS_MOST) return true;
            starts.code = low->list[i].code;
            starts.more_code = high->list[k - 1].code;
            TRY(add_split(splits, vertex, ends, &starts, err));
        }
    }
    return true;
}

/* Unions of blocks; the last block is in the second part. */
static bool match_blocks(struct splits *splits, const struct vertex *vertex, uint32_t blocks,
                         const struct choice_of *halves, struct error *err)
{
    for (uint32_t code = 1; code < 1u << (blocks - 1) && splits->count < SPLITS_MOST; code++) {
        struct choice_of ends = {.code = code, .block = splits->block};
        uint64_t sum = 0;
        for (uint32_t i = 0; i < vertex->end_count; i++) {
            uint32_t item = splits->items[vertex->ends + i];
            if (is_first(&ends, item, i)) sum += splits->size[item];
        }
        TRY(match_halves(splits, vertex, &ends, sum, halves, err));
    }
    return true;
}

static bool find_by_blocks(struct splits *splits, const struct vertex *vertex, struct error *err)
{
    uint32_t count = vertex->start_count, half = count / 2;
    uint32_t blocks = pq_number_blocks(splits->pq, splits->items + vertex->ends, vertex->end_count, splits->block);
    if (blocks < 2 || blocks > MOST_BLOCKS || count > MOST_HALVES) return true;
    struct subsets low = {0}, high = {0};
    const uint32_t *starts = splits->items + vertex->starts;
    bool ok =
        list_subsets(splits, starts, half, true, &low, err) &&
        list_subsets(splits, starts + half, count - half, true, &high, err) &&
        match_blocks(splits, vertex, blocks, &(struct choice_of){.subsets = &low, .more = &high, .half = half}, err);
    mem_free(low.list);
    mem_free(high.list);
    return ok;
}

bool splits_find(struct splits *splits, const struct vertex *vertex, bool joins, struct error *err)
{
    splits->count = 0;
    TRY(find_by_subsets(splits, vertex, err));
    bool all = vertex->end_count <= MOST_LIST && vertex->start_count <= MOST_LIST;
    size_t by_sums = splits->count;
    if (!all) TRY(find_by_blocks(splits, vertex, err));
    for (size_t i = by_sums; joins && !splits->eager && i < splits->count; i++) splits->found[i].cost += LAST_RESORT;
    return true;
}
