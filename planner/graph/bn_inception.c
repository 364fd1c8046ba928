/* BN-Inception (arXiv:1502.03167, figure 5): the Inception net of Ioffe and Szegedy, each convolution with a batch
 * normalisation. Pools' windows that reach beyond the image are cut, as in Caffe's and Torch's releases, whose layers'
 * names these are; their convolutions have biases too, which the normalisations cancel. */
#include "build.h"
#include "graph_private.h"

enum pool { POOL_AVERAGE, POOL_MAX, POOL_HALVES };

/* A row of the figure. Where the module halves its image there is neither a 1x1 branch nor a projection. */
struct module {
    const char *name;
    uint32_t stage;
    uint32_t one;                                   /* 1x1 */
    uint32_t three_reduce, three;                   /* 1x1, 3x3 */
    uint32_t double_reduce, double_one, double_two; /* 1x1, 3x3, 3x3 */
    enum pool pool;
    uint32_t projection; /* 1x1 */
};

static const struct module modules[] = {
    {"inception_3a", 1, 64, 64, 64, 64, 96, 96, POOL_AVERAGE, 32},
    {"inception_3b", 1, 64, 64, 96, 64, 96, 96, POOL_AVERAGE, 64},
    {"inception_3c", 1, 0, 128, 160, 64, 96, 96, POOL_HALVES, 0},
    {"inception_4a", 2, 224, 64, 96, 96, 128, 128, POOL_AVERAGE, 128},
    {"inception_4b", 2, 192, 96, 128, 96, 128, 128, POOL_AVERAGE, 128},
    {"inception_4c", 2, 160, 128, 160, 128, 160, 160, POOL_AVERAGE, 128},
    {"inception_4d", 2, 96, 128, 192, 160, 192, 192, POOL_AVERAGE, 128},
    {"inception_4e", 2, 0, 128, 192, 192, 256, 256, POOL_HALVES, 0},
    {"inception_5a", 3, 352, 192, 320, 160, 224, 224, POOL_AVERAGE, 128},
    {"inception_5b", 3, 352, 192, 320, 192, 224, 224, POOL_MAX, 128},
};
#define MODULES       (sizeof modules / sizeof modules[0])
#define HEAD          4
#define MOST_BRANCHES 4

/* ---- Layers ---- */

struct place {
    struct graph *graph;
    const char *module;
    uint32_t stage;
};

static uint32_t add_conv(const struct place *p, uint32_t x, const char *name, uint32_t channels, uint32_t kernel,
                         uint32_t stride)
{
    graph_set_layer(p->graph, p->stage, "%s/%s", p->module, name);
    x = graph_add_conv(p->graph, x, channels, kernel, stride, false);
    graph_set_layer(p->graph, p->stage, "%s/%s_bn", p->module, name);
    return graph_add_bn(p->graph, x, true);
}

/* Half the image, rounded up, as a 3x3 convolution with padding makes it. With a side that is odd, which the releases
 * never have, it is padded as that one is. */
static uint32_t add_halving_pool(const struct place *p, uint32_t x)
{
    if (x == NO_TENSOR) return NO_TENSOR;
    const uint32_t *dims = p->graph->tensors[x].dims;
    bool odd = dims[1] % 2 != 0 || dims[2] % 2 != 0;
    graph_set_layer(p->graph, p->stage, "%s/pool", p->module);
    return odd ? graph_add_maxpool(p->graph, x, 3, 2, 1) : graph_add_maxpool_ceil(p->graph, x, 3, 2, 0);
}

/* ---- The net ---- */

static void begin_block(const struct place *p)
{
    graph_set_layer(p->graph, p->stage, "%s", p->module);
    graph_begin_block(p->graph);
}

static uint32_t add_stem(struct graph *graph)
{
    struct place p = {graph, "conv1", 0};
    begin_block(&p);
    uint32_t x = add_halving_pool(&p, add_conv(&p, graph->images, "7x7_s2", 64, 7, 2));
    p.module = "conv2";
    begin_block(&p);
    x = add_conv(&p, add_conv(&p, x, "3x3_reduce", 64, 1, 1), "3x3", 192, 3, 1);
    return add_halving_pool(&p, x);
}

static uint32_t add_pool_branch(const struct place *p, const struct module *m, uint32_t x)
{
    if (m->pool == POOL_HALVES) return add_halving_pool(p, x);
    graph_set_layer(p->graph, p->stage, "%s/pool", p->module);
    x = m->pool == POOL_MAX ? graph_add_maxpool(p->graph, x, 3, 1, 1) : graph_add_avgpool(p->graph, x, 3, 1, 1);
    return add_conv(p, x, "pool_proj", m->projection, 1, 1);
}

static uint32_t add_module(struct graph *graph, const struct module *m, uint32_t x)
{
    const struct place p = {graph, m->name, m->stage};
    const uint32_t stride = m->pool == POOL_HALVES ? 2 : 1;
    uint32_t branches[MOST_BRANCHES], count = 0;
    begin_block(&p);
    if (m->one > 0) branches[count++] = add_conv(&p, x, "1x1", m->one, 1, 1);
    branches[count++] = add_conv(&p, add_conv(&p, x, "3x3_reduce", m->three_reduce, 1, 1), "3x3", m->three, 3, stride);
    uint32_t y =
        add_conv(&p, add_conv(&p, x, "double_3x3_reduce", m->double_reduce, 1, 1), "double_3x3_1", m->double_one, 3, 1);
    branches[count++] = add_conv(&p, y, "double_3x3_2", m->double_two, 3, stride);
    branches[count++] = add_pool_branch(&p, m, x);
    graph_set_layer(graph, m->stage, "%s/output", m->name);
    return graph_add_concat(graph, branches, count);
}

void graph_build_bn_inception(struct graph *graph)
{
    uint32_t x = add_stem(graph);
    for (size_t i = 0; i < MODULES; i++) x = add_module(graph, &modules[i], x);
    graph_set_layer(graph, HEAD, "head");
    graph_begin_block(graph);
    graph_add_classifier(graph, HEAD, x);
}
