/* Rectangles of time and bytes that buffers fill without a gap. Such buffers become one, a block, and blocks become
 * parts of larger ones: two that begin and end together (a pile), two of one size of which the second begins where the
 * first ends (a row), five around one in the middle (a wheel: the smallest rectangle that no straight cut divides). A
 * rectangle cut again and again becomes one block in time linear in its tiles, however many change hands at an instant:
 * unlike in a drawing (place_draw.h) a wrong guess spoils nothing beyond the blocks that it is in. */
#ifndef FATHOM_PLACE_BLOCKS_H
#define FATHOM_PLACE_BLOCKS_H

#include "place_problem.h"

/* Whether buffers may be as dense as that: the arena is full half of the time and nearly so over all of it; nothing is
 * fixed or aligned. */
bool blocks_suit(const struct problem *problem);

/* The buffers of a problem, which stays the caller's and is needed to the end. NULL with *err set when out of memory.
 * blocks_destroy takes NULL. */
struct blocks;
struct blocks *blocks_create(const struct problem *problem, struct error *err);
void blocks_destroy(struct blocks *blocks);

/* What comes next may take so much work and no longer than until then (0 = as long as the problem has), and ends early
 * with what it has; blocks_over: it has done so. Without it there are no limits but the problem's. */
void blocks_limit(struct blocks *blocks, uint64_t work, uint64_t deadline_ns);
bool blocks_over(const struct blocks *blocks);

/* Makes blocks of all, in one pass from the last instant to the first. */
void blocks_make(struct blocks *blocks);

/* Blocks that no larger one takes up hold a wrong guess, or wait for what one holds: takes them apart, some to so many
 * levels, and makes blocks otherwise. False = out of memory. */
bool blocks_remake(struct blocks *blocks, uint32_t round, uint64_t seed, struct error *err);

/* What is left: blocks and buffers that are in none. Their sections and sizes as buffers of a problem. */
size_t blocks_left(const struct blocks *blocks);
/* False = out of memory. */
bool blocks_list(struct blocks *blocks, struct place_buffer *left, struct error *err);

/* Offsets of all buffers, by those of what blocks_list listed. */
void blocks_spread(struct blocks *blocks, const struct place_buffer *left, uint64_t *offset);

/* Buffers and blocks looked at so far, each time that one is. */
uint64_t blocks_work(const struct blocks *blocks);

#endif
