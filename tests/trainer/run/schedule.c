#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rate.h"

static struct model_spec spec_of(const char *name)
{
    struct model_spec spec;
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct error err = {0};
    cr_assert(model_parse(name, &options, &spec, &err), "%s", err.text);
    return spec;
}

static void check_rate(const struct schedule *schedule, uint64_t step, double wanted)
{
    struct schedule_state state = schedule_begin();
    double rate = schedule_rate_at(schedule, &state, step);
    cr_assert(fabs(rate - wanted) <= 1e-12 + 1e-9 * wanted, "step %llu: %g, %g is right", (unsigned long long)step,
              rate, wanted);
}

Test(schedule, cifar_nets_follow_the_paper)
{
    struct model_spec spec = spec_of("resnet-20");
    struct schedule schedule = schedule_for(recipe_for(&spec), 0, 128);
    cr_assert_eq(recipe_steps(recipe_for(&spec), 128), 64000);
    check_rate(&schedule, 0, 0.1);
    check_rate(&schedule, 31999, 0.1);
    check_rate(&schedule, 32000, 0.01);
    check_rate(&schedule, 47999, 0.01);
    check_rate(&schedule, 48000, 0.001);
    check_rate(&schedule, 63999, 0.001);
    cr_assert_float_eq(recipe_for(&spec)->weight_decay, 1e-4, 1e-12);
}

Test(schedule, deep_cifar_nets_warm_up)
{
    const char *names[] = {"resnet-110", "resnet-1202", "resnet-164", "resnet-1001"};
    for (int i = 0; i < 4; i++) {
        struct model_spec spec = spec_of(names[i]);
        struct schedule schedule = schedule_for(recipe_for(&spec), 64000, 128);
        check_rate(&schedule, 0, 0.01);
        check_rate(&schedule, 399, 0.01);
        check_rate(&schedule, 400, 0.1);
        check_rate(&schedule, 48000, 0.001);
    }
}

Test(schedule, shorter_runs_keep_the_proportions)
{
    struct model_spec spec = spec_of("resnet-110");
    struct schedule schedule = schedule_for(recipe_for(&spec), 6400, 128);
    check_rate(&schedule, 39, 0.01);
    check_rate(&schedule, 40, 0.1);
    check_rate(&schedule, 3199, 0.1);
    check_rate(&schedule, 3200, 0.01);
    check_rate(&schedule, 4800, 0.001);
}

/* Of seven steps half are four, and three quarters five. */
Test(schedule, drops_of_short_runs_are_at_the_nearest_step)
{
    struct model_spec spec = spec_of("resnet-20");
    struct schedule schedule = schedule_for(recipe_for(&spec), 7, 128);
    check_rate(&schedule, 3, 0.1);
    check_rate(&schedule, 4, 0.01);
    check_rate(&schedule, 5, 0.001);
}

Test(schedule, steps_that_are_named_come_one_after_the_other)
{
    static const char *const wrong[] = {"320,320", "480,320", "320,", ",320", "0", "1,2,3,4,5,6,7,8,9"};
    struct schedule schedule = {.kind = SCHEDULE_CONSTANT, .base = 0.1, .factor = 0.1};
    struct schedule_change change = {.kind = "320,480", .base = NAN, .warm_steps = UINT64_MAX};
    struct error err = {0};
    cr_assert(schedule_change(&schedule, &change, &err), "%s", err.text);
    check_rate(&schedule, 319, 0.1);
    check_rate(&schedule, 320, 0.01);
    check_rate(&schedule, 480, 0.001);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error refused = {0};
        change.kind = wrong[i];
        cr_expect_not(schedule_change(&schedule, &change, &refused), "%s", wrong[i]);
        cr_expect(refused.kind == ERROR_INPUT && strstr(refused.text, wrong[i]), "%s: %s", wrong[i], refused.text);
    }
}

/* A warm-up whose length is given ends by it alone; a plateau without a recipe's patience has 3. */
Test(schedule, what_is_changed_is_not_the_recipes_any_more)
{
    struct model_spec spec = spec_of("resnet-110");
    struct schedule schedule = schedule_for(recipe_for(&spec), 64000, 128);
    struct schedule_change change = {.kind = "plateau", .base = 0.2, .warm_steps = 5};
    struct schedule_state state = schedule_begin();
    struct error err = {0};
    cr_assert_gt(schedule.warm_until_error, 0);
    cr_assert(schedule_change(&schedule, &change, &err), "%s", err.text);
    cr_assert_not(schedule_follows_error(&schedule, &state, 0));
    check_rate(&schedule, 4, 0.02); /* the same part of another rate */
    check_rate(&schedule, 5, 0.2);
    cr_assert_eq(schedule.patience, 3);
}

Test(schedule, the_rate_follows_the_batch)
{
    struct model_spec spec = spec_of("resnet-20");
    struct schedule half = schedule_for(recipe_for(&spec), 0, 64), eighth = schedule_for(recipe_for(&spec), 0, 8);
    struct schedule twice = schedule_for(recipe_for(&spec), 0, 256), between = schedule_for(recipe_for(&spec), 0, 96);
    check_rate(&half, 0, 0.1); /* as the authors' release */
    check_rate(&between, 0, 0.1);
    check_rate(&eighth, 0, 0.0125);
    check_rate(&twice, 0, 0.2);
    cr_assert_eq(recipe_steps(recipe_for(&spec), 256), 32000);
}

Test(schedule, imagenet_nets_follow_the_papers)
{
    struct model_spec original = spec_of("resnet-50"), preact = spec_of("resnet-200"), vgg = spec_of("vgg-d");
    struct schedule plateau = schedule_for(recipe_for(&original), 0, 256),
                    steps = schedule_for(recipe_for(&preact), 90000, 256);
    struct schedule small = schedule_for(recipe_for(&vgg), 0, 256);
    cr_assert_eq(plateau.kind, SCHEDULE_PLATEAU);
    cr_assert_eq(recipe_steps(recipe_for(&original), 256), 600000);
    cr_assert_eq(recipe_steps(recipe_for(&vgg), 256), 370000);
    check_rate(&steps, 29999, 0.1);
    check_rate(&steps, 30000, 0.01);
    check_rate(&steps, 60000, 0.001);
    check_rate(&small, 0, 0.01);
    cr_assert_float_eq(recipe_for(&vgg)->weight_decay, 5e-4, 1e-12);
}

Test(schedule, cosine_ends_at_zero)
{
    struct schedule schedule = {.kind = SCHEDULE_COSINE, .base = 0.2, .iterations = 100};
    check_rate(&schedule, 0, 0.2);
    check_rate(&schedule, 50, 0.1);
    check_rate(&schedule, 100, 0);
    check_rate(&schedule, 1000, 0);
}

Test(schedule, a_warm_up_ends_early_when_the_error_falls)
{
    struct model_spec spec = spec_of("resnet-110");
    struct schedule schedule = schedule_for(recipe_for(&spec), 64000, 128);
    struct schedule_state state = schedule_begin();
    schedule_see_step(&schedule, &state, 0.5); /* one lucky batch is not enough */
    cr_assert_float_eq(schedule_rate_at(&schedule, &state, 1), 0.01, 1e-12);
    for (int i = 0; i < 100; i++) schedule_see_step(&schedule, &state, 0.7);
    cr_assert_float_eq(schedule_rate_at(&schedule, &state, 101), 0.1, 1e-12);
    for (int i = 0; i < 100; i++) schedule_see_step(&schedule, &state, 0.95); /* it does not begin again */
    cr_assert_float_eq(schedule_rate_at(&schedule, &state, 201), 0.1, 1e-12);
}

/* The error is seen over about twenty batches: from 1 to below 0.8 by batches at 0.7 in 22, since 0.95^22 < 1/3. */
Test(schedule, a_warm_up_takes_the_batches_that_its_average_takes)
{
    struct schedule schedule = {
        .kind = SCHEDULE_CONSTANT, .base = 0.1, .warm_rate = 0.01, .warm_steps = 1000, .warm_until_error = 0.8};
    struct schedule_state state = schedule_begin();
    for (uint64_t i = 0; i < 22; i++) {
        cr_assert(schedule_follows_error(&schedule, &state, i), "step %d", (int)i);
        cr_assert_float_eq(schedule_rate_at(&schedule, &state, i), 0.01, 1e-12);
        schedule_see_step(&schedule, &state, 0.7);
    }
    cr_assert_not(schedule_follows_error(&schedule, &state, 22));
    cr_assert_float_eq(schedule_rate_at(&schedule, &state, 22), 0.1, 1e-12);
    state = schedule_begin();
    cr_assert_not(schedule_follows_error(&schedule, &state, 1000), "it ends by itself");
}

/* Evaluations without a better error are counted from the last better one. */
Test(schedule, a_better_error_begins_a_plateau_anew)
{
    struct schedule schedule = {.kind = SCHEDULE_PLATEAU, .base = 0.1, .factor = 0.1, .patience = 2};
    struct schedule_state state = schedule_begin();
    const double errors[] = {0.5, 0.6, 0.4, 0.5, 0.5, 0.5, 0.5};
    const double rates[] = {0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001};
    for (int i = 0; i < 7; i++) {
        schedule_see_evaluation(&schedule, &state, errors[i]);
        double rate = schedule_rate_at(&schedule, &state, 1);
        cr_assert_float_eq(rate, rates[i], 1e-9, "after evaluation %d: %g", i, rate);
    }
}

Test(schedule, plateaus_drop_the_rate)
{
    struct schedule schedule = {.kind = SCHEDULE_PLATEAU, .base = 0.1, .factor = 0.1, .patience = 2};
    struct schedule_state state = schedule_begin();
    const double errors[] = {0.5, 0.4, 0.45, 0.41, 0.39, 0.39, 0.4};
    const double rates[] = {0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001};
    for (int i = 0; i < 7; i++) {
        schedule_see_evaluation(&schedule, &state, errors[i]);
        double rate = schedule_rate_at(&schedule, &state, 1);
        cr_assert_float_eq(rate, rates[i], 1e-9, "after evaluation %d: %g", i, rate);
    }
}

Test(schedule, an_evaluation_without_a_result_is_not_stale)
{
    struct schedule schedule = {.kind = SCHEDULE_PLATEAU, .base = 0.1, .factor = 0.1, .patience = 2};
    struct schedule_state state = schedule_begin();
    const double errors[] = {0.5, NAN, NAN, 0.6, NAN, 0.6};
    const double rates[] = {0.1, 0.1, 0.1, 0.1, 0.1, 0.01};
    for (int i = 0; i < 6; i++) {
        schedule_see_evaluation(&schedule, &state, errors[i]);
        double rate = schedule_rate_at(&schedule, &state, 1);
        cr_assert_float_eq(rate, rates[i], 1e-9, "after evaluation %d: %g", i, rate);
    }
}
