/* Backward ops in the order in which a block's are run: the graph's, but for weight gradients over one activation. */
#include <string.h>

#include "program_private.h"

static bool reads_output(const struct op *reader, const struct op *writer)
{
    for (uint32_t k = 0; k < writer->outputs; k++)
        if (op_reads(reader, writer->out[k])) return true;
    return false;
}

static bool is_weight_gradient(enum op_kind kind) { return kind == OP_CONV_BWD_WEIGHTS || kind == OP_FC_BWD_WEIGHTS; }

/* The position of the next weight gradient over the same activation as list[at], or count. */
static uint32_t find_cluster(const struct graph *graph, const uint32_t *list, uint32_t count, uint32_t at)
{
    for (uint32_t i = at + 1; i < count; i++)
        if (is_weight_gradient(graph->ops[list[i]].kind) && graph->ops[list[i]].in[0] == graph->ops[list[at]].in[0])
            return i;
    return count;
}

/* A projection shares its input with the branch's first convolution: its gradients are taken next to that one's, so
 * that one recomputation serves both. They move down as far as nothing in between reads them. */
static void join_clusters(const struct graph *graph, uint32_t *list, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) {
        if (!is_weight_gradient(graph->ops[list[i]].kind)) continue;
        uint32_t target = find_cluster(graph, list, count, i);
        if (target == count) continue;
        uint32_t length = i + 1 < count && graph->ops[list[i + 1]].forward == graph->ops[list[i]].forward ? 2 : 1;
        uint32_t end = i + length;
        bool free_to_move = true;
        for (uint32_t k = end; k < target && free_to_move; k++)
            for (uint32_t m = i; m < end; m++)
                if (reads_output(&graph->ops[list[k]], &graph->ops[list[m]])) free_to_move = false;
        if (!free_to_move) continue;
        uint32_t moved[2] = {list[i], list[end - 1]};
        memmove(&list[i], &list[end], (target - end) * sizeof *list);
        memcpy(&list[target - length], moved, length * sizeof *list);
    }
}

/* A counting sort by block; ops of no block are left to the schedule's end. */
void program_order_backward(const struct graph *graph, uint32_t *list, uint32_t *start)
{
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        if (graph->ops[i].pass == PASS_BACKWARD && graph->ops[i].block != NO_OP) start[graph->ops[i].block + 1]++;
    for (size_t b = 0; b < graph->block_count; b++) start[b + 1] += start[b];
    for (uint32_t i = graph->backward_end; i-- > graph->forward_end;) {
        const struct op *op = &graph->ops[i];
        if (op->pass == PASS_BACKWARD && op->block != NO_OP) list[--start[op->block + 1]] = i;
    }
    /* Each start[b + 1] has come down to where block b begins. */
    memmove(start, start + 1, graph->block_count * sizeof *start);
    uint32_t total = 0;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        total += graph->ops[i].pass == PASS_BACKWARD && graph->ops[i].block != NO_OP;
    start[graph->block_count] = total;
    for (size_t b = 0; b < graph->block_count; b++) join_clusters(graph, list + start[b], start[b + 1] - start[b]);
}
