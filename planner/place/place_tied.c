#include "place_tied.h"

#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_sort.h"

static bool halted(uint64_t deadline_ns, const atomic_bool *stop)
{
    return (stop && atomic_load_explicit(stop, memory_order_relaxed)) || clock_now_ns() >= deadline_ns;
}

static bool is_fixed(const struct tied *tied, size_t storage)
{
    return tied->groups->hulls[storage].fixed != PLACE_UNPLACED;
}

static uint64_t height_of(const struct tied *tied, size_t storage) { return tied->groups->hulls[storage].size; }

static uint64_t align_of(const struct tied *tied, size_t storage) { return tied->groups->hulls[storage].align; }

/* First fit: the pieces placed so far, by rising offset. */
struct shelf {
    struct tied *tied;
    struct sort_pair *placed; /* offset and piece */
    size_t count;
    uint64_t *offset;        /* of each storage */
    struct sort_pair *order; /* of storages, and as much scratch */
};

static void shelf_put(struct shelf *shelf, size_t storage, uint64_t offset)
{
    const size_t *start = shelf->tied->groups->piece_start;
    size_t at = shelf->count, pieces = start[storage + 1] - start[storage];
    while (at > 0 && shelf->placed[at - 1].key > offset) at--;
    memmove(shelf->placed + at + pieces, shelf->placed + at, (shelf->count - at) * sizeof *shelf->placed);
    for (size_t p = 0; p < pieces; p++)
        shelf->placed[at + p] = (struct sort_pair){offset, (uint32_t)(start[storage] + p)};
    shelf->count += pieces;
    shelf->offset[storage] = offset;
}

/* The lowest aligned offset from `at` on at which one piece is clear of those placed. */
static uint64_t lift_piece(const struct shelf *shelf, size_t piece, uint64_t align, uint64_t at)
{
    const struct problem *problem = &shelf->tied->problem;
    for (size_t i = 0; i < shelf->count; i++) {
        uint64_t low = shelf->placed[i].key, high = low + problem->size[shelf->placed[i].index];
        if (low >= at + problem->size[piece]) break;
        if (high > at && problem_overlap(problem, piece, shelf->placed[i].index)) at = align_up(high, align);
    }
    return at;
}

static uint64_t lowest_place(const struct shelf *shelf, size_t storage)
{
    const size_t *start = shelf->tied->groups->piece_start;
    uint64_t at = 0;
    for (bool moved = true; moved;) {
        uint64_t before = at;
        for (size_t p = start[storage]; p < start[storage + 1]; p++)
            at = lift_piece(shelf, p, align_of(shelf->tied, storage), at);
        moved = at > before && start[storage + 1] - start[storage] > 1;
    }
    return at;
}

enum order { ORDER_SIZE, ORDER_AREA, ORDER_LENGTH, ORDERS };

static uint64_t order_key(const struct tied *tied, enum order order, size_t storage)
{
    const size_t *start = tied->groups->piece_start;
    double area = 0, length = 0;
    for (size_t p = start[storage]; p < start[storage + 1]; p++) {
        double sections = tied->problem.last[p] - tied->problem.first[p];
        length += sections;
        area += sections * (double)tied->problem.size[p];
    }
    double key = order == ORDER_SIZE ? (double)height_of(tied, storage) : order == ORDER_AREA ? area : length;
    return UINT64_MAX - (uint64_t)(key < 9e18 ? key : 9e18);
}

/* Gives up when its placement would be no better than the best. */
static void fit_in_order(struct shelf *shelf, enum order order, uint64_t deadline_ns, const atomic_bool *stop)
{
    struct tied *tied = shelf->tied;
    size_t storages = tied->groups->count;
    uint64_t arena = 0;
    shelf->count = 0;
    for (size_t s = 0; s < storages; s++) {
        shelf->order[s] = (struct sort_pair){order_key(tied, order, s), (uint32_t)s};
        if (!is_fixed(tied, s)) continue;
        shelf_put(shelf, s, tied->groups->hulls[s].fixed);
        if (height_of(tied, s) > 0 && shelf->offset[s] + height_of(tied, s) > arena)
            arena = shelf->offset[s] + height_of(tied, s);
    }
    sort_pairs(shelf->order, shelf->order + storages, storages);
    for (size_t i = 0; i < storages; i++) {
        size_t storage = shelf->order[i].index;
        if (is_fixed(tied, storage)) continue;
        uint64_t offset = lowest_place(shelf, storage);
        shelf_put(shelf, storage, offset);
        if (offset + height_of(tied, storage) > arena) arena = offset + height_of(tied, storage);
        if (arena >= tied->arena || (i % 64 == 63 && halted(deadline_ns, stop))) return;
    }
    tied->arena = arena;
    memcpy(tied->offset, shelf->offset, storages * sizeof *tied->offset);
}

bool tied_first_fit(struct tied *tied, uint64_t target, uint64_t deadline_ns, const atomic_bool *stop,
                    struct error *err)
{
    size_t storages = tied->groups->count;
    struct shelf shelf = {.tied = tied};
    shelf.placed = mem_alloc(MEM_SEARCH, tied->groups->piece_count, sizeof *shelf.placed);
    shelf.offset = mem_alloc(MEM_SEARCH, storages, sizeof *shelf.offset);
    shelf.order = mem_alloc(MEM_SEARCH, 2 * storages, sizeof *shelf.order);
    bool ok = shelf.placed && shelf.offset && shelf.order;
    if (!ok) error_memory(err, storages * 64, "first-fit placement");
    for (enum order order = 0; ok && order < ORDERS && tied->arena > target && !halted(deadline_ns, stop); order++)
        fit_in_order(&shelf, order, deadline_ns, stop);
    mem_free(shelf.placed);
    mem_free(shelf.offset);
    mem_free(shelf.order);
    return ok;
}

/* The search. Placements are compact and of the smallest sum of offsets, so the one sought survives every rule. */
struct search {
    struct tied *tied;
    uint64_t *top;     /* of each section: of what is placed there, fixed storages left out */
    uint64_t *rest;    /* of each section: sizes still to place */
    uint64_t *release; /* of each section: the least offset of those */
    uint64_t *offset;  /* of each storage */
    uint64_t *resting; /* of each storage to place: where it would lie now */
    bool *placed;
    uint32_t *twin;        /* the previous storage that is the same in all, or NO_TWIN */
    struct sort_pair *due; /* children of all open steps, a stack */
    size_t due_count, due_capacity;
    uint64_t *trail; /* tops before all open steps, a stack */
    size_t trail_count, trail_capacity;
    uint64_t fixed_end, target, most_nodes, deadline_ns, nodes;
    const atomic_bool *stop;
    size_t waiting;
    bool halted, out_of_memory;
};
#define NO_TWIN UINT32_MAX

/* Above everything placed, and clear of the fixed pieces. */
static uint64_t find_rest(const struct search *search, size_t storage)
{
    const struct problem *problem = &search->tied->problem;
    const size_t *start = search->tied->groups->piece_start;
    uint64_t at = 0, align = align_of(search->tied, storage);
    for (size_t p = start[storage]; p < start[storage + 1]; p++)
        for (uint32_t s = problem->first[p]; s < problem->last[p]; s++)
            if (search->top[s] > at) at = search->top[s];
    at = align_up(at, align);
    for (bool moved = problem->any_fixed; moved;) {
        moved = false;
        for (size_t f = 0; f < problem->count; f++) {
            uint64_t low = problem->fixed[f], high = low + problem->size[f];
            if (low == PLACE_UNPLACED || high <= at) continue;
            for (size_t p = start[storage]; p < start[storage + 1]; p++) {
                if (low >= at + problem->size[p] || high <= at || !problem_overlap(problem, p, f)) continue;
                at = align_up(high, align);
                moved = true;
            }
        }
    }
    return at;
}

/* Where each could lie, and whether every section still has room above that; *ceiling is the least end among them: one
 * of that end fits below any offset from there on, so the next is placed under it. */
static bool look_ahead(struct search *search, uint64_t level, uint64_t *ceiling)
{
    const struct tied *tied = search->tied;
    const struct problem *problem = &tied->problem;
    const size_t *start = tied->groups->piece_start;
    uint64_t most = tied->arena - 1;
    *ceiling = UINT64_MAX;
    memset(search->release, 0xff, problem->sections * sizeof *search->release);
    for (size_t i = 0; i < tied->groups->count; i++) {
        if (search->placed[i]) continue;
        uint64_t rest = search->resting[i] = find_rest(search, i), from = rest > level ? rest : level;
        if (from + height_of(tied, i) > most) return false;
        if (rest + height_of(tied, i) < *ceiling) *ceiling = rest + height_of(tied, i);
        for (size_t p = start[i]; p < start[i + 1]; p++)
            for (uint32_t s = problem->first[p]; s < problem->last[p]; s++)
                if (from < search->release[s]) search->release[s] = from;
    }
    for (uint32_t s = 0; s < problem->sections; s++)
        if (search->rest[s] > 0 && search->release[s] + search->rest[s] > most) return false;
    return *ceiling > level;
}

static bool reserve_step(struct search *search)
{
    void *due = search->due, *trail = search->trail;
    size_t sections = search->tied->problem.sections;
    bool ok =
        mem_grow(MEM_SEARCH, &due, &search->due_capacity, search->due_count + 2 * search->tied->groups->count,
                 sizeof *search->due) &&
        mem_grow(MEM_SEARCH, &trail, &search->trail_capacity, search->trail_count + sections, sizeof *search->trail);
    search->due = due;
    search->trail = trail;
    if (!ok) search->halted = search->out_of_memory = true;
    return ok;
}

/* Storages that may come next, by rising offset, on top of the stack; those of one offset by index. */
static size_t push_due(struct search *search, uint64_t level, size_t last, uint64_t ceiling)
{
    size_t count = 0;
    struct sort_pair *due = search->due + search->due_count;
    for (uint32_t i = 0; i < search->tied->groups->count; i++) {
        if (search->placed[i] || search->resting[i] >= ceiling || search->resting[i] < level) continue;
        if (search->resting[i] == level && last != SIZE_MAX && i <= last) continue;
        if (search->twin[i] != NO_TWIN && !search->placed[search->twin[i]]) continue;
        due[count++] = (struct sort_pair){search->resting[i], i};
    }
    sort_pairs(due, due + count, count);
    search->due_count += count;
    return count;
}

static void put(struct search *search, size_t storage, uint64_t offset)
{
    const struct problem *problem = &search->tied->problem;
    const size_t *start = search->tied->groups->piece_start;
    search->placed[storage] = true;
    search->offset[storage] = offset;
    search->waiting--;
    for (size_t p = start[storage]; p < start[storage + 1]; p++)
        for (uint32_t s = problem->first[p]; s < problem->last[p]; s++) {
            search->trail[search->trail_count++] = search->top[s];
            search->top[s] = offset + problem->size[p];
            search->rest[s] -= problem->size[p];
        }
}

static void take_back(struct search *search, size_t storage)
{
    const struct problem *problem = &search->tied->problem;
    const size_t *start = search->tied->groups->piece_start;
    search->placed[storage] = false;
    search->waiting++;
    for (size_t p = start[storage + 1]; p-- > start[storage];)
        for (uint32_t s = problem->last[p]; s-- > problem->first[p];) {
            search->top[s] = search->trail[--search->trail_count];
            search->rest[s] += problem->size[p];
        }
}

static void keep(struct search *search)
{
    struct tied *tied = search->tied;
    tied->arena = search->fixed_end;
    for (size_t i = 0; i < tied->groups->count; i++)
        if (height_of(tied, i) > 0 && search->offset[i] + height_of(tied, i) > tied->arena)
            tied->arena = search->offset[i] + height_of(tied, i);
    memcpy(tied->offset, search->offset, tied->groups->count * sizeof *tied->offset);
    if (tied->arena <= search->target) search->halted = true;
}

static void descend(struct search *search, uint64_t level, size_t last)
{
    uint64_t ceiling;
    if (search->waiting == 0) keep(search);
    if (search->halted || search->waiting == 0) return;
    search->nodes++;
    if ((search->most_nodes > 0 && search->nodes >= search->most_nodes) || halted(search->deadline_ns, search->stop))
        search->halted = true;
    if (search->halted || !reserve_step(search) || !look_ahead(search, level, &ceiling)) return;
    size_t first = search->due_count, count = push_due(search, level, last, ceiling);
    for (size_t i = first; i < first + count && !search->halted; i++) {
        struct sort_pair next = search->due[i];
        if (next.key + height_of(search->tied, next.index) >= search->tied->arena) continue;
        put(search, next.index, next.key);
        descend(search, next.key, next.index);
        take_back(search, next.index);
    }
    search->due_count = first;
}

static bool same_storage(const struct tied *tied, size_t a, size_t b)
{
    const size_t *start = tied->groups->piece_start;
    size_t pieces = start[a + 1] - start[a];
    if (is_fixed(tied, a) || is_fixed(tied, b) || align_of(tied, a) != align_of(tied, b) ||
        pieces != start[b + 1] - start[b])
        return false;
    for (size_t p = 0; p < pieces; p++) {
        size_t x = start[a] + p, y = start[b] + p;
        if (tied->problem.first[x] != tied->problem.first[y] || tied->problem.last[x] != tied->problem.last[y] ||
            tied->problem.size[x] != tied->problem.size[y])
            return false;
    }
    return true;
}

static void begin(struct search *search)
{
    const struct tied *tied = search->tied;
    const struct problem *problem = &tied->problem;
    for (size_t i = 0; i < tied->groups->count; i++) {
        search->placed[i] = is_fixed(tied, i) || height_of(tied, i) == 0;
        search->offset[i] = is_fixed(tied, i) ? tied->groups->hulls[i].fixed : 0;
        search->twin[i] = NO_TWIN;
        for (size_t j = i; j-- > 0 && search->twin[i] == NO_TWIN;)
            if (same_storage(tied, i, j)) search->twin[i] = (uint32_t)j;
        if (search->placed[i]) continue;
        search->waiting++;
        for (size_t p = tied->groups->piece_start[i]; p < tied->groups->piece_start[i + 1]; p++)
            for (uint32_t s = problem->first[p]; s < problem->last[p]; s++) search->rest[s] += problem->size[p];
    }
    for (size_t p = 0; p < problem->count; p++)
        if (problem->fixed[p] != PLACE_UNPLACED && problem->fixed[p] + problem->size[p] > search->fixed_end)
            search->fixed_end = problem->fixed[p] + problem->size[p];
}

static bool search_reserve(struct search *search, struct error *err)
{
    size_t storages = search->tied->groups->count, sections = search->tied->problem.sections;
    search->top = mem_zalloc(MEM_SEARCH, sections, sizeof *search->top);
    search->rest = mem_zalloc(MEM_SEARCH, sections, sizeof *search->rest);
    search->release = mem_alloc(MEM_SEARCH, sections, sizeof *search->release);
    search->offset = mem_alloc(MEM_SEARCH, storages, sizeof *search->offset);
    search->resting = mem_alloc(MEM_SEARCH, storages, sizeof *search->resting);
    search->placed = mem_alloc(MEM_SEARCH, storages, sizeof *search->placed);
    search->twin = mem_alloc(MEM_SEARCH, storages, sizeof *search->twin);
    bool ok = search->top && search->rest && search->release && search->offset && search->resting && search->placed &&
              search->twin;
    return ok || error_memory(err, storages * 32 + sections * 24, "the search over storages");
}

static void search_finish(struct search *search)
{
    mem_free(search->top);
    mem_free(search->rest);
    mem_free(search->release);
    mem_free(search->offset);
    mem_free(search->resting);
    mem_free(search->placed);
    mem_free(search->twin);
    mem_free(search->due);
    mem_free(search->trail);
}

bool tied_search(struct tied *tied, uint64_t target, uint64_t most_nodes, uint64_t deadline_ns, const atomic_bool *stop,
                 uint64_t *nodes, bool *ended, struct error *err)
{
    struct search search = {
        .tied = tied, .target = target, .most_nodes = most_nodes, .deadline_ns = deadline_ns, .stop = stop};
    bool ok = search_reserve(&search, err);
    if (ok) {
        begin(&search);
        descend(&search, 0, SIZE_MAX);
        *ended = !search.halted || tied->arena <= target;
        *nodes += search.nodes;
        if (search.out_of_memory) ok = error_memory(err, search.trail_capacity * 8, "the search over storages");
    }
    search_finish(&search);
    return ok;
}
