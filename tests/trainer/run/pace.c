/* What a run says of its pace: passes, errors of the present one, waits, and how long it will take. */
#include <math.h>

#include <criterion/criterion.h>

#include "pace.h"

static const struct pace_course course = {
    .images = 100, .batch = 10, .iterations = 40, .test_every = 15, .test_images = 30};

static void steps(struct pace *pace, uint64_t from, uint64_t to, double seconds, double hits)
{
    for (uint64_t i = from; i <= to; i++) pace_see_step(pace, &course, i, seconds, hits, hits + 2, 10);
}

Test(pace, errors_are_of_the_present_pass)
{
    struct pace pace = {0};
    struct train_status status;
    steps(&pace, 1, 9, 1, 0);
    steps(&pace, 10, 10, 1, 5);
    pace_tell(&pace, &course, 10, true, &status);
    cr_expect_float_eq(status.epoch, 1, 1e-12);
    cr_expect_float_eq(status.pass_top1, 0.95, 1e-12);
    cr_expect_float_eq(status.pass_top5, 1 - 0.25, 1e-12); /* 9 x 2 + 7 of 100 */
    steps(&pace, 11, 12, 1, 8);
    pace_tell(&pace, &course, 12, true, &status);
    cr_expect_float_eq(status.pass_top1, 0.2, 1e-12);
    cr_expect_float_eq(status.pass_top5, 0, 1e-12);
    cr_expect_float_eq(status.epoch, 1.2, 1e-12);
}

Test(pace, waits_that_were_not_measured_are_not_zero)
{
    struct pace pace = {0};
    struct train_status status;
    steps(&pace, 1, 4, 0.5, 0);
    pace_see_wait(&pace, 0.25);
    pace_see_wait(&pace, 0.25);
    pace_tell(&pace, &course, 4, true, &status);
    cr_expect_float_eq(status.waited_share, 0.25, 1e-12);
    pace_tell(&pace, &course, 4, false, &status);
    cr_expect(isnan(status.waited_share));
    pace_tell(&(struct pace){0}, &course, 0, true, &status);
    cr_expect(isnan(status.pass_top1) && isnan(status.waited_share));
}

Test(pace, what_is_left_has_the_tests_in_it)
{
    struct pace pace = {0};
    steps(&pace, 1, 10, 2, 0);
    /* 30 steps, tests after 15, 30 and 40, each of three batches at a third of a step */
    cr_expect_float_eq(pace_left(&pace, &course, 10), 60 + 3 * 2, 1e-9);
    pace_see_test(&pace, 7);
    cr_expect_float_eq(pace_left(&pace, &course, 15), 50 + 2 * 7, 1e-9);
    cr_expect_float_eq(pace_left(&pace, &course, 40), 0, 0);
    struct pace_course other = course;
    other.test_every = 0;
    cr_expect_float_eq(pace_left(&pace, &other, 39), 2 + 7, 1e-9);
    other.test_images = 0;
    cr_expect_float_eq(pace_left(&pace, &other, 39), 2, 1e-9);
    other = course;
    other.test_every = 20; /* the last test is at the end already */
    cr_expect_float_eq(pace_left(&pace, &other, 20), 40 + 7, 1e-9);
}
