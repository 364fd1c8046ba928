#include "flow_takes.h"

#include <stdio.h>
#include <stdlib.h>

#include "mem.h"

struct finder {
    struct flow_takes *takes;
    const struct bound_program *bound;
    const struct graph *graph;
    uint32_t *back_to;                 /* of a gradient: the first block whose backward pass reads it; NO_OP: none */
    uint32_t *unit_of;                 /* of a weight: the block that multiplies by it; NO_OP: none */
    uint32_t *output_op, *gradient_op; /* of a unit: the op that finishes it; NO_OP: none does */
};

/* ---- Who makes what ---- */

static bool is_gradient(const struct tensor *t) { return t->gradient && t->class == CLASS_ACTIVATION; }

static void note_gradients(struct finder *f, const struct op *op)
{
    for (uint32_t i = 0; i < op->inputs; i++)
        if (is_gradient(&f->graph->tensors[op->in[i]]) && op->block < f->back_to[op->in[i]])
            f->back_to[op->in[i]] = op->block;
}

/* Or by its copy in 16 bits. */
static void note_weights(struct finder *f, const struct op *op)
{
    for (uint32_t i = 0; i < op->inputs; i++) {
        const struct tensor *t = &f->graph->tensors[op->in[i]];
        if (t->role == ROLE_WEIGHT_COPY && t->of != NO_TENSOR) f->unit_of[t->of] = op->block;
        if (t->role == ROLE_WEIGHT) f->unit_of[op->in[i]] = op->block;
    }
}

static void note_readers(struct finder *f)
{
    for (size_t i = 0; i < f->graph->op_count; i++) {
        const struct op *op = &f->graph->ops[i];
        if (op->block == NO_OP) continue;
        if (op->pass == PASS_FORWARD) note_weights(f, op);
        if (op->pass == PASS_BACKWARD) note_gradients(f, op);
    }
}

/* The first op that makes it: later ones make it again. */
static void note_output(struct finder *f, uint32_t i, const struct op *op)
{
    if (f->output_op[op->block] != NO_OP) return;
    for (uint32_t k = 0; k < op->outputs; k++)
        if (op->out[k] == f->graph->blocks[op->block].output) f->output_op[op->block] = i;
}

/* The last op of the block after it that makes what this one's backward pass reads: the sum of all. */
static void note_gradient(struct finder *f, uint32_t i, const struct op *op)
{
    for (uint32_t k = 0; k < op->outputs && op->block > 0; k++)
        if (f->back_to[op->out[k]] == op->block - 1) f->gradient_op[op->block - 1] = i;
}

static void note_makers(struct finder *f)
{
    const struct plan_program *program = f->bound->plan;
    for (uint32_t i = 0; i < program->body_count; i++) {
        const struct op *op = &f->graph->ops[program->ops[i].op];
        if (op->block == NO_OP || program->ops[i].stream != STREAM_COMPUTE) continue;
        if (program->ops[i].pass == PASS_FORWARD) note_output(f, i, op);
        if (program->ops[i].pass == PASS_BACKWARD) note_gradient(f, i, op);
    }
}

/* ---- What is taken ---- */

static bool add_take(struct flow_takes *takes, struct flow_take take, struct error *err)
{
    void *items = takes->items;
    bool grown = mem_grow(MEM_KERNEL, &items, &takes->capacity, takes->count + 1, sizeof take);
    takes->items = items;
    if (!grown) return error_memory(err, (takes->count + 1) * sizeof take, "the norms of units");
    takes->items[takes->count++] = take;
    takes->known[take.norm] = true;
    return true;
}

static bool has_squares(const struct tensor *t)
{
    return t && (t->dtype == DTYPE_F32 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16);
}

static void name_tensor(const struct graph *graph, const struct op *op, uint32_t k, char out[FLOW_NAME])
{
    bool shuts = op->kind == OP_CONV_BWD_DATA && op->attr.conv.fused & CONV_SHUTS;
    char name[TENSOR_NAME];
    snprintf(out, FLOW_NAME, "%s%s", graph_tensor_name(graph, op->out[k], name),
             shuts ? ", 0 where its ReLU was shut" : "");
}

/* Output k of op i of the program. */
static bool take_output(struct finder *f, uint32_t unit, enum trace_norm norm, uint32_t i, uint32_t k,
                        struct error *err)
{
    const struct op_call *call = &f->bound->calls[i];
    const struct tensor *t = call->out_tensor[k];
    if (!has_squares(t)) return true;
    name_tensor(f->graph, call->op, k, f->takes->names[unit][norm]);
    const struct flow_take take = {.op = i,
                                   .norm = unit * TRACE_NORMS + norm,
                                   .dtype = t->dtype,
                                   .offset = call->out[k],
                                   .elements = tensor_elements(t)};
    return add_take(f->takes, take, err);
}

static bool take_activations(struct finder *f, uint32_t unit, struct error *err)
{
    const struct graph_block *block = &f->graph->blocks[unit];
    uint32_t forward = f->output_op[unit], backward = f->gradient_op[unit];
    if (unit + 1 == f->takes->unit_count) return true; /* probabilities, and the loss */
    for (uint32_t k = 0; forward != NO_OP && k < f->bound->calls[forward].op->outputs; k++)
        if (f->bound->calls[forward].op->out[k] == block->output)
            TRY(take_output(f, unit, NORM_OUTPUT, forward, k, err));
    for (uint32_t k = 0; backward != NO_OP && k < f->bound->calls[backward].op->outputs; k++)
        if (f->back_to[f->bound->calls[backward].op->out[k]] == unit)
            TRY(take_output(f, unit, NORM_GRADIENT, backward, k, err));
    return true;
}

/* Gradients lie in their bucket as weights do in theirs, in whatever order the backend keeps elements. */
static bool take_weights(struct finder *f, uint32_t i, struct error *err)
{
    const struct op_call *call = &f->bound->calls[i];
    for (size_t p = 0; p < f->graph->parameter_count; p++) {
        const struct tensor *t = &f->graph->tensors[f->graph->parameters[p]];
        uint32_t unit = f->unit_of[f->graph->parameters[p]];
        if (t->view_of != call->op->in[0] || unit == NO_OP) continue;
        f->takes->units[unit].weight_elements += tensor_elements(t);
        const struct flow_take take = {.op = i,
                                       .before = true,
                                       .norm = unit * TRACE_NORMS + NORM_WEIGHT_GRADIENT,
                                       .offset = call->in[1] + t->view_offset,
                                       .elements = tensor_elements(t)};
        TRY(add_take(f->takes, take, err));
    }
    return true;
}

static int compare_takes(const void *a, const void *b)
{
    const struct flow_take *x = a, *y = b;
    if (x->op != y->op) return x->op < y->op ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void index_takes(struct flow_takes *takes, size_t ops)
{
    qsort(takes->items, takes->count, sizeof *takes->items, compare_takes);
    for (size_t i = 0, next = 0; i <= ops; i++) {
        while (next < takes->count && takes->items[next].op < i) next++;
        takes->first[i] = (uint32_t)next;
    }
}

static bool find(struct finder *f, uint32_t micro_batches, struct error *err)
{
    const struct plan_program *program = f->bound->plan;
    note_readers(f);
    note_makers(f);
    for (uint32_t unit = 0; unit < f->takes->unit_count; unit++) {
        const struct graph_block *block = &f->graph->blocks[unit];
        uint64_t outputs = block->output == NO_TENSOR ? 0 : tensor_elements(&f->graph->tensors[block->output]);
        char(*names)[FLOW_NAME] = f->takes->names[unit];
        f->takes->units[unit] = (struct trace_unit){.layer = f->graph->layers[block->layer].path,
                                                    .output = names[NORM_OUTPUT],
                                                    .gradient = names[NORM_GRADIENT],
                                                    .output_elements = outputs * micro_batches};
        TRY(take_activations(f, unit, err));
    }
    for (uint32_t i = 0; i < program->op_count; i++)
        if (f->graph->ops[program->ops[i].op].kind == OP_UPDATE && !plan_op_copies(&program->ops[i]))
            TRY(take_weights(f, i, err));
    index_takes(f->takes, program->op_count);
    return true;
}

/* ---- Making ---- */

static uint32_t *alloc_indices(size_t count)
{
    uint32_t *indices = mem_alloc(MEM_KERNEL, count, sizeof *indices);
    for (size_t i = 0; indices && i < count; i++) indices[i] = NO_OP;
    return indices;
}

bool flow_takes_find(const struct bound_program *train, uint32_t micro_batches, struct flow_takes *takes,
                     struct error *err)
{
    const struct graph *graph = train->graph;
    const size_t units = graph->block_count, ops = train->plan->op_count;
    struct finder f = {.takes = takes, .bound = train, .graph = graph};
    *takes = (struct flow_takes){.unit_count = (uint32_t)units};
    f.back_to = alloc_indices(graph->tensor_count);
    f.unit_of = alloc_indices(graph->tensor_count);
    f.output_op = alloc_indices(units);
    f.gradient_op = alloc_indices(units);
    takes->first = alloc_indices(ops + 1);
    takes->units = mem_zalloc(MEM_KERNEL, units, sizeof *takes->units);
    takes->names = mem_zalloc(MEM_KERNEL, units, sizeof *takes->names);
    takes->known = mem_zalloc(MEM_KERNEL, units * TRACE_NORMS, sizeof *takes->known);
    bool room = f.back_to && f.unit_of && f.output_op && f.gradient_op && takes->first && takes->units &&
                takes->names && takes->known;
    bool ok = room ? find(&f, micro_batches, err) : error_memory(err, units * sizeof *takes->names, "the net's units");
    mem_free(f.back_to);
    mem_free(f.unit_of);
    mem_free(f.output_op);
    mem_free(f.gradient_op);
    return ok;
}

void flow_takes_finish(struct flow_takes *takes)
{
    mem_free(takes->items);
    mem_free(takes->first);
    mem_free(takes->units);
    mem_free(takes->names);
    mem_free(takes->known);
    *takes = (struct flow_takes){0};
}
