/* fathom-engines: answers which engines cuDNN has for a convolution on a GPU that is described, and need not be there.
 *
 * A process of its own, so that what cuDNN and the library that stands in for a driver do stays outside of fathom.
 * Lines of JSON on standard input, one answer a line on standard output (docs/formats.md, "Engines"); the end of input
 * ends it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cudnn_plan.h"
#include "json.h"
#include "mem.h"
#include "printable.h"

#define MOST_LINE        (1 << 16)
#define MOST_ENGINES     128
#define LEAST_CAPABILITY 750 /* CUDA 13 has no compiler for less, though cuDNN 9 still answers */

struct helper {
    struct cudnn_library cudnn;
    cudnnBackendDescriptor_t device; /* NULL until described */
    struct found_engine engines[MOST_ENGINES];
};

/* ---- Questions ---- */

static bool take_device(struct helper *helper, const json_t *device, struct error *err)
{
    uint64_t capability;
    TRY(json_get_u64(device, "deviceVer", "device", INT32_MAX, &capability, err));
    if (capability < LEAST_CAPABILITY)
        return error_set(err, ERROR_INPUT,
                         "a device of capability %" PRIu64 ".%" PRIu64 "; cuDNN 9 with CUDA 13 runs from 7.5 on",
                         capability / 100, capability / 10 % 10);
    char *text = json_dumps(device, JSON_COMPACT);
    if (!text) return error_memory(err, MOST_LINE, "a description");
    bool ok = cudnn_describe_device(&helper->cudnn, text, &helper->device, err);
    (free)(text); /* jansson's, not ours */
    return ok;
}

static bool find_word(const json_t *question, const char *field, const char *const *words, size_t count, size_t *index,
                      struct error *err)
{
    const char *word;
    TRY(json_get_string(question, field, "question", &word, err));
    for (*index = 0; *index < count; (*index)++)
        if (strcmp(words[*index], word) == 0) return true;
    return error_set(err, ERROR_INPUT, "question: %s is '%s', which is not known", field, word);
}

static bool take_number(const json_t *question, const char *field, int64_t *value, struct error *err)
{
    uint64_t found;
    TRY(json_get_u64(question, field, "question", INT32_MAX, &found, err));
    *value = (int64_t)found;
    return true;
}

/* Of rows and columns: one number, or two. */
static bool take_sides(const json_t *question, const char *field, int64_t values[2], struct error *err)
{
    const json_t *both = json_object_get(question, field);
    if (!json_is_array(both)) {
        TRY(take_number(question, field, &values[0], err));
        values[1] = values[0];
        return true;
    }
    for (size_t i = 0; i < 2; i++) {
        const json_t *one = json_array_get(both, i);
        values[i] = json_integer_value(one);
        if (json_array_size(both) != 2 || !json_is_integer(one) || values[i] < 0 || values[i] > INT32_MAX)
            return error_set(err, ERROR_INPUT, "question: \"%s\" is neither a number nor two", field);
    }
    return true;
}

static const char *const type_names[] = {"f32", "f16", "bf16"};
static const cudnnDataType_t types[] = {CUDNN_DATA_FLOAT, CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16};

static bool take_besides(const json_t *question, uint32_t *besides, struct error *err)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } all[] = {{"normalized", BESIDES_NORMALIZED},
               {"rectified", BESIDES_RECTIFIED},
               {"bias", BESIDES_BIAS},
               {"adds", BESIDES_ADDS},
               {"sums", BESIDES_SUMS},
               {"gradient-sums", BESIDES_GRADIENT_SUMS},
               {"shuts", BESIDES_SHUTS},
               {"channels-first", BESIDES_CHANNELS_FIRST}};
    const char *words;
    TRY(json_get_string(question, "fused", "question", &words, err));
    while (*words) {
        size_t length = strcspn(words, "+"), i = 0, count = sizeof all / sizeof all[0];
        while (i < count && (strncmp(words, all[i].name, length) != 0 || all[i].name[length])) i++;
        if (i == count)
            return error_set(err, ERROR_INPUT, "question: fused has '%.*s', which is not known", (int)length, words);
        *besides |= all[i].bit;
        words += length + (words[length] == '+');
    }
    return true;
}

/* Questions of plain convolutions do not have these. */
static bool take_extras(const json_t *question, struct convolution *c, struct error *err)
{
    size_t weights;
    c->besides = 0;
    c->weights = c->type;
    if (json_object_get(question, "fused")) TRY(take_besides(question, &c->besides, err));
    if (!json_object_get(question, "weights")) return true;
    TRY(find_word(question, "weights", type_names, 3, &weights, err));
    c->weights = types[weights];
    return true;
}

static bool take_question(const json_t *question, struct convolution *c, struct error *err)
{
    static const char *const passes[] = {"forward", "backward-data", "backward-weights"};
    size_t pass, type;
    TRY(find_word(question, "pass", passes, 3, &pass, err) && find_word(question, "dtype", type_names, 3, &type, err));
    c->pass = (enum convolution_pass)pass;
    c->type = types[type];
    TRY(take_extras(question, c, err) && take_number(question, "images", &c->images, err) &&
        take_number(question, "height", &c->height, err) && take_number(question, "width", &c->width, err) &&
        take_number(question, "channels", &c->channels, err) && take_number(question, "filters", &c->filters, err) &&
        take_sides(question, "kernel", c->kernel, err) && take_number(question, "stride", &c->stride, err) &&
        take_sides(question, "padding", c->padding, err));
    if (c->stride == 0 || c->kernel[0] == 0 || c->kernel[1] == 0)
        return error_set(err, ERROR_INPUT, "question: a window or step of 0");
    return true;
}

/* ---- Answers ---- */

static void write_engines(const struct helper *helper, size_t count)
{
    printf("{\"engines\": [");
    for (size_t i = 0; i < count; i++) {
        const struct found_engine *e = &helper->engines[i];
        printf("%s[%" PRId64 ", %" PRId64 ", \"%s\", \"%s\"]", i ? ", " : "", e->id, e->workspace_bytes, e->notes,
               e->knobs);
    }
    printf("]}\n");
}

static bool write_text(const struct cudnn_plan *plan, const char *text)
{
    printf("{\"plan\": {\"workspace_bytes\": %" PRId64 ", \"text\": ", cudnn_plan_workspace(plan));
    printable_write_json(stdout, text, strlen(text));
    printf("}}\n");
    return true;
}

/* An engine's plan as text, where that is wanted; else made again from its text. */
static bool write_plan(const struct helper *helper, const json_t *question, const struct convolution *convolution,
                       struct error *err)
{
    const struct cudnn_target target = {.device = helper->device};
    const bool wanted = json_is_true(json_object_get(question, "text"));
    struct cudnn_plan plan, again;
    const char *knobs;
    int64_t engine;
    TRY(take_number(question, "engine", &engine, err) && json_get_string(question, "knobs", "question", &knobs, err));
    bool ok = cudnn_plan_build(&plan, &helper->cudnn, target, convolution, engine, knobs, err);
    char *text = ok ? cudnn_plan_text(&plan) : NULL;
    if (ok && !text) ok = error_set(err, ERROR_FAILED, "a plan without text");
    if (ok && wanted) ok = write_text(&plan, text);
    if (ok && !wanted) {
        ok = cudnn_plan_load(&again, &helper->cudnn, target, text, strlen(text), err);
        if (ok)
            printf("{\"plan\": {\"workspace_bytes\": %" PRId64 ", \"again_bytes\": %" PRId64
                   ", \"text_bytes\": %zu}}\n",
                   cudnn_plan_workspace(&plan), cudnn_plan_workspace(&again), strlen(text));
        cudnn_plan_finish(&again);
    }
    mem_free(text);
    cudnn_plan_finish(&plan);
    return ok;
}

static bool answer(struct helper *helper, const json_t *line, struct error *err)
{
    const json_t *device = json_object_get(line, "device");
    struct convolution convolution;
    size_t count;
    if (device) {
        TRY(take_device(helper, device, err));
        printf("{\"device\": true}\n");
        return true;
    }
    if (!helper->device) return error_set(err, ERROR_INPUT, "a question before a device");
    TRY(take_question(line, &convolution, err));
    if (json_object_get(line, "engine")) return write_plan(helper, line, &convolution, err);
    TRY(cudnn_find_engines(&helper->cudnn, (struct cudnn_target){.device = helper->device}, &convolution,
                           helper->engines, MOST_ENGINES, &count, err));
    write_engines(helper, count);
    return true;
}

static void refuse(const struct error *err)
{
    printf("{\"refused\": ");
    printable_write_json(stdout, err->text, strlen(err->text));
    printf("}\n");
}

static void serve(struct helper *helper)
{
    static char line[MOST_LINE];
    while (fgets(line, sizeof line, stdin)) {
        struct error err = {0};
        json_t *parsed = json_parse(line, strlen(line), "question", &err);
        if (!parsed || !answer(helper, parsed, &err)) refuse(&err);
        json_decref(parsed);
        fflush(stdout);
    }
}

/* It lies beside this program. */
static bool find_driver(char *path, size_t size)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return false;
    self[length] = '\0';
    return (size_t)snprintf(path, size, "%s/fathom-no-driver.so", dirname(self)) < size;
}

/* cuDNN has no run-time compiled engines where it can load no driver's library, or nothing that compiles, and then "no
 * engine" means "not asked". */
static bool load_driver(struct error *err)
{
    char path[PATH_MAX + 32];
    if (!find_driver(path, sizeof path)) return error_set(err, ERROR_FAILED, "this program's folder is not known");
    return dlopen(path, RTLD_NOW | RTLD_GLOBAL) || error_set(err, ERROR_FAILED, "%s", dlerror());
}

int main(void)
{
    static struct helper helper;
    struct error err = {0};
    if (load_driver(&err) && cudnn_load(NULL, &helper.cudnn, &err) && cudnn_is_whole(&helper.cudnn, &err) &&
        cudnn_can_compile(&helper.cudnn, &err))
        printf("{\"cudnn\": %zu}\n", helper.cudnn.version());
    else
        refuse(&err);
    fflush(stdout);
    if (err.kind == ERROR_NONE) serve(&helper);
    return err.kind == ERROR_NONE ? 0 : 1;
}
