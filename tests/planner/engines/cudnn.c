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
                struct engine_question q = {.pass = pass,
                                            .dtype = dtype,
                                            .images = 64,
                                            .height = 16,
                                            .width = 16,
                                            .channels = 32,
                                            .filters = 64,
                                            .kernel = 3,
                                            .stride = 2,
                                            .padding = 1};
                expect_engines(helper, &q, devices[d]);
            }
        engine_helper_stop(helper);
    }
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

/* "fp32 n128 c3 k16 r3 h32 s1 fprop", tab, "A33 F5", tab, "e48[T] ws 1574608", tab, "min 0 max ...", tab,
 * "det 38 e48[T] ws 1574608 min 0". False for what is not a plain convolution. */
static bool parse_row(const char *row, struct engine_question *q, uint64_t *first, uint64_t *least,
                      uint64_t *deterministic)
{
    static const char *const passes[ENGINE_PASSES] = {"fprop", "dgrad", "wgrad"};
    static const char *const dtypes[] = {"fp32", "fp16", "bf16"};
    char dtype[8], pass[16];
    *q = (struct engine_question){.pass = ENGINE_PASSES};
    if (sscanf(row, "%7s n%u c%u k%u r%u h%u s%u %15s", dtype, &q->images, &q->channels, &q->filters, &q->kernel,
               &q->height, &q->stride, pass) != 8)
        return false;
    q->width = q->height;
    q->padding = q->kernel / 2;
    for (uint32_t i = 0; i < ENGINE_PASSES; i++) {
        if (strcmp(pass, passes[i]) == 0) q->pass = i;
        if (strcmp(dtype, dtypes[i]) == 0) q->dtype = i;
    }
    const char *one = strstr(row, " ws "), *min = strstr(row, "min "), *det = strstr(row, "\tdet ");
    const char *two = det ? strstr(det, " ws ") : NULL;
    return q->pass < ENGINE_PASSES && one && min && two && sscanf(one, " ws %lu", first) == 1 &&
           sscanf(min, "min %lu", least) == 1 && sscanf(two, " ws %lu", deterministic) == 1;
}

static size_t check_file(struct engine_helper *helper, const char *path, size_t step)
{
    char row[512], words[ENGINE_QUESTION_TEXT];
    size_t count = 0, asked = 0;
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s", path);
    while (fgets(row, sizeof row, file)) {
        struct engine_question q;
        struct engine_answer answer;
        struct error err = {0};
        uint64_t first, least, deterministic;
        if (!parse_row(row, &q, &first, &least, &deterministic) || count++ % step != 0) continue;
        const struct engine_rules any = {.tf32 = true}, same = {.tf32 = true, .deterministic = true};
        cr_assert(engine_helper_ask(helper, &q, &answer, &err), "%s", err.text);
        cr_assert_gt(answer.count, 0, "%s", row);
        engine_question_words(&q, words);
        cr_expect_eq(engines_choose(&answer, &any)->workspace_bytes, first, "%s: %s", path, words);
        cr_expect_eq(engines_least_workspace(&answer, &any), least, "%s: %s", path, words);
        cr_expect_eq(engines_choose(&answer, &same)->workspace_bytes, deterministic, "%s: %s", path, words);
        asked++;
    }
    fclose(file);
    return asked;
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
    size_t asked = 0;
    for (size_t i = 0; i < 12; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/out_%s_%s.txt", folder, names[i / 3], dtypes[i % 3]);
        asked += check_file(helper, path, getenv("FATHOM_ALL_ENGINES") ? 1 : 17);
    }
    cr_expect_geq(asked, 36);
    engine_helper_stop(helper);
}
