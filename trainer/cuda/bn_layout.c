#include "cuda_device.h"

bool bn_sums_are_single(const struct graph *graph, uint32_t sums)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        bool convolves = op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA;
        if (convolves && op->outputs > 1 && op->out[1] == sums) return true;
    }
    return false;
}
