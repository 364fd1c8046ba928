/* Rectangles of time and bytes that buffers fill without a gap (place_blocks.h) are placed as one buffer each. What is
 * left of a tiling is few, of a few hundred tiles of a million or none, and all placers in turn place it. */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_blocks.h"
#include "place_fast.h"
#include "place_solve.h"

#define LEAST_BUFFERS 4000 /* below it a drawing is as soon made (place_perfect.c) */
#define MOST_LEFT     8    /* of the buffers so much may be left, its inverse: else it is another kind of problem */
#define MOST_ROUNDS   200  /* of making blocks anew, */
#define IDLE_ROUNDS   30   /* of which so many, each kind of them, leave no fewer; until as few are left as ever were */
#define WORK          400  /* for each buffer, that all blocks may take to be made, and to be made anew */
#define MOST_TRIES    4    /* at what is left, where there is time: blocks are made anew before each */
#define MAKE_SHARE    4    /* of the time that is left, that making blocks leaves to what comes after, its inverse; */
#define PLACE_SHARE   2    /* likewise placing what is left */

struct tiles {
    const struct problem *problem;
    const struct place_options *options;
    struct blocks *blocks;
    uint32_t round;
};

/* When all but so much, an inverse, of the time that is left is over; 0 = never. */
static uint64_t share_time(const struct problem *problem, uint64_t rest)
{
    uint64_t now = clock_now_ns(), end = problem->deadline_ns;
    return end > now ? end - (end - now) / rest : end;
}

static bool remake(struct tiles *tiles, struct error *err)
{
    size_t left = blocks_left(tiles->blocks), least = left;
    uint32_t idle = 0;
    uint64_t end = share_time(tiles->problem, MAKE_SHARE); /* asked between rounds: half a round leaves many apart */
    blocks_limit(tiles->blocks, WORK * tiles->problem->count, 0);
    for (uint32_t round = 0; left > 1 && round < MOST_ROUNDS && !blocks_over(tiles->blocks); round++) {
        if ((idle >= IDLE_ROUNDS && left <= least) || (end > 0 && clock_now_ns() >= end)) break;
        TRY(blocks_remake(tiles->blocks, tiles->round++, tiles->options->seed, err));
        left = blocks_left(tiles->blocks);
        idle = left < least ? 0 : idle + 1;
        if (left < least) least = left;
    }
    return true;
}

static bool solve(const struct tiles *tiles, struct place_buffer *left, size_t count, struct error *err)
{
    struct place_options options = *tiles->options;
    struct place_result result = {0};
    struct placement found = {0};
    struct problem inner;
    options.progress = NULL;
    TRY(problem_init(&inner, left, count, err));
    inner.quit = tiles->problem->quit;
    inner.deadline_ns = share_time(tiles->problem, PLACE_SHARE);
    bool ok = problem_solve(&inner, &options, &found, &result, err);
    for (size_t i = 0; ok && i < inner.count; i++) left[inner.origin[i]].offset = found.offset[i];
    mem_free(found.offset);
    problem_finish(&inner);
    return ok;
}

static bool spread(const struct tiles *tiles, const struct place_buffer *left, struct placement *best,
                   struct error *err)
{
    size_t count = tiles->problem->count;
    uint64_t *offset = mem_alloc(MEM_SEARCH, count, sizeof *offset);
    if (!offset) return error_memory(err, count * sizeof *offset, "offsets");
    blocks_spread(tiles->blocks, left, offset);
    uint64_t arena = problem_arena(tiles->problem, offset);
    if (arena < best->arena) {
        memcpy(best->offset, offset, count * sizeof *offset);
        best->arena = arena;
    }
    mem_free(offset);
    return true;
}

static bool place_left(const struct tiles *tiles, struct placement *best, struct error *err)
{
    size_t count = blocks_left(tiles->blocks);
    struct place_buffer *left = mem_alloc(MEM_SEARCH, count, sizeof *left);
    if (!left) return error_memory(err, count * sizeof *left, "what blocks leave");
    bool ok = blocks_list(tiles->blocks, left, err) && solve(tiles, left, count, err) && spread(tiles, left, best, err);
    mem_free(left);
    return ok;
}

/* Of fewer buffers a drawing, which comes later, is soon made. */
static uint32_t most_tries(const struct problem *problem)
{
    return problem->deadline_ns > 0 && problem->count >= MANY_BUFFERS ? MOST_TRIES : 1;
}

bool tiles_improve(const struct problem *problem, uint64_t target, const struct place_options *options,
                   struct placement *best, struct error *err)
{
    struct tiles tiles = {.problem = problem, .options = options};
    if (problem->count < LEAST_BUFFERS || !blocks_suit(problem)) return true;
    tiles.blocks = blocks_create(problem, err);
    if (!tiles.blocks) return false;
    blocks_limit(tiles.blocks, WORK * problem->count, share_time(problem, MAKE_SHARE));
    blocks_make(tiles.blocks);
    bool ok = true, few = blocks_left(tiles.blocks) <= problem->count / MOST_LEFT;
    for (uint32_t i = 0; ok && few && i < most_tries(problem); i++) {
        ok = remake(&tiles, err) && place_left(&tiles, best, err);
        if (best->arena <= target || problem_halted(problem)) break;
    }
    blocks_destroy(tiles.blocks);
    return ok;
}
