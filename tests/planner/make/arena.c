#include <criterion/criterion.h>

#include "make.h"
#include "mem.h"

static struct plan *make(const char *model, uint32_t batch, const char *gpus, enum recompute_policy recompute,
                         enum sharing_policy sharing)
{
    struct error err = {0};
    struct machine machine = {0};
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = batch, .machine = &machine, .recompute = recompute, .sharing = sharing};
    cr_assert(model_parse(model, &options, &request.spec, &err), "%s", err.text);
    cr_assert(machine_parse(gpus, &machine, &err), "%s", err.text);
    struct plan *plan = plan_make(&request, &err);
    cr_assert(plan, "%s %s: %s", model, gpus, err.text);
    machine_finish(&machine);
    return plan;
}

static uint64_t arena(const char *model, uint32_t batch, enum recompute_policy recompute, enum sharing_policy sharing)
{
    struct plan *plan = make(model, batch, "80GiB", recompute, sharing);
    uint64_t bytes = plan->variants[0].arena_bytes;
    plan_destroy(plan);
    return bytes;
}

/* The network that the authors could train only at half the minibatch: at 128 on two 12 GB GPUs everything is kept. */
Test(arena, resnet_1001_fits_two_12_gib_gpus_without_recomputation)
{
    struct plan *plan = make("resnet-1001", 128, "2x12GiB", RECOMPUTE_AUTO, SHARING_FULL);
    cr_assert(plan->fits);
    cr_assert_eq(plan->recompute, RECOMPUTE_NONE);
    cr_assert_eq(plan->variant_count, 1);
    cr_assert_eq(plan->device_count, 2);
    cr_assert_eq(plan->devices[1].images, 64);
    cr_assert(plan->changes_bn, "a split changes the images of BN's statistics");
    plan_destroy(plan);
}

/* At 128 on one, BN-ReLU alone may run again: 9.84 GB of x and convolution outputs, and no convolution. What memory is
 * left makes that faster; a few convolutions run again for it, where they free more than they cost. */
Test(arena, resnet_1001_fits_one_12_gib_gpu_without_a_second_convolution)
{
    struct plan *plan = make("resnet-1001", 128, "12GiB", RECOMPUTE_AUTO, SHARING_FULL);
    cr_assert(plan->fits);
    cr_assert_neq(plan->recompute, RECOMPUTE_NONE);
    cr_assert_leq(plan->variants[0].recomputed_convolutions, 10);
    cr_assert_lt(plan->variants[0].extra_flops_fraction, 0.02);
    cr_assert_gt(plan->variants[0].extra_flops_fraction, 0.0);
    cr_assert_not(plan->changes_bn);
    struct plan *uniform = make("resnet-1001", 128, "12GiB", RECOMPUTE_ELEMENTWISE, SHARING_FULL);
    cr_assert(uniform->fits);
    cr_assert_eq(uniform->variants[0].recomputed_convolutions, 0);
    cr_assert_lt(plan->variants[0].extra_time_fraction, 0.9 * uniform->variants[0].extra_time_fraction,
                 "memory that is left keeps some of it");
    const uint64_t *classes = uniform->variants[0].classes;
    cr_assert_float_eq((double)(classes[MEMORY_KEPT] + classes[MEMORY_TRANSIENT]) * 1e-9, 9.84, 0.1);
    plan_destroy(plan);
    plan_destroy(uniform);
}

Test(arena, classes_add_up_and_the_arena_is_near_its_bound)
{
    static const char *const models[] = {"resnet-8",  "resnet-18",  "resnet-50",  "resnet-152",  "resnet-20",
                                         "resnet-56", "resnet-110", "resnet-164", "resnet-1202", "vgg-a"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        for (int policy = RECOMPUTE_NONE; policy <= RECOMPUTE_ELEMENTWISE; policy++) {
            struct plan *plan = make(models[i], 32, "80GiB", (enum recompute_policy)policy, SHARING_FULL);
            const struct plan_variant *variant = &plan->variants[0];
            uint64_t inside = 0, all = 0;
            for (size_t c = 0; c < MEMORY_CLASSES; c++) {
                inside += variant->classes[c];
                all += plan->devices[0].classes[c];
            }
            cr_assert_eq(inside, variant->arena_bytes);
            cr_assert_eq(all, plan->devices[0].peak_bytes);
            cr_assert_leq((double)variant->arena_bytes, 1.01 * (double)variant->lower_bound_bytes, "%s", models[i]);
            plan_destroy(plan);
        }
}

/* What is left at a fused step's peak beside the two thousand tensors that are kept is a puzzle of some forty. */
Test(arena, fused_steps_meet_their_bound)
{
    static const struct {
        const char *model;
        uint32_t batch;
    } rows[] = {{"resnet-164", 64}, {"resnet-1001", 8}, {"resnet-1001", 128}, {"resnet-1001", 640}};
    struct error err = {0};
    struct machine machine = {0};
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    cr_assert(machine_parse("80GiB", &machine, &err), "%s", err.text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plan_request request = {.batch = rows[i].batch,
                                       .machine = &machine,
                                       .recompute = RECOMPUTE_NONE,
                                       .lowering = LOWER_ALL,
                                       .sharing = SHARING_FULL};
        cr_assert(model_parse(rows[i].model, &options, &request.spec, &err), "%s", err.text);
        struct plan *plan = plan_make(&request, &err);
        cr_assert(plan, "%s", err.text);
        cr_expect_eq(plan->variants[0].arena_bytes, plan->variants[0].lower_bound_bytes, "%s", rows[i].model);
        plan_destroy(plan);
    }
    machine_finish(&machine);
}

Test(arena, less_is_needed_with_recomputation_and_with_sharing)
{
    uint64_t none = arena("resnet-110", 128, RECOMPUTE_NONE, SHARING_FULL);
    uint64_t elementwise = arena("resnet-110", 128, RECOMPUTE_ELEMENTWISE, SHARING_FULL);
    cr_assert_lt((double)elementwise, 0.8 * (double)none);
    cr_assert_lt((double)none, 0.7 * (double)arena("resnet-110", 128, RECOMPUTE_NONE, SHARING_NONE));
}

static uint64_t workspace_of(const struct plan *plan, enum op_kind kind)
{
    const struct plan_variant *variant = &plan->variants[0];
    uint64_t most = 0;
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct plan_op *op = &variant->train.ops[i];
        if (variant->graph->ops[op->op].kind != kind || op->workspace == NO_TENSOR) continue;
        uint64_t bytes = variant->train.tensors[op->workspace].bytes;
        if (bytes > most) most = bytes;
    }
    return most;
}

/* The largest layer of VGG-A has 25,088 x 4,096 weights. */
Test(arena, sixteen_bit_plans_have_room_for_sixteen_bit_weights)
{
    struct error err = {0};
    struct machine machine = {0};
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = 4, .machine = &machine};
    cr_assert(model_parse("vgg-a", &options, &request.spec, &err));
    cr_assert(machine_parse("24GiB", &machine, &err));
    for (int dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        request.dtype = (enum dtype)dtype;
        struct plan *plan = plan_make(&request, &err);
        cr_assert(plan, "%s", err.text);
        uint64_t wanted = dtype == DTYPE_F32 ? 0 : 2ull * 25088 * 4096;
        cr_expect_eq(workspace_of(plan, OP_FC), wanted);
        cr_expect_eq(workspace_of(plan, OP_FC_BWD_DATA), wanted);
        cr_expect_eq(workspace_of(plan, OP_FC_BWD_WEIGHTS), wanted);
        plan_destroy(plan);
    }
    machine_finish(&machine);
}

Test(arena, impossible_requests_are_input_errors)
{
    struct error err = {0};
    struct machine machine = {0};
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = 2, .machine = &machine};
    cr_assert(model_parse("resnet-20", &options, &request.spec, &err));
    cr_assert(machine_parse("3x12GiB", &machine, &err));
    cr_assert_null(plan_make(&request, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    request.batch = 128;
    request.micro_batches = 5;
    err = (struct error){0};
    cr_assert_null(plan_make(&request, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    request.micro_batches = 0;
    request.dtype = DTYPE_BIT;
    cr_assert_null(plan_make(&request, &err));
    machine_finish(&machine);
    cr_assert_eq(mem_current_bytes(MEM_PLAN), 0);
}
