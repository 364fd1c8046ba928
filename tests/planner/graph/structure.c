/* Every variation of every family is a consistent graph; its backward pass, blocks and buckets are what they must be.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "forms_kit.h"
#include "graph_kit.h"

Test(graph_structure, every_unit_and_shortcut_on_every_family)
{
    static const char *const names[] = {"resnet-8", "resnet-20", "resnet-29", "resnet-18", "resnet-50"};
    uint64_t seen[sizeof names / sizeof names[0] * 64];
    size_t count = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int unit = UNIT_ORIGINAL; unit < UNIT_KINDS; unit++)
            for (int shortcut = SHORTCUT_A; unit != UNIT_PLAIN && shortcut <= SHORTCUT_DROPOUT; shortcut++) {
                struct model_options options = MODEL_OPTIONS_DEFAULT;
                options.unit = unit;
                options.shortcut = shortcut;
                struct graph *graph = build_with(names[i], options, (struct graph_options){.batch = 2});
                expect_sound(graph);
                seen[count++] = graph_hash(graph);
                for (size_t k = 0; k + 1 < count; k++) cr_expect_neq(seen[k], seen[count - 1]);
                graph_destroy(graph);
            }
}

/* Three units in resnet-8 and resnet-11, two of which change the shape. */
Test(graph_structure, numbers_of_a_form_make_its_ops)
{
    static const struct {
        uint32_t adds, scales, dropouts, pads;
    } wanted[FORMS] = {
        [0] = {0, 0, 0, 0},  [1] = {3, 3, 0, 2},  [2] = {3, 6, 0, 2},  [3] = {3, 6, 0, 3},  [4] = {0, 3, 0, 0},
        [5] = {3, 3, 0, 2},  [6] = {3, 3, 0, 2},  [7] = {3, 3, 0, 2},  [8] = {3, 3, 0, 3},  [9] = {3, 0, 3, 2},
        [10] = {3, 0, 0, 2}, [11] = {3, 0, 0, 0}, [12] = {3, 0, 0, 0}, [13] = {3, 0, 0, 0}, [14] = {3, 0, 0, 2},
        [15] = {3, 0, 0, 0}, [16] = {3, 0, 0, 2}};
    for (size_t i = 0; i < FORMS; i++) {
        struct model_spec spec = form_spec(i, 0);
        struct error err = {0};
        struct graph *graph = graph_build(&spec, &(struct graph_options){.batch = 2}, &err);
        cr_assert_not_null(graph, "%s", err.text);
        expect_sound(graph);
        cr_expect_eq(count_kind(graph, OP_ADD), wanted[i].adds, "form %zu", i);
        cr_expect_eq(count_kind(graph, OP_SCALE), wanted[i].scales, "form %zu", i);
        cr_expect_eq(count_kind(graph, OP_DROPOUT), wanted[i].dropouts, "form %zu", i);
        cr_expect_eq(count_kind(graph, OP_SHORTCUT_PAD), wanted[i].pads, "form %zu", i);
        for (size_t k = 0; k < graph->op_count; k++) {
            const struct op *op = &graph->ops[k];
            if (op->kind == OP_DROPOUT) cr_expect_eq(op->attr.dropout.drop, (float)spec.number[NUMBER_DROPOUT]);
            if (op->kind == OP_CONV && op->attr.conv.kernel[0] == 3 && spec.bottleneck && op->attr.conv.stride == 2)
                cr_expect_eq(spec.stride_in, STRIDE_IN_3X3);
        }
        graph_destroy(graph);
    }
}

/* Files of earlier versions name graphs by what there was then. */
Test(graph_structure, numbers_count_in_a_graphs_hash_where_they_are_not_the_usual)
{
    uint64_t seen[FORMS];
    struct model_options usual = MODEL_OPTIONS_DEFAULT, told = MODEL_OPTIONS_DEFAULT;
    usual.shortcut = told.shortcut = SHORTCUT_SCALING;
    told.number[NUMBER_SHORTCUT_SCALE] = told.number[NUMBER_BRANCH_SCALE] = 0.5;
    struct graph *a = build_with("resnet-8", usual, (struct graph_options){.batch = 2});
    struct graph *b = build_with("resnet-8", told, (struct graph_options){.batch = 2});
    cr_expect_eq(graph_hash(a), graph_hash(b));
    graph_destroy(a);
    graph_destroy(b);
    for (size_t i = 0; i < FORMS; i++) {
        struct model_spec spec = form_spec(i, 0);
        struct graph *graph = graph_build(&spec, &(struct graph_options){.batch = 2}, NULL);
        cr_assert_not_null(graph);
        seen[i] = graph_hash(graph);
        for (size_t k = 0; k < i; k++) cr_expect_neq(seen[k], seen[i], "forms %zu and %zu", k, i);
        graph_destroy(graph);
    }
}

/* Sides that are halved to odd numbers, on one side alone too. */
Test(graph_structure, inception_nets_of_any_size)
{
    static const uint32_t sizes[][2] = {{224, 0}, {107, 0}, {96, 128}, {107, 224}, {230, 75}, {299, 0}};
    static const char *const names[] = {"bn-inception", "inception-v3"};
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
        struct model_options options = MODEL_OPTIONS_DEFAULT;
        options.image_size = sizes[i / 2][0];
        options.image_width = sizes[i / 2][1];
        struct graph *graph = build_with(names[i % 2], options, (struct graph_options){.batch = 2});
        expect_sound(graph);
        graph_destroy(graph);
    }
}

Test(graph_structure, plain_and_vgg_nets_on_both_datasets)
{
    static const char *const names[] = {"plain-20", "plain-34", "plain-50", "vgg-a", "vgg-d"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct graph *graph = build(names[i], 1);
        expect_sound(graph);
        for (uint32_t k = 0; k < graph->op_count; k++)
            cr_expect(graph->ops[k].kind != OP_ADD && graph->ops[k].kind != OP_ADD_GRADIENT);
        graph_destroy(graph);
    }
    struct model_options cifar = MODEL_OPTIONS_DEFAULT;
    cifar.dataset = DATASET_CIFAR10;
    struct graph *graph = build_with("vgg-a", cifar, (struct graph_options){.batch = 4});
    expect_sound(graph);
    cr_expect_eq(graph->parameter_elements, 9220480 + 512 * 10 + 10);
    graph_destroy(graph);
}

/* The stem halves twice, stages two to four halve once more; any size in between works too. */
Test(graph_structure, own_image_sizes_and_classes)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    for (uint32_t size = 32; size < 50; size++) {
        options.image_size = size;
        options.classes = size;
        struct graph *graph = build_with("resnet-18", options, (struct graph_options){.batch = 3});
        expect_sound(graph);
        graph_destroy(graph);
    }
    options.dataset = DATASET_CIFAR10;
    options.image_size = 9;
    struct graph *graph = build_with("resnet-20", options, (struct graph_options){.batch = 3});
    expect_sound(graph);
    graph_destroy(graph);
}

Test(graph_structure, preact_net_has_the_papers_ops)
{
    struct graph *graph = build("resnet-164", 2);
    cr_expect_eq(count_kind(graph, OP_CONV), 1 + 54 * 3 + 3, "stem, three a unit, three projections");
    cr_expect_eq(count_kind(graph, OP_BN), 54 * 3 + 1, "none after the stem, one before the pool");
    cr_expect_eq(count_kind(graph, OP_RELU), 0);
    cr_expect_eq(count_kind(graph, OP_ADD), 54);
    cr_expect_eq(count_kind(graph, OP_ADD_GRADIENT), 54, "every unit's input is read twice, or its pre-activation");
    cr_expect_eq(count_kind(graph, OP_CONV_BWD_DATA), count_kind(graph, OP_CONV) - 1, "no gradient to the images");
    cr_expect_eq(graph->block_count, 1 + 54 + 1);
    cr_expect_eq(graph->ops[0].kind, OP_CONV);
    cr_expect_eq(graph->ops[1].kind, OP_BN);
    graph_destroy(graph);
}

Test(graph_structure, original_net_has_the_papers_ops)
{
    struct graph *graph = build("resnet-20", 2);
    cr_expect_eq(count_kind(graph, OP_CONV), 19);
    cr_expect_eq(count_kind(graph, OP_BN), 19);
    cr_expect_eq(count_kind(graph, OP_RELU), 9);
    cr_expect_eq(count_kind(graph, OP_SHORTCUT_PAD), 2);
    cr_expect_eq(graph->block_count, 11);
    graph_destroy(graph);
    graph = build("resnet-50", 1);
    cr_expect_eq(count_kind(graph, OP_CONV), 1 + 48 + 4);
    cr_expect_eq(count_kind(graph, OP_BN), 1 + 48 + 4);
    cr_expect_eq(graph->block_count, 18);
    uint32_t strides[2] = {0, 0};
    for (uint32_t i = 1; i < graph->forward_end; i++) {
        const struct op *op = &graph->ops[i];
        const char *path = graph->layers[op->layer].path;
        if (op->kind == OP_CONV && op->attr.conv.stride == 2 && !strstr(path, "shortcut"))
            strides[op->attr.conv.kernel[0] == 3]++;
    }
    cr_expect_eq(strides[0], 0);
    cr_expect_eq(strides[1], 3, "stride on the 3x3 on ImageNet");
    graph_destroy(graph);
}

/* 2 x N x H x W x K x R x S x C, by hand for the stem of ResNet-50: and each backward half the same. */
Test(graph_structure, a_convolutions_counts_by_hand)
{
    struct graph *graph = build("resnet-50", 4);
    const struct op *op = &graph->ops[0];
    uint64_t flops = 2ull * 4 * 112 * 112 * 64 * 7 * 7 * 3;
    cr_expect_eq(op->flops, flops);
    cr_expect_eq(op->bytes_moved, 4ull * (4 * 224 * 224 * 3 + 64 * 7 * 7 * 3 + 4 * 112 * 112 * 64));
    size_t count = 0;
    cr_expect_eq(find_backward(graph, 0, OP_CONV_BWD_WEIGHTS, &count)->flops, flops);
    cr_expect_eq(count, 1);
    graph_destroy(graph);
    graph = build("resnet-20", 5);
    for (uint32_t i = 1; i < graph->forward_end; i++) {
        if (graph->ops[i].kind != OP_CONV) continue;
        count = 0;
        cr_expect_eq(find_backward(graph, i, OP_CONV_BWD_DATA, &count)->flops, graph->ops[i].flops);
        cr_expect_eq(find_backward(graph, i, OP_CONV_BWD_WEIGHTS, &count)->flops, graph->ops[i].flops);
        cr_expect_eq(count, 2);
    }
    graph_destroy(graph);
}

Test(graph_structure, activations_take_the_dtype_and_parameters_stay_f32)
{
    struct graph *graph =
        build_with("resnet-20", MODEL_OPTIONS_DEFAULT, (struct graph_options){.batch = 4, .dtype = DTYPE_BF16});
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct tensor *t = &graph->tensors[i];
        if (t->role == ROLE_OUTPUT && t->dims[1] > 1) cr_expect_eq(t->dtype, DTYPE_BF16);
        if (t->class == CLASS_WEIGHT || t->class == CLASS_GRADIENT || t->class == CLASS_OPTIMIZER ||
            t->class == CLASS_STATISTIC)
            cr_expect_eq(t->dtype, DTYPE_F32);
    }
    cr_expect_eq(graph->tensors[graph->ops[0].out[0]].bytes, 2ull * 4 * 32 * 32 * 16);
    graph_destroy(graph);
}

static char *hash_key(uint64_t hash, char out[17])
{
    snprintf(out, 17, "%016lx", (unsigned long)hash);
    return out;
}

Test(graph_structure, hash_changes_with_every_option)
{
    const struct graph_options base = {.batch = 4};
    struct graph_options changed[] = {base, base, base, base, base, base, base, base, base};
    changed[1].batch = 5;
    changed[2].micro_batches = 2;
    changed[3].step_images = 8;
    changed[4].dtype = DTYPE_F16;
    changed[5].all_reduce = true;
    changed[6].sync_bn = true;
    changed[7].bucket_bytes = 1 << 18;
    changed[8].bn_group = 2;
    struct model_options model = MODEL_OPTIONS_DEFAULT;
    uint64_t hashes[12];
    size_t count = 0;
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        struct graph *graph = build_with("resnet-20", model, changed[i]);
        hashes[count++] = graph_hash(graph);
        graph_destroy(graph);
    }
    model.classes = 11;
    struct graph *graph = build_with("resnet-20", model, base);
    hashes[count++] = graph_hash(graph);
    graph_destroy(graph);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++) {
            char a[17], b[17];
            cr_expect_neq(hashes[i], hashes[k], "%zu and %zu: %s %s", i, k, hash_key(hashes[i], a),
                          hash_key(hashes[k], b));
        }
    graph = build_with("resnet-20", MODEL_OPTIONS_DEFAULT,
                       (struct graph_options){.batch = 4, .micro_batches = 1, .step_images = 4});
    cr_expect_eq(graph_hash(graph), hashes[0], "defaults spelled out are the same graph");
    graph_destroy(graph);
}

Test(graph_structure, tensors_have_names)
{
    struct graph *graph = build("resnet-20", 1);
    char name[TENSOR_NAME];
    cr_expect_str_eq(graph_tensor_name(graph, graph->images, name), "input.images");
    cr_expect_str_eq(graph_tensor_name(graph, graph->parameters[0], name), "stem/conv.weight");
    cr_expect_str_eq(graph_tensor_name(graph, graph->metrics, name), "head/loss.metrics");
    const struct op *last = &graph->ops[graph->op_count - 1];
    cr_expect_str_eq(graph_tensor_name(graph, last->in[0], name), "bucket0.weights");
    cr_expect_str_eq(graph_tensor_name(graph, last->in[1], name), "bucket0.weights.gradient");
    cr_expect_str_eq(graph_tensor_name(graph, last->in[2], name), "bucket0.momentum");
    size_t found = 0;
    for (uint32_t i = 0; i < graph->tensor_count; i++)
        found += strcmp(graph_tensor_name(graph, i, name), "stage2/unit1/conv1.weight.gradient") == 0;
    cr_expect_eq(found, 1);
    graph_destroy(graph);
}

/* Parameters and their gradients in the order of backward, without overlap, and equal layouts of all four buckets. */
static void expect_buckets(const struct graph *graph, uint64_t bucket_bytes)
{
    uint64_t covered = 0, end = 0;
    uint32_t bucket = NO_TENSOR;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++) {
        const struct op *op = &graph->ops[i];
        for (uint32_t k = 0; k < op->outputs; k++) {
            const struct tensor *g = &graph->tensors[op->out[k]];
            if (g->class != CLASS_GRADIENT || g->role == ROLE_BUCKET) continue;
            const struct tensor *w = &graph->tensors[g->of];
            if (w->view_of != bucket) end = 0;
            bucket = w->view_of;
            cr_expect(g->view_offset >= end && g->view_offset < end + 64 && g->view_offset % 64 == 0);
            cr_expect_eq(g->view_offset, w->view_offset);
            end = g->view_offset + g->bytes;
            cr_expect_eq(graph->tensors[g->view_of].bytes, graph->tensors[w->view_of].bytes);
            if (bucket_bytes > 147456) cr_expect_leq(end, bucket_bytes);
            covered += g->bytes;
        }
    }
    cr_expect_eq(covered, graph->parameter_elements * 4);
    for (uint32_t i = graph->comm_end; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        cr_assert_eq(op->kind, OP_UPDATE);
        cr_expect_eq(graph->tensors[op->in[0]].bytes, graph->tensors[op->in[1]].bytes);
        cr_expect_eq(graph->tensors[op->in[0]].bytes, graph->tensors[op->in[2]].bytes);
        cr_expect_eq(graph->tensors[op->in[1]].of, op->in[0]);
        cr_expect_eq(graph->tensors[op->in[2]].of, op->in[0]);
        cr_expect(op->out[0] == op->in[0] && op->out[1] == op->in[2]);
    }
}

Test(graph_structure, buckets_follow_the_order_of_backward)
{
    static const uint64_t sizes[] = {0, 1, 4096, 100000, 1 << 20, 25 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct graph *graph =
            build_with("resnet-20", MODEL_OPTIONS_DEFAULT,
                       (struct graph_options){.batch = 1, .all_reduce = true, .bucket_bytes = sizes[i]});
        expect_sound(graph);
        expect_buckets(graph, sizes[i]);
        uint32_t updates = count_kind(graph, OP_UPDATE);
        cr_expect_eq(count_kind(graph, OP_ALL_REDUCE), updates);
        if (sizes[i] == 0 || sizes[i] >= 4 << 20) cr_expect_eq(updates, 1);
        if (sizes[i] == 1) cr_expect_eq(updates, 19 + 19 + 1, "one for each op with parameters");
        if (sizes[i] == 1 << 20) cr_expect_eq(updates, 2, "1.03 MiB of gradients");
        graph_destroy(graph);
    }
}

/* Nothing is added to graphs in f32 and bf16; in f16 every bucket is checked once, after its reduction. */
Test(graph_structure, the_loss_has_a_scale_in_f16)
{
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        bool scaled = dtype == DTYPE_F16;
        struct graph *graph =
            build_with("resnet-20", MODEL_OPTIONS_DEFAULT,
                       (struct graph_options){.batch = 2, .all_reduce = true, .bucket_bytes = 200000, .dtype = dtype});
        expect_sound(graph);
        uint32_t updates = count_kind(graph, OP_UPDATE);
        cr_expect_eq(graph->loss_scale != NO_TENSOR, scaled);
        cr_expect_eq(count_kind(graph, OP_GRADIENT_CHECK), scaled ? updates : 0);
        cr_expect_eq(count_kind(graph, OP_LOSS_SCALE_UPDATE), scaled);
        cr_expect_eq(graph->op_count - graph->comm_end, scaled ? 2 * updates + 1 : updates);
        char name[TENSOR_NAME];
        if (scaled) cr_expect_str_eq(graph_tensor_name(graph, graph->loss_scale, name), "head/loss.loss_scale");
        graph_destroy(graph);
    }
}

/* Beside each bucket of weights lie as many as the optimizer keeps and the average; the norm is taken of all gradients
 * before the first update. */
Test(graph_structure, updates_have_what_their_optimizer_keeps)
{
    for (int i = 0; i < 4 * OPTIMIZERS; i++) {
        struct graph_options options = {.batch = 2, .bucket_bytes = 200000, .dtype = i & 2 ? DTYPE_F16 : DTYPE_F32};
        options.update = (struct update_needs){(enum optimizer)(i / 4), i & 1, i & 1};
        struct graph *graph = build_with("resnet-20", MODEL_OPTIONS_DEFAULT, options);
        expect_sound(graph);
        uint32_t updates = count_kind(graph, OP_UPDATE), buffers = optimizer_buffers(options.update.optimizer);
        uint64_t kept = 0, weights = 0, first_update = 0, last_norm = 0;
        for (uint32_t t = 0; t < graph->tensor_count; t++) {
            const struct tensor *tensor = &graph->tensors[t];
            if (tensor->class == CLASS_OPTIMIZER) kept += tensor->bytes;
            if (tensor->class == CLASS_WEIGHT && tensor->role == ROLE_BUCKET) weights += tensor->bytes;
        }
        cr_expect_eq(kept, (buffers + (i & 1)) * weights, "%s", optimizer_name(options.update.optimizer));
        cr_expect_eq(count_kind(graph, OP_GRADIENT_NORM), i & 1 ? updates : 0);
        cr_expect_eq(count_kind(graph, OP_WEIGHTS_AVERAGE), i & 1 ? updates : 0);
        for (uint32_t k = (uint32_t)graph->op_count; k-- > graph->comm_end;) {
            if (graph->ops[k].kind == OP_UPDATE) first_update = k;
            if (graph->ops[k].kind == OP_GRADIENT_NORM && last_norm < k) last_norm = k;
        }
        cr_expect_lt(last_norm, first_update);
        const struct op *op = &graph->ops[first_update];
        char name[TENSOR_NAME], wanted[TENSOR_NAME];
        for (uint32_t b = 0; b < buffers; b++) {
            const char *own = optimizer_buffer_name(options.update.optimizer, b);
            snprintf(wanted, sizeof wanted, "bucket0.%s", options.update.optimizer ? own : "momentum");
            cr_expect_str_eq(graph_tensor_name(graph, op->in[2 + b], name), wanted);
        }
        graph_destroy(graph);
    }
}

/* A bucket is added up right after the last of its gradients, so that its partial bytes are free again. */
Test(graph_structure, micro_batches_accumulate_through_partial_buckets)
{
    struct graph *graph =
        build_with("resnet-29", MODEL_OPTIONS_DEFAULT,
                   (struct graph_options){.batch = 2, .micro_batches = 3, .bucket_bytes = 200000, .all_reduce = true});
    expect_sound(graph);
    expect_buckets(graph, 200000);
    cr_expect_eq(graph->ops[0].pass, PASS_FORWARD);
    uint32_t last_partial = NO_TENSOR, accumulated = 0;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++) {
        const struct op *op = &graph->ops[i];
        if (op->kind == OP_ACCUMULATE) {
            accumulated++;
            cr_expect(graph->tensors[op->out[0]].persistent && !graph->tensors[op->in[0]].persistent);
            cr_expect_eq(graph->tensors[op->in[0]].of, op->out[0]);
            cr_expect_eq(op->in[0], last_partial, "the bucket just filled");
        }
        for (uint32_t k = 0; k < op->outputs && op->kind != OP_ACCUMULATE; k++)
            if (graph->tensors[op->out[k]].class == CLASS_GRADIENT) last_partial = graph->tensors[op->out[k]].view_of;
    }
    cr_expect_eq(accumulated, count_kind(graph, OP_UPDATE));
    cr_expect_gt(accumulated, 1);
    const struct op *loss = &graph->ops[graph->forward_end - 1];
    cr_expect_eq(loss->attr.loss.images, 6, "the images of all micro-batches");
    graph_destroy(graph);
}

Test(graph_structure, options_that_cannot_be_are_refused)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse("resnet-20", &MODEL_OPTIONS_DEFAULT, &spec, &err));
    cr_expect_null(graph_build(&spec, &(struct graph_options){.batch = 0}, &err));
    cr_expect_not_null(strstr(err.text, "batch"));
    cr_expect_null(graph_build(&spec, &(struct graph_options){.batch = 1, .dtype = DTYPE_U8}, &err));
    cr_expect_not_null(strstr(err.text, "dtype: found u8"));
    cr_expect_null(graph_build(&spec, &(struct graph_options){.batch = UINT32_MAX}, &err));
    cr_expect_not_null(strstr(err.text, "16 TiB"), "%s", err.text);
}

/* The checker finds what it is for: each of these breaks one rule. */
Test(graph_structure, check_finds_broken_graphs)
{
    struct graph *graph = build("resnet-20", 1);
    struct error err = {0};
    struct op *op = &graph->ops[3];
    struct op saved = *op;
    op->in[0] = (uint32_t)graph->tensor_count;
    cr_expect_not(graph_check(graph, &err));
    *op = saved;
    op->out[0] = graph->ops[2].out[0];
    cr_expect_not(graph_check(graph, &err));
    *op = saved;
    op->in[0] = graph->ops[40].out[0];
    cr_expect_not(graph_check(graph, &err));
    *op = saved;
    op->pass = PASS_BACKWARD;
    cr_expect_not(graph_check(graph, &err));
    *op = saved;
    graph->tensors[graph->parameters[1]].view_offset = UINT64_MAX;
    cr_expect_not(graph_check(graph, &err));
    graph->tensors[graph->parameters[1]].view_offset = 0;
    graph->blocks[2].input = graph->images;
    cr_expect_not(graph_check(graph, &err));
    graph->blocks[2].input = graph->blocks[1].output;
    cr_expect(graph_check(graph, &err));
    graph_destroy(graph);
}
