/* Whatever goes wrong where engines are asked for: it is one sentence, and nothing is lost. */
#include "clock.h"
#include "engines_script.h"
#include "mem.h"

TestSuite(engines_faults, .init = find_standin);

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

Test(engines_faults, a_helper_that_ends_is_one_sentence)
{
    expect_fault("ends", "exit code 3");
    expect_fault("killed", "signal 9");
    expect_fault("refuses-device", "not liked");
}

Test(engines_faults, a_helper_that_hangs_is_given_up)
{
    expect_fault("hangs", "did not answer in 1 s");
    expect_fault("half", "did not answer in 1 s");
}

Test(engines_faults, a_helper_that_answers_rubbish_is_not_believed)
{
    static const char *const ways[] = {"rubbish", "negative", "unknown-note", "two", "endless", "greets-wrong"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) expect_fault(ways[i], "which is no answer");
}

Test(engines_faults, a_helper_that_is_not_there_is_one_sentence)
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

Test(engines_faults, what_cudnn_has_no_engine_for_is_an_answer)
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
Test(engines_faults, what_cudnn_crashes_over_has_no_engine)
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

Test(engines_faults, a_helper_that_always_crashes_is_one_sentence) { expect_fault("crashes", "signal 11"); }

Test(engines_faults, no_allocation_that_fails_loses_anything)
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
