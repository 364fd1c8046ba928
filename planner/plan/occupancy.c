#include "occupancy.h"

#include "mem.h"

static bool has_bytes(const struct graph *graph, const struct plan_tensor *tensor)
{
    bool view = tensor->origin != NO_TENSOR && graph->tensors[tensor->origin].view_of != NO_TENSOR;
    return !view && !tensor->host;
}

/* The output of the op that takes over this tensor's bytes as it runs; NO_TENSOR when there is none. */
static uint32_t find_taker(const struct plan_program *program, uint32_t tensor, uint32_t op)
{
    const struct plan_tensor *given = &program->tensors[tensor];
    if (given->last != op || given->first == op) return NO_TENSOR;
    for (size_t o = 0; o < OP_MOST_OUTPUTS; o++) {
        uint32_t out = program->ops[op].out[o];
        if (out == NO_TENSOR || out == tensor) continue;
        const struct plan_tensor *taker = &program->tensors[out];
        if (taker->first == op && !taker->host && taker->offset == given->offset) return out;
    }
    return NO_TENSOR;
}

bool occupancy_holds(const struct graph *graph, const struct plan_program *program, uint32_t tensor, uint32_t op)
{
    const struct plan_tensor *t = &program->tensors[tensor];
    return has_bytes(graph, t) && t->first <= op && t->last >= op && find_taker(program, tensor, op) == NO_TENSOR;
}

uint64_t occupancy_bytes(const struct plan_tensor *tensor)
{
    return (tensor->bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

uint64_t *occupancy_curve(const struct graph *graph, const struct plan_program *program, struct error *err)
{
    uint64_t *live = mem_zalloc(MEM_PLAN, program->op_count + 1, sizeof *live);
    if (!live) {
        error_memory(err, (program->op_count + 1) * sizeof *live, "the live bytes of each op");
        return NULL;
    }
    for (uint32_t i = 0; i < program->tensor_count; i++) {
        const struct plan_tensor *t = &program->tensors[i];
        if (!has_bytes(graph, t)) continue;
        uint32_t end = find_taker(program, i, t->last) == NO_TENSOR ? t->last + 1 : t->last;
        live[t->first] += occupancy_bytes(t);
        live[end] -= occupancy_bytes(t); /* wraps; the running sum comes back */
    }
    for (size_t i = 1; i < program->op_count; i++) live[i] += live[i - 1];
    return live;
}
