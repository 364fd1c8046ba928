/* First fit in a fixed order: each buffer goes into the lowest gap among those already placed that live with it. */
#include <string.h>

#include "mem.h"
#include "place_problem.h"
#include "place_sort.h"

/* The placed buffers by rising offset, as columns, so that the scan over lifetimes stays in cache. */
struct shelf {
    size_t count;
    uint32_t *first, *last;
    uint64_t *low, *high;
    uint64_t *offset; /* by buffer */
    struct sort_pair *order, *scratch;
};

static void shelf_finish(struct shelf *shelf)
{
    mem_free(shelf->first);
    mem_free(shelf->last);
    mem_free(shelf->low);
    mem_free(shelf->high);
    mem_free(shelf->offset);
    mem_free(shelf->order);
    mem_free(shelf->scratch);
    *shelf = (struct shelf){0};
}

static bool shelf_init(struct shelf *shelf, size_t count, struct error *err)
{
    *shelf = (struct shelf){0};
    shelf->first = mem_alloc(MEM_SEARCH, count, sizeof *shelf->first);
    shelf->last = mem_alloc(MEM_SEARCH, count, sizeof *shelf->last);
    shelf->low = mem_alloc(MEM_SEARCH, count, sizeof *shelf->low);
    shelf->high = mem_alloc(MEM_SEARCH, count, sizeof *shelf->high);
    shelf->offset = mem_alloc(MEM_SEARCH, count, sizeof *shelf->offset);
    shelf->order = mem_alloc(MEM_SEARCH, count, sizeof *shelf->order);
    shelf->scratch = mem_alloc(MEM_SEARCH, count, sizeof *shelf->scratch);
    if (shelf->first && shelf->last && shelf->low && shelf->high && shelf->offset && shelf->order && shelf->scratch)
        return true;
    shelf_finish(shelf);
    return error_memory(err, count * 64, "first-fit placement");
}

static void shelf_put(struct shelf *shelf, const struct problem *problem, size_t buffer, uint64_t offset)
{
    size_t low = 0, high = shelf->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (shelf->low[middle] < offset)
            low = middle + 1;
        else
            high = middle;
    }
    size_t tail = shelf->count - low;
    memmove(shelf->first + low + 1, shelf->first + low, tail * sizeof *shelf->first);
    memmove(shelf->last + low + 1, shelf->last + low, tail * sizeof *shelf->last);
    memmove(shelf->low + low + 1, shelf->low + low, tail * sizeof *shelf->low);
    memmove(shelf->high + low + 1, shelf->high + low, tail * sizeof *shelf->high);
    shelf->first[low] = problem->first[buffer];
    shelf->last[low] = problem->last[buffer];
    shelf->low[low] = offset;
    shelf->high[low] = offset + problem->size[buffer];
    shelf->offset[buffer] = offset;
    shelf->count++;
}

/* The lowest aligned gap of the buffer's size over its lifetime. */
static uint64_t shelf_lowest(const struct shelf *shelf, const struct problem *problem, size_t buffer)
{
    uint32_t first = problem->first[buffer], last = problem->last[buffer];
    uint64_t size = problem->size[buffer], align = problem->align[buffer], at = 0;
    for (size_t i = 0; i < shelf->count; i++) {
        if (shelf->first[i] >= last || shelf->last[i] <= first) continue;
        if (shelf->low[i] >= at + size) return at;
        if (shelf->high[i] > at) at = align_up(shelf->high[i], align);
    }
    return at;
}

static void put_fixed(struct shelf *shelf, const struct problem *problem)
{
    for (size_t i = 0; i < problem->count; i++)
        if (problem->fixed[i] != PLACE_UNPLACED) shelf_put(shelf, problem, i, problem->fixed[i]);
}

static void place_in_order(struct shelf *shelf, const struct problem *problem, struct placement *best)
{
    shelf->count = 0;
    if (problem->any_fixed) put_fixed(shelf, problem);
    for (size_t i = 0; i < problem->count; i++) {
        size_t buffer = shelf->order[i].index;
        if (problem->fixed[buffer] != PLACE_UNPLACED) continue;
        uint64_t offset = shelf_lowest(shelf, problem, buffer);
        if (offset + problem->size[buffer] >= best->arena) return;
        shelf_put(shelf, problem, buffer, offset);
    }
    best->arena = problem_arena(problem, shelf->offset);
    memcpy(best->offset, shelf->offset, problem->count * sizeof *best->offset);
}

enum order { ORDER_SIZE, ORDER_AREA, ORDER_LENGTH, ORDER_LOAD, ORDERS };

static uint64_t order_key(const struct problem *problem, const uint64_t *load, enum order order, size_t buffer)
{
    uint64_t length = problem->last[buffer] - problem->first[buffer], size = problem->size[buffer];
    uint64_t area;
    switch (order) {
    case ORDER_SIZE: return ~size;
    case ORDER_LENGTH: return ~length;
    case ORDER_LOAD: return ~load[buffer];
    default: return __builtin_mul_overflow(length, size, &area) ? 0 : ~area;
    }
}

/* Sorted by the order's key, then by size, largest first. */
static void sort_order(struct shelf *shelf, const struct problem *problem, const uint64_t *load, enum order order)
{
    for (size_t i = 0; i < problem->count; i++) shelf->order[i] = (struct sort_pair){~problem->size[i], (uint32_t)i};
    sort_pairs(shelf->order, shelf->scratch, problem->count);
    for (size_t i = 0; i < problem->count; i++)
        shelf->order[i].key = order_key(problem, load, order, shelf->order[i].index);
    sort_pairs(shelf->order, shelf->scratch, problem->count);
}

/* The largest live sum that each buffer takes part in, by a sparse walk over its sections. */
static void find_load(const struct problem *problem, uint64_t *load)
{
    for (size_t i = 0; i < problem->count; i++) {
        load[i] = 0;
        for (uint32_t s = problem->first[i]; s < problem->last[i]; s++)
            if (problem->live[s] > load[i]) load[i] = problem->live[s];
    }
}

bool firstfit_improve(const struct problem *problem, uint64_t target, struct placement *best, struct error *err)
{
    struct shelf shelf;
    TRY(shelf_init(&shelf, problem->count, err));
    uint64_t *load = mem_alloc(MEM_SEARCH, problem->count, sizeof *load);
    if (load) {
        find_load(problem, load);
        for (enum order order = 0; order < ORDERS && best->arena > target; order++) {
            sort_order(&shelf, problem, load, order);
            place_in_order(&shelf, problem, best);
        }
    }
    bool ok = load != NULL;
    mem_free(load);
    shelf_finish(&shelf);
    return ok || error_memory(err, problem->count * sizeof *load, "first-fit placement");
}
