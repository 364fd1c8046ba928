/* Graphs put together op by op: what no net has is derived too, and what cannot be is refused. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "graph_kit.h"

static struct graph *begin(void)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse("resnet-20", &MODEL_OPTIONS_DEFAULT, &spec, &err));
    struct graph *graph = graph_begin(&spec, &(struct graph_options){.batch = 2}, &err);
    cr_assert_not_null(graph);
    return graph;
}

/* One tensor with five readers, a concat, a product with itself, a gate: nothing that a residual net has. */
Test(graph_by_hand, an_odd_graph_is_derived_too)
{
    struct graph *graph = begin();
    graph_set_layer(graph, 0, "odd");
    uint32_t x = graph_add_conv(graph, graph->images, 8, 3, 1, true);
    uint32_t gate = graph_add_sigmoid(graph, graph_add_conv(graph, x, 8, 1, 1, true));
    uint32_t gated = graph_add_mul(graph, x, gate), square = graph_add_mul(graph, x, x);
    uint32_t twice = graph_add_add(graph, x, x);
    uint32_t parts[] = {gated, square, graph_add_scale(graph, twice, 2, 1), graph_add_relu(graph, x), graph->images};
    uint32_t y = graph_add_concat(graph, parts, 5);
    y = graph_add_dropout(graph, graph_add_avgpool(graph, y, 2, 2, 0), 0.25f);
    graph_add_softmax_loss(graph, graph_add_fc(graph, y, 10));
    struct error err = {0};
    graph = graph_finish(graph, &err);
    cr_assert_not_null(graph, "%s", err.text);
    expect_sound(graph);
    cr_expect_eq(count_kind(graph, OP_CONCAT_BWD), 4, "none to the images");
    cr_expect_eq(count_kind(graph, OP_MUL_BWD), 4);
    cr_expect_eq(graph->block_count, 0);
    cr_expect_eq(graph->tensors[y].dims[3], 8 * 4 + 3);
    uint32_t firsts = 0;
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].kind == OP_CONCAT_BWD) firsts += graph->ops[i].attr.concat.first;
    cr_expect_eq(firsts, 0 + 8 + 16 + 24);
    graph_destroy(graph);
}

static void expect_failure(struct graph *graph, const char *part)
{
    struct error err = {0};
    cr_expect_null(graph_finish(graph, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect_not_null(strstr(err.text, part), "\"%s\" lacks \"%s\"", err.text, part);
}

static void expect_sides(const struct graph *graph, uint32_t tensor, uint32_t rows, uint32_t columns)
{
    const uint32_t *dims = graph->tensors[tensor].dims;
    cr_expect(dims[1] == rows && dims[2] == columns, "%u x %u, expected %u x %u", dims[1], dims[2], rows, columns);
}

/* Of 32 x 32 pixels. */
Test(graph_by_hand, windows_of_unequal_sides_and_cut_ones)
{
    struct graph *graph = begin();
    graph_set_bn_epsilon(graph, 1e-3f);
    uint32_t x = graph_add_conv_window(graph, graph->images, 8, (struct conv_window){{1, 7}, {0, 3}, 1}, false);
    expect_sides(graph, x, 32, 32);
    const uint64_t macs = 32ull * 32 * 8 * 7 * 3;
    x = graph_add_bn(graph, graph_add_conv_window(graph, x, 8, (struct conv_window){{5, 2}, {1, 0}, 3}, false), true);
    expect_sides(graph, x, 10, 11);
    expect_sides(graph, graph_add_maxpool_ceil(graph, x, 3, 2, 0), 5, 5);
    uint32_t cut = graph_add_maxpool_ceil(graph, x, 2, 3, 1);
    expect_sides(graph, cut, 4, 4);
    expect_sides(graph, graph_add_maxpool(graph, x, 3, 2, 0), 4, 5);
    expect_sides(graph, graph_add_maxpool_ceil(graph, x, 13, 2, 0), 1, 1);
    expect_sides(graph, graph_add_maxpool_ceil(graph, x, 2, 4, 1), 3, 3);
    graph_add_maxpool(graph, graph->images, 0, 1, 0);
    expect_failure(graph, "0 x 0 window");
    graph = begin();
    graph_set_bn_epsilon(graph, 1e-3f);
    x = graph_add_conv_window(graph, graph->images, 8, (struct conv_window){{1, 7}, {0, 3}, 1}, false);
    x = graph_add_maxpool_ceil(graph, graph_add_bn(graph, x, true), 3, 2, 0);
    expect_sides(graph, x, 16, 16);
    graph_add_softmax_loss(graph, graph_add_fc(graph, graph_add_avgpool(graph, x, 0, 1, 0), 10));
    struct error err = {0};
    graph = graph_finish(graph, &err);
    cr_assert_not_null(graph, "%s", err.text);
    expect_sound(graph);
    cr_expect_eq(graph->forward_macs, macs + 8 * 10);
    cr_expect_eq(graph->ops[0].attr.conv.kernel[1], 7);
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].kind == OP_BN_BWD || graph->ops[i].kind == OP_BN)
            cr_expect_eq(graph->ops[i].attr.bn.epsilon, 1e-3f);
    graph->ops[0].attr.conv.padding[1] = 2;
    cr_expect_not(graph_check(graph, &err), "another padding gives other pixels");
    graph_destroy(graph);
}

Test(graph_by_hand, wrong_graphs_are_refused_with_the_first_error)
{
    struct graph *graph = begin();
    uint32_t x = graph_add_conv(graph, graph->images, 8, 3, 1, false);
    cr_expect_eq(graph_add_add(graph, x, graph->images), NO_TENSOR);
    cr_expect_eq(graph_add_relu(graph, x), NO_TENSOR, "nothing is added after an error");
    expect_failure(graph, "expected equal shapes");
    graph = begin();
    graph_add_conv(graph, graph->images, 8, 3, 1, false);
    expect_failure(graph, "does not end with a loss");
    graph = begin();
    x = graph_add_conv(graph, graph->images, 8, 3, 1, false);
    graph_add_relu(graph, x);
    graph_add_softmax_loss(graph, graph_add_fc(graph, x, 10));
    expect_failure(graph, "does not reach the loss");
    graph = begin();
    graph_add_maxpool(graph, graph->images, 64, 1, 0);
    expect_failure(graph, "does not fit 32 x 32");
    graph = begin();
    graph_add_shortcut_pad(graph, graph->images, 2, 1);
    expect_failure(graph, "expected no fewer");
    graph = begin();
    graph_add_dropout(graph, graph->images, NAN);
    expect_failure(graph, "dropout");
    graph = begin();
    graph_add_relu(graph, 77);
    expect_failure(graph, "tensor 77");
    graph = begin();
    graph_add_softmax_loss(graph, graph->images);
    expect_failure(graph, "1 x 1");
    graph = begin();
    graph_add_conv(graph, graph->images, UINT32_MAX, 3, 1, false);
    expect_failure(graph, "16 TiB");
}

Test(graph_by_hand, blocks_that_form_no_chain_are_refused)
{
    struct graph *graph = begin();
    graph_begin_block(graph);
    uint32_t x = graph_add_conv(graph, graph->images, 8, 3, 1, false);
    graph_begin_block(graph);
    uint32_t y = graph_add_conv(graph, x, 8, 3, 1, false);
    graph_begin_block(graph);
    y = graph_add_add(graph, x, y);
    graph_add_softmax_loss(graph, graph_add_fc(graph, graph_add_avgpool(graph, y, 0, 1, 0), 10));
    expect_failure(graph, "chain");
    graph = begin();
    graph_begin_block(graph);
    x = graph_add_conv(graph, graph->images, 8, 3, 1, false);
    y = graph_add_relu(graph, x);
    graph_begin_block(graph);
    y = graph_add_add(graph, x, y);
    graph_add_softmax_loss(graph, graph_add_fc(graph, graph_add_avgpool(graph, y, 0, 1, 0), 10));
    expect_failure(graph, "several activations enter");
}
