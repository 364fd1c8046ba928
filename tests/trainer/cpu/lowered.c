/* A lowered graph computes what the logical one does: random graphs and odd units, trained two steps op by op on a
 * backend, each tensor at bytes of its own. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert.h"
#include "forms_kit.h"
#include "graph_kit.h"
#include "graph_run.h"
#include "lower.h"
#include "random_graph.h"
#include "rounds.h"

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
    for (uint64_t seed = first; seed < first + rounds(last - first); seed++) {
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

/* ---- Weights in 16 bits ---- */

/* Weights that a copy holds exactly. */
static void round_weights(struct graph_run *run)
{
    const struct graph *graph = run->graph;
    bool f16 = graph->options.dtype == DTYPE_F16;
    struct error err = {0};
    for (size_t p = 0; p < graph->parameter_count; p++) {
        uint32_t parameter = graph->parameters[p];
        const struct tensor *t = &graph->tensors[parameter];
        uint64_t count = tensor_elements(t);
        float *values = malloc(count * sizeof *values);
        uint16_t *rounded = malloc(count * sizeof *rounded);
        cr_assert(run->backend->parameter_out(run->device, t, run->offsets[parameter], values, &err));
        (f16 ? conversions_best()->to_f16 : conversions_best()->to_bf16)(rounded, values, count);
        (f16 ? conversions_best()->from_f16 : conversions_best()->from_bf16)(values, rounded, count);
        cr_assert(run->backend->parameter_in(run->device, t, run->offsets[parameter], values, &err));
        free(values);
        free(rounded);
    }
}

/* The gradient of each parameter, and the metrics, after one forward and backward pass; the caller frees them. */
static uint8_t *differentiate(const struct backend *backend, const struct graph *graph, uint64_t *bytes)
{
    struct graph_run run = graph_run_begin(backend, graph);
    struct error err = {0};
    uint8_t *all = NULL;
    *bytes = 0;
    round_weights(&run);
    graph_run_set_step(&run, 0);
    for (uint32_t i = 0; i < graph->backward_end; i++) graph_run_op(&run, i, graph->ops[i].pass);
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const struct tensor *tensor = &graph->tensors[t];
        bool gradient = tensor->class == CLASS_GRADIENT && tensor->role != ROLE_BUCKET;
        if (!gradient && t != graph->metrics) continue;
        all = realloc(all, *bytes + tensor->bytes);
        cr_assert(backend->copy_out(run.device, NULL, all + *bytes, run.offsets[t], tensor->bytes, &err));
        *bytes += tensor->bytes;
    }
    float loss;
    cr_assert(backend->copy_out(run.device, NULL, &loss, run.offsets[graph->metrics], sizeof loss, &err));
    cr_assert(isfinite(loss) && loss > 0);
    graph_run_finish(&run);
    return all;
}

/* With weights that 16 bits hold, a copy of them changes no bit of any gradient. */
static void compare_copied(const struct backend *backend, const struct graph *logical, uint32_t lowering)
{
    struct graph *read = NULL, *copied = NULL;
    struct error err = {0};
    uint64_t bytes, other;
    cr_assert(graph_lower(logical, lowering, &read, &err) &&
                  graph_lower(logical, lowering | LOWER_WEIGHTS, &copied, &err),
              "%s", err.text);
    cr_assert_gt(copied->op_count, read->op_count);
    uint8_t *right = differentiate(backend, read, &bytes), *found = differentiate(backend, copied, &other);
    cr_assert_eq(bytes, other);
    cr_expect_arr_eq(found, right, bytes, "%s, lowering %u", backend->name, (unsigned)lowering);
    free(right);
    free(found);
    graph_destroy(read);
    graph_destroy(copied);
}

static void check_copied(const struct backend *backend, uint64_t first, uint64_t last)
{
    static const enum dtype dtypes[] = {DTYPE_F16, DTYPE_BF16};
    for (uint64_t seed = first; seed < first + rounds(last - first); seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 3, .dtype = dtypes[seed % 2]});
        compare_copied(backend, logical, 0);
        compare_copied(backend, logical, LOWER_ALL & ~LOWER_WEIGHTS);
        graph_destroy(logical);
    }
}

Test(lowered, copied_weights_on_the_reference) { check_copied(&cpu_reference_backend, 0, 20); }

Test(lowered, copied_weights_on_the_fast_loops) { check_copied(&cpu_backend, 20, 60); }

/* Weights that are kept permuted, and batches that are widened by pieces. */
Test(lowered, copied_weights_of_a_real_net)
{
    struct graph *logical =
        build_with("resnet-11", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 40, .dtype = DTYPE_BF16});
    compare_copied(&cpu_backend, logical, 0);
    graph_destroy(logical);
}

/* Each element of a copy is the nearest to that of the bucket. */
Test(lowered, a_copy_is_the_bucket_rounded)
{
    struct graph *logical = random_graph(7, (struct graph_options){.batch = 2, .dtype = DTYPE_BF16}), *graph = NULL;
    struct error err = {0};
    cr_assert(graph_lower(logical, LOWER_WEIGHTS, &graph, &err));
    struct graph_run run = graph_run_begin(&cpu_reference_backend, graph);
    cr_assert_eq(graph->ops[0].kind, OP_WEIGHTS_COPY);
    graph_run_op(&run, 0, PASS_FORWARD);
    uint64_t count = tensor_elements(&graph->tensors[graph->ops[0].in[0]]);
    float *values = malloc(count * sizeof *values);
    uint16_t *wanted = malloc(count * sizeof *wanted), *found = malloc(count * sizeof *found);
    cr_assert(run.backend->copy_out(run.device, NULL, values, run.offsets[graph->ops[0].in[0]], 4 * count, &err) &&
              run.backend->copy_out(run.device, NULL, found, run.offsets[graph->ops[0].out[0]], 2 * count, &err));
    conversions_best()->to_bf16(wanted, values, count);
    cr_expect_arr_eq(found, wanted, 2 * count);
    free(values);
    free(wanted);
    free(found);
    graph_run_finish(&run);
    graph_destroy(graph);
    graph_destroy(logical);
}

/* ---- Images of bytes ---- */

/* What is trained is the same to the bit, on both backends and in all types. */
static void check_input(const struct backend *backend, uint64_t first, uint64_t last)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (uint64_t seed = first; seed < first + rounds(last - first); seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 3, .dtype = dtypes[seed % 3]});
        struct graph *made = NULL;
        struct error err = {0};
        uint64_t bytes, other;
        cr_assert(graph_lower(logical, LOWER_INPUT, &made, &err), "%s", err.text);
        cr_assert_neq(made->pixels, NO_TENSOR);
        uint8_t *right = differentiate(backend, logical, &bytes), *found = differentiate(backend, made, &other);
        cr_assert_eq(bytes, other);
        cr_expect_arr_eq(found, right, bytes, "%s, graph %u", backend->name, (unsigned)seed);
        free(right);
        free(found);
        graph_destroy(made);
        graph_destroy(logical);
    }
}

Test(lowered, images_of_bytes_on_the_reference) { check_input(&cpu_reference_backend, 0, 24); }

Test(lowered, images_of_bytes_on_the_fast_loops) { check_input(&cpu_backend, 24, 60); }

/* The images themselves are those that the loader makes; wider than what the fast loop takes at a time. */
static void check_images(const struct backend *backend, enum dtype dtype, uint32_t side)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse("resnet-8", &MODEL_OPTIONS_DEFAULT, &spec, &err));
    spec.image_size = side;
    struct graph *logical = graph_begin(&spec, &(struct graph_options){.batch = 5, .dtype = dtype}, &err),
                 *graph = NULL;
    graph_set_layer(logical, 0, "net");
    uint32_t x = graph_add_conv(logical, logical->images, 2, 1, 1, false);
    graph_add_softmax_loss(logical, graph_add_fc(logical, graph_add_avgpool(logical, x, 0, 1, 0), 2));
    logical = graph_finish(logical, &err);
    cr_assert(logical && graph_lower(logical, LOWER_INPUT, &graph, &err), "%s", err.text);
    struct graph_run run = graph_run_begin(backend, graph);
    const struct tensor *images = &graph->tensors[graph->images];
    struct graph_run_input input = graph_run_input_make(5, side, 3);
    uint64_t at = run.offsets[graph->images];
    uint8_t *found = malloc(images->bytes), *wanted = malloc(images->bytes);
    graph_run_set_step(&run, 3);
    input.placements[4 * INPUT_PLACEMENT] = (int32_t)side; /* the last one is all padding */
    graph_run_normalise(&input, 4);
    cr_assert(backend->copy_in(run.device, NULL, run.offsets[graph->placements], input.placements,
                               graph->tensors[graph->placements].bytes, &err));
    cr_assert_eq(graph->ops[0].kind, OP_INPUT);
    graph_run_op(&run, 0, PASS_FORWARD);
    cr_assert(backend->copy_out(run.device, NULL, found, at, images->bytes, &err));
    cr_assert(backend->image_in(run.device, NULL, images, at, input.normalised, &err));
    cr_assert(backend->copy_out(run.device, NULL, wanted, at, images->bytes, &err));
    cr_expect_arr_eq(found, wanted, images->bytes, "%s, %s, %u", backend->name, dtype_name(dtype), side);
    free(found);
    free(wanted);
    graph_run_input_free(&input);
    graph_run_finish(&run);
    graph_destroy(graph);
    graph_destroy(logical);
}

Test(lowered, images_are_the_loaders)
{
    static const uint32_t sides[] = {1, 7, 32, 260};
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
        for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
            check_images(&cpu_reference_backend, dtype, sides[i]);
            check_images(&cpu_backend, dtype, sides[i]);
        }
}

/* Every unit and shortcut, as built. (With 4 images oneDNN's rounding shuts a ReLU of a gated unit that stays open in
 * the readable loops.) */
Test(lowered, units_and_shortcuts)
{
    for (int unit = UNIT_ORIGINAL; unit < UNIT_KINDS; unit++)
        for (int shortcut = SHORTCUT_A + unit % 2; unit != UNIT_PLAIN && shortcut <= SHORTCUT_DROPOUT; shortcut += 2) {
            struct model_options model = MODEL_OPTIONS_DEFAULT;
            model.unit = unit;
            model.shortcut = shortcut;
            model.image_size = 12;
            struct graph *logical =
                build_with(unit % 3 ? "resnet-8" : "resnet-11", model, (struct graph_options){.batch = 5});
            uint64_t count;
            float *right = train(&cpu_backend, logical, &count);
            compare(&cpu_backend, logical, right, count, LOWER_ALL, 10000 + (uint64_t)unit * 100 + (uint64_t)shortcut);
            free(right);
            graph_destroy(logical);
        }
}

Test(lowered, forms_of_the_papers_tables)
{
    for (size_t i = 0; i < FORMS; i++) {
        struct model_spec spec = form_spec(i, 8);
        struct error err = {0};
        struct graph *logical = graph_build(&spec, &(struct graph_options){.batch = 3}, &err);
        cr_assert_not_null(logical, "%s", err.text);
        uint64_t count;
        float *right = train(&cpu_reference_backend, logical, &count);
        compare(&cpu_backend, logical, right, count, LOWER_ALL, 20000 + i);
        compare(&cpu_backend, logical, right, count, 0, 20000 + i);
        free(right);
        graph_destroy(logical);
    }
}

/* Running statistics that stay, in random graphs and in nets. */
static void check_frozen(const struct backend *backend, struct graph *logical, uint64_t seed)
{
    uint64_t count;
    float *right = train(&cpu_reference_backend, logical, &count);
    compare(backend, logical, right, count, 0, seed);
    compare(backend, logical, right, count, LOWER_ALL, seed);
    compare(backend, logical, right, count, 1 + (uint32_t)(seed * 37 % LOWER_ALL), seed);
    free(right);
    graph_destroy(logical);
}

Test(lowered, frozen_normalisations_in_random_graphs)
{
    for (uint64_t seed = 300; seed < 300 + rounds(60); seed++)
        check_frozen(seed % 2 ? &cpu_backend : &cpu_reference_backend,
                     random_graph(seed, (struct graph_options){.batch = 2, .freeze_bn = 1 + seed / 2 % 2}), seed);
}

/* Of units whose sums do not grow: nothing brings them back. */
Test(lowered, frozen_normalisations_in_nets)
{
    for (int unit = UNIT_ORIGINAL; unit <= UNIT_BN_AFTER_ADD; unit++)
        for (enum bn_freeze freeze = BN_STATISTICS_FROZEN; freeze <= BN_FROZEN; freeze++) {
            struct model_options model = MODEL_OPTIONS_DEFAULT;
            model.unit = unit;
            model.image_size = 8;
            struct graph *logical = build_with(unit % 2 ? "resnet-8" : "resnet-11", model,
                                               (struct graph_options){.batch = 3, .freeze_bn = freeze});
            check_frozen(&cpu_backend, logical, 30000 + (uint64_t)unit);
        }
}

Test(lowered, normalisations_of_groups_in_random_graphs)
{
    for (uint64_t seed = 500; seed < 500 + rounds(20); seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 4, .bn_group = 1 + seed % 2});
        uint64_t count;
        float *right = train(&cpu_reference_backend, logical, &count);
        compare(&cpu_backend, logical, right, count, 0, seed);
        compare(&cpu_backend, logical, right, count, LOWER_ALL & ~(uint32_t)LOWER_GROUPS_LACK, seed);
        free(right);
        graph_destroy(logical);
    }
}
