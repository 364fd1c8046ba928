#include "place_blocks_private.h"

#include <string.h>

#include "mem.h"

#define AIR_DIVISOR  64 /* of the arena over time, at most, may be not live */
#define MOST_DENSITY 6  /* buffers for each section, at most: else too many change hands at once */
#define SAMPLE       32 /* of the buffers so much shows whether there are wheels, its inverse */
#define MOST_WHEELS                                                                                                    \
    256 /* in the sample there are so many fewer wheels than buffers where they are chance, its inverse */
#define MOST_LEVELS 5

bool blocks_suit(const struct problem *problem)
{
    double air = 0;
    uint32_t full = 0;
    if (problem->any_fixed || problem->mixed_align || problem->chunk > 0 || problem->sections < 2) return false;
    if (problem->count > MOST_DENSITY * (uint64_t)problem->sections) return false;
    for (uint32_t s = 0; s < problem->sections; s++) {
        full += problem->live[s] == problem->bound;
        air += (double)(problem->bound - problem->live[s]);
    }
    return full >= problem->sections / 2 && air * AIR_DIVISOR <= (double)problem->bound * problem->sections;
}

uint64_t blocks_work(const struct blocks *blocks) { return blocks->work; }

size_t blocks_left(const struct blocks *blocks) { return blocks->left; }

bool blocks_over(const struct blocks *blocks) { return blocks->over; }

void blocks_limit(struct blocks *blocks, uint64_t work, uint64_t deadline_ns)
{
    blocks->most_work = blocks->work + work;
    blocks->deadline_ns = deadline_ns;
    blocks->next_look = blocks->work;
    blocks->over = false;
}

/* ---- Lists ---- */

static void gather(struct blocks *blocks, uint32_t number)
{
    struct block *block = &blocks->all[number];
    void *roots = blocks->roots;
    if (!blocks->gathers || block->listed) return;
    if (!mem_grow(MEM_SEARCH, &roots, &blocks->root_capacity, blocks->root_count + 1, sizeof *blocks->roots)) {
        blocks->failed = true;
        return;
    }
    blocks->roots = roots;
    blocks->roots[blocks->root_count++] = number;
    block->listed = true;
}

static void put_in(struct blocks *blocks, uint32_t number)
{
    struct block *all = blocks->all, *block = &all[number];
    uint32_t *begins = &blocks->begins[block->first], *ends = &blocks->ends[block->last];
    block->next_begin = *begins;
    block->next_end = *ends;
    block->before_begin = block->before_end = BLOCK_NONE;
    if (*begins != BLOCK_NONE) all[*begins].before_begin = number;
    if (*ends != BLOCK_NONE) all[*ends].before_end = number;
    *begins = *ends = number;
    block->left = true;
    blocks->left++;
    gather(blocks, number);
}

static void take_out(struct blocks *blocks, uint32_t number)
{
    struct block *all = blocks->all, *block = &all[number];
    *(block->before_begin != BLOCK_NONE ? &all[block->before_begin].next_begin : &blocks->begins[block->first]) =
        block->next_begin;
    *(block->before_end != BLOCK_NONE ? &all[block->before_end].next_end : &blocks->ends[block->last]) =
        block->next_end;
    if (block->next_begin != BLOCK_NONE) all[block->next_begin].before_begin = block->before_begin;
    if (block->next_end != BLOCK_NONE) all[block->next_end].before_end = block->before_end;
    block->left = false;
    blocks->left--;
}

void blocks_push(struct blocks *blocks, uint32_t number)
{
    if (blocks->all[number].queued) return;
    blocks->all[number].queued = true;
    blocks->queue[blocks->queued++] = number;
}

/* ---- Blocks ---- */

/* There are never more than two for each buffer: a block has two parts at least. */
static uint32_t take_spare(struct blocks *blocks)
{
    uint32_t number = blocks->spare;
    if (number == BLOCK_NONE) return (uint32_t)blocks->count++;
    blocks->spare = blocks->all[number].parts;
    return number;
}

/* A wheel's parts: low and first, low and last, in the middle, high and first, high and last. */
static uint64_t size_of(const struct block *all, enum block_kind kind, const uint32_t *parts, size_t count)
{
    uint64_t size = 0;
    if (kind == BLOCK_ROW) return all[parts[0]].size;
    if (kind == BLOCK_WHEEL) return all[parts[1]].size + all[parts[4]].size;
    for (size_t i = 0; i < count; i++) size += all[parts[i]].size;
    return size;
}

void blocks_join(struct blocks *blocks, enum block_kind kind, const uint32_t *parts, size_t count)
{
    struct block *all = blocks->all;
    for (size_t i = 0; i < count; i++) take_out(blocks, parts[i]);
    uint32_t number = take_spare(blocks);
    struct block *block = &all[number];
    block->size = size_of(all, kind, parts, count);
    block->first = all[parts[0]].first;
    block->last = all[parts[kind == BLOCK_PILE ? 0 : 1]].last;
    block->parts = parts[0];
    block->spurned = BLOCK_NONE;
    block->kind = (uint8_t)kind;
    for (size_t i = 0; i < count; i++) all[parts[i]].next_begin = i + 1 < count ? parts[i + 1] : BLOCK_NONE;
    put_in(blocks, number);
    blocks_push(blocks, number);
    blocks->made = number;
}

/* Its parts are left, and to be looked at; two are not to come together again at once. */
static void take_apart(struct blocks *blocks, uint32_t number, uint32_t levels)
{
    struct block *all = blocks->all;
    uint32_t parts[WHEEL], count = 0;
    if (all[number].kind == BLOCK_BUFFER) return;
    take_out(blocks, number);
    for (uint32_t part = all[number].parts; part != BLOCK_NONE; part = all[part].next_begin) parts[count++] = part;
    all[number].parts = blocks->spare;
    blocks->spare = number;
    for (uint32_t i = 0; i < count; i++) {
        put_in(blocks, parts[i]);
        blocks_push(blocks, parts[i]);
        if (count == 2) all[parts[i]].spurned = parts[1 - i];
    }
    for (uint32_t i = 0; levels > 1 && i < count; i++) take_apart(blocks, parts[i], levels - 1);
}

/* ---- All of them ---- */

/* By their beginnings, so that what is at one instant lies together; by counting, with ends[] as scratch. */
static void begin(struct blocks *blocks)
{
    const struct problem *problem = blocks->problem;
    uint32_t *at = blocks->ends;
    memset(at, 0, ((size_t)problem->sections + 1) * sizeof *at);
    for (size_t i = 0; i < problem->count; i++) at[problem->first[i] + 1]++;
    for (uint32_t s = 0; s < problem->sections; s++) at[s + 1] += at[s];
    for (uint32_t i = 0; i < problem->count; i++) {
        struct block *block = &blocks->all[at[problem->first[i]]++];
        block->size = problem->size[i];
        block->first = problem->first[i];
        block->last = problem->last[i];
        block->parts = i;
        block->spurned = BLOCK_NONE;
    }
    for (uint32_t s = 0; s <= problem->sections; s++) blocks->begins[s] = blocks->ends[s] = BLOCK_NONE;
    blocks->count = problem->count;
    for (uint32_t i = 0; i < problem->count; i++) put_in(blocks, i);
}

struct blocks *blocks_create(const struct problem *problem, struct error *err)
{
    struct blocks *blocks = mem_zalloc(MEM_SEARCH, 1, sizeof *blocks);
    size_t sections = (size_t)problem->sections + 1;
    if (!blocks) {
        error_memory(err, sizeof *blocks, "blocks of buffers");
        return NULL;
    }
    blocks->problem = problem;
    blocks->spare = BLOCK_NONE;
    blocks->most_work = UINT64_MAX;
    blocks->bytes = 2 * problem->count * sizeof *blocks->all;
    blocks->all = mem_map(MEM_SEARCH, blocks->bytes);
    blocks->begins = mem_alloc(MEM_SEARCH, sections, sizeof *blocks->begins);
    blocks->ends = mem_alloc(MEM_SEARCH, sections, sizeof *blocks->ends);
    blocks->queue = mem_map(MEM_SEARCH, 2 * problem->count * sizeof *blocks->queue);
    if (!blocks->all || !blocks->begins || !blocks->ends || !blocks->queue) {
        error_memory(err, blocks->bytes + 2 * sections * sizeof *blocks->begins, "blocks of buffers");
        blocks_destroy(blocks);
        return NULL;
    }
    begin(blocks);
    return blocks;
}

void blocks_destroy(struct blocks *blocks)
{
    if (!blocks) return;
    if (blocks->all) mem_unmap(MEM_SEARCH, blocks->all, blocks->bytes);
    if (blocks->queue) mem_unmap(MEM_SEARCH, blocks->queue, 2 * blocks->problem->count * sizeof *blocks->queue);
    mem_free(blocks->begins);
    mem_free(blocks->ends);
    mem_free(blocks->roots);
    mem_free(blocks);
}

/* From the buffer `from` down to `to`. */
static void make(struct blocks *blocks, size_t from, size_t to, const struct block_rules *rules)
{
    for (size_t i = from; i-- > to && !blocks->over;) {
        if (!blocks->all[i].left) continue;
        blocks_push(blocks, (uint32_t)i);
        blocks_settle(blocks, rules);
    }
}

/* Wheels are certain, five sizes and times agree, and come first; but where there are none they are not sought. */
void blocks_make(struct blocks *blocks)
{
    static const struct block_rules wheels = {.wheels = true, .around = true}, others = {.piles = true, .rows = true};
    size_t count = blocks->problem->count, sample = count / SAMPLE, left = blocks->left;
    make(blocks, count, count - sample, &wheels);
    if (left - blocks->left > sample / MOST_WHEELS) make(blocks, count - sample, 0, &wheels);
    make(blocks, count, 0, &others);
}

static void gather_all(struct blocks *blocks)
{
    if (blocks->gathers) return;
    blocks->gathers = true;
    for (size_t i = 0; i < blocks->count; i++)
        if (blocks->all[i].left) gather(blocks, (uint32_t)i);
}

/* roots[] without what is left no more. */
static void sift(struct blocks *blocks)
{
    size_t kept = 0;
    gather_all(blocks);
    for (size_t i = 0; i < blocks->root_count; i++) {
        struct block *block = &blocks->all[blocks->roots[i]];
        if (block->left)
            blocks->roots[kept++] = blocks->roots[i];
        else
            block->listed = false;
    }
    blocks->root_count = kept;
}

static bool have_gathered(const struct blocks *blocks, struct error *err)
{
    return !blocks->failed || error_memory(err, blocks->root_capacity * sizeof *blocks->roots, "blocks of buffers");
}

static void settle_all(struct blocks *blocks, bool forgive, const struct block_rules *rules)
{
    sift(blocks);
    for (size_t i = 0; i < blocks->root_count; i++) {
        if (forgive) blocks->all[blocks->roots[i]].spurned = BLOCK_NONE;
        blocks_push(blocks, blocks->roots[i]);
    }
    blocks_settle(blocks, rules);
}

static bool is_drawn(uint32_t number, uint32_t round, uint64_t seed)
{
    uint64_t x = (number + 1) * 0x9e3779b97f4a7c15 ^ (round + seed) * 0xbf58476d1ce4e5b9;
    return ((x ^ x >> 29) * 0x94d049bb133111eb) >> 63;
}

/* All of them and a half in turn; two times in three piles come only with rows. */
bool blocks_remake(struct blocks *blocks, uint32_t round, uint64_t seed, struct error *err)
{
    struct block_rules rules = {.wheels = true, .rows = true, .groups = true, .around = true};
    sift(blocks);
    size_t count = blocks->root_count;
    for (size_t i = 0; i < count; i++) {
        uint32_t number = blocks->roots[i];
        if (blocks->all[number].kind == BLOCK_WHEEL) continue;
        if (round % 2 == 0 || is_drawn(number, round, seed)) take_apart(blocks, number, 1 + round / 2 % MOST_LEVELS);
    }
    rules.piles = round % 3 == 2;
    settle_all(blocks, false, &rules);
    rules.piles = true;
    settle_all(blocks, true, &rules);
    rules.doubled = true;
    settle_all(blocks, false, &rules);
    sift(blocks);
    return have_gathered(blocks, err);
}

bool blocks_list(struct blocks *blocks, struct place_buffer *left, struct error *err)
{
    sift(blocks);
    TRY(have_gathered(blocks, err));
    for (size_t i = 0; i < blocks->root_count; i++) {
        const struct block *block = &blocks->all[blocks->roots[i]];
        left[i] = (struct place_buffer){
            .lower = block->first, .upper = block->last, .size = block->size, .align = 1, .fixed = PLACE_UNPLACED};
    }
    return true;
}

/* Where in its block the part lies that comes as number `at`, of a pile on those before it. */
static uint64_t offset_in(const struct block *all, const struct block *block, uint32_t part, uint64_t before)
{
    if (block->kind == BLOCK_PILE) return before;
    if (block->kind == BLOCK_ROW) return 0;
    uint32_t low = block->parts, late = all[low].next_begin, middle = all[late].next_begin;
    if (part == low || part == late) return 0;
    return part == middle || all[part].first == block->first ? all[low].size : all[late].size;
}

/* A part is in no list of ends, whose two links have its offset. */
static void set_offset(struct block *block, uint64_t offset)
{
    block->next_end = (uint32_t)offset;
    block->before_end = (uint32_t)(offset >> 32);
}

static uint64_t get_offset(const struct block *block) { return (uint64_t)block->before_end << 32 | block->next_end; }

static void spread_parts(struct blocks *blocks, const struct block *block, uint64_t offset)
{
    struct block *all = blocks->all;
    uint64_t before = 0;
    for (uint32_t part = block->parts; part != BLOCK_NONE; part = all[part].next_begin) {
        set_offset(&all[part], offset + offset_in(all, block, part, before));
        before += all[part].size;
        blocks->queue[blocks->queued++] = part;
    }
}

void blocks_spread(struct blocks *blocks, const struct place_buffer *left, uint64_t *offset)
{
    for (size_t i = 0; i < blocks->root_count; i++) {
        const struct block *root = &blocks->all[blocks->roots[i]];
        if (root->kind == BLOCK_BUFFER)
            offset[root->parts] = left[i].offset;
        else
            spread_parts(blocks, root, left[i].offset);
        while (blocks->queued > 0) {
            const struct block *block = &blocks->all[blocks->queue[--blocks->queued]];
            if (block->kind == BLOCK_BUFFER)
                offset[block->parts] = get_offset(block);
            else
                spread_parts(blocks, block, get_offset(block));
        }
    }
}
