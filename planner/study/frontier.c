#include "frontier.h"

#include <math.h>
#include <string.h>

#include "make.h"
#include "mem.h"
#include "workspace.h"

struct search {
    struct plan_request request;
    struct machine machine; /* with devices of its own */
    const struct machine *given;
    struct frontier *frontier;
    frontier_progress_fn progress;
    void *context;
    uint32_t plans;
    uint64_t outside_bytes; /* of the last plan: what its device needs beside the arena */
    struct frontier_point last;
    bool last_fits;
};

/* ---- Points ---- */

static struct frontier_point describe(const struct search *search, const struct plan *plan)
{
    struct frontier_point point = {.recompute = plan->recompute,
                                   .micro_batches = plan->devices[0].micro_batches,
                                   .step_seconds = plan->step_seconds};
    for (size_t d = 0; d < plan->device_count; d++) {
        const struct plan_device *device = &plan->devices[d];
        const struct plan_variant *variant = &plan->variants[device->variant];
        uint64_t taken = device->peak_bytes + device->spec.reserve_bytes;
        double share = (double)taken / (double)search->given->devices[d].memory_bytes;
        if (share > point.memory_share) {
            point.memory_share = share;
            point.arena_bytes = variant->arena_bytes;
            point.peak_bytes = device->peak_bytes;
        }
        if (variant->recomputed_convolutions > point.recomputed_convolutions)
            point.recomputed_convolutions = variant->recomputed_convolutions;
        uint32_t lean = workspace_count_lean(&device->spec, variant);
        if (lean > point.lean_convolutions) point.lean_convolutions = lean;
        if (variant->host_bytes > point.offloaded_bytes) point.offloaded_bytes = variant->host_bytes;
        point.extra_flops_fraction = fmax(point.extra_flops_fraction, variant->extra_flops_fraction);
    }
    return point;
}

/* Keeps the points ascending, none beaten by another: a larger budget is never slower, as the plan of a smaller one is
 * within it too. */
static void add_point(struct frontier *frontier, const struct frontier_point *point)
{
    size_t kept = 0, at = 0;
    double cost = frontier_cost(frontier, point), size = frontier_size(frontier, point);
    for (size_t i = 0; i < frontier->count; i++) {
        const struct frontier_point *other = &frontier->points[i];
        if (frontier_size(frontier, other) <= size && frontier_cost(frontier, other) <= cost) return;
    }
    for (size_t i = 0; i < frontier->count; i++) {
        const struct frontier_point other = frontier->points[i];
        if (frontier_size(frontier, &other) >= size && frontier_cost(frontier, &other) >= cost) continue;
        frontier->points[kept++] = other;
    }
    while (at < kept && frontier_size(frontier, &frontier->points[at]) < size) at++;
    for (size_t i = kept; i > at; i--) frontier->points[i] = frontier->points[i - 1];
    frontier->points[at] = *point;
    frontier->count = kept + 1;
}

/* The plan becomes a point: whether it fits, or in any case. */
static bool try_plan(struct search *search, enum recompute_policy policy, uint64_t budget_bytes, bool in_any_case,
                     struct error *err)
{
    struct plan_request request = search->request;
    request.recompute = policy;
    request.recompute_budget_bytes = budget_bytes;
    if (search->progress && !search->progress(search->context, search->plans++, FRONTIER_MOST))
        return error_set(err, ERROR_FAILED, "planning was stopped");
    struct plan *plan = plan_make(&request, err);
    if (!plan) return false;
    search->last = describe(search, plan);
    search->last_fits = plan->fits;
    search->frontier->timed = plan->step_seconds > 0;
    search->outside_bytes =
        search->last.peak_bytes - search->last.arena_bytes + search->given->devices[0].reserve_bytes;
    if (plan->fits || in_any_case) add_point(search->frontier, &search->last);
    plan_destroy(plan);
    return true;
}

/* ---- Devices of equal memory ---- */

/* More than any plan takes: budgets alone bound the arena. */
#define AMPLE_BYTES (1ull << 50)

static bool try_budget(struct search *search, enum recompute_policy policy, uint64_t budget_bytes,
                       uint64_t memory_bytes, uint64_t *arena_bytes, struct error *err)
{
    for (size_t d = 0; d < search->machine.device_count; d++) search->machine.devices[d].memory_bytes = memory_bytes;
    TRY(try_plan(search, policy, budget_bytes, true, err));
    *arena_bytes = search->last.arena_bytes;
    return true;
}

static bool walk_budgets(struct search *search, struct error *err)
{
    uint64_t least, most, mild;
    /* A device that has nothing to give is planned as small as can be. */
    TRY(try_budget(search, RECOMPUTE_BUDGET, 0, 1, &least, err));
    TRY(try_budget(search, RECOMPUTE_NONE, 0, AMPLE_BYTES, &most, err));
    TRY(try_budget(search, RECOMPUTE_ELEMENTWISE, 0, AMPLE_BYTES, &mild, err));
    double ratio = least > 0 && most > least ? (double)most / (double)least : 1;
    for (int i = 1; ratio > 1 && i < FRONTIER_BUDGETS - 1; i++) {
        uint64_t budget = (uint64_t)((double)least * pow(ratio, i / (FRONTIER_BUDGETS - 1.0))), arena;
        /* Where redoing BN-ReLU is enough the automatic policy leaves out as much of it as the memory allows. */
        if (budget >= mild)
            TRY(try_budget(search, RECOMPUTE_AUTO, 0, budget + search->outside_bytes, &arena, err));
        else
            TRY(try_budget(search, RECOMPUTE_BUDGET, budget, AMPLE_BYTES, &arena, err));
    }
    return true;
}

/* ---- Unequal devices ---- */

#define STEP_DOWN 0.65 /* of what the fullest device's arena takes */

static void scale(struct search *search, double part)
{
    for (size_t d = 0; d < search->machine.device_count; d++)
        search->machine.devices[d].memory_bytes = (uint64_t)(part * (double)search->given->devices[d].memory_bytes);
}

static double next_part(const struct frontier_point *last)
{
    double outside = 1 - (double)last->arena_bytes / (double)last->peak_bytes;
    return last->memory_share * (outside + STEP_DOWN * (1 - outside));
}

static bool walk_shares(struct search *search, struct error *err)
{
    scale(search, 1024);
    TRY(try_plan(search, RECOMPUTE_NONE, 0, true, err));
    for (int i = 1; i < FRONTIER_BUDGETS && search->last_fits; i++) {
        scale(search, next_part(&search->last));
        TRY(try_plan(search, RECOMPUTE_AUTO, 0, false, err));
    }
    return true;
}

static void add_own(struct search *search, const struct plan *plan)
{
    struct frontier *frontier = search->frontier;
    frontier->own = describe(search, plan);
    double size = frontier_size(frontier, &frontier->own), cost = frontier_cost(frontier, &frontier->own);
    add_point(frontier, &frontier->own);
    for (frontier->own_index = 0; frontier->own_index < frontier->count; frontier->own_index++) {
        const struct frontier_point *point = &frontier->points[frontier->own_index];
        if (frontier_size(frontier, point) == size && frontier_cost(frontier, point) == cost) break;
    }
}

bool frontier_find(const struct plan_request *request, const struct plan *plan, frontier_progress_fn progress,
                   void *context, struct frontier *frontier, struct error *err)
{
    size_t count = request->machine->device_count;
    struct search search = {.request = *request,
                            .machine = *request->machine,
                            .given = request->machine,
                            .frontier = frontier,
                            .progress = progress,
                            .context = context};
    *frontier = (struct frontier){.memory_bytes = device_usable_bytes(&request->machine->devices[0])};
    for (size_t d = 1; d < count; d++)
        if (device_usable_bytes(&request->machine->devices[d]) != frontier->memory_bytes) frontier->by_share = true;
    search.machine.devices = mem_alloc(MEM_PLAN, count, sizeof *search.machine.devices);
    if (!search.machine.devices) return error_memory(err, count * sizeof *search.machine.devices, "the frontier");
    memcpy(search.machine.devices, request->machine->devices, count * sizeof *search.machine.devices);
    search.request.machine = &search.machine;
    if (request->micro_batches == 0) search.request.micro_batches = 1;
    bool ok = frontier->by_share ? walk_shares(&search, err) : walk_budgets(&search, err);
    mem_free(search.machine.devices);
    frontier->own_index = frontier->count;
    if (ok && plan && plan->fits) add_own(&search, plan);
    return ok;
}
