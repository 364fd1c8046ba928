/* Plans that say of themselves what is not so: sizes, classes, times, what fits. Each is refused, and the field named.
 */
#include <math.h>
#include <string.h>

#include "broken_kit.h"
#include "mem.h"
#include "sharing.h"

static void expect_figure(struct plan *plan, const char *field)
{
    enum verify_fault fault = VERIFY_OK;
    struct error err = {0};
    cr_assert_not(plan_verify(plan, &fault, &err), "a false %s verified", field);
    cr_assert_eq(fault, VERIFY_FIGURE, "found %s for %s: %s", verify_fault_name(fault), field, err.text);
    cr_assert(strstr(err.text, field), "%s is not named: %s", field, err.text);
    plan_destroy(plan);
}

Test(broken_figures, says_that_no_smaller_arena_exists)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB", .sharing = SHARING_NONE);
    cr_assert_gt(plan->variants[0].arena_bytes, plan->variants[0].lower_bound_bytes);
    cr_assert_not(plan->variants[0].proved_optimal);
    plan->variants[0].proved_optimal = true;
    expect_figure(plan, "proved_optimal");
    plan = sound();
    cr_assert(plan->variants[0].proved_optimal);
    plan->variants[0].proved_optimal = false;
    expect_figure(plan, "proved_optimal");
}

/* A tensor that is declared to live on after its last reader raises the bound to the arena's size. */
Test(broken_figures, lives_longer_than_it_is_used)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB", .sharing = SHARING_NONE);
    struct plan_program *program = &plan->variants[0].train;
    struct plan_tensor *output = &program->tensors[program->ops[find_op(plan, OP_CONV, PASS_FORWARD, 0)].out[0]];
    cr_assert_lt(output->last + 1, program->op_count);
    output->last++;
    expect(plan, VERIFY_RANGE);
    plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB", .sharing = SHARING_NONE);
    program = &plan->variants[0].train;
    output = &program->tensors[program->ops[find_op(plan, OP_ADD, PASS_FORWARD, 0)].out[0]];
    output->first--;
    expect(plan, VERIFY_RANGE);
    plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB", .sharing = SHARING_NONE);
    program = &plan->variants[0].train;
    uint32_t user = find_op(plan, OP_CONV, PASS_FORWARD, 0);
    cr_assert_neq(program->ops[user].workspace, NO_TENSOR);
    program->ops[user].workspace = NO_TENSOR; /* and nobody touches it any more */
    expect(plan, VERIFY_RANGE);
}

Test(broken_figures, sizes_beyond_the_last_tensor)
{
    struct plan *plan = sound();
    plan->variants[0].arena_bytes += PLAN_ALIGN;
    plan->variants[0].classes[MEMORY_TRANSIENT] += PLAN_ALIGN;
    expect_figure(plan, "arena_bytes");
    plan = sound();
    plan->variants[0].host_bytes = PLAN_ALIGN;
    expect_figure(plan, "host_bytes");
}

/* What is kept is called transient: the picture of where memory goes would be another. */
Test(broken_figures, tensors_of_another_class)
{
    struct plan *plan = sound();
    struct plan_program *program = &plan->variants[0].train;
    program->tensors[program->ops[0].out[0]].class = MEMORY_TRANSIENT;
    expect_figure(plan, "class");
    plan = sound();
    plan->variants[0].evaluate.tensors[0].class = MEMORY_INPUT;
    expect_figure(plan, "class");
}

Test(broken_figures, says_that_less_runs_again)
{
    struct plan *plan = kit_make(.model = "resnet-110", .batch = 64, .gpus = "512MiB", .micro_batches = 1);
    cr_assert_eq(plan->recompute, RECOMPUTE_BUDGET);
    cr_assert_gt(plan->variants[0].recomputed_convolutions, 0);
    plan->variants[0].recomputed_convolutions = 0;
    expect_figure(plan, "recomputed_convolutions");
    plan = kit_make(.model = "resnet-110", .batch = 64, .gpus = "512MiB", .micro_batches = 1);
    plan->recompute = RECOMPUTE_ELEMENTWISE;
    expect_figure(plan, "recompute");
    plan = sound();
    plan->variants[0].extra_flops_fraction *= 0.999;
    expect_figure(plan, "extra_flops_fraction");
    plan = sound();
    plan->variants[0].extra_flops_fraction = NAN;
    expect_figure(plan, "extra_flops_fraction");
    plan = sound();
    plan->recompute = RECOMPUTE_NONE;
    expect_figure(plan, "recompute");
    plan = sound();
    plan->recompute_budget_bytes = 1;
    expect_figure(plan, "recompute_budget_bytes");
    plan =
        kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB", .recompute = RECOMPUTE_BUDGET, .budget = 1u << 30);
    plan->recompute_budget_bytes = plan->variants[0].arena_bytes - 1;
    expect_figure(plan, "recompute_budget_bytes");
    plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB");
    cr_assert_eq(plan->variants[0].extra_flops_fraction, 0);
    plan->variants[0].extra_time_fraction = 0.1;
    expect_figure(plan, "extra_time_fraction");
}

Test(broken_figures, says_that_it_fits_or_not)
{
    struct plan *plan = sound();
    plan->fits = false;
    expect_figure(plan, "fits");
}

Test(broken_figures, says_what_normalisation_sees)
{
    struct plan *plan = sound();
    cr_assert(plan->changes_bn);
    plan->changes_bn = false;
    expect_figure(plan, "changes_bn");
    plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB");
    plan->changes_bn = true;
    expect_figure(plan, "changes_bn");
    plan = kit_make(.model = "vgg-a", .image_size = 32, .batch = 16, .gpus = "2x16GiB");
    cr_assert_not(plan->changes_bn);
    plan->changes_bn = true;
    expect_figure(plan, "changes_bn");
}

/* Times are predicted from more than a plan holds; what cannot be is refused. */
Test(broken_figures, times_that_cannot_be)
{
    static const double wrong[] = {-1, NAN, INFINITY, 1e300};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct plan *plan = sound();
        plan->step_seconds = wrong[i];
        expect_figure(plan, "step_seconds");
        plan = sound();
        plan->plan_seconds = wrong[i];
        expect_figure(plan, "plan_seconds");
        plan = sound();
        plan->variants[0].compute_seconds = wrong[i];
        expect_figure(plan, "compute_seconds");
        plan = sound();
        plan->variants[0].bound_seconds = wrong[i];
        expect_figure(plan, "bound_seconds");
        plan = sound();
        plan->variants[0].extra_time_fraction = wrong[i];
        expect_figure(plan, "extra_time_fraction");
    }
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "titan-x");
    cr_assert_gt(plan->step_seconds, 0);
    plan->step_seconds = plan->variants[0].compute_seconds / 2;
    expect_figure(plan, "step_seconds");
    plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "titan-x");
    plan->variants[0].compute_seconds = 0;
    expect_figure(plan, "step_seconds");
}

Test(broken_figures, is_faster_than_its_bound)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "titan-x");
    struct error err = {0};
    plan->variants[0].bound_seconds = plan->variants[0].compute_seconds;
    cr_expect(plan_verify(plan, NULL, &err), "%s", err.text);
    plan->variants[0].bound_seconds *= 1.001;
    expect_figure(plan, "bound_seconds");
}

/* A host's process holds the loader's batches: another kind of device has another sum. */
Test(broken_figures, devices_of_another_kind)
{
    struct plan *plan = sound();
    plan->devices[0].spec.kind = plan->devices[1].spec.kind = DEVICE_CPU;
    expect(plan, VERIFY_SIZE);
    plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "2xcpu");
    plan->devices[0].spec.kind = plan->devices[1].spec.kind = DEVICE_GPU;
    expect(plan, VERIFY_SIZE);
    plan = sound();
    plan->devices[1].spec.kind = DEVICE_CPU;
    expect_figure(plan, "kind");
    plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "2xcpu");
    plan->devices[1].classes[MEMORY_INPUT] += 64;
    plan->devices[1].peak_bytes += 64;
    expect(plan, VERIFY_SIZE);
}

Test(broken_figures, sums_that_overflow)
{
    struct plan *plan = sound();
    plan->devices[0].spec.op_bytes = UINT64_C(1) << 63;
    expect(plan, VERIFY_SIZE);
    plan = sound();
    plan->devices[0].spec.context_bytes = UINT64_MAX;
    expect(plan, VERIFY_SIZE);
}

Test(broken_figures, a_variant_that_no_device_runs)
{
    struct plan *plan = divided(1, false), *equal = kit_make(.model = "resnet-20", .batch = 16, .gpus = "2x16GiB");
    cr_assert_eq(equal->devices[1].images, 8);
    plan->devices[1] = plan->devices[0];
    expect(plan, plan->devices[0].images == 8 ? VERIFY_RANGE : VERIFY_SIZE);
    plan_destroy(equal);
}
