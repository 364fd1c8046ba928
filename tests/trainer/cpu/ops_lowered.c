/* Each op of lowered graphs: the fast loops against the readable ones on the same operands, and the gradients of whole
 * small nets by differences. */
#include <math.h>

#include "graph_kit.h"
#include "lower.h"
#include "lowered_compare.h"
#include "random_graph.h"
#include "rounds.h"

/* ---- The fast loops against the readable ones ---- */

static void compare_ops(const struct graph *logical, uint32_t lowering, bool seen[OP_KINDS])
{
    struct graph *graph = NULL;
    struct error err = {0};
    cr_assert(graph_lower(logical, lowering, &graph, &err), "%s", err.text);
    struct graph_run fast = graph_run_begin(&cpu_backend, graph), slow = graph_run_begin(&cpu_reference_backend, graph);
    graph_run_set_step(&fast, 0);
    graph_run_set_step(&slow, 0);
    for (uint32_t i = 0; i < graph->backward_end; i++) compare_op(&fast, &slow, i, seen);
    graph_run_finish(&fast);
    graph_run_finish(&slow);
    graph_destroy(graph);
}

Test(ops_lowered, agree_with_the_reference)
{
    bool seen[OP_KINDS] = {false};
    for (uint64_t seed = 1000; seed < 1000 + rounds(60); seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 3});
        compare_ops(logical, LOWER_ALL, seen);
        compare_ops(logical, (1 + (uint32_t)(seed * 41 % 1023)) | (uint32_t)(seed % 4) * LOWER_GRADIENT_ADD, seen);
        graph_destroy(logical);
    }
    for (int kind = OP_BN_SUMS; kind <= OP_BN_BWD_APPLY; kind++)
        cr_expect(seen[kind], "%s was never met", op_kind_name((enum op_kind)kind));
}

/* ---- Convolutions by pieces of the batch: where 16 divides the channels ---- */

static struct graph *build_of(const char *model, uint32_t batch, uint32_t image_size)
{
    struct model_spec spec = spec_of(model, MODEL_OPTIONS_DEFAULT);
    spec.image_size = image_size;
    return build_spec(&spec, (struct graph_options){.batch = batch});
}

/* Batches that pieces of several images divide, and that only single ones do. */
Test(ops_lowered, pieces_agree_with_the_reference)
{
    static const struct {
        const char *model;
        uint32_t batch, image_size;
    } nets[] = {{"resnet-11", 3, 16}, {"resnet-8", 16, 8}};
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        bool seen[OP_KINDS] = {false};
        struct graph *logical = build_of(nets[i].model, nets[i].batch, nets[i].image_size);
        compare_ops(logical, LOWER_ALL, seen);
        graph_destroy(logical);
    }
}

static bool is_by_pieces(const struct graph *graph, const struct op *op)
{
    bool conv = op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
    if (!conv || op->attr.conv.fused == 0) return false;
    return graph->tensors[op->in[0]].dims[3] % 16 == 0 && graph->tensors[op->out[0]].dims[3] % 16 == 0;
}

/* Checks all ops, or those by pieces alone, and returns how many. The most threads begin: what oneDNN's workspaces take
 * is remembered. */
static uint32_t check_threads(const struct graph *logical, bool all)
{
    static const uint32_t threads[] = {3, 2, 1};
    struct graph *graph = NULL;
    struct graph_run runs[3], *one = &runs[2];
    struct error err = {0};
    uint32_t found = 0;
    cr_assert(graph_lower(logical, LOWER_ALL, &graph, &err), "%s", err.text);
    for (uint32_t k = 0; k < 3; k++) runs[k] = graph_run_begin_crowded(graph, threads[k]);
    for (uint32_t k = 0; k < 3; k++) graph_run_set_step(&runs[k], 0);
    for (uint32_t i = 0; i < graph->backward_end; i++) {
        graph_run_op(one, i, graph->ops[i].pass);
        if (!all && !is_by_pieces(graph, &graph->ops[i])) continue;
        for (uint32_t k = 0; k < 2; k++) check_same_bits(one, &runs[k], i);
        found++;
    }
    for (uint32_t k = 0; k < 3; k++) graph_run_finish(&runs[k]);
    graph_destroy(graph);
    return found;
}

Test(ops_lowered, pieces_have_the_same_bits_with_any_number_of_threads)
{
    struct graph *logical = build_of("resnet-11", 16, 16);
    cr_expect_gt(check_threads(logical, false), 20);
    graph_destroy(logical);
}

/* ---- What large images and ResNet-50's last stages have: pools that overlap, weights beyond what pieces take ---- */

static uint32_t add_conv_bn(struct graph *g, uint32_t x, uint32_t channels, uint32_t kernel, uint32_t stride)
{
    return graph_add_bn(g, graph_add_conv(g, x, channels, kernel, stride, false), true);
}

static struct graph *wide_net(void)
{
    struct graph *g = begin_net(28, (struct graph_options){.batch = 3});
    graph_set_layer(g, 0, "net");
    uint32_t x = add_conv_bn(g, g->images, 64, 3, 1);
    x = add_conv_bn(g, graph_add_maxpool(g, x, 3, 2, 1), 512, 1, 1);
    x = add_conv_bn(g, add_conv_bn(g, x, 512, 3, 2), 1024, 1, 1);
    x = graph_add_add(g, add_conv_bn(g, add_conv_bn(g, x, 256, 1, 1), 512, 1, 1), add_conv_bn(g, x, 512, 1, 1));
    x = graph_add_avgpool(g, graph_add_avgpool(g, x, 3, 2, 1), 0, 1, 0);
    graph_add_softmax_loss(g, graph_add_fc(g, x, 10));
    return finish_net(g);
}

Test(ops_lowered, wide_layers_and_pools_have_the_same_bits_with_any_number_of_threads)
{
    struct graph *logical = wide_net();
    cr_expect_gt(check_threads(logical, true), 40);
    graph_destroy(logical);
}

/* ---- What Inception nets have: branches that are concatenated, unequal windows, pools between ---- */

static uint32_t add_window_bn(struct graph *g, uint32_t x, uint32_t channels, uint32_t rows, uint32_t columns)
{
    const struct conv_window window = {{rows, columns}, {rows / 2, columns / 2}, 1};
    return graph_add_bn(g, graph_add_conv_window(g, x, channels, window, false), true);
}

/* A module with a fork in a branch, then one that halves the image. */
static struct graph *branching_net(uint32_t image_size, uint32_t c)
{
    struct graph *g = begin_net(image_size, (struct graph_options){.batch = 3});
    graph_set_layer(g, 0, "net");
    const struct conv_window halving = {{3, 3}, {0, 0}, 2};
    uint32_t x = graph_add_bn(g, graph_add_conv_window(g, g->images, c, halving, false), true);
    uint32_t fork = add_window_bn(g, x, c, 1, 1);
    uint32_t ends[] = {add_window_bn(g, x, 2 * c, 1, 1), add_window_bn(g, fork, c, 1, 3),
                       add_window_bn(g, fork, c, 3, 1), add_window_bn(g, add_window_bn(g, x, c, 1, 7), c, 7, 1),
                       add_window_bn(g, graph_add_avgpool(g, x, 3, 1, 1), c, 1, 1)};
    x = graph_add_concat(g, ends, 5);
    uint32_t halves[] = {graph_add_bn(g, graph_add_conv(g, x, 2 * c, 3, 2, false), true),
                         graph_add_maxpool_ceil(g, x, 3, 2, g->tensors[x].dims[1] % 2)};
    x = graph_add_avgpool(g, graph_add_concat(g, halves, 2), 0, 1, 0);
    graph_add_softmax_loss(g, graph_add_fc(g, x, 10));
    return finish_net(g);
}

Test(ops_lowered, branches_agree_with_the_reference)
{
    bool seen[OP_KINDS] = {false};
    for (uint32_t size = 25; size <= 27; size += 2) {
        struct graph *logical = branching_net(size, 16);
        compare_ops(logical, 0, seen);
        compare_ops(logical, LOWER_ALL, seen);
        compare_ops(logical, LOWER_ALL & ~LOWER_GRADIENT, seen);
        graph_destroy(logical);
    }
    static const enum op_kind wanted[] = {OP_CONCAT, OP_CONCAT_BWD, OP_AVGPOOL, OP_AVGPOOL_BWD, OP_MAXPOOL_BWD};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        cr_expect(seen[wanted[i]], "%s was never met", op_kind_name(wanted[i]));
}

Test(ops_lowered, branches_have_the_same_bits_with_any_number_of_threads)
{
    struct graph *logical = branching_net(40, 32);
    cr_expect_gt(check_threads(logical, true), 40);
    graph_destroy(logical);
}

/* ---- Gradients by differences ---- */

/* What ResNets are made of: convolutions of both sizes, one with stride and bias; BNs with ReLU and without, shared by
 * two readers, alone, before an addition and before a pool. */
static struct graph *small_net(void)
{
    struct graph *g = begin_net(5, (struct graph_options){.batch = 4});
    graph_set_layer(g, 0, "net");
    uint32_t x = graph_add_conv(g, g->images, 4, 3, 1, true);
    uint32_t shared = graph_add_bn(g, x, true);
    uint32_t h = graph_add_conv(g, graph_add_bn(g, graph_add_conv(g, shared, 3, 1, 2, false), true), 5, 3, 1, false);
    uint32_t y = graph_add_add(g, h, graph_add_conv(g, shared, 5, 1, 2, false));
    uint32_t branch = graph_add_conv(g, graph_add_bn(g, y, true), 5, 1, 1, false);
    y = graph_add_add(g, graph_add_bn(g, branch, false), y);
    y = graph_add_bn(g, y, true);
    graph_add_softmax_loss(g, graph_add_fc(g, graph_add_avgpool(g, y, 0, 1, 0), 10));
    return finish_net(g);
}

static double loss_of(struct graph_run *run)
{
    for (uint32_t i = 0; i < run->graph->forward_end; i++) graph_run_op(run, i, PASS_FORWARD);
    float *metrics = read_tensor(run, run->graph->metrics);
    double loss = (double)metrics[0] / (double)metrics[3];
    free(metrics);
    return loss;
}

static double loss_at(struct graph_run *run, uint32_t parameter, float *values, uint64_t i, float value)
{
    float before = values[i];
    values[i] = value;
    write_tensor(run, parameter, values);
    double loss = loss_of(run);
    values[i] = before;
    write_tensor(run, parameter, values);
    return loss;
}

static uint32_t gradient_of(const struct graph *graph, uint32_t parameter)
{
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].gradient && graph->tensors[t].of == parameter && graph->tensors[t].role != ROLE_BUCKET)
            return t;
    cr_assert_fail("no gradient");
    return NO_TENSOR;
}

static void check_parameter(struct graph_run *run, uint32_t parameter, uint64_t *checked, uint64_t *kinks)
{
    const float step = 0x1p-9f;
    const double middle = loss_of(run);
    const uint64_t apart = rounds(4) < 4 ? 12 : 3;
    const struct tensor *t = &run->graph->tensors[parameter];
    float *values = read_tensor(run, parameter), *gradient = read_tensor(run, gradient_of(run->graph, parameter));
    char name[TENSOR_NAME];
    for (uint64_t i = 0; i < tensor_elements(t); i += apart) {
        double up = loss_at(run, parameter, values, i, values[i] + step);
        double down = loss_at(run, parameter, values, i, values[i] - step), slope = (up - down) / (2 * (double)step);
        bool kink = fabs(up + down - 2 * middle) > 2e-3 * (double)step + 0.05 * fabs(up - down);
        ++*checked;
        *kinks += kink;
        cr_expect(kink || fabs(slope - (double)gradient[i]) < 2e-3 + 0.03 * fabs(slope),
                  "%s of %s, element %u: %g, by differences %g", run->backend->name,
                  graph_tensor_name(run->graph, parameter, name), (unsigned)i, (double)gradient[i], slope);
    }
    free(values);
    free(gradient);
}

static void check_gradients(const struct backend *backend, const struct graph *logical, uint32_t lowering)
{
    struct graph *graph = NULL;
    struct error err = {0};
    cr_assert(graph_lower(logical, lowering, &graph, &err), "%s", err.text);
    struct graph_run run = graph_run_begin(backend, graph);
    uint64_t checked = 0, kinks = 0;
    graph_run_set_step(&run, 0);
    for (uint32_t i = 0; i < graph->backward_end; i++) graph_run_op(&run, i, graph->ops[i].pass);
    for (size_t p = 0; p < graph->parameter_count; p++) check_parameter(&run, graph->parameters[p], &checked, &kinks);
    cr_expect_lt(kinks, checked / 3, "%u of %u elements are at kinks", (unsigned)kinks, (unsigned)checked);
    graph_run_finish(&run);
    graph_destroy(graph);
}

Test(ops_lowered, gradients_are_those_of_the_loss)
{
    static const uint32_t lowerings[] = {LOWER_ALL, LOWER_BN, LOWER_ALL & ~LOWER_GRADIENT_SUMS,
                                         LOWER_ALL & ~LOWER_GRADIENT};
    struct graph *nets[] = {small_net(), branching_net(13, 3)};
    for (size_t n = 0; n < 2; n++) {
        for (size_t i = 0; i < sizeof lowerings / sizeof lowerings[0]; i++) {
            check_gradients(&cpu_reference_backend, nets[n], lowerings[i]);
            check_gradients(&cpu_backend, nets[n], lowerings[i]);
        }
        graph_destroy(nets[n]);
    }
}
