/* Asking for engines, with a script in cuDNN's place: what is asked, what is kept, what is carried, what goes wrong. */
#include <glob.h>
#include <sys/wait.h>

#include "clock.h"
#include "engine_lowering.h"
#include "engines_kit.h"
#include "files.h"
#include "mem.h"

static char standin[512];

/* The system's interpreter starts sooner than what may be wrapped around another one. */
static void find_standin(void)
{
    char path[4096];
    snprintf(path, sizeof path, "/usr/bin:/bin:%s", getenv("PATH"));
    setenv("PATH", path, 1);
    snprintf(standin, sizeof standin, "%s/tests/planner/engines/standin.py", getenv("FATHOM_SOURCE"));
}

static struct engines_options options_of(const char *cache, const char *carried)
{
    return (struct engines_options){
        .device = kit_device("h200"), .helper = standin, .cache = cache, .carried = carried, .helper_seconds = 20};
}

/* ---- What is fused ---- */

Test(engines, what_is_fused_follows_from_capability_and_type)
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

Test(engines, descriptions_and_catalogue_agree_on_capability)
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

/* ---- Questions ---- */

TestSuite(engines, .init = find_standin);

Test(engines, the_three_passes_of_a_convolution_have_one_shape)
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

Test(engines, each_distinct_convolution_is_asked_once)
{
    struct graph *graph = kit_graph("resnet-1001", 128, DTYPE_F32);
    struct engines_options options = options_of(NULL, NULL);
    struct engines *engines = kit_open(&options);
    cr_expect_eq(kit_ask_all(engines, graph), kit_convolutions(graph));
    cr_expect_eq(engines_counts(engines).asked, 44, "%u", (unsigned)engines_counts(engines).asked);
    engines_destroy(engines);
    graph_destroy(graph);
}

static size_t count_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t count = 0;
    for (int c; file && (c = getc(file)) != EOF;) count += c == '\n';
    if (file) fclose(file);
    return count;
}

Test(engines, questions_of_ones_own_are_asked_together_and_kept)
{
    struct kit_folder folder = kit_folder();
    char cache[128], log[128];
    kit_path(&folder, "cache", cache);
    setenv("STANDIN_LOG", kit_path(&folder, "asked", log), 1);
    struct engine_question questions[3];
    for (uint32_t i = 0; i < 3; i++)
        questions[i] = (struct engine_question){.fused = ENGINE_CHANNELS_FIRST,
                                                .images = 8,
                                                .height = 14,
                                                .width = 14,
                                                .channels = 64,
                                                .filters = 1 + i,
                                                .kernel = {1 + i, 3},
                                                .stride = 1,
                                                .padding = {0, i}};
    for (int round = 0; round < 2; round++) {
        struct engines_options options = options_of(cache, NULL);
        struct engines *engines = kit_open(&options);
        struct engine_answer answer;
        for (uint32_t i = 0; i < 3; i++) {
            cr_assert(engines_answer_questions(engines, questions + i, 3 - i, &answer));
            cr_expect(engine_question_same(&answer.question, &questions[i]));
            cr_expect_eq(engines_choose(&answer, &(struct engine_rules){.tf32 = true})->workspace_bytes,
                         (64 * 1000 + 1 + i + 1) * 100000ull);
            cr_expect_eq(engines_counts(engines).asked, round ? 0 : 3);
        }
        struct engine_question plain = questions[0];
        plain.fused = 0;
        cr_assert(engines_answer_questions(engines, &plain, 1, &answer));
        cr_expect_eq(engines_counts(engines).asked, round ? 0 : 4, "another layout is another question");
        struct engine_question turned = questions[0];
        turned.kernel[0] = 3, turned.kernel[1] = 1;
        cr_assert(engines_answer_questions(engines, &turned, 1, &answer));
        cr_expect_eq(engines_counts(engines).asked, round ? 0 : 5, "and rows are not columns");
        engines_destroy(engines);
    }
    cr_expect_eq(count_lines(log), 5);
    unsetenv("STANDIN_LOG");
    kit_remove(&folder);
}

Test(engines, rules_choose_the_first_that_they_let)
{
    const struct engine all[] = {{48, ENGINE_TENSOR_CORES, 900, ""},
                                 {70, ENGINE_NONDETERMINISTIC, 500, ""},
                                 {28, 0, 300, ""},
                                 {29, ENGINE_DOWN_CONVERTS, 10, ""},
                                 {1, 0, 0, ""}};
    struct engine_answer f32 = {.question.dtype = DTYPE_F32, .engines = all, .count = 5}, f16 = f32, none = f32;
    f16.question.dtype = DTYPE_F16;
    none.count = 0;
    cr_expect_eq(engines_choose(&f32, &(struct engine_rules){.tf32 = true})->id, 48);
    cr_expect_eq(engines_choose(&f32, &(struct engine_rules){0})->id, 70);
    cr_expect_eq(engines_choose(&f32, &(struct engine_rules){.deterministic = true})->id, 28);
    cr_expect_eq(engines_choose(&f32, &(struct engine_rules){.most_workspace_bytes = 299})->id, 1);
    cr_expect_eq(engines_choose(&f32, &(struct engine_rules){.tf32 = true, .most_workspace_bytes = 299})->id, 29);
    cr_expect_eq(engines_choose(&f16, &(struct engine_rules){0})->id, 48, "16 bits are what tensor cores are for");
    cr_expect_null(engines_choose(&none, &(struct engine_rules){0}));
    cr_expect_eq(engines_least_workspace(&f32, &(struct engine_rules){0}), 0);
    cr_expect_eq(engines_least_workspace(&none, &(struct engine_rules){0}), UINT64_MAX);
}

/* ---- On disk ---- */

static struct engines_counts ask_resnet(const struct engines_options *options)
{
    struct graph *graph = kit_graph("resnet-20", 64, DTYPE_F32);
    struct engines *engines = kit_open(options);
    cr_expect_eq(kit_ask_all(engines, graph), kit_convolutions(graph));
    cr_expect_null(engines_fault(engines));
    struct engines_counts counts = engines_counts(engines);
    engines_destroy(engines);
    graph_destroy(graph);
    return counts;
}

Test(engines, what_was_asked_once_is_kept)
{
    struct kit_folder folder = kit_folder();
    char cache[128], path[256];
    struct error err = {0};
    struct engines_options options = options_of(kit_path(&folder, "a/b", cache), NULL);
    uint64_t distinct = ask_resnet(&options).asked;
    cr_expect_gt(distinct, 15);
    struct engines_counts again = ask_resnet(&options);
    cr_expect_eq(again.asked, 0);
    cr_expect_eq(again.cached, distinct);
    setenv("STANDIN_CUDNN", "92000", 1);
    cr_expect_eq(ask_resnet(&options).asked, distinct, "another version is asked anew");
    unsetenv("STANDIN_CUDNN");
    cr_expect_eq(ask_resnet(&options).asked, 0, "and the first one's answers are still there");
    options.device = kit_device("h100");
    cr_expect_eq(ask_resnet(&options).asked, distinct, "so is another device");
    options.device = kit_device("h200");

    static const char *const damages[] = {"", "{", "{\"format\": \"fathom-engines\"}", "[1, 2]"};
    snprintf(path, sizeof path, "%s/cudnn-91900-h200-f32-64.json", cache);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        cr_assert(files_write(path, damages[i], strlen(damages[i]), &err), "%s", err.text);
        cr_expect_eq(ask_resnet(&options).asked, distinct, "damage %zu", i);
        cr_expect_eq(ask_resnet(&options).asked, 0, "damage %zu was mended", i);
    }
    kit_remove(&folder);
}

Test(engines, a_part_of_a_kept_file_is_used_and_completed)
{
    struct kit_folder folder = kit_folder();
    char cache[128], path[256], *bytes;
    size_t length;
    struct error err = {0};
    struct engines_options options = options_of(kit_path(&folder, "c", cache), NULL);
    struct graph *other = kit_graph("resnet-32", 64, DTYPE_F32), *wide = kit_graph("resnet-29", 64, DTYPE_F32);
    uint64_t distinct = ask_resnet(&options).asked;
    struct engines *engines = kit_open(&options);
    kit_ask_all(engines, other);
    cr_expect_eq(engines_counts(engines).asked, 0, "a deeper net of the same shapes");
    kit_ask_all(engines, wide);
    cr_expect_gt(engines_counts(engines).asked, 5, "a net of other shapes");
    engines_destroy(engines);
    cr_expect_eq(ask_resnet(&options).asked, 0, "what was there is there still");
    snprintf(path, sizeof path, "%s/cudnn-91900-h200-f32-64.json", cache);
    cr_assert(files_read(path, 1 << 24, &bytes, &length, &err), "%s", err.text);
    cr_assert(files_write(path, bytes, length / 2, &err), "%s", err.text);
    mem_free(bytes);
    cr_expect_leq(ask_resnet(&options).asked, distinct);
    cr_expect_eq(ask_resnet(&options).asked, 0);
    graph_destroy(other);
    graph_destroy(wide);
    kit_remove(&folder);
}

Test(engines, two_processes_at_once_keep_both_answers)
{
    static const char *const models[] = {"resnet-20", "resnet-29"};
    struct kit_folder folder = kit_folder();
    char cache[128];
    struct engines_options options = options_of(kit_path(&folder, "c", cache), NULL);
    pid_t children[2];
    for (size_t i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] != 0) continue;
        struct error err = {0};
        struct graph *graph = kit_graph(models[i], 64, DTYPE_F32);
        struct engines *engines = engines_create(&options, &err);
        size_t answered = engines ? kit_ask_all(engines, graph) : 0;
        engines_destroy(engines);
        _exit(answered == kit_convolutions(graph) ? 0 : 1);
    }
    for (size_t i = 0; i < 2; i++) {
        int status;
        cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
        cr_expect_eq(status, 0);
    }
    for (size_t i = 0; i < 2; i++) {
        struct graph *graph = kit_graph(models[i], 64, DTYPE_F32);
        struct engines *engines = kit_open(&options);
        kit_ask_all(engines, graph);
        cr_expect_eq(engines_counts(engines).asked, 0, "%s", models[i]);
        engines_destroy(engines);
        graph_destroy(graph);
    }
    kit_remove(&folder);
}

Test(engines, a_folder_that_cannot_be_written_is_done_without)
{
    struct engines_options options = options_of("/dev/null/engines", NULL);
    cr_expect_gt(ask_resnet(&options).asked, 15);
}

/* ---- Carried ---- */

static void save_resnet(const struct engines_options *options)
{
    struct graph *graph = kit_graph("resnet-20", 64, DTYPE_F32);
    struct error err = {0};
    struct engines *engines = kit_open(options);
    kit_ask_all(engines, graph);
    cr_assert(engines_save(engines, &err), "%s", err.text);
    engines_destroy(engines);
    graph_destroy(graph);
}

static void expect_refused(const struct engines_options *options, const char *part, const char *another)
{
    struct error err = {0};
    cr_expect_null(engines_create(options, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect(strstr(err.text, part) && strstr(err.text, another), "%s", err.text);
    cr_expect_null(strchr(err.text, '\n'));
}

Test(engines, a_file_of_answers_is_enough_where_no_cudnn_is)
{
    struct kit_folder folder = kit_folder();
    char file[128], cache[128];
    struct engines_options options = options_of(kit_path(&folder, "cache", cache), kit_path(&folder, "e.json", file));
    ask_resnet(&(struct engines_options){.device = options.device, .helper = standin, .cache = cache});
    save_resnet(&options); /* from the cache alone */
    options.helper = NULL;
    options.cache = NULL;
    struct engines_counts counts = ask_resnet(&options);
    cr_expect_eq(counts.asked, 0);
    cr_expect_gt(counts.carried, 15);

    struct graph *graph = kit_graph("resnet-29", 64, DTYPE_F32);
    struct engines *engines = kit_open(&options);
    cr_expect_eq(engines_cudnn(engines), 91900);
    cr_expect_lt(kit_ask_all(engines, graph), kit_convolutions(graph));
    cr_assert(engines_fault(engines));
    cr_expect_eq(engines_fault(engines)->kind, ERROR_INPUT);
    cr_expect(strstr(engines_fault(engines)->text, "e.json"), "%s", engines_fault(engines)->text);
    engines_destroy(engines);
    graph_destroy(graph);
    kit_remove(&folder);
}

Test(engines, a_file_of_another_device_or_version_is_refused)
{
    struct kit_folder folder = kit_folder();
    char file[128], *bytes;
    size_t length;
    struct error err = {0};
    struct engines_options options = options_of(NULL, kit_path(&folder, "e.json", file));
    save_resnet(&options);
    options.device = kit_device("h100");
    expect_refused(&options, "h200", "h100");
    options.device = kit_device("h200");
    setenv("STANDIN_CUDNN", "92001", 1);
    expect_refused(&options, "9.19.0", "9.20.1");
    unsetenv("STANDIN_CUDNN");
    cr_assert(files_read(file, 1 << 24, &bytes, &length, &err), "%s", err.text);
    for (size_t cut = 0; cut < length; cut += 1 + length / 40) {
        cr_assert(files_write(file, bytes, cut, &err), "%s", err.text);
        expect_refused(&options, "e.json", "");
    }
    char *hash = strstr(bytes, "\"description\": \"") + 16;
    hash[0] = hash[0] == '0' ? '1' : '0';
    cr_assert(files_write(file, bytes, length, &err), "%s", err.text);
    expect_refused(&options, "described before", "h200");
    mem_free(bytes);
    kit_remove(&folder);
}

Test(engines, what_a_file_lacks_is_asked_and_added)
{
    struct kit_folder folder = kit_folder();
    char file[128];
    struct error err = {0};
    struct engines_options options = options_of(NULL, kit_path(&folder, "e.json", file));
    struct graph *graph = kit_graph("resnet-20", 32, DTYPE_F16);
    save_resnet(&options);
    struct engines *engines = kit_open(&options);
    cr_expect_eq(kit_ask_all(engines, graph), kit_convolutions(graph));
    cr_expect_gt(engines_counts(engines).asked, 15);
    cr_assert(engines_save(engines, &err), "%s", err.text);
    engines_destroy(engines);
    options.helper = NULL;
    cr_expect_eq(ask_resnet(&options).asked, 0);
    engines = kit_open(&options);
    cr_expect_eq(kit_ask_all(engines, graph), kit_convolutions(graph));
    engines_destroy(engines);
    graph_destroy(graph);
    kit_remove(&folder);
}

/* ---- Faults ---- */

static void expect_fault(const char *how, const char *part)
{
    struct kit_folder folder = kit_folder();
    char cache[128];
    struct engines_options options = options_of(kit_path(&folder, "c", cache), NULL);
    struct graph *graph = kit_graph("resnet-20", 8, DTYPE_F32);
    bool waits = strcmp(how, "hangs") == 0 || strcmp(how, "half") == 0;
    setenv("STANDIN", how, 1);
    options.helper_seconds = waits ? 1 : 20;
    uint64_t start = clock_now_ns();
    struct engines *engines = kit_open(&options);
    cr_expect_eq(kit_ask_all(engines, graph), 0, "%s", how);
    cr_expect_lt((double)(clock_now_ns() - start), 19e9, "%s", how);
    cr_assert(engines_fault(engines), "%s", how);
    cr_expect_eq(engines_fault(engines)->kind, ERROR_FAILED);
    cr_expect(strstr(engines_fault(engines)->text, part), "%s: %s", how, engines_fault(engines)->text);
    engines_destroy(engines);
    graph_destroy(graph);
    kit_remove(&folder);
}

Test(engines, a_helper_that_ends_is_one_sentence)
{
    expect_fault("ends", "exit code 3");
    expect_fault("killed", "signal 9");
    expect_fault("refuses-device", "not liked");
}

Test(engines, a_helper_that_hangs_is_given_up)
{
    expect_fault("hangs", "did not answer in 1 s");
    expect_fault("half", "did not answer in 1 s");
}

Test(engines, a_helper_that_answers_rubbish_is_not_believed)
{
    static const char *const ways[] = {"rubbish", "negative", "unknown-note", "two", "endless", "greets-wrong"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) expect_fault(ways[i], "which is no answer");
}

Test(engines, a_helper_that_is_not_there_is_one_sentence)
{
    struct engines_options options = options_of(NULL, NULL);
    options.helper = "/nowhere/fathom-engines";
    struct engines *engines = kit_open(&options);
    cr_assert(engines_fault(engines));
    cr_expect(strstr(engines_fault(engines)->text, "/nowhere/fathom-engines"));
    engines_destroy(engines);
    options.helper = NULL;
    engines = kit_open(&options);
    cr_assert(engines_fault(engines));
    engines_destroy(engines);
}

Test(engines, what_cudnn_has_no_engine_for_is_an_answer)
{
    struct engines_options options = options_of(NULL, NULL);
    struct graph *graph = kit_graph("resnet-20", 8, DTYPE_F32);
    struct engine_answer answer;
    setenv("STANDIN", "none", 1);
    struct engines *engines = kit_open(&options);
    cr_expect_eq(kit_ask_all(engines, graph), kit_convolutions(graph));
    cr_expect(
        engines_answer(engines, graph, &graph->ops[0], PASS_FORWARD, &(struct engine_rules){.tf32 = true}, &answer));
    cr_expect_eq(answer.count, 0);
    cr_expect_null(engines_fault(engines));
    engines_destroy(engines);
    graph_destroy(graph);
}

/* The first crash is over a question; the helper that follows answers the next. */
Test(engines, what_cudnn_crashes_over_has_no_engine)
{
    struct engines_options options = options_of(NULL, NULL);
    struct graph *graph = kit_lowered("resnet-8", 8, DTYPE_F16, LOWER_BN | LOWER_SUMS);
    setenv("STANDIN", "crashes-on-fused", 1);
    struct engines *engines = kit_open(&options);
    cr_expect_eq(kit_ask_all(engines, graph), kit_convolutions(graph));
    cr_expect_null(engines_fault(engines));
    size_t fused = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        struct engine_answer answer;
        if (!engines_answer(engines, graph, &graph->ops[i], PASS_FORWARD, &(struct engine_rules){0}, &answer)) continue;
        bool plain = answer.question.fused == 0 && answer.question.weights == answer.question.dtype;
        fused += answer.question.fused != 0;
        cr_expect_eq(answer.count > 0, plain);
    }
    cr_expect_gt(fused, 0);
    engines_destroy(engines);
    graph_destroy(graph);
}

Test(engines, a_helper_that_always_crashes_is_one_sentence) { expect_fault("crashes", "signal 11"); }

/* ---- Questions of lowered convolutions ---- */

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

Test(engines, a_lowered_convolution_asks_for_all_it_does)
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

Test(engines, gradients_through_a_bn_are_no_question)
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

Test(engines, a_bias_is_part_of_the_question)
{
    struct graph *graph = kit_graph("vgg-a", 2, DTYPE_F32);
    struct engine_question q;
    for (size_t i = 0; i < graph->op_count; i++)
        if (engine_question_of(graph, &graph->ops[i], PASS_FORWARD, &q))
            cr_expect_eq(q.fused, q.pass == ENGINE_FORWARD ? ENGINE_BIAS : 0);
    graph_destroy(graph);
}

Test(engines, words_for_what_is_fused_come_back)
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

Test(engines, files_keep_fused_questions_beside_plain_ones)
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

Test(engines, no_allocation_that_fails_loses_anything)
{
    struct graph *graph = kit_graph("resnet-8", 8, DTYPE_F32);
    struct engines_options options = options_of(NULL, NULL);
    bool fired = true;
    for (uint64_t n = 1; fired && n < 2000; n += 1 + n / 4) {
        struct error err = {0};
        mem_fail_at(n);
        struct engines *engines = engines_create(&options, &err);
        size_t answered = engines ? kit_ask_all(engines, graph) : 0;
        fired = mem_fail_at(0);
        if (!engines) cr_expect_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        if (engines && answered < kit_convolutions(graph)) cr_expect_eq(engines_fault(engines)->kind, ERROR_MEMORY);
        engines_destroy(engines);
    }
    cr_expect_not(fired);
    graph_destroy(graph);
}
