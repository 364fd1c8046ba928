/* What the planner makes of host memory: used where it is predicted to be faster than running blocks again, within its
 * limit, and never where everything can be kept. */
#include "machine.h"
#include "make.h"
#include "planner_kit.h"
#include "verify.h"

struct wanted {
    const char *model, *gpu;
    uint32_t batch;
    uint64_t memory; /* of the device; 0 = as it is */
    enum recompute_policy recompute;
    uint64_t budget, offload;
};

static struct plan *make(const struct wanted *wanted, struct error *err)
{
    struct machine machine = {0};
    struct model_options overrides = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = wanted->batch,
                                   .machine = &machine,
                                   .micro_batches = 1,
                                   .recompute = wanted->recompute,
                                   .recompute_budget_bytes = wanted->budget,
                                   .offload_bytes = wanted->offload};
    cr_assert(model_parse(wanted->model, &overrides, &request.spec, err), "%s", err->text);
    cr_assert(machine_parse(wanted->gpu, &machine, err), "%s", err->text);
    if (wanted->memory) machine.devices[0].memory_bytes = wanted->memory;
    struct plan *plan = plan_make(&request, err);
    cr_assert(!plan || plan_verify(plan, NULL, err), "%s", err->text);
    machine_finish(&machine);
    return plan;
}

static struct plan *must_make(struct wanted wanted)
{
    struct error err = {0};
    struct plan *plan = make(&wanted, &err);
    cr_assert(plan, "%s", err.text);
    return plan;
}

/* A Titan X with a sixth of its memory: ResNet-164's activations at batch 128 are three times that. */
static const struct wanted tight = {.model = "resnet-164", .gpu = "titan-x", .batch = 128, .memory = 1400u << 20};

Test(offload, is_faster_where_the_link_is_good_for_the_device)
{
    struct wanted wanted = tight;
    struct plan *without = must_make(wanted);
    wanted.offload = UINT64_MAX;
    struct plan *with = must_make(wanted);
    cr_assert(without->fits && with->fits);
    cr_assert_eq(without->variants[0].host_bytes, 0);
    cr_assert_eq(plan_offloaded_bytes(&without->variants[0].train), 0);
    cr_assert_gt(with->variants[0].host_bytes, 100u << 20);
    cr_assert_geq(plan_offloaded_bytes(&with->variants[0].train), with->variants[0].host_bytes / 2);
    cr_assert_lt(with->step_seconds, without->step_seconds * 0.97, "%g against %g", with->step_seconds,
                 without->step_seconds);
    plan_destroy(with);
    plan_destroy(without);
}

Test(offload, is_not_used_where_computing_again_is_faster)
{
    struct wanted wanted = tight;
    wanted.gpu = "h100-pcie";
    wanted.memory = 2200u << 20;
    struct plan *without = must_make(wanted);
    wanted.offload = UINT64_MAX;
    struct plan *with = must_make(wanted);
    cr_assert_gt(without->variants[0].extra_flops_fraction, 0);
    cr_assert_leq(with->step_seconds, without->step_seconds);
    cr_assert_leq(with->variants[0].host_bytes, 100u << 20, "%zu", (size_t)with->variants[0].host_bytes);
    plan_destroy(with);
    plan_destroy(without);
}

Test(offload, is_not_used_where_all_can_be_kept)
{
    struct plan *plan =
        must_make((struct wanted){.model = "resnet-164", .gpu = "titan-x", .batch = 128, .offload = UINT64_MAX});
    cr_assert_eq(plan->recompute, RECOMPUTE_NONE);
    cr_assert_eq(plan->variants[0].host_bytes, 0);
    plan_destroy(plan);
}

Test(offload, keeps_to_the_host_memory_it_is_given)
{
    struct wanted wanted = tight;
    wanted.offload = UINT64_MAX;
    struct plan *free = must_make(wanted);
    uint64_t all = free->variants[0].host_bytes;
    for (uint64_t part = 1; part < 4; part++) {
        wanted.offload = all * part / 4;
        struct plan *plan = must_make(wanted);
        cr_assert_leq(plan->variants[0].host_bytes, wanted.offload);
        cr_assert(plan->fits);
        cr_assert_geq(plan->step_seconds, free->step_seconds * 0.999);
        plan_destroy(plan);
    }
    plan_destroy(free);
}

/* Part of the net waits there and part runs again, so that no step of the ladder is a cliff. */
Test(offload, more_host_memory_is_never_slower)
{
    struct wanted wanted = {.model = "resnet-110",
                            .gpu = "titan-x",
                            .batch = 128,
                            .recompute = RECOMPUTE_BUDGET,
                            .budget = (uint64_t)300 << 20};
    double before = 0, first = 0;
    size_t used = 0;
    for (uint64_t limit = 0; limit <= (uint64_t)768 << 20; limit += (uint64_t)192 << 20) {
        wanted.offload = limit;
        struct plan *plan = must_make(wanted);
        cr_assert_leq(plan->variants[0].host_bytes, limit);
        if (limit > 0) cr_expect_leq(plan->step_seconds, before, "%zu MiB", (size_t)(limit >> 20));
        if (limit == 0) first = plan->step_seconds;
        used += plan->variants[0].host_bytes > 0 && plan->variants[0].recomputed_convolutions > 0;
        before = plan->step_seconds;
        plan_destroy(plan);
    }
    cr_expect_lt(before, first);
    cr_expect_gt(used, 1);
    wanted.offload = UINT64_MAX;
    struct plan *any = must_make(wanted);
    cr_expect_leq(any->step_seconds, before);
    plan_destroy(any);
}

/* No limit is one of the limits: what is tried is the same. */
Test(offload, any_host_memory_is_never_slower_than_a_limit)
{
    struct wanted wanted = {.model = "resnet-50",
                            .gpu = "titan-x",
                            .batch = 64,
                            .recompute = RECOMPUTE_BUDGET,
                            .budget = (uint64_t)2200 << 20,
                            .offload = (uint64_t)4 << 30};
    struct plan *limited = must_make(wanted);
    wanted.offload = UINT64_MAX;
    struct plan *any = must_make(wanted);
    cr_expect_leq(any->step_seconds, limited->step_seconds);
    cr_expect_gt(any->variants[0].host_bytes, 0);
    plan_destroy(any);
    plan_destroy(limited);
}

/* Without running anything again. */
Test(offload, makes_room_for_all_that_is_kept)
{
    struct wanted wanted = tight;
    wanted.recompute = RECOMPUTE_NONE;
    struct plan *without = must_make(wanted);
    wanted.offload = UINT64_MAX;
    struct plan *with = must_make(wanted);
    cr_assert_not(without->fits);
    cr_assert(with->fits);
    cr_assert_eq(with->variants[0].extra_flops_fraction, 0);
    cr_assert_gt(with->variants[0].extra_time_fraction, 0);
    plan_destroy(with);
    plan_destroy(without);
}

/* Near the least arena there is, where recomputation alone runs most blocks again. */
Test(offload, keeps_small_budgets_in_less_time)
{
    struct wanted wanted = {
        .model = "resnet-164", .gpu = "titan-x", .batch = 128, .recompute = RECOMPUTE_BUDGET, .budget = 240u << 20};
    struct plan *without = must_make(wanted);
    wanted.offload = UINT64_MAX;
    struct plan *with = must_make(wanted);
    cr_assert_leq(with->variants[0].arena_bytes, wanted.budget);
    cr_assert_lt(with->step_seconds, without->step_seconds * 0.9, "%g against %g", with->step_seconds,
                 without->step_seconds);
    plan_destroy(with);
    plan_destroy(without);
    struct error err = {0};
    wanted.budget = 40u << 20;
    cr_assert_null(make(&wanted, &err));
    cr_assert_eq(err.kind, ERROR_UNFIT, "%s", err.text);
}

/* On a host its own memory is where activations would go: nothing is gained, and all is counted. */
Test(offload, does_not_help_a_host_s_own_memory)
{
    struct plan *plan = must_make((struct wanted){
        .model = "resnet-20", .gpu = "cpu", .batch = 128, .recompute = RECOMPUTE_NONE, .offload = UINT64_MAX});
    cr_assert_eq(plan->variants[0].host_bytes, 0);
    plan_destroy(plan);
}
