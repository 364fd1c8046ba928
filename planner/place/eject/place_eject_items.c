#include <math.h>

#include "mem.h"
#include "place_eject_private.h"
#include "place_sort.h"
#include "vector_units.h"

#define BUNDLE_SHARE 16 /* of the bound: what buffers of one lifetime make up together, at most, inverse */
#define LEAST_ITEMS  8
#define MOST_CELLS   ((uint64_t)1 << 20) /* sum of lifetimes in sections */
#define MOST_PAIRS   ((uint64_t)1 << 23) /* that live at one time, each twice */

FOR_VECTOR_UNITS static uint64_t count_pairs(const uint32_t *first, const uint32_t *last, size_t count)
{
    uint64_t pairs = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t of_one = 0;
        for (size_t k = 0; k < count; k++) of_one += (first[k] < last[i]) & (first[i] < last[k]);
        pairs += of_one;
    }
    return pairs;
}

bool items_fit(const struct problem *problem)
{
    if (problem->count < LEAST_ITEMS || problem->count > MOST_ITEMS) return false;
    uint64_t cells = 0;
    for (size_t i = 0; i < problem->count; i++) cells += problem->last[i] - problem->first[i];
    if (cells > MOST_CELLS || problem->bound / problem_quantum(problem) >= MOST_QUANTA / 4) return false;
    return count_pairs(problem->first, problem->last, problem->count) <= MOST_PAIRS;
}

static bool same_lifetime(const struct problem *problem, uint32_t a, uint32_t b)
{
    return problem->first[a] == problem->first[b] && problem->last[a] == problem->last[b];
}

/* Buffers by lifetime, in members. */
static bool sort_members(struct eject_items *items, const struct problem *problem, struct error *err)
{
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * problem->count, sizeof *pairs);
    if (!pairs) return error_memory(err, 2 * problem->count * sizeof *pairs, "buffers by lifetime");
    for (uint32_t i = 0; i < problem->count; i++)
        pairs[i] = (struct sort_pair){(uint64_t)problem->first[i] << 32 | problem->last[i], i};
    sort_pairs(pairs, pairs + problem->count, problem->count);
    for (size_t i = 0; i < problem->count; i++) items->member[i] = pairs[i].index;
    mem_free(pairs);
    return true;
}

/* Those that are small and live as long as one another lie together: in a good placement they might as well. */
static void bundle(struct eject_items *items, const struct problem *problem)
{
    uint64_t most = problem->bound / BUNDLE_SHARE, sum = 0;
    items->count = 0;
    for (uint32_t i = 0; i < problem->count; i++) {
        uint32_t buffer = items->member[i];
        uint64_t size = problem->size[buffer];
        bool joins = i > 0 && same_lifetime(problem, buffer, items->member[i - 1]) && sum + size <= most;
        if (!joins) {
            uint32_t item = items->count++;
            items->start[item] = i;
            items->first[item] = problem->first[buffer];
            items->last[item] = problem->last[buffer];
            sum = 0;
        }
        sum += size;
        items->size[items->count - 1] = (int32_t)(sum / items->quantum);
    }
    items->start[items->count] = (uint32_t)problem->count;
}

/* The larger and the longer, the harder to place again, but not in proportion. */
static void weigh(struct eject_items *items)
{
    int32_t largest = 1;
    for (uint32_t i = 0; i < items->count; i++)
        if (items->size[i] > largest) largest = items->size[i];
    for (uint32_t i = 0; i < items->count; i++) {
        double size = (double)items->size[i] / largest;
        double length = (double)(items->last[i] - items->first[i]) / items->sections;
        items->base[i] = 1 + (uint64_t)((MOST_BASE - 1) * sqrt(size * sqrt(size * length)));
    }
}

/* Where each item's sections begin, the floor's and the ceiling's too. */
static void list_cells(struct eject_items *items)
{
    uint32_t cell = 0;
    for (uint32_t end = 0; end < END_COUNT; end++) {
        items->first[items->count + end] = 0;
        items->last[items->count + end] = items->sections;
        items->size[items->count + end] = 0;
    }
    for (uint32_t i = 0; i < items->count + END_COUNT; i++) {
        items->cell[i] = cell;
        cell += items->last[i] - items->first[i];
    }
    items->cell[items->count + END_COUNT] = cell;
}

static bool list_near(struct eject_items *items, struct error *err)
{
    uint64_t pairs = count_pairs(items->first, items->last, items->count);
    items->near = mem_alloc(MEM_SEARCH, pairs, sizeof *items->near);
    if (!items->near) return error_memory(err, pairs * sizeof *items->near, "buffers that live at one time");
    uint32_t at = 0;
    for (uint32_t i = 0; i < items->count; i++) {
        items->near_start[i] = at;
        for (uint32_t k = 0; k < items->count; k++)
            if (k != i && items->first[k] < items->last[i] && items->first[i] < items->last[k])
                items->near[at++] = (uint16_t)k;
    }
    items->near_start[items->count] = at;
    return true;
}

bool items_init(struct eject_items *items, const struct problem *problem, uint64_t quantum, struct error *err)
{
    size_t count = problem->count;
    *items = (struct eject_items){.sections = (uint32_t)problem->sections, .quantum = quantum};
    items->first = mem_alloc(MEM_SEARCH, count + END_COUNT, sizeof *items->first);
    items->last = mem_alloc(MEM_SEARCH, count + END_COUNT, sizeof *items->last);
    items->size = mem_alloc(MEM_SEARCH, count + END_COUNT, sizeof *items->size);
    items->base = mem_alloc(MEM_SEARCH, count, sizeof *items->base);
    items->start = mem_alloc(MEM_SEARCH, count + 1, sizeof *items->start);
    items->member = mem_alloc(MEM_SEARCH, count, sizeof *items->member);
    items->cell = mem_alloc(MEM_SEARCH, count + END_COUNT + 1, sizeof *items->cell);
    items->near_start = mem_alloc(MEM_SEARCH, count + 1, sizeof *items->near_start);
    if (!items->first || !items->last || !items->size || !items->base || !items->start || !items->member ||
        !items->cell || !items->near_start)
        return error_memory(err, count * 40, "buffers to insert");
    TRY(sort_members(items, problem, err));
    bundle(items, problem);
    weigh(items);
    list_cells(items);
    return list_near(items, err);
}

void items_finish(struct eject_items *items)
{
    mem_free(items->first);
    mem_free(items->last);
    mem_free(items->size);
    mem_free(items->base);
    mem_free(items->start);
    mem_free(items->member);
    mem_free(items->cell);
    mem_free(items->near_start);
    mem_free(items->near);
}
