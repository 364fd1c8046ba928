/* The account of a program in the making, and what is known of its ops before the first is emitted. */
#include <string.h>

#include "mem.h"
#include "program_private.h"

bool emitter_add_instance(struct emitter *e, uint32_t origin, uint64_t bytes, uint32_t *index)
{
    struct plan_program *program = e->program;
    if (!mem_grow(MEM_PLAN, (void **)&program->tensors, &e->tensor_capacity, program->tensor_count + 1,
                  sizeof *program->tensors))
        return error_memory(e->err, sizeof *program->tensors, "a program's tensors");
    *index = (uint32_t)program->tensor_count++;
    program->tensors[*index] = (struct plan_tensor){.origin = origin, .bytes = bytes};
    return true;
}

bool emitter_append(struct emitter *e, const struct plan_op *op)
{
    struct plan_program *program = e->program;
    if (!mem_grow(MEM_PLAN, (void **)&program->ops, &e->op_capacity, program->op_count + 1, sizeof *program->ops))
        return error_memory(e->err, sizeof *program->ops, "a program's ops");
    program->ops[program->op_count++] = *op;
    return true;
}

bool emitter_add_latest(struct emitter *e, uint32_t tensor)
{
    return emitter_add_instance(e, tensor, emitter_tensor(e, tensor)->bytes, &e->latest[tensor]);
}

struct plan_op emitter_op(uint32_t op, enum op_pass pass, uint32_t stream)
{
    struct plan_op made = {.op = op, .pass = pass, .stream = (uint8_t)stream, .workspace = NO_TENSOR};
    memset(made.in, 0xff, sizeof made.in);
    memset(made.out, 0xff, sizeof made.out);
    return made;
}

static void note_producers(struct emitter *e)
{
    const struct graph *graph = e->graph;
    for (uint32_t i = 0; i < graph->forward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++) e->producer[graph->ops[i].out[k]] = i;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].inputs; k++) e->wanted[graph->ops[i].in[k]] = true;
}

/* A bucket without accumulation is reduced at once, so that the transfer hides behind the rest of the backward pass. */
static void note_buckets(struct emitter *e)
{
    const struct graph *graph = e->graph;
    bool accumulates = graph->options.micro_batches > 1;
    for (uint32_t i = graph->forward_end; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        if (op->kind == OP_ACCUMULATE || (op->kind == OP_ALL_REDUCE && !accumulates)) e->follower[op->in[0]] = i;
        if (op->kind == OP_GRADIENTS_WIDEN) e->widener[op->in[0]] = e->widener[op->out[0]] = i;
        if (op->pass != PASS_BACKWARD) continue;
        for (uint32_t k = 0; k < op->outputs; k++) {
            uint32_t bucket = graph->tensors[op->out[k]].view_of;
            if (bucket != NO_TENSOR) e->unwritten[bucket]++;
        }
    }
}

static uint32_t *alloc_indices(size_t count, uint32_t value)
{
    uint32_t *indices = mem_alloc(MEM_PLAN, count, sizeof *indices);
    for (size_t i = 0; indices && i < count; i++) indices[i] = value;
    return indices;
}

void emitter_finish(struct emitter *e)
{
    mem_free(e->latest);
    mem_free(e->on_host);
    mem_free(e->leaving);
    mem_free(e->producer);
    mem_free(e->unwritten);
    mem_free(e->follower);
    mem_free(e->widener);
    mem_free(e->ran);
    mem_free(e->wanted);
    mem_free(e->backward);
    mem_free(e->backward_start);
}

bool emitter_init(struct emitter *e, const struct graph *graph, struct plan_program *program, struct error *err)
{
    *e = (struct emitter){.graph = graph, .program = program, .err = err};
    *program = (struct plan_program){0};
    size_t tensors = graph->tensor_count, backward = graph->backward_end - graph->forward_end;
    e->latest = alloc_indices(tensors, NO_TENSOR);
    e->on_host = alloc_indices(tensors, NO_TENSOR);
    e->leaving = alloc_indices(tensors, NO_TENSOR);
    e->producer = alloc_indices(tensors, NO_OP);
    e->unwritten = alloc_indices(tensors, 0);
    e->follower = alloc_indices(tensors, NO_OP);
    e->widener = alloc_indices(tensors, NO_OP);
    e->ran = mem_zalloc(MEM_PLAN, graph->op_count, sizeof *e->ran);
    e->wanted = mem_zalloc(MEM_PLAN, tensors, sizeof *e->wanted);
    e->backward = alloc_indices(backward, NO_OP);
    e->backward_start = alloc_indices(graph->block_count + 2, 0);
    if (!e->latest || !e->on_host || !e->leaving || !e->producer || !e->unwritten || !e->follower || !e->widener ||
        !e->ran || !e->wanted || !e->backward || !e->backward_start)
        return error_memory(err, tensors * 4 * sizeof(uint32_t), "emitting a program");
    note_producers(e);
    note_buckets(e);
    program_order_backward(graph, e->backward, e->backward_start);
    return true;
}
