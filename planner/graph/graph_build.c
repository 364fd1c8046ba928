/* A graph from its first tensor to its last op: what is common to all families. */
#include "graph_private.h"

#include <stdlib.h>

#include "build.h"
#include "lower.h"

static bool check_options(const struct graph_options *options, struct error *err)
{
    if (options->batch == 0) return error_set(err, ERROR_INPUT, "batch: found 0, expected at least 1 image");
    if (options->dtype != DTYPE_F32 && options->dtype != DTYPE_F16 && options->dtype != DTYPE_BF16)
        return error_set(err, ERROR_INPUT, "dtype: found %s, expected f32, f16 or bf16", dtype_name(options->dtype));
    if (options->reduce_dtype != DTYPE_F32 && options->reduce_dtype != DTYPE_F16 && options->reduce_dtype != DTYPE_BF16)
        return error_set(err, ERROR_INPUT, "reduce dtype: found %s, expected f32, f16 or bf16",
                         dtype_name(options->reduce_dtype));
    const uint32_t group = options->bn_group;
    if (group > 0 && (group > options->batch || options->batch % group != 0))
        return error_set(err, ERROR_INPUT, "bn group: found %u images, expected a divisor of the batch of %u",
                         (unsigned)group, (unsigned)options->batch);
    if (group > 0 && (options->sync_bn || options->freeze_bn != BN_TRAINED))
        return error_set(err, ERROR_INPUT, "bn group: found beside statistics that are %s",
                         options->sync_bn ? "taken over all devices" : "frozen");
    if (group > 0 && group < options->batch && options->lowering & LOWER_GROUPS_LACK)
        return error_set(err, ERROR_INPUT,
                         "lowering: found bits %#x, expected none of %#x with several groups of images",
                         (unsigned)options->lowering, (unsigned)LOWER_GROUPS_LACK);
    if (options->lowering & ~(uint32_t)LOWER_ALL)
        return error_set(err, ERROR_INPUT, "lowering: found bits %#x, expected some of %#x",
                         (unsigned)options->lowering, (unsigned)LOWER_ALL);
    return true;
}

static void add_inputs(struct graph *graph)
{
    uint32_t batch = graph->options.batch, height = graph->spec.image_size;
    uint32_t width = model_image_width(&graph->spec);
    graph_set_layer(graph, 0, "input");
    graph->images = graph_new_tensor(graph, (struct tensor){.class = CLASS_INPUT,
                                                            .role = ROLE_IMAGE,
                                                            .dtype = graph->options.dtype,
                                                            .dims = {batch, height, width, 3},
                                                            .of = NO_TENSOR,
                                                            .view_of = NO_TENSOR});
    graph->labels = graph_new_tensor(graph, (struct tensor){.class = CLASS_INPUT,
                                                            .role = ROLE_LABEL,
                                                            .dtype = DTYPE_I32,
                                                            .dims = {batch, 1, 1, 1},
                                                            .of = NO_TENSOR,
                                                            .view_of = NO_TENSOR});
    graph->metrics = graph->loss_scale = graph->gradient_norm = graph->pixels = graph->placements = NO_TENSOR;
}

struct graph *graph_begin(const struct model_spec *spec, const struct graph_options *options, struct error *err)
{
    if (!check_options(options, err)) return NULL;
    struct graph *graph = graph_allocate(err);
    if (!graph) return NULL;
    graph->spec = *spec;
    graph->options = *options;
    if (graph->options.micro_batches == 0) graph->options.micro_batches = 1;
    if (graph->options.step_images == 0)
        graph->options.step_images = (uint64_t)options->batch * graph->options.micro_batches;
    add_inputs(graph);
    return graph;
}

static bool build_family(struct graph *graph)
{
    switch (graph->spec.family) {
    case FAMILY_RESNET: graph_build_resnet(graph); return true;
    case FAMILY_VGG: graph_build_vgg(graph); return true;
    case FAMILY_BN_INCEPTION: graph_build_bn_inception(graph); return true;
    case FAMILY_INCEPTION_V3: graph_build_inception_v3(graph); return true;
    }
    return graph_fail(graph, "model family: found %d, expected 0 to %d", (int)graph->spec.family, FAMILY_INCEPTION_V3);
}

/* The lowered graph in place of the logical one; NULL for NULL. */
static struct graph *lower(struct graph *logical, uint32_t lowering, struct error *err)
{
    struct graph *lowered = NULL;
    if (!logical || lowering == 0) return logical;
    graph_lower(logical, lowering, &lowered, err);
    graph_destroy(logical);
    return lowered;
}

struct graph *graph_build(const struct model_spec *spec, const struct graph_options *options, struct error *err)
{
    struct graph_options logical = *options;
    logical.lowering = 0;
    struct graph *graph = check_options(options, err) ? graph_begin(spec, &logical, err) : NULL;
    if (!graph) return NULL;
    build_family(graph);
    graph = lower(graph_finish(graph, err), options->lowering, err);
    const char *check = getenv("FATHOM_CHECK");
    if (graph && check && *check && !graph_check(graph, err)) {
        graph_destroy(graph);
        return NULL;
    }
    return graph;
}

struct graph *graph_finish(struct graph *graph, struct error *err)
{
    struct graph_state *state = graph->state;
    if (!state->failed && graph->metrics == NO_TENSOR)
        graph_fail(graph, "the forward pass of %s does not end with a loss", graph->spec.name);
    if (!state->failed) graph_freeze(graph);
    if (!state->failed && graph_close_blocks(graph) && graph_derive_backward(graph)) {
        graph_count(graph);
        return graph;
    }
    if (err) *err = state->err;
    graph_destroy(graph);
    return NULL;
}
