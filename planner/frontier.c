#include "frontier.h"

#include <math.h>

struct search {
    struct plan_request request;
    struct machine machine;
    struct device_spec device;
    struct frontier *frontier;
    uint64_t outside_bytes; /* of the last plan: what its device needs beside the arena */
};

static struct frontier_point describe(const struct plan *plan)
{
    const struct plan_variant *variant = &plan->variants[0];
    return (struct frontier_point){.arena_bytes = variant->arena_bytes,
                                   .peak_bytes = plan->devices[0].peak_bytes,
                                   .recompute = plan->recompute,
                                   .recomputed_convolutions = variant->recomputed_convolutions,
                                   .extra_flops_fraction = variant->extra_flops_fraction,
                                   .step_seconds = plan->step_seconds};
}

/* Keeps the points ascending, none beaten by another: a larger budget is never slower, as the plan of a smaller one is
 * within it too. */
static void add_point(struct frontier *frontier, const struct frontier_point *point)
{
    size_t kept = 0, at = 0;
    double cost = frontier_cost(frontier, point);
    for (size_t i = 0; i < frontier->count; i++) {
        const struct frontier_point *other = &frontier->points[i];
        if (other->arena_bytes <= point->arena_bytes && frontier_cost(frontier, other) <= cost) return;
    }
    for (size_t i = 0; i < frontier->count; i++) {
        const struct frontier_point other = frontier->points[i];
        if (other.arena_bytes >= point->arena_bytes && frontier_cost(frontier, &other) >= cost) continue;
        frontier->points[kept++] = other;
    }
    while (at < kept && frontier->points[at].arena_bytes < point->arena_bytes) at++;
    for (size_t i = kept; i > at; i--) frontier->points[i] = frontier->points[i - 1];
    frontier->points[at] = *point;
    frontier->count = kept + 1;
}

static bool try_plan(struct search *search, enum recompute_policy policy, uint64_t budget_bytes, uint64_t memory_bytes,
                     uint64_t *arena_bytes, struct error *err)
{
    struct plan_request request = search->request;
    request.recompute = policy;
    request.recompute_budget_bytes = budget_bytes;
    search->device.memory_bytes = memory_bytes;
    struct plan *plan = plan_make(&request, err);
    if (!plan) return false;
    struct frontier_point point = describe(plan);
    search->frontier->timed = plan->step_seconds > 0;
    *arena_bytes = point.arena_bytes;
    search->outside_bytes = point.peak_bytes - point.arena_bytes;
    add_point(search->frontier, &point);
    plan_destroy(plan);
    return true;
}

/* More than any plan takes: budgets alone bound the arena. */
#define AMPLE_BYTES (1ull << 50)

bool frontier_find(const struct plan_request *request, struct frontier *frontier, struct error *err)
{
    if (request->machine->device_count != 1)
        return error_set(err, ERROR_INPUT, "--search: found %zu devices, expected one", request->machine->device_count);
    struct search search = {.request = *request, .machine = *request->machine, .frontier = frontier};
    search.device = request->machine->devices[0];
    search.machine.devices = &search.device;
    search.request.machine = &search.machine;
    if (request->micro_batches == 0) search.request.micro_batches = 1;
    uint64_t least, most, mild;
    *frontier = (struct frontier){.memory_bytes = search.device.memory_bytes};
    /* A device that has nothing to give is planned as small as can be. */
    TRY(try_plan(&search, RECOMPUTE_BUDGET, 0, 1, &least, err));
    TRY(try_plan(&search, RECOMPUTE_NONE, 0, AMPLE_BYTES, &most, err));
    TRY(try_plan(&search, RECOMPUTE_ELEMENTWISE, 0, AMPLE_BYTES, &mild, err));
    double ratio = least > 0 && most > least ? (double)most / (double)least : 1;
    for (int i = 1; ratio > 1 && i < FRONTIER_BUDGETS - 1; i++) {
        uint64_t budget = (uint64_t)((double)least * pow(ratio, i / (FRONTIER_BUDGETS - 1.0))), arena;
        /* Where redoing BN-ReLU is enough the automatic policy leaves out as much of it as the memory allows. */
        if (budget >= mild)
            TRY(try_plan(&search, RECOMPUTE_AUTO, 0, budget + search.outside_bytes, &arena, err));
        else
            TRY(try_plan(&search, RECOMPUTE_BUDGET, budget, AMPLE_BYTES, &arena, err));
    }
    return true;
}
