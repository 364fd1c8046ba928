/* What PyTorch's eager mode keeps and takes: against what PyTorch itself says, against figures by hand, and against
 * peaks that were measured. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph_kit.h"
#include "machine.h"
#include "mem.h"
#include "torch_step.h"
#include "torch_workspace.h"

#define MIB 1048576.0

static struct graph *build_whole(const char *model, uint32_t batch)
{
    return build_with(model, MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = batch, .micro_batches = 1});
}

static struct torch_memory walk(const struct graph *graph, const struct torch_options *options)
{
    struct torch_memory memory;
    struct error err = {0};
    cr_assert(torch_step_memory(graph, options, &memory, &err), "%s", err.text);
    return memory;
}

/* Distinct storages seen by torch.autograd.graph.saved_tensors_hooks, without parameters and buffers, in PyTorch 2.15
 * with the models of torchvision 0.29 on 2 images; bf16 under torch.autocast. Of the VGGs' 249,856 bytes are left out:
 * an adaptive pool from 7 x 7 to 7 x 7 keeps its input, and without CUDA dropout's masks are floats. */
Test(torch_step, autograd_keeps_what_pytorch_says_that_it_keeps)
{
    static const struct {
        const char *model;
        enum dtype dtype;
        uint64_t saved_bytes;
    } rows[] = {
        {"resnet-18", DTYPE_F32, 44406100},       {"resnet-34", DTYPE_F32, 64506196},
        {"resnet-50", DTYPE_F32, 172039508},      {"resnet-101", DTYPE_F32, 254135636},
        {"resnet-152", DTYPE_F32, 355474772},     {"vgg-a", DTYPE_F32, 97746772 - 249856},
        {"vgg-d", DTYPE_F32, 146718548 - 249856}, {"resnet-18", DTYPE_BF16, 47189716},
        {"resnet-50", DTYPE_BF16, 138741460},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct graph *graph = build_whole(rows[i].model, 2);
        const struct torch_options options = {.dtype = rows[i].dtype};
        struct torch_memory memory = walk(graph, &options);
        cr_expect_eq(memory.saved_bytes, rows[i].saved_bytes, "%s %s: %lu instead of %lu", rows[i].model,
                     dtype_name(rows[i].dtype), (unsigned long)memory.saved_bytes, (unsigned long)rows[i].saved_bytes);
        graph_destroy(graph);
    }
}

/* The most bytes of live storages over three steps of such a script in PyTorch 2.15 (meta device; a TorchDispatchMode
 * that sees every op's results): the order of all tensors' making and letting go is PyTorch's. At 16 images VGG's peak
 * is the forward pass's, without what is said above. bf16: under torch.autocast on fake tensors, whose batch
 * normalisations keep mean and deviation in bf16: 4 bytes a channel less than real ones. */
Test(torch_step, tensors_peak_where_pytorchs_do)
{
    static const struct {
        const char *model;
        uint32_t batch;
        enum dtype dtype;
        uint64_t peak_bytes;
    } rows[] = {
        {"resnet-18", 2, DTYPE_F32, 188282996},
        {"resnet-18", 16, DTYPE_F32, 495356684},
        {"resnet-34", 2, DTYPE_F32, 350043380},
        {"resnet-34", 16, DTYPE_F32, 777277324},
        {"resnet-50", 2, DTYPE_F32, 478944804},
        {"resnet-50", 16, DTYPE_F32, 1681789972},
        {"resnet-101", 2, DTYPE_F32, 789155772},
        {"resnet-101", 16, DTYPE_F32, 2565211564},
        {"resnet-152", 2, DTYPE_F32, 1078403412},
        {"resnet-152", 16, DTYPE_F32, 3562542916},
        {"vgg-d", 2, DTYPE_F32, 2214932948},
        {"vgg-d", 16, DTYPE_F32, 2834102892 - 8 * 249856},
        {"resnet-18", 2, DTYPE_BF16, 188701452 + 4 * 4800},
        {"resnet-18", 16, DTYPE_BF16, 363769436 + 4 * 4800},
        {"resnet-50", 2, DTYPE_BF16, 446750740 + 4 * 26560},
        {"resnet-50", 16, DTYPE_BF16, 1067926372 + 4 * 26560},
        {"resnet-152", 16, DTYPE_BF16, 2285389460 + 4 * 75712},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct graph *graph = build_whole(rows[i].model, rows[i].batch);
        struct torch_memory memory = walk(graph, &(struct torch_options){.dtype = rows[i].dtype});
        cr_expect_eq(memory.peak_tensor_bytes, rows[i].peak_bytes, "%s %u: %lu instead of %lu", rows[i].model,
                     rows[i].batch, (unsigned long)memory.peak_tensor_bytes, (unsigned long)rows[i].peak_bytes);
        graph_destroy(graph);
    }
}

/* ---- By hand ---- */

/* One 3 x 3 convolution to 64 channels, BN with ReLU, a sum with a 1 x 1 convolution of the same, a mean and a
 * classifier, on 64 images of 32 x 32. */
static struct graph *build_small(void)
{
    struct model_spec spec = spec_of("resnet-20", MODEL_OPTIONS_DEFAULT);
    const struct graph_options options = {.batch = 64, .micro_batches = 1};
    struct error err = {0};
    struct graph *graph = graph_begin(&spec, &options, &err);
    cr_assert(graph, "%s", err.text);
    graph_set_layer(graph, 0, "all");
    graph_begin_block(graph);
    uint32_t x = graph_add_conv(graph, graph->images, 64, 3, 1, false);
    x = graph_add_bn(graph, x, true);
    uint32_t branch = graph_add_conv(graph, x, 64, 1, 1, false);
    x = graph_add_add(graph, branch, x);
    x = graph_add_avgpool(graph, x, 0, 1, 0);
    x = graph_add_fc(graph, x, 10);
    graph_add_softmax_loss(graph, x);
    graph = graph_finish(graph, &err);
    cr_assert(graph, "%s", err.text);
    return graph;
}

/* In units of 512 bytes. An activation of 64 x 32 x 32 x 64 floats is 16 MiB = 32768; the images are 768 KiB = 1536.
 *
 * What lasts: weights 64 x 27 (13.5, so 14), 64 x 64 (32), gamma, beta, mean, variance 1 each, the counter 1, 64 x 10
 * (5), the bias 1: 57 with the images' labels (1): 58, and 1536 of images.
 *
 * The peak comes in the second step, in the backward pass of the second convolution: its input (which the ReLU kept
 * too) and the first convolution's output: 2 x 32768, its gradient, which the shortcut holds too, 32768, its input's
 * gradient 32768. Mean and deviation 2; the last logits 5 (64 x 10 floats), the loss 1. Momenta: 14 + 32 + 1 + 1 + 5 +
 * 1 = 54. Gradients by then: 32 + 5 + 1 = 38. The next images and labels replace the last ones, which are gone.
 *
 * Before that the mean's gradient was made beside the two: less. */
Test(torch_step, a_small_step_by_hand)
{
    struct graph *graph = build_small();
    struct torch_memory memory = walk(graph, &(struct torch_options){0});
    cr_expect_eq(memory.peak_allocated_bytes / 512, 58 + 1536 + 4 * 32768 + 2 + 5 + 1 + 54 + 38, "%lu",
                 (unsigned long)memory.peak_allocated_bytes / 512);
    /* Kept: the images, the first convolution's output, the BN's result (by three, as one), mean and deviation, what
     * the classifier reads, logarithms, the sum of weights, labels. */
    cr_expect_eq(memory.saved_bytes,
                 (768u << 10) + 2 * (16u << 20) + 2 * 64 * 4 + 64 * 64 * 4 + 64 * 10 * 4 + 4 + 64 * 8);
    /* Large segments: 4 of 16 MiB, each taken whole. Small ones: while the next images come both are there, 3072 units,
     * and what lasts beside them is below the 1024 that a segment of 2 MiB has left. */
    cr_expect_eq(memory.peak_reserved_bytes, (4 * 16 + 2ull) << 20, "%lu", (unsigned long)memory.peak_reserved_bytes);
    cr_expect_eq(memory.parameter_bytes, 4 * graph->parameter_elements);
    graph_destroy(graph);
}

/* ---- Out of memory ---- */

static struct torch_memory walk_within(const struct graph *graph, uint64_t most_bytes)
{
    const struct torch_options options = {.most_bytes = most_bytes};
    return walk(graph, &options);
}

Test(torch_step, it_ends_in_as_much_as_it_reserves_and_gives_back_what_is_cached_before_it_does_not)
{
    struct graph *graph = build_whole("resnet-50", 16);
    struct torch_memory free = walk_within(graph, 0);
    cr_expect_not(free.out_of_memory);
    cr_expect_eq(free.given_back, 0);
    cr_expect_lt(free.peak_allocated_bytes, free.peak_reserved_bytes);
    struct torch_memory same = walk_within(graph, free.peak_reserved_bytes);
    cr_expect_not(same.out_of_memory);
    cr_expect_eq(same.given_back, 0);
    struct torch_memory less = walk_within(graph, free.peak_reserved_bytes - (4u << 20));
    cr_expect_gt(less.given_back, 0);
    cr_expect(walk_within(graph, free.peak_allocated_bytes - 1).out_of_memory);
    graph_destroy(graph);
}

static bool ask_too_much(void *context, const struct graph *graph, const struct op *op, enum torch_pass pass,
                         enum dtype dtype, uint64_t *bytes, struct error *err)
{
    (void)context, (void)graph, (void)op, (void)pass, (void)dtype, (void)err;
    *bytes = 1ull << 40;
    return true;
}

Test(torch_step, a_workspace_for_which_there_is_no_room_is_done_without)
{
    struct graph *graph = build_whole("resnet-18", 4);
    const struct torch_options options = {.most_bytes = 1ull << 30, .workspace = ask_too_much};
    struct torch_memory memory = walk(graph, &options);
    cr_expect_not(memory.out_of_memory);
    cr_expect_eq(memory.workspace_bytes, 0);
    cr_expect_gt(memory.given_back, 0);
    graph_destroy(graph);
}

/* ---- Faults ---- */

Test(torch_step, a_failed_allocation_is_told_and_leaves_nothing)
{
    struct graph *graph = build_small();
    const struct torch_options options = {.dtype = DTYPE_F16};
    for (uint64_t n = 1;; n++) {
        struct torch_memory memory;
        struct error err = {0};
        uint64_t before = mem_current_bytes(MEM_PLAN);
        mem_fail_at(n);
        bool ok = torch_step_memory(graph, &options, &memory, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), before, "allocation %lu", (unsigned long)n);
        if (ok) {
            cr_expect_gt(n, 10);
            break;
        }
        cr_assert_eq(err.kind, ERROR_MEMORY, "allocation %lu", (unsigned long)n);
    }
    graph_destroy(graph);
}

/* ---- Everything that can be built ---- */

Test(torch_step, every_form_of_unit_ends_where_it_began)
{
    static const char *const models[] = {"resnet-20", "resnet-110", "plain-20", "resnet-164", "vgg-a"};
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++)
        for (int unit = -1; unit <= (m < 2 ? UNIT_RELU_ONLY_PREACT : -1); unit++)
            for (int shortcut = -1; shortcut <= (m < 2 && unit == -1 ? SHORTCUT_DROPOUT : -1); shortcut++) {
                struct model_options overrides = MODEL_OPTIONS_DEFAULT;
                overrides.unit = unit;
                overrides.shortcut = shortcut;
                struct graph *graph =
                    build_with(models[m], overrides, (struct graph_options){.batch = 3, .micro_batches = 1});
                struct torch_memory memory = walk(graph, &(struct torch_options){0});
                cr_expect_geq(memory.peak_allocated_bytes, memory.saved_bytes + 3 * memory.parameter_bytes, "%s",
                              models[m]);
                cr_expect_lt(memory.steps, 8, "%s", models[m]);
                graph_destroy(graph);
            }
}
