/* The devices that a plan is for: listed, described in a file, of unlike memory and unknown speed. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan_kit.h"

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
