/* What a lowered convolution's attributes make of its operands. */
#include "graph.h"

static uint8_t take(struct conv_operands *o, bool wanted) { return wanted ? o->inputs++ : NO_OPERAND; }

static void take_gradient(struct conv_operands *o, uint32_t fused)
{
    o->y = take(o, fused & CONV_GRADIENT);
    o->coefficients = take(o, fused & CONV_GRADIENT);
}

struct conv_operands conv_operands(const struct op *op)
{
    uint32_t fused = op->attr.conv.fused;
    struct conv_operands o = {NO_OPERAND, NO_OPERAND, NO_OPERAND, NO_OPERAND, NO_OPERAND,
                              NO_OPERAND, NO_OPERAND, NO_OPERAND, 2,          1};
    if (op->kind == OP_CONV) {
        /* The bias alone is no attribute: it is there when there is one input more than the others make. */
        uint32_t others = 2u + (fused & CONV_NORMALIZED ? 1 : 0) + (fused & CONV_ADDS ? 1 : 0);
        o.bias = take(&o, op->inputs > others);
        o.norm = take(&o, fused & CONV_NORMALIZED);
        o.residual = take(&o, fused & CONV_ADDS);
        o.outputs = fused & CONV_SUMS ? 2 : 1;
    } else if (op->kind == OP_CONV_BWD_WEIGHTS) {
        o.norm = take(&o, fused & CONV_NORMALIZED);
        take_gradient(&o, fused);
        o.outputs = op->outputs > 1 ? 2 : 1; /* the bias's gradient */
    } else {
        take_gradient(&o, fused);
        o.residual = take(&o, fused & CONV_ADDS);
        o.rectified = take(&o, fused & CONV_RECTIFIES);
        o.x = take(&o, fused & CONV_GRADIENT_SUMS);
        o.norm = take(&o, fused & CONV_GRADIENT_SUMS);
        o.outputs = fused & CONV_GRADIENT_SUMS ? 2 : 1;
        if (fused & CONV_KEEPS) o.kept = o.outputs++;
    }
    return o;
}

bool graph_normalizes(const struct graph *graph)
{
    if (graph->options.freeze_bn != BN_TRAINED) return false;
    for (uint32_t i = 0; i < graph->forward_end; i++)
        if (graph->ops[i].kind == OP_BN || graph->ops[i].kind == OP_BN_FINALIZE) return true;
    return false;
}
