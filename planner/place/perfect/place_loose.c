#include "place_loose.h"

#include "mem.h"
#include "place_sort.h"

#define MOST_SEEDS 4       /* of what ends, the largest: from which on a group is gathered */
#define LARGE_KNOT 256     /* beyond it one seed, and each that ends is asked about once */
#define WORK_EACH  1000    /* for each that ends, as groups asked about times their sizes, */
#define MOST_WORK  1000000 /* and for all of them: what is not asked about by then is lost */
#define LOOK_EVERY 64      /* questions between two looks at the clock */

/* What ends at one vertex, in two lists one after the other: the group and those that are not in it. */
struct knot {
    struct splits *splits;
    const struct loose_limits *limits;
    const struct sort_pair *ends; /* the largest first */
    uint32_t *items;              /* so, too, in each part */
    uint32_t *best;               /* as items, of the group of most bytes */
    uint32_t count, group, best_group;
    uint64_t bytes, best_bytes; /* of the groups */
    uint64_t most_work;         /* of splitting (place_splits.h), where it ends */
    uint32_t asked;
    bool over;
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
    knot->splits->work += knot->group + 1;
    return !isinf(loss);
}

/* Whether it may ask no more. */
static bool is_spent(struct knot *knot)
{
    const struct loose_limits *limits = knot->limits;
    bool look = ++knot->asked % LOOK_EVERY == 0;
    knot->over = knot->over || knot->splits->work >= knot->most_work || (look && limits->is_over(limits->context));
    return knot->over;
}

static void gather(struct knot *knot, uint32_t seed)
{
    bool more = true;
    join(knot, seed);
    while (more) {
        more = false;
        for (uint32_t i = knot->group; i < knot->count; i++) {
            if (is_spent(knot)) return;
            if (!may_join(knot, i)) continue;
            join(knot, i);
            more = knot->count <= LARGE_KNOT;
        }
    }
}

static void list_ends(struct knot *knot)
{
    for (uint32_t i = 0; i < knot->count; i++) knot->items[i] = knot->ends[i].index;
    knot->group = 0;
    knot->bytes = 0;
}

static void keep_best(struct knot *knot)
{
    if (knot->best_group > 0 && knot->bytes <= knot->best_bytes) return;
    uint32_t *items = knot->best;
    knot->best = knot->items;
    knot->items = items;
    knot->best_group = knot->group;
    knot->best_bytes = knot->bytes;
}

/* The group of most bytes, into best[]. */
static void gather_most(struct knot *knot)
{
    uint32_t seeds = knot->count > LARGE_KNOT ? 1 : knot->count < MOST_SEEDS ? knot->count : MOST_SEEDS;
    uint64_t most = (uint64_t)knot->count * WORK_EACH;
    knot->most_work = knot->splits->work + (most < MOST_WORK ? most : MOST_WORK);
    for (uint32_t seed = 0; seed < seeds && !knot->over; seed++) {
        list_ends(knot);
        gather(knot, seed);
        keep_best(knot);
    }
}

/* pairs[2 * end_count]: scratch. */
static void sort_ends(struct knot *knot, const struct vertex *vertex, struct sort_pair *pairs)
{
    const struct splits *splits = knot->splits;
    for (uint32_t i = 0; i < vertex->end_count; i++) {
        uint32_t item = splits->items[vertex->ends + i];
        pairs[i] = (struct sort_pair){~splits->size[item], item};
    }
    sort_pairs(pairs, pairs + vertex->end_count, vertex->end_count);
    knot->ends = pairs;
}

static bool lose_rest(struct loose *loose, struct knot *knot, struct error *err)
{
    size_t room = loose->lost_count + knot->count - knot->best_group;
    void *lost = loose->lost;
    if (!mem_grow(MEM_SEARCH, &lost, &loose->lost_capacity, room, sizeof *loose->lost))
        return error_memory(err, room * sizeof *loose->lost, "a loose drawing");
    loose->lost = lost;
    for (uint32_t i = knot->best_group; i < knot->count; i++) {
        pq_drop(knot->splits->pq, knot->best[i]);
        loose->lost[loose->lost_count++] = (struct lost){(uint32_t)knot->splits->pq->vertex_count, knot->best[i]};
    }
    return true;
}

static bool hand_over(struct knot *knot, const struct vertex *vertex, struct vertex *taken, struct error *err)
{
    struct splits *splits = knot->splits;
    void *items = splits->items;
    size_t room = splits->item_count + knot->best_group;
    if (!mem_grow(MEM_SEARCH, &items, &splits->item_capacity, room, sizeof *splits->items))
        return error_memory(err, room * sizeof *splits->items, "vertices");
    splits->items = items;
    *taken = (struct vertex){splits->item_count, vertex->starts, knot->best_group, vertex->start_count, PQ_NONE};
    for (uint32_t i = 0; i < knot->best_group; i++) splits->items[splits->item_count++] = knot->best[i];
    return true;
}

bool loose_take(struct loose *loose, struct splits *splits, const struct vertex *vertex,
                const struct loose_limits *limits, struct vertex *taken, struct error *err)
{
    uint32_t count = vertex->end_count;
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * (size_t)count, sizeof *pairs);
    uint32_t *items = mem_alloc(MEM_SEARCH, 2 * (size_t)count, sizeof *items);
    bool ok = pairs && items;
    if (!ok) error_memory(err, count * (uint64_t)40, "a loose drawing");
    if (ok) {
        struct knot knot = {.splits = splits, .limits = limits, .items = items, .best = items + count, .count = count};
        sort_ends(&knot, vertex, pairs);
        gather_most(&knot);
        ok = lose_rest(loose, &knot, err) && hand_over(&knot, vertex, taken, err);
    }
    mem_free(items);
    mem_free(pairs);
    return ok;
}
