/* Every graph is consistent however much of it is lowered, and stands for all of its logical ops. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "graph_kit.h"
#include "lower.h"
#include "random_graph.h"

/* Each logical op is stood for, in its own section and layer by the ops whose main one it is. */
static void expect_stands(const struct graph *logical, const struct graph *lowered)
{
    uint8_t *stood = calloc(logical->op_count, 1);
    for (uint32_t i = 0; i < lowered->op_count; i++) {
        const struct op *op = &lowered->ops[i];
        uint32_t main_index = graph_logical_op(lowered, i);
        cr_expect_eq(main_index == NO_OP,
                     op->kind == OP_WEIGHTS_COPY || op->kind == OP_INPUT || op->kind == OP_GRADIENTS_WIDEN);
        if (main_index == NO_OP) continue;
        const struct op *main_op = &logical->ops[main_index];
        cr_expect_eq(op->pass, main_op->pass);
        cr_expect_eq(op->block, main_op->block);
        cr_expect_str_eq(lowered->layers[op->layer].path, logical->layers[main_op->layer].path);
        for (uint32_t k = 0; k < op->stands_count; k++) stood[lowered->stands[op->stands_first + k]] = 1;
    }
    for (size_t i = 0; i < logical->op_count; i++)
        cr_expect(stood[i], "%s of %s is done by nobody", op_kind_name(logical->ops[i].kind),
                  logical->layers[logical->ops[i].layer].path);
    free(stood);
}

/* What the papers count does not change. */
static void expect_same_net(const struct graph *logical, const struct graph *lowered)
{
    cr_expect_eq(logical->parameter_elements, lowered->parameter_elements);
    cr_expect_eq(logical->forward_macs, lowered->forward_macs);
    cr_expect_eq(logical->parameter_count, lowered->parameter_count);
    cr_expect_eq(logical->block_count, lowered->block_count);
    char a[TENSOR_NAME], b[TENSOR_NAME];
    for (size_t i = 0; i < logical->parameter_count; i++)
        cr_expect_str_eq(graph_tensor_name(logical, logical->parameters[i], a),
                         graph_tensor_name(lowered, lowered->parameters[i], b));
}

static void check(const struct graph *logical, uint32_t lowering)
{
    struct graph *lowered = lower(logical, lowering);
    expect_stands(logical, lowered);
    expect_same_net(logical, lowered);
    if (lowering & LOWER_BN_PARTS) cr_expect_eq(count_kind(lowered, OP_BN) + count_kind(lowered, OP_BN_BWD), 0);
    graph_destroy(lowered);
}

Test(graph_lower, random_graphs_under_every_set_of_capabilities)
{
    for (uint64_t seed = 0; seed < 600; seed++) {
        static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_F32, DTYPE_BF16};
        const struct graph_options options = {.batch = 2,
                                              .dtype = dtypes[seed / 2 % 4],
                                              .micro_batches = 1 + seed % 2,
                                              .all_reduce = seed % 3 == 0,
                                              .sync_bn = seed % 3 == 0,
                                              .bucket_bytes = seed % 5 ? 0 : 2000};
        struct graph *logical = random_graph(seed, options);
        check(logical, LOWER_ALL);
        for (uint32_t k = 0; k < 4; k++) check(logical, (uint32_t)(seed * 4 + k) % (LOWER_ALL + 1));
        graph_destroy(logical);
    }
}

Test(graph_lower, units_and_shortcuts_under_every_set_of_capabilities)
{
    static const char *const names[] = {"resnet-8", "resnet-11", "resnet-18", "resnet-50"};
    uint32_t lowering = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int unit = UNIT_ORIGINAL; unit < UNIT_KINDS; unit++)
            for (int shortcut = SHORTCUT_A; unit != UNIT_PLAIN && shortcut <= SHORTCUT_DROPOUT; shortcut++) {
                struct model_options model = MODEL_OPTIONS_DEFAULT;
                model.unit = unit;
                model.shortcut = shortcut;
                struct graph *logical = build_with(names[i], model, (struct graph_options){.batch = 2});
                check(logical, LOWER_ALL);
                for (uint32_t k = 0; k < 3; k++) check(logical, lowering++ % (LOWER_ALL + 1));
                graph_destroy(logical);
            }
}

Test(graph_lower, without_capabilities_nothing_changes)
{
    struct graph *logical = build_with("resnet-29", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2});
    struct graph *lowered = lower(logical, 0);
    cr_expect_eq(graph_hash(logical), graph_hash(lowered));
    expect_stands(logical, lowered);
    graph_destroy(lowered);
    graph_destroy(logical);
}

Test(graph_lower, hash_and_options_say_what_is_fused)
{
    uint64_t seen[LOWERINGS + 1];
    for (unsigned bit = 0; bit <= LOWERINGS; bit++) {
        struct graph *graph =
            build_with("resnet-20", MODEL_OPTIONS_DEFAULT,
                       (struct graph_options){.batch = 2, .lowering = bit < LOWERINGS ? 1u << bit : 0});
        seen[bit] = graph_hash(graph);
        for (unsigned k = 0; k < bit; k++) cr_expect_neq(seen[k], seen[bit]);
        graph_destroy(graph);
    }
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse("resnet-20", &MODEL_OPTIONS_DEFAULT, &spec, &err));
    cr_expect_null(graph_build(&spec, &(struct graph_options){.batch = 2, .lowering = LOWER_ALL + 1}, &err));
    cr_expect_not_null(strstr(err.text, "lowering"));
}

/* Bytes that stay from the forward into the backward pass: forward results that backward ops read. */
static uint64_t kept_bytes(const struct graph *graph)
{
    bool *made = calloc(graph->tensor_count, sizeof *made);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < graph->forward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++) made[graph->ops[i].out[k]] = true;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].inputs; k++) {
            uint32_t t = graph->ops[i].in[k];
            if (made[t] && graph->tensors[t].class == CLASS_ACTIVATION) bytes += graph->tensors[t].bytes;
            made[t] = false;
        }
    free(made);
    return bytes;
}

/* Gradients of BNs that take their sums themselves. */
static uint32_t count_whole(const struct graph *graph)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < graph->op_count; i++)
        count += graph->ops[i].kind == OP_BN_BWD_APPLY && graph->ops[i].attr.bn.whole;
    return count;
}

/* A pre-activation net keeps its convolutions' outputs, the additions among them, and nothing else. */
Test(graph_lower, a_preactivation_net_keeps_its_convolutions)
{
    struct graph_options options = {.batch = 2};
    struct graph *logical = build_with("resnet-164", MODEL_OPTIONS_DEFAULT, options);
    struct graph *lowered = lower(logical, LOWER_ALL);
    uint64_t convolutions = 0;
    for (uint32_t i = 0; i < lowered->forward_end; i++)
        if (lowered->ops[i].kind == OP_CONV) convolutions += lowered->tensors[lowered->ops[i].out[0]].bytes;
    cr_expect_leq(kept_bytes(lowered), convolutions + 64 * 1024);
    cr_expect_lt((double)kept_bytes(lowered), 0.5 * (double)kept_bytes(logical));
    cr_expect_eq(count_kind(lowered, OP_ADD), 0);
    cr_expect_eq(count_kind(lowered, OP_BN_SUMS), 0);
    cr_expect_eq(count_kind(lowered, OP_BN_APPLY), 1, "before the pool");
    cr_expect_eq(count_kind(lowered, OP_BN_BWD_SUMS), 0);
    cr_expect_eq(count_whole(lowered), 4, "of three shared pre-activations, and the last");
    cr_expect_eq(count_kind(lowered, OP_ADD_GRADIENT), 0, "those of the shared pre-activations too");
    cr_expect_eq(count_kind(lowered, OP_BN_BWD_APPLY), 55, "where a unit's input is normalised, and the last");
    graph_destroy(lowered);
    graph_destroy(logical);
}

/* Where gradients of weights cannot normalise what they read, it is made for them when they come: none is kept. */
Test(graph_lower, results_for_the_backward_pass_alone_are_made_in_it)
{
    static const char *const names[] = {"resnet-164", "plain-20"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct graph *logical = build_with(names[i], MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2});
        struct graph *whole = lower(logical, LOWER_ALL), *part = lower(logical, LOWER_ALL & ~LOWER_NORMALIZE_WEIGHTS);
        cr_expect_eq(kept_bytes(part), kept_bytes(whole), "%s", names[i]);
        uint32_t late = 0;
        for (uint32_t k = part->forward_end; k < part->backward_end; k++) late += part->ops[k].kind == OP_BN_APPLY;
        cr_expect_gt(late, i ? 17 : 100);
        cr_expect_eq(count_kind(part, OP_BN_APPLY), late + count_kind(whole, OP_BN_APPLY));
        graph_destroy(part);
        graph_destroy(whole);
        graph_destroy(logical);
    }
}

/* Where a BN's backward pass is one op of its own it makes them at once, and gradients of weights wait for it: but not
 * past the accumulation of their bucket. */
Test(graph_lower, a_bn_makes_its_result_again_with_its_gradient)
{
    const uint32_t lowering = LOWER_BN | LOWER_SUMS | LOWER_NORMALIZE | LOWER_ADD;
    for (uint32_t micro_batches = 1; micro_batches <= 2; micro_batches++) {
        struct graph_options options = {
            .batch = 2, .micro_batches = micro_batches, .bucket_bytes = micro_batches > 1 ? 20000 : 0};
        struct graph *logical = build_with("resnet-164", MODEL_OPTIONS_DEFAULT, options);
        struct graph *lowered = lower(logical, lowering), *whole = lower(logical, lowering | LOWER_NORMALIZE_WEIGHTS);
        uint32_t again = 0, late = 0;
        cr_expect_eq(kept_bytes(lowered), kept_bytes(whole));
        for (uint32_t i = lowered->forward_end; i < lowered->backward_end; i++) {
            const struct op *op = &lowered->ops[i];
            late += op->kind == OP_BN_APPLY;
            if (op->kind != OP_BN_BWD_APPLY || op->outputs < 4) continue;
            again++;
            cr_expect(op->attr.bn.whole && lowered->ops[i + 1].kind == OP_CONV_BWD_WEIGHTS);
            cr_expect_eq(lowered->ops[i + 1].in[0], op->out[3]);
        }
        cr_expect_eq(again + late, 162, "%u, %u: all but the one before the pool", again, late);
        cr_expect_eq(late > 0, micro_batches > 1);
        cr_expect_gt(again, 80);
        graph_destroy(whole);
        graph_destroy(lowered);
        graph_destroy(logical);
    }
}

/* As CPUs have it: gradients of data add, do ReLU's backward pass, and write what the gradient of weights after them
 * reads. */
Test(graph_lower, gradients_of_data_add_and_keep)
{
    struct graph *logical = build_with("resnet-20", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2});
    struct graph *lowered = lower(logical, LOWER_EXACT & ~LOWER_GRADIENT);
    uint32_t kept = 0, added = 0, rectified = 0;
    for (uint32_t i = lowered->forward_end; i < lowered->backward_end; i++) {
        const struct op *op = &lowered->ops[i], *next = op + 1;
        if (op->kind != OP_CONV_BWD_DATA) continue;
        struct conv_operands o = conv_operands(op);
        added += o.residual != NO_OPERAND;
        rectified += o.rectified != NO_OPERAND;
        if (o.kept == NO_OPERAND) continue;
        kept++;
        cr_expect(next->kind == OP_CONV_BWD_WEIGHTS && next->layer == op->layer);
        cr_expect_eq(next->in[1], op->out[o.kept]);
        bool alike = lowered->tensors[op->in[o.y]].bytes == lowered->tensors[op->out[0]].bytes;
        cr_expect_eq(op->in_place, alike ? 1u << o.y | 1u : 1u);
    }
    cr_expect_eq(kept, 18, "all but the stem's");
    cr_expect_eq(added, 9, "a unit's input has two readers");
    cr_expect_eq(rectified, 8, "ReLU after an addition makes the input of all units but the first");
    cr_expect_eq(count_kind(lowered, OP_ADD_GRADIENT), 0);
    cr_expect_eq(count_kind(lowered, OP_RELU_BWD), 1, "before the pool");
    cr_expect_eq(count_kind(lowered, OP_BN_BWD_APPLY), 1, "the stem's, which has no gradient of data");
    graph_destroy(lowered);
    graph_destroy(logical);
}

/* The work of the whole is that of the parts, but for gradients that two readers work out each for itself. */
Test(graph_lower, counts_are_of_what_is_done)
{
    struct graph *logical = build_with("resnet-29", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2});
    struct graph *lowered = lower(logical, LOWER_BN | LOWER_SUMS | LOWER_NORMALIZE | LOWER_ADD);
    uint64_t flops[2] = {0}, bytes[2] = {0};
    for (int i = 0; i < 2; i++) {
        const struct graph *graph = i ? lowered : logical;
        for (uint32_t k = 0; k < graph->forward_end; k++) {
            flops[i] += graph->ops[k].flops;
            bytes[i] += graph->ops[k].bytes_moved;
        }
    }
    cr_expect_lt(flops[1], flops[0] + flops[0] / 100);
    cr_expect_gt(flops[1], flops[0] - flops[0] / 100);
    cr_expect_lt(bytes[1], bytes[0]);
    graph_destroy(lowered);
    graph_destroy(logical);
}

/* Units that end in a sum and ReLU: both are done with the BN before them, and nothing is made in between. */
Test(graph_lower, a_bn_adds_and_rectifies)
{
    static const struct {
        const char *name;
        int unit;
        uint32_t additions, rectified;
    } nets[] = {{"resnet-50", UNIT_ORIGINAL, 16, 16},
                {"resnet-20", UNIT_ORIGINAL, 9, 9},
                {"resnet-20", UNIT_NO_FINAL_RELU, 9, 0},
                {"resnet-20", UNIT_RELU_BEFORE_ADD, 0, 0},
                {"resnet-29", UNIT_PREACT, 0, 0}};
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        struct model_options model = MODEL_OPTIONS_DEFAULT;
        model.unit = nets[i].unit;
        struct graph *logical = build_with(nets[i].name, model, (struct graph_options){.batch = 2});
        struct graph *plain = lower(logical, LOWER_BN), *lowered = lower(logical, LOWER_BN | LOWER_BN_ADD);
        uint32_t additions = 0, rectified = 0;
        uint64_t bytes[2] = {0};
        for (uint32_t k = 0; k < plain->forward_end; k++) bytes[0] += plain->ops[k].bytes_moved;
        for (uint32_t k = 0; k < lowered->forward_end; k++) {
            const struct op *op = &lowered->ops[k];
            bytes[1] += op->bytes_moved;
            if (op->kind != OP_BN_APPLY || op->inputs < 3) continue;
            additions++;
            rectified += op->attr.bn.relu;
            cr_expect_eq(op->stands_count, 2u + op->attr.bn.relu);
        }
        cr_expect_eq(additions, nets[i].additions, "%s: %u", nets[i].name, additions);
        cr_expect_eq(rectified, nets[i].rectified, "%s: %u", nets[i].name, rectified);
        cr_expect_eq(count_kind(lowered, OP_ADD) + additions, count_kind(logical, OP_ADD));
        cr_expect_eq(count_kind(lowered, OP_RELU) + rectified, count_kind(logical, OP_RELU));
        cr_expect_eq(lowered->op_count + additions + rectified, plain->op_count, "three ops become one");
        if (additions) cr_expect_lt((double)bytes[1], 0.95 * (double)bytes[0]);
        graph_destroy(lowered);
        graph_destroy(plain);
        graph_destroy(logical);
    }
}

static uint32_t readers_of(const struct graph *graph, uint32_t tensor)
{
    uint32_t readers = 0;
    for (uint32_t i = 0; i < graph->op_count; i++)
        for (uint32_t k = 0; k < graph->ops[i].inputs; k++) readers += graph->ops[i].in[k] == tensor;
    return readers;
}

/* One op a bucket, at the head; all that multiply read its views, and everything else reads f32. */
static void check_copies(const char *name, struct graph_options options, uint32_t buckets)
{
    struct graph *logical = build_with(name, MODEL_OPTIONS_DEFAULT, options);
    struct graph *lowered = lower(logical, LOWER_WEIGHTS);
    uint32_t count = count_kind(lowered, OP_WEIGHTS_COPY);
    cr_expect(buckets ? count == buckets : count > 2, "%s: %u copies", name, count);
    cr_expect_eq(lowered->op_count, logical->op_count + count);
    uint64_t spared = 0;
    for (uint32_t i = 0; i < lowered->op_count; i++) {
        const struct op *op = &lowered->ops[i];
        cr_expect_eq(op->kind == OP_WEIGHTS_COPY, i < count);
        if (i < count) cr_expect_eq(op->bytes_moved, lowered->tensors[op->in[0]].bytes / 2 * 3);
        if (i >= count) spared += logical->ops[i - count].bytes_moved - op->bytes_moved;
    }
    uint64_t read = 0;
    for (size_t p = 0; p < lowered->parameter_count; p++) {
        uint32_t parameter = lowered->parameters[p];
        const struct tensor *t = &lowered->tensors[parameter];
        cr_expect_eq(t->dtype, DTYPE_F32);
        cr_expect_eq(readers_of(lowered, parameter), t->role == ROLE_WEIGHT ? 0 : readers_of(logical, parameter));
        if (t->role == ROLE_WEIGHT) read += t->bytes / 2 * readers_of(logical, logical->parameters[p]);
    }
    cr_expect_eq(spared, read, "half the bytes of all weights that are read");
    graph_destroy(lowered);
    graph_destroy(logical);
}

Test(graph_lower, weights_are_copied_once)
{
    check_copies("resnet-29", (struct graph_options){.batch = 2, .dtype = DTYPE_F16}, 1);
    check_copies("vgg-a", (struct graph_options){.batch = 2, .dtype = DTYPE_BF16}, 1);
    check_copies("resnet-29", (struct graph_options){.batch = 2, .dtype = DTYPE_F16, .bucket_bytes = 100000}, 0);
    struct graph *logical = build_with("resnet-29", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2});
    struct graph *lowered = lower(logical, LOWER_WEIGHTS);
    cr_expect_eq(lowered->op_count, logical->op_count, "f32 weights are read as they are");
    cr_expect_eq(lowered->tensor_count, logical->tensor_count);
    graph_destroy(lowered);
    graph_destroy(logical);
}

/* The first op of the first block makes images, which then are a result like others: their bytes come in. */
Test(graph_lower, images_are_made_of_bytes)
{
    static const char *const names[] = {"resnet-29", "resnet-18", "vgg-a"};
    for (size_t i = 0; i < 3; i++) {
        struct graph *logical =
            build_with(names[i], MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2, .dtype = DTYPE_F16});
        struct graph *lowered = lower(logical, LOWER_INPUT);
        cr_assert_eq(count_kind(lowered, OP_INPUT), 1);
        const struct op *input = &lowered->ops[lowered->blocks[0].first];
        cr_expect_eq(input->kind, OP_INPUT);
        cr_expect_eq(input->block, 0);
        cr_expect_eq(lowered->op_count, logical->op_count + 1);
        cr_expect_eq(readers_of(lowered, lowered->images), readers_of(logical, logical->images));
        const struct tensor *images = &lowered->tensors[lowered->images], *pixels = &lowered->tensors[lowered->pixels];
        cr_expect_eq(images->class, CLASS_ACTIVATION);
        cr_expect_eq(images->dtype, DTYPE_F16);
        cr_expect_eq(2 * pixels->bytes, images->bytes);
        cr_expect_eq(graph_loaded_bytes(lowered), pixels->bytes / 2 + 20);
        cr_expect_eq(graph_loaded_bytes(logical), 4 * pixels->bytes / 2 + 4);
        cr_expect_eq(logical->pixels, NO_TENSOR);
        char name[TENSOR_NAME];
        cr_expect_str_eq(graph_tensor_name(lowered, lowered->pixels, name), "input.pixels");
        cr_expect_str_eq(graph_tensor_name(lowered, lowered->placements, name), "input.placements");
        graph_destroy(lowered);
        graph_destroy(logical);
    }
}

/* Images that later blocks read are given as ever: nothing but one result may cross from block to block. */
Test(graph_lower, images_that_cross_blocks_are_given)
{
    struct graph *g = begin_net(4, (struct graph_options){.batch = 2});
    graph_set_layer(g, 0, "net");
    graph_begin_block(g);
    uint32_t x = graph_add_conv(g, g->images, 3, 3, 1, false);
    graph_begin_block(g);
    x = graph_add_add(g, graph_add_conv(g, x, 3, 3, 1, false), g->images);
    graph_add_softmax_loss(g, graph_add_fc(g, x, 10));
    g = finish_net(g);
    struct graph *lowered = lower(g, LOWER_INPUT);
    cr_expect_eq(count_kind(lowered, OP_INPUT), 0);
    cr_expect_eq(lowered->pixels, NO_TENSOR);
    cr_expect_eq(lowered->tensors[lowered->images].class, CLASS_INPUT);
    graph_destroy(lowered);
    graph_destroy(g);
}

/* One op for each bucket of gradients that convolutions write in 16 bits, when all of the bucket's are made. */
static void check_half_gradients(struct graph_options options, uint32_t widened)
{
    struct graph *logical = build_with("resnet-29", MODEL_OPTIONS_DEFAULT, options);
    struct graph *exact = lower(logical, LOWER_EXACT), *half = lower(logical, LOWER_ALL);
    uint32_t halves = 0, singles = 0;
    cr_expect_eq(count_kind(half, OP_GRADIENTS_WIDEN), widened);
    cr_expect_eq(half->op_count, exact->op_count + widened);
    for (uint32_t i = half->forward_end; i < half->backward_end; i++) {
        const struct op *op = &half->ops[i];
        const struct tensor *made = &half->tensors[op->out[0]];
        if (op->kind == OP_CONV_BWD_WEIGHTS) {
            cr_expect_eq(made->dtype, op->attr.conv.fused & CONV_NORMALIZED ? options.dtype : DTYPE_F32);
            halves += made->dtype != DTYPE_F32;
            singles += made->dtype == DTYPE_F32;
        }
        if (op->kind != OP_GRADIENTS_WIDEN) continue;
        const struct tensor *from = &half->tensors[op->in[0]];
        cr_expect_eq(from->bytes * 2, made->bytes);
        cr_expect_eq(from->of, op->out[0]);
        for (uint32_t k = i + 1; k < half->backward_end; k++)
            for (uint32_t o = 0; o < half->ops[k].outputs; o++)
                cr_expect_neq(half->tensors[half->ops[k].out[o]].view_of, op->out[0], "a gradient is made after it");
    }
    cr_expect(halves == 30 && singles == 1, "%u, %u: the stem reads no BN", halves, singles);
    graph_destroy(half);
    graph_destroy(exact);
    graph_destroy(logical);
}

Test(graph_lower, gradients_in_16_bits_are_widened_bucket_by_bucket)
{
    check_half_gradients((struct graph_options){.batch = 2, .dtype = DTYPE_F16}, 1);
    check_half_gradients((struct graph_options){.batch = 2, .dtype = DTYPE_BF16, .micro_batches = 2}, 1);
    struct graph *logical = build_with("resnet-29", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 2});
    struct graph *exact = lower(logical, LOWER_EXACT), *half = lower(logical, LOWER_ALL);
    cr_expect_eq(exact->op_count, half->op_count, "in f32 there is nothing to widen");
    graph_destroy(half);
    graph_destroy(exact);
    graph_destroy(logical);
}
