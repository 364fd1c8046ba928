#include "place_groups.h"

#include <inttypes.h>
#include <string.h>

#include "mem.h"
#include "place_problem.h"
#include "place_sort.h"

/* Working memory of groups_init: names listed by storage, in the order in which they are distributed. */
struct listing {
    const struct place_buffer *buffers;
    size_t count;
    struct sort_pair *pairs, *order, *scratch;
    size_t *start;   /* of each storage's names; storages + 1 */
    uint32_t *names; /* by falling size within a storage */
    uint64_t *times; /* two for each name, rising within a storage */
    uint64_t *height;
    uint32_t *next;
};

bool groups_any(const struct place_buffer *buffers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (buffers[i].alias > 0) return true;
    return false;
}

static bool reserve(struct groups *groups, struct listing *listing, struct error *err)
{
    size_t count = listing->count;
    groups->storage = mem_alloc(MEM_SEARCH, count, sizeof *groups->storage);
    groups->hulls = mem_alloc(MEM_SEARCH, count, sizeof *groups->hulls);
    groups->piece_start = mem_alloc(MEM_SEARCH, count + 1, sizeof *groups->piece_start);
    groups->pieces = mem_alloc(MEM_SEARCH, 2 * count, sizeof *groups->pieces);
    groups->blocks = mem_alloc(MEM_SEARCH, 2 * count, sizeof *groups->blocks);
    groups->block_start = mem_alloc(MEM_SEARCH, 2 * count + 1, sizeof *groups->block_start);
    groups->block_storage = mem_alloc(MEM_SEARCH, 2 * count, sizeof *groups->block_storage);
    listing->pairs = mem_alloc(MEM_SEARCH, 2 * count, sizeof *listing->pairs);
    listing->order = mem_alloc(MEM_SEARCH, 2 * count, sizeof *listing->order);
    listing->scratch = mem_alloc(MEM_SEARCH, 2 * count, sizeof *listing->scratch);
    listing->start = mem_zalloc(MEM_SEARCH, count + 2, sizeof *listing->start);
    listing->names = mem_alloc(MEM_SEARCH, count, sizeof *listing->names);
    listing->times = mem_alloc(MEM_SEARCH, 2 * count, sizeof *listing->times);
    listing->height = mem_alloc(MEM_SEARCH, 2 * count, sizeof *listing->height);
    listing->next = mem_alloc(MEM_SEARCH, 2 * count + 1, sizeof *listing->next);
    bool ok = groups->storage && groups->hulls && groups->piece_start && groups->pieces && groups->blocks &&
              groups->block_start && groups->block_storage && listing->pairs && listing->order && listing->scratch &&
              listing->start && listing->names && listing->times && listing->height && listing->next;
    return ok || error_memory(err, count * 400, "names of one storage");
}

static void listing_finish(struct listing *listing)
{
    mem_free(listing->pairs);
    mem_free(listing->order);
    mem_free(listing->scratch);
    mem_free(listing->start);
    mem_free(listing->names);
    mem_free(listing->times);
    mem_free(listing->height);
    mem_free(listing->next);
}

/* Numbers the storages by their first names. */
static void number_storages(struct groups *groups, struct listing *listing)
{
    size_t named = 0;
    for (size_t i = 0; i < listing->count; i++) {
        groups->storage[i] = (uint32_t)i;
        if (listing->buffers[i].alias > 0)
            listing->pairs[named++] = (struct sort_pair){listing->buffers[i].alias, (uint32_t)i};
    }
    sort_pairs(listing->pairs, listing->scratch, named);
    for (size_t i = 1; i < named; i++)
        if (listing->pairs[i].key == listing->pairs[i - 1].key)
            groups->storage[listing->pairs[i].index] = groups->storage[listing->pairs[i - 1].index];
    for (size_t i = 0; i < listing->count; i++) {
        uint32_t first = groups->storage[i];
        groups->storage[i] = first == i ? (uint32_t)groups->count++ : groups->storage[first];
    }
}

/* Takes one name's alignment and fixed offset into its storage's hull. */
static bool agree(struct place_buffer *hull, const struct place_buffer *buffer, size_t index, struct error *err)
{
    uint64_t align = buffer->align > 1 ? buffer->align : 1;
    if (__builtin_mul_overflow(hull->align / common_divisor(hull->align, align), align, &hull->align) ||
        hull->align > UINT64_MAX / 4)
        return error_set(err, ERROR_INPUT,
                         "buffer %zu: no offset is a multiple of all alignments in alias group %" PRIu64, index,
                         buffer->alias);
    if (buffer->fixed == PLACE_UNPLACED) return true;
    if (hull->fixed != PLACE_UNPLACED && hull->fixed != buffer->fixed)
        return error_set(err, ERROR_INPUT,
                         "buffer %zu: fixed at %" PRIu64 " where another of alias group %" PRIu64
                         " is fixed at %" PRIu64,
                         index, buffer->fixed, buffer->alias, hull->fixed);
    hull->fixed = buffer->fixed;
    return true;
}

static bool merge_demands(struct groups *groups, struct listing *listing, struct error *err)
{
    for (size_t s = 0; s < groups->count; s++)
        groups->hulls[s] =
            (struct place_buffer){.upper = 1, .align = 1, .fixed = PLACE_UNPLACED, .offset = PLACE_UNPLACED};
    for (size_t i = 0; i < listing->count; i++)
        TRY(agree(&groups->hulls[groups->storage[i]], &listing->buffers[i], i, err));
    for (size_t i = 0; i < listing->count; i++) {
        const struct place_buffer *hull = &groups->hulls[groups->storage[i]];
        if (hull->fixed != PLACE_UNPLACED && hull->fixed % hull->align != 0)
            return error_set(err, ERROR_INPUT,
                             "buffer %zu: its alias group %" PRIu64 " is fixed at %" PRIu64
                             ", which is not a multiple of the group's alignment %" PRIu64,
                             i, listing->buffers[i].alias, hull->fixed, hull->align);
    }
    return true;
}

/* By storage, and within one in the order they have: names by falling size, then times by rising one. */
static void sort_within_storages(const struct groups *groups, struct listing *listing, size_t count)
{
    sort_pairs(listing->pairs, listing->scratch, count);
    memcpy(listing->order, listing->pairs, count * sizeof *listing->order);
    for (size_t i = 0; i < count; i++)
        listing->order[i] = (struct sort_pair){groups->storage[listing->pairs[i].index], (uint32_t)i};
    sort_pairs(listing->order, listing->scratch, count);
}

static void list_names(const struct groups *groups, struct listing *listing)
{
    size_t count = listing->count;
    for (size_t i = 0; i < count; i++) {
        listing->start[groups->storage[i] + 1]++;
        listing->pairs[i] = (struct sort_pair){~listing->buffers[i].size, (uint32_t)i};
    }
    for (size_t s = 0; s < groups->count; s++) listing->start[s + 1] += listing->start[s];
    sort_within_storages(groups, listing, count);
    for (size_t i = 0; i < count; i++) listing->names[i] = listing->pairs[listing->order[i].index].index;
    for (size_t i = 0; i < count; i++) {
        listing->pairs[2 * i] = (struct sort_pair){listing->buffers[i].lower, (uint32_t)i};
        listing->pairs[2 * i + 1] = (struct sort_pair){listing->buffers[i].upper, (uint32_t)i};
    }
    sort_within_storages(groups, listing, 2 * count);
    for (size_t i = 0; i < 2 * count; i++) listing->times[i] = listing->pairs[listing->order[i].index].key;
}

static size_t find_time(const uint64_t *times, size_t count, uint64_t time)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (times[middle] < time)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The next slot from `slot` on that nothing has been painted over; paths are halved on the way. */
static size_t next_bare(uint32_t *next, size_t slot)
{
    while (next[slot] != slot) slot = next[slot] = next[next[slot]];
    return slot;
}

/* Paints the storage's names over its slots of time, the largest first, each where nothing is yet. */
static void paint(const struct listing *listing, size_t storage, uint64_t align, size_t slots, const uint64_t *times)
{
    uint32_t *next = listing->next;
    memset(listing->height, 0, slots * sizeof *listing->height);
    for (size_t i = 0; i <= slots; i++) next[i] = (uint32_t)i;
    for (size_t i = listing->start[storage]; i < listing->start[storage + 1]; i++) {
        const struct place_buffer *name = &listing->buffers[listing->names[i]];
        size_t last = find_time(times, slots, name->upper);
        for (size_t slot = next_bare(next, find_time(times, slots, name->lower)); slot < last;
             slot = next_bare(next, slot)) {
            listing->height[slot] = align_up(name->size, align);
            next[slot] = (uint32_t)slot + 1;
        }
    }
}

/* Slot i of a storage reaches from its i-th time to the next: runs of one height are pieces. */
static void cut_pieces(struct groups *groups, const struct listing *listing, size_t storage)
{
    struct place_buffer *hull = &groups->hulls[storage];
    const uint64_t *times = listing->times + 2 * listing->start[storage];
    size_t slots = 2 * (listing->start[storage + 1] - listing->start[storage]) - 1;
    paint(listing, storage, hull->align, slots, times);
    groups->piece_start[storage] = groups->piece_count;
    for (size_t i = 0; i < slots; i++) {
        if (listing->height[i] == 0 || times[i] == times[i + 1]) continue;
        bool first = groups->piece_count == groups->piece_start[storage];
        struct place_buffer *last = first ? NULL : &groups->pieces[groups->piece_count - 1];
        if (last && last->upper == times[i] && last->size == listing->height[i]) {
            last->upper = times[i + 1];
            continue;
        }
        struct place_buffer *piece = &groups->pieces[groups->piece_count++];
        *piece = *hull;
        piece->lower = times[i];
        piece->upper = times[i + 1];
        piece->size = listing->height[i];
    }
    groups->piece_start[storage + 1] = groups->piece_count;
}

static void make_hull(struct groups *groups, size_t storage)
{
    struct place_buffer *hull = &groups->hulls[storage];
    size_t from = groups->piece_start[storage], to = groups->piece_start[storage + 1];
    if (from == to) return;
    hull->lower = groups->pieces[from].lower;
    hull->upper = groups->pieces[to - 1].upper;
    for (size_t i = from; i < to; i++)
        if (groups->pieces[i].size > hull->size) hull->size = groups->pieces[i].size;
    groups->stepped |= to - from > 1 && hull->fixed == PLACE_UNPLACED;
}

static void add_block(struct groups *groups, const struct place_buffer *block, size_t storage, size_t from)
{
    groups->blocks[groups->block_count] = *block;
    groups->block_start[groups->block_count] = from;
    groups->block_storage[groups->block_count++] = (uint32_t)storage;
}

static void make_blocks(struct groups *groups)
{
    for (size_t s = 0; s < groups->count; s++) {
        struct place_buffer *hull = &groups->hulls[s];
        hull->offset = hull->fixed == PLACE_UNPLACED ? 0 : hull->fixed;
        size_t from = groups->piece_start[s], to = groups->piece_start[s + 1];
        if (hull->fixed != PLACE_UNPLACED)
            for (size_t p = from; p < to; p++) add_block(groups, &groups->pieces[p], s, p);
        else if (from < to)
            add_block(groups, hull, s, from);
    }
    groups->block_start[groups->block_count] = groups->piece_count;
}

bool groups_init(struct groups *groups, const struct place_buffer *buffers, size_t count, struct error *err)
{
    struct listing listing = {.buffers = buffers, .count = count};
    *groups = (struct groups){0};
    TRY(problem_check_buffers(buffers, count, err));
    bool ok = reserve(groups, &listing, err);
    if (ok) number_storages(groups, &listing);
    ok = ok && merge_demands(groups, &listing, err);
    if (ok) {
        list_names(groups, &listing);
        for (size_t s = 0; s < groups->count; s++) {
            cut_pieces(groups, &listing, s);
            make_hull(groups, s);
        }
        make_blocks(groups);
    }
    listing_finish(&listing);
    if (!ok) groups_finish(groups);
    return ok;
}

void groups_finish(struct groups *groups)
{
    mem_free(groups->storage);
    mem_free(groups->hulls);
    mem_free(groups->piece_start);
    mem_free(groups->pieces);
    mem_free(groups->blocks);
    mem_free(groups->block_start);
    mem_free(groups->block_storage);
    *groups = (struct groups){0};
}

bool groups_check_fixed(const struct groups *groups, const struct place_buffer *buffers, size_t count,
                        const uint64_t *chunk, uint64_t chunk_bytes, struct error *err)
{
    struct problem problem;
    struct place_buffer *named = mem_alloc(MEM_SEARCH, count, sizeof *named);
    if (!named) return error_memory(err, count * sizeof *named, "checking fixed offsets");
    for (size_t i = 0; i < count; i++) {
        const struct place_buffer *hull = &groups->hulls[groups->storage[i]];
        named[i] = buffers[i];
        named[i].align = hull->align;
        named[i].fixed = hull->fixed;
    }
    bool ok = problem_init(&problem, named, count, err);
    for (size_t i = 0; ok && chunk && i < problem.count; i++)
        if (problem.fixed[i] != PLACE_UNPLACED)
            problem.fixed[i] += chunk[groups->storage[problem.origin[i]]] * chunk_bytes;
    ok = ok && problem_check_fixed(&problem, err);
    problem_finish(&problem);
    mem_free(named);
    return ok;
}

void groups_take_blocks(struct groups *groups)
{
    for (size_t b = 0; b < groups->block_count; b++)
        groups->hulls[groups->block_storage[b]].offset = groups->blocks[b].offset;
}

void groups_write(const struct groups *groups, struct place_buffer *buffers, size_t count)
{
    for (size_t i = 0; i < count; i++) buffers[i].offset = groups->hulls[groups->storage[i]].offset;
}
