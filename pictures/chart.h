/* Curves over steps, in panels below each other, with one legend for all. */
#ifndef FATHOM_CHART_H
#define FATHOM_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "text.h"

struct chart_series {
    const char *name;         /* in the legend; NULL = it is not told there */
    const double *x, *y;      /* count of each, x rising; where y is NAN the curve is broken. All are borrowed */
    const double *low, *high; /* a band around it, or NULL */
    size_t count;
    unsigned colour; /* which of the colours, from 0; they repeat, with dashes */
    bool right;      /* it belongs to the axis on the right */
    bool faint, thin;
    bool dots; /* at each point */
};

struct chart_panel {
    const char *left, *right; /* words above the axes; right may be NULL */
    const char *below;        /* the words of the x axis */
    bool left_percent, right_percent;
    const struct chart_series *series;
    size_t count;
};

/* Appends the whole picture. Axes begin at 0, but where all points lie in the upper half; what few points reach far above the
 * others is cut off. */
void chart_draw(struct text *svg, const char *title, const struct chart_panel *panels, size_t count);

/* A mean over a window of points of y[count], each point counted once, into out; NAN points are left out. */
void chart_smooth(const double *y, size_t count, size_t window, double *out);

#endif
