/* Lowered graphs broken on purpose, each in one way: graph_check refuses each. */
#include <criterion/criterion.h>
#include <string.h>

#include "graph_kit.h"

static void expect_broken(const struct graph *graph, const char *what)
{
    struct error err;
    cr_expect_not(graph_check(graph, &err), "%s", what);
}

Test(graph_lower, broken_copies_of_weights_are_found)
{
    struct graph *graph = build_with("resnet-29", MODEL_OPTIONS_DEFAULT,
                                     (struct graph_options){.batch = 2, .dtype = DTYPE_F16, .lowering = LOWER_WEIGHTS});
    struct op *copy = &graph->ops[0], *conv = &graph->ops[1], saved_copy = *copy, saved_conv = *conv;
    cr_assert(copy->kind == OP_WEIGHTS_COPY && conv->kind == OP_CONV);
    struct tensor *view = &graph->tensors[conv->in[1]], *base = &graph->tensors[copy->out[0]], saved = *view;
    conv->in[1] = view->of;
    expect_broken(graph, "f32 weights");
    *conv = saved_conv;
    *copy = saved_conv;
    *conv = saved_copy;
    expect_broken(graph, "read before they are made");
    *copy = saved_copy;
    *conv = saved_conv;
    view->view_offset += 64;
    expect_broken(graph, "elsewhere in the bucket");
    *view = saved;
    view->of = base->of;
    expect_broken(graph, "of other weights");
    *view = saved;
    view->view_of = base->of;
    expect_broken(graph, "a view of the f32 bucket");
    *view = saved;
    saved = *base;
    base->dtype = DTYPE_BF16;
    expect_broken(graph, "another type");
    *base = saved;
    base->persistent = true;
    expect_broken(graph, "one that stays");
    *base = saved;
    struct error err;
    cr_expect(graph_check(graph, &err), "%s", err.text);
    graph_destroy(graph);
}

Test(graph_lower, broken_gradients_in_16_bits_are_found)
{
    struct graph *graph = build_with("resnet-29", MODEL_OPTIONS_DEFAULT,
                                     (struct graph_options){.batch = 2, .dtype = DTYPE_F16, .lowering = LOWER_ALL});
    struct op *widen = &graph->ops[graph->backward_end - 1], saved_op = *widen;
    cr_assert_eq(widen->kind, OP_GRADIENTS_WIDEN);
    struct tensor *base = &graph->tensors[widen->in[0]], saved = *base, *view = NULL;
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].view_of == widen->in[0]) view = &graph->tensors[t];
    cr_assert(view && view->view_offset);
    view->view_offset -= 64;
    expect_broken(graph, "elsewhere in the bucket");
    view->view_offset += 64;
    base->of = graph->tensors[base->of].of;
    expect_broken(graph, "of another bucket");
    *base = saved;
    widen->in[1] = graph->tensors[base->of].of;
    expect_broken(graph, "into another bucket than it reads");
    *widen = saved_op;
    struct error err;
    cr_expect(graph_check(graph, &err), "%s", err.text);
    graph_destroy(graph);
}

Test(graph_lower, broken_inputs_are_found)
{
    struct graph *graph =
        build_with("resnet-29", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2, .lowering = LOWER_INPUT});
    struct op *input = &graph->ops[0], saved = *input;
    struct tensor *pixels = &graph->tensors[graph->pixels], *placements = &graph->tensors[graph->placements];
    struct tensor *images = &graph->tensors[graph->images], kept = *pixels;
    cr_assert_eq(input->kind, OP_INPUT);
    input->in[0] = graph->placements;
    expect_broken(graph, "placements for pixels");
    *input = saved;
    input->inputs = 1;
    expect_broken(graph, "no placements");
    *input = saved;
    *input = graph->ops[1];
    graph->ops[1] = saved;
    expect_broken(graph, "images that are read before they are made");
    graph->ops[1] = *input;
    *input = saved;
    pixels->dtype = DTYPE_F32;
    pixels->bytes *= 4;
    expect_broken(graph, "pixels in f32");
    *pixels = kept;
    kept = *placements;
    placements->dims[3] = 3;
    placements->bytes = placements->bytes / 4 * 3;
    expect_broken(graph, "placements of three numbers");
    *placements = kept;
    images->class = CLASS_INPUT;
    expect_broken(graph, "images that are given too");
    images->class = CLASS_ACTIVATION;
    uint32_t tensor = graph->placements;
    graph->placements = NO_TENSOR;
    expect_broken(graph, "pixels alone");
    graph->placements = tensor;
    struct error err;
    cr_expect(graph_check(graph, &err), "%s", err.text);
    graph_destroy(graph);
}

/* graph_check sees what is wrong with lowered ops. */
Test(graph_lower, broken_ones_are_found)
{
    struct graph *graph =
        build_with("resnet-29", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2, .lowering = LOWER_ALL});
    struct error err;
    uint32_t checked = 0;
    for (uint32_t i = 0; i < graph->backward_end; i++) {
        struct op *op = &graph->ops[i], saved = *op;
        bool conv = op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
        if (!conv || op->attr.conv.fused == 0) continue;
        static const uint32_t flips[] = {CONV_NORMALIZED, CONV_ADDS, CONV_SUMS, CONV_GRADIENT, CONV_GRADIENT_SUMS};
        for (size_t k = 0; k < sizeof flips / sizeof flips[0]; k++) {
            if (!(op->attr.conv.fused & flips[k])) continue;
            op->attr.conv.fused &= ~flips[k];
            cr_expect_not(graph_check(graph, &err), "op %u without fusion %u", (unsigned)i, (unsigned)flips[k]);
            *op = saved;
            checked++;
        }
        op->stands_count = 0;
        cr_expect_not(graph_check(graph, &err));
        *op = saved;
    }
    cr_expect_gt(checked, 100);
    graph_destroy(graph);
}
