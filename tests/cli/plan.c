/* Verdicts of `fathom plan`, its advice and figures, and the files that it writes. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan_file.h"
#include "plan_kit.h"
#include "units.h"

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
    json_t *keep = run_json("plan resnet-20 --gpus 450MiB --micro-batches 1 --recompute none --json", 1);
    char need[UNITS_TEXT], sentence[80];
    units_format_bytes(number(json_array_get(json_object_get(keep, "devices"), 0), "peak_bytes"), need);
    json_decref(keep);
    const struct cli_run *run = cli_run("plan resnet-20 --gpus 450MiB --explain");
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

Test(cli_plan, has_manual_pages)
{
    static const char *const sections[] = {"SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES"};
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        cr_expect(strstr(cli_run("help plan")->out, sections[i]));
        cr_expect(strstr(cli_run("help devices")->out, sections[i]));
    }
}
