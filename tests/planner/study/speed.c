#include "speed.h"

#include "planner_kit.h"

static struct speed_row row_of(const struct kit_options *options)
{
    struct plan *plan = kit_make_from(options);
    struct error err = {0};
    struct speed_row row;
    cr_assert(speed_row_of(plan, NULL, &row, &err), "%s", err.text);
    if (row.predicted_seconds > 0)
        cr_expect_lt(row.predicted_seconds, plan->step_seconds, "%s: the update is not in it", options->model);
    row.model = options->model;
    plan_destroy(plan);
    return row;
}

/* A roofline and cuDNN R4 are a third apart at most. */
Test(speed, the_posts_nets_on_the_posts_device)
{
    size_t count = 0;
    double before = 1;
    for (const struct speed_published *p; (p = speed_published_at(count)); count++) {
        struct speed_row row =
            row_of(&(struct kit_options){.model = p->model, .batch = SPEED_PUBLISHED_BATCH, .gpus = "titan-x"});
        cr_expect_eq(row.published, p, "%s", p->model);
        cr_expect(row.fits && row.recomputed == 0 && row.micro_batches == 1, "%s", p->model);
        cr_expect(row.predicted_seconds < 1.35 * p->seconds && 1.35 * row.predicted_seconds > p->seconds,
                  "%s: %g s, published %g s", p->model, row.predicted_seconds, p->seconds);
        cr_expect_lt(p->error, before, "by falling error");
        before = p->error;
    }
    cr_expect_eq(count, 7);
}

Test(speed, what_a_row_says)
{
    struct speed_row row = row_of(&(struct kit_options){.model = "inception-v3", .batch = 8, .gpus = "titan-x"});
    cr_expect_eq(row.parameters, 23834568);
    cr_expect_float_eq((double)row.forward_flops, 11.43e9, 0.01e9, "torchvision's 5.71 G multiply-adds, twice");
    struct speed_row cut =
        row_of(&(struct kit_options){.model = "inception-v3", .batch = 8, .micro_batches = 4, .gpus = "titan-x"});
    cr_expect_eq(cut.micro_batches, 4);
    cr_expect_lt(cut.peak_bytes, row.peak_bytes);
    cr_expect_gt(cut.predicted_seconds, row.predicted_seconds);
    cr_expect_lt(cut.predicted_seconds, 1.5 * row.predicted_seconds);
}

Test(speed, unknown_is_zero)
{
    cr_expect_eq(row_of(&(struct kit_options){.model = "resnet-20", .batch = 32, .gpus = "12GiB"}).predicted_seconds,
                 0);
    cr_expect_null(row_of(&(struct kit_options){.model = "resnet-20", .batch = 8, .gpus = "12GiB"}).published);
    cr_expect_null(
        row_of(&(struct kit_options){.model = "resnet-50", .image_size = 192, .batch = 8, .gpus = "12GiB"}).published,
        "other images take another time");
    cr_expect_not(row_of(&(struct kit_options){.model = "vgg-d", .batch = 1, .gpus = "1GiB"}).fits);
}

Test(speed, of_one_device)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 32, .gpus = "2x12GiB");
    struct error err = {0};
    struct speed_row row;
    cr_expect_not(speed_row_of(plan, NULL, &row, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    plan_destroy(plan);
}
