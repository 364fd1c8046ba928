/* Graphs for tests, and what every graph of a training step holds. */
#ifndef FATHOM_GRAPH_KIT_H
#define FATHOM_GRAPH_KIT_H

#include <criterion/criterion.h>

#include "build.h"
#include "lower.h"

static inline struct model_spec spec_of(const char *name, struct model_options model)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse(name, &model, &spec, &err), "%s", err.text);
    return spec;
}

static inline struct graph *build_spec(const struct model_spec *spec, struct graph_options options)
{
    struct error err = {0};
    struct graph *graph = graph_build(spec, &options, &err);
    cr_assert_not_null(graph, "%s: %s", spec->name, err.text);
    return graph;
}

static inline struct graph *build_with(const char *name, struct model_options model, struct graph_options options)
{
    struct model_spec spec = spec_of(name, model);
    return build_spec(&spec, options);
}

/* A net to be made by hand, of ten classes, over images of that side; ended by finish_net. */
static inline struct graph *begin_net(uint32_t image_size, struct graph_options options)
{
    struct model_spec spec = spec_of("resnet-8", MODEL_OPTIONS_DEFAULT);
    struct error err = {0};
    spec.image_size = image_size;
    struct graph *graph = graph_begin(&spec, &options, &err);
    cr_assert_not_null(graph, "%s", err.text);
    return graph;
}

static inline struct graph *finish_net(struct graph *graph)
{
    struct error err = {0};
    graph = graph_finish(graph, &err);
    cr_assert_not_null(graph, "%s", err.text);
    return graph;
}

static inline struct graph *build(const char *name, uint32_t batch)
{
    return build_with(name, MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = batch});
}

static inline const struct op *find_backward(const struct graph *graph, uint32_t forward, enum op_kind kind,
                                              size_t *count)
{
    const struct op *found = NULL;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++) {
        if (graph->ops[i].forward != forward || graph->ops[i].kind != kind) continue;
        found = &graph->ops[i];
        ++*count;
    }
    return found;
}

static inline const struct op *writer_of(const struct graph *graph, uint32_t tensor)
{
    for (uint32_t i = 0; i < graph->backward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++)
            if (graph->ops[i].out[k] == tensor) return &graph->ops[i];
    return NULL;
}

/* How often a tensor's value enters the loss: readers, or through additions, their readers. */
static inline size_t count_readers(const struct graph *graph, uint32_t tensor)
{
    size_t readers = 0;
    for (uint32_t i = 0; i < graph->forward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].inputs; k++) readers += graph->ops[i].in[k] == tensor;
    return readers;
}

/* Leaves of the tree of OP_ADD_GRADIENT that sums the gradient of `of`. */
static inline size_t count_leaves(const struct graph *graph, uint32_t gradient, uint32_t of)
{
    const struct op *op = writer_of(graph, gradient);
    cr_assert_not_null(op, "gradient %u has no writer", gradient);
    if (op->kind != OP_ADD_GRADIENT || graph->tensors[gradient].of != of) return 1;
    return count_leaves(graph, op->in[0], of) + count_leaves(graph, op->in[1], of);
}

/* Where a backward op of this kind reads the gradient of its forward op's output. */
static inline uint32_t dy_of(const struct op *op)
{
    switch (op->kind) {
    case OP_CONV_BWD_WEIGHTS:
    case OP_FC_BWD_WEIGHTS:
    case OP_BN_BWD:
    case OP_RELU_BWD:
    case OP_SIGMOID_BWD:
    case OP_MUL_BWD: return op->in[1];
    default: return op->in[0];
    }
}

static inline void expect_whole_gradients(const struct graph *graph)
{
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++) {
        const struct op *op = &graph->ops[i];
        if (op->forward == NO_OP || op->kind == OP_ADD_GRADIENT || op->kind == OP_SOFTMAX_LOSS_BWD) continue;
        uint32_t y = graph->ops[op->forward].out[0];
        cr_expect_eq(count_leaves(graph, dy_of(op), y), count_readers(graph, y),
                     "%s: the gradient is not the sum over all readers of the output",
                     graph->layers[graph->ops[op->forward].layer].path);
    }
}

static inline void expect_parameter_gradients(const struct graph *graph)
{
    size_t *gradients = calloc(graph->tensor_count, sizeof *gradients);
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++) {
            const struct tensor *t = &graph->tensors[graph->ops[i].out[k]];
            if (t->class == CLASS_GRADIENT && t->role != ROLE_BUCKET) gradients[t->of]++;
            cr_expect(t->class != CLASS_INPUT && !(t->gradient && t->of == graph->images), "a gradient to the images");
        }
    for (size_t i = 0; i < graph->parameter_count; i++)
        cr_expect_eq(gradients[graph->parameters[i]], 1, "parameter %zu has %zu gradients", i,
                     gradients[graph->parameters[i]]);
    free(gradients);
}

static inline void expect_sound(const struct graph *graph)
{
    struct error err = {0};
    cr_expect(graph_check(graph, &err), "%s, %s, %s: %s", graph->spec.name, unit_kind_name(graph->spec.unit),
              shortcut_kind_name(graph->spec.shortcut), err.text);
    expect_parameter_gradients(graph);
    expect_whole_gradients(graph);
}

static inline uint32_t count_kind(const struct graph *graph, enum op_kind kind)
{
    uint32_t count = 0;
    for (size_t i = 0; i < graph->op_count; i++) count += graph->ops[i].kind == kind;
    return count;
}

static inline struct graph *lower(const struct graph *logical, uint32_t lowering)
{
    struct graph *lowered = NULL;
    struct error err = {0};
    cr_assert(graph_lower(logical, lowering, &lowered, &err), "%s", err.text);
    cr_expect(graph_check(lowered, &err), "lowering %u: %s", (unsigned)lowering, err.text);
    return lowered;
}

#endif
