/* Machines as people have them, and what fits them. A machine that somebody sends in becomes a file in tests/machines
 * and a row here. */
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "make.h"
#include "plan.h"

struct row {
    const char *machine, *model;
    uint32_t batch, micro_batches;
    enum recompute_policy recompute;
    bool fits;
    double need_gib; /* of the fullest device, within 2 % */
};

static struct plan *plan_row(const struct row *row)
{
    char path[512];
    struct error err = {0};
    struct machine machine;
    const char *root = getenv("FATHOM_SOURCE");
    cr_assert(root, "FATHOM_SOURCE names the source folder");
    snprintf(path, sizeof path, "%s/tests/machines/%s.json", root, row->machine);
    cr_assert(machine_parse(path, &machine, &err), "%s", err.text);
    struct plan_request request = {
        .batch = row->batch, .micro_batches = row->micro_batches, .recompute = row->recompute, .machine = &machine};
    const struct model_options options = MODEL_OPTIONS_DEFAULT;
    cr_assert(model_parse(row->model, &options, &request.spec, &err), "%s", err.text);
    struct plan *plan = plan_make(&request, &err);
    cr_assert(plan, "%s on %s: %s", row->model, row->machine, err.text);
    machine_finish(&machine);
    return plan;
}

/* With the reserve, which is to stay free beside the peak. */
static double largest_need_gib(const struct plan *plan)
{
    uint64_t largest = 0;
    for (size_t i = 0; i < plan->device_count; i++) {
        uint64_t need = plan->devices[i].peak_bytes + plan->devices[i].spec.reserve_bytes;
        if (need > largest) largest = need;
    }
    return (double)largest / (double)(1ull << 30);
}

Test(machines, golden_verdicts)
{
    const struct row rows[] = {
        /* The authors' release halved the minibatch for two such cards; it would have fitted. */
        {"two-titan-x", "resnet-1001", 128, 1, RECOMPUTE_NONE, true, 9.93},
        {"two-titan-x", "resnet-50", 256, 1, RECOMPUTE_NONE, true, 10.58},
        {"k80-node", "resnet-1001", 128, 1, RECOMPUTE_NONE, true, 4.43},
        {"k80-node", "resnet-50", 256, 1, RECOMPUTE_NONE, true, 4.68},
        {"one-t4", "resnet-1001", 128, 1, RECOMPUTE_NONE, false, 20.43},
        {"one-t4", "resnet-50", 256, 1, RECOMPUTE_NONE, false, 21.68},
        {"eight-h200", "resnet-1001", 128, 1, RECOMPUTE_NONE, true, 4.25},
        {"eight-h200", "resnet-50", 256, 1, RECOMPUTE_NONE, true, 4.50},
        {"laptop", "resnet-1001", 128, 1, RECOMPUTE_NONE, false, 20.71},
        {"laptop", "resnet-110", 128, 1, RECOMPUTE_NONE, true, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plan *plan = plan_row(&rows[i]);
        double need = largest_need_gib(plan);
        cr_expect_eq(plan->fits, rows[i].fits, "%s on %s: needs %.2f GiB", rows[i].model, rows[i].machine, need);
        if (rows[i].need_gib > 0)
            cr_expect_float_eq(need, rows[i].need_gib, 0.02 * rows[i].need_gib, "%s on %s: needs %.3f GiB",
                               rows[i].model, rows[i].machine, need);
        plan_destroy(plan);
    }
}

Test(machines, recomputation_makes_one_t4_enough)
{
    const struct row row = {"one-t4", "resnet-1001", 128, 1, RECOMPUTE_AUTO, true, 0};
    struct plan *plan = plan_row(&row);
    cr_assert(plan->fits);
    cr_assert_neq(plan->recompute, RECOMPUTE_NONE);
    cr_assert_not(plan->changes_bn);
    cr_assert_gt(plan->variants[0].extra_flops_fraction, 0);
    cr_assert_lt(plan->variants[0].extra_flops_fraction, 0.05);
    plan_destroy(plan);
}

Test(machines, a_mixture_is_planned_whole)
{
    const struct row row = {"lab-mixed", "resnet-1001", 128, 1, RECOMPUTE_AUTO, true, 0};
    struct plan *plan = plan_row(&row);
    cr_assert(plan->fits);
    cr_assert_eq(plan->device_count, 2);
    cr_assert_eq(plan->devices[0].images + plan->devices[1].images, 128);
    cr_assert(plan->devices[0].images >= 40 && plan->devices[0].images <= 44, "%u", plan->devices[0].images);
    cr_assert_eq(plan->step_seconds, 0, "nobody said how fast these cards are");
    plan_destroy(plan);
}

Test(machines, known_speeds_share_by_time)
{
    struct error err = {0};
    struct machine machine;
    const struct model_options options = MODEL_OPTIONS_DEFAULT;
    cr_assert(machine_parse("h100,titan-x", &machine, &err), "%s", err.text);
    struct plan_request request = {.batch = 128, .machine = &machine};
    cr_assert(model_parse("resnet-164", &options, &request.spec, &err), "%s", err.text);
    struct plan *plan = plan_make(&request, &err);
    cr_assert(plan, "%s", err.text);
    double fast = plan->variants[plan->devices[0].variant].compute_seconds;
    double slow = plan->variants[plan->devices[1].variant].compute_seconds;
    cr_expect_gt(plan->devices[0].images, 4 * plan->devices[1].images);
    cr_expect(slow < 1.5 * fast && fast < 1.5 * slow, "%g and %g", fast, slow);
    cr_expect_geq(plan->step_seconds, slow > fast ? slow : fast);
    plan_destroy(plan);
    request.micro_batches = 4;
    plan = plan_make(&request, &err);
    cr_assert(plan, "%s", err.text);
    cr_expect_eq(plan->devices[0].images % 4, 0);
    cr_expect_eq(plan->devices[0].images + plan->devices[1].images, 128);
    plan_destroy(plan);
    machine_finish(&machine);
}

Test(machines, predicts_a_step_of_equal_cards)
{
    const struct row row = {"two-titan-x", "resnet-1001", 128, 1, RECOMPUTE_ELEMENTWISE, true, 0};
    struct plan *plan = plan_row(&row);
    cr_expect(plan->step_seconds > 0.2 && plan->step_seconds < 2, "%g s", plan->step_seconds);
    cr_expect(plan->variants[0].extra_time_fraction > 0 && plan->variants[0].extra_time_fraction < 0.3);
    plan_destroy(plan);
}

Test(machines, nets_without_bn_are_not_changed_by_a_split)
{
    const struct row row = {"eight-h200", "vgg-a", 256, 1, RECOMPUTE_AUTO, true, 0};
    struct plan *plan = plan_row(&row);
    cr_expect_not(plan->changes_bn);
    plan_destroy(plan);
}
