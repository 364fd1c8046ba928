/* Plans over a sweep of a device's memory and of host memory: more of the host's never makes a slower plan, nor does
 * any against none. Nor does more of the device's, where all schedules for less are looked at (variant_search.c). */
#include "planner_kit.h"
#include "verify.h"

#define MIB      (UINT64_C(1) << 20)
#define MOST_OFF 4

struct sweep {
    const char *model;
    uint32_t batch, lowering;
    uint64_t first, step; /* of the arena, MiB */
    size_t budgets;
    uint64_t host[MOST_OFF]; /* MiB, rising; the first is 0 */
};

static struct machine machine;

static void finish(void) { machine_finish(&machine); }

static void check_plan(struct plan *plan, const struct plan_request *request)
{
    struct error err = {0};
    const struct plan_variant *variant = &plan->variants[0];
    cr_assert(plan_verify(plan, NULL, &err), "%s", err.text);
    cr_expect_leq(variant->arena_bytes, request->recompute_budget_bytes);
    cr_expect_leq(variant->host_bytes, request->offload_bytes);
    cr_expect_leq(variant->bound_seconds, variant->compute_seconds);
}

/* Host memory is used somewhere, and a larger limit pays somewhere. */
static void sweep_both(const struct sweep *sweep)
{
    double before[MOST_OFF] = {0};
    size_t used = 0, paid = 0;
    struct plan_request request = kit_request(sweep->model, "titan-x", sweep->batch, &machine);
    request.micro_batches = 1;
    request.lowering = sweep->lowering;
    request.recompute = RECOMPUTE_BUDGET;
    for (size_t b = 0; b < sweep->budgets; b++) {
        double last = 0;
        request.recompute_budget_bytes = (sweep->first + b * sweep->step) * MIB;
        for (size_t h = 0; h < MOST_OFF && (h == 0 || sweep->host[h]); h++) {
            request.offload_bytes = sweep->host[h] * MIB;
            struct plan *plan = kit_plan(&request);
            double seconds = plan->step_seconds;
            unsigned budget = (unsigned)(request.recompute_budget_bytes / MIB), host = (unsigned)sweep->host[h];
            check_plan(plan, &request);
            cr_expect(h == 0 || seconds <= last, "%s, %u MiB: %g with %u MiB of the host, %g with less", sweep->model,
                      budget, seconds, host, last);
            cr_expect(b == 0 || seconds <= before[h], "%s, %u MiB of the host: %g in %u MiB, %g in less", sweep->model,
                      host, seconds, budget, before[h]);
            used += plan->variants[0].host_bytes > 0;
            paid += h > 1 && seconds < last;
            last = before[h] = seconds;
            plan_destroy(plan);
        }
    }
    cr_expect(used > 1 && paid > 0, "%s: %zu plans use the host, %zu gain by more of it", sweep->model, used, paid);
}

Test(offload_sweep, more_of_either_memory_is_never_slower, .fini = finish)
{
    sweep_both(&(struct sweep){"resnet-50", 64, 0, 1400, 100, 3, {0, 256, 1024}});
}

/* Of more than 64 blocks: 1.183 s in 1,900 MiB and 1.194 in 2,000, when schedules for much less were passed over. */
Test(offload_sweep, more_of_the_device_is_never_slower_in_deeper_nets, .fini = finish)
{
    double before = 0;
    struct plan_request request = kit_request("resnet-200", "titan-x", 32, &machine);
    request.micro_batches = 1;
    request.lowering = 0;
    request.recompute = RECOMPUTE_BUDGET;
    request.offload_bytes = 1024 * MIB;
    for (uint64_t budget = 1900; budget <= 2000; budget += 100) {
        request.recompute_budget_bytes = budget * MIB;
        struct plan *plan = kit_plan(&request);
        check_plan(plan, &request);
        cr_expect_gt(plan->variants[0].host_bytes, 0);
        cr_expect(before <= 0 || plan->step_seconds <= before, "%g s in %u MiB, %g in less", plan->step_seconds,
                  (unsigned)budget, before);
        before = plan->step_seconds;
        plan_destroy(plan);
    }
}

/* Budgets between an eighth of what keeping everything takes and all of it, each with every limit of host memory: of
 * each plan those with less of either memory are no faster. */
static size_t sweep_small(const char *model, const char *gpus, uint32_t batch, uint32_t lowering)
{
    static const uint64_t host[] = {0, 4, 64};
    double before[3] = {0};
    size_t made = 0;
    struct plan_request request = kit_request(model, gpus, batch, &machine);
    request.micro_batches = 1;
    request.lowering = lowering;
    request.recompute = RECOMPUTE_NONE;
    struct plan *whole = kit_plan(&request);
    uint64_t all = whole->variants[0].arena_bytes;
    plan_destroy(whole);
    request.recompute = RECOMPUTE_BUDGET;
    for (uint64_t budget = all / 8; budget <= all; budget += all / 8) {
        double last = 0;
        request.recompute_budget_bytes = budget;
        for (size_t h = 0; h < 3; h++) {
            struct error err = {0};
            request.offload_bytes = host[h] * MIB;
            struct plan *plan = plan_make(&request, &err);
            cr_assert(plan || err.kind == ERROR_UNFIT, "%s", err.text);
            cr_expect(plan || (before[h] <= 0 && last <= 0), "%s: less fits", model);
            if (!plan) continue;
            check_plan(plan, &request);
            cr_expect(last <= 0 || plan->step_seconds <= last, "%s: host", model);
            cr_expect(before[h] <= 0 || plan->step_seconds <= before[h], "%s: device", model);
            last = before[h] = plan->step_seconds;
            made++;
            plan_destroy(plan);
        }
    }
    machine_finish(&machine);
    return made;
}

Test(offload_sweep, of_many_small_nets)
{
    size_t made = sweep_small("resnet-20", "v100", 32, LOWER_EXACT) + sweep_small("plain-20", "p100", 32, 0) +
                  sweep_small("resnet-18", "p100", 8, LOWER_BN | LOWER_BN_ADD);
    cr_expect_gt(made, 36);
}
