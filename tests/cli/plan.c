#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_run.h"
#include "json.h"
#include "plan_file.h"
#include "units.h"

static json_t *run_json(const char *arguments, int code)
{
    const struct cli_run *run = cli_run(arguments);
    cr_assert_eq(run->code, code, "%s: %d, %s", arguments, run->code, run->err);
    json_error_t fault;
    json_t *root = json_loads(run->out, JSON_REJECT_DUPLICATES, &fault);
    cr_assert(root, "%s: line %d: %s", arguments, fault.line, fault.text);
    return root;
}

static uint64_t number(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    cr_assert(json_is_integer(value), "%s is missing or no whole number", field);
    return (uint64_t)json_integer_value(value);
}

Test(cli_plan, json_has_the_stable_keys)
{
    static const char *const keys[] = {"model",
                                       "parameters",
                                       "forward_macs",
                                       "dtype",
                                       "batch",
                                       "fits",
                                       "devices",
                                       "arena_bytes",
                                       "lower_bound_bytes",
                                       "proved_optimal",
                                       "recompute_fraction",
                                       "step_seconds",
                                       "plan_seconds"};
    json_t *root = run_json("plan resnet-1001 --batch 128 --gpus 2x12GiB --json", 0);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        cr_expect(json_object_get(root, keys[i]), "%s is missing", keys[i]);
    cr_expect_eq(number(root, "parameters"), 10327706);
    cr_expect_eq(number(root, "forward_macs"), 1487849984);
    cr_expect_eq(number(root, "batch"), 128);
    cr_expect(json_is_true(json_object_get(root, "fits")));
    cr_expect(json_is_null(json_object_get(root, "step_seconds")), "a size alone has no speed");
    cr_expect_geq(number(root, "arena_bytes"), number(root, "lower_bound_bytes"));
    json_t *devices = json_object_get(root, "devices");
    cr_assert_eq(json_array_size(devices), 2);
    uint64_t images = 0;
    for (size_t i = 0; i < 2; i++) {
        json_t *device = json_array_get(devices, i);
        uint64_t sum = 0;
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(device, "classes"), key, value) sum += (uint64_t)json_integer_value(value);
        cr_expect_eq(sum, number(device, "peak_bytes"), "the classes sum to the peak");
        cr_expect_leq(number(device, "peak_bytes"), number(device, "memory_bytes"));
        cr_expect_eq(number(device, "memory_bytes"), 12ull << 30);
        cr_expect_eq(number(device, "micro_batches"), 1);
        images += number(device, "batch");
    }
    cr_expect_eq(images, 128);
    json_decref(root);
}

Test(cli_plan, the_first_line_is_the_verdict)
{
    const struct cli_run *run = cli_run("plan resnet-110 --gpus 2xtitan-x");
    cr_assert_eq(run->code, 0);
    cr_assert_eq(strncmp(run->out, "resnet-110 fits 2 x titan-x at batch 128: peak ", 47), 0, "%.80s", run->out);
    cr_assert(strstr(run->out, "largest batch"));
    run = cli_run("plan resnet-152 --gpus 8GiB --batch 20480 --micro-batches 1");
    cr_assert_eq(run->code, 1);
    cr_assert_eq(strncmp(run->out, "resnet-152 does not fit 8GiB at batch 20480: peak ", 50), 0, "%.80s", run->out);
    cr_assert(strstr(run->out, "what would fit"));
}

/* Under a plan that fits in pieces, a smaller batch would else pass for the largest of those. */
Test(cli_plan, the_largest_batch_in_one_piece_is_told_as_such)
{
    const struct cli_run *run = cli_run("plan resnet-50 --gpus 3GiB --batch 64 --recompute none");
    cr_assert_eq(run->code, 0);
    cr_assert(strstr(run->out, "in 4 micro-batches"), "%.120s", run->out);
    cr_assert(strstr(run->out, " in one piece\n"), "%s", run->out);
    run = cli_run("plan resnet-50 --gpus 3GiB --batch 64 --recompute none --micro-batches 4");
    cr_assert(!strstr(run->out, "in one piece"), "%s", run->out);
}

/* What is advised is tried again, as a person would. */
Test(cli_plan, advice_is_true)
{
    const struct cli_run *run =
        cli_run("plan resnet-50 --gpus 8GiB --batch 1000 --micro-batches 1 --recompute elementwise");
    cr_assert_eq(run->code, 1);
    unsigned batch, gib, devices;
    const char *at = strstr(run->out, "--batch ");
    cr_assert(at && sscanf(at, "--batch %u", &batch) == 1, "%s", run->out);
    at = strstr(run->out, " GiB per device");
    cr_assert(at);
    while (at[-1] >= '0' && at[-1] <= '9') at--;
    gib = (unsigned)atoi(at);
    at = strstr(run->out, " devices, ");
    cr_assert(at);
    while (at[-1] >= '0' && at[-1] <= '9') at--;
    devices = (unsigned)atoi(at);
    const struct {
        const char *format;
        unsigned value;
        int code;
    } rows[] = {
        {"plan resnet-50 --json --gpus 8GiB --micro-batches 1 --recompute elementwise --batch %u", batch, 0},
        {"plan resnet-50 --json --gpus 8GiB --micro-batches 1 --recompute elementwise --batch %u", batch + 1, 1},
        {"plan resnet-50 --json --gpus %uGiB --batch 1000 --micro-batches 1 --recompute elementwise", gib, 0},
        {"plan resnet-50 --json --gpus %uGiB --batch 1000 --micro-batches 1 --recompute elementwise", gib - 1, 1},
        {"plan resnet-50 --json --gpus %ux8GiB --batch 1000 --micro-batches 1 --recompute elementwise", devices, 0},
        {"plan resnet-50 --json --gpus %ux8GiB --batch 1000 --micro-batches 1 --recompute elementwise", devices - 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char arguments[160];
        snprintf(arguments, sizeof arguments, rows[i].format, rows[i].value);
        cr_expect_eq(cli_run(arguments)->code, rows[i].code, "%s", arguments);
    }
}

/* VGG has no batch normalisation, and redoing its ReLUs costs nothing that can be seen. */
Test(cli_plan, advice_says_only_what_concerns_the_network)
{
    const struct cli_run *run = cli_run("plan vgg-d --gpus titan-x --batch 320 --micro-batches 1");
    cr_assert_eq(run->code, 1);
    cr_assert(strstr(run->out, "--micro-batches 2, the smallest number that fits\n"), "%s", run->out);
    cr_assert_not(strstr(run->out, "normalis"));
    cr_assert_not(strstr(run->out, " 0.0 % more"));
    run = cli_run("plan resnet-50 --gpus titan-x --micro-batches 1 --recompute none");
    cr_assert_eq(run->code, 1);
    cr_assert_not(strstr(run->out, " 0.0 % more"));
    cr_assert(strstr(run->out, "--offload auto, into host memory"), "%s", run->out);
    cr_assert(strstr(run->out, "the smallest number that fits; batch normalisation"), "%s", run->out);
}

Test(cli_plan, the_largest_batch_is_the_largest)
{
    static const char *const machines[] = {"12GiB", "2xtitan-x", "h100,12GiB"};
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        char arguments[160];
        snprintf(arguments, sizeof arguments,
                 "plan resnet-50 --gpus %s --batch 64 --micro-batches 1 --json --max-batch", machines[i]);
        json_t *root = run_json(arguments, 0);
        unsigned batch = (unsigned)number(root, "largest_batch");
        json_decref(root);
        cr_assert_gt(batch, 64);
        for (unsigned more = 0; more < 2; more++) {
            snprintf(arguments, sizeof arguments, "plan resnet-50 --gpus %s --batch %u --micro-batches 1 --json",
                     machines[i], batch + more);
            cr_expect_eq(cli_run(arguments)->code, (int)more, "%s", arguments);
        }
    }
}

/* The deepest fits and the next of its form does not; both are planned again by name. */
Test(cli_plan, the_deepest_is_the_deepest)
{
    static const struct {
        const char *model, *flags;
        unsigned step; /* between depths of the form; 0 = ImageNet's table */
    } rows[] = {
        {"resnet-164", "--gpus 2GiB --recompute none", 9},
        {"resnet-1001", "--gpus 2xtitan-x --recompute elementwise", 9},
        {"resnet-20", "--gpus 1GiB --batch 256 --recompute none", 6},
        {"resnet-50", "--gpus 12GiB --batch 32", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char arguments[160];
        snprintf(arguments, sizeof arguments, "plan %s %s --json --max-depth", rows[i].model, rows[i].flags);
        json_t *root = run_json(arguments, 0), *next = json_object_get(root, "deepest_unfit_depth");
        unsigned depth = (unsigned)number(root, "deepest_depth");
        unsigned unfit = json_is_null(next) ? 0 : (unsigned)number(root, "deepest_unfit_depth");
        json_decref(root);
        if (rows[i].step == 0) {
            cr_expect_eq(depth, 200);
            cr_expect_eq(unfit, 0);
            continue;
        }
        cr_expect_eq(depth % rows[i].step, 2, "%u", depth);
        cr_expect_eq(unfit % rows[i].step, 2, "%u", unfit);
        cr_expect_leq(unfit - depth, 2 * rows[i].step, "some depths name another form");
        for (int k = 0; k < 2; k++) {
            snprintf(arguments, sizeof arguments, "plan resnet-%u %s --json --micro-batches 1", k ? unfit : depth,
                     rows[i].flags);
            cr_expect_eq(cli_run(arguments)->code, k, "%s", arguments);
        }
    }
}

/* More memory is never slower along the frontier, and each point is a plan that its own arena as the budget gives
 * again, or a smaller one. */
Test(cli_plan, the_frontier_only_falls)
{
    static const char *const rows[] = {"resnet-164 --gpus titan-x", "resnet-56 --gpus 12GiB --batch 256"};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        char arguments[160];
        snprintf(arguments, sizeof arguments, "plan %s --search --json", rows[r]);
        json_t *root = run_json(arguments, 0), *points = json_object_get(root, "frontier"), *point;
        size_t i, count = json_array_size(points);
        cr_assert_geq(count, 6, "%s: %zu points", rows[r], count);
        uint64_t arena = 0;
        double cost = 1e300;
        const char *key = json_is_null(json_object_get(root, "step_seconds")) ? "recompute_fraction" : "step_seconds";
        json_array_foreach(points, i, point)
        {
            double next = json_real_value(json_object_get(point, key));
            cr_expect_gt(number(point, "arena_bytes"), arena);
            cr_expect_lt(next, cost);
            arena = number(point, "arena_bytes");
            cost = next;
            snprintf(arguments, sizeof arguments, "plan %s --json --budget %llu", rows[r], (unsigned long long)arena);
            json_t *again = run_json(arguments, 0);
            cr_expect_leq(number(again, "arena_bytes"), arena);
            json_decref(again);
        }
        cr_expect_eq(json_real_value(json_object_get(json_array_get(points, count - 1), "recompute_fraction")), 0);
        json_decref(root);
    }
}

/* The least of five tries: the machine may be busy. */
static double quickest_plan(const char *arguments)
{
    double least = 1e300;
    for (int i = 0; i < 5; i++) {
        json_t *root = run_json(arguments, 0);
        double seconds = json_real_value(json_object_get(root, "plan_seconds"));
        if (seconds < least) least = seconds;
        json_decref(root);
    }
    return least;
}

/* A thousand devices share a plan's work, and communication never makes a step shorter. */
Test(cli_plan, predicts_a_thousand_devices)
{
    const char *plan_one = "plan resnet-50 --gpus h100 --batch 64 --json",
               *plan_many = "plan resnet-50 --gpus 1024xh100 --batch 65536 --json";
    json_t *one = run_json(plan_one, 0), *many = run_json(plan_many, 0);
    double alone = json_real_value(json_object_get(one, "step_seconds"));
    double together = json_real_value(json_object_get(many, "step_seconds"));
    double efficiency = json_real_value(json_object_get(many, "scaling_efficiency"));
    cr_expect_geq(together, alone);
    cr_expect(efficiency > 0 && efficiency <= 1, "%g", efficiency);
    cr_expect(alone / together > efficiency - 0.02 && alone / together < efficiency + 0.02, "%g against %g",
              alone / together, efficiency);
    cr_expect_null(json_object_get(one, "scaling_efficiency"));
    double quick = quickest_plan(plan_one), slow = quickest_plan(plan_many);
    cr_expect_lt(slow, 20 * quick + 0.05, "one device %g s, 1024 devices %g s", quick, slow);
    cr_expect_eq(json_array_size(json_object_get(many, "devices")), 1024);
    json_decref(one);
    json_decref(many);
    cr_expect(strstr(cli_run("plan resnet-50 --gpus 1024xh100 --batch 65536")->out, "simulated"));
}

/* The 2016 release trained ResNet-101 at batch 256 on four 12 GB cards, and had to halve the batch for ResNet-152. */
Test(cli_plan, history_checks_out)
{
    cr_expect_eq(cli_run("plan resnet-101 --batch 256 --gpus 4x12GiB --strategy shared-gradinput --json")->code, 0);
    cr_expect_eq(cli_run("plan resnet-152 --batch 256 --gpus 4x12GiB --strategy shared-gradinput --json")->code, 1);
    cr_expect_eq(cli_run("plan resnet-152 --batch 128 --gpus 4x12GiB --strategy shared-gradinput --json")->code, 0);
    json_t *now = run_json("plan resnet-152 --batch 256 --gpus 4x12GiB --json", 0);
    cr_expect(json_is_true(json_object_get(now, "fits")));
    cr_expect_eq(json_real_value(json_object_get(now, "recompute_fraction")), 0, "nothing is computed again");
    json_decref(now);
}

/* PyTorch's side: its verdict, its exit code, and both in one object. */
Test(cli_plan, pytorch_is_told_beside_the_plan)
{
    const struct cli_run *run = cli_run("plan resnet-50 --gpus a100-40gb --batch 128 --strategy pytorch");
    cr_expect_eq(run->code, 0);
    cr_expect(strstr(run->out, "resnet-50 in PyTorch fits a100-40gb at batch 128: nvidia-smi would show 14.7 GiB"),
              "%s", run->out);
    cr_expect(strstr(run->out, "segments; arena"));
    cr_expect_null(strstr(run->out, "kept activations"));
    json_t *both = run_json("plan resnet-50 --gpus a100-40gb --batch 512 --strategy pytorch --json", 1);
    const json_t *torch = json_object_get(both, "pytorch");
    cr_expect(json_is_true(json_object_get(both, "fits")), "the plan does");
    cr_expect(json_is_false(json_object_get(torch, "fits")));
    cr_expect_str_eq(json_string_value(json_object_get(torch, "verdict")), "does-not-fit");
    cr_expect_eq(number(torch, "shown_bytes"), number(torch, "peak_reserved_bytes") + number(torch, "context_bytes"));
    cr_expect_lt(number(torch, "saved_bytes"), number(torch, "peak_allocated_bytes"));
    cr_expect_lt(number(torch, "peak_allocated_bytes"), number(torch, "peak_reserved_bytes"));
    const char *sentence = json_string_value(json_object_get(torch, "sentence"));
    cr_expect(strstr(sentence, ": it wants ") && strstr(sentence, " GiB are there"), "%s", sentence);
    json_decref(both);
    run = cli_run("plan resnet-50 --gpus a100-40gb --batch 370 --strategy pytorch");
    cr_expect_eq(run->code, 0);
    cr_expect(strstr(run->out, "is close to the limit of"), "%s", run->out);
    cr_expect(strstr(cli_run("plan resnet-20 --gpus titan-x --explain")->out, "resnet-20 in PyTorch fits titan-x"));
    cr_expect_null(strstr(cli_run("plan resnet-20 --gpus 2xtitan-x --explain")->out, "PyTorch"));
}

Test(cli_plan, explain_adds_up)
{
    const struct cli_run *run = cli_run("plan resnet-20 --gpus titan-x --explain");
    cr_assert_eq(run->code, 0);
    cr_assert(strstr(run->out, "203,520"), "stage3's parameters");
    cr_assert(strstr(run->out, "conv_bwd_weights"));
    cr_assert(strstr(run->out, "the peak is at op"));
    cr_assert(strstr(run->out, "\nwhy it fits\n"));
    cr_assert(strstr(run->out, "kept activations of stage1\n"));
    cr_assert(strstr(run->out, "Nothing is computed twice"));
    run = cli_run("plan resnet-20 --gpus 2x12GiB --explain");
    cr_assert(strstr(run->out, "\n  stage3 "), "stages bear their own names beside buckets");
    cr_assert(strstr(run->out, "\n  head "));
    cr_assert_not(strstr(run->out, "\n  bucket"));
}

/* Keeping everything is what --recompute none plans: the same figure, in the reasons for recomputation. */
Test(cli_plan, explain_says_why)
{
    json_t *keep = run_json("plan resnet-164 --gpus 1GiB --micro-batches 1 --recompute none --json", 1);
    char need[UNITS_TEXT], sentence[80];
    units_format_bytes(number(json_array_get(json_object_get(keep, "devices"), 0), "peak_bytes"), need);
    json_decref(keep);
    const struct cli_run *run = cli_run("plan resnet-164 --gpus 1GiB --explain");
    cr_assert_eq(run->code, 0);
    char *out = strdup(run->out); /* lines are broken anywhere */
    for (char *at = out; *at; at++)
        if (*at == '\n') *at = ' ';
    snprintf(sentence, sizeof sentence, "Keeping everything would need %s,", need);
    char *words = strstr(out, "Keeping everything");
    cr_assert(words);
    for (char *from = words, *to = words; (*to = *from); from++) to += !(from[0] == ' ' && from[1] == ' ');
    cr_expect_eq(strncmp(words, sentence, strlen(sentence)), 0, "%.80s", words);
    free(out);
    run = cli_run("plan resnet-164 --gpus 64MiB --micro-batches 1 --explain");
    cr_assert_eq(run->code, 1);
    cr_expect(strstr(run->out, "\nwhy it does not fit\n"));
    cr_expect(strstr(run->out, "are missing."));
}

Test(cli_plan, refuses_wrong_commands)
{
    static const char *const rows[][2] = {
        {"plan", "MODEL"},
        {"plan resnet-20 resnet-32", "one word too many"},
        {"plan resnet-9", "resnet-8"},
        {"plan alexnet", "alexnet"},
        {"plan resnet-20 --batch 0", "--batch"},
        {"plan resnet-20 --batch 2000000", "--batch"},
        {"plan resnet-20 --batch many", "--batch"},
        {"plan resnet-20 --gpus h201", "h200"},
        {"plan resnet-20 --gpus 0x12GiB", "--gpus"},
        {"plan resnet-20 --gpus missing.json", "missing.json"},
        {"plan resnet-20 --gpus 8xh100 --batch 4", "batch"},
        {"plan resnet-20 --recompute some", "elementwise"},
        {"plan resnet-20 --recompute budget", "--budget"},
        {"plan resnet-20 --recompute none --budget 1GiB", "--budget"},
        {"plan resnet-20 --dtype f64", "bf16"},
        {"plan resnet-20 --unit strange", "--unit"},
        {"plan resnet-20 --shortcut strange", "--shortcut"},
        {"plan resnet-20 --dataset mnist", "--dataset"},
        {"plan resnet-20 --micro-batches 7", "micro-batches"},
        {"plan resnet-20 --search-seconds -1", "--search-seconds"},
        {"plan resnet-20 --budgets 1GiB", "--budget"},
        {"plan vgg-d --max-depth --gpus 12GiB", "vgg-d"},
        {"plan resnet-20 --strategy clever", "shared-gradinput"},
        {"plan resnet-20 --strategy shared-gradinput --budget 1GiB", "--budget"},
        {"plan --compare", "two"},
        {"plan --compare one.json", "found 1"},
        {"plan --compare one.json two.json three.json", "one word too many"},
        {"plan --compare missing.json missing.json", "missing.json"},
        {"plan --compare a.json b.json --batch 3", "--compare"},
        {"plan resnet-20 --gpus titan-x --svg /nonexistent/map.svg", "/nonexistent/map.svg"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct cli_run *run = cli_run(rows[i][0]);
        cr_expect_eq(run->code, 2, "%s: %d", rows[i][0], run->code);
        cr_expect(strstr(run->err, rows[i][1]), "%s: %s", rows[i][0], run->err);
    }
}

/* Tags balance, attributes are quoted, nothing is unescaped: as much XML as the drawing uses. */
static void check_xml(const char *text)
{
    const char *open[64];
    size_t depth = 0;
    for (const char *c = strchr(text, '<'); c; c = strchr(c, '<')) {
        const char *end = strchr(c, '>');
        cr_assert(end, "a tag does not end");
        size_t quotes = 0;
        for (const char *q = c; q < end; q++) quotes += *q == '"';
        cr_assert_eq(quotes % 2, 0, "%.60s", c);
        size_t length = strcspn(c + 1 + (c[1] == '/'), " />");
        if (c[1] == '/') {
            cr_assert_gt(depth, 0);
            cr_assert_eq(strncmp(open[--depth], c + 2, length), 0, "%.60s", c);
        } else if (end[-1] != '/') {
            cr_assert_lt(depth, 64);
            open[depth++] = c + 1;
        }
        c = end;
    }
    cr_assert_eq(depth, 0);
    cr_assert_null(strstr(text, "nan"));
    cr_assert_null(strstr(text, "inf,"));
}

/* What is under the pointer is named: tensors with bytes and ops, blocks, parts of the memory, plans of a frontier. */
static void check_titles(const char *text, bool frontier)
{
    size_t titles = 0;
    for (const char *at = text; (at = strstr(at, "<title>")); at++) titles++;
    cr_expect_gt(titles, 5);
    if (frontier) {
        cr_expect(strstr(text, ">this plan</text>"));
        cr_expect(strstr(text, "% more computation, --recompute "));
        return;
    }
    cr_expect(strstr(text, "weights: "));
    cr_expect(strstr(text, "forward: ops 1 to "));
    cr_expect(strstr(text, ": runs backward</title>"));
    cr_expect(strstr(text, "iB, ops "));
}

Test(cli_plan, draws_well_formed_pictures_of_a_sane_size)
{
    static const char *const plans[] = {
        "resnet-8 --gpus cpu",
        "resnet-1001 --gpus 2x12GiB",
        "resnet-1202 --gpus h200 --batch 1024",
        "vgg-d --gpus h100,12GiB",
        "resnet-50 --gpus 4GiB --micro-batches 1",
        "resnet-5000 --gpus h200 --batch 64",
        "resnet-1001 --gpus 2xtitan-x --recompute elementwise",
        "resnet-50 --gpus titan-x --batch 64 --search",
    };
    char folder[] = "/tmp/fathom-draw-XXXXXX", path[64], arguments[256];
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/map.svg", folder);
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        snprintf(arguments, sizeof arguments, "plan %s --json --svg %s", plans[i], path);
        const struct cli_run *run = cli_run(arguments);
        cr_assert_leq(run->code, 1, "%s: %s", arguments, run->err);
        static char text[2 << 20];
        cr_assert_eq(access(path, F_OK), 0, "%s", arguments);
        cli_read(path, text, sizeof text);
        cr_expect_lt(strlen(text), sizeof text - 1, "%s is too large", arguments);
        cr_expect_eq(strncmp(text, "<svg ", 5), 0);
        cr_expect(strstr(text, "</svg>"));
        cr_expect(strstr(text, strstr(plans[i], "--search") ? "predicted step" : "lower bound"));
        check_xml(text);
        check_titles(text, strstr(plans[i], "--search"));
    }
    cr_assert_eq(rmdir(folder), 0, "something was left beside the picture");
}

Test(cli_plan, writes_plans_that_fit_and_no_others)
{
    char folder[] = "/tmp/fathom-plans-XXXXXX", arguments[256], path[64];
    struct error err = {0};
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/plan.json", folder);
    snprintf(arguments, sizeof arguments, "plan resnet-110 --gpus 2xcpu -o %s", path);
    cr_assert_eq(cli_run(arguments)->code, 0, "%s", cli_run(arguments)->err);
    struct plan *plan = plan_read(path, &err);
    cr_assert(plan, "%s", err.text);
    cr_assert_eq(plan->batch, 128);
    plan_destroy(plan);
    cr_assert_eq(unlink(path), 0);
    snprintf(arguments, sizeof arguments, "plan resnet-110 --gpus 1GiB --batch 4096 --micro-batches 1 -o %s", path);
    const struct cli_run *run = cli_run(arguments);
    cr_assert_eq(run->code, 1);
    cr_assert(strstr(run->err, "is not written"), "%s", run->err);
    cr_assert_neq(access(path, F_OK), 0);
    cr_assert_eq(cli_run("plan resnet-20 --gpus cpu -o /nonexistent/plan.json")->code, 2);
    cr_assert_eq(rmdir(folder), 0, "something was left beside the plan");
}

static size_t columns(const char *line, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)line[i] & 0xC0) != 0x80;
    return count;
}

static void expect_narrow(const char *arguments)
{
    const struct cli_run *run = cli_run(arguments);
    cr_expect(run->code == 0 || run->code == 1, "%s: %s", arguments, run->err);
    for (const char *line = run->out; *line;) {
        size_t length = strcspn(line, "\n");
        cr_expect_leq(columns(line, length), 80, "%s: %.*s", arguments, (int)length, line);
        line += length + (line[length] == '\n');
    }
}

/* Whether a row of a table begins with the label, and what it ends with. */
static bool row_ends(const char *table, const char *label, const char *end)
{
    char start[64];
    snprintf(start, sizeof start, "\n  %s ", label);
    const char *row = strstr(table, start), *stop = row ? strchr(row + 1, '\n') : NULL;
    cr_assert(stop, "no row %s in %s", label, table);
    size_t length = strlen(end);
    return (size_t)(stop - row) > length && strncmp(stop - length, end, length) == 0;
}

/* Where lines break depends on the figures: here they do not. In place. */
static char *unbroken(char *text)
{
    char *to = text;
    for (const char *at = text; *at; at++)
        if (!(*at == '\n' || *at == ' ') || (to > text && to[-1] != ' ')) *to++ = *at == '\n' ? ' ' : *at;
    *to = '\0';
    return text;
}

/* Memory of the host and rounding are prices that neither memory nor time shows. */
Test(cli_plan, compares_what_waits_and_what_is_rounded)
{
    char folder[] = "/tmp/fathom-prices-XXXXXX", arguments[256];
    static const char *const flags[] = {"", "--offload auto", "--reconstruct"};
    cr_assert(mkdtemp(folder));
    for (int i = 0; i < 3; i++) {
        snprintf(arguments, sizeof arguments,
                 "plan resnet-164 --batch 32 --gpus titan-x --budget 120MiB %s -o %s/%d.json", flags[i], folder, i);
        cr_assert_eq(cli_run(arguments)->code, 0);
    }
    snprintf(arguments, sizeof arguments, "plan --compare %s/0.json %s/1.json", folder, folder);
    const struct cli_run *run = cli_run(arguments);
    cr_expect_not(strstr(run->out, "rounding"), "%s", run->out);
    char words[8192];
    snprintf(words, sizeof words, "%.8000s", run->out);
    cr_expect(strstr(unbroken(words), "b takes ") && strstr(words, " more of host memory."), "%s", run->out);
    cr_expect(strstr(words, " MiB in host memory "), "%s", run->out);
    snprintf(arguments, sizeof arguments, "plan --compare %s/2.json %s/0.json", folder, folder);
    run = cli_run(arguments);
    cr_expect(strstr(run->out, "a is exact only to rounding."), "%s", run->out);
    cr_expect(row_ends(run->out, "inputs made again", "-100.0 %"), "%s", run->out);
    snprintf(arguments, sizeof arguments, "rm -r %s", folder);
    cr_expect_eq(system(arguments), 0);
}

Test(cli_plan, compares_plan_files)
{
    char folder[] = "/tmp/fathom-compare-XXXXXX", arguments[256];
    cr_assert(mkdtemp(folder));
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus titan-x --json -o %s/a.json", folder);
    json_t *a = run_json(arguments, 0);
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus titan-x --recompute elementwise --json -o %s/b.json",
             folder);
    json_t *b = run_json(arguments, 0);
    snprintf(arguments, sizeof arguments, "plan --compare %s/a.json %s/b.json", folder, folder);
    const struct cli_run *run = cli_run(arguments);
    cr_assert_eq(run->code, 0, "%s", run->err);
    char change[32];
    snprintf(change, sizeof change, "   %+.1f %%",
             100 * ((double)number(b, "arena_bytes") / (double)number(a, "arena_bytes") - 1));
    cr_expect(row_ends(run->out, "arena", change), "%s", run->out);
    cr_expect(row_ends(run->out, "model", "resnet-20"), "%s", run->out);
    cr_expect(row_ends(run->out, "recompute", "differs"), "%s", run->out);
    cr_expect(row_ends(run->out, "batch", "128"), "%s", run->out);
    snprintf(arguments, sizeof arguments, "plan --compare %s/a.json %s/b.json --json", folder, folder);
    char compared[256];
    snprintf(compared, sizeof compared, "plan --compare %s/a.json %s/b.json", folder, folder);
    expect_narrow(compared);
    json_t *both = run_json(arguments, 0), *differs = json_object_get(both, "differs"), *name;
    cr_expect_eq(number(json_object_get(both, "a"), "arena_bytes"), number(a, "arena_bytes"));
    cr_expect_eq(number(json_object_get(both, "b"), "arena_bytes"), number(b, "arena_bytes"));
    size_t i;
    bool arena = false;
    json_array_foreach(differs, i, name)
    {
        arena |= strcmp(json_string_value(name), "arena_bytes") == 0;
        cr_expect_str_neq(json_string_value(name), "model");
        cr_expect_str_neq(json_string_value(name), "plan_seconds");
    }
    cr_expect(arena, "the arena differs");
    json_decref(both);
    snprintf(arguments, sizeof arguments, "plan --compare %s/a.json %s/a.json --json", folder, folder);
    both = run_json(arguments, 0);
    cr_expect_eq(json_array_size(json_object_get(both, "differs")), 0, "a plan is like itself");
    json_decref(both);
    json_decref(a);
    json_decref(b);
    snprintf(arguments, sizeof arguments, "rm %s/a.json %s/b.json", folder, folder);
    cr_assert_eq(system(arguments), 0);
    cr_assert_eq(rmdir(folder), 0);
}

/* What one side fuses and the other does not is named, in JSON too, where the key may lack on either side. */
Test(cli_plan, compares_what_is_fused)
{
    char folder[] = "/tmp/fathom-compare-XXXXXX", arguments[256];
    cr_assert(mkdtemp(folder));
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus cpu -o %s/a.json", folder);
    cr_assert_eq(cli_run(arguments)->code, 0);
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus cpu --fuse none -o %s/b.json", folder);
    cr_assert_eq(cli_run(arguments)->code, 0);
    for (int turned = 0; turned < 2; turned++) {
        snprintf(arguments, sizeof arguments, "plan --compare %s/%s %s/%s", folder, turned ? "b.json" : "a.json",
                 folder, turned ? "a.json" : "b.json");
        const struct cli_run *run = cli_run(arguments);
        cr_expect(row_ends(run->out, "ways of fusing ops", "differs"), "%s", run->out);
        cr_expect(strstr(run->out, turned ? "    b alone: " : "    a alone: "), "%s", run->out);
        expect_narrow(arguments);
        strcat(arguments, " --json");
        json_t *both = run_json(arguments, 0), *name;
        size_t i, found = 0;
        json_array_foreach(json_object_get(both, "differs"), i, name) found +=
            strcmp(json_string_value(name), "fused") == 0;
        cr_expect_eq(found, 1);
        json_decref(both);
    }
    snprintf(arguments, sizeof arguments, "rm -r %s", folder);
    cr_assert_eq(system(arguments), 0);
}

Test(cli_devices, lists_and_writes)
{
    json_t *root = run_json("devices --json", 0);
    cr_expect_geq(json_array_size(json_object_get(root, "catalogue")), 20);
    cr_expect_gt(number(json_object_get(root, "host"), "cores"), 0);
    cr_expect_gt(number(json_object_get(root, "host"), "processors"), 0);
    cr_expect_gt(number(json_object_get(root, "host"), "free_bytes"), 0);
    json_decref(root);
    cr_expect(strstr(cli_run("devices")->out, "titan-x"));
    char folder[] = "/tmp/fathom-devices-XXXXXX", arguments[256];
    cr_assert(mkdtemp(folder));
    snprintf(arguments, sizeof arguments, "devices --gpus 2xtitan-x -o %s/mine.json", folder);
    cr_expect_eq(cli_run(arguments)->code, 0);
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus %s/mine.json", folder);
    cr_expect_eq(cli_run(arguments)->code, 0);
    cr_expect_eq(strncmp(cli_run(arguments)->out, "resnet-20 fits 2 x titan-x", 26), 0);
    snprintf(arguments, sizeof arguments, "%s/mine.json", folder);
    unlink(arguments);
    rmdir(folder);
    const struct cli_run *run = cli_run("devices --calibrate");
    cr_expect_eq(run->code, 1);
    cr_expect(strstr(run->err, "--calibrate"));
}

static void expect_shares(const char *gpus, const uint64_t gib[3])
{
    char arguments[128];
    snprintf(arguments, sizeof arguments, "plan resnet-56 --batch 1024 --gpus %s --json", gpus);
    json_t *root = run_json(arguments, 0), *devices = json_object_get(root, "devices");
    for (size_t d = 0; d < 3; d++) {
        double share = (double)number(json_array_get(devices, d), "batch") / 1024;
        double memory = (double)gib[d] / (double)(gib[0] + gib[1] + gib[2]);
        cr_expect(share > 0.85 * memory && share < 1.15 * memory, "%s: device %zu gets %.2f, has %.2f", gpus, d, share,
                  memory);
    }
    json_decref(root);
}

/* A known speed beside an unknown one says nothing of which is faster. */
Test(cli_plan, unknown_speeds_are_named_and_shared_by_memory)
{
    expect_shares("h100,2x24GiB", (const uint64_t[]){80, 24, 24});
    expect_shares("2x24GiB,h100", (const uint64_t[]){24, 24, 80});
    expect_shares("titan-x,80GiB,40GiB", (const uint64_t[]){12, 80, 40});
    static const char *const rows[][2] = {
        {"h100,2x24GiB", "the speed of 24GiB is not known"},
        {"24GiB,h100", "the speed of 24GiB is not known"},
        {"24GiB,h100,8GiB", "the speed of 24GiB and 8GiB is not known"},
        {"2x24GiB", "the speed of 24GiB is not known"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments, "plan resnet-56 --gpus %s", rows[i][0]);
        const struct cli_run *run = cli_run(arguments);
        cr_expect(strstr(run->out, rows[i][1]), "%s: %s", arguments, run->out);
        cr_expect_eq(strstr(run->out, "mine.json") != NULL, strchr(rows[i][0], ',') != NULL, "%s", run->out);
    }
}

/* What the note says works: with the figures that it asks for the batch is shared by time, and the step is timed. */
Test(cli_plan, a_machine_file_gives_the_speed)
{
    char folder[] = "/tmp/fathom-speeds-XXXXXX", arguments[512];
    cr_assert(mkdtemp(folder));
    snprintf(arguments, sizeof arguments, "devices --gpus h100,2x24GiB -o %s/mine.json", folder);
    cr_assert_eq(cli_run(arguments)->code, 0);
    snprintf(arguments, sizeof arguments,
             "sed -i 's/\"flops_f32\": 0.0/\"flops_f32\": 67e12/; s/\"flops_f16\": 0.0/\"flops_f16\": 989e12/; "
             "s/\"bandwidth\": 0.0,$/\"bandwidth\": 3350e9,/' %s/mine.json",
             folder);
    cr_assert_eq(system(arguments), 0);
    snprintf(arguments, sizeof arguments, "plan resnet-56 --batch 129 --gpus %s/mine.json --json", folder);
    json_t *root = run_json(arguments, 0), *devices = json_object_get(root, "devices");
    cr_expect_gt(json_number_value(json_object_get(root, "step_seconds")), 0);
    for (size_t d = 0; d < 3; d++) cr_expect_lt(number(json_array_get(devices, d), "batch"), 64, "equal speeds");
    json_decref(root);
    snprintf(arguments, sizeof arguments, "rm -r %s", folder);
    cr_expect_eq(system(arguments), 0);
}

Test(cli_plan, prints_pages_of_eighty_columns)
{
    static const char *const rows[] = {
        "plan resnet-1001 --gpus 2x12GiB",
        "plan resnet-20 --gpus 1GiB,h100,h200,titan-x,a10 --batch 2048 --explain",
        "plan resnet-29 --gpus 200MiB --search",
        "plan resnet-11 --gpus 430MiB,500MiB --search",
        "plan resnet-20 --gpus 16xh200 --scaling --price 2.5 --epochs 90 --explain",
        "plan resnet-164 --gpus 1GiB --recompute none --micro-batches 1",
        "plan resnet-29 --gpus titan-x --budget 60MiB --offload auto --explain",
        "plan resnet-20 --gpus 500MiB --recompute none --max-depth",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) expect_narrow(rows[i]);
}

Test(cli_help, fits_eighty_columns)
{
    static const char *const rows[] = {"help",          "help plan",    "help train", "help top",  "help trace",
                                       "help place",    "help devices", "help data",  "help eval", "help classify",
                                       "help features", "help recipes", "devices"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) expect_narrow(rows[i]);
}

/* The last lines that a screen of 24 still shows above the prompt. */
Test(cli_plan, the_verdict_stays_in_sight)
{
    static const char *const rows[] = {"resnet-1001 --gpus 2x12GiB", "resnet-20 --gpus titan-x --explain",
                                       "resnet-164 --gpus 1GiB --recompute none --micro-batches 1",
                                       "resnet-56 --gpus 8xh200 --scaling"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments, "plan %s", rows[i]);
        const struct cli_run *run = cli_run(arguments);
        const char *last = run->out + strlen(run->out);
        for (int lines = 0; last > run->out && lines < 23; last--) lines += last[-1] == '\n';
        cr_expect(strstr(last, " at batch "), "%s: %s", arguments, run->out);
        cr_expect_not(strchr(run->out, '\033'), "no colours without a terminal");
    }
}

Test(cli_plan, its_own_plan_is_on_the_frontier)
{
    static const char *const rows[] = {"resnet-50 --gpus titan-x --batch 64",
                                       "resnet-56 --gpus titan-x,h100 --batch 512",
                                       "resnet-29 --gpus titan-x --budget 200MiB"};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments, "plan %s --search --json", rows[r]);
        json_t *root = run_json(arguments, 0), *point;
        size_t i, own = 0;
        json_array_foreach(json_object_get(root, "frontier"), i, point)
        {
            if (!json_is_true(json_object_get(point, "own"))) continue;
            own++;
            cr_expect(json_is_true(json_object_get(point, "fits")));
            cr_expect_float_eq(json_number_value(json_object_get(point, "step_seconds")),
                               json_number_value(json_object_get(root, "step_seconds")), 1e-12);
        }
        cr_expect_eq(own, 1, "%s: %zu", rows[r], own);
        json_decref(root);
    }
}

Test(cli_plan, the_largest_batch_that_it_looks_for_is_no_answer)
{
    const struct cli_run *run = cli_run("plan resnet-8 --gpus 64xh200");
    cr_expect(strstr(run->out, "1,048,576 or more: fathom plans no larger"), "%s", run->out);
}

Test(cli_plan, has_manual_pages)
{
    static const char *const sections[] = {"SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES"};
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        cr_expect(strstr(cli_run("help plan")->out, sections[i]));
        cr_expect(strstr(cli_run("help devices")->out, sections[i]));
    }
}
