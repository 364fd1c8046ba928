/* A plan that was made, made again for fewer devices. */
#include <criterion/criterion.h>

#include <string.h>

#include "make.h"
#include "replan.h"
#include "verify.h"

static struct plan *make(const struct plan_request *request)
{
    struct error err = {0};
    struct plan *plan = plan_make(request, &err);
    cr_assert(plan && plan->fits, "%s", err.text);
    return plan;
}

static uint32_t images_of(const struct plan *plan)
{
    uint32_t images = 0;
    for (size_t i = 0; i < plan->device_count; i++) images += plan->devices[i].images;
    return images;
}

Test(replan, the_rest_of_the_devices_do_the_same)
{
    struct machine machine = {0}, left = {0};
    struct plan_request request = {.batch = 30,
                                   .machine = &machine,
                                   .sync_bn = true,
                                   .update = {.clips = true},
                                   .frozen = 1,
                                   .reduce_dtype = DTYPE_BF16,
                                   .offload_bytes = UINT64_MAX,
                                   .lowering = LOWER_EXACT};
    struct plan_request again;
    struct error err = {0};
    cr_assert(model_parse("resnet-20", &MODEL_OPTIONS_DEFAULT, &request.spec, &err), "%s", err.text);
    cr_assert(machine_parse("4xtitan-x", &machine, &err), "%s", err.text);
    struct plan *plan = make(&request);
    cr_assert(plan_request_without(plan, (bool[]){false, false, true, false}, &left, &again, &err), "%s", err.text);
    cr_assert_eq(again.machine, &left);
    struct plan *made = make(&again);
    cr_expect_eq(made->device_count, 3);
    cr_expect_eq(made->batch, 30);
    cr_expect_eq(images_of(made), 30);
    cr_expect(made->update.clips && update_needs_same(&made->update, &plan->update));
    cr_expect_eq(made->frozen, 1);
    cr_expect(made->sync_bn && made->lowering == plan->lowering && made->dtype == plan->dtype);
    cr_expect_eq(made->variants[0].graph->options.reduce_dtype, DTYPE_BF16);
    cr_expect_eq(made->variants[0].graph->options.bucket_bytes, plan->variants[0].graph->options.bucket_bytes);
    cr_expect(plan_verify(made, NULL, &err), "%s", err.text);
    cr_expect(again.lower_less && again.reduce_anywhere, "less is asked for where nothing fits");
    cr_expect_not(again.reconstruct || again.offload_bytes, "asked for what the plan does not have");
    plan_destroy(plan);
    plan_destroy(made);
    machine_finish(&machine);
    machine_finish(&left);
}

Test(replan, reconstruction_and_copies_stay_allowed)
{
    struct machine machine = {0}, left = {0};
    struct plan_request request = {.batch = 128,
                                   .machine = &machine,
                                   .reconstruct = true,
                                   .offload_bytes = UINT64_MAX,
                                   .recompute_budget_bytes = 160u << 20,
                                   .recompute = RECOMPUTE_BUDGET};
    struct plan_request again;
    struct error err = {0};
    cr_assert(model_parse("resnet-164", &MODEL_OPTIONS_DEFAULT, &request.spec, &err), "%s", err.text);
    cr_assert(machine_parse("titan-x", &machine, &err), "%s", err.text);
    struct plan *plan = make(&request);
    cr_assert(plan_request_without(plan, (bool[]){false}, &left, &again, &err), "%s", err.text);
    cr_expect_eq(again.offload_bytes > 0, plan->variants[0].host_bytes > 0);
    cr_expect(again.reconstruct || again.offload_bytes, "a small arena comes from one of them");
    cr_expect_eq(again.recompute, RECOMPUTE_AUTO);
    plan_destroy(plan);
    machine_finish(&machine);
    machine_finish(&left);
}

/* Shares follow what is left of unequal devices, each with the bytes that it has. */
Test(replan, it_is_the_devices_that_are_not_gone)
{
    struct machine machine = {0}, left = {0}, none = {0};
    struct plan_request request = {.batch = 24, .machine = &machine}, again;
    struct error err = {0};
    cr_assert(model_parse("resnet-8", &MODEL_OPTIONS_DEFAULT, &request.spec, &err), "%s", err.text);
    cr_assert(machine_parse("titan-x,2xh100", &machine, &err), "%s", err.text);
    struct plan *plan = make(&request);
    cr_assert(plan_request_without(plan, (bool[]){true, false, true}, &left, &again, &err), "%s", err.text);
    cr_expect(left.device_count == 1 && strcmp(left.devices[0].name, plan->devices[1].spec.name) == 0);
    cr_expect_not(plan_request_without(plan, (bool[]){true, true, true}, &none, &again, &err));
    cr_expect_eq(err.kind, ERROR_INPUT, "%s", err.text);
    plan_destroy(plan);
    machine_finish(&machine);
    machine_finish(&left);
    machine_finish(&none);
}
