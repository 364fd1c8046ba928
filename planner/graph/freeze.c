/* Frozen layers: the first ops of the forward pass, up to a stage or to the classifier, run as in evaluation, of no
 * block, and nothing is derived from them. */
#include "graph_private.h"

#include <string.h>

/* The first op that is trained. */
static uint32_t find_first_trained(const struct graph *graph)
{
    uint32_t classifier = 0;
    for (uint32_t i = 0; i < graph->op_count; i++) {
        if (graph->options.frozen != FROZEN_ALL_BUT_CLASSIFIER &&
            graph->layers[graph->ops[i].layer].stage >= graph->options.frozen)
            return i;
        if (graph->ops[i].kind == OP_FC) classifier = i;
    }
    return classifier;
}

/* The block that is cut begins later; those before it are none. */
static void cut_blocks(struct graph *graph, uint32_t first)
{
    size_t gone = 0;
    while (gone + 1 < graph->block_count && graph->blocks[gone + 1].first <= first) gone++;
    if (graph->block_count == 0) return;
    graph->block_count -= gone;
    memmove(graph->blocks, graph->blocks + gone, graph->block_count * sizeof *graph->blocks);
    graph->blocks[0].first = first;
    for (uint32_t i = 0; i < graph->op_count; i++)
        graph->ops[i].block = i < first ? NO_OP : graph->ops[i].block - (uint32_t)gone;
}

void graph_freeze(struct graph *graph)
{
    uint32_t first = graph->options.frozen ? find_first_trained(graph) : 0;
    if (first == 0) return;
    for (uint32_t i = 0; i < first; i++) graph->ops[i].pass = PASS_EVALUATE;
    cut_blocks(graph, first);
}
