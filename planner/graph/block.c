/* Recomputation blocks: where each ends, and the one activation that enters and leaves it. */
#include "graph_private.h"

#include "mem.h"

static bool cross(struct graph *graph, uint32_t *crossing, uint32_t tensor, uint32_t block, const char *what)
{
    if (*crossing == NO_TENSOR || *crossing == tensor) {
        *crossing = tensor;
        return true;
    }
    return graph_fail(graph, "block %s: several activations %s it, expected one",
                      graph->layers[graph->blocks[block].layer].path, what);
}

/* Each activation that an op reads from an earlier block leaves that one and enters this one; what leaves block b can
 * only enter b + 1, or the blocks are no chain. */
static bool read_inputs(struct graph *graph, const uint32_t *home, uint32_t index)
{
    const struct op *op = &graph->ops[index];
    for (uint32_t i = 0; i < op->inputs; i++) {
        if (graph->tensors[op->in[i]].class != CLASS_ACTIVATION) continue;
        uint32_t from = home[op->in[i]];
        if (from == op->block) continue;
        if (from == NO_OP && op->block == 0 && graph->options.frozen)
            continue; /* of the frozen layers, as images are */
        if (from == NO_OP || from + 1 != op->block)
            return graph_fail(graph, "%s: reads over the end of a block, expected blocks that form a chain",
                              graph->layers[op->layer].path);
        TRY(cross(graph, &graph->blocks[op->block].input, op->in[i], op->block, "enter"));
        TRY(cross(graph, &graph->blocks[from].output, op->in[i], from, "leave"));
    }
    return true;
}

static bool link_blocks(struct graph *graph, uint32_t *home)
{
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        TRY(read_inputs(graph, home, i));
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++) home[graph->ops[i].out[k]] = graph->ops[i].block;
    }
    graph->blocks[graph->block_count - 1].output = graph->ops[graph->forward_end - 1].out[0];
    return true;
}

bool graph_close_blocks(struct graph *graph)
{
    graph->forward_end = (uint32_t)graph->op_count;
    if (graph->block_count == 0) return true;
    for (size_t i = 0; i < graph->block_count; i++)
        graph->blocks[i].last = i + 1 < graph->block_count ? graph->blocks[i + 1].first : graph->forward_end;
    uint32_t *home = mem_alloc(MEM_GRAPH, graph->tensor_count, sizeof *home);
    if (!home) return graph_fail_memory(graph, graph->tensor_count * sizeof *home);
    for (size_t i = 0; i < graph->tensor_count; i++) home[i] = NO_OP;
    bool ok = link_blocks(graph, home);
    mem_free(home);
    return ok;
}
