/* Pictures of runs' curves, as SVG. */
#ifndef FATHOM_CURVES_DRAW_H
#define FATHOM_CURVES_DRAW_H

#include "curves.h"

/* One run: losses on the left axis, errors on the right one, over steps. */
bool curves_draw_run(const struct curves *curves, const char *title, const char *path, struct error *err);

/* A line of the picture of several: one run, or a row of a sweep, whose runs differ in their seeds alone. */
struct curves_line {
    const char *name;
    const struct curves *const *runs;
    size_t count; /* of runs: of several the mean is drawn, within a band of their sample deviation */
};
/* The training loss of all in one panel, the test error in another. */
bool curves_draw_lines(const struct curves_line *lines, size_t count, const char *title, const char *path,
                       struct error *err);

#endif
