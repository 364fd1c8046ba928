/* Whether a run's disk has room for what it will write, asked before the first step. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "cli_run.h"
#include "disk.h"
#include "save_kit.h"

static void finish(void)
{
    umount(run_path("small"));
    run_remove_data();
}

TestSuite(disk, .init = run_make_data, .fini = finish);

static uint64_t size_of(const char *folder, const char *name)
{
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(stat(path, &info), 0, "%s", path);
    return (uint64_t)info.st_size;
}

static struct disk_need find_need(struct small_run *run, uint64_t done)
{
    struct disk_need need;
    run_fill_defaults(run);
    struct plan *plan = run_plan(run);
    cr_assert(plan && dataset_open(run_data, &run->options.dataset, &run->err), "%s", run->err.text);
    cr_assert(disk_need_find(plan, &run->options, NULL, done, &need, &run->err), "%s", run->err.text);
    dataset_close(run->options.dataset);
    plan_destroy(plan);
    return need;
}

/* What is foretold holds what is written, and is not much more. */
Test(disk, a_checkpoint_takes_what_is_foretold)
{
    for (int averaged = 0; averaged < 2; averaged++) {
        struct small_run run = {
            .update = {OPTIMIZER_MOMENTUM, false, averaged},
            .options = {.average_decay = averaged ? 0.9 : 0, .iterations = 2, .skip_evaluation = true}};
        run_go_and_save(&run, averaged ? "averaged" : "plain");
        const char *folder = run.options.save_folder;
        uint64_t bytes =
            size_of(folder, "step-000000000002.safetensors") + size_of(folder, "step-000000000002.state.safetensors");
        if (averaged) bytes += size_of(folder, "average-000000000002.safetensors");
        run.options.save_folder = "/nowhere";
        struct disk_need need = find_need(&run, 0);
        cr_expect_geq(need.checkpoint_bytes, bytes);
        cr_expect_leq(need.checkpoint_bytes, bytes + bytes / 16);
        cr_expect_eq(need.checkpoints, 1);
        cr_expect_eq(need.trace_bytes, 0);
    }
}

static uint64_t count(uint64_t iterations, uint64_t save_every, uint64_t keep, uint64_t evaluate_every, uint64_t done)
{
    struct small_run run = {.options = {.iterations = iterations,
                                        .save_every = save_every,
                                        .keep = keep,
                                        .evaluate_every = evaluate_every,
                                        .save_folder = "/nowhere"}};
    return find_need(&run, done).checkpoints;
}

/* Those that are due, the last one, and tests that may be the best; with --keep those that stay and the one being
 * written. */
Test(disk, checkpoints_are_counted)
{
    cr_expect_eq(count(100, 0, 0, 0, 0), 1);
    cr_expect_eq(count(100, 10, 0, 0, 0), 10);
    cr_expect_eq(count(105, 10, 0, 0, 0), 11);
    cr_expect_eq(count(105, 10, 0, 0, 50), 6);
    cr_expect_eq(count(100, 10, 0, 20, 0), 10);
    cr_expect_eq(count(100, 0, 0, 20, 0), 5);
    cr_expect_eq(count(100, 10, 3, 20, 0), 5);
    cr_expect_eq(count(100, 50, 3, 50, 0), 2);
}

/* A file system of so many KiB in DATA/small, in a namespace of its own, which not every user may make. */
static void mount_small(int kib)
{
    char size[64];
    const char *path = run_path("small");
    uid_t user = geteuid();
    snprintf(size, sizeof size, "size=%dk", kib);
    bool ok = user == 0 ? unshare(CLONE_NEWNS) == 0 : unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    ok = ok && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mkdir(path, 0777) == 0 &&
         mount("none", path, "tmpfs", 0, size) == 0;
    if (!ok) cr_skip_test("no file system of its own for this user");
}

static const struct cli_run *train(const char *more)
{
    char arguments[768];
    snprintf(arguments, sizeof arguments,
             "train resnet-8 --batch 8 --gpus cpu --data %s --iterations 6 --no-evaluate %s", run_data, more);
    return cli_run(arguments);
}

static const struct cli_run *save(const char *flag, const char *more)
{
    char words[512];
    snprintf(words, sizeof words, "%s %s/small/run %s", flag, run_data, more);
    return train(words);
}

Test(disk, one_without_room_for_a_checkpoint_is_refused)
{
    mount_small(400);
    static const char *const flags[] = {"--save", "--run"};
    for (int i = 0; i < 2; i++) {
        const struct cli_run *run = save(flags[i], "");
        cr_expect_eq(run->code, 2, "%d", run->code);
        cr_expect(strstr(run->err, flags[i]) && strstr(run->err, "a checkpoint of resnet-8 takes") &&
                      strstr(run->err, "400 KiB is free"),
                  "%s", run->err);
        cr_expect_eq(strchr(run->err, '\n'), run->err + strlen(run->err) - 1, "%s", run->err);
        cr_expect_str_empty(run->out);
        cr_expect_neq(access(run_path("small/run"), F_OK), 0);
    }
}

Test(disk, one_with_room_is_not_spoken_of)
{
    mount_small(2048);
    const struct cli_run *run = save("--save", "--save-every 2 --keep 2");
    cr_expect_eq(run->code, 0);
    cr_expect_str_empty(run->err);
}

/* A run that is warned begins, as room may be made meanwhile. */
Test(disk, what_would_fit_is_said_and_fits)
{
    mount_small(2048);
    const struct cli_run *run = save("--save", "--save-every 1");
    cr_expect_eq(run->code, 1, "%d: %s", run->code, run->err);
    cr_assert(strstr(run->err, "2.00 MiB is free") && strstr(run->err, "6 checkpoints of") &&
                  strstr(run->err, "--keep 1 would fit"),
              "%s", run->err);
    char command[256];
    snprintf(command, sizeof command, "rm -r %s/small/run", run_data);
    cr_assert_eq(system(command), 0);
    run = save("--save", "--save-every 1 --keep 1");
    cr_expect_eq(run->code, 0, "%s", run->err);
    cr_expect_str_empty(run->err);
}

/* It is a part of the checkpoint, though it is written with the test. The second step's has no room. */
Test(disk, an_average_that_has_no_room_is_the_checkpoint_s)
{
    mount_small(1400);
    char words[768];
    snprintf(words, sizeof words,
             "train resnet-8 --batch 8 --gpus cpu --data %s --iterations 2 --evaluate-every 1 --evaluate-images 8 "
             "--average-weights 0.9 --save %s/small/run --save-every 1",
             run_data, run_data);
    const struct cli_run *run = cli_run(words);
    cr_expect_eq(run->code, 1, "%d: %s", run->code, run->err);
    cr_expect(strstr(run->err, "the checkpoint of step 2: ") && strstr(run->err, "average-") &&
                  !strstr(run->err, "the evaluation"),
              "%s", run->err);
}

/* What is no file takes no disk; a link is where its file is. */
Test(disk, a_trace_and_a_log_count_where_they_lie)
{
    mount_small(64);
    char words[512];
    snprintf(words, sizeof words, "--trace %s/small/trace --save %s/run", run_data, run_data);
    const struct cli_run *run = train(words);
    cr_expect_eq(run->code, 0, "%s", run->err);
    cr_expect(strstr(run->err, "64.0 KiB is free") && strstr(run->err, "the trace may take up to"), "%s", run->err);
    char link[256];
    snprintf(link, sizeof link, "%s/link", run_data);
    cr_assert_eq(symlink("small/trace", link), 0);
    snprintf(words, sizeof words, "--trace %s", link);
    run = train(words);
    cr_expect_eq(run->code, 0, "%s", run->err);
    cr_expect(strstr(run->err, "is free on the disk of") && strstr(run->err, "link"), "%s", run->err);
    run = train("--trace /dev/null --log /dev/null");
    cr_expect_eq(run->code, 0, "%s", run->err);
    cr_expect_str_empty(run->err);
}
