#include "place_sides.h"

#include <math.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "random.h"

#define KEPT       8
#define OPEN       2  /* on no side yet */
#define MOST_OPEN  10 /* strands at an event of which all ways are gone through */
#define MEETING    2  /* cost of an event at which both sides meet, in halves */
#define IMBALANCE  4  /* and of each side that does not balance, beyond what the event does not */
#define LEVELS     (MEETING + 2 * IMBALANCE + 1)
#define HINT       1    /* where too many are open: to the side that is there */
#define EXCESS     2000 /* cost of being higher than the target by the target, in units */
#define NEAR       20   /* a cut differs from another by more than this part of all buffers, inverse */
#define SEED_TRIES 200

struct cut {
    uint8_t *side; /* of each strand */
    uint64_t height[2];
    size_t fewer; /* buffers of the smaller side */
    double score;
    uint32_t told; /* in how many rounds it, or one much like it, was */
    bool now;      /* and in this one */
};

struct event {
    int64_t bytes[2];    /* what the sides change */
    uint32_t strands[2]; /* that are there */
};

struct sides {
    const struct strands *strands;
    const struct problem *problem;
    uint64_t target;
    struct random random;
    uint8_t *side;
    int32_t *pull; /* of each open strand: what side 1 would cost more than side 0, in all its events */
    int8_t *share; /* of each member of an event: that event's part of it */
    uint8_t *luck; /* of each strand: decides between equals */
    struct event *events;
    uint64_t *live[2]; /* of each side, by stretch */
    uint64_t height[2];
    size_t buffers[2];
    uint32_t *queue; /* scratch, strands */
    uint32_t *owner; /* strands, each as often as it has buffers */
    struct cut cuts[KEPT];
    size_t cut_count;
    int64_t sums[1 << MOST_OPEN]; /* scratch */
};

/* ---- Who is where ---- */

static uint32_t cost_of(int64_t zero, int64_t one, bool any_zero, bool any_one)
{
    if (!any_zero || !any_one) return 0;
    uint32_t apart = (uint32_t)(zero != 0) + (uint32_t)(one != 0) - (uint32_t)(zero + one != 0);
    return MEETING + IMBALANCE * apart;
}

/* The height of a side with one strand more. */
static uint64_t height_with(const struct sides *sides, uint32_t strand, uint32_t side)
{
    const struct strands *strands = sides->strands;
    const uint64_t *profile = strands->profile + strands->profile_start[strand];
    const uint64_t *live = sides->live[side] + strands->first[strand];
    uint64_t height = sides->height[side];
    for (size_t k = 0; k < strands->last[strand] - strands->first[strand]; k++)
        if (live[k] + profile[k] > height) height = live[k] + profile[k];
    return height;
}

static void put(struct sides *sides, uint32_t strand, uint8_t side)
{
    const struct strands *strands = sides->strands;
    const uint64_t *profile = strands->profile + strands->profile_start[strand];
    uint64_t *live = sides->live[side] + strands->first[strand];
    sides->side[strand] = side;
    sides->buffers[side] += strands->buffers[strand];
    for (size_t k = 0; k < strands->last[strand] - strands->first[strand]; k++) {
        live[k] += profile[k];
        if (live[k] > sides->height[side]) sides->height[side] = live[k];
    }
    for (size_t k = strands->change_start[strand]; k < strands->change_start[strand + 1]; k++) {
        struct event *event = &sides->events[strands->changes[k].event];
        event->bytes[side] += strands->changes[k].bytes;
        event->strands[side]++;
    }
}

static void clear(struct sides *sides)
{
    const struct strands *strands = sides->strands;
    memset(sides->events, 0, strands->events * sizeof *sides->events);
    memset(sides->live[0], 0, strands->events * sizeof *sides->live[0]);
    memset(sides->live[1], 0, strands->events * sizeof *sides->live[1]);
    memset(sides->pull, 0, strands->count * sizeof *sides->pull);
    memset(sides->share, 0, strands->member_start[strands->events] * sizeof *sides->share);
    sides->height[0] = sides->height[1] = 0;
    sides->buffers[0] = sides->buffers[1] = 0;
}

/* ---- Growing ---- */

/* All ways of an event's open strands: open[i]'s share is what it costs at least on side 1, less that on side 0. */
static void weigh(struct sides *sides, const struct event *event, const size_t *open, uint32_t count)
{
    const struct change *members = sides->strands->members;
    uint32_t reach[2][LEVELS] = {{0}}, all = (1u << count) - 1;
    int64_t *sums = sides->sums;
    sums[0] = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t set = 0; set < 1u << i; set++) sums[set | 1u << i] = sums[set] + members[open[i]].bytes;
    for (uint32_t set = 0; set <= all; set++) {
        int64_t one = event->bytes[1] + sums[set], zero = event->bytes[0] + sums[all] - sums[set];
        uint32_t cost = cost_of(zero, one, event->strands[0] > 0 || set != all, event->strands[1] > 0 || set != 0);
        reach[1][cost] |= set;
        reach[0][cost] |= all & ~set;
    }
    for (uint32_t i = 0; i < count; i++) {
        int least[2] = {0, 0};
        for (uint32_t side = 0; side < 2; side++)
            while (!(reach[side][least[side]] >> i & 1)) least[side]++;
        sides->share[open[i]] = (int8_t)(least[1] - least[0]);
    }
}

static void look_again(struct sides *sides, uint32_t number)
{
    const struct strands *strands = sides->strands;
    const struct event *event = &sides->events[number];
    size_t open[MOST_OPEN];
    uint32_t count = 0;
    bool here[2] = {event->strands[0] > 0, event->strands[1] > 0};
    for (size_t k = strands->member_start[number]; k < strands->member_start[number + 1]; k++) {
        uint32_t strand = strands->members[k].strand;
        sides->pull[strand] -= sides->share[k];
        sides->share[k] = 0;
        if (sides->side[strand] != OPEN) continue;
        if (count < MOST_OPEN) open[count] = k;
        count++;
    }
    if (count == 0 || (!here[0] && !here[1])) return;
    if (count <= MOST_OPEN) weigh(sides, event, open, count);
    for (size_t k = strands->member_start[number]; k < strands->member_start[number + 1]; k++) {
        uint32_t strand = strands->members[k].strand;
        if (sides->side[strand] != OPEN) continue;
        if (count > MOST_OPEN && here[0] != here[1]) sides->share[k] = here[0] ? HINT : -HINT;
        sides->pull[strand] += sides->share[k];
    }
}

/* The surest of the open ones; the number of strands where none is open. */
static uint32_t choose(const struct sides *sides)
{
    uint32_t count = (uint32_t)sides->strands->count, best = count;
    int32_t most = -1;
    for (uint32_t i = 0; i < count; i++) {
        if (sides->side[i] != OPEN) continue;
        int32_t pull = sides->pull[i], sure = (pull < 0 ? -pull : pull) * 256 + sides->luck[i];
        if (sure <= most) continue;
        most = sure;
        best = i;
    }
    return best;
}

/* Where it is pulled to, unless the sides would be too high then and would not otherwise. */
static uint8_t choose_side(struct sides *sides, uint32_t strand)
{
    bool side = sides->pull[strand] ? sides->pull[strand] < 0 : random_below(&sides->random, 2);
    bool fits[2];
    for (uint32_t k = 0; k < 2; k++) fits[k] = height_with(sides, strand, k) + sides->height[!k] <= sides->target;
    return fits[0] == fits[1] ? side : fits[1];
}

/* What is on a side stays there. */
static void grow(struct sides *sides)
{
    const struct strands *strands = sides->strands;
    clear(sides);
    for (uint32_t i = 0; i < strands->count; i++) {
        sides->luck[i] = (uint8_t)random_next(&sides->random);
        if (sides->side[i] != OPEN) put(sides, i, sides->side[i]);
    }
    for (uint32_t e = 0; e < strands->events; e++) look_again(sides, e);
    for (;;) {
        uint32_t strand = choose(sides);
        if (strand == strands->count) return;
        put(sides, strand, choose_side(sides, strand));
        for (size_t k = strands->change_start[strand]; k < strands->change_start[strand + 1]; k++)
            look_again(sides, strands->changes[k].event);
    }
}

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
        cost += cost_of(event->bytes[0], event->bytes[1], event->strands[0] > 0, event->strands[1] > 0);
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
    if (!place) place = sides->cut_count < KEPT ? &sides->cuts[sides->cut_count++] : worst;
    if (place->score <= score) return;
    memcpy(place->side, sides->side, sides->strands->count);
    *place = (struct cut){place->side, {sides->height[0], sides->height[1]}, count_fewer(sides), score, told, now};
}

/* ---- Where a guess begins ---- */

static bool meet(const struct strands *strands, uint32_t a, uint32_t b)
{
    return a != b && strands->first[a] < strands->last[b] && strands->first[b] < strands->last[a];
}

/* Two strands that live together, those of many buffers sooner. */
static bool plant(struct sides *sides)
{
    uint32_t count = (uint32_t)sides->problem->count;
    memset(sides->side, OPEN, sides->strands->count);
    for (uint32_t i = 0; i < SEED_TRIES; i++) {
        uint32_t a = sides->owner[random_below(&sides->random, count)];
        uint32_t b = sides->owner[random_below(&sides->random, count)];
        if (!meet(sides->strands, a, b)) continue;
        sides->side[a] = 0;
        sides->side[b] = 1;
        return true;
    }
    return false;
}

static uint32_t cost_in(const struct sides *sides, const struct cut *cut, uint32_t number)
{
    const struct strands *strands = sides->strands;
    struct event event = {0};
    for (size_t k = strands->member_start[number]; k < strands->member_start[number + 1]; k++) {
        uint8_t side = cut->side[strands->members[k].strand];
        event.bytes[side] += strands->members[k].bytes;
        event.strands[side]++;
    }
    return cost_of(event.bytes[0], event.bytes[1], event.strands[0] > 0, event.strands[1] > 0);
}

/* An event by its cost. */
static uint32_t choose_costly(struct sides *sides, const struct cut *cut)
{
    uint32_t chosen = 0, sum = 0;
    for (uint32_t e = 0; e < sides->strands->events; e++) {
        uint32_t cost = cost_in(sides, cut, e);
        sum += cost;
        if (cost > 0 && random_below(&sides->random, sum) < cost) chosen = e;
    }
    return chosen;
}

static void open_members(struct sides *sides, uint32_t event, size_t *count, size_t most)
{
    const struct strands *strands = sides->strands;
    for (size_t k = strands->member_start[event]; k < strands->member_start[event + 1] && *count < most; k++) {
        uint32_t strand = strands->members[k].strand;
        if (sides->side[strand] == OPEN) continue;
        sides->side[strand] = OPEN;
        sides->queue[(*count)++] = strand;
    }
}

/* Opens what is near a costly event: strands that are there, and those that they meet at events. */
static void open_around(struct sides *sides, const struct cut *cut)
{
    const struct strands *strands = sides->strands;
    size_t count = 0, most = 2 + strands->count / 40 + random_below(&sides->random, (uint32_t)strands->count / 3 + 1);
    memcpy(sides->side, cut->side, strands->count);
    open_members(sides, choose_costly(sides, cut), &count, most);
    for (size_t i = 0; i < count && count < most; i++)
        for (size_t k = strands->change_start[sides->queue[i]]; k < strands->change_start[sides->queue[i] + 1]; k++)
            open_members(sides, strands->changes[k].event, &count, most);
}

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

/* Opens some strands of a cut: a part of all, those in a stretch of time, those before or after some time, or a part of
 * one side. */
static void prune(struct sides *sides, const struct cut *cut)
{
    const struct strands *strands = sides->strands;
    struct random *random = &sides->random;
    uint32_t kind = random_below(random, 4), at = random_below(random, strands->events), side = random_next(random) & 1;
    uint32_t end = at + strands->events / 20 + random_below(random, strands->events / 2 + 1);
    double part = kind == 0 ? 0.1 + 0.5 * random_real(random) : 0.3 + 0.6 * random_real(random);
    for (uint32_t i = 0; i < strands->count; i++) {
        bool open = kind == 0   ? random_real(random) < part
                    : kind == 1 ? strands->first[i] < end && strands->last[i] > at
                    : kind == 2 ? (side ? strands->first[i] >= at : strands->last[i] <= at)
                                : cut->side[i] == side && random_real(random) < part;
        sides->side[i] = open ? OPEN : cut->side[i];
    }
}

void sides_guess(struct sides *sides, uint32_t fresh, uint32_t again, bool mend, uint64_t deadline_ns)
{
    if (sides->strands->count < 2) return;
    for (uint32_t i = 0; i < fresh + again; i++) {
        if (problem_halted(sides->problem) || (deadline_ns > 0 && clock_now_ns() >= deadline_ns)) return;
        if (i < fresh || sides->cut_count == 0) {
            if (!plant(sides)) return;
        } else {
            const struct cut *cut = mend ? choose_kept(sides) : any_kept(sides);
            if (mend && random_next(&sides->random) & 1)
                open_around(sides, cut);
            else
                prune(sides, cut);
        }
        grow(sides);
        keep(sides);
    }
}

/* ---- Telling ---- */

/* The least room that a strand leaves on a side, which it is not on. */
static uint64_t room_for(const struct sides *sides, uint32_t strand, uint32_t side, const uint64_t height[2])
{
    const struct strands *strands = sides->strands;
    const uint64_t *profile = strands->profile + strands->profile_start[strand];
    const uint64_t *live = sides->live[side] + strands->first[strand];
    uint64_t room = UINT64_MAX;
    for (size_t k = 0; k < strands->last[strand] - strands->first[strand]; k++) {
        if (live[k] + profile[k] > height[side]) return 0;
        if (height[side] - live[k] - profile[k] < room) room = height[side] - live[k] - profile[k];
    }
    return room;
}

/* Whether it costs nothing to have the strand on the other side. */
static bool is_free(const struct sides *sides, uint32_t strand)
{
    const struct strands *strands = sides->strands;
    uint32_t side = sides->side[strand];
    for (size_t k = strands->change_start[strand]; k < strands->change_start[strand + 1]; k++) {
        const struct event *event = &sides->events[strands->changes[k].event];
        int64_t here = event->bytes[side] - strands->changes[k].bytes;
        int64_t there = event->bytes[!side] + strands->changes[k].bytes;
        if (cost_of(here, there, event->strands[side] > 1, true) >
            cost_of(event->bytes[side], event->bytes[!side], true, event->strands[!side] > 0))
            return false;
    }
    return true;
}

static void move(struct sides *sides, uint32_t strand)
{
    const struct strands *strands = sides->strands;
    uint8_t side = sides->side[strand];
    for (size_t k = strands->first[strand]; k < strands->last[strand]; k++)
        sides->live[side][k] -= strands->profile[strands->profile_start[strand] + k - strands->first[strand]];
    for (size_t k = strands->change_start[strand]; k < strands->change_start[strand + 1]; k++) {
        sides->events[strands->changes[k].event].bytes[side] -= strands->changes[k].bytes;
        sides->events[strands->changes[k].event].strands[side]--;
    }
    sides->buffers[side] -= strands->buffers[strand];
    put(sides, strand, !side);
}

/* Strands that may as well be on the other side go there where it leaves them more room. */
static void spread(struct sides *sides, const uint64_t height[2])
{
    for (uint32_t i = 0; i < sides->strands->count; i++) {
        uint8_t side = sides->side[i];
        if (!is_free(sides, i) || sides->buffers[side] == sides->strands->buffers[i]) continue;
        uint64_t there = room_for(sides, i, !side, height);
        if (there == 0) continue;
        move(sides, i);
        if (room_for(sides, i, side, height) >= there) move(sides, i);
    }
}

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
    clear(sides);
    memcpy(sides->side, best->side, sides->strands->count);
    for (uint32_t i = 0; i < sides->strands->count; i++) put(sides, i, sides->side[i]);
    memcpy(height, best->height, 2 * sizeof *height);
    spread(sides, height);
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
    for (size_t i = 0; i < KEPT; i++) {
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
    for (size_t i = 0; i < KEPT; i++) mem_free(sides->cuts[i].side);
    mem_free(sides);
}
