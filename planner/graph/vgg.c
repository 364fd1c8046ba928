/* VGG-A and VGG-D (arXiv:1409.1556, table 1): convolutions with bias, no normalisation. On images of ImageNet three
 * fully connected layers with dropout; on CIFAR's, where one pixel is left, the classifier alone. */
#include "build.h"
#include "graph_private.h"

#define STAGES 5

static const uint32_t stage_channels[STAGES] = {64, 128, 256, 512, 512};

static uint32_t stage_convs(uint32_t depth, uint32_t stage)
{
    static const uint32_t a[STAGES] = {1, 1, 2, 2, 2}, d[STAGES] = {2, 2, 3, 3, 3};
    return depth == 11 ? a[stage] : d[stage];
}

/* A block is a convolution with its ReLU; a stage's last has the pool too. */
static uint32_t add_stage(struct graph *graph, uint32_t stage, uint32_t x)
{
    uint32_t count = stage_convs(graph->spec.depth, stage);
    for (uint32_t i = 0; i < count; i++) {
        graph_set_layer(graph, stage + 1, "stage%u/segment%u", stage + 1, i + 1);
        graph_begin_block(graph);
        graph_set_layer(graph, stage + 1, "stage%u/conv%u", stage + 1, i + 1);
        x = graph_add_conv(graph, x, stage_channels[stage], 3, 1, true);
        graph_set_layer(graph, stage + 1, "stage%u/relu%u", stage + 1, i + 1);
        x = graph_add_relu(graph, x);
    }
    graph_set_layer(graph, stage + 1, "stage%u/pool", stage + 1);
    return graph_add_maxpool(graph, x, 2, 2, 0);
}

static uint32_t add_hidden(struct graph *graph, uint32_t number, uint32_t x)
{
    graph_set_layer(graph, STAGES + 1, "head/fc%u", number);
    x = graph_add_fc(graph, x, 4096);
    graph_set_layer(graph, STAGES + 1, "head/relu%u", number);
    x = graph_add_relu(graph, x);
    graph_set_layer(graph, STAGES + 1, "head/dropout%u", number);
    return graph_add_dropout(graph, x, 0.5f);
}

void graph_build_vgg(struct graph *graph)
{
    uint32_t x = graph->images;
    for (uint32_t stage = 0; stage < STAGES; stage++) x = add_stage(graph, stage, x);
    graph_set_layer(graph, STAGES + 1, "head");
    graph_begin_block(graph);
    if (graph->spec.dataset == DATASET_IMAGENET) x = add_hidden(graph, 2, add_hidden(graph, 1, x));
    graph_set_layer(graph, STAGES + 1, "head/fc3");
    x = graph_add_fc(graph, x, graph->spec.classes);
    graph_set_layer(graph, STAGES + 1, "head/loss");
    graph_add_softmax_loss(graph, x);
}
