/* The whole structure of a finished graph, checked from the outside. */
#include <string.h>

#include "graph_private.h"
#include "lower.h"
#include "mem.h"

struct check {
    const struct graph *graph;
    struct error *err;
    uint32_t *writer; /* of each tensor: NO_OP before it is written */
};

#define FAIL(c, ...) error_set((c)->err, ERROR_FAILED, "graph check: " __VA_ARGS__)

/* In 16 bits what its original is in 32, at the same place of the copied bucket. */
static bool check_copy(const struct check *c, uint32_t index)
{
    const struct graph *graph = c->graph;
    const struct tensor *t = &graph->tensors[index];
    if (t->of == NO_TENSOR || t->dtype != graph->options.dtype || t->dtype == DTYPE_F32 || t->persistent)
        return FAIL(c, "tensor %u: a copy of weights, and of none or not in 16 bits", index);
    const struct tensor *of = &graph->tensors[t->of];
    bool view = t->view_of != NO_TENSOR;
    if (of->class != CLASS_WEIGHT || !of->persistent || memcmp(t->dims, of->dims, sizeof t->dims) != 0 ||
        view != (of->view_of != NO_TENSOR))
        return FAIL(c, "tensor %u: a copy of tensor %u, which is of another shape or kind", index, t->of);
    if (view && (graph->tensors[t->view_of].of != of->view_of || 2 * t->view_offset != of->view_offset))
        return FAIL(c, "tensor %u: not where tensor %u is in its bucket", index, t->of);
    return true;
}

/* A gradient in 16 bits: where its weights are in their bucket. */
static bool check_half(const struct check *c, uint32_t index)
{
    const struct tensor *t = &c->graph->tensors[index], *of = &c->graph->tensors[t->of];
    if (t->view_of == NO_TENSOR || t->dtype != c->graph->options.dtype || 2 * t->view_offset != of->view_offset)
        return FAIL(c, "tensor %u: not where tensor %u is in its bucket", index, t->of);
    return true;
}

static bool check_tensor(const struct check *c, uint32_t index)
{
    const struct graph *graph = c->graph;
    const struct tensor *t = &graph->tensors[index];
    if (t->layer >= graph->layer_count)
        return FAIL(c, "tensor %u: layer %u of %zu", index, t->layer, graph->layer_count);
    if (t->bytes == 0 || t->bytes != dtype_bytes(t->dtype, tensor_elements(t)))
        return FAIL(c, "tensor %u: %llu bytes are not those of its shape", index, (unsigned long long)t->bytes);
    if (t->of != NO_TENSOR && (t->of >= graph->tensor_count || t->of == index))
        return FAIL(c, "tensor %u: belongs to tensor %u of %zu", index, t->of, graph->tensor_count);
    if (t->gradient && t->of == NO_TENSOR) return FAIL(c, "tensor %u: a gradient of nothing", index);
    if (t->gradient && t->role != ROLE_BUCKET && memcmp(t->dims, graph->tensors[t->of].dims, sizeof t->dims) != 0)
        return FAIL(c, "tensor %u: a gradient of another shape than its tensor %u", index, t->of);
    if (t->view_of != NO_TENSOR && t->view_of >= graph->tensor_count)
        return FAIL(c, "tensor %u: views tensor %u", index, t->view_of);
    if (t->role == ROLE_WEIGHT_COPY) TRY(check_copy(c, index));
    if (t->role == ROLE_WEIGHT && t->gradient && t->dtype != DTYPE_F32) TRY(check_half(c, index));
    if (t->view_of == NO_TENSOR) return true;
    const struct tensor *base = &graph->tensors[t->view_of];
    if (base->view_of != NO_TENSOR || base->class != t->class || base->persistent != t->persistent)
        return FAIL(c, "tensor %u: views tensor %u, which is of another kind or a view itself", index, t->view_of);
    if (t->dtype != base->dtype)
        return FAIL(c, "tensor %u: views tensor %u, which is of another type", index, t->view_of);
    if (t->view_offset > base->bytes || t->bytes > base->bytes - t->view_offset)
        return FAIL(c, "tensor %u: bytes %llu to %llu of tensor %u, which has %llu", index,
                    (unsigned long long)t->view_offset, (unsigned long long)(t->view_offset + t->bytes), t->view_of,
                    (unsigned long long)base->bytes);
    return true;
}

/* A value is there when the pass begins (persistent, input), or a view of a bucket, or was written, itself or whole. */
static bool check_read(const struct check *c, uint32_t op, uint32_t tensor)
{
    const struct tensor *t = &c->graph->tensors[tensor];
    bool whole = t->view_of != NO_TENSOR && c->writer[t->view_of] != NO_OP;
    bool there =
        t->persistent || t->class == CLASS_INPUT || t->role == ROLE_BUCKET || c->writer[tensor] != NO_OP || whole;
    return there || FAIL(c, "op %u reads tensor %u before it is written", op, tensor);
}

static bool check_write(const struct check *c, uint32_t op, uint32_t tensor)
{
    const struct tensor *t = &c->graph->tensors[tensor];
    if (t->class == CLASS_INPUT) return FAIL(c, "op %u writes the input %u", op, tensor);
    bool again = t->role == ROLE_BUCKET || t->role == ROLE_METRICS || t->role == ROLE_LOSS_SCALE ||
                 t->role == ROLE_GRADIENT_NORM;
    if (t->persistent && !again) return FAIL(c, "op %u writes the persistent tensor %u", op, tensor);
    if (!again && c->writer[tensor] != NO_OP)
        return FAIL(c, "op %u writes tensor %u, which op %u wrote", op, tensor, c->writer[tensor]);
    c->writer[tensor] = op;
    return true;
}

static bool check_operands(const struct check *c, uint32_t index)
{
    const struct op *op = &c->graph->ops[index];
    const struct op_shape *shape = op_kind_shape(op->kind);
    if (op->inputs < shape->least_inputs || op->inputs > shape->most_inputs || op->outputs < shape->least_outputs ||
        op->outputs > shape->most_outputs)
        return FAIL(c, "op %u, %s: %u inputs and %u outputs", index, shape->name, op->inputs, op->outputs);
    for (uint32_t i = 0; i < op->inputs; i++) {
        if (op->in[i] >= c->graph->tensor_count) return FAIL(c, "op %u: input %u is tensor %u", index, i, op->in[i]);
        TRY(check_read(c, index, op->in[i]));
    }
    for (uint32_t i = 0; i < op->outputs; i++) {
        if (op->out[i] >= c->graph->tensor_count) return FAIL(c, "op %u: output %u is tensor %u", index, i, op->out[i]);
        TRY(check_write(c, index, op->out[i]));
    }
    for (uint32_t i = 0; i < op->inputs; i++)
        if ((op->in_place >> i & 1) &&
            c->graph->tensors[op->in[i]].bytes != c->graph->tensors[op->out[op_in_place_output(op, i)]].bytes)
            return FAIL(c, "op %u: in place over input %u of another size", index, i);
    return op->in_place >> op->inputs == 0 || FAIL(c, "op %u: in place over inputs it does not have", index);
}

/* Weights as they are, or all copied. */
static bool check_weights(const struct check *c, uint32_t index)
{
    const struct op *op = &c->graph->ops[index];
    bool copied = c->graph->options.lowering & LOWER_WEIGHTS && c->graph->options.dtype != DTYPE_F32;
    if (!op_reads_weights(op->kind) || c->graph->tensors[op->in[1]].role == (copied ? ROLE_WEIGHT_COPY : ROLE_WEIGHT))
        return true;
    return FAIL(c, "op %u, %s: multiplies by tensor %u; weights %s copied", index, op_kind_name(op->kind), op->in[1],
                copied ? "are" : "are not");
}

static bool check_section(const struct check *c, uint32_t index)
{
    const struct graph *graph = c->graph;
    const struct op *op = &graph->ops[index];
    bool before_blocks = graph->options.frozen && graph->block_count > 0 && index < graph->blocks[0].first;
    bool frozen = before_blocks && !op_stands_alone(op->kind);
    enum op_pass expected = frozen                        ? PASS_EVALUATE
                            : index < graph->forward_end  ? PASS_FORWARD
                            : index < graph->backward_end ? PASS_BACKWARD
                            : index < graph->comm_end     ? PASS_COMM
                                                          : PASS_UPDATE;
    if (op->pass != expected)
        return FAIL(c, "op %u: pass %s among %s", index, op_pass_name(op->pass), op_pass_name(expected));
    if (op->layer >= graph->layer_count) return FAIL(c, "op %u: layer %u", index, op->layer);
    if (op->block != NO_OP && op->block >= graph->block_count) return FAIL(c, "op %u: block %u", index, op->block);
    if ((uint64_t)op->stands_first + op->stands_count > graph->stands_count ||
        (graph->stands && !op->stands_count && !op_stands_alone(op->kind)))
        return FAIL(c, "op %u: stands for logical ops %u to %u of %zu", index, op->stands_first,
                    op->stands_first + op->stands_count, graph->stands_count);
    if (op->forward != NO_OP && (op->forward >= graph->forward_end || expected != PASS_BACKWARD))
        return FAIL(c, "op %u: derives from op %u", index, op->forward);
    return true;
}

static bool check_blocks(const struct check *c)
{
    const struct graph *graph = c->graph;
    for (size_t i = 0; i < graph->block_count; i++) {
        const struct graph_block *block = &graph->blocks[i];
        uint32_t before = i ? graph->blocks[i - 1].last : block->first;
        if (block->first != before || block->last <= block->first || block->last > graph->forward_end)
            return FAIL(c, "block %zu: ops %u to %u after %u", i, block->first, block->last, before);
        if (block->input != (i ? graph->blocks[i - 1].output : NO_TENSOR))
            return FAIL(c, "block %zu: its input is not what the block before gives", i);
        if (block->output >= graph->tensor_count) return FAIL(c, "block %zu: output %u", i, block->output);
        for (uint32_t k = block->first; k < block->last; k++)
            if (graph->ops[k].block != i) return FAIL(c, "op %u: in block %u, expected %zu", k, graph->ops[k].block, i);
    }
    if (graph->block_count && graph->blocks[graph->block_count - 1].last != graph->forward_end)
        return FAIL(c, "the last block ends before the forward pass does");
    return true;
}

/* Images are given, or pixels and placements are, of which one op makes them. */
static bool check_input(const struct check *c)
{
    const struct graph *graph = c->graph;
    bool made = graph->pixels != NO_TENSOR, given = graph->tensors[graph->images].class == CLASS_INPUT;
    if (made == given || made != (graph->placements != NO_TENSOR))
        return FAIL(c, "images %s given, and pixels %s", given ? "are" : "are not", made ? "too" : "neither");
    if (!made) return true;
    if (graph->pixels >= graph->tensor_count || graph->placements >= graph->tensor_count)
        return FAIL(c, "pixels are tensor %u and placements %u of %zu", graph->pixels, graph->placements,
                    graph->tensor_count);
    return true;
}

static bool check_all(const struct check *c)
{
    const struct graph *graph = c->graph;
    if (graph->forward_end > graph->backward_end || graph->backward_end > graph->comm_end ||
        graph->comm_end > graph->op_count)
        return FAIL(c, "passes end at %u, %u, %u of %zu ops", graph->forward_end, graph->backward_end, graph->comm_end,
                    graph->op_count);
    TRY(check_input(c));
    for (uint32_t i = 0; i < graph->tensor_count; i++) TRY(check_tensor(c, i));
    for (uint32_t i = 0; i < graph->op_count; i++) {
        TRY(check_section(c, i));
        TRY(check_operands(c, i) && check_weights(c, i));
        if (!graph_shapes_agree(graph, &graph->ops[i]))
            return FAIL(c, "op %u, %s of %s: its operands' shapes do not agree", i, op_kind_name(graph->ops[i].kind),
                        graph->layers[graph->ops[i].layer].path);
    }
    return check_blocks(c);
}

bool graph_check(const struct graph *graph, struct error *err)
{
    uint32_t *writer = mem_alloc(MEM_GRAPH, graph->tensor_count, sizeof *writer);
    if (!writer) return error_memory(err, graph->tensor_count * sizeof *writer, mem_purpose_name(MEM_GRAPH));
    for (size_t i = 0; i < graph->tensor_count; i++) writer[i] = NO_OP;
    bool ok = check_all(&(struct check){graph, err, writer});
    mem_free(writer);
    return ok;
}
