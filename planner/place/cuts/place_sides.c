#include "place_sides.h"

#include <math.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_sides_private.h"

#define EXCESS 2000 /* cost of being higher than the target by the target, in units */
#define NEAR   20   /* a cut differs from another by more than this part of all buffers, inverse */

/* ---- What is kept ---- */

static size_t count_fewer(const struct sides *sides)
{
    return sides->buffers[0] < sides->buffers[1] ? sides->buffers[0] : sides->buffers[1];
}

/* Small is good: what the events cost and what is too high, for each buffer of the smaller side, and even sides rather
 * than a thin one, of which fewer events would tell that it is wrong. */
static double judge(const struct sides *sides)
{
    uint64_t height = sides->height[0] + sides->height[1];
    double cost = 0, fewer = (double)count_fewer(sides);
    for (uint32_t e = 0; e < sides->strands->events; e++) {
        const struct event *event = &sides->events[e];
        cost += sides_cost(event->bytes[0], event->bytes[1], event->strands[0] > 0, event->strands[1] > 0);
    }
    if (height > sides->target) cost += 2 * EXCESS * (double)(height - sides->target) / (double)sides->target;
    return cost / (fewer * sqrt(fewer));
}

/* Whether a cut is about the one that has been grown, whichever side is called which. */
static bool is_near(const struct sides *sides, const struct cut *cut)
{
    size_t differ = 0, all = sides->problem->count;
    for (size_t i = 0; i < sides->strands->count; i++)
        if (cut->side[i] != sides->side[i]) differ += sides->strands->buffers[i];
    return differ <= all / NEAR || differ >= all - all / NEAR;
}

static void keep(struct sides *sides)
{
    if (count_fewer(sides) == 0) return;
    double score = judge(sides);
    struct cut *place = NULL, *worst = &sides->cuts[0];
    for (size_t i = 0; i < sides->cut_count; i++) {
        if (!place && is_near(sides, &sides->cuts[i])) place = &sides->cuts[i];
        if (sides->cuts[i].score > worst->score) worst = &sides->cuts[i];
    }
    uint32_t told = place ? place->told : 0;
    bool now = place && place->now;
    if (!place) place = sides->cut_count < CUTS_KEPT ? &sides->cuts[sides->cut_count++] : worst;
    if (place->score <= score) return;
    memcpy(place->side, sides->side, sides->strands->count);
    *place = (struct cut){place->side, {sides->height[0], sides->height[1]}, count_fewer(sides), score, told, now};
}

/* ---- Guessing ---- */

static const struct cut *any_kept(struct sides *sides)
{
    return &sides->cuts[random_below(&sides->random, (uint32_t)sides->cut_count)];
}

/* The better of two. */
static const struct cut *choose_kept(struct sides *sides)
{
    const struct cut *one = any_kept(sides), *other = any_kept(sides);
    return other->score < one->score ? other : one;
}

void sides_guess(struct sides *sides, uint32_t fresh, uint32_t again, bool mend, uint64_t deadline_ns)
{
    if (sides->strands->count < 2) return;
    for (uint32_t i = 0; i < fresh + again; i++) {
        if (problem_halted(sides->problem) || (deadline_ns > 0 && clock_now_ns() >= deadline_ns)) return;
        if (i < fresh || sides->cut_count == 0) {
            if (!sides_plant(sides)) return;
        } else {
            const struct cut *cut = mend ? choose_kept(sides) : any_kept(sides);
            if (mend && random_next(&sides->random) & 1)
                sides_open_around(sides, cut);
            else
                sides_prune(sides, cut);
        }
        sides_grow(sides);
        keep(sides);
    }
}
/* ---- Telling ---- */

bool sides_any(const struct sides *sides, size_t least)
{
    for (size_t i = 0; i < sides->cut_count; i++) {
        const struct cut *cut = &sides->cuts[i];
        if (cut->height[0] + cut->height[1] <= sides->target && cut->told == 0 && cut->fewer >= least) return true;
    }
    return false;
}

void sides_begin(struct sides *sides)
{
    for (size_t i = 0; i < sides->cut_count; i++) sides->cuts[i].now = false;
}

static double rate(const struct cut *cut) { return cut->score * (1 + cut->told); }

static struct cut *find_best(struct sides *sides, size_t least)
{
    struct cut *best = NULL;
    for (size_t i = 0; i < sides->cut_count; i++) {
        struct cut *cut = &sides->cuts[i];
        if (cut->height[0] + cut->height[1] > sides->target || cut->now || cut->fewer < least) continue;
        if (!best || rate(cut) < rate(best)) best = cut;
    }
    return best;
}

double sides_best(struct sides *sides, size_t least)
{
    const struct cut *best = find_best(sides, least);
    return best ? rate(best) : INFINITY;
}

bool sides_take(struct sides *sides, size_t least, uint8_t *side, uint64_t height[2])
{
    struct cut *best = find_best(sides, least);
    if (!best) return false;
    best->told++;
    best->now = true;
    sides_clear(sides);
    memcpy(sides->side, best->side, sides->strands->count);
    for (uint32_t i = 0; i < sides->strands->count; i++) sides_put(sides, i, sides->side[i]);
    memcpy(height, best->height, 2 * sizeof *height);
    sides_spread(sides, height);
    for (size_t i = 0; i < sides->problem->count; i++) side[i] = sides->side[sides->strands->of[i]];
    return true;
}

/* ---- Memory ---- */

static bool set_up(struct sides *sides)
{
    const struct strands *strands = sides->strands;
    size_t count = strands->count, at = 0;
    sides->side = mem_alloc(MEM_SEARCH, count, 1);
    sides->pull = mem_alloc(MEM_SEARCH, count, sizeof *sides->pull);
    sides->share = mem_alloc(MEM_SEARCH, strands->member_start[strands->events], sizeof *sides->share);
    sides->luck = mem_alloc(MEM_SEARCH, count, 1);
    sides->events = mem_alloc(MEM_SEARCH, strands->events, sizeof *sides->events);
    sides->live[0] = mem_alloc(MEM_SEARCH, strands->events, sizeof *sides->live[0]);
    sides->live[1] = mem_alloc(MEM_SEARCH, strands->events, sizeof *sides->live[1]);
    sides->queue = mem_alloc(MEM_SEARCH, count, sizeof *sides->queue);
    sides->owner = mem_alloc(MEM_SEARCH, sides->problem->count, sizeof *sides->owner);
    bool ok = sides->side && sides->pull && sides->share && sides->luck && sides->events && sides->live[0] &&
              sides->live[1] && sides->queue && sides->owner;
    for (size_t i = 0; i < CUTS_KEPT; i++) {
        sides->cuts[i].side = mem_alloc(MEM_SEARCH, count, 1);
        sides->cuts[i].score = 1e301;
        ok = ok && sides->cuts[i].side;
    }
    for (uint32_t i = 0; ok && i < count; i++)
        for (uint32_t k = 0; k < strands->buffers[i]; k++) sides->owner[at++] = i;
    return ok;
}

struct sides *sides_create(const struct strands *strands, const struct problem *problem, uint64_t target, uint64_t seed,
                           struct error *err)
{
    struct sides *sides = mem_zalloc(MEM_SEARCH, 1, sizeof *sides);
    if (!sides) {
        error_memory(err, sizeof *sides, "cuts of a placement");
        return NULL;
    }
    sides->strands = strands;
    sides->problem = problem;
    sides->target = target;
    sides->random = random_begin(seed, RANDOM_SEARCH, 11, problem->count);
    if (set_up(sides)) return sides;
    error_memory(err, problem->count * 40, "cuts of a placement");
    sides_destroy(sides);
    return NULL;
}

void sides_destroy(struct sides *sides)
{
    if (!sides) return;
    mem_free(sides->side);
    mem_free(sides->pull);
    mem_free(sides->share);
    mem_free(sides->luck);
    mem_free(sides->events);
    mem_free(sides->live[0]);
    mem_free(sides->live[1]);
    mem_free(sides->queue);
    mem_free(sides->owner);
    for (size_t i = 0; i < CUTS_KEPT; i++) mem_free(sides->cuts[i].side);
    mem_free(sides);
}
