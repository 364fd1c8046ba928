/* A lowered graph computes what the logical one does: random graphs and odd units, trained two steps op by op on a
 * backend, each tensor at bytes of its own. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_backend.h"
#include "lower.h"
#include "random_graph.h"

#define STEPS 2

struct run {
    const struct backend *backend;
    const struct graph *graph;
    struct device *device;
    uint64_t *offsets; /* of each tensor */
    uint64_t bytes;    /* of the arena, workspace included */
    uint64_t workspace, workspace_bytes;
};

static uint64_t take(struct run *run, uint64_t bytes)
{
    uint64_t at = run->bytes;
    run->bytes += (bytes + 255) / 256 * 256;
    return at;
}

static void place(struct run *run)
{
    const struct graph *graph = run->graph;
    struct error err = {0};
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].view_of == NO_TENSOR) run->offsets[t] = take(run, graph->tensors[t].bytes);
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].view_of != NO_TENSOR)
            run->offsets[t] = run->offsets[graph->tensors[t].view_of] + graph->tensors[t].view_offset;
    for (uint32_t i = 0; i < graph->op_count; i++) {
        uint64_t bytes = 0;
        cr_assert(run->backend->op_workspace(graph, &graph->ops[i], graph->ops[i].pass, &bytes, &err), "%s", err.text);
        if (bytes > run->workspace_bytes) run->workspace_bytes = bytes;
    }
    run->workspace = take(run, run->workspace_bytes);
}

/* By the persistent tensors' order, which lowering keeps: not by their numbers. */
static void fill_state(struct run *run)
{
    struct error err = {0};
    uint64_t number = 0;
    for (uint32_t t = 0; t < run->graph->tensor_count; t++) {
        const struct tensor *tensor = &run->graph->tensors[t];
        if (!tensor->persistent || tensor->role == ROLE_BUCKET) continue;
        struct random random = random_begin(5, RANDOM_WEIGHTS, number++, 0);
        uint64_t count = tensor_elements(tensor);
        float *values = calloc(count, sizeof *values);
        for (uint64_t i = 0; i < count; i++)
            values[i] = (tensor->role == ROLE_RUNNING_VARIANCE || tensor->role == ROLE_GAMMA ? 1.0f : 0.0f) +
                        (tensor->role == ROLE_METRICS ? 0 : 0.2f * (float)random_normal(&random));
        cr_assert(run->backend->parameter_in(run->device, tensor, run->offsets[t], values, &err), "%s", err.text);
        free(values);
    }
}

static void fill_input(struct run *run, uint64_t step)
{
    const struct tensor *images = &run->graph->tensors[run->graph->images];
    struct error err = {0};
    uint64_t count = tensor_elements(images);
    float *pixels = calloc(count, sizeof *pixels);
    int32_t labels[16];
    struct random random = random_begin(6, RANDOM_SYNTHETIC, step, 0);
    for (uint64_t i = 0; i < count; i++) pixels[i] = (float)random_normal(&random);
    for (int i = 0; i < 16; i++) labels[i] = (int32_t)random_below(&random, 10);
    cr_assert(run->backend->copy_in(run->device, NULL, run->offsets[run->graph->images], pixels, images->bytes, &err) &&
              run->backend->copy_in(run->device, NULL, run->offsets[run->graph->labels], labels,
                                    run->graph->tensors[run->graph->labels].bytes, &err));
    free(pixels);
}

static void run_op(struct run *run, uint32_t index, enum op_pass pass)
{
    const struct graph *graph = run->graph;
    const struct op *op = &graph->ops[index];
    struct op_call call = {.graph = graph, .op = op, .op_index = graph_logical_op(graph, index), .pass = pass};
    struct prepared *prepared = NULL;
    struct error err = {0};
    for (uint32_t k = 0; k < op->inputs; k++) {
        call.in[k] = run->offsets[op->in[k]];
        call.in_tensor[k] = &graph->tensors[op->in[k]];
    }
    for (uint32_t k = 0; k < op->outputs; k++) {
        call.out[k] = run->offsets[op->out[k]];
        call.out_tensor[k] = &graph->tensors[op->out[k]];
    }
    call.workspace = run->workspace;
    call.workspace_bytes = run->workspace_bytes;
    cr_assert(run->backend->op_prepare(run->device, &call, &prepared, &err) &&
                  run->backend->op_launch(prepared, NULL, &err),
              "%s: %s", op_kind_name(op->kind), err.text);
    run->backend->op_release(prepared);
}

/* All that stays after two steps and an evaluation, tensor by tensor; the caller frees it. */
static float *collect(struct run *run, uint64_t *count)
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
    struct run run = {.backend = backend, .graph = graph};
    struct error err = {0};
    run.offsets = calloc(graph->tensor_count, sizeof *run.offsets);
    place(&run);
    const struct device_options options = {.threads = 1};
    cr_assert(backend->device_create(&options, run.bytes, &run.device, &err), "%s", err.text);
    cr_assert(backend->fill(run.device, NULL, 0, run.bytes, 0, &err));
    fill_state(&run);
    for (uint64_t step = 0; step <= STEPS; step++) {
        struct step now = {.number = step, .seed = 3, .learning_rate = 0.02f, .momentum = 0.9f, .bn_momentum = 0.1f};
        cr_assert(backend->set_step(run.device, NULL, &now, &err));
        fill_input(&run, step);
        bool evaluate = step == STEPS;
        for (uint32_t i = 0; i < (evaluate ? graph->forward_end : graph->op_count); i++)
            run_op(&run, i, evaluate ? PASS_EVALUATE : graph->ops[i].pass);
    }
    float *all = collect(&run, count);
    backend->device_destroy(run.device);
    free(run.offsets);
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
