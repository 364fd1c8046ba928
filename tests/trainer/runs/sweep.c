/* Means over seeds, and what they are of. */
#include <math.h>

#include <criterion/criterion.h>

#include "sweep_result.h"

Test(sweep, deviation_is_of_a_sample)
{
    const double figures[] = {2, 4, NAN, 4, 4, 5, 5, INFINITY, 7, 9};
    struct sweep_sums sums = sweep_sum(figures, 10);
    cr_expect_eq(sums.count, 8);
    cr_expect_float_eq(sums.mean, 5, 1e-12);
    cr_expect_float_eq(sums.deviation, sqrt(32.0 / 7), 1e-12);
}

Test(sweep, one_seed_has_none_and_none_is_not_zero)
{
    struct sweep_sums one = sweep_sum((const double[]){3}, 1), none = sweep_sum((const double[]){NAN}, 1);
    cr_expect(one.count == 1 && one.mean >= 3 && one.mean <= 3 && isnan(one.deviation));
    cr_expect(none.count == 0 && isnan(none.mean) && isnan(none.deviation));
}

Test(sweep, figures_are_of_the_test_that_they_name)
{
    struct curve_test tests[] = {{1, 2, 0.5, 0.125}, {2, 1, 0.25, 0.0625}, {3, 3, 0.75, 0.375}};
    struct curves c = {.tests = tests, .test_count = 3, .last_step = 3, .last_loss = 1.5};
    cr_expect_float_eq(sweep_figure_of(SWEEP_TOP1, &c), 0.75, 0);
    cr_expect_float_eq(sweep_figure_of(SWEEP_BEST_TOP1, &c), 0.25, 0);
    cr_expect_float_eq(sweep_figure_of(SWEEP_TOP5, &c), 0.375, 0);
    cr_expect_float_eq(sweep_figure_of(SWEEP_LOSS, &c), 1.5, 0);
    cr_expect(isnan(sweep_figure_of(SWEEP_TOP1, &(struct curves){0})));
}
