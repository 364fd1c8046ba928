/* Scaling one axis of a picture by the triangle filter: bilinear when enlarging, and when shrinking wide enough that no
 * pixel is skipped (Heckbert, "Fundamentals of Texture Mapping", 1989; what PIL calls BILINEAR). */
#ifndef FATHOM_RESAMPLE_H
#define FATHOM_RESAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Output i is the sum of weights[i * most + k] times input first[i] + k, for k below count[i]; weights sum to 1, and those
 * from count[i] on are 0. */
struct resample_axis {
    uint32_t size; /* outputs */
    uint32_t most; /* weights kept for each output */
    uint32_t taps; /* the largest count */
    uint32_t *first, *count;
    float *weights;
};

/* Of an axis that divides `length` of `inputs` pixels into `outputs`: `most`, and what it takes. */
uint32_t resample_most(double length, uint32_t inputs, uint32_t outputs);
size_t resample_bytes(double length, uint32_t inputs, uint32_t outputs);
/* For outputs that divide [start, start + length) of `inputs` pixels evenly; what lies outside is left out. Lies in
 * resample_bytes of memory, which is borrowed and aligned for floats. */
void resample_prepare(struct resample_axis *axis, void *memory, double start, double length, uint32_t inputs,
                      uint32_t outputs);

#define RESAMPLE_PAD 16u /* rows that come out are of a multiple of so many floats */

/* Floats that a row is made of and becomes, at most: more than there are numbers in it. */
size_t resample_row_from(double length, uint32_t inputs, uint32_t outputs);
size_t resample_row_to(uint32_t outputs);
/* One row of RGB bytes into axis->size RGB floats. numbers has resample_row_from floats, all 0 before the first row; out has
 * resample_row_to. */
void resample_row(const struct resample_axis *axis, const uint8_t *row, float *numbers, float *out);

#endif
