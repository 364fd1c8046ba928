/* First fit in a fixed order: each buffer goes into the lowest gap among those already placed that live with it. */
#include <string.h>

#include "mem.h"
#include "place_problem.h"
#include "place_sort.h"

#define BLOCK     16
#define MOST_WORK 300000000ull /* comparisons of all orders together: about half a second */

/* The placed buffers by rising offset, as columns, so that the scan over lifetimes stays in cache. */
struct shelf {
    size_t count;
    uint32_t *first, *last;
    uint64_t *low, *high;
    uint64_t *offset; /* by buffer */
    uint64_t work;
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

/* Whether any of the placed buffers [at, at + BLOCK) lives with the buffer: no branches, so that it becomes vectors. */
static bool block_meets(const struct shelf *shelf, size_t at, uint32_t first, uint32_t last)
{
    uint32_t meets = 0;
    for (size_t i = at; i < at + BLOCK; i++)
        meets |= (uint32_t)(shelf->first[i] < last) & (uint32_t)(shelf->last[i] > first);
    return meets != 0;
}

/* The next offset from `at` up that is aligned and, with chunks, leaves the buffer whole inside one. */
static uint64_t settle(uint64_t at, uint64_t size, uint64_t align, uint64_t chunk)
{
    if (chunk == 0) return align_up(at, align);
    uint64_t base = at / chunk * chunk, offset = align_up(at - base, align);
    return offset + size <= chunk ? base + offset : base + chunk;
}

/* The lowest aligned gap of the buffer's size over its lifetime. */
static uint64_t shelf_lowest(struct shelf *shelf, const struct problem *problem, size_t buffer)
{
    uint32_t first = problem->first[buffer], last = problem->last[buffer];
    uint64_t size = problem->size[buffer], align = problem->align[buffer], at = 0;
    size_t i = 0;
    for (; i < shelf->count; i++) {
        if (i % BLOCK == 0 && i + BLOCK <= shelf->count && !block_meets(shelf, i, first, last)) {
            i += BLOCK - 1;
            continue;
        }
        if (shelf->first[i] >= last || shelf->last[i] <= first) continue;
        if (shelf->low[i] >= at + size) break;
        if (shelf->high[i] > at) at = settle(shelf->high[i], size, align, problem->chunk);
    }
    shelf->work += i;
    return at;
}

static void put_fixed(struct shelf *shelf, const struct problem *problem)
{
    for (size_t i = 0; i < problem->count; i++)
        if (problem->fixed[i] != PLACE_UNPLACED) shelf_put(shelf, problem, i, problem->fixed[i]);
}

static void place_in_order(struct shelf *shelf, const struct problem *problem, struct placement *best)
{
    uint64_t most_work = best->arena == UINT64_MAX ? UINT64_MAX : MOST_WORK; /* one placement there must be */
    shelf->count = 0;
    if (problem->any_fixed) put_fixed(shelf, problem);
    for (size_t i = 0; i < problem->count; i++) {
        size_t buffer = shelf->order[i].index;
        if (problem->fixed[buffer] != PLACE_UNPLACED) continue;
        uint64_t offset = shelf_lowest(shelf, problem, buffer);
        if (offset + problem->size[buffer] >= best->arena || shelf->work > most_work) return;
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

/* The largest live sum that each buffer takes part in, from a sparse table of maxima over 2^k sections. */
static bool find_load(const struct problem *problem, uint64_t *load, struct error *err)
{
    size_t sections = problem->sections, levels = 1;
    while (((size_t)1 << levels) <= sections) levels++;
    uint64_t *table = mem_alloc(MEM_SEARCH, levels * sections, sizeof *table);
    if (!table) return error_memory(err, levels * sections * sizeof *table, "first-fit placement");
    memcpy(table, problem->live, sections * sizeof *table);
    for (size_t k = 1; k < levels; k++) {
        const uint64_t *below = table + (k - 1) * sections;
        for (size_t s = 0, half = (size_t)1 << (k - 1); s + 2 * half <= sections; s++)
            table[k * sections + s] = below[s] > below[s + half] ? below[s] : below[s + half];
    }
    for (size_t i = 0; i < problem->count; i++) {
        uint32_t length = problem->last[i] - problem->first[i];
        size_t k = 31 - (size_t)__builtin_clz(length);
        uint64_t left = table[k * sections + problem->first[i]];
        uint64_t right = table[k * sections + problem->last[i] - ((size_t)1 << k)];
        load[i] = left > right ? left : right;
    }
    mem_free(table);
    return true;
}

bool firstfit_improve(const struct problem *problem, uint64_t target, struct placement *best, struct error *err)
{
    struct shelf shelf;
    TRY(shelf_init(&shelf, problem->count, err));
    uint64_t *load = mem_alloc(MEM_SEARCH, problem->count, sizeof *load);
    bool ok = load || error_memory(err, problem->count * sizeof *load, "first-fit placement");
    for (enum order order = 0; ok && order < ORDERS && best->arena > target; order++) {
        if (order == ORDER_LOAD) ok = find_load(problem, load, err);
        if (!ok) break;
        sort_order(&shelf, problem, load, order);
        place_in_order(&shelf, problem, best);
    }
    mem_free(load);
    shelf_finish(&shelf);
    return ok;
}
