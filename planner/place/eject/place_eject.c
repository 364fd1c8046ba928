/* A lane (thread) looks for the target itself, and begins anew after many steps: what is met is met soon or late. In
 * one start of four it begins near the best arena so far: each placement that it finds lowers its capacity by a part of
 * what lies between that and the target, and what sticks out then is placed again, until that leads no further. The
 * lane that meets the target after the fewest steps wins, or else the one with the lowest arena, the lower lane on a
 * tie: the others go on to that count and no further, so that the result depends on seed and number of lanes but not on
 * timing. */
#include "place_eject.h"

#include <string.h>

#include "mem.h"
#include "place_eject_private.h"
#include "place_lanes.h"

#define LOOK_STEPS  8      /* between two looks at the clock */
#define DOWN_SHARE  16     /* of what lies between an arena and the target, how far the next one is below it, inverse */
#define FAR_SHARE   32     /* of the target, how far above it a lane begins at most, inverse */
#define FALL_STARTS 4      /* of so many starts one comes down from above, another one of each lane */
#define FALL_STEPS  100000 /* after so many without a placement such a lane begins anew */
#define FRESH_STEPS 400000 /* and one that looks for the target after so many */

struct worker {
    struct eject *eject;
    struct eject_lane lane;
    uint32_t index;
    uint64_t left; /* steps until it begins anew; 0 = it begins */
    uint64_t starts;
    uint64_t steps;  /* used in this round */
    int32_t *offset; /* of each item, in the lowest placement of the round */
    int32_t lowest;  /* its arena, in quanta; INT32_MAX = none */
    uint64_t lowest_steps;
};

struct eject {
    const struct problem *problem;
    const struct place_options *options;
    struct eject_items items;
    struct worker *workers;
    uint32_t lanes;
    int32_t begin, target;
    uint64_t budget;
    _Atomic uint64_t stop;
};

bool eject_fits(const struct problem *problem)
{
    if (problem->any_fixed || problem->mixed_align || problem->chunk > 0) return false;
    return items_fit(problem);
}

void eject_destroy(struct eject *eject)
{
    if (!eject) return;
    for (uint32_t i = 0; eject->workers && i < eject->lanes; i++) {
        lane_finish(&eject->workers[i].lane);
        mem_free(eject->workers[i].offset);
    }
    mem_free(eject->workers);
    items_finish(&eject->items);
    mem_free(eject);
}

static bool start_workers(struct eject *eject, struct error *err)
{
    TRY(items_init(&eject->items, eject->problem, problem_quantum(eject->problem), err));
    eject->workers = mem_zalloc(MEM_SEARCH, eject->lanes, sizeof *eject->workers);
    if (!eject->workers) return error_memory(err, eject->lanes * sizeof *eject->workers, "search threads");
    for (uint32_t i = 0; i < eject->lanes; i++) {
        struct worker *worker = &eject->workers[i];
        worker->eject = eject;
        worker->index = i;
        TRY(lane_init(&worker->lane, &eject->items, err));
        worker->offset = mem_alloc(MEM_SEARCH, eject->items.count, sizeof *worker->offset);
        if (!worker->offset) return error_memory(err, eject->items.count * sizeof *worker->offset, "search threads");
    }
    return true;
}

struct eject *eject_create(const struct problem *problem, const struct place_options *options, uint32_t lanes,
                           struct error *err)
{
    struct eject *eject = mem_zalloc(MEM_SEARCH, 1, sizeof *eject);
    if (!eject) {
        error_memory(err, sizeof *eject, "a search by ejection");
        return NULL;
    }
    eject->problem = problem;
    eject->options = options;
    eject->lanes = lanes;
    if (start_workers(eject, err)) return eject;
    eject_destroy(eject);
    return NULL;
}

/* Keeps what the lane has found and lowers it; false once the target is met. */
static bool go_on_below(struct worker *worker)
{
    const struct eject *eject = worker->eject;
    memcpy(worker->offset, worker->lane.chains.least[END_FLOOR], eject->items.count * sizeof *worker->offset);
    worker->lowest = lane_arena(&worker->lane);
    worker->lowest_steps = worker->steps;
    if (worker->lowest <= eject->target) return false;
    int32_t down = (worker->lowest - eject->target) / DOWN_SHARE;
    lane_lower(&worker->lane, worker->lowest - (down > 0 ? down : 1));
    worker->left = FALL_STEPS;
    return true;
}

static void begin_anew(struct worker *worker)
{
    const struct eject *eject = worker->eject;
    int32_t capacity = worker->lowest <= eject->begin ? worker->lowest - 1 : eject->begin;
    bool falls = (worker->starts + worker->index) % FALL_STARTS == 0;
    worker->left = falls ? FALL_STEPS : FRESH_STEPS;
    lane_begin(&worker->lane, falls ? capacity : eject->target, eject->options->seed,
               worker->starts++ * eject->lanes + worker->index);
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct eject *eject = worker->eject;
    bool more = true;
    worker->lowest = INT32_MAX;
    if (worker->left > 0 && worker->lane.capacity > eject->begin) lane_lower(&worker->lane, eject->begin);
    for (worker->steps = 0; more && worker->steps < eject->budget;) {
        if (worker->steps % LOOK_STEPS == 0 && problem_halted(eject->problem)) break;
        if (worker->steps > atomic_load_explicit(&eject->stop, memory_order_relaxed)) break;
        if (worker->left == 0) begin_anew(worker);
        worker->left--;
        bool found = lane_step(&worker->lane);
        worker->steps++;
        if (found) more = go_on_below(worker);
    }
    if (!more) lanes_lower_stop(&eject->stop, worker->steps);
    return NULL;
}

/* Of lanes that meet the target the soonest: how low one comes that is stopped by another is chance. */
static bool is_before(const struct worker *a, const struct worker *b)
{
    int32_t target = a->eject->target;
    int32_t low = a->lowest > target ? a->lowest : target, other = b->lowest > target ? b->lowest : target;
    return low < other || (low == other && a->lowest_steps < b->lowest_steps);
}

static const struct worker *find_winner(const struct eject *eject)
{
    const struct worker *winner = &eject->workers[0];
    for (uint32_t i = 1; i < eject->lanes; i++)
        if (is_before(&eject->workers[i], winner)) winner = &eject->workers[i];
    return winner;
}

static void keep_found(const struct eject *eject, const struct worker *winner, struct placement *best)
{
    const struct eject_items *items = &eject->items;
    for (uint32_t i = 0; i < items->count; i++) {
        uint64_t offset = (uint64_t)winner->offset[i] * items->quantum;
        for (uint32_t m = items->start[i]; m < items->start[i + 1]; m++) {
            best->offset[items->member[m]] = offset;
            offset += eject->problem->size[items->member[m]];
        }
    }
    best->arena = problem_arena(eject->problem, best->offset);
}

void eject_improve(struct eject *eject, uint64_t target, uint64_t steps, struct placement *best, uint64_t *nodes)
{
    uint64_t quantum = eject->items.quantum, near = target + target / FAR_SHARE;
    uint64_t begin = best->arena - quantum < near ? best->arena - quantum : near;
    if (best->arena <= target || begin / quantum >= MOST_QUANTA) return;
    eject->begin = (int32_t)(begin / quantum);
    eject->target = (int32_t)(target / quantum);
    if (eject->begin < eject->target) eject->begin = eject->target;
    eject->budget = steps;
    atomic_store(&eject->stop, UINT64_MAX);
    lanes_run(run_worker, eject->workers, sizeof *eject->workers, eject->lanes, 0, true);
    for (uint32_t i = 0; i < eject->lanes; i++) *nodes += eject->workers[i].steps;
    const struct worker *winner = find_winner(eject);
    if (winner->lowest < INT32_MAX && (uint64_t)winner->lowest * quantum < best->arena) keep_found(eject, winner, best);
}
