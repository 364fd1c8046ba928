#include "place_loose.h"

#include "mem.h"
#include "place_sort.h"

#define MOST_SEEDS 4 /* of what ends, the largest: from which on a group is gathered */

/* What ends at one vertex, in two lists one after the other: the group and those that are not in it. */
struct knot {
    struct splits *splits;
    uint32_t *items; /* the largest first, in each part */
    uint32_t count, group;
    uint64_t bytes; /* of the group */
};

void loose_finish(struct loose *loose)
{
    mem_free(loose->lost);
    *loose = (struct loose){0};
}

static void join(struct knot *knot, uint32_t at)
{
    uint32_t item = knot->items[at];
    for (; at > knot->group; at--) knot->items[at] = knot->items[at - 1];
    knot->items[knot->group++] = item;
    knot->bytes += knot->splits->size[item];
}

/* Whether one more can stand with the group; it stays where it is. */
static bool may_join(struct knot *knot, uint32_t at)
{
    uint32_t item = knot->items[at], held = knot->items[knot->group];
    knot->items[knot->group] = item;
    double loss = pq_join_loss(knot->splits->pq, knot->items, knot->group + 1);
    knot->items[knot->group] = held;
    return !isinf(loss);
}

static void gather(struct knot *knot, uint32_t seed)
{
    bool more = true;
    join(knot, seed);
    while (more) {
        more = false;
        for (uint32_t i = knot->group; i < knot->count; i++) {
            if (!may_join(knot, i)) continue;
            join(knot, i);
            more = true;
        }
    }
}

/* Into items[], the largest first. */
static void list_ends(struct knot *knot, const struct vertex *vertex, struct sort_pair *pairs)
{
    const struct splits *splits = knot->splits;
    for (uint32_t i = 0; i < vertex->end_count; i++) {
        uint32_t item = splits->items[vertex->ends + i];
        pairs[i] = (struct sort_pair){~splits->size[item], item};
    }
    sort_pairs(pairs, pairs + vertex->end_count, vertex->end_count);
    for (uint32_t i = 0; i < vertex->end_count; i++) knot->items[i] = pairs[i].index;
    knot->count = vertex->end_count;
    knot->group = 0;
    knot->bytes = 0;
}

/* The group of most bytes. */
static void gather_most(struct knot *knot, const struct vertex *vertex, struct sort_pair *pairs)
{
    uint32_t best = 0, seeds = vertex->end_count < MOST_SEEDS ? vertex->end_count : MOST_SEEDS;
    uint64_t most = 0;
    for (uint32_t seed = 0; seed < seeds; seed++) {
        list_ends(knot, vertex, pairs);
        gather(knot, seed);
        if (knot->bytes <= most) continue;
        most = knot->bytes;
        best = seed;
    }
    list_ends(knot, vertex, pairs);
    gather(knot, best);
}

static bool lose_rest(struct loose *loose, struct knot *knot, struct error *err)
{
    size_t room = loose->lost_count + knot->count - knot->group;
    void *lost = loose->lost;
    if (!mem_grow(MEM_SEARCH, &lost, &loose->lost_capacity, room, sizeof *loose->lost))
        return error_memory(err, room * sizeof *loose->lost, "a loose drawing");
    loose->lost = lost;
    for (uint32_t i = knot->group; i < knot->count; i++) {
        pq_drop(knot->splits->pq, knot->items[i]);
        loose->lost[loose->lost_count++] = (struct lost){(uint32_t)knot->splits->pq->vertex_count, knot->items[i]};
    }
    return true;
}

static bool hand_over(struct knot *knot, const struct vertex *vertex, struct vertex *taken, struct error *err)
{
    struct splits *splits = knot->splits;
    void *items = splits->items;
    if (!mem_grow(MEM_SEARCH, &items, &splits->item_capacity, splits->item_count + knot->group, sizeof *splits->items))
        return error_memory(err, knot->group * sizeof *splits->items, "vertices");
    splits->items = items;
    *taken = (struct vertex){splits->item_count, vertex->starts, knot->group, vertex->start_count, PQ_NONE};
    for (uint32_t i = 0; i < knot->group; i++) splits->items[splits->item_count++] = knot->items[i];
    return true;
}

bool loose_take(struct loose *loose, struct splits *splits, const struct vertex *vertex, struct vertex *taken,
                struct error *err)
{
    size_t count = vertex->end_count;
    struct knot knot = {.splits = splits, .items = mem_alloc(MEM_SEARCH, count + 1, sizeof *knot.items)};
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * count, sizeof *pairs);
    bool ok = knot.items && pairs;
    if (!ok) error_memory(err, count * 36, "a loose drawing");
    if (ok) gather_most(&knot, vertex, pairs);
    ok = ok && lose_rest(loose, &knot, err) && hand_over(&knot, vertex, taken, err);
    mem_free(knot.items);
    mem_free(pairs);
    return ok;
}
