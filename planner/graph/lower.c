/* Lowering a graph: a copy of its tensors, the ops chosen and made, and what nothing touches any more left out. */
#include "lower.h"

#include <string.h>

#include "graph_grow.h"
#include "lower_private.h"
#include "mem.h"

const char *graph_lowering_name(unsigned bit)
{
    static const char *const names[LOWERINGS] = {
        "bn",      "sums",  "normalize", "normalize-weights", "gradient",     "gradient-sums", "add",
        "weights", "input", "bn-add",    "half-gradients",    "gradient-add", "gradient-keep"};
    return bit < LOWERINGS ? names[bit] : NULL;
}

/* ---- The copy ---- */

static bool copy_layers(struct graph *to, const struct graph *from)
{
    for (size_t i = 0; i < from->layer_count; i++)
        graph_set_layer(to, from->layers[i].stage, "%s", from->layers[i].path);
    return !to->state->failed;
}

static bool copy_array(struct graph *graph, void *array, size_t *capacity, const void *from, size_t count, size_t size)
{
    void **to = array;
    *to = mem_alloc(MEM_GRAPH, count + 1, size);
    if (!*to) return graph_fail_memory(graph, count * size);
    if (count) memcpy(*to, from, count * size);
    *capacity = count + 1;
    return true;
}

static bool copy_tensors(struct graph *to, const struct graph *from)
{
    struct graph_state *s = to->state;
    TRY(copy_array(to, &to->tensors, &s->tensor_capacity, from->tensors, from->tensor_count, sizeof *to->tensors));
    TRY(copy_array(to, &to->parameters, &s->parameter_capacity, from->parameters, from->parameter_count,
                   sizeof *to->parameters));
    TRY(copy_array(to, &to->blocks, &s->block_capacity, from->blocks, from->block_count, sizeof *to->blocks));
    to->tensor_count = from->tensor_count;
    to->parameter_count = from->parameter_count;
    to->block_count = from->block_count;
    to->images = from->images;
    to->labels = from->labels;
    to->metrics = from->metrics;
    to->loss_scale = from->loss_scale;
    to->gradient_norm = from->gradient_norm;
    to->pixels = to->placements = NO_TENSOR;
    return true;
}

/* ---- What is left out ---- */

static void mark(uint32_t *index, uint32_t tensor)
{
    if (tensor != NO_TENSOR) index[tensor] = 1;
}

/* Whose gradient it is, in a graph where a BN's result may be no tensor: then that of what the BN normalises. */
static void find_owner(const struct lowering *l, struct tensor *tensor, const uint32_t *used)
{
    while (tensor->gradient && tensor->of != NO_TENSOR && !used[tensor->of]) {
        uint32_t bn = lowering_bn_of(l, tensor->of);
        if (bn == NO_OP) return;
        tensor->of = l->logical->ops[bn].in[0];
    }
}

static void mark_used(const struct lowering *l, uint32_t *used)
{
    struct graph *graph = l->lowered;
    for (size_t i = 0; i < graph->op_count; i++) {
        for (uint32_t k = 0; k < graph->ops[i].inputs; k++) used[graph->ops[i].in[k]] = 1;
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++) used[graph->ops[i].out[k]] = 1;
    }
    for (size_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].persistent || graph->tensors[t].class == CLASS_INPUT) used[t] = 1;
    for (size_t t = 0; t < graph->tensor_count; t++) {
        if (!used[t]) continue;
        find_owner(l, &graph->tensors[t], used);
        mark(used, graph->tensors[t].of);
        mark(used, graph->tensors[t].view_of);
    }
}

static void renumber(uint32_t *tensor, const uint32_t *to)
{
    if (*tensor != NO_TENSOR) *tensor = to[*tensor];
}

static void renumber_all(struct graph *graph, const uint32_t *to)
{
    for (size_t t = 0; t < graph->tensor_count; t++) {
        renumber(&graph->tensors[t].of, to);
        renumber(&graph->tensors[t].view_of, to);
    }
    for (size_t i = 0; i < graph->op_count; i++) {
        for (uint32_t k = 0; k < graph->ops[i].inputs; k++) renumber(&graph->ops[i].in[k], to);
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++) renumber(&graph->ops[i].out[k], to);
    }
    for (size_t i = 0; i < graph->parameter_count; i++) renumber(&graph->parameters[i], to);
    for (size_t b = 0; b < graph->block_count; b++) {
        renumber(&graph->blocks[b].input, to);
        renumber(&graph->blocks[b].output, to);
    }
    renumber(&graph->images, to);
    renumber(&graph->labels, to);
    renumber(&graph->metrics, to);
    renumber(&graph->loss_scale, to);
    renumber(&graph->gradient_norm, to);
    renumber(&graph->pixels, to);
    renumber(&graph->placements, to);
}

static bool drop_unused(const struct lowering *l)
{
    struct graph *graph = l->lowered;
    uint32_t *index = mem_zalloc(MEM_GRAPH, graph->tensor_count, sizeof *index), count = 0;
    if (!index) return graph_fail_memory(graph, graph->tensor_count * sizeof *index);
    mark_used(l, index);
    for (size_t t = 0; t < graph->tensor_count; t++) {
        bool used = index[t];
        index[t] = used ? count : NO_TENSOR;
        if (used) graph->tensors[count++] = graph->tensors[t];
    }
    graph->tensor_count = count;
    renumber_all(graph, index);
    mem_free(index);
    return true;
}

/* ---- All ---- */

static bool lowering_init(struct lowering *l)
{
    size_t tensors = l->logical->tensor_count, ops = l->logical->op_count;
    /* A sums table has an entry for each tensor that a lowered op may write: those of the logical graph. */
    l->producer = mem_alloc(MEM_GRAPH, tensors, sizeof *l->producer);
    l->readers = mem_zalloc(MEM_GRAPH, tensors, sizeof *l->readers);
    l->sums = mem_alloc(MEM_GRAPH, tensors, sizeof *l->sums);
    l->copy = mem_alloc(MEM_GRAPH, tensors, sizeof *l->copy);
    l->singles = mem_zalloc(MEM_GRAPH, tensors, sizeof *l->singles);
    l->partner = mem_alloc(MEM_GRAPH, ops, sizeof *l->partner);
    l->rectified = mem_zalloc(MEM_GRAPH, ops, sizeof *l->rectified);
    l->summed = mem_alloc(MEM_GRAPH, ops, sizeof *l->summed);
    l->made = mem_alloc(MEM_GRAPH, ops, sizeof *l->made);
    l->waits = mem_alloc(MEM_GRAPH, ops, sizeof *l->waits);
    l->shut = mem_alloc(MEM_GRAPH, ops, sizeof *l->shut);
    l->kept = mem_alloc(MEM_GRAPH, ops, sizeof *l->kept);
    l->bn = mem_zalloc(MEM_GRAPH, ops, sizeof *l->bn);
    if (!l->producer || !l->readers || !l->sums || !l->copy || !l->singles || !l->partner || !l->rectified ||
        !l->summed || !l->made || !l->waits || !l->shut || !l->kept || !l->bn)
        return graph_fail_memory(l->lowered, ops * sizeof *l->bn);
    for (size_t t = 0; t < tensors; t++) l->sums[t] = l->copy[t] = NO_TENSOR;
    return true;
}

static void lowering_finish(struct lowering *l)
{
    mem_free(l->producer);
    mem_free(l->readers);
    mem_free(l->sums);
    mem_free(l->copy);
    mem_free(l->singles);
    mem_free(l->partner);
    mem_free(l->rectified);
    mem_free(l->summed);
    mem_free(l->made);
    mem_free(l->waits);
    mem_free(l->shut);
    mem_free(l->kept);
    mem_free(l->bn);
}

bool graph_lower(const struct graph *logical, uint32_t lowering, struct graph **lowered, struct error *err)
{
    struct graph *graph = graph_allocate(err);
    if (!graph) return false;
    graph->spec = logical->spec;
    graph->options = logical->options;
    graph->options.lowering = lowering;
    struct lowering l = {.logical = logical, .lowered = graph, .bits = lowering};
    bool ok = copy_layers(graph, logical) && copy_tensors(graph, logical) && lowering_init(&l) && lowering_choose(&l) &&
              lowering_emit(&l) && drop_unused(&l);
    lowering_finish(&l);
    if (ok) {
        graph_count(graph);
        *lowered = graph;
        return true;
    }
    if (err) *err = graph->state->err;
    graph_destroy(graph);
    return false;
}
