/* A graph as it grows: layers, blocks, tensors and ops are appended, and the first failure is kept. */
#include "graph_grow.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "graph_private.h"
#include "mem.h"

/* No sum over the tensors of a graph can then overflow. */
#define MOST_TENSOR_BYTES ((uint64_t)1 << 44)

#define CHUNK_BYTES  ((size_t)32 << 10)
#define LONGEST_PATH 100

struct graph *graph_allocate(struct error *err)
{
    struct graph *graph = mem_zalloc(MEM_GRAPH, 1, sizeof *graph);
    struct graph_state *state = mem_zalloc(MEM_GRAPH, 1, sizeof *state);
    if (!graph || !state) {
        mem_free(graph);
        mem_free(state);
        error_memory(err, sizeof *graph + sizeof *state, mem_purpose_name(MEM_GRAPH));
        return NULL;
    }
    graph->state = state;
    state->block = NO_OP;
    state->bn_epsilon = 1e-5f;
    return graph;
}

void graph_destroy(struct graph *graph)
{
    if (!graph) return;
    for (struct text_chunk *chunk = graph->state->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        mem_free(chunk);
    }
    mem_free(graph->state);
    mem_free(graph->layers);
    mem_free(graph->tensors);
    mem_free(graph->ops);
    mem_free(graph->stands);
    mem_free(graph->blocks);
    mem_free(graph->parameters);
    mem_free(graph);
}

bool graph_fail(struct graph *graph, const char *format, ...)
{
    struct graph_state *state = graph->state;
    if (state->failed) return false;
    state->failed = true;
    va_list args;
    va_start(args, format);
    char text[sizeof state->err.text];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(&state->err, ERROR_INPUT, "%s", text);
}

bool graph_fail_memory(struct graph *graph, size_t bytes)
{
    if (graph->state->failed) return false;
    graph->state->failed = true;
    return error_memory(&graph->state->err, bytes, mem_purpose_name(MEM_GRAPH));
}

bool graph_grow(struct graph *graph, void **array, size_t *capacity, size_t count, size_t size)
{
    if (graph->state->failed) return false;
    if (mem_grow(MEM_GRAPH, array, capacity, count + 1, size)) return true;
    return graph_fail_memory(graph, (count + 1) * size);
}

static char *store_text(struct graph *graph, const char *text, size_t length)
{
    struct graph_state *state = graph->state;
    struct text_chunk *chunk = state->chunks;
    if (!chunk || chunk->used + length + 1 > CHUNK_BYTES) {
        chunk = mem_alloc(MEM_GRAPH, 1, sizeof *chunk + CHUNK_BYTES);
        if (!chunk) {
            graph_fail_memory(graph, sizeof *chunk + CHUNK_BYTES);
            return NULL;
        }
        *chunk = (struct text_chunk){.next = state->chunks};
        state->chunks = chunk;
    }
    char *stored = chunk->bytes + chunk->used;
    memcpy(stored, text, length + 1);
    chunk->used += length + 1;
    return stored;
}

void graph_set_layer(struct graph *graph, uint32_t stage, const char *format, ...)
{
    if (!graph_grow(graph, (void **)&graph->layers, &graph->state->layer_capacity, graph->layer_count,
                    sizeof *graph->layers))
        return;
    char path[LONGEST_PATH + 1];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(path, sizeof path, format, args);
    va_end(args);
    if (length <= 0 || length > LONGEST_PATH) {
        graph_fail(graph, "layer path \"%s\": found %d characters, expected 1 to %d", path, length, LONGEST_PATH);
        return;
    }
    char *stored = store_text(graph, path, (size_t)length);
    if (!stored) return;
    graph->state->layer = (uint32_t)graph->layer_count;
    graph->layers[graph->layer_count++] = (struct graph_layer){stored, stage};
}

void graph_begin_block(struct graph *graph)
{
    if (!graph_grow(graph, (void **)&graph->blocks, &graph->state->block_capacity, graph->block_count,
                    sizeof *graph->blocks))
        return;
    graph->state->block = (uint32_t)graph->block_count;
    graph->blocks[graph->block_count++] = (struct graph_block){
        .first = (uint32_t)graph->op_count, .input = NO_TENSOR, .output = NO_TENSOR, .layer = graph->state->layer};
}

static bool count_bytes(struct tensor *tensor)
{
    uint64_t elements = 1;
    for (size_t i = 0; i < 4; i++)
        if (__builtin_mul_overflow(elements, (uint64_t)tensor->dims[i], &elements) || elements > MOST_TENSOR_BYTES)
            return false;
    tensor->bytes = dtype_bytes(tensor->dtype, elements);
    return tensor->bytes <= MOST_TENSOR_BYTES;
}

uint32_t graph_new_tensor(struct graph *graph, struct tensor tensor)
{
    struct graph_state *state = graph->state;
    if (!graph_grow(graph, (void **)&graph->tensors, &state->tensor_capacity, graph->tensor_count, sizeof tensor))
        return NO_TENSOR;
    tensor.layer = state->layer;
    if (!count_bytes(&tensor)) {
        graph_fail(graph, "%s: a tensor of %u x %u x %u x %u elements is larger than the limit of 16 TiB",
                   graph->layers[state->layer].path, tensor.dims[0], tensor.dims[1], tensor.dims[2], tensor.dims[3]);
        return NO_TENSOR;
    }
    graph->tensors[graph->tensor_count] = tensor;
    return (uint32_t)graph->tensor_count++;
}

/* dy's bytes, and y's where they are others and as many. */
static uint8_t kept_in_place(const struct graph *graph, const struct op *op)
{
    uint8_t y = conv_operands(op).y;
    const bool apart = op->in[y] != op->in[0] && graph->tensors[op->in[y]].bytes == graph->tensors[op->out[0]].bytes;
    return (uint8_t)(apart ? 1u << y | 1u : 1u);
}

uint32_t graph_new_op(struct graph *graph, struct op op)
{
    struct graph_state *state = graph->state;
    if (!graph_grow(graph, (void **)&graph->ops, &state->op_capacity, graph->op_count, sizeof op)) return NO_OP;
    if (op.forward == NO_OP) {
        op.layer = state->layer;
        op.block = state->block;
    }
    op.in_place = (uint8_t)(op_kind_shape(op.kind)->in_place & ((1u << op.inputs) - 1));
    if (op.kind == OP_BN && op.attr.bn.frozen != BN_TRAINED) op.in_place = 1;
    if (op.kind == OP_BN_BWD_APPLY) op.in_place &= (uint8_t)(op.attr.bn.whole ? ~16u : ~8u); /* not of the sums */
    if (op_in_place_output(&op, 0) > 0) op.in_place = kept_in_place(graph, &op);
    op.flops = op_count_flops(graph, &op);
    op.bytes_moved = op_count_bytes(graph, &op);
    graph->ops[graph->op_count] = op;
    return (uint32_t)graph->op_count++;
}

bool graph_new_parameter(struct graph *graph, uint32_t tensor)
{
    if (!graph_grow(graph, (void **)&graph->parameters, &graph->state->parameter_capacity, graph->parameter_count,
                    sizeof *graph->parameters))
        return false;
    graph->parameters[graph->parameter_count++] = tensor;
    return true;
}
