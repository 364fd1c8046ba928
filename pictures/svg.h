/* Shapes and words of an SVG picture, added to a growing text. Attributes are passed through as they stand. */
#ifndef FATHOM_SVG_H
#define FATHOM_SVG_H

#include "text.h"

/* The colours of words and lines. */
#define SVG_INK    "#1b2430"
#define SVG_SOFT   "#5b6675"
#define SVG_HAIR   "#d5dae1"
#define SVG_DANGER "#b3261e"

/* The page, white, with the title that browsers show. svg_end closes it. */
void svg_begin(struct text *svg, double width, double height, const char *title);
/* The same on a page that follows the reader's colours, light or dark. What is added names classes instead of colours:
 * "ink", "soft", "hair" (a line) and "page" (filled as the page is), and for SVG_COLOURS things told apart "s0" (a
 * line), "f0" (an area), "s1" ... */
#define SVG_COLOURS 8
void svg_begin_themed(struct text *svg, double width, double height, const char *title);
void svg_end(struct text *svg);

void svg_label(struct text *svg, double x, double y, const char *attributes, const char *plain);
void svg_line(struct text *svg, double x1, double y1, double x2, double y2, const char *attributes);
void svg_rect(struct text *svg, double x, double y, double width, double height, const char *attributes);

/* The same with a title, which browsers show under the pointer. */
void svg_titled_rect(struct text *svg, double x, double y, double width, double height, const char *attributes,
                     const char *title);
/* "<title>", escaped. */
void svg_title(struct text *svg, const char *title);

/* A square of the colour with words beside it, for a legend. Returns where the next may begin. */
double svg_swatch(struct text *svg, double x, double y, const char *colour, const char *plain);

#endif
