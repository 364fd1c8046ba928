/* From a picture's bytes to the numbers that a network is given. */
#ifndef FATHOM_NORMALISE_H
#define FATHOM_NORMALISE_H

#include <stddef.h>
#include <stdint.h>

/* A byte's number, by channel: (byte / 255 - mean) / deviation. */
struct normalise_table {
    float numbers[3][256];
};

void normalise_prepare(struct normalise_table *table, const float mean[3], const float deviation[3]);

/* R G B bytes of so many pixels. out is aligned for floats; the bytes may lie in the last quarter of it. */
void normalise_pixels(const struct normalise_table *table, const uint8_t *bytes, size_t pixels, float *out);

#endif
