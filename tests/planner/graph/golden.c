/* Counts published with the papers and released models; and those of other implementations of the same nets. */
#include <criterion/criterion.h>

#include "graph_kit.h"
#include "mem.h"

struct golden {
    const char *name;
    uint64_t parameters, macs; /* 0 = not published to the last digit */
};

static const struct golden goldens[] = {
    {"resnet-20", 269722, 0},
    {"resnet-110", 1727962, 0},
    {"resnet-1202", 19421274, 0},
    {"resnet-164", 1703258, 244500992},
    {"resnet-1001", 10327706, 1487849984},
    {"resnet-18", 11689512, 1814073344},
    {"resnet-34", 21797672, 0},
    {"resnet-50", 25557032, 4089184256},
    {"resnet-101", 44549160, 0},
    {"resnet-152", 60192808, 0},
    {"vgg-a", 132863336, 7609090048},
    {"vgg-d", 138357544, 15470264320},
    {"inception-v3", 23834568, 0}, /* torchvision's 27,161,264 less the auxiliary classifier's 3,326,696 */
};

Test(graph_golden, counts_are_the_published_ones)
{
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        struct graph *graph = build(goldens[i].name, 1 + (uint32_t)i % 3);
        cr_expect_eq(graph->parameter_elements, goldens[i].parameters, "%s: %lu parameters", goldens[i].name,
                     graph->parameter_elements);
        if (goldens[i].macs)
            cr_expect_eq(graph->forward_macs, goldens[i].macs, "%s: %lu MACs", goldens[i].name, graph->forward_macs);
        graph_destroy(graph);
    }
}

/* Caffe's release, as Cadene's pretrainedmodels counts it: with a bias in each convolution, which the normalisation
 * after it cancels. */
Test(graph_golden, bn_inception_has_the_releases_parameters_but_the_biases)
{
    struct graph *graph = build("bn-inception", 2);
    uint64_t biases = 0;
    for (uint32_t i = 0; i < graph->forward_end; i++)
        if (graph->ops[i].kind == OP_CONV) biases += graph->tensors[graph->ops[i].out[0]].dims[3];
    cr_expect_eq(graph->parameter_elements + biases, 11295240, "%lu + %lu", graph->parameter_elements, biases);
    graph_destroy(graph);
}

/* The release gives 64.67 M. */
Test(graph_golden, resnet_200_rounds_to_the_published_count)
{
    struct graph *graph = build("resnet-200", 1);
    cr_expect_eq((graph->parameter_elements + 5000) / 10000, 6467, "%lu parameters", graph->parameter_elements);
    graph_destroy(graph);
}
