/* Which capacities to try, in what order, for how long, on how many threads.
 *
 * A stage is one capacity with a budget of nodes for each lane (thread). A lane runs a sequence of jobs, restarts with
 * different orders and noise and with Luby's limits (Luby, Sinclair, Zuckerman, 1993), most of them cut short. The lane
 * that finds a placement after the fewest nodes wins the stage, the lower lane on a tie: the other lanes go on to that
 * count and no further, so that the result depends on seed and number of lanes but not on timing. Rounds of stages: the
 * bound first, then bisection between it and the best, with the budget doubled each round. */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_lanes.h"
#include "place_search.h"
#include "place_sort.h"
#include "system_limits.h"

#define FIRST_UNITS    8          /* a lane's budget in the first round, in units of Luby's sequence */
#define SHORT_UNITS    4          /* most of a run, but for the first of each length */
#define BOUND_SHARE    4          /* times the budget for the bound, where success ends everything */
#define INLINE_BUFFERS 4096       /* beyond it recursion gets a thread with a stack of its own size */
#define MOST_COVER     (1u << 21) /* sum of lifetimes in sections: bounds the memory of undoing */

struct ladder;

struct lane {
    struct search *search;
    uint64_t *offset;
    struct ladder *ladder;
    uint64_t nodes; /* used in this stage */
    enum search_verdict verdict;
    enum search_order order; /* of its last job */
    bool doubt;              /* that job jumped and came to an end: perhaps there is nothing to find */
    uint32_t index;
};

struct ladder {
    const struct problem *problem;
    const struct place_options *options;
    struct search_tables tables;
    struct lane *lanes;
    uint32_t lane_count;
    uint64_t deadline_ns;
    uint64_t quantum; /* every sum of sizes is a multiple of it */
    uint64_t step;    /* in quanta: how far below the best the next stage aims */
    enum search_order favourite;
    uint64_t unit;    /* nodes: a descent without errors takes one for each buffer */
    uint64_t nodes;   /* used */
    uint64_t charged; /* against options->nodes: the same whatever the timing */
    /* the stage */
    uint64_t capacity, budget, serial;
    _Atomic uint64_t stop;
};

/* 1 1 2 1 1 2 4 …, i from 1. */
static uint64_t luby(uint64_t i)
{
    for (;;) {
        uint64_t power = 1;
        while (2 * power - 1 < i) power *= 2;
        if (2 * power - 1 == i) return power;
        i -= power - 1;
    }
}

/* Descents that succeed make few mistakes: most runs are short, and jump. One of each length beyond them looks for a
 * proof. */
static uint64_t run_units(uint64_t i)
{
    uint64_t units = luby(i);
    return units > SHORT_UNITS && i != 2 * units - 1 ? SHORT_UNITS : units;
}

static struct search_job next_job(const struct lane *lane, uint64_t k)
{
    static const enum search_order orders[] = {SEARCH_BY_SIZE,   SEARCH_BY_AREA, SEARCH_BY_SIZE,
                                               SEARCH_BY_LENGTH, SEARCH_BY_SIZE, SEARCH_BY_LOAD};
    static const double noises[] = {0.1, 0.4, 0.6, 0.5, 0.3};
    const struct ladder *ladder = lane->ladder;
    uint64_t number = k * ladder->lane_count + lane->index, limit = run_units(k + 1) * ladder->unit;
    bool plain = ladder->serial == 0 && number < SEARCH_ORDERS; /* each order once */
    enum search_order order = plain ? (enum search_order)number : orders[(k / 2 + lane->index) % 6];
    if (!plain && ladder->favourite < SEARCH_ORDERS && k % 2 == 1) order = ladder->favourite;
    bool jump = !plain && !lane->doubt && limit <= SHORT_UNITS * ladder->unit;
    if (limit > ladder->budget - lane->nodes) limit = ladder->budget - lane->nodes;
    return (struct search_job){.capacity = ladder->capacity,
                               .most_nodes = limit,
                               .order = order,
                               .noise = plain ? 0 : noises[(k + lane->index) % 5],
                               .seed = ladder->options->seed + (ladder->serial << 32) + (number << 8),
                               .jump = jump,
                               .nodes_before = lane->nodes,
                               .stop = &ladder->stop,
                               .quit = ladder->options->stop,
                               .deadline_ns = ladder->deadline_ns};
}

static bool out_of_time(const struct ladder *ladder)
{
    const atomic_bool *stop = ladder->options->stop;
    return (stop && atomic_load_explicit(stop, memory_order_relaxed)) || clock_now_ns() >= ladder->deadline_ns;
}

static void *run_lane(void *argument)
{
    struct lane *lane = argument;
    struct ladder *ladder = lane->ladder;
    lane->nodes = 0;
    lane->doubt = false;
    lane->verdict = SEARCH_STOPPED;
    for (uint64_t k = 0; lane->nodes < ladder->budget && lane->verdict == SEARCH_STOPPED; k++) {
        if (lane->nodes > atomic_load(&ladder->stop)) break;
        if (out_of_time(ladder)) break;
        struct search_job job = next_job(lane, k);
        uint64_t nodes;
        lane->verdict = search_run(lane->search, &job, lane->offset, &nodes);
        lane->nodes += nodes + 1;
        lane->order = job.order;
        lane->doubt = job.jump && lane->verdict == SEARCH_STOPPED && nodes < job.most_nodes;
    }
    if (lane->verdict == SEARCH_FOUND) lanes_lower_stop(&ladder->stop, lane->nodes);
    if (lane->verdict == SEARCH_IMPOSSIBLE || lane->verdict == SEARCH_NO_MEMORY) lanes_lower_stop(&ladder->stop, 0);
    return NULL;
}

/* On the calling thread as well where its stack will do. */
static void run_lanes(struct ladder *ladder)
{
    size_t stack = ((size_t)1 << 20) + ladder->problem->count * 2048;
    bool here = ladder->problem->count <= INLINE_BUFFERS;
    lanes_run(run_lane, ladder->lanes, sizeof *ladder->lanes, ladder->lane_count, stack, here);
}

/* Lets every buffer sink, lowest first: sound unless offsets are fixed. */
static void settle_down(const struct problem *problem, uint64_t *offset, struct sort_pair *pairs, uint64_t *height)
{
    memset(height, 0, problem->sections * sizeof *height);
    for (uint32_t i = 0; i < problem->count; i++) pairs[i] = (struct sort_pair){offset[i], i};
    sort_pairs(pairs, pairs + problem->count, problem->count);
    for (size_t i = 0; i < problem->count; i++) {
        uint32_t buffer = pairs[i].index;
        uint64_t at = 0;
        for (uint32_t s = problem->first[buffer]; s < problem->last[buffer]; s++)
            if (height[s] > at) at = height[s];
        offset[buffer] = align_up(at, problem->align[buffer]);
        for (uint32_t s = problem->first[buffer]; s < problem->last[buffer]; s++)
            height[s] = offset[buffer] + problem->size[buffer];
    }
}

static bool keep_found(struct ladder *ladder, uint64_t *offset, struct placement *best, struct error *err)
{
    const struct problem *problem = ladder->problem;
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * problem->count, sizeof *pairs);
    uint64_t *height = mem_alloc(MEM_SEARCH, problem->sections, sizeof *height);
    bool ok = pairs && height;
    if (ok) {
        if (!problem->any_fixed) settle_down(problem, offset, pairs, height);
        uint64_t arena = problem_arena(problem, offset);
        if (arena < best->arena) {
            best->arena = arena;
            memcpy(best->offset, offset, problem->count * sizeof *offset);
        }
    }
    mem_free(pairs);
    mem_free(height);
    return ok || error_memory(err, 2 * problem->count * sizeof *pairs, "the placement found");
}

static const struct lane *find_winner(const struct ladder *ladder)
{
    const struct lane *winner = NULL;
    for (uint32_t i = 0; i < ladder->lane_count; i++) {
        const struct lane *lane = &ladder->lanes[i];
        if (lane->verdict == SEARCH_FOUND && (!winner || lane->nodes < winner->nodes)) winner = lane;
    }
    return winner;
}

static bool any_verdict(const struct ladder *ladder, enum search_verdict verdict)
{
    for (uint32_t i = 0; i < ladder->lane_count; i++)
        if (ladder->lanes[i].verdict == verdict) return true;
    return false;
}

/* Lanes that were cut short stopped at a moment that depends on timing: how much they used must not bear on later
 * stages. */
static void settle_stage(struct ladder *ladder, const struct lane *winner, enum search_verdict verdict)
{
    for (uint32_t i = 0; i < ladder->lane_count; i++) {
        const struct lane *lane = &ladder->lanes[i];
        ladder->nodes += lane->nodes;
        ladder->charged += winner ? winner->nodes : verdict == SEARCH_STOPPED ? lane->nodes : ladder->unit;
    }
    if (winner) ladder->favourite = winner->order;
    ladder->serial++;
}

/* One capacity with one budget; a placement found goes into *best. */
static bool run_stage(struct ladder *ladder, uint64_t capacity, struct placement *best, enum search_verdict *verdict,
                      struct error *err)
{
    ladder->capacity = capacity;
    atomic_store(&ladder->stop, UINT64_MAX);
    run_lanes(ladder);
    if (any_verdict(ladder, SEARCH_NO_MEMORY))
        return error_memory(err, ladder->problem->count * sizeof(uint64_t), "undoing search steps");
    const struct lane *winner = find_winner(ladder);
    *verdict = winner ? SEARCH_FOUND : any_verdict(ladder, SEARCH_IMPOSSIBLE) ? SEARCH_IMPOSSIBLE : SEARCH_STOPPED;
    settle_stage(ladder, winner, *verdict);
    return !winner || keep_found(ladder, winner->offset, best, err);
}

static bool spent(const struct ladder *ladder)
{
    if (out_of_time(ladder)) return true;
    return ladder->options->nodes && ladder->charged >= ladder->options->nodes;
}

static void set_budget(struct ladder *ladder, uint64_t budget)
{
    uint64_t most = ladder->options->nodes;
    uint64_t left = most ? (most - ladder->charged + ladder->lane_count - 1) / ladder->lane_count : budget;
    ladder->budget = left < budget ? left : budget;
}

/* One stage and what it teaches: the best falls when it finds something, the bound rises when it proves there is none.
 */
static bool try_capacity(struct ladder *ladder, uint64_t capacity, uint64_t budget, struct placement *best,
                         uint64_t *bound, enum search_verdict *verdict, struct error *err)
{
    set_budget(ladder, budget);
    TRY(run_stage(ladder, capacity, best, verdict, err));
    if (*verdict == SEARCH_IMPOSSIBLE) *bound = capacity - capacity % ladder->quantum + ladder->quantum;
    problem_report(ladder->problem, ladder->options, *bound, best->arena);
    return true;
}

/* The bound itself, then down from the best in steps that double while they are met and halve while they are not. */
static bool run_round(struct ladder *ladder, uint64_t budget, struct placement *best, uint64_t *bound,
                      struct error *err)
{
    uint64_t quantum = ladder->quantum;
    enum search_verdict verdict;
    TRY(try_capacity(ladder, *bound, BOUND_SHARE * budget, best, bound, &verdict, err));
    while (best->arena > *bound + quantum && !spent(ladder)) {
        uint64_t most = (best->arena - *bound) / quantum - 1;
        if (ladder->step > most || ladder->step == 0) ladder->step = most / 2 + 1;
        TRY(try_capacity(ladder, best->arena - ladder->step * quantum, budget, best, bound, &verdict, err));
        if (verdict != SEARCH_FOUND && ladder->step == 1) break;
        ladder->step = verdict == SEARCH_FOUND ? 2 * ladder->step : ladder->step / 2;
    }
    ladder->step = 4;
    return true;
}

static bool climb(struct ladder *ladder, struct placement *best, uint64_t *bound, struct error *err)
{
    uint64_t capacity = ladder->options->capacity;
    for (uint64_t budget = FIRST_UNITS * ladder->unit; !spent(ladder); budget *= 2) {
        if (best->arena <= *bound || best->arena <= capacity || (capacity > 0 && *bound > capacity)) break;
        enum search_verdict verdict;
        if (capacity > 0)
            TRY(try_capacity(ladder, capacity, budget, best, bound, &verdict, err));
        else
            TRY(run_round(ladder, budget, best, bound, err));
    }
    return true;
}

uint32_t ladder_lanes(const struct place_options *options)
{
    uint32_t lanes = options->threads ? options->threads : limits_processors();
    return lanes < MOST_LANES ? lanes : MOST_LANES;
}

static void finish_lanes(struct ladder *ladder)
{
    for (uint32_t i = 0; ladder->lanes && i < ladder->lane_count; i++) {
        search_destroy(ladder->lanes[i].search);
        mem_free(ladder->lanes[i].offset);
    }
    mem_free(ladder->lanes);
    search_tables_finish(&ladder->tables);
}

static uint64_t memory_limit(const struct place_options *options)
{
    return options->memory_bytes > 0 ? options->memory_bytes : PLACE_MEMORY_BYTES;
}

static bool start_lanes(struct ladder *ladder, struct error *err)
{
    size_t count = ladder->problem->count;
    TRY(search_tables_init(&ladder->tables, ladder->problem, err));
    if (ladder->tables.stopped) return true;
    ladder->tables.trail_bytes = memory_limit(ladder->options) / 2 / ladder->lane_count;
    ladder->lanes = mem_zalloc(MEM_SEARCH, ladder->lane_count, sizeof *ladder->lanes);
    if (!ladder->lanes) return error_memory(err, ladder->lane_count * sizeof *ladder->lanes, "search threads");
    for (uint32_t i = 0; i < ladder->lane_count; i++) {
        struct lane *lane = &ladder->lanes[i];
        *lane = (struct lane){.ladder = ladder, .index = i};
        lane->search = search_create(&ladder->tables, err);
        if (!lane->search) return false;
        lane->offset = mem_alloc(MEM_SEARCH, count, sizeof *lane->offset);
        if (!lane->offset) return error_memory(err, count * sizeof *lane->offset, "search threads");
    }
    return true;
}

/* Half of the memory is for the tables, the rest for undoing. */
bool ladder_fits(const struct problem *problem, const struct place_options *options, bool *fits, struct error *err)
{
    uint64_t cover = 0, tables, each;
    for (size_t i = 0; i < problem->count; i++) cover += problem->last[i] - problem->first[i];
    *fits = cover <= MOST_COVER;
    if (!*fits) return true;
    TRY(search_tables_measure(problem, &tables, &each, err));
    uint64_t half = memory_limit(options) / 2, lanes = ladder_lanes(options);
    uint64_t first_steps = 256 * (uint64_t)problem->sections + 64 * (uint64_t)problem->count;
    *fits = tables + lanes * each <= half && lanes * first_steps <= half;
    return true;
}

bool ladder_improve(const struct problem *problem, const struct place_options *options, struct placement *best,
                    uint64_t *bound, uint64_t *nodes, struct error *err)
{
    struct ladder ladder = {.problem = problem,
                            .options = options,
                            .lane_count = ladder_lanes(options),
                            .deadline_ns = problem->deadline_ns,
                            .quantum = problem_quantum(problem),
                            .favourite = SEARCH_ORDERS,
                            .unit = 512 + 2 * problem->count};
    bool ok = start_lanes(&ladder, err) && (ladder.tables.stopped || climb(&ladder, best, bound, err));
    *nodes = ladder.nodes;
    finish_lanes(&ladder);
    return ok;
}
