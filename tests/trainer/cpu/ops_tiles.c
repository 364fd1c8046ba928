/* Convolutions by tiles (conv_tiles.h): every shape of the family against the readable loops, with vectors of each
 * width, and the same bits with any number of threads. */
#include "graph_kit.h"
#include "conv_tiles_cut.h"
#include "lower.h"
#include "lowered_compare.h"
#include "rounds.h"

/* ---- Nets of units whose convolutions all go by tiles, but for gradients of inputs with a stride ---- */

struct shape {
    uint32_t batch, side, narrow, wide;
};

/* 16 to 256 channels; sides that blocks of pixels divide and that they do not; batches that parts and tiles divide and
 * that they do not. */
static const struct shape shapes[] = {
    {3, 8, 16, 64},  {2, 9, 32, 128}, {1, 7, 64, 256}, {3, 5, 48, 80}, {5, 3, 16, 16},
    {2, 4, 128, 32}, {1, 2, 256, 64}, {9, 16, 16, 32}, {1, 1, 32, 48}, {2, 14, 16, 256},
};

/* Both kernels between both widths, with strides; results that are added to, summed, neither, and both. */
static struct graph *net_of(const struct shape *s)
{
    struct graph *g = begin_net(s->side, (struct graph_options){.batch = s->batch});
    graph_set_layer(g, 0, "net");
    uint32_t x = graph_add_conv(g, g->images, s->wide, 3, 1, false);
    uint32_t h = graph_add_conv(g, graph_add_bn(g, x, true), s->narrow, 1, 1, false);
    h = graph_add_conv(g, graph_add_bn(g, h, true), s->narrow, 3, 1, false);
    x = graph_add_add(g, graph_add_conv(g, graph_add_bn(g, h, true), s->wide, 1, 1, false), x);
    uint32_t shared = graph_add_bn(g, x, true);
    h = graph_add_conv(g, shared, s->narrow, 1, 2, false);
    h = graph_add_conv(g, graph_add_bn(g, h, false), s->wide, 3, 1, false);
    x = graph_add_add(g, graph_add_conv(g, graph_add_bn(g, h, true), s->narrow, 3, 1, false),
                      graph_add_conv(g, shared, s->narrow, 1, 2, false));
    x = graph_add_bn(g, x, true);
    graph_add_softmax_loss(g, graph_add_fc(g, graph_add_avgpool(g, x, 0, 1, 0), 10));
    return finish_net(g);
}

static struct graph *lowered_net_of(const struct shape *s, uint32_t lowering)
{
    struct graph *logical = net_of(s), *graph = NULL;
    struct error err = {0};
    cr_assert(graph_lower(logical, lowering, &graph, &err), "%s", err.text);
    graph_destroy(logical);
    return graph;
}

static bool is_by_tiles(const struct graph *graph, uint32_t index)
{
    const struct op *op = &graph->ops[index];
    struct op_call call = {.graph = graph, .op = op, .op_index = index, .pass = op->pass};
    for (uint32_t k = 0; k < op->inputs; k++) call.in_tensor[k] = &graph->tensors[op->in[k]];
    for (uint32_t k = 0; k < op->outputs; k++) call.out_tensor[k] = &graph->tensors[op->out[k]];
    return conv_tiles_suit(&call);
}

/* ---- Beside the readable loops ---- */

static uint32_t compare_net(const struct shape *s, uint32_t lowering)
{
    struct graph *graph = lowered_net_of(s, lowering);
    struct graph_run fast = graph_run_begin(&cpu_backend, graph), slow = graph_run_begin(&cpu_reference_backend, graph);
    bool seen[OP_KINDS] = {false};
    uint32_t found = 0;
    graph_run_set_step(&fast, 0);
    graph_run_set_step(&slow, 0);
    for (uint32_t i = 0; i < graph->backward_end; i++) {
        compare_op(&fast, &slow, i, seen);
        found += is_by_tiles(graph, i);
    }
    graph_run_finish(&fast);
    graph_run_finish(&slow);
    graph_destroy(graph);
    return found;
}

/* Units that end in an addition and ReLU: gradients of data do both backward, and keep what they read. */
static struct graph *original_net_of(const struct shape *s)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse("resnet-8", &MODEL_OPTIONS_DEFAULT, &spec, &err));
    spec.image_size = s->side;
    struct graph *g = graph_begin(&spec, &(struct graph_options){.batch = s->batch}, &err), *lowered = NULL;
    graph_set_layer(g, 0, "net");
    uint32_t x = graph_add_bn(g, graph_add_conv(g, g->images, s->narrow, 3, 1, false), true);
    for (uint32_t unit = 0; unit < 3; unit++) {
        uint32_t kernel = unit == 1 ? 1 : 3;
        uint32_t h = graph_add_bn(g, graph_add_conv(g, x, s->wide, kernel, 1, false), true);
        h = graph_add_bn(g, graph_add_conv(g, h, s->narrow, kernel, 1, false), false);
        x = graph_add_relu(g, graph_add_add(g, h, x));
    }
    graph_add_softmax_loss(g, graph_add_fc(g, graph_add_avgpool(g, x, 0, 1, 0), 10));
    g = graph_finish(g, &err);
    cr_assert(g && graph_lower(g, LOWER_EXACT & ~LOWER_GRADIENT, &lowered, &err), "%s", err.text);
    graph_destroy(g);
    return lowered;
}

/* Of them, how many do each. */
static void compare_original(const struct shape *s, enum conv_tiles_rule rule)
{
    conv_tiles_rule = rule;
    struct graph *graph = original_net_of(s);
    struct graph_run fast = graph_run_begin(&cpu_backend, graph), slow = graph_run_begin(&cpu_reference_backend, graph);
    uint32_t adds = 0, rectifies = 0, keeps = 0;
    bool seen[OP_KINDS] = {false};
    graph_run_set_step(&fast, 0);
    graph_run_set_step(&slow, 0);
    for (uint32_t i = 0; i < graph->backward_end; i++) {
        const struct op *op = &graph->ops[i];
        compare_op(&fast, &slow, i, seen);
        if (op->kind != OP_CONV_BWD_DATA || is_by_tiles(graph, i) != (rule == CONV_TILES_ALWAYS)) continue;
        adds += (op->attr.conv.fused & CONV_ADDS) != 0;
        rectifies += (op->attr.conv.fused & CONV_RECTIFIES) != 0;
        keeps += (op->attr.conv.fused & CONV_KEEPS) != 0;
    }
    cr_expect(adds == 3 && rectifies == 2 && keeps == 6, "%u, %u, %u", adds, rectifies, keeps);
    graph_run_finish(&fast);
    graph_run_finish(&slow);
    graph_destroy(graph);
}

static void compare_originals(size_t count)
{
    for (size_t i = 0; i < rounds(count); i++) compare_original(&shapes[i], CONV_TILES_ALWAYS);
}

Test(ops_tiles, original_units_agree_with_the_reference)
{
    compare_originals(5);
    compare_original(&shapes[0], CONV_TILES_NEVER);
    compare_original(&(struct shape){1, 4, 256, 256}, CONV_TILES_NEVER); /* over the whole batch */
}

Test(ops_tiles, original_units_agree_with_the_reference_with_vectors_of_8)
{
    setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
    compare_originals(2);
}

Test(ops_tiles, original_units_agree_with_the_reference_with_vectors_of_4)
{
    setenv("ONEDNN_MAX_CPU_ISA", "SSE41", 1);
    compare_originals(2);
}

static void compare_nets(size_t count)
{
    conv_tiles_rule = CONV_TILES_ALWAYS;
    for (size_t i = 0; i < rounds(count); i++)
        cr_expect_geq(compare_net(&shapes[i], LOWER_ALL), 16, "shape %u", (unsigned)i);
}

Test(ops_tiles, agree_with_the_reference) { compare_nets(sizeof shapes / sizeof shapes[0]); }

Test(ops_tiles, agree_with_the_reference_with_vectors_of_8)
{
    setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
    compare_nets(6);
}

Test(ops_tiles, agree_with_the_reference_with_vectors_of_4)
{
    setenv("ONEDNN_MAX_CPU_ISA", "SSE41", 1);
    compare_nets(6);
}

Test(ops_tiles, agree_with_the_reference_however_much_is_fused)
{
    static const uint32_t lowerings[] = {LOWER_ALL & ~LOWER_ADD, LOWER_ALL & ~LOWER_GRADIENT_SUMS,
                                         LOWER_ALL & ~LOWER_GRADIENT, LOWER_ALL & ~LOWER_SUMS,
                                         LOWER_ALL & ~LOWER_NORMALIZE_WEIGHTS};
    conv_tiles_rule = CONV_TILES_ALWAYS;
    for (size_t i = 0; i < sizeof lowerings / sizeof lowerings[0]; i++)
        cr_expect_geq(compare_net(&shapes[0], lowerings[i]), 8, "lowering %u", lowerings[i]);
}

/* ---- Results so large that they go past the caches ---- */

static struct graph *large_net(void)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse("resnet-8", &MODEL_OPTIONS_DEFAULT, &spec, &err));
    spec.image_size = 64;
    struct graph *g = graph_begin(&spec, &(struct graph_options){.batch = 4}, &err), *lowered = NULL;
    graph_set_layer(g, 0, "net");
    uint32_t x = graph_add_conv(g, g->images, 64, 1, 1, false);
    uint32_t h = graph_add_conv(g, graph_add_bn(g, x, true), 16, 1, 1, false);
    x = graph_add_add(g, graph_add_conv(g, graph_add_bn(g, h, true), 64, 1, 1, false), x);
    x = graph_add_bn(g, x, true);
    graph_add_softmax_loss(g, graph_add_fc(g, graph_add_avgpool(g, x, 0, 1, 0), 10));
    g = graph_finish(g, &err);
    cr_assert(g && graph_lower(g, LOWER_ALL, &lowered, &err), "%s", err.text);
    graph_destroy(g);
    return lowered;
}

Test(ops_tiles, results_past_the_caches_agree)
{
    conv_tiles_rule = CONV_TILES_ALWAYS;
    struct graph *graph = large_net();
    struct graph_run fast = graph_run_begin_with(&cpu_backend, graph, 2),
                     slow = graph_run_begin(&cpu_reference_backend, graph);
    bool seen[OP_KINDS] = {false};
    uint32_t found = 0;
    graph_run_set_step(&fast, 0);
    graph_run_set_step(&slow, 0);
    for (uint32_t i = 0; i < graph->backward_end; i++) {
        bool large = graph->tensors[graph->ops[i].out[0]].bytes >= 4u << 20;
        if (!is_by_tiles(graph, i) || !large) {
            graph_run_op(&slow, i, graph->ops[i].pass);
            continue;
        }
        compare_op(&fast, &slow, i, seen);
        found++;
    }
    cr_expect_eq(found, 2, "a result and a gradient, not %u", found);
    graph_run_finish(&fast);
    graph_run_finish(&slow);
    graph_destroy(graph);
}

/* ---- Statistics of values that lie far from 0 ---- */

Test(ops_tiles, statistics_far_from_zero_keep_their_variance)
{
    const struct shape s = {4, 16, 16, 64};
    conv_tiles_rule = CONV_TILES_ALWAYS;
    struct graph *graph = lowered_net_of(&s, LOWER_ALL);
    struct graph_run fast = graph_run_begin(&cpu_backend, graph), slow = graph_run_begin(&cpu_reference_backend, graph);
    uint32_t found = 0;
    graph_run_set_step(&fast, 0);
    graph_run_set_step(&slow, 0);
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        const struct op *op = &graph->ops[i];
        graph_run_op(&fast, i, op->pass);
        graph_run_op(&slow, i, op->pass);
        struct conv_operands o = conv_operands(op);
        if (op->kind != OP_CONV || o.residual == NO_OPERAND || !(op->attr.conv.fused & CONV_SUMS)) continue;
        float *residual = read_tensor(&slow, op->in[o.residual]);
        uint64_t channels = graph->tensors[op->out[0]].dims[3];
        for (uint64_t k = 0; k < tensor_elements(&graph->tensors[op->in[o.residual]]); k++) residual[k] += 300;
        write_tensor(&fast, op->in[o.residual], residual);
        write_tensor(&slow, op->in[o.residual], residual);
        graph_run_op(&fast, i, op->pass);
        graph_run_op(&slow, i, op->pass);
        double *a = read_tensor(&fast, op->out[1]), *b = read_tensor(&slow, op->out[1]);
        for (uint64_t c = 0; c < channels; c++) {
            cr_expect_float_eq(a[c], b[c], 1e-4);
            cr_expect_float_eq(a[channels + c], b[channels + c], 1e-3 * b[channels + c], "squares %g, %g",
                               a[channels + c], b[channels + c]);
        }
        found++;
        free(residual);
        free(a);
        free(b);
    }
    cr_expect_gt(found, 0);
    graph_run_finish(&fast);
    graph_run_finish(&slow);
    graph_destroy(graph);
}

/* ---- Threads ---- */

Test(ops_tiles, have_the_same_bits_with_any_number_of_threads)
{
    static const struct shape s[] = {{5, 9, 16, 64}, {9, 16, 16, 32}, {3, 8, 64, 256}};
    conv_tiles_rule = CONV_TILES_ALWAYS;
    for (size_t k = 0; k < sizeof s / sizeof s[0]; k++) {
        struct graph *graph = lowered_net_of(&s[k], LOWER_ALL);
        struct graph_run one = graph_run_begin_crowded(graph, 1), more[2];
        for (uint32_t m = 0; m < 2; m++) more[m] = graph_run_begin_crowded(graph, 2 + m);
        graph_run_set_step(&one, 0);
        for (uint32_t i = 0; i < graph->backward_end; i++) {
            graph_run_op(&one, i, graph->ops[i].pass);
            if (!is_by_tiles(graph, i)) continue;
            for (uint32_t m = 0; m < 2; m++) check_same_bits(&one, &more[m], i);
        }
        graph_run_finish(&one);
        for (uint32_t m = 0; m < 2; m++) graph_run_finish(&more[m]);
        graph_destroy(graph);
    }
}

/* Whose convolutions run a second time, without their sums: what they make has the same bits. */
Test(ops_tiles, have_the_same_bits_when_run_again)
{
    conv_tiles_rule = CONV_TILES_ALWAYS;
    struct graph *graph = lowered_net_of(&shapes[1], LOWER_ALL);
    struct graph_run run = graph_run_begin(&cpu_backend, graph);
    graph_run_set_step(&run, 0);
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        const struct op *op = &graph->ops[i];
        graph_run_op(&run, i, PASS_FORWARD);
        if (op->kind != OP_CONV || !is_by_tiles(graph, i)) continue;
        void *first = read_tensor(&run, op->out[0]);
        graph_run_op(&run, i, PASS_RECOMPUTE);
        void *again = read_tensor(&run, op->out[0]);
        cr_expect_arr_eq(first, again, graph->tensors[op->out[0]].bytes);
        free(first);
        free(again);
    }
    graph_run_finish(&run);
    graph_destroy(graph);
}
