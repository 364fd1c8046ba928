/* Plans over a sweep of memory: more of it never makes a slower plan, nor one that no longer fits. */
#include <stdio.h>
#include <string.h>

#include "planner_kit.h"

struct sweep {
    struct kit_options options;
    double seconds; /* extra time of the plan with less memory, as a fraction */
    bool fitted;    /* some plan with less memory did */
    size_t made, budgets;
};

static void make_one(struct sweep *sweep, uint64_t mib)
{
    char gpu[32];
    snprintf(gpu, sizeof gpu, "%luMiB", (unsigned long)mib);
    sweep->options.gpus = gpu;
    struct plan *plan = kit_make_from(&sweep->options);
    cr_assert(plan->fits || !sweep->fitted, "%s no longer fits %s", sweep->options.model, gpu);
    double extra = plan->variants[0].extra_time_fraction;
    if (plan->fits) {
        cr_assert_leq(plan->devices[0].peak_bytes, mib << 20);
        cr_assert(!sweep->fitted || extra <= sweep->seconds * (1 + 1e-6), "%s on %s: %.6f more time, less memory %.6f",
                  sweep->options.model, gpu, extra, sweep->seconds);
        sweep->budgets += plan->recompute == RECOMPUTE_BUDGET;
        sweep->seconds = extra;
    }
    sweep->fitted |= plan->fits;
    sweep->made++;
    plan_destroy(plan);
}

static void sweep_memory(struct kit_options options, uint64_t mib, double factor)
{
    struct sweep sweep = {.options = options};
    sweep.options.micro_batches = 1;
    for (double now = (double)mib; sweep.made < 200 && !(sweep.fitted && sweep.seconds <= 0); now *= factor)
        make_one(&sweep, (uint64_t)now);
    cr_assert_gt(sweep.budgets, 3);
    cr_assert(sweep.fitted && sweep.seconds <= 0, "%s: with enough, everything is kept", options.model);
}

Test(sweep, more_memory_is_never_slower)
{
    sweep_memory((struct kit_options){.model = "resnet-110", .batch = 128}, 400, 1.04);
    sweep_memory((struct kit_options){.model = "resnet-164", .batch = 64}, 420, 1.06);
    sweep_memory((struct kit_options){.model = "resnet-50", .batch = 32}, 900, 1.05);
    sweep_memory((struct kit_options){.model = "vgg-a", .batch = 32}, 1800, 1.03);
    sweep_memory((struct kit_options){.model = "resnet-56", .batch = 256, .dtype = DTYPE_BF16}, 400, 1.05);
}

/* Steps of a few bytes around one place, where placement and rounding would show. */
Test(sweep, a_few_bytes_more_are_never_slower)
{
    struct error err = {0};
    double before = 1e9;
    for (uint64_t i = 0; i < 40; i++) {
        struct kit_options options = {.model = "resnet-110",
                                      .batch = 64,
                                      .gpus = "8GiB",
                                      .recompute = RECOMPUTE_BUDGET,
                                      .budget = (90u << 20) + i * (100u << 10)};
        struct plan *plan = kit_try(&options, &err);
        cr_assert(plan, "%s", err.text);
        cr_assert_leq(plan->variants[0].arena_bytes, options.budget);
        cr_assert_leq(plan->variants[0].extra_time_fraction, before * (1 + 1e-6), "budget %lu",
                      (unsigned long)options.budget);
        before = plan->variants[0].extra_time_fraction;
        plan_destroy(plan);
    }
}

/* What less workspace buys comes late: larger caps make this plan slower before a smaller one makes it fast. */
Test(sweep, less_workspace_is_tried_to_the_end)
{
    struct error err = {0};
    struct kit_options options = {.model = "resnet-200", .batch = 64, .gpus = "2GiB", .recompute = RECOMPUTE_AUTO};
    struct plan *plan = kit_try(&options, &err);
    cr_assert(plan && plan->fits, "%s", err.text);
    cr_expect_lt(plan->variants[0].extra_flops_fraction, 0.5);
    plan_destroy(plan);
}

Test(sweep, a_budget_below_the_least_arena_says_what_would_do)
{
    struct error err = {0};
    struct kit_options options = {
        .model = "resnet-110", .batch = 64, .gpus = "8GiB", .recompute = RECOMPUTE_BUDGET, .budget = 30u << 20};
    cr_assert_null(kit_try(&options, &err));
    cr_assert_eq(err.kind, ERROR_UNFIT);
    cr_assert(strstr(err.text, "--budget: found 30.0 MiB (31457280 bytes); "), "%s", err.text);
    cr_assert(strstr(err.text, "the least arena found for resnet-110 has"), "%s", err.text);
    cr_assert(strstr(err.text, " % more computation"), "%s", err.text);
}
