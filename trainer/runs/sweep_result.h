/* What a sweep's runs came to: a mean and a deviation for each row, and their curves. */
#ifndef FATHOM_SWEEP_RESULT_H
#define FATHOM_SWEEP_RESULT_H

#include "sweep_run.h"

struct sweep_sums {
    size_t count;           /* finished runs whose figure is known */
    double mean, deviation; /* deviation: of a sample, n - 1; NAN with fewer than two. mean: NAN with none */
};
/* Of figures, those that are NAN left out. */
struct sweep_sums sweep_sum(const double *figures, size_t count);

struct sweep_result {
    struct sweep_sums figure;   /* what the sweep compares: 0..1 of errors */
    double loss;                /* the mean of the last steps; NAN = not known */
    double images_per_second;   /* the median of runs; 0 = not known */
    size_t in[SWEEP_FAILED + 1]; /* runs in each state */
};
struct sweep_result sweep_result_of(const struct sweep *sweep, const struct sweep_jobs *jobs, size_t row);

/* The figure of one run; NAN = not known. */
double sweep_figure_of(enum sweep_figure figure, const struct curves *curves);

/* Rows that have begun runs, in their order: means over seeds, in bands of the deviation. */
bool sweep_draw(const struct sweep *sweep, const struct sweep_jobs *jobs, const char *path, struct error *err);

#endif
