/* The strongest test of a memory plan: losses and weights do not depend on it by a single bit. */
#include <criterion/criterion.h>

#include "rounds.h"
#include "sharing.h"
#include "train_help.h"

TestSuite(bitwise, .init = run_make_data, .fini = run_remove_data);

#define STEPS rounds(10)

static void go(struct small_run *run, const char *save)
{
    run->options.iterations = STEPS;
    run->options.skip_evaluation = run->options.evaluate_images == 0;
    run->options.save_folder = run_path(save);
    char folder[128];
    snprintf(folder, sizeof folder, "%s", run->options.save_folder);
    run->options.save_folder = folder;
    run_go(run);
    cr_assert(run->ok, "%s: %s", save, run->err.text);
    cr_assert_eq(run->steps, STEPS);
}

static void check_equal(const struct small_run *a, const struct small_run *b, const char *save_a, const char *save_b)
{
    char folder_a[128], folder_b[128];
    for (int i = 0; i < (int)STEPS; i++)
        cr_assert(memcmp(&a->losses[i], &b->losses[i], sizeof(double)) == 0, "%s, step %d: %.17g, %.17g with %s",
                  save_b, i, b->losses[i], a->losses[i], save_a);
    snprintf(folder_a, sizeof folder_a, "%s/%s", run_data, save_a);
    snprintf(folder_b, sizeof folder_b, "%s/%s", run_data, save_b);
    cr_assert(run_same_checkpoints(folder_a, folder_b, STEPS), "%s: other weights than %s", save_b, save_a);
}

Test(bitwise, sharing_and_recomputation_change_nothing)
{
    struct small_run none = {.sharing = SHARING_NONE}, shared = {0};
    struct small_run elementwise = {.recompute = RECOMPUTE_ELEMENTWISE};
    go(&none, "none");
    go(&shared, "shared");
    go(&elementwise, "elementwise");
    check_equal(&none, &shared, "none", "shared");
    check_equal(&none, &elementwise, "none", "elementwise");
    cr_assert_gt(none.result.planned_bytes, shared.result.planned_bytes);
}

/* A budget so small that most blocks run twice. */
Test(bitwise, blocks_run_again_change_nothing)
{
    struct small_run kept = {.model = "resnet-20", .batch = 8};
    struct small_run budget = {.model = "resnet-20", .batch = 8, .recompute = RECOMPUTE_BUDGET, .budget = 6144u << 10};
    struct small_run filled = budget;
    filled.options.fill_dead = true;
    go(&kept, "kept");
    go(&budget, "budget");
    go(&filled, "filled");
    check_equal(&kept, &budget, "kept", "budget");
    check_equal(&kept, &filled, "kept", "filled");
    cr_assert_lt(budget.result.planned_bytes, kept.result.planned_bytes - (6u << 20));
}

Test(bitwise, dead_bytes_are_dead)
{
    struct small_run none = {.sharing = SHARING_NONE}, shared = {.options.fill_dead = true};
    struct small_run elementwise = {.recompute = RECOMPUTE_ELEMENTWISE, .options.fill_dead = true};
    go(&none, "none");
    go(&shared, "shared");
    go(&elementwise, "elementwise");
    check_equal(&none, &shared, "none", "shared");
    check_equal(&none, &elementwise, "none", "elementwise");
}

Test(bitwise, dead_bytes_are_dead_on_two_devices_with_micro_batches)
{
    struct small_run plain = {.gpus = "2xcpu", .micro_batches = 2, .bucket_bytes = 64 << 10};
    struct small_run filled = plain;
    filled.options.fill_dead = true;
    go(&plain, "plain");
    go(&filled, "filled");
    check_equal(&plain, &filled, "plain", "filled");
}

/* Blocks with branches. */
Test(bitwise, inception_modules_too)
{
    struct small_run kept = {.model = "bn-inception", .cifar = true, .batch = 4, .sharing = SHARING_NONE};
    struct small_run budget = kept, elementwise = kept;
    budget.sharing = elementwise.sharing = SHARING_FULL;
    budget.options.fill_dead = elementwise.options.fill_dead = true;
    budget.recompute = RECOMPUTE_BUDGET;
    budget.budget = 136u << 20;
    elementwise.recompute = RECOMPUTE_ELEMENTWISE;
    go(&kept, "kept");
    go(&budget, "budget");
    go(&elementwise, "elementwise");
    check_equal(&kept, &budget, "kept", "budget");
    check_equal(&kept, &elementwise, "kept", "elementwise");
}

Test(bitwise, preactivation_bottlenecks_too)
{
    struct small_run none = {.model = "resnet-11", .batch = 8, .sharing = SHARING_NONE};
    struct small_run elementwise = {.model = "resnet-11", .batch = 8, .recompute = RECOMPUTE_ELEMENTWISE};
    elementwise.options.fill_dead = true;
    go(&none, "none");
    go(&elementwise, "elementwise");
    check_equal(&none, &elementwise, "none", "elementwise");
}

/* ---- Images of bytes ---- */

/* Where an op makes the images of bytes, nothing changes at all: not in training, not in evaluation, whether they are
 * kept or made again. */
static void check_bytes(struct small_run given)
{
    given.options.evaluate_images = 24; /* batches of 16 end in images that are none */
    struct small_run made = given, again;
    made.lowering |= LOWER_INPUT;
    given.logical = given.lowering == 0;
    again = made;
    again.recompute = RECOMPUTE_ELEMENTWISE;
    again.options.fill_dead = made.options.fill_dead = true;
    go(&given, "given");
    go(&made, "made");
    go(&again, "again");
    check_equal(&given, &made, "given", "made");
    check_equal(&given, &again, "given", "again");
    cr_assert(given.last.evaluated && made.last.evaluated && again.last.evaluated);
    cr_assert(given.last.test_loss == made.last.test_loss && given.last.test_loss == again.last.test_loss);
    cr_assert(given.last.top1_error == made.last.top1_error);
}

Test(bitwise, images_of_bytes) { check_bytes((struct small_run){.model = "resnet-11", .batch = 8}); }

Test(bitwise, images_of_bytes_in_16_bits)
{
    check_bytes((struct small_run){.model = "resnet-8", .dtype = DTYPE_BF16, .lowering = LOWER_BN_PARTS});
}

Test(bitwise, images_of_bytes_on_two_devices_with_micro_batches)
{
    check_bytes((struct small_run){.gpus = "2xcpu", .micro_batches = 2, .bucket_bytes = 64 << 10});
}

/* ---- Lowered programs ---- */

/* Shared bytes, runs again and dead bytes filled with NaN give the same bits as the program that keeps all. */
static void check_program(struct small_run none, uint64_t budget)
{
    none.batch = 8;
    none.sharing = SHARING_NONE;
    struct small_run elementwise = none, again = none;
    elementwise.sharing = again.sharing = SHARING_FULL;
    elementwise.recompute = RECOMPUTE_ELEMENTWISE;
    again.recompute = RECOMPUTE_BUDGET;
    again.budget = budget;
    elementwise.options.fill_dead = again.options.fill_dead = true;
    go(&none, "none");
    go(&elementwise, "elementwise");
    go(&again, "again");
    check_equal(&none, &elementwise, "none", "elementwise");
    check_equal(&none, &again, "none", "again");
    cr_assert_lt(again.result.planned_bytes, none.result.planned_bytes);
}

Test(bitwise, lowered_preactivation_bottlenecks)
{
    check_program((struct small_run){.model = "resnet-11", .lowering = LOWER_ALL}, 9600u << 10);
}

Test(bitwise, lowered_original_units)
{
    check_program((struct small_run){.model = "resnet-14", .lowering = LOWER_ALL}, 5600u << 10);
}

Test(bitwise, lowered_in_part)
{
    uint32_t some = LOWER_BN | LOWER_SUMS | LOWER_NORMALIZE;
    check_program((struct small_run){.model = "resnet-11", .lowering = some}, 9900u << 10);
}

Test(bitwise, logical_programs)
{
    check_program((struct small_run){.model = "resnet-14", .logical = true}, 5600u << 10);
}

Test(bitwise, lowered_on_two_devices_with_micro_batches)
{
    struct small_run plain = {.model = "resnet-11", .gpus = "2xcpu", .micro_batches = 2, .bucket_bytes = 64 << 10};
    plain.sync_bn = true;
    plain.lowering = LOWER_ALL;
    struct small_run filled = plain;
    filled.options.fill_dead = true;
    filled.recompute = RECOMPUTE_ELEMENTWISE;
    go(&plain, "plain");
    go(&filled, "filled");
    check_equal(&plain, &filled, "plain", "filled");
}

/* What is fused changes no result but by rounding. */
Test(bitwise, lowered_and_logical_runs_agree)
{
    struct small_run logical = {.model = "resnet-11", .batch = 8, .logical = true}, lowered = logical;
    lowered.logical = false;
    go(&logical, "logical");
    go(&lowered, "lowered");
    for (int i = 0; i < (int)STEPS; i++)
        cr_assert_float_eq(logical.losses[i], lowered.losses[i], 0.02 * logical.losses[i], "step %d: %g, lowered %g", i,
                           logical.losses[i], lowered.losses[i]);
    cr_assert_lt(lowered.result.planned_bytes, logical.result.planned_bytes);
}
