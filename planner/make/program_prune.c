#include "program_prune.h"

#include "mem.h"

static bool is_useful(const struct plan_op *op, const bool *read)
{
    if (!plan_op_repeats(op) && !plan_op_copies(op)) return true;
    for (uint32_t k = 0; k < OP_MOST_OUTPUTS; k++)
        if (op->out[k] != NO_TENSOR && read[op->out[k]]) return true;
    return false;
}

/* A rerun block also reruns its last ops, whose results only the next block wanted: without readers they go. A
 * recomputed BN's saved statistics are read by the backward op, so they must not count as its results. */
static size_t mark_useful(const struct graph *graph, struct plan_program *program, bool *read, bool *useful)
{
    size_t dropped = 0;
    for (size_t i = program->op_count; i-- > 0;) {
        struct plan_op *op = &program->ops[i];
        struct plan_op results = *op;
        for (uint32_t k = 0; k < OP_MOST_OUTPUTS; k++) {
            if (op->out[k] == NO_TENSOR) continue;
            enum tensor_role role = graph->tensors[program->tensors[op->out[k]].origin].role;
            if (role == ROLE_MEAN || role == ROLE_VARIANCE) results.out[k] = NO_TENSOR;
        }
        useful[i] = is_useful(&results, read);
        dropped += !useful[i];
        for (uint32_t k = 0; useful[i] && k < OP_MOST_INPUTS; k++)
            if (op->in[k] != NO_TENSOR) read[op->in[k]] = true;
    }
    return dropped;
}

static void renumber(uint32_t *indices, uint32_t count, const uint32_t *to)
{
    for (uint32_t i = 0; i < count; i++)
        if (indices[i] != NO_TENSOR) indices[i] = to[indices[i]];
}

/* Closes the gaps: ops that are not useful, then tensors that nothing touches any more. */
static void compact(struct plan_program *program, const bool *useful, bool *touched, uint32_t *to)
{
    size_t ops = 0, tensors = 0, body = program->body_count;
    for (size_t i = 0; i < program->op_count; i++) {
        if (i == body) program->body_count = ops;
        if (useful[i]) program->ops[ops++] = program->ops[i];
    }
    if (body == program->op_count) program->body_count = ops;
    program->op_count = ops;
    for (size_t i = 0; i < ops; i++) {
        const struct plan_op *op = &program->ops[i];
        for (uint32_t k = 0; k < OP_MOST_INPUTS; k++)
            if (op->in[k] != NO_TENSOR) touched[op->in[k]] = true;
        for (uint32_t k = 0; k < OP_MOST_OUTPUTS; k++)
            if (op->out[k] != NO_TENSOR) touched[op->out[k]] = true;
    }
    for (size_t t = 0; t < program->tensor_count; t++) {
        to[t] = (uint32_t)tensors;
        if (touched[t]) program->tensors[tensors++] = program->tensors[t];
    }
    program->tensor_count = tensors;
    for (size_t i = 0; i < ops; i++) {
        renumber(program->ops[i].in, OP_MOST_INPUTS, to);
        renumber(program->ops[i].out, OP_MOST_OUTPUTS, to);
    }
}

bool program_prune(const struct graph *graph, struct plan_program *program, struct error *err)
{
    bool *read = mem_zalloc(MEM_PLAN, program->tensor_count, sizeof *read);
    bool *useful = mem_alloc(MEM_PLAN, program->op_count, sizeof *useful);
    uint32_t *to = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *to);
    bool ok = read && useful && to;
    if (!ok) error_memory(err, program->tensor_count * sizeof *to, "pruning a program");
    if (ok && mark_useful(graph, program, read, useful) > 0) {
        for (size_t t = 0; t < program->tensor_count; t++) {
            /* Given tensors and buckets stay whether read or not: both programs must number them alike. */
            const struct tensor *tensor = &graph->tensors[program->tensors[t].origin];
            read[t] = tensor->persistent || tensor->class == CLASS_INPUT || tensor->role == ROLE_BUCKET;
        }
        compact(program, useful, read, to);
    }
    mem_free(read);
    mem_free(useful);
    mem_free(to);
    return ok;
}
