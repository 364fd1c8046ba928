/* A lowered graph computes what the logical one does: random graphs and odd units, trained two steps op by op on a
 * backend, each tensor at bytes of its own. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph_run.h"
#include "lower.h"
#include "random_graph.h"

#define STEPS 2

/* All that stays after two steps and an evaluation, tensor by tensor; the caller frees it. */
static float *collect(struct graph_run *run, uint64_t *count)
{
    struct error err = {0};
    float *all = NULL;
    *count = 0;
    for (uint32_t t = 0; t < run->graph->tensor_count; t++) {
        const struct tensor *tensor = &run->graph->tensors[t];
        if (!tensor->persistent || tensor->role == ROLE_BUCKET) continue;
        uint64_t more = tensor_elements(tensor);
        all = realloc(all, (*count + more) * sizeof *all);
        cr_assert(run->backend->parameter_out(run->device, tensor, run->offsets[t], all + *count, &err), "%s",
                  err.text);
        *count += more;
    }
    return all;
}

static float *train(const struct backend *backend, const struct graph *graph, uint64_t *count)
{
    struct graph_run run = graph_run_begin(backend, graph);
    for (uint64_t step = 0; step <= STEPS; step++) {
        graph_run_set_step(&run, step);
        bool evaluate = step == STEPS;
        for (uint32_t i = 0; i < (evaluate ? graph->forward_end : graph->op_count); i++)
            graph_run_op(&run, i, evaluate ? PASS_EVALUATE : graph->ops[i].pass);
    }
    float *all = collect(&run, count);
    graph_run_finish(&run);
    return all;
}

static double worst(const float *a, const float *b, uint64_t count)
{
    double most = 0;
    for (uint64_t i = 0; i < count; i++) {
        double error = fabs((double)a[i] - (double)b[i]) / (1 + fabs((double)b[i]));
        if (!(error <= most)) most = error;
    }
    return most;
}

static void compare(const struct backend *backend, const struct graph *logical, const float *right, uint64_t count,
                    uint32_t lowering, uint64_t seed)
{
    struct graph *lowered = NULL;
    struct error err = {0};
    uint64_t other = 0;
    cr_assert(graph_lower(logical, lowering, &lowered, &err), "%s", err.text);
    float *found = train(backend, lowered, &other);
    cr_assert_eq(other, count);
    double error = worst(found, right, count);
    cr_expect(error < 2e-5, "%s, graph %u, lowering %u: they differ by %g", backend->name, (unsigned)seed,
              (unsigned)lowering, error);
    free(found);
    graph_destroy(lowered);
}

static void check_graphs(const struct backend *backend, uint64_t first, uint64_t last)
{
    for (uint64_t seed = first; seed < last; seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 2});
        uint64_t count;
        float *right = train(backend, logical, &count);
        compare(backend, logical, right, count, LOWER_ALL, seed);
        compare(backend, logical, right, count, 1 + (uint32_t)(seed * 37 % LOWER_ALL), seed);
        compare(backend, logical, right, count, 1u << seed % LOWERINGS, seed);
        free(right);
        graph_destroy(logical);
    }
}

Test(lowered, random_graphs_on_the_reference) { check_graphs(&cpu_reference_backend, 0, 200); }

Test(lowered, random_graphs_on_the_fast_loops) { check_graphs(&cpu_backend, 200, 300); }

/* Every unit and shortcut, as built. */
Test(lowered, units_and_shortcuts)
{
    for (int unit = UNIT_ORIGINAL; unit < UNIT_PLAIN; unit++)
        for (int shortcut = SHORTCUT_A + unit % 2; shortcut <= SHORTCUT_DROPOUT; shortcut += 2) {
            struct model_options model = MODEL_OPTIONS_DEFAULT;
            struct model_spec spec;
            struct error err = {0};
            model.unit = unit;
            model.shortcut = shortcut;
            model.image_size = 12;
            cr_assert(model_parse(unit % 3 ? "resnet-8" : "resnet-11", &model, &spec, &err), "%s", err.text);
            struct graph *logical = graph_build(&spec, &(struct graph_options){.batch = 4}, &err);
            cr_assert_not_null(logical, "%s", err.text);
            uint64_t count;
            float *right = train(&cpu_backend, logical, &count);
            compare(&cpu_backend, logical, right, count, LOWER_ALL, 10000 + (uint64_t)unit * 100 + (uint64_t)shortcut);
            free(right);
            graph_destroy(logical);
        }
}
