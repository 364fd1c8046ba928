/* What waits in host memory comes back as it left: losses and weights do not change by a single bit. */
#include <criterion/criterion.h>

#include "keep.h"
#include "offload_kit.h"
#include "plan_request.h"
#include "train_help.h"
#include "verify.h"

TestSuite(offload_train, .init = run_make_data, .fini = run_remove_data, .timeout = 240);

#define STEPS 10

static size_t count_copies(const struct plan *plan)
{
    size_t copies = 0;
    for (size_t i = 0; i < plan->variants[0].train.op_count; i++)
        copies += plan_op_copies(&plan->variants[0].train.ops[i]);
    return copies;
}

static void follow(struct plan *plan, const struct plan_request *request, struct chain_schedule schedule)
{
    struct error err = {0};
    offload_follow(plan, request, &schedule);
    cr_assert(plan_verify(plan, NULL, &err), "%s", err.text);
    cr_assert_gt(count_copies(plan), 4);
    cr_assert_gt(plan->variants[0].host_bytes, 0);
    chain_schedule_finish(&schedule);
}

static uint32_t keep_all(uint32_t block)
{
    (void)block;
    return KEEP_ALL | KEEP_ON_HOST;
}

static uint32_t keep_some(uint32_t block) { return block % 2 ? KEEP_CONVOLUTIONS | KEEP_ON_HOST : KEEP_CONVOLUTIONS; }

static void offload_all(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    (void)run;
    follow(plan, request, offload_save_all(plan->variants[0].graph->block_count, keep_all));
}

static void offload_some(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    (void)run;
    follow(plan, request, offload_save_all(plan->variants[0].graph->block_count, keep_some));
}

static void offload_by_seed(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    follow(plan, request, offload_random_schedule(plan->variants[0].graph->block_count, KEEP_ON_HOST, run->seed));
}

static void go(struct small_run *run, const char *save)
{
    char folder[128];
    snprintf(folder, sizeof folder, "%s", run_path(save));
    run->options.iterations = STEPS;
    run->options.skip_evaluation = true;
    run->options.save_folder = folder;
    run_go(run);
    cr_assert(run->ok, "%s: %s", save, run->err.text);
    cr_assert_eq(run->steps, STEPS);
}

/* Runs of the same model and devices, one as it is and others changed. */
static void compare(struct small_run base, size_t count, const struct small_run *others)
{
    struct small_run plain = base;
    char command[512];
    go(&plain, "plain");
    for (size_t i = 0; i < count; i++) {
        struct small_run other = base;
        other.change_plan = others[i].change_plan;
        other.seed = others[i].seed;
        other.options.fill_dead = others[i].options.fill_dead;
        go(&other, "other");
        cr_assert(memcmp(plain.losses, other.losses, STEPS * sizeof(double)) == 0, "run %zu: other losses", i);
        snprintf(command, sizeof command, "diff -r '%s/plain' '%s/other' && rm -r '%s/other'", run_data, run_data,
                 run_data);
        cr_assert_eq(system(command), 0, "run %zu: other weights", i);
    }
    snprintf(command, sizeof command, "rm -r '%s/plain'", run_data);
    cr_assert_eq(system(command), 0);
}

Test(offload_train, blocks_on_the_host_change_nothing)
{
    static const struct small_run runs[] = {{.change_plan = offload_all},
                                            {.change_plan = offload_all, .options.fill_dead = true},
                                            {.change_plan = offload_some, .options.fill_dead = true}};
    compare((struct small_run){.model = "resnet-8", .batch = 32}, 3, runs);
    compare((struct small_run){.model = "resnet-11", .batch = 16}, 3, runs);
}

Test(offload_train, mixed_schedules_change_nothing)
{
    struct small_run runs[4] = {{0}};
    for (size_t i = 0; i < 4; i++) {
        runs[i].change_plan = offload_by_seed;
        runs[i].seed = 11 + i;
        runs[i].options.fill_dead = true;
    }
    compare((struct small_run){.model = "resnet-20", .batch = 16}, 4, runs);
}

Test(offload_train, lowered_programs_change_nothing)
{
    static const struct small_run runs[] = {{.change_plan = offload_all, .options.fill_dead = true},
                                            {.change_plan = offload_by_seed, .seed = 5, .options.fill_dead = true}};
    compare((struct small_run){.model = "resnet-11", .batch = 8, .lowering = LOWER_ALL}, 2, runs);
}

Test(offload_train, several_devices_and_micro_batches_change_nothing)
{
    static const struct small_run runs[] = {{.change_plan = offload_all},
                                            {.change_plan = offload_all, .options.fill_dead = true},
                                            {.change_plan = offload_by_seed, .seed = 3, .options.fill_dead = true}};
    compare((struct small_run){.gpus = "2xcpu", .batch = 64, .micro_batches = 2, .bucket_bytes = 64 << 10}, 3, runs);
}
