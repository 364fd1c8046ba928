#include "invertible.h"

#include "keep.h"

static const struct op *find_producer(const struct graph *graph, const struct graph_block *block, uint32_t tensor)
{
    for (uint32_t i = block->first; i < block->last; i++)
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++)
            if (graph->ops[i].out[k] == tensor) return &graph->ops[i];
    return NULL;
}

/* Whether running the tensor's op again, and those before it whose outputs are dropped, gets by without x. Blocks have
 * a dozen ops at most. */
static bool does_without_input(const struct graph *graph, const struct graph_block *block, uint32_t tensor)
{
    const struct op *op = find_producer(graph, block, tensor);
    if (tensor == block->input) return false;
    for (uint32_t k = 0; op && k < op->inputs; k++) {
        const struct op *before = find_producer(graph, block, op->in[k]);
        bool dropped = before && keep_is_elementwise(before->kind);
        if (op->in[k] == block->input || (dropped && !does_without_input(graph, block, op->in[k]))) return false;
    }
    return true;
}

bool invertible_find(const struct graph *graph, const struct graph_block *block, struct addition *addition)
{
    if (block->input == NO_TENSOR || block->output == NO_TENSOR) return false;
    for (uint32_t i = block->first; i < block->last; i++) {
        const struct op *op = &graph->ops[i];
        if (op->kind != OP_ADD || op->out[0] != block->output) continue;
        if ((op->in[0] == block->input) == (op->in[1] == block->input)) return false;
        *addition = (struct addition){i, op->in[op->in[0] == block->input]};
        return does_without_input(graph, block, addition->summand);
    }
    return false;
}

size_t invertible_count(const struct graph *graph)
{
    size_t count = 0;
    struct addition unused;
    for (size_t b = 0; b < graph->block_count; b++) count += invertible_find(graph, &graph->blocks[b], &unused);
    return count;
}

size_t invertible_reconstructed(const struct plan_program *program)
{
    size_t count = 0;
    for (size_t i = 0; i < program->op_count; i++) count += program->ops[i].pass == PASS_RECONSTRUCT;
    return count;
}
