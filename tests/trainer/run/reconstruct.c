/* Training with inputs that are made again from outputs: the same but for rounding, and the same bits whatever lies in
 * dead bytes. */
#include <criterion/criterion.h>

#include "execute.h"
#include "init.h"
#include "random.h"
#include "sharing.h"
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
static void check_losses(struct small_run exact, struct small_run again, uint64_t early, double most)
{
    go(&exact, 6);
    go(&again, 6);
    cr_assert(exact.losses[0] == again.losses[0]);
    double drift = largest_difference(&exact, &again, early), later = largest_difference(&exact, &again, 6);
    cr_assert_gt(later, 0, "nothing was made again");
    cr_assert(drift < most && later < 0.05, "found %g in %d steps, %g in 6", drift, (int)early, later);
    cr_assert_lt(again.result.planned_bytes, exact.result.planned_bytes);
}

Test(reconstruct, losses_differ_by_rounding)
{
    struct small_run exact = {.model = "resnet-29", .batch = 8, .logical = true}, again = exact;
    again.reconstruct = true;
    check_losses(exact, again, 4, 1e-3);
}

/* Here gradients are summed in other orders from the second step on: a step earlier they are as far apart. */
Test(reconstruct, losses_of_lowered_programs_do_too)
{
    struct small_run exact = {.model = "resnet-29", .batch = 8}, again = exact;
    again.reconstruct = true;
    check_losses(exact, again, 3, 3e-4);
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

/* ---- One step's gradients ---- */

static void start(struct executor *executor, const struct graph *graph, const struct state_entry *entries, size_t count)
{
    struct error err = {0};
    for (size_t i = 0; i < count; i++) {
        const struct tensor *tensor = &graph->tensors[entries[i].tensor];
        float *values = calloc(tensor_elements(tensor), sizeof *values);
        if (entries[i].kind == STATE_PARAMETER) init_parameter(graph, entries[i].parameter, INIT_HE, 1, values);
        if (entries[i].kind == STATE_STATISTIC) init_statistic(tensor, values);
        cr_assert(executor_state_in(executor, i, values, &err), "%s", err.text);
        free(values);
    }
}

/* All momenta after a first step: the gradients, as there is no weight decay. nudge changes the first pixel. */
static float *take_gradients(const struct plan *plan, double nudge, size_t *count)
{
    const struct graph *graph = plan->variants[0].graph;
    struct executor_options options = {.plan = plan, .backend = &cpu_backend};
    struct step step = {.seed = 1, .learning_rate = 0.1f, .momentum = 0.9f, .bn_momentum = 0.1f};
    struct executor *executor = NULL;
    struct state_entry *entries;
    struct metrics metrics;
    struct error err = {0};
    size_t entry_count;
    cr_assert(executor_create(&options, &executor, &err), "%s", err.text);
    cr_assert(state_entries_find(&plan->variants[0], &entries, &entry_count, &err), "%s", err.text);
    start(executor, graph, entries, entry_count);
    uint64_t pixels = tensor_elements(&graph->tensors[graph->images]);
    float *images = malloc(pixels * sizeof *images);
    int32_t labels[64];
    struct random r = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    for (uint64_t i = 0; i < pixels; i++) images[i] = (float)random_normal(&r) * (float)(1 + nudge);
    for (uint32_t i = 0; i < plan->batch; i++) labels[i] = (int32_t)(i % 10);
    const struct step_input input = {.images = images, .labels = labels};
    cr_assert(executor_submit(executor, &step, &input, &err), "%s", err.text);
    cr_assert(executor_collect(executor, &metrics, &err), "%s", err.text);
    float *all = malloc(graph->parameter_elements * sizeof *all);
    *count = 0;
    for (size_t i = 0; i < entry_count; i++) {
        if (entries[i].kind != STATE_OPTIMIZER) continue;
        cr_assert(executor_state_out(executor, i, all + *count, &err), "%s", err.text);
        *count += (size_t)tensor_elements(&graph->tensors[entries[i].tensor]);
    }
    mem_free(entries);
    free(images);
    executor_destroy(executor);
    return all;
}

/* |a - b| / |a|, over all parameters. */
static double distance(const float *a, const float *b, size_t count)
{
    double apart = 0, whole = 0;
    for (size_t i = 0; i < count; i++) {
        apart += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        whole += (double)a[i] * a[i];
    }
    return sqrt(apart / whole);
}

static struct plan *plan_for(const char *model, uint32_t batch, bool reconstruct)
{
    struct small_run run = {
        .model = model, .batch = batch, .recompute = RECOMPUTE_ELEMENTWISE, .reconstruct = reconstruct};
    run_fill_defaults(&run);
    /* Images come in f32, and additions are ops of their own in both. */
    run.lowering &= ~(uint32_t)(LOWER_INPUT | LOWER_ADD | LOWER_BN_ADD);
    struct plan *plan = run_plan(&run);
    cr_assert(plan, "%s", run.err.text);
    return plan;
}

/* Far less than what the last bits of the images do. FATHOM_RECONSTRUCT_MODEL and _BATCH measure another model. */
Test(reconstruct, gradients_differ_by_rounding)
{
    const char *model = getenv("FATHOM_RECONSTRUCT_MODEL"), *batch = getenv("FATHOM_RECONSTRUCT_BATCH");
    uint32_t images = batch ? (uint32_t)atoi(batch) : 8;
    struct plan *exact = plan_for(model ? model : "resnet-29", images, false);
    struct plan *again = plan_for(model ? model : "resnet-29", images, true);
    size_t count;
    float *right = take_gradients(exact, 0, &count), *made = take_gradients(again, 0, &count);
    float *nudged = take_gradients(exact, 1e-7, &count);
    double by_rounding = distance(right, made, count), by_nudge = distance(right, nudged, count);
    cr_assert_eq(count, exact->variants[0].graph->parameter_elements);
    cr_expect_gt(by_rounding, 0);
    cr_expect_lt(by_rounding, model ? by_nudge / 100 : 1e-5);
    if (model) fprintf(stderr, "%s: gradients %.3g apart; by 1e-7 of the pixels %.3g\n", model, by_rounding, by_nudge);
    free(right);
    free(made);
    free(nudged);
    plan_destroy(exact);
    plan_destroy(again);
}
