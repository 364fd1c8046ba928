/* Horizontal cuts: where a placement may be two, one on top of the other, each side is a smaller problem, and an exact
 * search that finds an order for one of them need not find it again for every mistake in the other. Cuts are guessed
 * (place_sides.h), and the best of them are tried: sides are solved as any problem is, cuts of their own included. */
#include <math.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_sides.h"
#include "place_solve.h"
#include "place_sort.h"

#define LEAST_BUFFERS 8
#define ROUNDS        3
#define GUESSERS      2
#define SIDE_ROUNDS   2   /* of what is a side itself */
#define TIME_SHARE    2   /* of the time that is left, for one round, inverse */
#define SMALL_SHARE   3   /* the same of a problem below HARD_BUFFERS */
#define GUESS_SHARE   2   /* of that, for guesses, inverse */
#define MEMORY_SHARE  16  /* of the search's memory, for cuts, inverse */
#define BUFFER_BYTES  640 /* of that, for each buffer, both guessers together, but for profiles */

#define FRESH        24 /* guesses of a portion */
#define AGAIN        24
#define PATIENCE     3 /* portions in all, at least, where the first brings one that may do */
#define HARD_GUESSES 8 /* of HARD_BUFFERS there are so many times as many */
#define WIDE         8 /* a cut whose smaller side has this part of all buffers ends a round's guesses, inverse */

/* Portions of guesses in each round, at most, how many cuts of it are tried, and for how many descents each side of one
 * is searched: where a cut is right its sides are found soon. */
static const struct {
    uint32_t portions, tried, effort;
} rounds[ROUNDS] = {{6, 3, 12}, {20, 4, 48}, {40, 8, 192}};

struct cuts {
    const struct problem *problem;
    const struct place_options *options;
    uint64_t target;
    /* Strands by lifetimes; others, too, of many buffers, and from the second round on of their sides. */
    struct strands strands[GUESSERS];
    struct sides *sides[GUESSERS];
    uint64_t most_bytes;         /* of each one's profiles */
    uint8_t *side;               /* of each buffer */
    uint32_t *index;             /* buffers of one side */
    struct place_buffer *inside; /* the same, as a problem */
    uint64_t *offset;
    uint32_t round;
    uint64_t deadline_ns;    /* of the round */
    uint64_t nodes, charged; /* used; given, which is the same whatever the timing */
};

static size_t list_side(struct cuts *cuts, uint8_t side)
{
    const struct problem *problem = cuts->problem;
    size_t count = 0;
    for (uint32_t i = 0; i < problem->count; i++) {
        if (cuts->side[i] != side) continue;
        const struct place_buffer *source = &problem->source[problem->origin[i]];
        cuts->index[count] = i;
        cuts->inside[count++] = (struct place_buffer){.lower = source->lower,
                                                      .upper = source->upper,
                                                      .size = problem->size[i],
                                                      .align = problem->align[i],
                                                      .fixed = PLACE_UNPLACED};
    }
    return count;
}

static uint32_t effort_of(const struct cuts *cuts)
{
    return cuts->problem->effort > 0 ? cuts->problem->effort : rounds[cuts->round].effort;
}

static bool is_spent(const struct cuts *cuts)
{
    return cuts->options->nodes > 0 && cuts->charged >= cuts->options->nodes;
}

static bool round_halted(const struct cuts *cuts)
{
    return is_spent(cuts) || problem_halted(cuts->problem) ||
           (cuts->deadline_ns > 0 && clock_now_ns() >= cuts->deadline_ns);
}

/* What a side may take, and no more than is left. */
static struct place_options limit(const struct cuts *cuts, uint64_t capacity, size_t count)
{
    struct place_options options = *cuts->options;
    uint64_t most = side_nodes(effort_of(cuts), count);
    uint64_t left = options.nodes > cuts->charged ? options.nodes - cuts->charged : 1;
    options.capacity = capacity;
    options.nodes = options.nodes > 0 && left < most ? left : most;
    options.progress = NULL;
    return options;
}

static bool is_hard(const struct cuts *cuts) { return cuts->problem->count >= HARD_BUFFERS; }

/* What is small and no side of what is not is seldom a mix: guesses about it take little of the exact search's time. */
static bool is_mix(const struct cuts *cuts) { return is_hard(cuts) || cuts->problem->of_hard; }

/* Places one side from `base` on; *arena is how high it is by itself. */
static bool place_side(struct cuts *cuts, uint8_t side, uint64_t capacity, uint64_t base, uint64_t *arena,
                       struct error *err)
{
    size_t count = list_side(cuts, side);
    struct place_options options = limit(cuts, capacity, count);
    struct place_result result = {0};
    struct placement found = {0};
    struct problem part;
    TRY(problem_init(&part, cuts->inside, count, err));
    part.effort = effort_of(cuts);
    part.of_hard = is_mix(cuts);
    part.deadline_ns = cuts->deadline_ns;
    part.quit = cuts->problem->quit;
    bool ok = problem_solve(&part, &options, &found, &result, err);
    cuts->nodes += result.nodes;
    if (result.nodes > 0) cuts->charged += options.nodes;
    *arena = found.arena;
    if (ok)
        for (size_t i = 0; i < part.count; i++) cuts->offset[cuts->index[part.origin[i]]] = base + found.offset[i];
    mem_free(found.offset);
    problem_finish(&part);
    return ok;
}

/* The side of more buffers first, since it is more likely to fail. */
static bool try_cut(struct cuts *cuts, const uint64_t height[2], struct placement *best, struct error *err)
{
    const struct problem *problem = cuts->problem;
    uint64_t arena[2];
    size_t ones = 0;
    for (size_t i = 0; i < problem->count; i++) ones += cuts->side[i];
    uint8_t first = 2 * ones > problem->count;
    uint64_t capacity = cuts->target - height[!first];
    TRY(place_side(cuts, first, capacity, 0, &arena[0], err));
    if (arena[0] + height[!first] >= best->arena || side_fails(arena[0], capacity)) return true;
    capacity = cuts->target > arena[0] + height[!first] ? cuts->target - arena[0] : height[!first];
    TRY(place_side(cuts, !first, capacity, arena[0], &arena[1], err));
    if (arena[0] + arena[1] >= best->arena) return true;
    best->arena = arena[0] + arena[1];
    memcpy(best->offset, cuts->offset, problem->count * sizeof *best->offset);
    return true;
}

/* ---- Twins ---- */

/* Live sums of the sides; whether they may lie on top of each other. */
static bool measure(const struct cuts *cuts, uint64_t height[2], uint64_t *live)
{
    const struct problem *problem = cuts->problem;
    size_t sections = problem->sections;
    memset(live, 0, 2 * (sections + 1) * sizeof *live);
    for (size_t i = 0; i < problem->count; i++) {
        uint64_t *side = live + cuts->side[i] * (sections + 1);
        side[problem->first[i]] += problem->size[i];
        side[problem->last[i]] -= problem->size[i];
    }
    for (uint32_t k = 0; k < 2; k++) {
        uint64_t sum = 0;
        height[k] = 0;
        for (size_t s = 0; s < sections; s++) {
            sum += live[k * (sections + 1) + s];
            if (sum > height[k]) height[k] = sum;
        }
    }
    return height[0] + height[1] <= cuts->target;
}

/* By lifetime and size. */
static void sort_alike(const struct problem *problem, struct sort_pair *pairs)
{
    size_t count = problem->count;
    for (uint32_t i = 0; i < count; i++) pairs[i] = (struct sort_pair){problem->size[i], i};
    sort_pairs(pairs, pairs + count, count);
    for (size_t k = 0; k < count; k++) pairs[k].key = problem->source[problem->origin[pairs[k].index]].upper;
    sort_pairs(pairs, pairs + count, count);
    for (size_t k = 0; k < count; k++) pairs[k].key = problem->source[problem->origin[pairs[k].index]].lower;
    sort_pairs(pairs, pairs + count, count);
}

static bool is_alike(const struct problem *problem, uint32_t a, uint32_t b)
{
    const struct place_buffer *one = &problem->source[problem->origin[a]],
                              *other = &problem->source[problem->origin[b]];
    return one->lower == other->lower && one->upper == other->upper && problem->size[a] == problem->size[b];
}

/* Where more than half of all buffers have a twin: one of each two on one side, the rest on the other. */
static bool cut_twins(struct cuts *cuts, uint64_t height[2], bool *found, struct error *err)
{
    const struct problem *problem = cuts->problem;
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * problem->count, sizeof *pairs);
    uint64_t *live = mem_alloc(MEM_SEARCH, 2 * ((size_t)problem->sections + 1), sizeof *live);
    size_t twins = 0;
    bool ok = pairs && live;
    memset(cuts->side, 1, problem->count);
    if (ok) sort_alike(problem, pairs);
    for (size_t k = 1; ok && k < problem->count; k++) {
        if (!is_alike(problem, pairs[k - 1].index, pairs[k].index)) continue;
        cuts->side[pairs[k++].index] = 0;
        twins++;
    }
    *found = ok && 4 * twins > problem->count && measure(cuts, height, live);
    mem_free(pairs);
    mem_free(live);
    return ok || error_memory(err, problem->count * 32, "cuts of a placement");
}

static bool start_guesser(struct cuts *cuts, uint32_t number, struct error *err)
{
    struct strands *strands = &cuts->strands[number];
    TRY(strands_init(strands, cuts->problem, number == 0, cuts->most_bytes, err));
    cuts->sides[number] = sides_create(strands, cuts->problem, cuts->target, cuts->options->seed + number, err);
    return cuts->sides[number] != NULL;
}

struct cuts *cuts_create(const struct problem *problem, const struct place_options *options, uint64_t target,
                         struct error *err)
{
    struct cuts *cuts = mem_zalloc(MEM_SEARCH, 1, sizeof *cuts);
    if (!cuts) {
        error_memory(err, sizeof *cuts, "cuts of a placement");
        return NULL;
    }
    *cuts = (struct cuts){.problem = problem, .options = options, .target = target};
    uint64_t memory = (options->memory_bytes > 0 ? options->memory_bytes : PLACE_MEMORY_BYTES) / MEMORY_SHARE;
    uint64_t own = BUFFER_BYTES * (uint64_t)problem->count;
    if (problem->count < LEAST_BUFFERS || own > memory || !strands_suit(problem)) {
        cuts->round = ROUNDS;
        return cuts;
    }
    cuts->side = mem_alloc(MEM_SEARCH, problem->count, 1);
    cuts->index = mem_alloc(MEM_SEARCH, problem->count, sizeof *cuts->index);
    cuts->inside = mem_alloc(MEM_SEARCH, problem->count, sizeof *cuts->inside);
    cuts->offset = mem_alloc(MEM_SEARCH, problem->count, sizeof *cuts->offset);
    bool ok = cuts->side && cuts->index && cuts->inside && cuts->offset;
    if (!ok) error_memory(err, problem->count * 80, "cuts of a placement");
    cuts->most_bytes = (memory - own) / GUESSERS;
    if (ok && start_guesser(cuts, 0, err)) return cuts;
    cuts_destroy(cuts);
    return NULL;
}

void cuts_destroy(struct cuts *cuts)
{
    if (!cuts) return;
    for (uint32_t k = 0; k < GUESSERS; k++) {
        sides_destroy(cuts->sides[k]);
        strands_finish(&cuts->strands[k]);
    }
    mem_free(cuts->side);
    mem_free(cuts->index);
    mem_free(cuts->inside);
    mem_free(cuts->offset);
    mem_free(cuts);
}

bool cuts_more(const struct cuts *cuts)
{
    return cuts->round < (cuts->problem->effort == 0 ? ROUNDS : SIDE_ROUNDS) && !is_spent(cuts) &&
           !problem_halted(cuts->problem);
}

/* The best that has been guessed by any, with so many buffers on each side. */
static struct sides *choose_guesser(const struct cuts *cuts, size_t least)
{
    struct sides *best = cuts->sides[0];
    for (uint32_t k = 1; k < GUESSERS; k++)
        if (cuts->sides[k] && sides_best(cuts->sides[k], least) < sides_best(best, least)) best = cuts->sides[k];
    return best;
}

/* Until one of a fair size may do; of many buffers that are no side, for as long again as the first such one took,
 * since a better one may come. The first portions begin anew mostly, later ones are about what is kept. */
static void guess(struct cuts *cuts)
{
    size_t least = cuts->problem->count / WIDE;
    uint32_t end = rounds[cuts->round].portions * (is_hard(cuts) ? HARD_GUESSES : 1);
    uint64_t now = clock_now_ns(), deadline_ns = cuts->deadline_ns;
    if (deadline_ns > now) deadline_ns = now + (deadline_ns - now) / GUESS_SHARE;
    bool patient = is_hard(cuts) && cuts->problem->effort == 0;
    for (uint32_t i = 0; i < end; i++) {
        bool late = is_mix(cuts) && i >= rounds[0].portions;
        for (uint32_t k = 0; k < GUESSERS; k++) {
            if (!cuts->sides[k]) continue;
            if (!patient && sides_any(cuts->sides[k], least)) return;
            sides_guess(cuts->sides[k], late ? FRESH / 4 : FRESH, late ? AGAIN + 3 * FRESH / 4 : AGAIN, is_mix(cuts),
                        deadline_ns);
        }
        if (patient && end > 2 * i + PATIENCE && sides_best(choose_guesser(cuts, least), least) < INFINITY)
            end = 2 * i + PATIENCE;
    }
}

/* The most likely of what all have guessed. Of many buffers a thin side leaves the other as hard as the whole: the last
 * of all rounds alone takes one, to which sides do not come, since whoever made them has other cuts to try. */
static bool take(struct cuts *cuts, uint64_t height[2])
{
    size_t least = is_hard(cuts) && cuts->round + 1 < ROUNDS ? cuts->problem->count / WIDE : 1;
    return sides_take(choose_guesser(cuts, least), least, cuts->side, height);
}

static bool begin_round(struct cuts *cuts, struct error *err)
{
    uint64_t now = clock_now_ns(), end = cuts->problem->deadline_ns;
    cuts->deadline_ns =
        end > now && cuts->problem->effort == 0 ? now + (end - now) / (is_mix(cuts) ? TIME_SHARE : SMALL_SHARE) : end;
    for (uint32_t k = 0; k < GUESSERS && (k == 0 || is_hard(cuts) || (k <= cuts->round && is_mix(cuts))); k++) {
        if (!cuts->sides[k]) TRY(start_guesser(cuts, k, err));
        sides_begin(cuts->sides[k]);
    }
    return true;
}

bool cuts_improve(struct cuts *cuts, struct placement *best, uint64_t *charged, uint64_t *nodes, struct error *err)
{
    uint64_t before = cuts->nodes, height[2];
    cuts->charged = *charged;
    if (!cuts_more(cuts)) return true;
    TRY(begin_round(cuts, err));
    bool ok = true, twins = false;
    if (cuts->round == 0) TRY(cut_twins(cuts, height, &twins, err));
    if (twins) ok = try_cut(cuts, height, best, err);
    if (ok && best->arena > cuts->target) guess(cuts);
    for (uint32_t i = 0; ok && i < rounds[cuts->round].tried && best->arena > cuts->target; i++) {
        if (round_halted(cuts) || !take(cuts, height)) break;
        ok = try_cut(cuts, height, best, err);
    }
    cuts->round++;
    *nodes += cuts->nodes - before;
    *charged = cuts->charged;
    return ok;
}
