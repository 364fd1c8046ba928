/* The same training on more devices, and what a whole run takes. */
#include <criterion/criterion.h>
#include <string.h>

#include "mem.h"
#include "plan_request.h"
#include "recipe.h"
#include "scaling.h"

static struct plan_request make_request(const char *model, const char *gpus, uint32_t batch, struct machine *machine)
{
    struct plan_request request = {.batch = batch, .machine = machine};
    struct error err = {0};
    cr_assert(model_parse(model, &MODEL_OPTIONS_DEFAULT, &request.spec, &err), "%s", err.text);
    cr_assert(machine_parse(gpus, machine, &err), "%s", err.text);
    return request;
}

static const struct scaling_load none = {0};

Test(scaling, doubles_up_to_all_devices)
{
    struct machine machine = {0};
    struct plan_request request = make_request("resnet-20", "24xh100", 24 * 32, &machine);
    static const size_t counts[] = {1, 2, 4, 8, 16, 24};
    struct scaling scaling;
    struct error err = {0};
    cr_assert(scaling_find(&request, &none, &scaling, &err), "%s", err.text);
    cr_assert_eq(scaling.weak_count, 6);
    cr_assert_eq(scaling.strong_count, 6);
    for (size_t i = 0; i < 6; i++) {
        const struct scaling_point *weak = &scaling.weak[i], *strong = &scaling.strong[i];
        cr_expect_eq(weak->devices, counts[i]);
        cr_expect_eq(weak->batch, 32 * counts[i]);
        cr_expect_eq(strong->batch, 24 * 32);
        cr_expect_float_eq(weak->images_per_second, weak->batch / weak->step_seconds, 1e-3);
        cr_expect_leq(weak->of_one, 1.0 + 1e-9, "nothing is gained by adding up gradients");
        if (i > 0) {
            cr_expect_geq(weak->step_seconds, weak[-1].step_seconds);
            cr_expect_leq(strong->step_seconds, strong[-1].step_seconds);
        }
    }
    cr_expect_float_eq(scaling.weak[3].of_node, 1, 1e-12);
    cr_expect_float_eq(scaling.weak[5].of_node, scaling.weak[5].of_one / scaling.weak[3].of_one, 1e-9);
    machine_finish(&machine);
}

Test(scaling, leaves_out_what_there_are_no_images_for)
{
    struct machine machine = {0};
    struct plan_request request = make_request("resnet-20", "2xh100", 3, &machine);
    struct scaling scaling;
    struct error err = {0};
    cr_assert(scaling_find(&request, &none, &scaling, &err), "%s", err.text);
    cr_assert_eq(scaling.weak_count, 2);
    cr_assert_eq(scaling.weak[0].batch, 1);
    cr_assert_eq(scaling.weak[1].batch, 3);
    machine_finish(&machine);
}

Test(scaling, refuses_what_it_cannot_tell)
{
    static const struct {
        const char *gpus, *part;
    } rows[] = {{"h100,h200", "h200"}, {"2x12GiB", "12GiB"}, {"cpu", "cpu"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine machine = {0};
        struct plan_request request = make_request("resnet-20", rows[i].gpus, 8, &machine);
        struct scaling scaling;
        struct error err = {0};
        cr_expect_not(scaling_find(&request, &none, &scaling, &err), "%s", rows[i].gpus);
        cr_expect_eq(err.kind, ERROR_INPUT);
        cr_expect(strstr(err.text, "--scaling") && strstr(err.text, rows[i].part), "%s", err.text);
        machine_finish(&machine);
    }
}

/* By hand, of numbers drawn: means of the largest of 2, 10 and 1,000 are 0.5642, 1.5388 and 3.2414 (tables of normal
 * order statistics). */
Test(scaling, the_slowest_of_many)
{
    cr_expect_eq(scaling_expected_largest(1), 0);
    cr_expect_float_eq(scaling_expected_largest(2), 0.5642, 0.03);
    cr_expect_float_eq(scaling_expected_largest(10), 1.5388, 0.01);
    cr_expect_float_eq(scaling_expected_largest(1000), 3.2414, 0.02);
}

Test(scaling, a_step_has_input_stragglers_and_evaluation)
{
    struct machine machine = {0};
    struct plan_request request = make_request("resnet-50", "16xh100", 16 * 64, &machine);
    struct scaling_load load = scaling_load_of(&request, 50000, 1281167);
    struct scaling alone, scaling;
    struct error err = {0};
    cr_expect_gt(load.node_images_per_second, 0);
    cr_expect_eq(load.test_images, 50000);
    load.node_images_per_second = 10000;
    cr_assert(scaling_find(&request, &none, &alone, &err), "%s", err.text);
    cr_assert(scaling_find(&request, &load, &scaling, &err), "%s", err.text);
    for (size_t i = 0; i < scaling.weak_count; i++) {
        const struct scaling_point *p = &scaling.weak[i];
        double node = p->devices < 8 ? (double)p->devices : 8, own = p->step_seconds + p->straggler_seconds;
        cr_expect_float_eq(p->step_seconds, alone.weak[i].step_seconds, 1e-12);
        cr_expect_float_eq(alone.weak[i].whole_seconds, p->step_seconds, 1e-12, "nothing is beside it");
        cr_expect_float_eq(p->input_seconds, 64 * node / 10000, 1e-9);
        cr_expect_float_eq(p->straggler_seconds, 0.01 * scaling_expected_largest(p->devices) * p->step_seconds, 1e-12);
        cr_expect_float_eq(p->whole_seconds, (own > p->input_seconds ? own : p->input_seconds) + p->evaluation_seconds,
                           1e-9);
        /* Evaluating an image takes less than a third of training on it. */
        double share = 50000.0 / 1281167 * p->step_seconds;
        cr_expect(p->evaluation_seconds > 0.1 * share && p->evaluation_seconds < 0.5 * share, "%g of %g",
                  p->evaluation_seconds, share);
    }
    cr_expect_gt(scaling.weak[3].input_seconds, scaling.weak[3].step_seconds,
                 "10,000 images a second are few for 8 GPUs");
    machine_finish(&machine);
}

Test(scaling, a_failed_allocation_leaks_nothing)
{
    struct machine machine = {0};
    struct plan_request request = make_request("resnet-8", "2xh100", 4, &machine);
    struct scaling scaling;
    uint64_t plan = mem_current_bytes(MEM_PLAN), graph = mem_current_bytes(MEM_GRAPH);
    bool done = false;
    for (uint64_t n = 1; !done; n += 13) {
        struct error err = {0};
        mem_fail_at(n);
        done = scaling_find(&request, &none, &scaling, &err);
        mem_fail_at(0);
        cr_assert(done || err.kind == ERROR_MEMORY, "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), plan);
        cr_assert_eq(mem_current_bytes(MEM_GRAPH), graph);
    }
    machine_finish(&machine);
}

Test(whole_run, by_hand)
{
    struct plan plan = {.batch = 100, .device_count = 4, .step_seconds = 0.9, .spec.dataset = DATASET_CIFAR10};
    struct whole_run run = {.images = 7};
    cr_assert(whole_run_estimate(&plan, 399901, 50000, 2.5, &run));
    cr_expect_eq(run.steps, 4000); /* the last is not full */
    cr_expect_float_eq(run.seconds, 3600, 1e-9);
    cr_expect_float_eq(run.device_hours, 4, 1e-9);
    cr_expect_float_eq(run.price, 10, 1e-9);
    cr_expect_float_eq(run.epochs, 399901 / 50000.0, 1e-12);
    plan.step_seconds = 0;
    run.images = 7;
    cr_expect_not(whole_run_estimate(&plan, 100, 50000, 1, &run));
    cr_expect_eq(run.images, 7);
}

Test(whole_run, as_long_as_the_papers)
{
    struct plan plan = {.batch = 128, .device_count = 1, .step_seconds = 1, .spec.dataset = DATASET_CIFAR100};
    struct whole_run run;
    cr_assert(whole_run_estimate(&plan, recipe_images(recipe_for(&plan.spec)), 50000, 0, &run));
    cr_expect_eq(run.steps, 64000);
    cr_expect_eq(run.price, 0);
    plan.spec.dataset = DATASET_IMAGENET;
    plan.batch = 256;
    cr_expect_eq(recipe_epoch_images(DATASET_IMAGENET), 1281167);
    cr_assert(whole_run_estimate(&plan, recipe_images(recipe_for(&plan.spec)), 1281167, 0, &run));
    cr_expect_eq(run.steps, 600000);
    cr_expect_float_eq(run.epochs, 119.9, 0.1);
}
