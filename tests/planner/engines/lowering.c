/* What is fused where nobody says (engine_lowering.h), asked of cuDNN itself: every convolution of a plan finds an
 * engine. */
#include <stdlib.h>

#include "engine_helper.h"
#include "engine_lowering.h"
#include "engines_kit.h"

/* The GPUs that the program is to run on first. */
static const char *const devices[] = {"h200", "h100", "a100-80gb", "rtx-4090", "t4", "b200"};
/* Units with one and with three convolutions, before and after their normalisation. */
static const char *const models[] = {"resnet-20", "resnet-29", "resnet-50"};
static const uint32_t batches[] = {128, 128, 256}; /* the papers' */
static const struct {
    const char *name;
    enum dtype dtype;
    bool tf32;
} types[] = {
    {"f32", DTYPE_F32, false}, {"tf32", DTYPE_F32, true}, {"f16", DTYPE_F16, false}, {"bf16", DTYPE_BF16, false}};
#define TYPES (sizeof types / sizeof types[0])

/* Everything when FATHOM_ALL_ENGINES is set, else what a few seconds allow. */
static size_t every(void) { return getenv("FATHOM_ALL_ENGINES") ? 1 : 41; }

struct counting {
    struct engine_helper *helper;
    const struct graph *graph;
    struct engine_book seen;
    bool tf32;
    uint64_t most_workspace_bytes; /* of an op in a plan for the device */
    size_t distinct, asked, without;
};

/* Whether one of an op's questions has an engine that a plan may take. */
static bool has_engine(struct counting *c, struct engine_question question)
{
    const struct engine_rules rules = {.tf32 = c->tf32, .most_workspace_bytes = c->most_workspace_bytes};
    struct engine_answer answer;
    struct error err = {0};
    do {
        cr_assert(engine_helper_ask(c->helper, &question, &answer, &err), "%s", err.text);
        if (engines_choose(&answer, &rules)) return true;
    } while (engine_question_next(&question));
    return false;
}

static void count_question(struct counting *c, const struct engine_question *question, const char *what)
{
    struct engine_answer there;
    struct error err = {0};
    char words[ENGINE_QUESTION_TEXT], fused[ENGINE_FUSED_TEXT];
    if (engine_book_find(&c->seen, question, &there)) return;
    cr_assert(engine_book_add(&c->seen, &(struct engine_answer){*question, NULL, 0}, &err), "%s", err.text);
    if (c->distinct++ % every() != 0) return;
    c->asked++;
    bool found = has_engine(c, *question);
    c->without += !found;
    cr_expect(found, "%s: %s %s %s", what, engine_pass_name((enum engine_pass)question->pass),
              engine_question_words(question, words), engine_fused_words(question->fused, fused));
}

static void count_graph(struct counting *c, const char *what)
{
    static const enum op_pass passes[] = {PASS_FORWARD, PASS_EVALUATE};
    for (size_t i = 0; i < c->graph->op_count; i++) {
        const struct op *op = &c->graph->ops[i];
        bool convolves = op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
        for (size_t k = 0; convolves && k < 2; k++) {
            struct engine_question question;
            cr_assert(engine_question_of(c->graph, op, passes[k], &question), "%s: no question", what);
            count_question(c, &question, what);
        }
    }
}

static struct engine_helper *start(const struct engine_device *device)
{
    struct engine_helper *helper;
    struct error err = {0};
    char json[ENGINE_DEVICE_TEXT];
    cr_assert(engine_helper_start(getenv("FATHOM_TEST_ENGINES"), 0, &helper, &err), "%s", err.text);
    cr_assert(engine_helper_describe(helper, engine_device_json(device, json), &err), "%s", err.text);
    return helper;
}

static void ask_device(const char *name, struct counting *c)
{
    const struct engine_device *device = kit_device(name);
    char what[128];
    c->helper = start(device);
    c->most_workspace_bytes = catalogue_find(name)->workspace_bytes;
    for (size_t m = 0; m < 3; m++)
        for (size_t t = 0; t < TYPES; t++) {
            const enum dtype dtype = types[t].dtype;
            if (dtype == DTYPE_BF16 && device->capability < 800) continue;
            struct graph *graph =
                kit_lowered(models[m], batches[m], dtype, engine_lowering(device->capability, dtype, types[t].tf32));
            snprintf(what, sizeof what, "%s %s %s", name, models[m], types[t].name);
            c->tf32 = types[t].tf32;
            c->graph = graph;
            count_graph(c, what);
            graph_destroy(graph);
        }
    engine_helper_stop(c->helper);
}

Test(lowering, every_convolution_of_what_is_fused_has_an_engine, .timeout = 900)
{
    if (!getenv("FATHOM_TEST_ENGINES")) cr_skip_test("this build has no cuDNN");
    for (size_t d = 0; d < sizeof devices / sizeof devices[0]; d++) {
        struct counting c = {0};
        ask_device(devices[d], &c);
        cr_log_info("%s: %zu distinct convolutions, %zu asked, %zu without an engine\n", devices[d], c.distinct,
                    c.asked, c.without);
        cr_expect_geq(c.asked, 4);
        engine_book_finish(&c.seen);
    }
}

/* ---- Why a bit is not there ---- */

static size_t count_engines(struct engine_helper *helper, struct engine_question question,
                            const struct engine_rules *rules)
{
    struct engine_answer answer;
    struct error err = {0};
    size_t count = 0;
    if (!engine_helper_ask(helper, &question, &answer, &err)) return 0;
    for (size_t i = 0; i < answer.count; i++)
        count += engines_choose(&(struct engine_answer){question, &answer.engines[i], 1}, rules) != NULL;
    return count;
}

/* What is left out is left out because there is nothing: of ResNet-50's largest image at the papers' batch. */
Test(lowering, what_is_not_fused_has_no_engine, .timeout = 120)
{
    /* cuDNN crashes over one of them: the helper's end, which is what is to be seen, and no sanitizer's report. */
    setenv("ASAN_OPTIONS", "handle_segv=0:detect_leaks=0", 1);
    const struct {
        const char *device;
        enum dtype dtype;
        uint32_t pass, fused;
        bool tf32;
    } rows[] = {
        {"h200", DTYPE_F32, ENGINE_FORWARD, CONV_SUMS},
        {"h200", DTYPE_F32, ENGINE_FORWARD, CONV_NORMALIZED | CONV_RECTIFIED},
        {"h200", DTYPE_F32, ENGINE_BACKWARD_DATA, CONV_GRADIENT_SUMS | CONV_SHUTS},
        {"h200", DTYPE_F32, ENGINE_BACKWARD_WEIGHTS, CONV_NORMALIZED | CONV_RECTIFIED, true},
        {"h200", DTYPE_F32, ENGINE_BACKWARD_DATA, CONV_GRADIENT_SUMS | CONV_SHUTS, true},
        {"h200", DTYPE_BF16, ENGINE_BACKWARD_WEIGHTS, CONV_NORMALIZED | CONV_RECTIFIED},
        {"h200", DTYPE_BF16, ENGINE_BACKWARD_DATA, CONV_GRADIENT_SUMS | CONV_SHUTS},
        {"a100-80gb", DTYPE_F16, ENGINE_FORWARD, CONV_NORMALIZED | CONV_RECTIFIED | CONV_ADDS | CONV_SUMS},
        {"a100-80gb", DTYPE_F16, ENGINE_BACKWARD_DATA, CONV_GRADIENT_SUMS | CONV_SHUTS},
        {"t4", DTYPE_F16, ENGINE_FORWARD, CONV_SUMS},
        {"t4", DTYPE_F16, ENGINE_FORWARD, CONV_NORMALIZED | CONV_RECTIFIED},
    };
    if (!getenv("FATHOM_TEST_ENGINES")) cr_skip_test("this build has no cuDNN");
    struct engine_helper *helper = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (i == 0 || strcmp(rows[i].device, rows[i - 1].device) != 0) {
            engine_helper_stop(helper);
            helper = start(kit_device(rows[i].device));
        }
        if (engine_helper_cudnn(helper) != 91900) cr_skip_test("the table is of cuDNN 9.19.0");
        struct engine_question q = kit_question(rows[i].pass, rows[i].dtype, 256, 56, 64, 64);
        q.fused = rows[i].fused;
        const struct engine_rules rules = {.tf32 = rows[i].tf32,
                                           .most_workspace_bytes = catalogue_find(rows[i].device)->workspace_bytes};
        cr_expect_eq(count_engines(helper, q, &rules), 0, "row %zu", i);
    }
    engine_helper_stop(helper);
}
