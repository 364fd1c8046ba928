/* What cuDNN itself answers, where it is installed; skipped elsewhere. */
#include "engine_helper.h"
#include "engines_kit.h"
#include "files.h"
#include "mem.h"

/* The GPUs that the program is to run on first. */
static const char *const devices[] = {"h200", "h100", "a100-80gb", "rtx-4090", "t4"};
#define DEVICES (sizeof devices / sizeof devices[0])

static const char *real_helper(void)
{
    const char *helper = getenv("FATHOM_TEST_ENGINES");
    if (!helper) cr_skip_test("this build has no cuDNN");
    return helper;
}

static struct engine_helper *start(const char *json)
{
    struct engine_helper *helper;
    struct error err = {0};
    cr_assert(engine_helper_start(real_helper(), 0, &helper, &err), "%s", err.text);
    cr_assert(engine_helper_describe(helper, json, &err), "%s", err.text);
    return helper;
}

static struct engine_helper *start_for(const char *device)
{
    char json[ENGINE_DEVICE_TEXT];
    return start(engine_device_json(kit_device(device), json));
}

static void expect_engines(struct engine_helper *helper, const struct engine_question *question, const char *device)
{
    struct engine_answer answer;
    struct error err = {0};
    char words[ENGINE_QUESTION_TEXT];
    cr_assert(engine_helper_ask(helper, question, &answer, &err), "%s: %s", device, err.text);
    cr_expect_gt(answer.count, 0, "%s: %s", device, engine_question_words(question, words));
    cr_expect_eq(engines_least_workspace(&answer, &(struct engine_rules){.deterministic = true}), 0, "%s: %s", device,
                 engine_question_words(question, words));
}

Test(cudnn, every_device_has_an_engine_without_workspace, .timeout = 120)
{
    for (size_t d = 0; d < DEVICES; d++) {
        struct engine_helper *helper = start_for(devices[d]);
        for (uint32_t pass = 0; pass < ENGINE_PASSES; pass++)
            for (uint32_t dtype = DTYPE_F32; dtype <= DTYPE_F16; dtype++) {
                struct engine_question q = kit_question(pass, dtype, 64, 16, 32, 64);
                q.stride = 2;
                expect_engines(helper, &q, devices[d]);
            }
        engine_helper_stop(helper);
    }
}

/* What Inception-v3 asks: windows that are not square, with their own padding. */
Test(cudnn, windows_of_one_row_or_column_have_engines, .timeout = 120)
{
    struct engine_helper *helper = start_for("h200");
    for (uint32_t pass = 0; pass < ENGINE_PASSES; pass++)
        for (uint32_t i = 0; i < 2; i++) {
            struct engine_question q = kit_question(pass, DTYPE_F32, 32, 17, 128, 192);
            q.kernel[0] = i ? 7 : 1;
            q.kernel[1] = i ? 1 : 7;
            q.padding[0] = i ? 3 : 0;
            q.padding[1] = i ? 0 : 3;
            expect_engines(helper, &q, "h200");
        }
    engine_helper_stop(helper);
}

/* In 16 bits tensor cores read NHWC: NCHW operands are copied into the workspace. In f32 they are in any case. */
Test(cudnn, channels_first_is_copied_for_tensor_cores, .timeout = 120)
{
    struct engine_helper *helper = start_for("a100-40gb");
    const struct engine_rules rules = {.tf32 = true};
    for (uint32_t pass = 0; pass < ENGINE_PASSES; pass++)
        for (uint32_t dtype = DTYPE_F32; dtype <= DTYPE_F16; dtype++) {
            const uint64_t x = dtype_bytes((enum dtype)dtype, 64ull * 56 * 56 * 64);
            struct engine_question q = kit_question(pass, dtype, 64, 56, 64, 64);
            q.fused = ENGINE_CHANNELS_FIRST;
            struct engine_answer answer;
            struct error err = {0};
            cr_assert(engine_helper_ask(helper, &q, &answer, &err), "%s", err.text);
            const struct engine *first = engines_choose(&answer, &rules);
            cr_assert(first);
            cr_expect(first->notes & ENGINE_TENSOR_CORES);
            bool in_place = dtype == DTYPE_F32 && pass == ENGINE_FORWARD;
            cr_expect_geq(first->workspace_bytes, (in_place ? 1 : 2) * x, "%u %u", pass, dtype);
            q.fused = 0;
            cr_assert(engine_helper_ask(helper, &q, &answer, &err), "%s", err.text);
            if (dtype == DTYPE_F16) cr_expect_lt(engines_choose(&answer, &rules)->workspace_bytes, x / 2, "%u", pass);
        }
    engine_helper_stop(helper);
}

static void expect_device_refused(const char *from, const char *to, const char *part)
{
    char json[ENGINE_DEVICE_TEXT], changed[ENGINE_DEVICE_TEXT];
    struct engine_helper *helper;
    struct error err = {0};
    engine_device_json(kit_device("t4"), json);
    char *at = strstr(json, from);
    cr_assert(at);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - json), json, to, at + strlen(from));
    cr_assert(engine_helper_start(real_helper(), 0, &helper, &err), "%s", err.text);
    cr_expect_not(engine_helper_describe(helper, changed, &err));
    cr_expect(strstr(err.text, part), "%s", err.text);
    engine_helper_stop(helper);
}

/* cuDNN answers for them all the same. */
Test(cudnn, devices_before_7_5_are_refused)
{
    expect_device_refused("\"deviceVer\": 750", "\"deviceVer\": 700", "7.0");
    expect_device_refused("\"deviceVer\": 750", "\"deviceVer\": 610", "6.1");
    expect_device_refused("\"deviceVer\": 750", "\"other\": 750", "deviceVer");
}

/* ---- Recorded answers ---- */

/* The passes of recorded rows: gs are sums, SBR is a BN with ReLU before, ->f32 widens. */
static const struct {
    const char *name;
    uint32_t pass, fused;
    bool widens;
} recorded_passes[] = {{"fprop", ENGINE_FORWARD, 0, false},
                       {"dgrad", ENGINE_BACKWARD_DATA, 0, false},
                       {"wgrad", ENGINE_BACKWARD_WEIGHTS, 0, false},
                       {"fprop+gs", ENGINE_FORWARD, CONV_SUMS, false},
                       {"SBR+fprop+gs", ENGINE_FORWARD, CONV_NORMALIZED | CONV_RECTIFIED | CONV_SUMS, false},
                       {"wgrad->f32", ENGINE_BACKWARD_WEIGHTS, 0, true}};
#define RECORDED_PASSES (sizeof recorded_passes / sizeof recorded_passes[0])

struct recorded_row {
    struct engine_question question;
    int64_t first, least, deterministic; /* workspaces; -1 = no engine */
};

/* "fp32 n128 c3 k16 r3 h32 s1 fprop", tab, "A33 F5", tab, "e48[T] ws 1574608", tab, "min 0 max ...", tab,
 * "det 38 e48[T] ws 1574608 min 0". */
static bool parse_row(const char *row, struct recorded_row *out)
{
    static const char *const dtypes[] = {"fp32", "fp16", "bf16"};
    struct engine_question *q = &out->question;
    char dtype[8], pass[16];
    *q = (struct engine_question){.pass = ENGINE_PASSES};
    if (sscanf(row, "%7s n%u c%u k%u r%u h%u s%u %15s", dtype, &q->images, &q->channels, &q->filters, &q->kernel[0],
               &q->height, &q->stride, pass) != 8)
        return false;
    q->width = q->height;
    q->kernel[1] = q->kernel[0];
    q->padding[0] = q->padding[1] = q->kernel[0] / 2;
    for (uint32_t i = 0; i < 3; i++)
        if (strcmp(dtype, dtypes[i]) == 0) q->dtype = q->weights = i;
    for (uint32_t i = 0; i < RECORDED_PASSES; i++) {
        if (strcmp(pass, recorded_passes[i].name) != 0) continue;
        q->pass = recorded_passes[i].pass;
        q->fused = recorded_passes[i].fused;
        if (recorded_passes[i].widens) q->weights = DTYPE_F32;
    }
    const char *one = strstr(row, " ws "), *min = strstr(row, "min "), *det = strstr(row, "\tdet ");
    const char *two = det ? strstr(det, " ws ") : NULL;
    return q->pass < ENGINE_PASSES && one && min && two && sscanf(one, " ws %ld", &out->first) == 1 &&
           sscanf(min, "min %ld", &out->least) == 1 && sscanf(two, " ws %ld", &out->deterministic) == 1;
}

/* cuDNN's least workspace, -1 where it has no engine. */
static int64_t least_of(const struct engine_answer *answer, const struct engine_rules *rules)
{
    uint64_t least = engines_least_workspace(answer, rules);
    return least == UINT64_MAX ? -1 : (int64_t)least;
}

static int64_t first_of(const struct engine_answer *answer, const struct engine_rules *rules)
{
    const struct engine *first = engines_choose(answer, rules);
    return first ? (int64_t)first->workspace_bytes : -1;
}

/* Without what is compiled at run time. */
static size_t keep_compiled(const struct engine_answer *answer, struct engine kept[256])
{
    size_t count = 0;
    for (size_t i = 0; i < answer->count; i++)
        if (!(answer->engines[i].notes & ENGINE_RUN_TIME_COMPILED)) kept[count++] = answer->engines[i];
    return count;
}

static void check_row(struct engine_helper *helper, const struct recorded_row *row, const char *text, bool compiled)
{
    static struct engine kept[256];
    const struct engine_rules any = {.tf32 = true}, same = {.tf32 = true, .deterministic = true};
    struct engine_answer answer;
    struct error err = {0};
    cr_assert(engine_helper_ask(helper, &row->question, &answer, &err), "%s", err.text);
    if (compiled) {
        answer.count = keep_compiled(&answer, kept);
        answer.engines = kept;
    }
    cr_expect_eq(first_of(&answer, &any), row->first, "%s", text);
    cr_expect_eq(least_of(&answer, &any), row->least, "%s", text);
    cr_expect_eq(first_of(&answer, &same), row->deterministic, "%s", text);
}

/* Every step-th row of each kind, plain and fused; counts in asked[]. */
static void check_file(struct engine_helper *helper, const char *path, size_t step, size_t asked[2])
{
    /* Recorded where cuDNN could load no driver: it has no run-time compiled engines then. */
    const bool compiled = strstr(path, "r1001_64") != NULL;
    char text[512];
    size_t count[2] = {0};
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s", path);
    while (fgets(text, sizeof text, file)) {
        struct recorded_row row;
        if (!parse_row(text, &row)) continue;
        size_t kind = row.question.fused != 0 || row.question.weights != row.question.dtype;
        if (count[kind]++ % step != 0) continue;
        check_row(helper, &row, text, compiled);
        asked[kind]++;
    }
    fclose(file);
}

/* Of each recorded network and dtype some rows; all of them when FATHOM_ALL_ENGINES is set. */
Test(cudnn, workspaces_are_those_recorded, .timeout = 300)
{
    static const char *const names[] = {"r1001_128", "r1001_64", "r200_32", "r50_256"};
    static const char *const dtypes[] = {"fp32", "fp16", "bf16"};
    const char *folder = getenv("FATHOM_ENGINES_ANSWERS");
    if (!folder || access(folder, R_OK) != 0) cr_skip_test("no recorded answers here");
    struct engine_helper *helper = start_for("h200");
    if (engine_helper_cudnn(helper) != 91900) cr_skip_test("the answers were recorded with cuDNN 9.19.0");
    size_t asked[2] = {0};
    bool all = getenv("FATHOM_ALL_ENGINES") != NULL;
    for (size_t i = 0; i < 12; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/out_%s_%s.txt", folder, names[i / 3], dtypes[i % 3]);
        check_file(helper, path, all ? 1 : 17, asked);
    }
    cr_expect_geq(asked[0], all ? 684 : 36);
    cr_expect_geq(asked[1], all ? 486 : 24);
    engine_helper_stop(helper);
}
