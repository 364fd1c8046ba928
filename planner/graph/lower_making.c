/* Ops and small tensors of the lowered graph, as they are made of logical ones. */
#include "lower_making.h"

struct making lowering_begin(const struct lowering *l, uint32_t logical)
{
    struct making m = {.op = *lowering_op(l, logical), .stands = {logical}, .stands_count = 1};
    if (m.op.forward != NO_OP) m.op.forward = l->made[m.op.forward];
    if (op_reads_weights(m.op.kind) && l->copy[m.op.in[1]] != NO_TENSOR) m.op.in[1] = l->copy[m.op.in[1]];
    return m;
}

struct making lowering_begin_part(const struct lowering *l, uint32_t logical, enum op_kind kind)
{
    struct making m = lowering_begin(l, logical);
    m.op.kind = kind;
    m.op.inputs = m.op.outputs = 0;
    return m;
}

void lowering_stand_for(struct making *m, uint32_t logical)
{
    for (uint32_t i = 0; i < m->stands_count; i++)
        if (m->stands[i] == logical) return;
    m->stands[m->stands_count++] = logical;
}

uint32_t lowering_append(struct lowering *l, struct making *m)
{
    struct graph *graph = l->lowered;
    size_t *capacity = &graph->state->stands_capacity;
    if (!graph_grow(graph, (void **)&graph->stands, capacity, graph->stands_count + m->stands_count - 1,
                    sizeof *graph->stands))
        return NO_OP;
    graph->state->layer = m->op.layer;
    graph->state->block = m->op.block;
    m->op.stands_first = (uint32_t)graph->stands_count;
    m->op.stands_count = m->stands_count;
    for (uint32_t i = 0; i < m->stands_count; i++) graph->stands[graph->stands_count++] = m->stands[i];
    return graph_new_op(graph, m->op);
}

void lowering_emit_same(struct lowering *l, uint32_t logical)
{
    struct making m = lowering_begin(l, logical);
    l->made[logical] = lowering_append(l, &m);
}

uint32_t lowering_new_table(struct lowering *l, uint32_t bn, enum tensor_role role, enum dtype dtype, uint32_t rows)
{
    const struct op *op = lowering_op(l, bn);
    l->lowered->state->layer = op->layer;
    return graph_new_tensor(l->lowered, (struct tensor){.class = CLASS_STATISTIC,
                                                        .role = role,
                                                        .dtype = dtype,
                                                        .dims = {1, 1, rows, l->logical->tensors[op->in[0]].dims[3]},
                                                        .of = NO_TENSOR,
                                                        .view_of = NO_TENSOR});
}
