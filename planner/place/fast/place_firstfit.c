#include "place_firstfit.h"

#include <math.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "random.h"

#define LOOK_EVERY 128   /* buffers between two looks at the clock */
#define LOOK_STEPS 50000 /* the same in steps, where they are many for each buffer */

bool firstfit_init(struct firstfit *firstfit, const struct problem *problem, struct error *err)
{
    *firstfit = (struct firstfit){.problem = problem};
    TRY(gaps_init(&firstfit->gaps, problem, err));
    firstfit->offset = mem_alloc(MEM_SEARCH, problem->count, sizeof *firstfit->offset);
    firstfit->pairs = mem_alloc(MEM_SEARCH, problem->count, sizeof *firstfit->pairs);
    firstfit->scratch = mem_alloc(MEM_SEARCH, problem->count, sizeof *firstfit->scratch);
    if (firstfit->offset && firstfit->pairs && firstfit->scratch) return true;
    firstfit_finish(firstfit);
    return error_memory(err, problem->count * 40, "first-fit placement");
}

void firstfit_finish(struct firstfit *firstfit)
{
    gaps_finish(&firstfit->gaps);
    mem_free(firstfit->offset);
    mem_free(firstfit->pairs);
    mem_free(firstfit->scratch);
    *firstfit = (struct firstfit){0};
}

/* From a sparse table of maxima over 2^k sections. */
bool firstfit_find_load(const struct problem *problem, uint64_t *load, struct error *err)
{
    size_t sections = problem->sections, levels = 1;
    while (((size_t)1 << levels) <= sections) levels++;
    uint64_t *table = mem_alloc(MEM_SEARCH, levels * sections, sizeof *table);
    if (!table) return error_memory(err, levels * sections * sizeof *table, "first-fit placement");
    memcpy(table, problem->live, sections * sizeof *table);
    for (size_t k = 1; k < levels; k++) {
        const uint64_t *below = table + (k - 1) * sections;
        for (size_t s = 0, half = (size_t)1 << (k - 1); s + 2 * half <= sections; s++)
            table[k * sections + s] = below[s] > below[s + half] ? below[s] : below[s + half];
    }
    for (size_t i = 0; i < problem->count; i++) {
        uint32_t length = problem->last[i] - problem->first[i];
        size_t k = 31 - (size_t)__builtin_clz(length);
        uint64_t left = table[k * sections + problem->first[i]];
        uint64_t right = table[k * sections + problem->last[i] - ((size_t)1 << k)];
        load[i] = left > right ? left : right;
    }
    mem_free(table);
    return true;
}

static bool lives_at_peak(const struct problem *problem, size_t buffer)
{
    return problem->first[buffer] <= problem->peak && problem->peak < problem->last[buffer];
}

static bool begins_with_peak(enum firstfit_order kind)
{
    return kind == FIRSTFIT_PEAK_SIZE || kind == FIRSTFIT_PEAK_AREA || kind == FIRSTFIT_PEAK_END;
}

/* How early a buffer comes among those of its class; all are below 2^62. */
static double weigh(const struct problem *problem, uint64_t load, enum firstfit_order kind, size_t buffer)
{
    double length = problem->last[buffer] - problem->first[buffer], size = (double)problem->size[buffer];
    double area = size * length / problem->sections; /* at most the size, so that no key overflows */
    if (begins_with_peak(kind) && lives_at_peak(problem, buffer))
        return kind == FIRSTFIT_PEAK_END ? problem->last[buffer] : length;
    switch (kind) {
    case FIRSTFIT_LOAD: return (double)load;
    case FIRSTFIT_SIZE:
    case FIRSTFIT_PEAK_SIZE: return size;
    case FIRSTFIT_LENGTH: return length;
    case FIRSTFIT_ROOT: return size * sqrt(length / problem->sections);
    case FIRSTFIT_CROWDED: return area * pow((double)load / (double)problem->bound, 32);
    default: return area;
    }
}

/* Positive doubles compare as their bits do. */
static uint64_t falling_key(double weight)
{
    uint64_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return UINT64_MAX / 2 - bits;
}

/* Stable sorts: by size, then by the order's weight, the peak before all. */
uint32_t firstfit_make_order(struct firstfit *firstfit, const uint64_t *load, enum firstfit_order kind, double noise,
                             uint64_t seed, uint32_t *order)
{
    const struct problem *problem = firstfit->problem;
    struct sort_pair *pairs = firstfit->pairs;
    struct random random = random_begin(seed, RANDOM_SEARCH, kind, 0);
    uint32_t peak = 0;
    for (size_t i = 0; i < problem->count; i++) {
        bool ahead = begins_with_peak(kind) && lives_at_peak(problem, i);
        pairs[i] = (struct sort_pair){ahead ? problem->first[i] : ~problem->size[i], (uint32_t)i};
    }
    sort_pairs(pairs, firstfit->scratch, problem->count);
    for (size_t i = 0; i < problem->count; i++) {
        uint32_t buffer = pairs[i].index;
        double weight = weigh(problem, load[buffer], kind, buffer);
        if (noise > 0) weight *= 1 + noise * (2 * random_real(&random) - 1);
        bool ahead = begins_with_peak(kind) && lives_at_peak(problem, buffer);
        pairs[i].key = falling_key(weight) | (ahead ? 0 : (uint64_t)1 << 63);
        peak += ahead;
    }
    sort_pairs(pairs, firstfit->scratch, problem->count);
    for (size_t i = 0; i < problem->count; i++) order[i] = pairs[i].index;
    return peak;
}

bool firstfit_may_go_on(const struct firstfit_limits *limits)
{
    if (limits->stop && atomic_load_explicit(limits->stop, memory_order_relaxed) < limits->index) return false;
    if (limits->quit && atomic_load_explicit(limits->quit, memory_order_relaxed)) return false;
    return limits->deadline_ns == 0 || clock_now_ns() < limits->deadline_ns;
}

static bool take(struct firstfit *firstfit, size_t buffer, uint64_t offset)
{
    const struct problem *problem = firstfit->problem;
    firstfit->offset[buffer] = offset;
    return gaps_take(&firstfit->gaps, problem->first[buffer], problem->last[buffer], offset,
                     offset + problem->size[buffer]);
}

static bool must_give_up(const struct firstfit_limits *limits)
{
    return !limits->obliged && !firstfit_may_go_on(limits);
}

/* By rising offset, so that each goes to the end of the lists it is in. */
static enum firstfit_outcome take_fixed(struct firstfit *firstfit, const struct firstfit_limits *limits)
{
    const struct problem *problem = firstfit->problem;
    struct sort_pair *pairs = firstfit->pairs;
    size_t count = 0;
    for (size_t i = 0; i < problem->count; i++)
        if (problem->fixed[i] != PLACE_UNPLACED) pairs[count++] = (struct sort_pair){problem->fixed[i], (uint32_t)i};
    sort_pairs(pairs, firstfit->scratch, count);
    for (size_t i = 0; i < count; i++) {
        if (i % LOOK_EVERY == 0 && must_give_up(limits)) return FIRSTFIT_GIVEN_UP;
        if (!take(firstfit, pairs[i].index, pairs[i].key)) return FIRSTFIT_NO_MEMORY;
    }
    return FIRSTFIT_PLACED;
}

/* Looks at the limits now and then. */
static bool is_over(const struct firstfit *firstfit, const struct firstfit_limits *limits, size_t placed,
                    uint64_t *next_look)
{
    uint64_t steps = firstfit->gaps.steps;
    if (limits->steps > 0 && steps > limits->steps) return true;
    if (placed % LOOK_EVERY != 0 && steps < *next_look) return false;
    *next_look = steps + LOOK_STEPS;
    return !firstfit_may_go_on(limits);
}

enum firstfit_outcome firstfit_place(struct firstfit *firstfit, const uint32_t *order,
                                     const struct firstfit_limits *limits, uint64_t *arena)
{
    const struct problem *problem = firstfit->problem;
    bool over = false;
    uint64_t next_look = 0;
    gaps_clear(&firstfit->gaps);
    enum firstfit_outcome outcome = problem->any_fixed ? take_fixed(firstfit, limits) : FIRSTFIT_PLACED;
    if (outcome != FIRSTFIT_PLACED) return outcome;
    for (size_t i = 0; i < problem->count; i++) {
        uint32_t buffer = order[i];
        over = over || is_over(firstfit, limits, i, &next_look);
        if (over && !limits->obliged) return FIRSTFIT_GIVEN_UP;
        if (problem->fixed[buffer] != PLACE_UNPLACED) continue;
        uint64_t offset =
            (over ? gaps_above : gaps_lowest)(&firstfit->gaps, problem->first[buffer], problem->last[buffer],
                                              problem->size[buffer], problem->align[buffer]);
        if (!take(firstfit, buffer, offset)) return FIRSTFIT_NO_MEMORY;
    }
    *arena = problem_arena(problem, firstfit->offset);
    return FIRSTFIT_PLACED;
}
