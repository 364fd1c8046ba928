/* Which buffers and blocks make a block. Equal sizes at one instant may be chance, the more so the smaller they are and
 * the more change hands there; two that begin and end together are so rarely; and what five of a wheel have in common
 * never is. */
#include "place_blocks_private.h"

#include "clock.h"

#define MOST_LOOKED  48   /* of what begins or ends at an instant, */
#define MOST_GROUPED 24   /* and where three are sought */
#define LOOK_EVERY   4096 /* work between two looks at the clock */

static uint32_t begins_at(const struct blocks *blocks, uint32_t at) { return blocks->begins[at]; }

static uint32_t ends_at(const struct blocks *blocks, uint32_t at) { return blocks->ends[at]; }

static bool spurns(const struct block *all, uint32_t a, uint32_t b)
{
    return all[a].spurned == b || all[b].spurned == a;
}

/* Asked inside of what may take long by itself: at one crowded instant five of a wheel are millions of times sought. */
static bool is_spent(struct blocks *blocks) { return ++blocks->work > blocks->most_work; }

/* ---- Piles ---- */

/* What begins and ends with it, found among what does either, of which one is mostly few. */
static bool find_pile(struct blocks *blocks, uint32_t number)
{
    const struct block *all = blocks->all, *block = &all[number];
    uint32_t a = begins_at(blocks, block->first), b = ends_at(blocks, block->last);
    for (uint32_t k = 0; k < MOST_LOOKED && a != BLOCK_NONE && b != BLOCK_NONE; k++) {
        blocks->work++;
        uint32_t other = all[a].last == block->last && a != number     ? a
                         : all[b].first == block->first && b != number ? b
                                                                       : BLOCK_NONE;
        if (other != BLOCK_NONE && !spurns(all, number, other)) {
            blocks_join(blocks, BLOCK_PILE, (uint32_t[]){number, other}, 2);
            return true;
        }
        a = all[a].next_begin;
        b = all[b].next_end;
    }
    return false;
}

/* ---- Rows ---- */

static uint32_t next_of(const struct block *block, bool begins) { return begins ? block->next_begin : block->next_end; }

/* How many of that size begin or end at an instant, but for those spurned; the last of them. */
static uint32_t count_like(struct blocks *blocks, bool begins, uint32_t at, uint64_t size, uint32_t but, uint32_t *one)
{
    const struct block *all = blocks->all;
    uint32_t count = 0, looked = 0, i = begins ? begins_at(blocks, at) : ends_at(blocks, at);
    for (; i != BLOCK_NONE && looked++ < MOST_LOOKED; i = next_of(&all[i], begins))
        if (all[i].size == size && !spurns(all, i, but)) {
            *one = i;
            count++;
        }
    blocks->work += looked;
    return count;
}

static bool join_row(struct blocks *blocks, uint32_t early, uint32_t late)
{
    blocks_join(blocks, BLOCK_ROW, (uint32_t[]){early, late}, 2);
    return true;
}

/* The only one of its size that ends at an instant and the only one that begins there, or one of several. */
static bool find_row(struct blocks *blocks, uint32_t number, bool doubled)
{
    const struct block block = blocks->all[number];
    uint32_t other = BLOCK_NONE, self = number,
             count = count_like(blocks, true, block.last, block.size, number, &other);
    if (count == 1 || (doubled && count > 0))
        if (doubled || count_like(blocks, false, block.last, block.size, other, &self) == 1)
            return join_row(blocks, number, other);
    count = count_like(blocks, false, block.first, block.size, number, &other);
    if (count == 1 || (doubled && count > 0))
        if (doubled || count_like(blocks, true, block.first, block.size, other, &self) == 1)
            return join_row(blocks, other, number);
    return false;
}

/* ---- Groups ---- */

static uint32_t far_end(const struct block *block, bool begins) { return begins ? block->last : block->first; }

static bool join_group(struct blocks *blocks, uint32_t number, bool begins, const uint32_t *parts, size_t count)
{
    blocks_join(blocks, BLOCK_PILE, parts, count);
    return begins ? join_row(blocks, number, blocks->made) : join_row(blocks, blocks->made, number);
}

/* A third with two, after them in the list, that together have its size. */
static uint32_t find_third(struct blocks *blocks, uint32_t a, uint32_t b, uint64_t size, bool begins)
{
    const struct block *all = blocks->all;
    uint32_t looked = 0;
    for (uint32_t c = next_of(&all[b], begins); c != BLOCK_NONE && looked++ < MOST_GROUPED;
         c = next_of(&all[c], begins)) {
        blocks->work++;
        if (far_end(&all[c], begins) == far_end(&all[a], begins) && all[a].size + all[b].size + all[c].size == size)
            return c;
    }
    return BLOCK_NONE;
}

/* Two or three of one lifetime, the first of them given, that take the place of this one or leave it theirs. */
static bool find_group_from(struct blocks *blocks, uint32_t number, uint32_t a, bool begins)
{
    const struct block *all = blocks->all;
    uint64_t size = all[number].size;
    uint32_t looked = 0;
    for (uint32_t b = next_of(&all[a], begins); b != BLOCK_NONE && looked++ < MOST_GROUPED;
         b = next_of(&all[b], begins)) {
        uint64_t sum = all[a].size + all[b].size;
        blocks->work++;
        if (far_end(&all[b], begins) != far_end(&all[a], begins) || sum > size) continue;
        if (sum == size) return join_group(blocks, number, begins, (uint32_t[]){a, b}, 2);
        uint32_t c = find_third(blocks, a, b, size, begins);
        if (c != BLOCK_NONE) return join_group(blocks, number, begins, (uint32_t[]){a, b, c}, 3);
    }
    return false;
}

static bool find_group(struct blocks *blocks, uint32_t number)
{
    const struct block *all = blocks->all;
    uint64_t size = all[number].size;
    for (int begins = 1; begins >= 0; begins--) {
        uint32_t looked = 0, a = begins ? begins_at(blocks, all[number].last) : ends_at(blocks, all[number].first);
        for (; a != BLOCK_NONE && looked++ < MOST_GROUPED && !is_spent(blocks); a = next_of(&all[a], begins))
            if (all[a].size < size && find_group_from(blocks, number, a, begins)) return true;
    }
    return false;
}

/* ---- Wheels ---- */

/* Around that one in the middle, with the two high parts. */
static bool close_wheel(struct blocks *blocks, uint32_t middle, uint32_t early, uint32_t late)
{
    const struct block *all = blocks->all;
    uint32_t at = all[middle].last, looked = 0;
    for (uint32_t low = ends_at(blocks, at); low != BLOCK_NONE && looked++ < MOST_LOOKED; low = all[low].next_end) {
        blocks->work++;
        if (low == middle || all[low].first != all[early].first) continue;
        uint32_t last = begins_at(blocks, at);
        for (uint32_t k = 0; last != BLOCK_NONE && k < MOST_LOOKED; k++, last = all[last].next_begin) {
            blocks->work++;
            if (all[last].last != all[late].last || all[last].size != all[low].size + all[middle].size) continue;
            uint32_t parts[WHEEL] = {low, last, middle, early, late};
            blocks_join(blocks, BLOCK_WHEEL, parts, WHEEL);
            return true;
        }
    }
    return false;
}

/* What leaves its place to this one and another, which lasts longer; and on the other side the reverse. */
static bool find_wheel(struct blocks *blocks, uint32_t middle)
{
    const struct block *all = blocks->all;
    uint32_t at = all[middle].first, looked = 0;
    for (uint32_t early = ends_at(blocks, at); early != BLOCK_NONE && looked++ < MOST_LOOKED;
         early = all[early].next_end) {
        uint32_t late = begins_at(blocks, at);
        blocks->work++;
        if (all[early].size <= all[middle].size) continue;
        for (uint32_t k = 0; late != BLOCK_NONE && k < MOST_LOOKED; k++, late = all[late].next_begin) {
            if (is_spent(blocks)) return false;
            if (all[late].size + all[middle].size == all[early].size && all[late].last > all[middle].last &&
                close_wheel(blocks, middle, early, late))
                return true;
        }
    }
    return false;
}

/* ---- All of them ---- */

static void push_at(struct blocks *blocks, uint32_t at)
{
    uint32_t looked = 0;
    for (uint32_t i = begins_at(blocks, at); i != BLOCK_NONE && looked++ < MOST_LOOKED; i = blocks->all[i].next_begin)
        blocks_push(blocks, i);
    blocks->work += looked;
    looked = 0;
    for (uint32_t i = ends_at(blocks, at); i != BLOCK_NONE && looked++ < MOST_LOOKED; i = blocks->all[i].next_end)
        blocks_push(blocks, i);
    blocks->work += looked;
}

static bool find_any(struct blocks *blocks, uint32_t number, const struct block_rules *rules)
{
    return (rules->wheels && find_wheel(blocks, number)) || (rules->groups && find_group(blocks, number)) ||
           (rules->piles && find_pile(blocks, number)) || (rules->rows && find_row(blocks, number, rules->doubled));
}

static bool is_over(struct blocks *blocks)
{
    if (blocks->over) return true;
    blocks->over = is_spent(blocks);
    if (!blocks->over && blocks->work >= blocks->next_look) {
        blocks->next_look = blocks->work + LOOK_EVERY;
        blocks->over =
            problem_halted(blocks->problem) || (blocks->deadline_ns > 0 && clock_now_ns() >= blocks->deadline_ns);
    }
    return blocks->over;
}

void blocks_settle(struct blocks *blocks, const struct block_rules *rules)
{
    while (blocks->queued > 0) {
        uint32_t number = blocks->queue[--blocks->queued];
        blocks->all[number].queued = false;
        if (!blocks->all[number].left || is_over(blocks) || !find_any(blocks, number, rules)) continue;
        if (rules->around) {
            push_at(blocks, blocks->all[blocks->made].first);
            push_at(blocks, blocks->all[blocks->made].last);
        }
    }
}
