#include "torch_allocator.h"

#include <string.h>

#include "mem.h"

#define MIB           (1ull << 20)
#define LEAST_BLOCK   512ull
#define MOST_SMALL    (1 * MIB)
#define SMALL_SEGMENT (2 * MIB)
#define LARGE_SEGMENT (20 * MIB)
#define LEAST_OWN     (10 * MIB) /* from here on a segment of its own */
#define OWN_STEP      (2 * MIB)
/* Segments are apart, so that no two are taken for neighbours. */
#define BETWEEN (2 * MIB)

struct torch_block {
    uint64_t address, bytes;
    uint32_t before, after; /* in its segment; of an unused entry `after` is the next such */
    uint8_t pool;
    bool free;
};

static uint64_t round_up(uint64_t bytes, uint64_t step) { return (bytes + step - 1) / step * step; }

/* ---- Entries ---- */

static bool new_block(struct torch_allocator *a, const struct torch_block *block, uint32_t *index, struct error *err)
{
    if (a->block_count == 0) a->unused = TORCH_NO_BLOCK;
    if (a->unused != TORCH_NO_BLOCK) {
        *index = a->unused;
        a->unused = a->blocks[*index].after;
    } else {
        if (!mem_grow(MEM_PLAN, (void **)&a->blocks, &a->block_capacity, a->block_count + 1, sizeof *a->blocks))
            return error_memory(err, sizeof *a->blocks, "an allocator's blocks");
        *index = (uint32_t)a->block_count++;
    }
    a->blocks[*index] = *block;
    return true;
}

static void drop_block(struct torch_allocator *a, uint32_t index)
{
    a->blocks[index] = (struct torch_block){.before = TORCH_NO_BLOCK, .after = a->unused};
    a->unused = index;
}

/* ---- Free lists ---- */

/* The first place in the list whose block is not below (bytes, address). */
static size_t find_place(const struct torch_allocator *a, const struct torch_free_list *list, uint64_t bytes,
                         uint64_t address)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct torch_block *block = &a->blocks[list->blocks[middle]];
        if (block->bytes < bytes || (block->bytes == bytes && block->address < address))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool list_block(struct torch_allocator *a, uint32_t index, struct error *err)
{
    struct torch_block *block = &a->blocks[index];
    struct torch_free_list *list = &a->lists[block->pool];
    if (!mem_grow(MEM_PLAN, (void **)&list->blocks, &list->capacity, list->count + 1, sizeof *list->blocks))
        return error_memory(err, sizeof *list->blocks, "an allocator's free blocks");
    size_t place = find_place(a, list, block->bytes, block->address);
    memmove(list->blocks + place + 1, list->blocks + place, (list->count - place) * sizeof *list->blocks);
    list->blocks[place] = index;
    list->count++;
    block->free = true;
    return true;
}

static void unlist_place(struct torch_allocator *a, struct torch_free_list *list, size_t place)
{
    a->blocks[list->blocks[place]].free = false;
    list->count--;
    memmove(list->blocks + place, list->blocks + place + 1, (list->count - place) * sizeof *list->blocks);
}

static void unlist_block(struct torch_allocator *a, uint32_t index)
{
    const struct torch_block *block = &a->blocks[index];
    struct torch_free_list *list = &a->lists[block->pool];
    unlist_place(a, list, find_place(a, list, block->bytes, block->address));
}

/* ---- Segments ---- */

static uint64_t segment_bytes(uint64_t bytes)
{
    if (bytes <= MOST_SMALL) return SMALL_SEGMENT;
    return bytes < LEAST_OWN ? LARGE_SEGMENT : round_up(bytes, OWN_STEP);
}

static bool is_segment(const struct torch_block *block)
{
    return block->before == TORCH_NO_BLOCK && block->after == TORCH_NO_BLOCK;
}

/* All segments of which nothing is taken. */
static void give_back(struct torch_allocator *a)
{
    for (int pool = 0; pool < TORCH_POOLS; pool++) {
        struct torch_free_list *list = &a->lists[pool];
        size_t kept = 0;
        for (size_t i = 0; i < list->count; i++) {
            uint32_t index = list->blocks[i];
            if (is_segment(&a->blocks[index])) {
                a->reserved_bytes -= a->blocks[index].bytes;
                drop_block(a, index);
            } else {
                list->blocks[kept++] = index;
            }
        }
        list->count = kept;
    }
    a->given_back++;
}

static bool is_beyond(const struct torch_allocator *a, uint64_t bytes)
{
    return a->most_bytes > 0 && a->reserved_bytes + bytes > a->most_bytes;
}

static bool reserve(struct torch_allocator *a, uint64_t bytes, uint32_t *index, struct error *err)
{
    uint64_t segment = segment_bytes(bytes);
    *index = TORCH_NO_BLOCK;
    if (is_beyond(a, segment)) give_back(a);
    if (is_beyond(a, segment)) return true;
    const struct torch_block block = {.address = a->next_address,
                                      .bytes = segment,
                                      .before = TORCH_NO_BLOCK,
                                      .after = TORCH_NO_BLOCK,
                                      .pool = bytes <= MOST_SMALL ? TORCH_SMALL : TORCH_LARGE};
    TRY(new_block(a, &block, index, err));
    a->next_address += segment + BETWEEN;
    a->reserved_bytes += segment;
    if (a->reserved_bytes > a->peak_reserved_bytes) a->peak_reserved_bytes = a->reserved_bytes;
    return true;
}

/* ---- Taking and freeing ---- */

static bool is_split(const struct torch_block *block, uint64_t bytes)
{
    uint64_t left = block->bytes - bytes;
    return block->pool == TORCH_SMALL ? left >= LEAST_BLOCK : left > MOST_SMALL;
}

static bool split(struct torch_allocator *a, uint32_t index, uint64_t bytes, struct error *err)
{
    struct torch_block rest = a->blocks[index];
    uint32_t after = TORCH_NO_BLOCK;
    rest.address += bytes;
    rest.bytes -= bytes;
    rest.before = index;
    TRY(new_block(a, &rest, &after, err));
    if (rest.after != TORCH_NO_BLOCK) a->blocks[rest.after].before = after;
    a->blocks[index].after = after;
    a->blocks[index].bytes = bytes;
    return list_block(a, after, err);
}

bool torch_allocator_take(struct torch_allocator *a, uint64_t bytes, uint32_t *block, struct error *err)
{
    *block = TORCH_NO_BLOCK;
    if (bytes == 0) return true;
    uint64_t rounded = round_up(bytes, LEAST_BLOCK);
    struct torch_free_list *list = &a->lists[rounded <= MOST_SMALL ? TORCH_SMALL : TORCH_LARGE];
    size_t place = find_place(a, list, rounded, 0);
    uint32_t found = place < list->count ? list->blocks[place] : TORCH_NO_BLOCK;
    if (found != TORCH_NO_BLOCK)
        unlist_place(a, list, place);
    else
        TRY(reserve(a, rounded, &found, err));
    if (found == TORCH_NO_BLOCK) return true;
    if (is_split(&a->blocks[found], rounded)) TRY(split(a, found, rounded, err));
    a->allocated_bytes += a->blocks[found].bytes;
    if (a->allocated_bytes > a->peak_allocated_bytes) a->peak_allocated_bytes = a->allocated_bytes;
    *block = found;
    return true;
}

/* `after` becomes part of the block before it. */
static void join(struct torch_allocator *a, uint32_t before, uint32_t after)
{
    struct torch_block *first = &a->blocks[before];
    const struct torch_block *second = &a->blocks[after];
    first->bytes += second->bytes;
    first->after = second->after;
    if (first->after != TORCH_NO_BLOCK) a->blocks[first->after].before = before;
    drop_block(a, after);
}

bool torch_allocator_free(struct torch_allocator *a, uint32_t index, struct error *err)
{
    if (index == TORCH_NO_BLOCK) return true;
    uint32_t before = a->blocks[index].before, after = a->blocks[index].after;
    a->allocated_bytes -= a->blocks[index].bytes;
    if (after != TORCH_NO_BLOCK && a->blocks[after].free) {
        unlist_block(a, after);
        join(a, index, after);
    }
    if (before != TORCH_NO_BLOCK && a->blocks[before].free) {
        unlist_block(a, before);
        join(a, before, index);
        index = before;
    }
    return list_block(a, index, err);
}

uint64_t torch_allocator_block_bytes(const struct torch_allocator *a, uint32_t block)
{
    return block == TORCH_NO_BLOCK ? 0 : a->blocks[block].bytes;
}

void torch_allocator_finish(struct torch_allocator *a)
{
    for (int pool = 0; pool < TORCH_POOLS; pool++) mem_free(a->lists[pool].blocks);
    mem_free(a->blocks);
    *a = (struct torch_allocator){0};
}
