/* Training with inputs that are made again from outputs: the same but for rounding, and the same bits whatever lies in
 * dead bytes. */
#include <criterion/criterion.h>

#include "train_help.h"

TestSuite(reconstruct, .init = run_make_data, .fini = run_remove_data);

static void go(struct small_run *run, uint64_t steps)
{
    run->options.iterations = steps;
    run->options.skip_evaluation = true;
    run->recompute = RECOMPUTE_ELEMENTWISE;
    run_go(run);
    cr_assert(run->ok, "%s", run->err.text);
    cr_assert_eq(run->steps, steps);
}

/* Relative, over the first steps. */
static double largest_difference(const struct small_run *a, const struct small_run *b, uint64_t steps)
{
    double most = 0;
    for (uint64_t i = 0; i < steps; i++)
        if (fabs(a->losses[i] - b->losses[i]) / a->losses[i] > most)
            most = fabs(a->losses[i] - b->losses[i]) / a->losses[i];
    return most;
}

/* The first loss comes before any gradient: it is the same to the bit. Then runs part, as they do after any change in
 * rounding: at this learning rate and batch about tenfold with each step. */
Test(reconstruct, losses_differ_by_rounding)
{
    struct small_run exact = {.model = "resnet-29", .batch = 8};
    struct small_run again = {.model = "resnet-29", .batch = 8, .reconstruct = true};
    go(&exact, 6);
    go(&again, 6);
    cr_assert(exact.losses[0] == again.losses[0]);
    double drift = largest_difference(&exact, &again, 4), later = largest_difference(&exact, &again, 6);
    cr_assert_gt(later, 0, "nothing was made again");
    cr_assert(drift < 1e-3 && later < 0.05, "found %g in 4 steps, %g in 6", drift, later);
    cr_assert_lt(again.result.planned_bytes, exact.result.planned_bytes);
}

Test(reconstruct, dead_bytes_and_sharing_change_no_bit)
{
    struct small_run shared = {.model = "resnet-29", .batch = 8, .reconstruct = true};
    struct small_run filled = shared, apart = shared, halves = shared, halves_filled = shared;
    filled.options.fill_dead = true;
    apart.sharing = SHARING_NONE;
    halves.micro_batches = halves_filled.micro_batches = 2;
    halves.gpus = halves_filled.gpus = "2xcpu";
    halves_filled.options.fill_dead = true;
    go(&shared, 3);
    go(&filled, 3);
    go(&apart, 3);
    cr_assert_eq(memcmp(shared.losses, filled.losses, 3 * sizeof(double)), 0);
    cr_assert_eq(memcmp(shared.losses, apart.losses, 3 * sizeof(double)), 0);
    go(&halves, 3);
    go(&halves_filled, 3);
    cr_assert_eq(memcmp(halves.losses, halves_filled.losses, 3 * sizeof(double)), 0);
}

/* A ReLU after the addition cannot be undone. */
Test(reconstruct, original_units_are_refused)
{
    struct small_run run = {.model = "resnet-20", .batch = 8, .reconstruct = true};
    run_go(&run);
    cr_assert_not(run.ok);
    cr_assert_eq(run.err.kind, ERROR_INPUT);
    cr_assert(strstr(run.err.text, "resnet-20") && strstr(run.err.text, "preact"), "%s", run.err.text);
}
