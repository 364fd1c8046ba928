/* How a photograph is to be turned: the one thing of a JPEG's Exif data that changes what is seen (CIPA DC-008, 4.6.4,
 * tag 0x0112). */
#ifndef FATHOM_EXIF_H
#define FATHOM_EXIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pixel (x, y) of the picture as it is seen is the stored one at (x, y), or (y, x) when transposed; then counted from the
 * right or from the bottom. */
struct exif_turn {
    bool transposed, from_right, from_bottom;
};

/* Of an APP1 segment's bytes. No turn when it is not Exif, says nothing, or is damaged. */
struct exif_turn exif_find_turn(const uint8_t *bytes, size_t length);

#endif
