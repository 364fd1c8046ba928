/* What a run does when a device, a disk or memory fails: says it once, frees all, waits for nobody. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <stdatomic.h>

#include "cpu_threads.h"
#include "crew.h"
#include "execute.h"
#include "train_help.h"

static void make_data(void)
{
    run_make_data();
    alarm(120); /* a deadlock is a failure, not a hang */
}

TestSuite(faults, .init = make_data, .fini = run_remove_data);

/* A backend that fails at the n-th call of one slot. */
static struct backend broken;
static const struct backend *sound = &cpu_reference_backend;
static atomic_int until_failure;

static bool fails(struct error *err)
{
    return atomic_fetch_sub(&until_failure, 1) == 1 ? !error_set(err, ERROR_FAILED, "the device is lost") : false;
}

static bool launch(struct prepared *prepared, struct stream *stream, struct error *err)
{
    return !fails(err) && sound->op_launch(prepared, stream, err);
}

static bool prepare(struct device *device, const struct op_call *call, struct prepared **prepared, struct error *err)
{
    return !fails(err) && sound->op_prepare(device, call, prepared, err);
}

static bool create(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                   struct error *err)
{
    return !fails(err) && sound->device_create(options, arena_bytes, device, err);
}

static bool copy(struct device *device, struct stream *stream, uint64_t offset, const void *host, uint64_t bytes,
                 struct error *err)
{
    return !fails(err) && sound->copy_in(device, stream, offset, host, bytes, err);
}

static void all_bytes(uint64_t bytes[MEM_PURPOSES])
{
    for (int i = 0; i < MEM_PURPOSES; i++) bytes[i] = mem_current_bytes((enum mem_purpose)i);
}

/* Runs with the n-th call failing; everything must be given back, and the failure told as it was. */
static void check_failure(const char *gpus, int n, const char *what)
{
    uint64_t before[MEM_PURPOSES], after[MEM_PURPOSES];
    struct small_run run = {.gpus = gpus, .sync_bn = true, .batch = 4, .backend = &broken, .options.iterations = 3};
    all_bytes(before);
    atomic_store(&until_failure, n);
    run_go(&run);
    all_bytes(after);
    cr_assert_not(run.ok, "%s: call %d failed unnoticed", what, n);
    cr_assert_eq(run.err.kind, ERROR_FAILED);
    cr_assert(strstr(run.err.text, "the device is lost"), "%s, call %d: %s", what, n, run.err.text);
    for (int i = 0; i < MEM_PURPOSES; i++)
        cr_assert_eq(before[i], after[i], "%s, call %d: %s bytes leak", what, n, mem_purpose_name((enum mem_purpose)i));
}

Test(faults, an_op_that_fails_ends_the_run_on_all_devices)
{
    broken = *sound;
    broken.op_launch = launch;
    const int calls[] = {1, 2, 30, 100, 250};
    for (int i = 0; i < 5; i++) check_failure("cpu", calls[i] < 150 ? calls[i] : 150, "launch");
    for (int i = 0; i < 5; i++) check_failure("3xcpu", calls[i], "launch");
}

Test(faults, an_op_that_cannot_be_prepared)
{
    broken = *sound;
    broken.op_prepare = prepare;
    const int calls[] = {1, 50, 140};
    for (int i = 0; i < 3; i++) check_failure("2xcpu", calls[i], "prepare");
}

Test(faults, a_device_that_is_not_there_frees_those_that_wait_for_it)
{
    broken = *sound;
    broken.device_create = create;
    for (int i = 1; i <= 3; i++) check_failure("3xcpu", i, "create");
}

Test(faults, a_copy_that_fails)
{
    broken = *sound;
    broken.copy_in = copy;
    for (int i = 1; i <= 6; i++) check_failure("2xcpu", i, "copy");
}

Test(faults, a_loss_that_is_not_a_number_ends_the_run)
{
    struct small_run run = {.options = {.schedule = {.kind = SCHEDULE_CONSTANT, .base = 1e30}}};
    run_go(&run);
    cr_assert_not(run.ok);
    cr_assert_eq(run.err.kind, ERROR_FAILED);
    cr_assert(strstr(run.err.text, "diverged"), "%s", run.err.text);
    /* Its weights are huge: products of two layers pass what f32 holds. */
    cr_assert(strstr(run.err.text, "the first number that is not finite was made by conv of stage1/unit1"), "%s",
              run.err.text);
}

/* An update that overflows is met with by the next step's first layer, which has done nothing wrong. */
Test(faults, weights_that_an_update_made_infinite_are_named)
{
    struct small_run run = {.gpus = "2xcpu", .options = {.schedule = {.kind = SCHEDULE_CONSTANT, .base = 1e39}}};
    run_go(&run);
    cr_assert_not(run.ok);
    cr_assert(strstr(run.err.text, "; the update of step 1 made stem/conv.weight numbers that are not finite"), "%s",
              run.err.text);
}

/* The step's own loss is of the weights before it, and finite. */
Test(faults, an_evaluation_that_is_not_a_number_is_no_result)
{
    char folders[2][128], best[2][160];
    for (int i = 0; i < 2; i++) {
        snprintf(folders[i], sizeof folders[0], "%s/%d", run_data, i);
        snprintf(best[i], sizeof best[0], "%s/best.safetensors", folders[i]);
    }
    struct small_run run = {.options = {.iterations = 1, .save_folder = folders[0]}}, known = run;
    run.options.schedule = (struct schedule){.kind = SCHEDULE_CONSTANT, .base = 1e30};
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    cr_assert(isfinite(run.losses[0]) && run.last.evaluated);
    cr_assert(isnan(run.last.test_loss) && isnan(run.last.top1_error) && isnan(run.result.top5_error));
    cr_assert_eq(run.result.saved, 1);
    cr_assert_neq(access(best[0], F_OK), 0, "it is the best");
    known.options.save_folder = folders[1];
    run_go(&known);
    cr_assert(known.ok && isfinite(known.last.top1_error), "%s", known.err.text);
    cr_assert_eq(access(best[1], F_OK), 0, "the first one that is known is the best");
}

/* The weights of the test above are huge, and the running statistics, by which frozen layers normalise, are of those
 * before. */
Test(faults, a_frozen_layer_is_named_too)
{
    char folder[128];
    snprintf(folder, sizeof folder, "%s/huge", run_data);
    struct small_run run = {.options = {.iterations = 1, .skip_evaluation = true, .save_folder = folder}},
                     frozen = {.frozen = 2, .options = {.iterations = 1, .weights = folder}};
    run.options.schedule = (struct schedule){.kind = SCHEDULE_CONSTANT, .base = 1e30};
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    run_go(&frozen);
    cr_assert_not(frozen.ok);
    cr_assert(strstr(frozen.err.text, "of stem/bn"), "%s", frozen.err.text);
}

/* Whether the checkpoint of a step that a failed run left is that of a run which went on. */
static void check_last_good(const struct small_run *failed, const char *whole)
{
    char command[512];
    cr_assert_not(failed->ok);
    cr_assert_eq(failed->err.kind, ERROR_FAILED, "%s", failed->err.text);
    cr_assert_geq(failed->result.steps, 1);
    cr_assert_eq(failed->result.saved, failed->result.steps, "%s", failed->err.text);
    cr_assert(run_same_checkpoints(failed->options.save_folder, whole, failed->result.saved),
              "it is not the last good step's");
    snprintf(command, sizeof command, "step %llu", (unsigned long long)failed->result.steps + 1);
    cr_assert(strstr(failed->err.text, command), "%s", failed->err.text);
}

/* The step that fails has changed running statistics, and would have updated the weights with what is not a number. */
static void check_divergence(const char *gpus, uint32_t micro_batches)
{
    char folders[2][128];
    snprintf(folders[0], sizeof folders[0], "%s/failed-%s", run_data, gpus);
    snprintf(folders[1], sizeof folders[1], "%s/whole-%s", run_data, gpus);
    struct small_run run = {.gpus = gpus,
                            .micro_batches = micro_batches,
                            .options = {.schedule = {.kind = SCHEDULE_CONSTANT, .base = 1e20},
                                        .skip_evaluation = true,
                                        .save_folder = folders[0]}};
    struct small_run whole = run;
    run_go(&run);
    whole.options.iterations = run.result.steps;
    whole.options.save_folder = folders[1];
    run_go(&whole);
    cr_assert(whole.ok, "%s", whole.err.text);
    check_last_good(&run, folders[1]);
}

Test(faults, a_run_that_diverges_saves_its_last_good_step)
{
    check_divergence("cpu", 0);
    check_divergence("2xcpu", 2);
}

Test(faults, images_that_go_away_end_the_run_with_a_checkpoint)
{
    char folders[2][128];
    snprintf(folders[0], sizeof folders[0], "%s/failed", run_data);
    snprintf(folders[1], sizeof folders[1], "%s/whole", run_data);
    struct small_run whole = {.options = {.iterations = 8, .save_every = 1, .skip_evaluation = true}};
    whole.options.save_folder = folders[1];
    struct small_run run = whole;
    run_go(&whole);
    run.options.iterations = 100;
    run.options.save_folder = folders[0];
    run.options.save_every = 0;
    run.after_step = run_cut_data;
    run_go(&run);
    check_last_good(&run, folders[1]);
    cr_assert(strstr(run.err.text, "data_batch_"), "%s", run.err.text);
}

Test(faults, a_log_that_cannot_be_written)
{
    struct small_run missing = {.options = {.iterations = 1, .log_path = "/dev/null/log"}};
    run_go(&missing);
    cr_assert_not(missing.ok);
    cr_assert(strstr(missing.err.text, "--log: /dev/null/log"), "%s", missing.err.text);
    struct small_run full = {.options = {.iterations = 2, .log_path = "/dev/full", .skip_evaluation = true}};
    run_go(&full);
    cr_assert_eq(full.steps, 2, "a full disk stopped the run");
    cr_assert_not(full.ok);
    cr_assert_eq(full.err.kind, ERROR_FAILED);
}

Test(faults, wrong_options_are_named)
{
    struct small_run classes = {.model = "resnet-18", .batch = 2};
    run_go(&classes);
    cr_assert_not(classes.ok);
    cr_assert(strstr(classes.err.text, "--data"), "%s", classes.err.text);
    struct small_run plateau = {.options.schedule = {.kind = SCHEDULE_PLATEAU, .base = 0.1}};
    plateau.options.skip_evaluation = true;
    run_go(&plateau);
    cr_assert_not(plateau.ok, "a rate that never falls");
    cr_assert(strstr(plateau.err.text, "--no-evaluate"), "%s", plateau.err.text);
}

/* The device's thread is this test's, so that its allocations can be made to fail one by one. */
Test(faults, an_executor_gives_back_all_when_memory_runs_out)
{
    struct small_run run = {.model = "resnet-8", .batch = 2, .backend = &cpu_reference_backend};
    run_fill_defaults(&run);
    struct plan *plan = run_plan(&run);
    cr_assert(plan, "%s", run.err.text);
    struct executor_options options = {
        .plan = plan, .backend = &cpu_reference_backend, .in_flight = 2, .keep_statistics = true, .fill_dead = true};
    uint64_t before[MEM_PURPOSES], after[MEM_PURPOSES];
    crew_start(cpu_threads_allowed(0)); /* they stay while this thread lives */
    all_bytes(before);
    bool ok = false;
    for (uint64_t n = 1; !ok; n++) {
        struct executor *executor = NULL;
        struct error err = {0};
        mem_fail_at(n);
        ok = executor_create(&options, &executor, &err);
        mem_fail_at(0);
        cr_assert(ok || (err.kind == ERROR_MEMORY && !executor), "allocation %d: %s", (int)n, err.text);
        executor_destroy(executor);
        all_bytes(after);
        for (int i = 0; i < MEM_PURPOSES; i++)
            cr_assert_eq(before[i], after[i], "allocation %d: %s bytes leak", (int)n,
                         mem_purpose_name((enum mem_purpose)i));
    }
    plan_destroy(plan);
}
