/* What a plan's device holds, counted apart, comes to what the plan says. */
#include "breakdown.h"
#include "mem.h"
#include "occupancy.h"
#include "planner_kit.h"
#include "sharing.h"

static const struct kit_options plans[] = {
    {.model = "resnet-20", .batch = 64, .gpus = "12GiB", .recompute = RECOMPUTE_NONE},
    {.model = "resnet-110", .batch = 96, .gpus = "titan-x,2x12GiB", .recompute = RECOMPUTE_ELEMENTWISE},
    {.model = "resnet-164", .batch = 128, .gpus = "1GiB"},
    {.model = "resnet-50", .batch = 32, .gpus = "2x12GiB", .micro_batches = 2, .sync_bn = true},
    {.model = "vgg-a", .batch = 16, .gpus = "cpu"},
    {.model = "resnet-18", .batch = 16, .gpus = "12GiB", .sharing = SHARING_NONE},
};
#define PLANS (sizeof plans / sizeof plans[0])

Test(breakdown, the_curve_peaks_at_the_lower_bound)
{
    for (size_t p = 0; p < PLANS; p++) {
        struct plan *plan = kit_make_from(&plans[p]);
        for (size_t v = 0; v < plan->variant_count; v++) {
            const struct plan_variant *variant = &plan->variants[v];
            struct error err = {0};
            uint64_t *live = occupancy_curve(variant->graph, &variant->train, &err), most = 0;
            cr_assert(live, "%s", err.text);
            for (size_t i = 0; i < variant->train.op_count; i++)
                if (live[i] > most) most = live[i];
            cr_expect_eq(most, variant->lower_bound_bytes, "%s: %lu, not %lu", plans[p].model, (unsigned long)most,
                         (unsigned long)variant->lower_bound_bytes);
            cr_expect_eq(live[variant->peak_op], most, "%s", plans[p].model);
            mem_free(live);
        }
        plan_destroy(plan);
    }
}

static void check_device(const struct plan *plan, uint32_t device)
{
    struct breakdown breakdown;
    struct error err = {0};
    const struct plan_variant *variant = &plan->variants[plan->devices[device].variant];
    cr_assert(breakdown_make(plan, device, NULL, &breakdown, &err), "%s", err.text);
    uint64_t sum = 0, parameters = 0, macs = 0, kinds = 0;
    for (size_t i = 0; i < breakdown.part_count; i++) {
        sum += breakdown.parts[i].bytes;
        if (i) cr_expect_leq(breakdown.parts[i].bytes, breakdown.parts[i - 1].bytes);
        if (breakdown.parts[i].gaps)
            cr_expect_leq(breakdown.parts[i].bytes, variant->arena_bytes - variant->lower_bound_bytes);
    }
    cr_expect_eq(sum, plan->devices[device].peak_bytes, "the parts sum to the peak");
    for (size_t i = 0; i < breakdown.stage_count; i++) {
        parameters += breakdown.stages[i].parameters;
        macs += breakdown.stages[i].macs;
    }
    cr_expect_eq(parameters, variant->graph->parameter_elements);
    cr_expect_eq(macs, variant->graph->forward_macs);
    for (int k = 0; k < OP_KINDS; k++) kinds += breakdown.kinds[k].ops;
    cr_expect_eq(kinds, variant->train.op_count);
    for (size_t i = 1; i < breakdown.largest_count; i++)
        cr_expect_leq(variant->train.tensors[breakdown.largest[i]].bytes,
                      variant->train.tensors[breakdown.largest[i - 1]].bytes);
    const struct breakdown_blocks *blocks = &breakdown.blocks;
    cr_expect_eq(blocks->count, variant->graph->block_count);
    cr_expect_eq(blocks->kept + blocks->redone + blocks->rerun, blocks->count);
    cr_expect_eq(blocks->rerun > 0, variant->recomputed_convolutions > 0);
    cr_expect_eq(blocks->most_runs > 1, blocks->rerun > 0);
    cr_expect_eq(blocks->redone + blocks->rerun > 0, variant->extra_flops_fraction > 0);
    breakdown_finish(&breakdown);
}

Test(breakdown, sums_to_the_plan)
{
    for (size_t p = 0; p < PLANS; p++) {
        struct plan *plan = kit_make_from(&plans[p]);
        for (uint32_t d = 0; d < plan->device_count; d++) check_device(plan, d);
        plan_destroy(plan);
    }
}

Test(breakdown, survives_failing_allocations)
{
    struct plan *plan = kit_make_from(&plans[0]);
    uint64_t before = mem_current_bytes(MEM_PLAN);
    for (uint64_t n = 1;; n++) {
        struct breakdown breakdown;
        struct error err = {0};
        mem_fail_at(n);
        bool ok = breakdown_make(plan, 0, NULL, &breakdown, &err);
        bool fired = mem_fail_at(0);
        breakdown_finish(&breakdown);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), before);
        cr_assert_neq(ok, fired);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
    }
    plan_destroy(plan);
}
