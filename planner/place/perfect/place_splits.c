#include "place_splits.h"

#include <string.h>

#include "mem.h"
#include "place_sort.h"

#define MOST_LIST    12  /* lists up to here: every subset */
#define MOST_TRIPLES 64  /* up to here: one to three of them */
#define MOST_PAIRS   128 /* up to here: one or two; beyond: one of so many */
#define MOST_HALVES  26  /* against blocks, every subset in two halves */
#define MOST_BLOCKS  10
#define MOST_UNIONS  256
#define MOST_WORK    100000 /* in all of them, and as much again in subsets of both */
#define MOST_MATCHES 4096   /* against one union of blocks */
#define RARE         3.7    /* how much less likely than one vertex two at one instant are, as a logarithm */
#define HOPELESS     12.0   /* the loss of what cannot stand together, and has to be split again, and */
#define PERVERSE     20.0   /* so much more where all together can */
#define UNLIKELY     20.0   /* so much less likely than the likeliest: left out */
#define CODE_BITS    8

/* Some of a list, by rising sum: as bits where `bits`, otherwise up to three positions + 1, CODE_BITS each. */
struct subsets {
    struct sort_pair *list; /* sum and code */
    size_t count;
    bool bits;
};

/* With each further one the sums with and without it are merged. */
static void add_all(const struct splits *splits, const uint32_t *items, uint32_t count, struct subsets *subsets)
{
    struct sort_pair *from = subsets->list, *to = from + ((size_t)1 << count);
    from[0] = (struct sort_pair){0, 0};
    subsets->count = 1;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t size = splits->size[items[i]];
        size_t with = 0, n = subsets->count;
        for (size_t without = 0, k = 0; k < 2 * n; k++) {
            if (without < n && from[without].key <= from[with].key + size)
                to[k] = from[without++];
            else
                to[k] = (struct sort_pair){from[with].key + size, from[with].index | 1u << i}, with++;
        }
        subsets->count = 2 * n;
        struct sort_pair *swap = from;
        from = to;
        to = swap;
    }
    if (from != subsets->list) memcpy(subsets->list, from, subsets->count * sizeof *from);
}

static void add_few(const struct splits *splits, const uint32_t *items, uint32_t count, struct subsets *subsets)
{
    const uint64_t *size = splits->size;
    uint32_t most = count < MOST_PAIRS ? count : MOST_PAIRS;
    struct sort_pair *list = subsets->list;
    for (uint32_t i = 0; i < most; i++) {
        list[subsets->count++] = (struct sort_pair){size[items[i]], i + 1};
        for (uint32_t j = 0; j < i; j++) {
            uint64_t sum = size[items[i]] + size[items[j]];
            uint32_t code = (i + 1) | (j + 1) << CODE_BITS;
            list[subsets->count++] = (struct sort_pair){sum, code};
            for (uint32_t k = 0; count <= MOST_TRIPLES && k < j; k++)
                list[subsets->count++] = (struct sort_pair){sum + size[items[k]], code | (k + 1) << (2 * CODE_BITS)};
        }
    }
    sort_pairs(list, list + subsets->count, subsets->count);
}

/* `whole`: every subset of the list, which is short. In the scratch of that number. */
static bool list_subsets(struct splits *splits, const uint32_t *items, uint32_t count, bool whole, unsigned scratch,
                         struct subsets *subsets, struct error *err)
{
    size_t n = count < MOST_PAIRS ? count : MOST_PAIRS;
    size_t most = whole ? (size_t)1 << count : n + n * n / 2 + (count <= MOST_TRIPLES ? n * n * n / 6 : 0) + 1;
    void *list = splits->scratch[scratch];
    if (!mem_grow(MEM_SEARCH, &list, &splits->scratch_capacity[scratch], 2 * most, sizeof *subsets->list))
        return error_memory(err, 2 * most * sizeof *subsets->list, "sums of sizes");
    *subsets = (struct subsets){.list = splits->scratch[scratch] = list, .bits = whole};
    (whole ? add_all : add_few)(splits, items, count, subsets);
    return true;
}

/* ---- Names ---- */

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

uint64_t splits_name(const struct splits *splits, const struct vertex *vertex)
{
    uint64_t name = 0;
    for (uint32_t i = 0; i < vertex->end_count; i++) name += mix(2 * (uint64_t)splits->items[vertex->ends + i]);
    for (uint32_t i = 0; i < vertex->start_count; i++) name += mix(2 * (uint64_t)splits->items[vertex->starts + i] + 1);
    return name;
}

/* ---- Parts ---- */

static bool is_in_part(const struct splits *splits, const struct part *part, uint32_t count, uint32_t item, uint32_t at)
{
    switch (part->form) {
    case PART_BITS: return part->code >> at & 1;
    case PART_BLOCKS: return part->code >> splits->block[item] & 1;
    case PART_HALVES: return at < count / 2 ? part->code >> at & 1 : part->more >> (at - count / 2) & 1;
    case PART_FEW: break;
    }
    for (uint32_t code = part->code; code > 0; code >>= CODE_BITS)
        if ((code & ((1u << CODE_BITS) - 1)) == at + 1) return true;
    return false;
}

/* Of any form but blocks. */
static uint32_t count_part(const struct part *part)
{
    uint32_t count = 0;
    if (part->form != PART_FEW) return (uint32_t)(__builtin_popcount(part->code) + __builtin_popcount(part->more));
    for (uint32_t code = part->code; code > 0; code >>= CODE_BITS) count++;
    return count;
}

static bool make_room(struct splits *splits, size_t more, struct error *err)
{
    void *items = splits->items;
    if (!mem_grow(MEM_SEARCH, &items, &splits->item_capacity, splits->item_count + more, sizeof *splits->items))
        return error_memory(err, more * sizeof *splits->items, "vertices");
    splits->items = items;
    return true;
}

/* A list again, the part before the rest; there is room. How many are in the part. */
static uint32_t write_parts(struct splits *splits, size_t from, uint32_t count, const struct part *part)
{
    uint32_t first = 0;
    for (int in = 1; in >= 0; in--)
        for (uint32_t i = 0; i < count; i++) {
            uint32_t item = splits->items[from + i];
            if (is_in_part(splits, part, count, item, i) != (in == 1)) continue;
            splits->items[splits->item_count++] = item;
            first += in == 1;
        }
    return first;
}

/* ---- Ways ---- */

static double log_choices(const struct pq *pq, uint32_t n, uint32_t k)
{
    return splits_round(pq_log_orders(pq, n) - pq_log_orders(pq, k) - pq_log_orders(pq, n - k));
}

static double join_loss(const struct splits *splits, const uint32_t *items, uint32_t count)
{
    return splits_round(pq_join_loss(splits->pq, items, count));
}

/* What all ways to split a vertex have in common: they are rare, and so many sums are there to be met by chance. */
static double key_of_splitting(const struct splits *splits, const struct vertex *vertex)
{
    uint64_t total = 0, live = splits->pq->nodes[splits->pq->root].leaves;
    for (uint32_t i = 0; i < vertex->end_count; i++) total += splits->size[splits->items[vertex->ends + i]];
    return splits_round(RARE + log((double)live) - log((double)(total / splits->unit)));
}

/* Of both parts of what ends. INFINITY: not a way, as neither can stand together unless they are made of blocks. */
static double loss_of_parts(struct splits *splits, const struct vertex *vertex, const struct part *part)
{
    size_t before = splits->item_count;
    uint32_t first = write_parts(splits, vertex->ends, vertex->end_count, part), rest = vertex->end_count - first;
    splits->item_count = before;
    splits->work += vertex->end_count;
    if (first == 0 || rest == 0) return INFINITY;
    double a = join_loss(splits, splits->items + before, first);
    double b = join_loss(splits, splits->items + before + first, rest);
    if (isinf(a) && isinf(b) && part->form != PART_BLOCKS) return INFINITY;
    return (isinf(a) ? splits->hopeless : a) + (isinf(b) ? splits->hopeless : b);
}

static void add_way(struct splits *splits, struct way way)
{
    size_t at = splits->way_count;
    if (at == SPLITS_MOST && splits->ways[at - 1].key <= way.key) return;
    if (at < SPLITS_MOST) splits->way_count++;
    if (at == SPLITS_MOST) at--;
    for (; at > 0 && splits->ways[at - 1].key > way.key; at--) splits->ways[at] = splits->ways[at - 1];
    splits->ways[at] = way;
}

/* `loss` is that of what ends, with all that ways have in common. */
static void consider(struct splits *splits, const struct vertex *vertex, double loss, const struct part *ends,
                     const struct part *starts)
{
    uint32_t all = vertex->start_count, some = count_part(starts);
    splits->work++;
    if (some == 0 || some == all) return;
    add_way(splits, (struct way){loss + log_choices(splits->pq, all, some), *ends, *starts});
}

/* Subsets of what ends against subsets of what begins. Where both are whole, the first part has the first that ends:
 * the rest are the same ways, read the other way round. Of many equal sizes there are very many ways. */
static void match_subsets(struct splits *splits, const struct vertex *vertex, const struct subsets *ends,
                          const struct subsets *starts, double key)
{
    uint64_t most = splits->work + MOST_WORK;
    for (size_t i = 0, j = 0; i < ends->count && j < starts->count && splits->work < most;) {
        const struct sort_pair *e = &ends->list[i], *s = &starts->list[j];
        if (e->key != s->key) {
            *(e->key < s->key ? &i : &j) += 1;
            continue;
        }
        i++;
        if (ends->bits && starts->bits && !(e->index & 1)) continue;
        struct part ending = {e->index, 0, ends->bits ? PART_BITS : PART_FEW};
        double loss = loss_of_parts(splits, vertex, &ending);
        if (isinf(loss)) continue;
        for (size_t k = j; k < starts->count && starts->list[k].key == e->key && splits->work < most; k++)
            consider(splits, vertex, key + loss, &ending,
                     &(struct part){starts->list[k].index, 0, starts->bits ? PART_BITS : PART_FEW});
    }
}

static bool find_by_subsets(struct splits *splits, const struct vertex *vertex, double key, struct error *err)
{
    struct subsets ends = {0}, starts = {0};
    const uint32_t *items = splits->items;
    bool ok =
        list_subsets(splits, items + vertex->ends, vertex->end_count, vertex->end_count <= MOST_LIST, 0, &ends, err) &&
        list_subsets(splits, items + vertex->starts, vertex->start_count, vertex->start_count <= MOST_LIST, 1, &starts,
                     err);
    splits->work += ends.count + starts.count;
    if (ok) match_subsets(splits, vertex, &ends, &starts, key);
    return ok;
}

/* One union of blocks against every subset of what begins: of two halves, by rising and falling sum. */
static void match_halves(struct splits *splits, const struct vertex *vertex, const struct part *ends, uint64_t sum,
                         double loss, const struct subsets halves[2])
{
    const struct subsets *low = &halves[0], *high = &halves[1];
    splits->work += low->count + high->count;
    size_t j = high->count, matches = 0;
    for (size_t i = 0; i < low->count && low->list[i].key <= sum; i++) {
        uint64_t rest = sum - low->list[i].key;
        while (j > 0 && high->list[j - 1].key > rest) j--;
        for (size_t k = j; k > 0 && high->list[k - 1].key == rest; k--) {
            if (matches++ == MOST_MATCHES) return;
            consider(splits, vertex, loss, ends,
                     &(struct part){low->list[i].index, high->list[k - 1].index, PART_HALVES});
        }
    }
}

/* Against a few of what begins, with one union of blocks or with the rest. */
static void match_few(struct splits *splits, const struct vertex *vertex, const struct part *ends, uint64_t sum,
                      double loss, const struct subsets *few)
{
    size_t low = 0, high = few->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (few->list[middle].key < sum)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < few->count && few->list[low].key == sum; low++)
        consider(splits, vertex, loss, ends, &(struct part){few->list[low].index, 0, PART_FEW});
}

static void match_union(struct splits *splits, const struct vertex *vertex, const struct part *ends, double loss,
                        const struct subsets lists[2])
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < vertex->end_count; i++) {
        uint32_t item = splits->items[vertex->ends + i];
        if (is_in_part(splits, ends, vertex->end_count, item, i)) sum += splits->size[item];
    }
    if (lists[1].list)
        match_halves(splits, vertex, ends, sum, loss, lists);
    else
        match_few(splits, vertex, ends, sum, loss, &lists[0]);
}

/* Unions of blocks, or subsets of few; against halves the last one is in the second part. */
static void match_unions(struct splits *splits, const struct vertex *vertex, uint32_t blocks, enum part_form form,
                         double key, const struct subsets lists[2])
{
    uint32_t all = 1u << blocks, unions = 0, end = lists[1].list ? all / 2 : all - 1;
    uint64_t most = splits->work + MOST_WORK;
    for (uint32_t code = 1; code < end && unions < MOST_UNIONS && splits->work < most; code++) {
        struct part ends = {code, 0, form};
        double loss = loss_of_parts(splits, vertex, &ends);
        if (isinf(loss) || (form == PART_BITS && loss >= splits->hopeless)) continue;
        unions++;
        match_union(splits, vertex, &ends, key + loss, lists);
    }
}

/* All that begins in two halves, or a few of many. */
static bool list_starts(struct splits *splits, const struct vertex *vertex, struct subsets lists[2], struct error *err)
{
    uint32_t count = vertex->start_count, half = count <= MOST_HALVES ? count / 2 : count;
    const uint32_t *starts = splits->items + vertex->starts;
    return list_subsets(splits, starts, half, half < count, 0, &lists[0], err) &&
           (half == count || list_subsets(splits, starts + half, count - half, true, 1, &lists[1], err));
}

static bool find_by_unions(struct splits *splits, const struct vertex *vertex, double key, struct error *err)
{
    bool whole = vertex->end_count <= MOST_LIST;
    uint32_t blocks = vertex->end_count;
    if (!whole) blocks = pq_number_blocks(splits->pq, splits->items + vertex->ends, blocks, splits->block);
    if (blocks < 2 || (!whole && blocks > MOST_BLOCKS)) return true;
    struct subsets lists[2] = {0};
    bool ok = list_starts(splits, vertex, lists, err);
    if (ok) match_unions(splits, vertex, blocks, whole ? PART_BITS : PART_BLOCKS, key, lists);
    return ok;
}

/* ---- All of them ---- */

void splits_finish(struct splits *splits)
{
    mem_free(splits->items);
    mem_free(splits->block);
    mem_free(splits->scratch[0]);
    mem_free(splits->scratch[1]);
}

static bool add_split(struct splits *splits, struct split split)
{
    uint64_t name = mix(splits->seed ^ mix(split.name));
    if (splits->noise > 0) split.key += splits->noise * (double)(name >> 11) * 0x1p-53;
    size_t at = splits->count;
    for (size_t i = 0; i < at; i++)
        if (splits->found[i].name == split.name) return false;
    for (; at > 0 && splits->found[at - 1].key > split.key; at--) splits->found[at] = splits->found[at - 1];
    splits->found[at] = split;
    splits->count++;
    return true;
}

/* The same two parts have one name, whichever is first. */
static void write_way(struct splits *splits, const struct vertex *vertex, const struct way *way)
{
    size_t before = splits->item_count;
    uint32_t all_ends = vertex->end_count, all_starts = vertex->start_count;
    uint32_t e = write_parts(splits, vertex->ends, all_ends, &way->ends);
    uint32_t s = write_parts(splits, vertex->starts, all_starts, &way->starts);
    struct split split = {.first = {before, before + all_ends, e, s, PQ_NONE},
                          .second = {before + e, before + all_ends + s, all_ends - e, all_starts - s, PQ_NONE},
                          .key = way->key};
    uint64_t a = splits_name(splits, &split.first), b = splits_name(splits, &split.second);
    split.name = mix(a) ^ mix(b);
    if (!add_split(splits, split)) splits->item_count = before;
}

bool splits_find(struct splits *splits, const struct vertex *vertex, struct error *err)
{
    double joined = join_loss(splits, splits->items + vertex->ends, vertex->end_count);
    splits->count = splits->way_count = 0;
    splits->hopeless = HOPELESS + (isinf(joined) ? 0 : joined + PERVERSE);
    if (!isinf(joined)) add_split(splits, (struct split){.first = *vertex, .key = joined, .name = 0});
    if (vertex->end_count < 2 || vertex->start_count < 2) return true;
    TRY(make_room(splits, (SPLITS_MOST + 1) * (size_t)(vertex->end_count + vertex->start_count), err));
    double key = key_of_splitting(splits, vertex);
    TRY(find_by_subsets(splits, vertex, key, err));
    if (vertex->end_count > MOST_LIST || (vertex->start_count > MOST_LIST && vertex->start_count <= MOST_HALVES))
        TRY(find_by_unions(splits, vertex, key, err));
    double least = splits->way_count > 0 && splits->ways[0].key < joined ? splits->ways[0].key : joined;
    size_t count = splits->way_count < splits->most_ways ? splits->way_count : splits->most_ways;
    for (size_t i = 0; i < count && splits->ways[i].key < least + UNLIKELY; i++)
        write_way(splits, vertex, &splits->ways[i]);
    return true;
}
