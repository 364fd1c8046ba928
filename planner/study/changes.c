#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "changes.h"
#include "make.h"
#include "mem.h"

#define MIB ((uint64_t)1 << 20)

struct changing {
    const struct plan_request *request;
    const struct plan *plan; /* the request's own */
    struct change *changes;
    size_t count;
};

static uint64_t fullest_peak(const struct plan *plan)
{
    uint64_t most = 0;
    for (size_t d = 0; d < plan->device_count; d++)
        if (plan->devices[d].peak_bytes > most) most = plan->devices[d].peak_bytes;
    return most;
}

static uint64_t largest_arena(const struct plan *plan)
{
    uint64_t most = 0;
    for (size_t v = 0; v < plan->variant_count; v++)
        if (plan->variants[v].arena_bytes > most) most = plan->variants[v].arena_bytes;
    return most;
}

/* Of an image, in seconds or, where speeds are unknown, in steps that run nothing again. */
static double image_time(const struct plan *plan, bool timed)
{
    double most = 0;
    if (timed) return plan->step_seconds / plan->batch;
    for (size_t d = 0; d < plan->device_count; d++) {
        double cost = plan->devices[d].images * (1 + plan->variants[plan->devices[d].variant].extra_flops_fraction);
        if (cost > most) most = cost;
    }
    return most / plan->batch;
}

static void describe(const struct changing *all, const struct plan *made, struct change *change)
{
    bool timed = made->step_seconds > 0 && all->plan->step_seconds > 0;
    change->fits = made->fits;
    change->changes_bn = made->changes_bn;
    change->peak_bytes = fullest_peak(made);
    change->saved_bytes = (int64_t)(fullest_peak(all->plan) - change->peak_bytes);
    change->time_ratio = image_time(made, timed) / image_time(all->plan, timed);
}

static bool is_deep(const struct changing *all)
{
    for (size_t v = 0; v < all->plan->variant_count; v++)
        if (all->plan->variants[v].graph->block_count > PLAN_ROUGH_BLOCKS) return true;
    return false;
}

/* Roughly; and exactly where that finds nothing that fits, which says nothing of whether there is something. *quick:
 * which of them it is. */
static struct plan *make_change(const struct changing *all, const struct plan_request *changed, bool *quick,
                                struct error *err)
{
    struct plan_request exact = *changed;
    struct error fault = {0};
    struct plan *made = plan_make(changed, &fault);
    *quick = made && plan_request_roughly(changed, made);
    exact.rough = false;
    bool again = made ? *quick && !made->fits : fault.kind == ERROR_UNFIT && is_deep(all);
    if (!made && !again && err) *err = fault;
    if (!again) return made;
    plan_destroy(made);
    *quick = false;
    return plan_make(&exact, err);
}

/* A change that cannot be planned (too small a budget, no equal micro-batches) is no answer, and no failure. */
static bool try_change(struct changing *all, enum change_kind kind, uint64_t value, const struct plan_request *changed,
                       struct error *err)
{
    struct error fault = {0};
    bool quick;
    struct plan *made = make_change(all, changed, &quick, &fault);
    if (!made && fault.kind != ERROR_INPUT && fault.kind != ERROR_UNFIT) {
        if (err) *err = fault;
        return false;
    }
    if (!made) return true;
    struct change *change = &all->changes[all->count];
    *change = (struct change){.kind = kind, .value = value};
    describe(all, made, change);
    change->quick = quick;
    plan_destroy(made);
    all->count += change->saved_bytes > 0 || change->time_ratio < 0.9995; /* else it buys nothing */
    return true;
}

/* The request as it was resolved, so that one thing alone changes. */
static struct plan_request resolved(const struct changing *all)
{
    struct plan_request request = *all->request;
    request.micro_batches = all->plan->devices[0].micro_batches;
    request.search_seconds = 0;
    request.rough = true;
    return request;
}

static bool change_policy(struct changing *all, enum recompute_policy policy, struct error *err)
{
    struct plan_request changed = resolved(all);
    if (all->plan->recompute == policy) return true;
    changed.recompute = policy;
    changed.recompute_budget_bytes = 0;
    return try_change(all, CHANGE_RECOMPUTE, policy, &changed, err);
}

/* Where everything is kept nothing moves unless the arena is to shrink: to half, for all that are compared. */
static uint64_t common_budget(const struct changing *all)
{
    uint64_t half = largest_arena(all->plan) / 2;
    if (all->plan->recompute != RECOMPUTE_NONE) return 0;
    return half > MIB ? half / MIB * MIB : half;
}

static struct plan_request budgeted(const struct changing *all)
{
    struct plan_request changed = resolved(all);
    if (common_budget(all) == 0) return changed;
    changed.recompute = RECOMPUTE_BUDGET;
    changed.recompute_budget_bytes = common_budget(all);
    return changed;
}

static bool change_budget(struct changing *all, struct error *err)
{
    struct plan_request changed = budgeted(all);
    return common_budget(all) == 0 || try_change(all, CHANGE_BUDGET, common_budget(all), &changed, err);
}

static bool change_offload(struct changing *all, struct error *err)
{
    struct plan_request changed = budgeted(all);
    if (changed.offload_bytes > 0) return true;
    changed.offload_bytes = UINT64_MAX;
    return try_change(all, CHANGE_OFFLOAD, common_budget(all), &changed, err);
}

static bool change_reconstruct(struct changing *all, struct error *err)
{
    struct plan_request changed = budgeted(all);
    if (changed.reconstruct) return true;
    changed.reconstruct = true;
    return try_change(all, CHANGE_RECONSTRUCT, common_budget(all), &changed, err);
}

/* Backends that are asked say what their ops need. */
static bool change_workspace(struct changing *all, struct error *err)
{
    struct plan_request changed = resolved(all);
    if (changed.workspace_bytes || changed.workspace_cap_bytes > 0) return true;
    if (changed.machine->devices[0].kind == DEVICE_CPU) return true;
    changed.workspace_cap_bytes = 8 * MIB;
    return try_change(all, CHANGE_WORKSPACE, changed.workspace_cap_bytes, &changed, err);
}

/* Only GPUs run half precision. */
static bool change_dtype(struct changing *all, struct error *err)
{
    struct plan_request changed = resolved(all);
    if (changed.dtype != DTYPE_F32) return true;
    changed.dtype = DTYPE_BF16;
    return try_change(all, CHANGE_DTYPE, DTYPE_BF16, &changed, err);
}

static bool change_micro_batches(struct changing *all, struct error *err)
{
    struct plan_request changed = resolved(all);
    changed.micro_batches *= 2;
    return try_change(all, CHANGE_MICRO_BATCHES, changed.micro_batches, &changed, err);
}

static bool change_batch(struct changing *all, struct error *err)
{
    struct plan_request changed = resolved(all);
    changed.batch /= 2;
    return try_change(all, CHANGE_BATCH, changed.batch, &changed, err);
}

static bool change_devices(struct changing *all, struct error *err)
{
    struct plan_request changed = resolved(all);
    struct machine machine = *changed.machine;
    size_t had = machine.device_count;
    if (had >= MACHINE_MOST_DEVICES || machine.devices[0].kind == DEVICE_CPU) return true;
    machine.devices = mem_alloc(MEM_PLAN, had + 1, sizeof *machine.devices);
    if (!machine.devices) return error_memory(err, (had + 1) * sizeof *machine.devices, "one more device");
    for (size_t d = 0; d <= had; d++) {
        machine.devices[d] = changed.machine->devices[d < had ? d : had - 1];
        machine.devices[d].comm_bytes = machine_comm_bytes(&machine.devices[d]);
    }
    machine.device_count = had + 1;
    changed.machine = &machine;
    bool ok = try_change(all, CHANGE_DEVICES, had + 1, &changed, err);
    mem_free(machine.devices);
    return ok;
}

bool change_saves_memory(const struct change *change)
{
    double peak = (double)change->peak_bytes + (double)change->saved_bytes;
    return (double)change->saved_bytes > CHANGE_WORTH * peak;
}

/* Those that fit; among them those that save memory, most first; then the fastest. */
static int by_gain(const void *left, const void *right)
{
    const struct change *a = left, *b = right;
    bool saves = change_saves_memory(a);
    if (a->fits != b->fits) return a->fits ? -1 : 1;
    if (saves != change_saves_memory(b)) return saves ? -1 : 1;
    if (saves && a->saved_bytes != b->saved_bytes) return a->saved_bytes > b->saved_bytes ? -1 : 1;
    if (a->time_ratio != b->time_ratio) return a->time_ratio < b->time_ratio ? -1 : 1;
    if (a->saved_bytes != b->saved_bytes) return a->saved_bytes > b->saved_bytes ? -1 : 1;
    return (int)a->kind - (int)b->kind;
}

bool changes_find(const struct plan_request *request, const struct plan *plan, struct change changes[CHANGES_MOST],
                  size_t *count, struct error *err)
{
    struct changing all = {request, plan, changes, 0};
    TRY(change_policy(&all, RECOMPUTE_NONE, err));
    TRY(change_policy(&all, RECOMPUTE_ELEMENTWISE, err));
    TRY(change_budget(&all, err));
    TRY(change_offload(&all, err));
    TRY(change_reconstruct(&all, err));
    TRY(change_workspace(&all, err));
    TRY(change_dtype(&all, err));
    TRY(change_micro_batches(&all, err));
    TRY(change_batch(&all, err));
    TRY(change_devices(&all, err));
    qsort(changes, all.count, sizeof *changes, by_gain);
    *count = all.count;
    return true;
}

char *change_words(const struct change *change, char *out, size_t size)
{
    char budget[48] = "";
    bool whole = change->value % MIB == 0;
    if (change->value > 0)
        snprintf(budget, sizeof budget, " --budget %" PRIu64 "%s", whole ? change->value / MIB : change->value,
                 whole ? "MiB" : "");
    switch (change->kind) {
    case CHANGE_RECOMPUTE:
        snprintf(out, size, "--recompute %s", recompute_policy_name((enum recompute_policy)change->value));
        break;
    case CHANGE_BUDGET: snprintf(out, size, "%s", budget + 1); break;
    case CHANGE_OFFLOAD: snprintf(out, size, "--offload auto%s", budget); break;
    case CHANGE_RECONSTRUCT: snprintf(out, size, "--reconstruct%s", budget); break;
    case CHANGE_WORKSPACE: snprintf(out, size, "--workspace %" PRIu64 "MiB", change->value / MIB); break;
    case CHANGE_DTYPE: snprintf(out, size, "--dtype %s", dtype_name((enum dtype)change->value)); break;
    case CHANGE_MICRO_BATCHES: snprintf(out, size, "--micro-batches %" PRIu64, change->value); break;
    case CHANGE_BATCH: snprintf(out, size, "--batch %" PRIu64, change->value); break;
    case CHANGE_DEVICES: snprintf(out, size, "%" PRIu64 " devices", change->value); break;
    case CHANGE_KINDS: break;
    }
    return out;
}

bool changes_less_again(const struct plan_request *request, const struct plan *plan, struct plan *others[2],
                        struct error *err)
{
    static const enum recompute_policy policies[2] = {RECOMPUTE_NONE, RECOMPUTE_ELEMENTWISE};
    struct plan_request changed = *request;
    changed.recompute_budget_bytes = changed.offload_bytes = 0;
    changed.reconstruct = false;
    changed.micro_batches = plan->devices[0].micro_batches;
    for (size_t i = 0; i < 2 && plan->recompute > policies[i]; i++) {
        changed.recompute = policies[i];
        TRY((others[i] = plan_make(&changed, err)) != NULL);
    }
    return true;
}
