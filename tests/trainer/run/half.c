/* Training with 16-bit activations: the plan changes no bit, as in f32; a step whose gradients overflow is skipped. */
#include <criterion/criterion.h>

#include "offload_kit.h"
#include "plan_request.h"
#include "sharing.h"
#include "train_help.h"
#include "verify.h"

TestSuite(half, .init = run_make_data, .fini = run_remove_data, .timeout = 240);

#define STEPS 6

static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F16};

static void go(struct small_run *run, const char *save)
{
    char folder[128];
    snprintf(folder, sizeof folder, "%s", run_path(save));
    if (run->options.iterations == 0) run->options.iterations = STEPS;
    run->options.skip_evaluation = true;
    run->options.save_folder = folder;
    run_go(run);
    cr_assert(run->ok, "%s: %s", save, run->err.text);
}

/* Of their losses, and of all that their last checkpoint holds; `skip` steps of a came before b began. */
static void check_same(const struct small_run *a, const char *save_a, const struct small_run *b, const char *save_b,
                       uint64_t skip)
{
    char folder_a[128], folder_b[128];
    for (uint64_t i = 0; i < b->steps; i++)
        cr_assert(memcmp(&a->losses[skip + i], &b->losses[i], sizeof(double)) == 0, "%s, step %d: %.17g, %.17g with %s",
                  save_b, (int)(skip + i), b->losses[i], a->losses[skip + i], save_a);
    snprintf(folder_a, sizeof folder_a, "%s/%s", run_data, save_a);
    snprintf(folder_b, sizeof folder_b, "%s/%s", run_data, save_b);
    cr_assert_eq(a->result.steps, b->result.steps);
    cr_assert(run_same_checkpoints(folder_a, folder_b, a->result.steps), "%s: other weights than %s", save_b, save_a);
}

static void offload_all(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    (void)run;
    struct error err = {0};
    offload_everything(plan, request);
    cr_assert(plan_verify(plan, NULL, &err), "%s", err.text);
}

/* What is fused is worked on in f32, and stored in 16 bits: whatever is shared or runs again. */
Test(half, the_plan_changes_no_bit_of_lowered_programs)
{
    for (size_t i = 0; i < 2; i++) {
        struct small_run none = {.model = "resnet-11", .batch = 8, .dtype = dtypes[i], .sharing = SHARING_NONE};
        none.lowering = LOWER_ALL;
        struct small_run again = none;
        again.sharing = SHARING_FULL;
        again.recompute = RECOMPUTE_ELEMENTWISE;
        again.options.fill_dead = true;
        go(&none, i ? "f16" : "bf16");
        go(&again, i ? "f16-again" : "bf16-again");
        check_same(&none, i ? "f16" : "bf16", &again, i ? "f16-again" : "bf16-again", 0);
    }
}

Test(half, the_plan_changes_no_bit)
{
    for (size_t i = 0; i < 2; i++) {
        struct small_run none = {.model = "resnet-11", .batch = 8, .dtype = dtypes[i], .sharing = SHARING_NONE};
        struct small_run filled = {.model = "resnet-11", .batch = 8, .dtype = dtypes[i], .options.fill_dead = true};
        struct small_run elementwise = filled, host = filled;
        elementwise.recompute = RECOMPUTE_ELEMENTWISE;
        host.change_plan = offload_all;
        go(&none, "none");
        go(&filled, "filled");
        go(&elementwise, "elementwise");
        go(&host, "host");
        check_same(&none, "none", &filled, "filled", 0);
        check_same(&none, "none", &elementwise, "elementwise", 0);
        check_same(&none, "none", &host, "host", 0);
        run_remove_data();
        run_make_data();
    }
}

Test(half, blocks_run_again_change_no_bit)
{
    for (size_t i = 0; i < 2; i++) {
        struct small_run kept = {.model = "resnet-20", .batch = 8, .dtype = dtypes[i], .options.iterations = 3};
        struct small_run blocks = kept;
        blocks.recompute = RECOMPUTE_BUDGET;
        blocks.budget = 6500u << 10;
        blocks.options.fill_dead = true;
        go(&kept, "kept");
        go(&blocks, "blocks");
        check_same(&kept, "kept", &blocks, "blocks", 0);
        cr_expect_lt(blocks.result.planned_bytes, kept.result.planned_bytes - (2u << 20));
        run_remove_data();
        run_make_data();
    }
}

Test(half, lowered_programs_change_no_bit)
{
    for (size_t i = 0; i < 2; i++) {
        struct small_run none = {.model = "resnet-11", .batch = 8, .dtype = dtypes[i], .sharing = SHARING_NONE};
        struct small_run filled = {.model = "resnet-11", .batch = 8, .dtype = dtypes[i], .options.fill_dead = true};
        none.lowering = filled.lowering = LOWER_ALL;
        none.options.iterations = filled.options.iterations = 3;
        go(&none, "none");
        go(&filled, "filled");
        check_same(&none, "none", &filled, "filled", 0);
        run_remove_data();
        run_make_data();
    }
}

Test(half, nor_do_dead_bytes_on_two_devices_with_micro_batches)
{
    for (size_t i = 0; i < 2; i++) {
        struct small_run plain = {.gpus = "2xcpu", .micro_batches = 2, .bucket_bytes = 64 << 10, .dtype = dtypes[i]};
        struct small_run filled = plain;
        filled.sync_bn = plain.sync_bn = i == 1;
        filled.options.fill_dead = true;
        filled.options.iterations = plain.options.iterations = 4;
        go(&plain, "plain");
        go(&filled, "filled");
        check_same(&plain, "plain", &filled, "filled", 0);
        run_remove_data();
        run_make_data();
    }
}

/* Copies of the weights lie in the arena as everything else does: blocks that run again read them, the update has their
 * bytes. */
Test(half, nor_do_copied_weights)
{
    for (size_t i = 0; i < 2; i++) {
        struct small_run plain = {.gpus = "2xcpu", .micro_batches = 2, .bucket_bytes = 64 << 10, .dtype = dtypes[i]};
        plain.lowering = LOWER_WEIGHTS;
        plain.sharing = SHARING_NONE;
        plain.options.iterations = 3;
        struct small_run filled = plain;
        filled.sharing = SHARING_FULL;
        filled.recompute = RECOMPUTE_ELEMENTWISE;
        filled.options.fill_dead = true;
        go(&plain, "plain");
        go(&filled, "filled");
        check_same(&plain, "plain", &filled, "filled", 0);
        run_remove_data();
        run_make_data();
    }
}

static struct small_run large_scale(enum dtype dtype)
{
    return (struct small_run){.dtype = dtype, .options = {.loss_scale = (double)LOSS_SCALE_MOST, .scale_streak = 2}};
}

static void check_resumed(struct small_run whole, uint64_t stop_at)
{
    struct small_run first = whole, rest = whole;
    char parts[128];
    snprintf(parts, sizeof parts, "%s", run_path("parts"));
    whole.options.iterations = rest.options.iterations = 8;
    first.options.iterations = stop_at;
    rest.options.resume_folder = parts;
    rest.options.loss_scale = 0;
    go(&whole, "whole");
    go(&first, "parts");
    go(&rest, "parts");
    check_same(&whole, "whole", &rest, "parts", stop_at);
    cr_assert_eq(whole.result.loss_scale, rest.result.loss_scale);
    cr_assert_eq(whole.result.skipped, rest.result.skipped);
    run_remove_data();
    run_make_data();
}

Test(half, resumes_bitwise)
{
    check_resumed((struct small_run){.dtype = DTYPE_BF16}, 3);
    check_resumed((struct small_run){.dtype = DTYPE_F16, .gpus = "2xcpu"}, 3);
}

/* Before, within and after the steps that are skipped. */
Test(half, resumes_bitwise_across_an_overflow)
{
    check_resumed(large_scale(DTYPE_F16), 1);
    check_resumed(large_scale(DTYPE_F16), 4);
}

struct heard {
    unsigned marks;
    char last[128];
};

static void hear_mark(void *context, uint64_t ns, const char *text)
{
    struct heard *heard = context;
    (void)ns;
    if (!strstr(text, "skipped")) return;
    heard->marks++;
    snprintf(heard->last, sizeof heard->last, "%s", text);
}

static struct loss_scale seen[RUN_STEPS];

static void see_scale(struct small_run *run, uint64_t step)
{
    seen[step] = (struct loss_scale){.scale = (float)run->last.loss_scale, .skipped = (float)run->last.skipped};
}

/* Where nothing is skipped, training is the same whatever the scale: it is a power of two. */
Test(half, overflow_skips_the_step_and_halves_the_scale)
{
    struct heard heard = {0};
    struct trace_sink sink = {.context = &heard, .mark = hear_mark};
    struct small_run run = large_scale(DTYPE_F16);
    run.options.iterations = 12;
    run.options.log_path = run_path("log");
    run.sink = &sink;
    run.after_step = see_scale;
    seen[0] = (struct loss_scale){.scale = LOSS_SCALE_MOST};
    go(&run, "large");
    unsigned skipped = 0, grown = 0;
    for (int i = 1; i <= 12; i++) {
        bool skips = seen[i].skipped > seen[i - 1].skipped;
        skipped += skips;
        grown += seen[i].scale > seen[i - 1].scale;
        if (skips) cr_expect_eq(seen[i].scale, seen[i - 1].scale / 2);
        if (!skips) cr_expect_geq(seen[i].scale, seen[i - 1].scale);
    }
    cr_expect_gt(skipped, 0, "a scale of 2^24 overflows");
    cr_expect_lt(skipped, 12);
    cr_expect_gt(grown, 0, "two good steps double it");
    cr_expect_eq(run.result.skipped, skipped);
    cr_expect_eq(heard.marks, skipped);
    cr_expect(strstr(heard.last, "gradients overflow at loss scale"), "%s", heard.last);
    char command[256];
    snprintf(command, sizeof command, "[ $(grep -c '\"loss_scale\": [0-9]' '%s') = 12 ]", run.options.log_path);
    cr_expect_eq(system(command), 0);
}

/* The first step is skipped: the second, of the same batch, has its loss, and its parameters. */
Test(half, a_skipped_step_changes_no_parameter)
{
    struct small_run run = large_scale(DTYPE_F16);
    run.options.iterations = 2;
    run.options.repeat_batch = true;
    run.after_step = see_scale;
    go(&run, "skipped");
    cr_assert_eq(seen[1].skipped, 1);
    cr_assert(memcmp(&run.losses[0], &run.losses[1], sizeof(double)) == 0);
}

Test(half, devices_skip_together)
{
    struct small_run run = large_scale(DTYPE_F16);
    run.gpus = "2xcpu";
    run.micro_batches = 2;
    run.bucket_bytes = 64 << 10;
    go(&run, "devices");
    cr_expect_gt(run.result.skipped, 0);
    cr_expect_lt(run.result.skipped, STEPS);
}

/* A checkpoint of one dtype goes on in another; without a loss scale a new one begins. */
Test(half, checkpoints_go_from_dtype_to_dtype)
{
    const enum dtype path[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    char folder[128];
    snprintf(folder, sizeof folder, "%s", run_path("path"));
    for (uint64_t i = 0; i < 5; i++) {
        struct small_run run = {.dtype = path[i], .options = {.iterations = i + 1}};
        if (i > 0) run.options.resume_folder = folder;
        go(&run, "path");
        cr_expect_eq(run.steps, 1);
        cr_expect_eq(run.result.loss_scale, path[i] == DTYPE_F16 ? (double)LOSS_SCALE_FIRST : 0);
    }
}

/* 25 steps of ResNet-20 on the synthetic images. The first loss has the rounding of 16 bits alone; later ones differ as
 * those of two seeds do, by 0.2 in their mean over ten steps. */
Test(half, learns_as_in_f32)
{
    double means[3] = {0}, first[3];
    for (int i = 0; i < 3; i++) {
        struct small_run run = {.model = "resnet-20", .batch = 16, .dtype = i == 0 ? DTYPE_F32 : dtypes[i - 1]};
        run.logical = true;
        run.options.iterations = 25;
        run.options.skip_evaluation = true;
        run_go(&run);
        cr_assert(run.ok, "%s", run.err.text);
        for (int k = 15; k < 25; k++) means[i] += run.losses[k] / 10;
        cr_expect_lt(means[i], run.losses[0]);
        first[i] = run.losses[0];
    }
    for (int i = 1; i < 3; i++) {
        cr_expect_float_eq(first[i], first[0], 0.01, "%s: %g, f32 %g", dtype_name(dtypes[i - 1]), first[i], first[0]);
        cr_expect_float_eq(means[i], means[0], 0.2, "%s: %g, f32 %g", dtype_name(dtypes[i - 1]), means[i], means[0]);
    }
}

/* The planner's and the trainer's figure: activations take half, all else what it took. */
Test(half, keeps_half_the_activations)
{
    uint64_t kept[3];
    for (int i = 0; i < 3; i++) {
        struct small_run run = {.model = "resnet-20", .batch = 64, .dtype = i == 0 ? DTYPE_F32 : dtypes[i - 1]};
        run.logical = true;
        run_fill_defaults(&run);
        struct plan *plan = run_plan(&run);
        cr_assert(plan, "%s", run.err.text);
        kept[i] = plan->devices[0].classes[MEMORY_KEPT];
        plan_destroy(plan);
    }
    for (int i = 1; i < 3; i++)
        cr_expect((double)kept[i] / (double)kept[0] < 0.52, "%g", (double)kept[i] / (double)kept[0]);
}

Test(half, the_reference_trains_too)
{
    for (size_t i = 0; i < 2; i++) {
        struct small_run fast = {.batch = 4, .dtype = dtypes[i]}, slow = fast;
        slow.backend = &cpu_reference_backend;
        fast.options.iterations = slow.options.iterations = 2;
        go(&fast, "fast");
        go(&slow, "slow");
        for (int k = 0; k < 2; k++) cr_expect_float_eq(fast.losses[k], slow.losses[k], i == 0 ? 0.05 : 0.01);
        run_remove_data();
        run_make_data();
    }
}
