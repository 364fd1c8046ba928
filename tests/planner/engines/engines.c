/* Asking for engines, with a script in cuDNN's place: what is asked, what is kept, what is carried. */
#include <sys/wait.h>

#include "engines_script.h"
#include "files.h"
#include "mem.h"

TestSuite(engines, .init = find_standin);

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
