/* Inception-v3 (arXiv:1512.00567) without its auxiliary classifier, as torchvision has it: its layers' names, its
 * windows, 0.001 in batch normalisations, and dropout before the classifier. */
#include "build.h"
#include "graph_private.h"

#define HEAD 4

/* A module and what its branches end with, in the order of its result's channels. */
struct module {
    struct graph *graph;
    const char *name;
    uint32_t stage, x;
    uint32_t ends[OP_MOST_INPUTS], count;
};

/* ---- Layers ---- */

static uint32_t add_window(struct module *m, uint32_t x, const char *name, uint32_t channels, struct conv_window window)
{
    graph_set_layer(m->graph, m->stage, "%s/%s/conv", m->name, name);
    x = graph_add_conv_window(m->graph, x, channels, window, false);
    graph_set_layer(m->graph, m->stage, "%s/%s/bn", m->name, name);
    return graph_add_bn(m->graph, x, true);
}

/* Padded, so that the image keeps its size. */
static uint32_t add_same(struct module *m, uint32_t x, const char *name, uint32_t channels, uint32_t rows,
                         uint32_t columns)
{
    return add_window(m, x, name, channels, (struct conv_window){{rows, columns}, {rows / 2, columns / 2}, 1});
}

/* 3x3 by steps of 2, not padded. */
static uint32_t add_halving(struct module *m, uint32_t x, const char *name, uint32_t channels)
{
    return add_window(m, x, name, channels, (struct conv_window){{3, 3}, {0, 0}, 2});
}

static void end_branch(struct module *m, uint32_t x) { m->ends[m->count++] = x; }

static void begin_block(struct graph *graph, uint32_t stage, const char *name)
{
    graph_set_layer(graph, stage, "%s", name);
    graph_begin_block(graph);
}

static struct module begin_module(struct graph *graph, uint32_t stage, const char *name, uint32_t x)
{
    begin_block(graph, stage, name);
    return (struct module){.graph = graph, .name = name, .stage = stage, .x = x};
}

static uint32_t end_module(struct module *m)
{
    graph_set_layer(m->graph, m->stage, "%s/output", m->name);
    return graph_add_concat(m->graph, m->ends, m->count);
}

static void end_with_average(struct module *m, uint32_t channels)
{
    graph_set_layer(m->graph, m->stage, "%s/pool", m->name);
    uint32_t pooled = graph_add_avgpool(m->graph, m->x, 3, 1, 1);
    end_branch(m, add_same(m, pooled, "branch_pool", channels, 1, 1));
}

static void end_with_halving_pool(struct module *m)
{
    graph_set_layer(m->graph, m->stage, "%s/pool", m->name);
    end_branch(m, graph_add_maxpool(m->graph, m->x, 3, 2, 0));
}

/* ---- Modules, by torchvision's letters ---- */

/* Figure 5. */
static uint32_t add_a(struct graph *graph, const char *name, uint32_t x, uint32_t pool_channels)
{
    struct module m = begin_module(graph, 1, name, x);
    end_branch(&m, add_same(&m, x, "branch1x1", 64, 1, 1));
    end_branch(&m, add_same(&m, add_same(&m, x, "branch5x5_1", 48, 1, 1), "branch5x5_2", 64, 5, 5));
    uint32_t y = add_same(&m, add_same(&m, x, "branch3x3dbl_1", 64, 1, 1), "branch3x3dbl_2", 96, 3, 3);
    end_branch(&m, add_same(&m, y, "branch3x3dbl_3", 96, 3, 3));
    end_with_average(&m, pool_channels);
    return end_module(&m);
}

/* Figure 10. */
static uint32_t add_b(struct graph *graph, const char *name, uint32_t x)
{
    struct module m = begin_module(graph, 2, name, x);
    end_branch(&m, add_halving(&m, x, "branch3x3", 384));
    uint32_t y = add_same(&m, add_same(&m, x, "branch3x3dbl_1", 64, 1, 1), "branch3x3dbl_2", 96, 3, 3);
    end_branch(&m, add_halving(&m, y, "branch3x3dbl_3", 96));
    end_with_halving_pool(&m);
    return end_module(&m);
}

/* Figure 6, with 7 for n. */
static uint32_t add_c(struct graph *graph, const char *name, uint32_t x, uint32_t inner)
{
    struct module m = begin_module(graph, 2, name, x);
    end_branch(&m, add_same(&m, x, "branch1x1", 192, 1, 1));
    uint32_t y = add_same(&m, add_same(&m, x, "branch7x7_1", inner, 1, 1), "branch7x7_2", inner, 1, 7);
    end_branch(&m, add_same(&m, y, "branch7x7_3", 192, 7, 1));
    y = add_same(&m, add_same(&m, x, "branch7x7dbl_1", inner, 1, 1), "branch7x7dbl_2", inner, 7, 1);
    y = add_same(&m, add_same(&m, y, "branch7x7dbl_3", inner, 1, 7), "branch7x7dbl_4", inner, 7, 1);
    end_branch(&m, add_same(&m, y, "branch7x7dbl_5", 192, 1, 7));
    end_with_average(&m, 192);
    return end_module(&m);
}

static uint32_t add_d(struct graph *graph, const char *name, uint32_t x)
{
    struct module m = begin_module(graph, 3, name, x);
    end_branch(&m, add_halving(&m, add_same(&m, x, "branch3x3_1", 192, 1, 1), "branch3x3_2", 320));
    uint32_t y = add_same(&m, add_same(&m, x, "branch7x7x3_1", 192, 1, 1), "branch7x7x3_2", 192, 1, 7);
    end_branch(&m, add_halving(&m, add_same(&m, y, "branch7x7x3_3", 192, 7, 1), "branch7x7x3_4", 192));
    end_with_halving_pool(&m);
    return end_module(&m);
}

/* Figure 7: two branches fork once more. */
static uint32_t add_e(struct graph *graph, const char *name, uint32_t x)
{
    struct module m = begin_module(graph, 3, name, x);
    end_branch(&m, add_same(&m, x, "branch1x1", 320, 1, 1));
    uint32_t y = add_same(&m, x, "branch3x3_1", 384, 1, 1);
    end_branch(&m, add_same(&m, y, "branch3x3_2a", 384, 1, 3));
    end_branch(&m, add_same(&m, y, "branch3x3_2b", 384, 3, 1));
    y = add_same(&m, add_same(&m, x, "branch3x3dbl_1", 448, 1, 1), "branch3x3dbl_2", 384, 3, 3);
    end_branch(&m, add_same(&m, y, "branch3x3dbl_3a", 384, 1, 3));
    end_branch(&m, add_same(&m, y, "branch3x3dbl_3b", 384, 3, 1));
    end_with_average(&m, 192);
    return end_module(&m);
}

/* ---- The net ---- */

static uint32_t add_stem_conv(struct graph *graph, uint32_t x, const char *name, uint32_t channels,
                              struct conv_window window)
{
    begin_block(graph, 0, name);
    graph_set_layer(graph, 0, "%s/conv", name);
    x = graph_add_conv_window(graph, x, channels, window, false);
    graph_set_layer(graph, 0, "%s/bn", name);
    return graph_add_bn(graph, x, true);
}

static uint32_t add_stem_pool(struct graph *graph, uint32_t x, const char *name)
{
    graph_set_layer(graph, 0, "%s", name);
    return graph_add_maxpool(graph, x, 3, 2, 0);
}

static uint32_t add_stem(struct graph *graph)
{
    uint32_t x = add_stem_conv(graph, graph->images, "Conv2d_1a_3x3", 32, (struct conv_window){{3, 3}, {0, 0}, 2});
    x = add_stem_conv(graph, x, "Conv2d_2a_3x3", 32, (struct conv_window){{3, 3}, {0, 0}, 1});
    x = add_stem_conv(graph, x, "Conv2d_2b_3x3", 64, (struct conv_window){{3, 3}, {1, 1}, 1});
    x = add_stem_pool(graph, x, "maxpool1");
    x = add_stem_conv(graph, x, "Conv2d_3b_1x1", 80, (struct conv_window){{1, 1}, {0, 0}, 1});
    x = add_stem_conv(graph, x, "Conv2d_4a_3x3", 192, (struct conv_window){{3, 3}, {0, 0}, 1});
    return add_stem_pool(graph, x, "maxpool2");
}

static void add_head(struct graph *graph, uint32_t x)
{
    begin_block(graph, HEAD, "head");
    graph_set_layer(graph, HEAD, "head/pool");
    x = graph_add_avgpool(graph, x, 0, 1, 0);
    graph_set_layer(graph, HEAD, "head/dropout");
    x = graph_add_dropout(graph, x, 0.5f);
    graph_set_layer(graph, HEAD, "head/fc");
    x = graph_add_fc(graph, x, graph->spec.classes);
    graph_set_layer(graph, HEAD, "head/loss");
    graph_add_softmax_loss(graph, x);
}

void graph_build_inception_v3(struct graph *graph)
{
    graph_set_bn_epsilon(graph, 1e-3f);
    uint32_t x = add_stem(graph);
    x = add_a(graph, "Mixed_5b", x, 32);
    x = add_a(graph, "Mixed_5c", x, 64);
    x = add_a(graph, "Mixed_5d", x, 64);
    x = add_b(graph, "Mixed_6a", x);
    x = add_c(graph, "Mixed_6b", x, 128);
    x = add_c(graph, "Mixed_6c", x, 160);
    x = add_c(graph, "Mixed_6d", x, 160);
    x = add_c(graph, "Mixed_6e", x, 192);
    x = add_d(graph, "Mixed_7a", x);
    x = add_e(graph, "Mixed_7b", x);
    x = add_e(graph, "Mixed_7c", x);
    add_head(graph, x);
}
