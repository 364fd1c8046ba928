/* Whatever is asked of the planner: the plan verifies, and no sharing or recomputation changes which ops there are. */
#include <stdio.h>

#include "planner_kit.h"
#include "rounds.h"
#include "sharing.h"
#include "verify.h"

static void check(const struct kit_options *options)
{
    struct plan *plan = kit_make_from(options);
    struct error err = {0};
    enum verify_fault fault = VERIFY_MEMORY;
    cr_assert(plan_verify(plan, &fault, &err), "%s: %s", options->model, err.text);
    cr_assert_eq(fault, VERIFY_OK);
    bool divided = options->micro_batches > 1 || (plan->device_count > 1 && !plan->sync_bn);
    cr_assert_eq(plan->changes_bn, divided && plan->spec.family != FAMILY_VGG);
    plan_destroy(plan);
}

static void check_policies(struct kit_options options)
{
    static const uint32_t micro_batches[] = {1, 2, 4};
    for (int policy = RECOMPUTE_NONE; policy <= RECOMPUTE_ELEMENTWISE; policy++)
        for (size_t m = 0; m < 3; m += few_rounds() ? 2 : 1)
            for (int sharing = SHARING_FULL; sharing <= SHARING_GRADINPUT; sharing++) {
                options.recompute = (enum recompute_policy)policy;
                options.micro_batches = micro_batches[m];
                options.sharing = (enum sharing_policy)sharing;
                check(&options);
            }
}

Test(property, every_model_verifies_under_every_policy)
{
    static const char *const models[] = {"resnet-18", "resnet-50", "resnet-20",    "resnet-110",  "resnet-164",
                                         "plain-20",  "vgg-a",     "bn-inception", "inception-v3"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        check_policies((struct kit_options){.model = models[i], .batch = 8, .gpus = "80GiB"});
}

Test(property, every_unit_and_shortcut_verifies)
{
    for (int unit = UNIT_ORIGINAL; unit < UNIT_KINDS; unit++)
        check_policies((struct kit_options){.model = "resnet-20", .unit = unit + 1, .batch = 8, .gpus = "80GiB"});
    for (int shortcut = SHORTCUT_A; shortcut <= SHORTCUT_DROPOUT; shortcut++)
        check_policies(
            (struct kit_options){.model = "resnet-20", .shortcut = shortcut + 1, .batch = 8, .gpus = "80GiB"});
}

Test(property, several_devices_and_small_buckets_verify)
{
    static const char *const machines[] = {"2x80GiB", "3x80GiB,24GiB", "8x16GiB"};
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++)
        for (int sync = 0; sync < 2; sync++)
            check_policies((struct kit_options){.model = "resnet-20",
                                                .batch = 32,
                                                .gpus = machines[i],
                                                .sync_bn = sync,
                                                .bucket_bytes = i == 1 ? 4096 : 0});
}

/* Of the variant's last gradient bucket: the graph tensor that goes between devices. */
static const struct plan_tensor *find_message(const struct plan_variant *variant)
{
    const struct plan_tensor *found = NULL;
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct plan_op *op = &variant->train.ops[i];
        const struct op *graph_op = &variant->graph->ops[op->op];
        if (graph_op->kind == OP_ALL_REDUCE) found = &variant->train.tensors[op->out[graph_op->outputs - 1]];
    }
    cr_assert(found);
    return found;
}

/* Apart they are the arena's end, as many bytes on unequal devices and each at the same place from there; in 16 bits
 * half as many. The arena grows by no more than them, and what the proof says of it holds. */
Test(property, gradients_apart_have_one_place_on_all_devices)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};
    uint64_t bytes[2];
    for (int i = 0; i < 2; i++)
        for (uint32_t micro = 1; micro <= 2; micro++) {
            struct kit_options options = {.model = "resnet-20",
                                          .batch = 24,
                                          .gpus = "8GiB,16GiB",
                                          .micro_batches = micro,
                                          .bucket_bytes = 256 << 10,
                                          .reduce_dtype = dtypes[i]};
            struct plan *within = kit_make_from(&options);
            options.reduce_apart = true;
            struct plan *apart = kit_make_from(&options);
            cr_assert_eq(apart->variant_count, 2);
            bytes[i] = plan_apart_bytes(apart->variants[0].graph);
            cr_expect_eq(plan_apart_bytes(within->variants[0].graph), 0);
            for (int v = 0; v < 2; v++) {
                const struct plan_variant *variant = &apart->variants[v];
                cr_expect_eq(plan_apart_bytes(variant->graph), bytes[i]);
                cr_expect_eq(variant->arena_bytes - find_message(variant)->offset,
                             apart->variants[0].arena_bytes - find_message(&apart->variants[0])->offset);
                cr_expect_leq(variant->arena_bytes, within->variants[v].arena_bytes + bytes[i]);
                cr_expect_geq(variant->classes[MEMORY_GRADIENTS], bytes[i]);
            }
            plan_destroy(within);
            plan_destroy(apart);
        }
    cr_expect_float_eq((double)bytes[1] / (double)bytes[0], 0.5, 0.01);
}

/* On devices that are just large enough without. */
Test(property, gradients_lie_in_the_arena_where_they_would_not_fit_apart)
{
    struct kit_options options = {
        .model = "resnet-20", .batch = 24, .gpus = "2x8GiB", .recompute = RECOMPUTE_NONE, .bucket_bytes = 65536};
    struct plan *within = kit_make_from(&options);
    char gpus[64];
    uint64_t peak = within->devices[0].peak_bytes;
    snprintf(gpus, sizeof gpus, "2x%lluB", (unsigned long long)(peak + peak / 31 + 64));
    plan_destroy(within);
    options.gpus = gpus;
    options.micro_batches = 1;
    for (int i = 0; i < 3; i++) {
        options.reduce_apart = i > 0;
        options.reduce_anywhere = i == 2;
        struct plan *plan = kit_make_from(&options);
        cr_expect_eq(plan->fits, i != 1, "%d", i);
        cr_expect_eq(plan->variants[0].graph->options.reduce_apart, i == 1);
        plan_destroy(plan);
    }
}

/* What holds gradients longer is left out where the plan does not fit with it. */
Test(property, less_is_fused_where_all_would_not_fit)
{
    const uint32_t less = LOWER_EXACT & ~(uint32_t)(LOWER_GRADIENT | LOWER_WEIGHTS | LOWER_GRADIENT_KEEP);
    struct kit_options options = {.model = "resnet-20",
                                  .batch = 32,
                                  .gpus = "cpu",
                                  .lowering = less,
                                  .recompute = RECOMPUTE_BUDGET,
                                  .budget = 20 << 20};
    struct error err = {0};
    struct plan *plan = kit_make_from(&options);
    while (plan) {
        options.budget = plan->variants[0].arena_bytes - 1;
        plan_destroy(plan);
        plan = kit_try(&options, &err);
    }
    options.budget++; /* the least that was found */
    options.lowering = less | LOWER_GRADIENT_KEEP;
    cr_assert_null(kit_try(&options, &err));
    options.lower_less = true;
    plan = kit_make_from(&options);
    cr_expect(plan->fits);
    cr_expect_eq(plan->lowering, less);
    plan_destroy(plan);
    options.budget = 1 << 30;
    plan = kit_make_from(&options);
    cr_expect_eq(plan->lowering, less | LOWER_GRADIENT_KEEP);
    plan_destroy(plan);
}

Test(property, every_way_between_devices_verifies)
{
    for (int i = 0; i < 4; i++)
        check_policies((struct kit_options){.model = "resnet-20",
                                            .batch = 32,
                                            .gpus = "2x80GiB",
                                            .bucket_bytes = 65536,
                                            .dtype = i / 2 ? DTYPE_F16 : DTYPE_F32,
                                            .lowering = i / 2 ? LOWER_ALL : 0,
                                            .reduce_dtype = DTYPE_F16,
                                            .reduce_apart = i % 2});
}

Test(property, half_precision_activations_take_half_the_bytes)
{
    struct plan *full = kit_make(.model = "resnet-110", .batch = 32, .gpus = "80GiB", .recompute = RECOMPUTE_NONE);
    struct plan *half =
        kit_make(.model = "resnet-110", .batch = 32, .gpus = "80GiB", .recompute = RECOMPUTE_NONE, .dtype = DTYPE_F16);
    double ratio = (double)half->variants[0].classes[MEMORY_KEPT] / (double)full->variants[0].classes[MEMORY_KEPT];
    cr_assert(ratio > 0.5 && ratio < 0.55, "found %g", ratio);
    plan_destroy(full);
    plan_destroy(half);
}

Test(property, more_devices_never_need_more_memory_each)
{
    uint64_t before = UINT64_MAX;
    static const char *const machines[] = {"80GiB", "2x80GiB", "4x80GiB", "8x80GiB"};
    for (size_t i = 0; i < 4; i++) {
        struct plan *plan =
            kit_make(.model = "resnet-110", .batch = 128, .gpus = machines[i], .recompute = RECOMPUTE_NONE);
        cr_assert_lt(plan->variants[0].arena_bytes, before);
        before = plan->variants[0].arena_bytes;
        plan_destroy(plan);
    }
}

/* Budgets from everything down to the least: each arena is within its budget, and less memory never costs less time. */
Test(property, budgets_are_kept)
{
    static const char *const models[] = {"resnet-110", "resnet-164", "resnet-50", "vgg-a"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct plan *all = kit_make(.model = models[i], .batch = 16, .gpus = "80GiB", .recompute = RECOMPUTE_NONE);
        uint64_t whole = all->variants[0].arena_bytes;
        double before = 0;
        size_t made = 0;
        plan_destroy(all);
        for (int part = 100; part >= 10; part -= few_rounds() ? 45 : 15) {
            struct kit_options options = {.model = models[i],
                                          .batch = 16,
                                          .gpus = "80GiB",
                                          .recompute = RECOMPUTE_BUDGET,
                                          .budget = whole * (uint64_t)part / 100};
            struct error err = {0};
            struct plan *plan = kit_try(&options, &err);
            if (!plan) {
                cr_assert_eq(err.kind, ERROR_UNFIT, "%s", err.text);
                break;
            }
            cr_assert_leq(plan->variants[0].arena_bytes, options.budget);
            cr_assert_eq(plan->recompute_budget_bytes, options.budget);
            cr_assert(plan_verify(plan, NULL, &err), "%s", err.text);
            cr_assert_geq(plan->variants[0].extra_time_fraction, before * (1 - 1e-6), "%s at %d %%: %.9f after %.9f",
                          models[i], part, plan->variants[0].extra_time_fraction, before);
            before = plan->variants[0].extra_time_fraction;
            made++;
            plan_destroy(plan);
        }
        cr_assert_gt(made, 0, "%s", models[i]);
    }
}

/* AUTO goes down the ladder only as far as it must. */
Test(property, automatic_recomputation_is_the_least_that_fits)
{
    static const struct {
        const char *gpu;
        enum recompute_policy policy;
    } steps[] = {{"8GiB", RECOMPUTE_NONE}, {"1800MiB", RECOMPUTE_ELEMENTWISE}, {"1GiB", RECOMPUTE_BUDGET}};
    for (size_t i = 0; i < 3; i++) {
        struct plan *plan = kit_make(.model = "resnet-164", .batch = 64, .gpus = steps[i].gpu);
        cr_assert(plan->fits);
        cr_assert_eq(plan->recompute, steps[i].policy, "%s: %s", steps[i].gpu, recompute_policy_name(plan->recompute));
        cr_assert_eq(plan->devices[0].micro_batches, 1);
        plan_destroy(plan);
    }
}

Test(property, micro_batches_are_the_last_resort)
{
    struct plan *plan = kit_make(.model = "resnet-164", .batch = 128, .gpus = "440MiB");
    cr_assert(plan->fits);
    cr_assert_gt(plan->devices[0].micro_batches, 1);
    cr_assert(plan->changes_bn);
    plan_destroy(plan);
}
