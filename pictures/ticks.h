/* Where an axis has its marks: at round numbers. */
#ifndef FATHOM_TICKS_H
#define FATHOM_TICKS_H

#include <stddef.h>

#define TICKS_MOST 16

/* The smallest step of 1, 2 or 5 times a power of ten that makes at most `most` of a span above 0. */
double ticks_step(double span, int most);

/* The multiples of step in [low, high], in order; how many, at most TICKS_MOST. */
size_t ticks_list(double low, double high, double step, double ticks[TICKS_MOST]);

#endif
