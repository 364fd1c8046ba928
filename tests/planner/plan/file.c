/* Plans as files: what is written comes back, and a damaged or deceiving file is refused by name. */
#define _GNU_SOURCE
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "forms_kit.h"
#include "make.h"
#include "mem.h"
#include "model_fields.h"
#include "plan_file.h"
#include "planner_kit.h"
#include "sanitizers.h"
#include "text.h"
#include "verify.h"

static char folder[] = "/tmp/fathom-plan-XXXXXX";
static char first[64], second[64];

static void enter(void)
{
    cr_assert(mkdtemp(folder));
    snprintf(first, sizeof first, "%s/a.json", folder);
    snprintf(second, sizeof second, "%s/b.json", folder);
}

static void leave(void)
{
    unlink(first);
    unlink(second);
    cr_assert_eq(rmdir(folder), 0);
}

TestSuite(file, .init = enter, .fini = leave);

static struct plan *small(void)
{
    return kit_make(.model = "resnet-8", .batch = 8, .gpus = "2x4GiB", .recompute = RECOMPUTE_ELEMENTWISE);
}

static char *content(const char *path)
{
    char *bytes;
    size_t length;
    struct error err = {0};
    cr_assert(files_read(path, 1u << 30, &bytes, &length, &err), "%s", err.text);
    return bytes;
}

static void round_trip(const struct kit_options *options)
{
    struct error err = {0};
    struct plan *plan = kit_make_from(options);
    cr_assert(plan_write(plan, first, &err), "%s", err.text);
    struct plan *again = plan_read(first, &err);
    cr_assert(again, "%s", err.text);
    cr_assert(plan_write(again, second, &err));
    char *a = content(first), *b = content(second);
    cr_assert_str_eq(a, b);
    cr_assert_eq(again->variants[0].graph_hash, plan->variants[0].graph_hash);
    cr_assert_eq(again->variant_count, plan->variant_count);
    for (size_t v = 0; v < plan->variant_count; v++) {
        const struct plan_program *p = &plan->variants[v].train, *q = &again->variants[v].train;
        cr_assert_eq(p->tensor_count, q->tensor_count);
        for (size_t t = 0; t < p->tensor_count; t++) cr_assert_eq(p->tensors[t].offset, q->tensors[t].offset);
    }
    mem_free(a);
    mem_free(b);
    plan_destroy(plan);
    plan_destroy(again);
}

Test(file, how_gradients_go_between_devices_comes_back)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (int i = 0; i < 6; i++)
        round_trip(&(struct kit_options){.model = "resnet-8",
                                         .batch = 8,
                                         .gpus = "4GiB,6GiB",
                                         .reduce_dtype = dtypes[i / 2],
                                         .reduce_apart = i % 2});
}

Test(file, what_is_written_comes_back)
{
    round_trip(&(struct kit_options){.model = "resnet-20", .batch = 16, .gpus = "2x8GiB"});
    round_trip(&(struct kit_options){.model = "resnet-50", .batch = 4, .gpus = "80GiB,40GiB,24GiB"});
    round_trip(&(struct kit_options){.model = "resnet-20",
                                     .unit = UNIT_PREACT + 1,
                                     .shortcut = SHORTCUT_DROPOUT + 1,
                                     .dataset = DATASET_CIFAR100 + 1,
                                     .batch = 16,
                                     .micro_batches = 4,
                                     .gpus = "8GiB",
                                     .recompute = RECOMPUTE_ELEMENTWISE});
    round_trip(&(struct kit_options){.model = "plain-20", .batch = 16, .gpus = "1GiB"});
    round_trip(&(struct kit_options){.model = "vgg-a", .image_size = 32, .batch = 4, .gpus = "8GiB"});
    round_trip(&(struct kit_options){.model = "resnet-18", .image_size = 64, .batch = 4, .gpus = "8GiB"});
    round_trip(&(struct kit_options){.model = "resnet-20", .batch = 16, .gpus = "1GiB", .dtype = DTYPE_BF16});
}

/* The n-th occurrence of `from` becomes `to`; then the file must be refused with `named` in the sentence. */
static void refuse(const char *plan, const char *from, const char *to, const char *named)
{
    struct text text = {0};
    struct error err = {0};
    const char *at = strstr(plan, from);
    cr_assert(at, "'%s' is not in the file", from);
    text_add_bytes(&text, plan, (size_t)(at - plan));
    text_add(&text, "%s%s", to, at + strlen(from));
    cr_assert(files_write(second, text.bytes, text.length, &err));
    text_finish(&text);
    uint64_t before = mem_current_bytes(MEM_PLAN) + mem_current_bytes(MEM_GRAPH);
    struct plan *read = plan_read(second, &err);
    cr_assert_null(read, "'%s' for '%s' was accepted", to, from);
    cr_assert_eq(err.kind, ERROR_INPUT, "%s", err.text);
    cr_assert(strstr(err.text, named), "'%s' is not in: %s", named, err.text);
    cr_assert(strstr(err.text, second), "no file in: %s", err.text);
    cr_assert_eq(mem_current_bytes(MEM_PLAN) + mem_current_bytes(MEM_GRAPH), before);
}

/* What stands in a plan, what is put there, and what its refusal names. */
static const char *const file_faults[][3] = {
    {"\"fathom plan\"", "\"a plan\"", "format"},
    {"\"version\": 2", "\"version\": 1", "this one reads 2"},
    {"\"version\": 2", "\"version\": \"1\"", "version"},
    {"\"version\": 2", "\"version\": -1", "version"},
    {"\"written_by\"", "\"version\": 1, \"written_by\"", "duplicate"},
    {"\"written_by\"", "\"colour\": 1, \"written_by\"", "colour"},
    {"\"resnet-8\"", "\"resnet-9\"", "model"},
    {"\"resnet-8\"", "\"resnet-14\"", "made for graph"},
    {"\"resnet-8\"", "8", "name"},
    {"\"unit\": \"original\"", "\"unit\": \"preact\"", "graph"},
    {"\"unit\": \"original\"", "\"unit\": \"new\"", "model"},
    {"\"unit\": \"original\"", "\"unit\": \"plain\"", "model"},
    {"\"dtype\": \"f32\"", "\"dtype\": \"f64\"", "dtype"},
    {"\"dtype\": \"f32\"", "\"dtype\": \"f16\"", "graph"},
    {"\"batch\": 8", "\"batch\": 0", "batch"},
    {"\"batch\": 8", "\"batch\": 1e3", "batch"},
    {"\"batch\": 8", "\"batch\": 99999999999999", "batch"},
    {"\"sync_bn\": false", "\"sync_bn\": 0", "sync_bn"},
    {"\"recompute\": \"elementwise\"", "\"recompute\": \"auto\"", "recompute"},
    {"\"fits\": true", "\"fits\": null", "fits"},
    {"\"step_seconds\": ", "\"step_seconds\": -1", "step_seconds"},
    {"\"kind\": \"gpu\"", "\"kind\": \"tpu\"", "kind"},
    {"\"memory_bytes\": 4294967296", "\"memory_bytes\": 1000000", "memory"},
    {"\"memory_bytes\": 4294967296", "\"memory_bytes\": 18446744073709551616", "JSON"},
    {"\"memory_bytes\": 4294967296", "\"memory_bytes\": 9223372036854775807", "memory_bytes"},
    {"\"variant\": 0", "\"variant\": 7", "variant"},
    {"\"images\": 4", "\"images\": 3", "size"},
    {"\"kept\": ", "\"kept\": 1", "size"},
    {"\"kept\": ", "\"kopt\": ", "kept"},
    {"\"arena_bytes\": ", "\"arena_bytes\": 9", "size"},
    {"\"hash\": \"", "\"hash\": \"0", "made for graph"},
    {"\"micro_batches\": 1, \"step", "\"micro_batches\": 2, \"step", "graph"},
    {"\"all_reduce\": true", "\"all_reduce\": false", "graph"},
    {"\"body_ops\": ", "\"body_ops\": 9999", "body_ops"},
    {"\"body_ops\": ", "\"body\": ", "train"},
    {"[\"forward\", \"conv\"", "[\"forward\", \"bn\"", "kind"},
    {"[\"forward\", \"conv\"", "[\"backward\", \"conv\"", "order"},
    {"[\"forward\", \"conv\"", "[\"sideways\", \"conv\"", "pass"},
    {"[\"forward\", \"conv\"", "[1, \"conv\"", "pass"},
    {"\"stem/conv\"", "\"stem/bn\"", "layer"},
    {"\"stem/conv\", 0, 0", "\"stem/conv\", 0, 2", "stream"},
    {"\"stem/conv\", 0, 0", "\"stem/conv\", 123456789, 0", "graph_op"},
    {"\"stem/conv\", 0, 0, [", "\"stem/conv\", 0, 0, [0,", "in"},
    {"\"op_fields\": [\"pass\", \"kind\"", "\"op_fields\": [\"kind\", \"pass\"", "op_fields"},
    {"\"op_fields\": [\"pass\"", "\"op_fields\": [\"pass\", \"pass\"", "op_fields"},
    {"\"op_fields\": [\"pass\"", "\"op_fields\": [\"passed\"", "op_fields"},
    {"\"op_fields\": [\"pass\"", "\"op_fields\": [0", "op_fields"},
    {"\"op_fields\": [", "\"op_fields\": 1, \"of\": [", "train"},
    {"\"op_fields\": ", "\"op_field\": ", "op_field"},
    {"\"tensor_fields\": [\"graph_tensor\", ", "\"tensor_fields\": [", "tensor_fields"},
    {"\"first\", \"last\"]", "\"last\", \"first\"]", "tensor_fields"},
    {"\"proved_optimal\": true", "\"proved_optimal\": false", "proved_optimal"},
    {"\"changes_bn\": true", "\"changes_bn\": false", "changes_bn"},
    {"\"recompute\": \"elementwise\"", "\"recompute\": \"none\"", "recompute"},
    {"\"recompute_budget_bytes\": 0", "\"recompute_budget_bytes\": 1", "recompute_budget_bytes"},
    {"\"step_seconds\": 0", "\"step_seconds\": 1e300", "step_seconds"},
    {"\"step_seconds\": 0", "\"step_seconds\": 1", "step_seconds"},
    {"\"kind\": \"gpu\"", "\"kind\": \"cpu\"", "kind"},
    {"\"fits\": true", "\"fits\": false", "fits"},
    {"\"extra_flops_fraction\": 0", "\"extra_flops_fraction\": 1", "extra_flops_fraction"},
    {"\"recomputed_convolutions\": 0", "\"recomputed_convolutions\": 1", "recomputed_convolutions"},
    {"\"compute_seconds\": 0", "\"compute_seconds\": 9e99", "compute_seconds"},
    {"\"compute_seconds\": 0", "\"compute_seconds\": 0, \"bound_seconds\": 1", "bound_seconds"},
    {"\"compute_seconds\": 0", "\"compute_seconds\": 0, \"bound_seconds\": -1", "bound_seconds"},
    {"\"compute_seconds\": 0", "\"compute_seconds\": 0, \"bound_seconds\": \"1\"", "bound_seconds"},
    {"\"transient\", ", "\"transient\", 7", "range"},
    {"\"transient\", ", "\"transient\", -7", "offset"},
    {"\"transient\", ", "\"vague\", ", "class"},
    {"\"tensors\": [", "\"tensors\": [[", "JSON"},
    {"\"tensors\": [", "\"tensors\": [[0, \"kept\", 0, 64, 0, 0], ", "verify"},
    {"\"variants\": [", "\"variants\": [], \"variants\": [", "duplicate"},
    {"{\"format\"", "[{\"format\"", "JSON"},
    {"{\"format\"", "", "JSON"},
};

Test(file, each_fault_is_named)
{
    struct plan *plan = small();
    struct error err = {0};
    cr_assert(plan_write(plan, first, &err));
    plan_destroy(plan);
    char *bytes = content(first);
    for (size_t i = 0; i < sizeof file_faults / sizeof file_faults[0]; i++)
        refuse(bytes, file_faults[i][0], file_faults[i][1], file_faults[i][2]);
    mem_free(bytes);
}

Test(file, no_cut_file_is_accepted)
{
    struct plan *plan = small();
    struct error err = {0};
    cr_assert(plan_write(plan, first, &err));
    plan_destroy(plan);
    char *bytes = content(first);
    size_t length = strlen(bytes);
    for (size_t cut = 0; cut + 2 < length; cut += cut < 2000 ? 37 : 1009) {
        cr_assert(files_write(second, bytes, cut, &err));
        err = (struct error){0};
        cr_assert_null(plan_read(second, &err));
        cr_assert_eq(err.kind, ERROR_INPUT);
    }
    mem_free(bytes);
    cr_assert_null(plan_read("/tmp/no-such-plan.json", &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
}

/* Digits changed anywhere: refused, or (where the number proves nothing: a time, a speed) still a plan that verifies.
 */
Test(file, changed_digits_never_make_a_wrong_plan)
{
    struct plan *plan = small();
    struct error err = {0};
    cr_assert(plan_write(plan, first, &err));
    plan_destroy(plan);
    char *bytes = content(first);
    size_t length = strlen(bytes), refused = 0, accepted = 0;
    for (size_t at = 0; at < length; at += 41) {
        if (bytes[at] < '0' || bytes[at] > '9') continue;
        char old = bytes[at];
        bytes[at] = old == '9' ? '8' : (char)(old + 1);
        cr_assert(files_write(second, bytes, length, &err));
        struct plan *read = plan_read(second, &err);
        if (read) cr_assert(plan_verify(read, NULL, NULL));
        accepted += read != NULL;
        refused += read == NULL;
        plan_destroy(read);
        bytes[at] = old;
    }
    cr_assert_gt(refused, 100);
    cr_assert_lt(accepted, refused / 10, "%zu accepted, %zu refused", accepted, refused);
    mem_free(bytes);
}

/* ---- Files made to take memory ---- */

/* What the JSON parser has now, and had at most. */
static size_t parser_bytes, parser_peak;

static void *count_alloc(size_t size)
{
    size_t *block = (malloc)(size + sizeof(max_align_t));
    *block = size;
    parser_bytes += size;
    if (parser_bytes > parser_peak) parser_peak = parser_bytes;
    return (char *)block + sizeof(max_align_t);
}

static void count_free(void *memory)
{
    if (!memory) return;
    size_t *block = (size_t *)(void *)((char *)memory - sizeof(max_align_t));
    parser_bytes -= *block;
    (free)(block);
}

#define HOSTILE_BYTES ((size_t)2 << 20)

/* A plan whose first `from` is followed by megabytes of `again`, then by `after`: refused, within a few times its size.
 */
static void refuse_large(const char *plan, const char *from, const char *again, const char *after)
{
    struct text text = {0};
    struct error err = {0};
    const char *at = strstr(plan, from);
    cr_assert(at, "'%s' is not in the file", from);
    at += strlen(from);
    text_add_bytes(&text, plan, (size_t)(at - plan));
    char part[4096] = "";
    while (strlen(part) + strlen(again) < sizeof part) strcat(part, again);
    while (text.length < HOSTILE_BYTES) text_add_bytes(&text, part, strlen(part));
    text_add(&text, "%s%s", after, at);
    cr_assert(files_write(second, text.bytes, text.length, &err));
    uint64_t limit = 8 * text.length;
    text_finish(&text);
    parser_peak = 0;
    cr_assert_null(plan_read(second, &err), "'%s' was accepted", again);
    cr_assert_eq(err.kind, ERROR_INPUT, "%s", err.text);
    cr_assert(strstr(err.text, second), "no file in: %s", err.text);
    uint64_t taken = parser_peak + mem_peak_bytes(MEM_GENERAL) + mem_peak_bytes(MEM_PLAN) + mem_peak_bytes(MEM_GRAPH);
    cr_assert_leq(taken, limit, "'%s': %lu bytes", again, (unsigned long)taken);
}

Test(file, memory_is_in_proportion_to_the_file)
{
    struct plan *plan = small();
    struct error err = {0};
    cr_assert(plan_write(plan, first, &err));
    plan_destroy(plan);
    char *bytes = content(first);
    json_set_alloc_funcs(count_alloc, count_free);
    refuse_large(bytes, "\"devices\": [", "0,", "");
    refuse_large(bytes, "\"variants\": [", "{},", "");
    refuse_large(bytes, "\"classes\": {", "\"a\":0,", "");
    refuse_large(bytes, "\"op_fields\": [", "[[[[[[[[", "");
    refuse_large(bytes, "\"ops\": [", "0,", "");
    refuse_large(bytes, "\"ops\": [", "[],", "");
    refuse_large(bytes, "\"ops\": [", "[\"forward\"],         ", "");
    refuse_large(bytes, "\"tensors\": [", "0,", "");
    refuse_large(bytes, "\"tensors\": [", "[0,\"kept\",0,64,0,0],", "");
    refuse_large(bytes, "\"written_by\": \"", "a", "\\\"");
    refuse_large(bytes, "\"tensors\": [\n[", "0,", "");
    mem_free(bytes);
}

/* A file of a few kilobytes that names the deepest network: its graph would take half a gigabyte. */
Test(file, no_graph_is_built_that_the_file_has_no_rows_for)
{
    struct plan *plan = small();
    struct error err = {0};
    cr_assert(plan_write(plan, first, &err));
    plan_destroy(plan);
    char *bytes = content(first);
    uint64_t before = mem_peak_bytes(MEM_GRAPH);
    refuse(bytes, "\"resnet-8\"", "\"resnet-99998\"", "train: field 'ops' has ");
    cr_assert_eq(mem_peak_bytes(MEM_GRAPH), before);
    mem_free(bytes);
}

static uint64_t all_bytes(void)
{
    uint64_t sum = 0;
    for (int p = 0; p < MEM_PURPOSES; p++) sum += mem_current_bytes((enum mem_purpose)p);
    return sum;
}

/* The allocation to fail after the n-th: the next; under sanitizers the first five hundred, and of those after them,
 * which are made in loops, one of ever more. */
static uint64_t next_to_fail(uint64_t n) { return n + 1 + (UNDER_SANITIZER ? n / 500 : 0); }

static void make_without_memory(const struct plan_request *request)
{
    uint64_t before = all_bytes(), n = 0;
    for (bool done = false; !done;) {
        struct error err = {0};
        mem_fail_at(n = next_to_fail(n));
        struct plan *plan = plan_make(request, &err);
        done = !mem_fail_at(0);
        cr_assert_eq(plan != NULL, done, "allocation %llu: %s", (unsigned long long)n, err.text);
        if (!done) cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        plan_destroy(plan);
        cr_assert_eq(all_bytes(), before);
    }
    cr_assert_gt(n, 50);
}

/* Where everything fits, and where blocks must run again. */
Test(file, making_without_memory_leaks_nothing)
{
    struct machine machine = {0};
    struct model_options defaults = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = 64, .machine = &machine};
    struct error err = {0};
    cr_assert(model_parse("resnet-8", &defaults, &request.spec, &err));
    cr_assert(machine_parse("2x4GiB", &machine, &err));
    make_without_memory(&request);
    for (size_t d = 0; d < 2; d++) {
        machine.devices[d].context_bytes = machine.devices[d].reserve_bytes = machine.devices[d].comm_bytes = 0;
        machine.devices[d].memory_bytes = 16u << 20;
    }
    request.micro_batches = 1;
    make_without_memory(&request);
    machine_finish(&machine);
}

Test(file, reading_and_writing_without_memory_leaks_nothing)
{
    struct plan *plan = small();
    struct error err = {0};
    uint64_t before = all_bytes(), n = 0;
    for (bool done = false; !done;) {
        mem_fail_at(++n);
        bool ok = plan_write(plan, first, &err);
        done = !mem_fail_at(0);
        cr_assert_eq(ok, done);
        cr_assert_eq(all_bytes(), before);
    }
    plan_destroy(plan);
    before = all_bytes();
    n = 0;
    for (bool done = false; !done;) {
        mem_fail_at(++n);
        err = (struct error){0};
        plan = plan_read(first, &err);
        done = !mem_fail_at(0);
        cr_assert_eq(plan != NULL, done, "allocation %llu: %s", (unsigned long long)n, err.text);
        if (!done) cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        plan_destroy(plan);
        cr_assert_eq(all_bytes(), before);
    }
    cr_assert_gt(n, 20);
}

/* ---- The model's form ---- */

Test(file, forms_come_back)
{
    for (size_t i = 0; i < FORMS; i++) {
        struct form form = form_at(i, 16);
        struct error err = {0};
        struct plan *plan = kit_make(.model = form.model, .form = &form.options, .batch = 4, .gpus = "4GiB");
        cr_assert(plan_write(plan, first, &err), "%s", err.text);
        struct plan *again = plan_read(first, &err);
        cr_assert(again, "%s", err.text);
        cr_expect_eq(again->spec.stride_in, plan->spec.stride_in);
        cr_expect_arr_eq(again->spec.number, plan->spec.number, sizeof plan->spec.number);
        plan_destroy(again);
        plan_destroy(plan);
    }
}

/* As checkpoints keep it. */
Test(file, fields_of_a_model_hold_its_width)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct model_spec spec, again;
    struct error err = {0};
    options.image_size = 96;
    options.image_width = 128;
    cr_assert(model_parse("bn-inception", &options, &spec, &err), "%s", err.text);
    json_t *fields = model_fields(&spec);
    cr_assert(fields && model_fields_read(fields, "model", &again, &err), "%s", err.text);
    cr_expect(again.image_size == 96 && again.image_width == 128);
    json_decref(fields);
    spec.image_width = 0;
    fields = model_fields(&spec);
    cr_expect_not(json_object_get(fields, "image_width"));
    json_decref(fields);
}

/* "optimizer", the class, is a key with a number, and a cell. */
Test(file, memory_of_the_optimizer_has_had_another_name)
{
    static const char name[] = "\"optimizer\"", older[] = "\"momentum\"";
    struct plan *plan = small();
    struct error err = {0};
    struct text text = {0};
    size_t renamed = 0;
    cr_assert(plan_write(plan, first, &err), "%s", err.text);
    char *now = content(first), *rest = now;
    for (char *at; (at = strstr(rest, name)); rest = at + sizeof name - 1) {
        bool class = at[sizeof name - 1] == ',' || (at[sizeof name - 1] == ':' && at[sizeof name + 1] != '"');
        text_add_bytes(&text, rest, (size_t)(at - rest));
        text_add(&text, "%s", class ? older : name);
        renamed += class;
    }
    text_add(&text, "%s", rest);
    cr_assert_gt(renamed, 2);
    cr_assert(files_write(first, text.bytes, text.length, &err), "%s", err.text);
    struct plan *again = plan_read(first, &err);
    cr_assert(again, "%s", err.text);
    cr_assert(plan_write(again, second, &err), "%s", err.text);
    char *then = content(second);
    cr_expect_str_eq(then, now);
    mem_free(now);
    mem_free(then);
    text_finish(&text);
    plan_destroy(plan);
    plan_destroy(again);
}

/* Plans of earlier versions had none of these fields. */
Test(file, a_form_that_is_not_told_is_the_usual)
{
    static const int shortcuts[] = {SHORTCUT_SCALING, SHORTCUT_SHORTCUT_GATE, SHORTCUT_DROPOUT};
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        struct plan *plan = kit_make(.model = "resnet-11", .shortcut = shortcuts[i] + 1, .batch = 4, .gpus = "4GiB");
        cr_assert(plan_write(plan, first, &err), "%s", err.text);
        json_t *root = json_load_file(first, 0, NULL), *model = json_object_get(root, "model");
        cr_assert_eq(json_object_del(model, "stride_in"), 0);
        for (int k = 0; k < MODEL_NUMBERS; k++) json_object_del(model, model_number_info((enum model_number)k)->field);
        cr_assert_eq(json_object_size(model), 6);
        cr_assert_eq(json_dump_file(root, first, 0), 0);
        struct plan *again = plan_read(first, &err);
        cr_assert(again, "%s", err.text);
        cr_expect_eq(again->variants[0].graph_hash, plan->variants[0].graph_hash);
        json_object_set_new(model, "dropout", json_real(shortcuts[i] == SHORTCUT_DROPOUT ? 2 : 0.5));
        cr_assert_eq(json_dump_file(root, first, 0), 0);
        cr_expect_null(plan_read(first, &err));
        cr_expect(strstr(err.text, "--dropout: found"), "%s", err.text);
        json_decref(root);
        plan_destroy(again);
        plan_destroy(plan);
    }
}
