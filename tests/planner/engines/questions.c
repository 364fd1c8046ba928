/* What is asked of cuDNN for an op: its shape, what is fused into it, and how that is written. */
#include "engine_lowering.h"
#include "engines_kit.h"

Test(questions, what_is_fused_follows_from_capability_and_type)
{
    const uint32_t own = LOWER_INPUT, turing = own | LOWER_WEIGHTS,
                   reads = turing | LOWER_BN | LOWER_BN_ADD | LOWER_SUMS | LOWER_NORMALIZE, bf16 = reads | LOWER_ADD,
                   f16 = reads | LOWER_NORMALIZE_WEIGHTS | LOWER_HALF_GRADIENTS;
    const struct {
        const char *gpus;
        uint32_t f32, f16, bf16;
    } rows[] = {{"h200", own, f16 | LOWER_GRADIENT_SUMS | LOWER_ADD, bf16},
                {"b200", own, f16 | LOWER_GRADIENT_SUMS | LOWER_ADD, bf16},
                {"rtx-5090", own, f16 | LOWER_ADD, bf16},
                {"a100", own, f16, bf16},
                {"t4", own, turing, turing},
                {"v100", 0, 0, 0},
                {"titan-x", 0, 0, 0},
                {"12GiB", 0, 0, 0},
                {"cpu", 0, 0, 0},
                {"h100,t4", own, turing, turing},
                {"h100,24GiB", 0, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine machine = {0};
        struct error err = {0};
        cr_assert(machine_parse(rows[i].gpus, &machine, &err), "%s", err.text);
        cr_expect_eq(engine_lowering_shared(&machine, DTYPE_F32, false), rows[i].f32, "%s", rows[i].gpus);
        cr_expect_eq(engine_lowering_shared(&machine, DTYPE_BF16, false), rows[i].bf16, "%s", rows[i].gpus);
        cr_expect_eq(engine_lowering_shared(&machine, DTYPE_F16, false), rows[i].f16, "%s", rows[i].gpus);
        /* With TF32 f32 is as bf16, but for weights, which are not copied; other types are as ever. */
        uint32_t tf32 = rows[i].bf16 & ~(uint32_t)LOWER_WEIGHTS;
        cr_expect_eq(engine_lowering_shared(&machine, DTYPE_F32, true), tf32, "%s", rows[i].gpus);
        cr_expect_eq(engine_lowering_shared(&machine, DTYPE_F16, true), rows[i].f16, "%s", rows[i].gpus);
        machine_finish(&machine);
    }
}

Test(questions, descriptions_and_catalogue_agree_on_capability)
{
    size_t count;
    const struct engine_device *known = engine_device_entries(&count);
    for (size_t i = 0; i < count; i++) {
        const struct device_spec *spec = catalogue_find(known[i].name);
        cr_assert(spec, "%s", known[i].name);
        cr_expect_eq(spec->capability, known[i].capability, "%s", known[i].name);
        cr_expect_eq(spec->processors, known[i].multiprocessors, "%s", known[i].name);
    }
}

Test(questions, the_three_passes_of_a_convolution_have_one_shape)
{
    struct graph *graph = kit_graph("resnet-20", 32, DTYPE_F32);
    uint32_t seen[ENGINE_PASSES] = {0};
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        struct engine_question q;
        if (!engine_question_of(graph, op, PASS_FORWARD, &q)) continue;
        seen[q.pass]++;
        if (strcmp(graph->layers[op->layer].path, "stage2/unit1/conv1") != 0) continue;
        cr_expect_eq(q.images, 32);
        cr_expect_eq(q.height, 32);
        cr_expect_eq(q.width, 32);
        cr_expect_eq(q.channels, 16);
        cr_expect_eq(q.filters, 32);
        cr_expect(q.kernel[0] == 3 && q.kernel[1] == 3);
        cr_expect_eq(q.stride, 2);
        cr_expect(q.padding[0] == 1 && q.padding[1] == 1);
    }
    cr_expect_eq(seen[ENGINE_FORWARD], 19);
    cr_expect_eq(seen[ENGINE_BACKWARD_DATA], 18);
    cr_expect_eq(seen[ENGINE_BACKWARD_WEIGHTS], 19);
    graph_destroy(graph);
}

/* What is asked of the op at a path whose pass and kind are those. */
static struct engine_question question_at(const struct graph *graph, const char *path, enum op_kind kind,
                                          enum op_pass pass)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        struct engine_question q;
        if (op->kind != kind || strcmp(graph->layers[op->layer].path, path) != 0) continue;
        cr_assert(engine_question_of(graph, op, pass, &q), "%s", path);
        return q;
    }
    cr_assert(false, "%s", path);
    return (struct engine_question){0};
}

Test(questions, a_lowered_convolution_asks_for_all_it_does)
{
    const uint32_t lowering = LOWER_EXACT & ~(uint32_t)(LOWER_GRADIENT | LOWER_GRADIENT_ADD | LOWER_GRADIENT_KEEP);
    struct graph *graph = kit_lowered("resnet-29", 8, DTYPE_F16, lowering);
    const char *path = "stage1/unit2/conv2";
    struct engine_question forward = question_at(graph, path, OP_CONV, PASS_FORWARD),
                           again = question_at(graph, path, OP_CONV, PASS_RECOMPUTE),
                           data = question_at(graph, path, OP_CONV_BWD_DATA, PASS_BACKWARD),
                           weights = question_at(graph, path, OP_CONV_BWD_WEIGHTS, PASS_BACKWARD);
    cr_expect_eq(forward.fused, CONV_NORMALIZED | CONV_RECTIFIED | CONV_SUMS);
    cr_expect_eq(again.fused, CONV_NORMALIZED | CONV_RECTIFIED);
    cr_expect_eq(data.fused, CONV_GRADIENT_SUMS | CONV_SHUTS);
    cr_expect_eq(weights.fused, CONV_NORMALIZED | CONV_RECTIFIED);
    cr_expect_eq(forward.weights, DTYPE_F16);
    cr_expect_eq(weights.weights, DTYPE_F32);
    cr_expect_not(engine_question_next(&forward));
    cr_expect(engine_question_next(&weights));
    cr_expect_eq(weights.weights, DTYPE_F16);
    cr_expect_not(engine_question_next(&weights));
    graph_destroy(graph);
    graph = kit_lowered("resnet-29", 8, DTYPE_F16, lowering | LOWER_HALF_GRADIENTS);
    weights = question_at(graph, path, OP_CONV_BWD_WEIGHTS, PASS_BACKWARD);
    cr_expect_eq(weights.weights, DTYPE_F16, "it asks for what its gradient is");
    cr_expect_not(engine_question_next(&weights));
    graph_destroy(graph);
}

Test(questions, gradients_through_a_bn_are_no_question)
{
    struct graph *graph = kit_lowered("resnet-29", 8, DTYPE_F16, LOWER_GRADIENT);
    size_t gradients = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        struct engine_question q;
        const struct op *op = &graph->ops[i];
        if (op->kind != OP_CONV_BWD_DATA && op->kind != OP_CONV_BWD_WEIGHTS) continue;
        bool through = op->attr.conv.fused & CONV_GRADIENT;
        gradients += through;
        cr_expect_eq(engine_question_of(graph, op, PASS_BACKWARD, &q), !through);
    }
    cr_expect_gt(gradients, 0);
    graph_destroy(graph);
}

Test(questions, a_bias_is_part_of_the_question)
{
    struct graph *graph = kit_graph("vgg-a", 2, DTYPE_F32);
    struct engine_question q;
    for (size_t i = 0; i < graph->op_count; i++)
        if (engine_question_of(graph, &graph->ops[i], PASS_FORWARD, &q))
            cr_expect_eq(q.fused, q.pass == ENGINE_FORWARD ? ENGINE_BIAS : 0);
    graph_destroy(graph);
}

Test(questions, words_for_what_is_fused_come_back)
{
    char words[ENGINE_FUSED_TEXT];
    for (uint32_t fused = 0; fused < 1024; fused++) {
        uint32_t back;
        if (fused & (CONV_GRADIENT | CONV_GRADIENT_SHUT)) continue;
        cr_assert(engine_fused_find(engine_fused_words(fused, words), &back), "%s", words);
        cr_expect_eq(back, fused, "%s", words);
    }
    static const char *const wrong[] = {"sum", "sums+", "+sums", "sums+sums", "sums,adds", "normalized+"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint32_t back;
        cr_expect_not(engine_fused_find(wrong[i], &back), "%s", wrong[i]);
    }
}

Test(questions, files_keep_fused_questions_beside_plain_ones)
{
    struct kit_folder folder = kit_folder();
    char path[128];
    kit_path(&folder, "engines.json", path);
    struct engine_book book = {.device = kit_device("h200"), .cudnn = 91900}, back = {.device = book.device};
    struct engine_question questions[3] = {{.dtype = DTYPE_F16, .weights = DTYPE_F16, .images = 4, .kernel = {1, 1}}};
    const struct engine engines[] = {{2, ENGINE_TENSOR_CORES, 640, "2=15"}, {3, 0, 0, ""}};
    struct error err = {0};
    questions[1] = questions[2] = questions[0];
    questions[1].fused = CONV_NORMALIZED | CONV_SUMS;
    questions[2].pass = ENGINE_BACKWARD_WEIGHTS;
    questions[2].weights = DTYPE_F32;
    for (size_t i = 0; i < 3; i++)
        cr_assert(engine_book_add(&book, &(struct engine_answer){questions[i], engines, i}, &err), "%s", err.text);
    cr_assert(engine_book_write(&book, NULL, path, &err) && engine_book_read(&back, path, &err), "%s", err.text);
    for (size_t i = 0; i < 3; i++) {
        struct engine_answer answer;
        cr_assert(engine_book_find(&back, &questions[i], &answer), "%zu", i);
        cr_expect_eq(answer.count, i);
    }
    engine_book_finish(&book);
    engine_book_finish(&back);
    kit_remove(&folder);
}
