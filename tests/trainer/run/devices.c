#include <criterion/criterion.h>

#include "train_help.h"

TestSuite(devices, .init = run_make_data, .fini = run_remove_data);

static void check_close(const struct small_run *a, const struct small_run *b, double tolerance)
{
    for (uint64_t i = 0; i < a->steps; i++)
        cr_assert(fabs(a->losses[i] - b->losses[i]) <= tolerance * fabs(a->losses[i]), "step %d: %.9g and %.9g", (int)i,
                  a->losses[i], b->losses[i]);
}

/* With statistics over all devices, a step is the same function of its images however they are split. */
Test(devices, one_two_and_three_unequal_ones_agree)
{
    struct small_run one = {.batch = 16}, two = {.batch = 16, .gpus = "2xcpu", .sync_bn = true};
    struct small_run three = {.batch = 16, .gpus = "3xcpu", .sync_bn = true};
    run_go(&one);
    run_go(&two);
    run_go(&three);
    cr_assert(one.ok && two.ok && three.ok, "%s%s%s", one.err.text, two.err.text, three.err.text);
    check_close(&one, &two, 2e-3);
    check_close(&one, &three, 2e-3);
    cr_assert_float_eq(one.losses[0], two.losses[0], 1e-5);
    cr_assert_float_eq(one.losses[0], three.losses[0], 1e-5);
}

/* Two micro-batches take their statistics over the same images as two devices do. */
Test(devices, micro_batches_are_devices_one_after_the_other)
{
    struct small_run micro = {.micro_batches = 2}, two = {.gpus = "2xcpu"};
    micro.options.skip_evaluation = two.options.skip_evaluation = true;
    run_go(&micro);
    run_go(&two);
    cr_assert(micro.ok && two.ok, "%s%s", micro.err.text, two.err.text);
    check_close(&micro, &two, 2e-3);
    cr_assert_float_eq(micro.losses[0], two.losses[0], 1e-5);
}

/* Rounding what goes between devices changes the steps after the first, by little; where it lies changes nothing. */
Test(devices, gradients_in_16_bits_on_their_way)
{
    static const enum dtype dtypes[] = {DTYPE_F16, DTYPE_BF16};
    struct small_run exact = {.gpus = "3xcpu", .options.skip_evaluation = true}, away = exact;
    away.reduce_apart = true;
    run_go(&exact);
    run_go(&away);
    cr_assert(exact.ok && away.ok, "%s%s", exact.err.text, away.err.text);
    for (uint64_t i = 0; i < exact.steps; i++) cr_expect_eq(away.losses[i], exact.losses[i]);
    for (int i = 0; i < 2; i++) {
        struct small_run rounded = {.gpus = "3xcpu", .reduce_dtype = dtypes[i], .options.skip_evaluation = true};
        run_go(&rounded);
        cr_assert(rounded.ok, "%s", rounded.err.text);
        cr_expect_eq(rounded.losses[0], exact.losses[0]);
        cr_expect_neq(rounded.losses[1], exact.losses[1]);
        cr_expect_float_eq(rounded.losses[1], exact.losses[1], 0.02 * fabs(exact.losses[1]));
    }
}

Test(devices, evaluation_does_not_depend_on_its_batches)
{
    struct small_run small = {.batch = 16, .options.iterations = 1}, odd = {.batch = 16, .options.iterations = 1};
    odd.micro_batches = 1;
    odd.options.evaluate_images = 24;
    run_go(&small);
    run_go(&odd);
    cr_assert(small.ok && odd.ok);
    cr_assert(small.last.evaluated);
    cr_assert_float_eq(small.result.top1_error, odd.result.top1_error, 1e-12);
    cr_assert(small.result.top5_error <= small.result.top1_error);
}

Test(devices, a_plan_for_too_small_workspaces_is_refused)
{
    struct small_run run = {.backend = &cpu_reference_backend, .options.iterations = 1};
    run_fill_defaults(&run);
    struct plan *plan = run_plan(&run);
    cr_assert(plan, "%s", run.err.text);
    bool ok = train_run(plan, &cpu_backend, &run.options, NULL, NULL, NULL, &run.result, &run.err);
    plan_destroy(plan);
    if (ok) cr_skip_test("the fast backend wants no more workspace than the reference");
    cr_assert_eq(run.err.kind, ERROR_INPUT);
    cr_assert(strstr(run.err.text, "workspace"), "%s", run.err.text);
}
