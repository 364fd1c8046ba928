/* Programs that offload, under uniform and random schedules: they verify, and take what their bound says. */
#include <stdio.h>

#include "keep.h"
#include "offload_kit.h"
#include "plan_request.h"
#include "planner_kit.h"
#include "verify.h"

static void check_follow(struct plan *plan, struct chain_schedule *schedule, const char *what)
{
    struct plan_request request = {.spec = plan->spec, .batch = plan->batch};
    struct error err = {0};
    offload_follow(plan, &request, schedule);
    cr_assert(plan_verify(plan, NULL, &err), "%s, %s: %s", plan->spec.name, what, err.text);
    const struct plan_variant *variant = &plan->variants[0];
    cr_assert_geq(variant->arena_bytes, variant->lower_bound_bytes);
    uint64_t evaluate = offload_evaluate_bytes(variant), most = variant->lower_bound_bytes;
    if (evaluate > most) most = evaluate;
    cr_assert_leq(variant->arena_bytes, most + most / 20, "%s, %s: %zu over %zu", plan->spec.name, what,
                  (size_t)variant->arena_bytes, (size_t)most);
    chain_schedule_finish(schedule);
}

static uint32_t all_on_host(uint32_t block)
{
    (void)block;
    return KEEP_ALL | KEEP_ON_HOST;
}

static uint32_t convolutions_on_host(uint32_t block)
{
    (void)block;
    return KEEP_CONVOLUTIONS | KEEP_ON_HOST;
}

static uint32_t mixed(uint32_t block)
{
    return block % 3 == 0 ? KEEP_ALL : block % 3 == 1 ? KEEP_ALL | KEEP_ON_HOST : KEEP_CONVOLUTIONS | KEEP_ON_HOST;
}

Test(offload, blocks_on_the_host_leave_the_arena)
{
    static const char *const models[] = {"resnet-110", "resnet-164", "resnet-50", "vgg-a", "inception-v3"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct plan *plan = kit_make(.model = models[i], .batch = 32, .gpus = "80GiB", .recompute = RECOMPUTE_NONE);
        size_t blocks = plan->variants[0].graph->block_count;
        uint64_t kept = plan->variants[0].classes[MEMORY_KEPT];
        cr_assert_eq(plan->variants[0].host_bytes, 0);
        struct chain_schedule schedule = offload_save_all(blocks, all_on_host);
        check_follow(plan, &schedule, "all");
        uint64_t host = plan->variants[0].host_bytes;
        bool deep = blocks > 20;
        if (deep) cr_assert_lt(plan->variants[0].classes[MEMORY_KEPT], kept / 4, "%s", models[i]);
        if (deep) cr_assert_gt(host, kept / 10 * 8, "%s", models[i]);
        schedule = offload_save_all(blocks, convolutions_on_host);
        check_follow(plan, &schedule, "convolutions");
        cr_assert_leq(plan->variants[0].host_bytes, host);
        schedule = offload_save_all(blocks, mixed);
        check_follow(plan, &schedule, "mixed");
        plan_destroy(plan);
    }
}

Test(offload, random_schedules_verify)
{
    static const uint32_t flags[] = {KEEP_ON_HOST, KEEP_RECONSTRUCT | KEEP_LEAN,
                                     KEEP_ON_HOST | KEEP_RECONSTRUCT | KEEP_LEAN};
    static const struct kit_options of[] = {
        {.model = "resnet-20", .batch = 32, .gpus = "2x80GiB"},
        {.model = "resnet-20", .unit = UNIT_PREACT + 1, .batch = 32, .gpus = "80GiB", .micro_batches = 2},
        {.model = "resnet-29", .batch = 32, .gpus = "80GiB"},
        {.model = "resnet-18", .batch = 8, .gpus = "2x80GiB", .micro_batches = 2},
        {.model = "resnet-56", .shortcut = SHORTCUT_DROPOUT + 1, .batch = 16, .gpus = "80GiB"},
        {.model = "vgg-a", .batch = 4, .gpus = "80GiB"}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        struct kit_options options = of[i];
        options.recompute = RECOMPUTE_NONE;
        struct plan *plan = kit_make_from(&options);
        for (uint64_t seed = 0; seed < 30; seed++) {
            char what[32];
            snprintf(what, sizeof what, "seed %d", (int)seed);
            struct chain_schedule schedule =
                offload_random_schedule(plan->variants[0].graph->block_count, flags[seed % 3], seed);
            check_follow(plan, &schedule, what);
        }
        plan_destroy(plan);
    }
}
