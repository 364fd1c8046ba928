/* What a run's log tells of its losses and errors, in as few numbers as a picture shows. */
#ifndef FATHOM_CURVES_H
#define FATHOM_CURVES_H

#include "errors.h"
#include "train_status.h"

#define CURVES_BINS 1024u

/* Means over neighbouring steps; of none with a finite loss count is 0. */
struct curve_bin {
    uint64_t first, last; /* steps, from 1 */
    uint64_t count;
    double loss, error; /* training: sums */
};

struct curve_test {
    uint64_t step;
    double loss, top1_error, top5_error; /* NAN = not finite */
};

struct curves {
    struct curve_bin bins[CURVES_BINS];
    size_t bin_count;
    uint64_t width; /* steps of a bin; 0 = nothing was added */
    struct curve_test *tests;
    size_t test_count, test_capacity;
    uint64_t last_step;           /* 0 = none */
    double last_loss, best_loss;  /* of a step, in training; NAN = unknown */
    double images_per_second;     /* the median over steps, of a log that was read; 0 = unknown */
};

/* The next step. ERROR_MEMORY. A zeroed object is empty. */
bool curves_add(struct curves *curves, const struct train_status *status, struct error *err);
/* Takes a zeroed object. */
void curves_finish(struct curves *curves);

/* Reads a run's log (log.h) into *curves, which is empty: of steps up to `last`. A last line that is torn is passed
 * over, as a run may be writing it. ERROR_INPUT names the file and the line. */
bool curves_read(const char *path, uint64_t last, struct curves *curves, struct error *err);

/* The test with the least top-1 error, and the last; NULL where there is none with a known error. */
const struct curve_test *curves_best_test(const struct curves *curves);
const struct curve_test *curves_last_test(const struct curves *curves);

#endif
