/* Batch normalisation over groups of images: plans and runs. */
#include <criterion/criterion.h>

#include "plan_file.h"
#include "save_kit.h"
#include "train_help.h"

TestSuite(bn_groups, .init = run_make_data, .fini = run_remove_data);

#define STEPS 4

static void go(struct small_run *run, const char *save)
{
    run->options.iterations = STEPS;
    run_go_and_save(run, save);
}

static void check_equal(const struct small_run *a, const struct small_run *b)
{
    cr_expect_arr_eq(a->losses, b->losses, STEPS * sizeof a->losses[0]);
    cr_expect(run_same_checkpoints(a->options.save_folder, b->options.save_folder, STEPS), "%s, %s",
              a->options.save_folder, b->options.save_folder);
    cr_expect_float_eq(a->result.top1_error, b->result.top1_error, 0);
}

Test(bn_groups, a_group_of_all_images_changes_no_bit)
{
    struct small_run without = {0}, whole = {.bn_group = 16}, two = {.gpus = "2xcpu"}, halves = {.gpus = "2xcpu"};
    struct small_run cut = {.micro_batches = 4}, pieces = {.micro_batches = 4, .bn_group = 4};
    halves.bn_group = 8;
    go(&without, "without");
    go(&whole, "whole");
    go(&two, "two");
    go(&halves, "halves");
    check_equal(&without, &whole);
    check_equal(&two, &halves);
    go(&cut, "cut");
    go(&pieces, "pieces");
    check_equal(&cut, &pieces);
    cr_expect_eq(cut.result.planned_bytes, pieces.result.planned_bytes);
}

/* Statistics of each group are kept until the block has run again. */
Test(bn_groups, recomputation_changes_no_bit)
{
    struct small_run kept = {.bn_group = 4}, redone = {.bn_group = 4, .recompute = RECOMPUTE_ELEMENTWISE};
    struct small_run filled = {.bn_group = 4, .recompute = RECOMPUTE_BUDGET, .budget = 7 << 20};
    filled.options.fill_dead = true;
    go(&kept, "kept");
    go(&redone, "redone");
    go(&filled, "filled");
    check_equal(&kept, &redone);
    check_equal(&kept, &filled);
    cr_expect_lt(filled.result.planned_bytes, kept.result.planned_bytes);
}

/* To rounding: elsewhere sums are over other numbers of images. */
Test(bn_groups, groups_learn_as_micro_batches_do)
{
    struct small_run groups = {.bn_group = 4, .logical = true}, pieces = {.micro_batches = 4, .logical = true};
    struct small_run all = {.logical = true};
    go(&groups, "groups");
    go(&pieces, "pieces");
    go(&all, "all");
    for (int i = 0; i < STEPS; i++) {
        cr_expect_float_eq(groups.losses[i], pieces.losses[i], 1e-4 * pieces.losses[i], "step %d: %g, %g", i,
                           groups.losses[i], pieces.losses[i]);
        cr_expect(fabs(groups.losses[i] - all.losses[i]) > 1e-3, "step %d: the groups do not count", i);
    }
}

/* Shares and micro-batches are of whole groups, and the run goes by them. */
Test(bn_groups, the_batch_is_cut_between_groups)
{
    struct small_run run = {.batch = 24, .gpus = "2xcpu", .bn_group = 8};
    run_fill_defaults(&run);
    struct plan *plan = run_plan(&run);
    cr_assert(plan, "%s", run.err.text);
    cr_expect(plan->devices[0].images == 16 && plan->devices[1].images == 8);
    cr_expect(plan->changes_bn && plan->bn_group == 8);
    plan_destroy(plan);
    go(&run, "uneven");
}

static const struct tensor *find_role(const struct graph *graph, enum tensor_role role)
{
    for (size_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].role == role) return &graph->tensors[t];
    return NULL;
}

Test(bn_groups, plans_know_the_statistics_and_what_cannot_be_fused)
{
    for (uint32_t group = 4; group <= 16; group *= 2) {
        struct small_run run = {.bn_group = group, .lowering = LOWER_EXACT};
        struct error err = {0};
        run_fill_defaults(&run);
        struct plan *plan = run_plan(&run), *read;
        cr_assert(plan, "%s", run.err.text);
        const uint32_t groups = 16 / group, left = LOWER_EXACT & ~(uint32_t)LOWER_GROUPS_LACK;
        cr_expect_eq(plan->lowering, groups > 1 ? left : (uint32_t)LOWER_EXACT);
        const struct graph *graph = plan->variants[0].graph;
        const struct tensor *mean = find_role(graph, ROLE_MEAN);
        cr_expect_eq(mean != NULL, groups > 1);
        if (mean) cr_expect(mean->dims[2] == groups && mean->bytes == sizeof(float) * groups * mean->dims[3]);
        cr_expect(graph_check(graph, &err), "%s", err.text);
        char path[128];
        snprintf(path, sizeof path, "%s/group.json", run_data);
        cr_assert(plan_write(plan, path, &err) && (read = plan_read(path, &err)), "%s", err.text);
        cr_expect(read->bn_group == group && read->variants[0].graph_hash == plan->variants[0].graph_hash);
        plan_destroy(read);
        plan_destroy(plan);
    }
}

/* What counts is the images of a micro-batch, as they are cut in the end. */
Test(bn_groups, one_group_a_micro_batch_is_fused_as_without)
{
    static const struct {
        const char *gpus;
        uint32_t group, micro_batches;
        bool several;
    } cases[] = {{"cpu", 4, 4, false}, {"cpu", 4, 2, true}, {"2xcpu", 4, 2, false}, {"2xcpu", 2, 2, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct small_run run = {.gpus = cases[i].gpus,
                                .bn_group = cases[i].group,
                                .micro_batches = cases[i].micro_batches,
                                .lowering = LOWER_EXACT};
        struct small_run without = run;
        without.bn_group = 0;
        run_fill_defaults(&run);
        run_fill_defaults(&without);
        struct plan *plan = run_plan(&run), *same = run_plan(&without);
        cr_assert(plan && same, "%s%s", run.err.text, without.err.text);
        cr_expect_eq(plan->lowering != same->lowering, cases[i].several, "case %zu", i);
        cr_expect_eq(plan->variants[0].arena_bytes != same->variants[0].arena_bytes, cases[i].several, "case %zu", i);
        cr_expect(plan->changes_bn);
        plan_destroy(plan);
        plan_destroy(same);
    }
}

Test(bn_groups, what_cannot_be_is_refused)
{
    static const struct {
        const char *gpus;
        uint32_t group, micro_batches;
        bool sync;
        const char *words;
    } cases[] = {{"cpu", 5, 0, false, "groups of 5 images do not divide the batch of 16"},
                 {"cpu", 32, 0, false, "groups of 32 images do not divide the batch of 16"},
                 {"3xcpu", 8, 0, false, "16 images are 2 groups of 8, less than the 3 devices"},
                 {"cpu", 8, 4, false, "cannot be cut into 4 equal parts of whole groups (--bn-group); into 2 they can"},
                 {"2xcpu", 4, 0, true, "taken over all devices"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct small_run run = {.gpus = cases[i].gpus,
                                .bn_group = cases[i].group,
                                .micro_batches = cases[i].micro_batches,
                                .sync_bn = cases[i].sync};
        run_fill_defaults(&run);
        cr_expect_null(run_plan(&run));
        cr_expect(run.err.kind == ERROR_INPUT && strstr(run.err.text, cases[i].words), "%s", run.err.text);
    }
}
