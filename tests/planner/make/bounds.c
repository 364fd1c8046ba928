/* How much faster than a plan another of its form could be: against all schedules within that limit of the chain. */
#include <math.h>

#include "block_costs.h"
#include "planner_kit.h"
#include "variant.h"

#define MIB (UINT64_C(1) << 20)

static struct machine machine;

static void finish(void) { machine_finish(&machine); }

static struct plan_request request_for(const char *model, const char *gpus, uint32_t batch, uint64_t budget)
{
    struct plan_request request = kit_request(model, gpus, batch, &machine);
    request.micro_batches = 1;
    request.recompute = RECOMPUTE_BUDGET;
    request.recompute_budget_bytes = budget;
    return request;
}

static void expect_least_time(const struct plan_request *request, const struct plan *plan, uint64_t budget)
{
    const struct plan_variant *variant = &plan->variants[0];
    struct variant_request wanted = {request, &machine.devices[0], request->batch, 1, 1, true};
    struct block_costs blocks;
    struct chain_schedule fastest;
    struct error err = {0};
    cr_assert(block_costs_measure(&wanted, variant->graph, &blocks, &err), "%s", err.text);
    cr_expect_geq(variant->chain_limit, block_costs_quanta(&blocks, variant->arena_bytes));
    cr_assert(chain_solve(&blocks.chain, variant->chain_limit, 0, &fastest, &err), "%s", err.text);
    double bound = variant->chain_seconds - variant->spare_seconds;
    cr_assert(fastest.optimal);
    cr_expect_leq(bound, fastest.seconds * (1 + 1e-9), "%lu bytes: %g, but %g", (unsigned long)budget, bound,
                  fastest.seconds);
    cr_expect_geq(bound, fastest.seconds * (1 - 1e-6), "%lu bytes: %g, not %g", (unsigned long)budget, bound,
                  fastest.seconds);
    cr_expect_float_eq(variant->bound_seconds, variant->compute_seconds - variant->spare_seconds, 1e-12);
    chain_schedule_finish(&fastest);
    block_costs_finish(&blocks);
}

/* Of two searches the second may win, with more memory than the first was given. */
Test(bounds, budgets_in_small_steps, .fini = finish)
{
    struct plan_request request = request_for("resnet-50", "p100", 128, 0);
    size_t limits = 0;
    uint64_t before = 0;
    for (uint64_t mib = 2782; mib < 2862; mib += 4) {
        request.recompute_budget_bytes = mib * MIB;
        struct plan *plan = kit_plan(&request);
        expect_least_time(&request, plan, request.recompute_budget_bytes);
        limits += plan->variants[0].chain_limit != before;
        before = plan->variants[0].chain_limit;
        plan_destroy(plan);
    }
    cr_expect_gt(limits, 5);
}

struct looks {
    uint32_t count, last; /* so far, and which of them ends planning; 0 = none */
};

static bool look(void *context)
{
    struct looks *looks = context;
    return ++looks->count != looks->last;
}

/* Of a chain that is too long to be solved exactly, whichever shares are tried on the way: once, and after a look. */
Test(bounds, of_the_plan_taken_alone, .fini = finish)
{
    struct plan_request request = request_for("resnet-1550", "titan-x", 2, 400 * MIB);
    struct looks looks = {0};
    struct error err = {0};
    request.micro_batches = 0;
    request.any_micro_batches = true;
    request.watch = look;
    request.watch_context = &looks;
    struct plan *plan = kit_plan(&request);
    uint32_t tried = looks.count;
    cr_expect(tried > 1 && plan->variants[0].chain_limit > 0 && plan->variants[0].bound_seconds <= 0, "%u", tried);
    plan_destroy(plan);
    request.bound = true;
    looks.count = 0;
    plan = kit_plan(&request);
    cr_expect_eq(looks.count, tried + 1);
    double bound = plan->variants[0].bound_seconds, computing = plan->variants[0].compute_seconds;
    cr_expect(bound > computing / 2 && bound <= computing, "%g of %g", bound, computing);
    plan_destroy(plan);
    looks = (struct looks){.last = tried + 1};
    cr_expect_null(plan_make(&request, &err));
    cr_expect_eq(err.kind, ERROR_FAILED);
}

/* Devices of one variant that are not neighbours. */
Test(bounds, of_each_kind_of_device, .fini = finish)
{
    struct plan_request request = request_for("resnet-20", "p100,titan-x,p100", 96, 16 * MIB);
    struct plan *plan = kit_plan(&request);
    cr_assert(plan->variant_count == 2 && plan->devices[0].variant == plan->devices[2].variant);
    for (size_t v = 0; v < plan->variant_count; v++) {
        double bound = plan->variants[v].bound_seconds, computing = plan->variants[v].compute_seconds;
        cr_expect(bound > 0 && bound <= computing, "variant %zu: %g of %g", v, bound, computing);
    }
    plan_destroy(plan);
}
