/* Measured times of runs that tell kernels: of steps and what lies between, of kernels that ops share, of engines. */
#include <stdlib.h>

#include "cost_kit.h"

/* As a GPU's trace tells it: `gap` after each of an op's two kernels, `once` a step. */
static struct cost_run make_kernel_run(const struct graph *graph, const char *model, uint32_t batch, double gap,
                                       double once)
{
    const struct law law = {1e-5, 1e-11};
    struct cost_run run = make_run(graph, model, batch, &law);
    struct cost_sample *samples = (struct cost_sample *)(uintptr_t)run.samples;
    for (size_t i = 0; i < run.count; i++) samples[i].kernels = 2, samples[i].runs = 1, samples[i].engine = "a";
    run.has_kernels = true;
    run.gap_seconds = gap * 2 * (double)run.count;
    run.step_seconds += run.gap_seconds + once;
    return run;
}

static struct cost_table *learn_kernel_run(const struct cost_run *run)
{
    struct error err = {0};
    struct cost_table *table = new_table();
    cr_assert(cost_table_learn(table, run, NULL, &err), "%s", err.text);
    return table;
}

static double find_kind(const struct cost_table *table, const struct graph *graph, enum op_kind kind, size_t number)
{
    enum cost_source source;
    struct cost_speed speed = cost_speed_of(&cpu, DTYPE_F32, table);
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].kind == kind && number-- == 0)
            return cost_table_seconds(table, &speed, graph, &graph->ops[i], &source);
    cr_assert_fail();
    return 0;
}

Test(cost_kernels, gaps_grow_with_the_net_and_the_rest_of_a_step_does_not)
{
    const struct law with_gaps = {1e-5 + 2 * 3e-6, 1e-11};
    size_t sources[COST_SOURCES] = {0};
    struct graph *graph = make_graph("resnet-20", 8, DTYPE_F32);
    struct cost_run run = make_kernel_run(graph, "resnet-20", 8, 3e-6, 2e-4);
    struct cost_table *table = learn_kernel_run(&run);
    cr_expect_float_eq(cost_table_step_seconds(table), 2e-4, 1e-12);
    cr_expect_float_eq(compare(table, "resnet-20", 8, &with_gaps, sources), 1, 1e-9);
    cr_expect_float_eq(compare(table, "resnet-56", 8, &with_gaps, sources), 1, 0.01);
    cost_table_destroy(table);
    free((void *)(uintptr_t)run.samples);
    graph_destroy(graph);
}

/* One launch that does the work of all normalisations' gradients, say: told of the first of them. */
Test(cost_kernels, shared_kernels_are_divided_by_the_bytes_that_ops_move)
{
    struct graph *graph = make_graph("resnet-8", 8, DTYPE_F32);
    struct cost_run run = make_kernel_run(graph, "resnet-8", 8, 0, 0);
    struct cost_sample *samples = (struct cost_sample *)(uintptr_t)run.samples;
    double all = 0, bytes = 0, divided = 0;
    size_t first = run.count, count = 0;
    for (size_t i = 0; i < run.count; i++) {
        if (graph->ops[i].kind != OP_BN) continue;
        if (first == run.count) first = i;
        all += samples[i].seconds;
        bytes += (double)samples[i].bytes_moved + 1;
        if (i != first) samples[i].seconds = samples[i].kernels = samples[i].runs = 0;
        count++;
    }
    samples[first].seconds = all;
    struct cost_table *table = learn_kernel_run(&run);
    for (size_t n = 0; n < count; n++) divided += find_kind(table, graph, OP_BN, n);
    cr_expect_float_eq(divided, all, 1e-12, "%g instead of %g", divided, all);
    double share = all * ((double)samples[first].bytes_moved + 1) / bytes;
    cr_expect_float_eq(find_kind(table, graph, OP_BN, 0), share, 1e-3 * share);
    cost_table_destroy(table);
    free((void *)(uintptr_t)run.samples);
    graph_destroy(graph);
}

Test(cost_kernels, an_op_is_as_fast_as_the_engine_of_the_nearest_batch)
{
    struct error err = {0};
    struct cost_table *table = new_table();
    for (uint32_t batch = 8; batch <= 32; batch *= 2) {
        struct graph *graph = make_graph("resnet-20", batch, DTYPE_F32);
        struct cost_run run = make_kernel_run(graph, "resnet-20", batch, 0, 0);
        struct cost_sample *samples = (struct cost_sample *)(uintptr_t)run.samples;
        for (size_t i = 0; i < run.count; i++) {
            samples[i].seconds = (batch == 32 ? 1e-6 : 1e-5) * batch;
            samples[i].engine = batch == 32 ? "fast" : "slow";
        }
        cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
        free(samples);
        graph_destroy(graph);
    }
    struct graph *small = make_graph("resnet-20", 12, DTYPE_F32), *large = make_graph("resnet-20", 64, DTYPE_F32);
    cr_expect_float_eq(find_kind(table, small, OP_CONV, 3), 1.2e-4, 1e-9);
    cr_expect_float_eq(find_kind(table, large, OP_CONV, 3), 6.4e-5, 1e-9);
    graph_destroy(small);
    graph_destroy(large);
    cost_table_destroy(table);
}
