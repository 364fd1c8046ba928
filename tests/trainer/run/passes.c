/* Passes that are timed: forward and backward of a plan on noise, and nothing learned. */
#include <criterion/criterion.h>

#include "execute.h"
#include "init.h"
#include "passes.h"
#include "random.h"
#include "train_help.h"

TestSuite(passes, .init = run_make_data, .fini = run_remove_data);

static struct plan *plan_of(struct small_run *run)
{
    run_fill_defaults(run);
    struct plan *plan = run_plan(run);
    cr_assert(plan, "%s", run->err.text);
    return plan;
}

static void check_times(struct small_run run)
{
    struct plan *plan = plan_of(&run);
    struct passes_time time = {0};
    struct error err = {0};
    cr_assert(passes_measure(plan, run.backend, &run.options, 4, &time, &err), "%s", err.text);
    cr_expect(0 < time.least && time.least <= time.seconds && time.seconds <= time.most && time.most < 60,
              "%g <= %g <= %g", time.least, time.seconds, time.most);
    plan_destroy(plan);
}

Test(passes, of_what_is_kept_and_of_what_is_not)
{
    check_times((struct small_run){.batch = 4});
    check_times((struct small_run){.batch = 4, .micro_batches = 2, .recompute = RECOMPUTE_ELEMENTWISE});
    check_times((struct small_run){.model = "bn-inception", .cifar = true, .batch = 2});
    check_times((struct small_run){.batch = 4, .lowering = LOWER_EXACT});
}

Test(passes, end_when_they_are_asked_to)
{
    static volatile sig_atomic_t stop = SIGINT;
    struct small_run run = {.batch = 2, .options.stop = &stop};
    struct plan *plan = plan_of(&run);
    struct passes_time time;
    struct error err = {0};
    cr_expect_not(passes_measure(plan, run.backend, &run.options, 1000, &time, &err));
    cr_expect_not_null(strstr(err.text, "stopped"), "%s", err.text);
    plan_destroy(plan);
}

/* Parameters and momenta of an executor, one after the other. */
static float *take_state(struct executor *executor, uint64_t *count)
{
    struct error err = {0};
    float *all = NULL;
    *count = 0;
    for (size_t i = 0; i < executor_state_count(executor); i++) {
        if (executor_state_entry(executor, i)->kind == STATE_STATISTIC) continue;
        uint64_t more = executor_state_elements(executor, i);
        all = realloc(all, (*count + more) * sizeof *all);
        cr_assert(executor_state_out(executor, i, all + *count, &err), "%s", err.text);
        *count += more;
    }
    return all;
}

static void begin_state(struct executor *executor, const struct graph *graph)
{
    struct error err = {0};
    for (size_t i = 0; i < executor_state_count(executor); i++) {
        const struct state_entry *entry = executor_state_entry(executor, i);
        float *values = calloc(executor_state_elements(executor, i), sizeof *values);
        if (entry->kind == STATE_PARAMETER) init_parameter(graph, entry->parameter, INIT_HE, 1, values);
        if (entry->kind == STATE_STATISTIC) init_statistic(&graph->tensors[entry->tensor], values);
        cr_assert(executor_state_in(executor, i, values, &err), "%s", err.text);
        free(values);
    }
}

/* What is learned is the same whether passes ran before or not, to the last bit. */
Test(passes, change_nothing_that_is_learned)
{
    struct small_run run = {.batch = 4, .logical = true}; /* which reads images as they are */
    struct plan *plan = plan_of(&run);
    const struct graph *graph = plan->variants[0].graph;
    uint64_t pixels = tensor_elements(&graph->tensors[graph->images]), counts[3];
    float *images = malloc(pixels * sizeof *images), *states[3];
    const int32_t labels[] = {1, 2, 3, 4};
    struct random r = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    for (uint64_t i = 0; i < pixels; i++) images[i] = (float)random_normal(&r);
    const struct step_input input = {.images = images, .labels = labels};
    const struct step step = {.seed = 1, .learning_rate = 0.1f, .momentum = 0.9f, .bn_momentum = 0.1f};
    for (int passes = 0; passes < 2; passes++) {
        struct executor_options options = {.plan = plan, .backend = run.backend};
        struct executor *executor = NULL;
        struct error err = {0};
        cr_assert(executor_create(&options, &executor, &err), "%s", err.text);
        begin_state(executor, graph);
        for (int i = 0; i < 3 * passes; i++)
            cr_assert(executor_differentiate(executor, &step, &input, &err), "%s", err.text);
        if (passes) states[2] = take_state(executor, &counts[2]);
        cr_assert(executor_submit(executor, &step, &input, &err), "%s", err.text);
        cr_expect_not(executor_differentiate(executor, &step, &input, &err), "a step is in flight");
        cr_assert(executor_collect(executor, NULL, &err), "%s", err.text);
        states[passes] = take_state(executor, &counts[passes]);
        executor_destroy(executor);
    }
    cr_expect_arr_eq(states[0], states[1], counts[0] * sizeof(float));
    cr_expect_arr_neq(states[0], states[2], counts[0] * sizeof(float));
    for (int i = 0; i < 3; i++) free(states[i]);
    free(images);
    plan_destroy(plan);
}
