/* How a photograph is to be turned: the one thing of its Exif data that changes what is seen (CIPA DC-008, 4.6.4,
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

#define EXIF_MOST_BYTES 65533u /* of a JPEG's segment without its length; of other files' as much is looked at */

struct decode_memory;

/* Of Exif data as a JPEG's APP1 segment has it, with its name before it, or as PNGs and WebPs do, without. No turn when it is
 * none, says nothing, or is damaged. */
struct exif_turn exif_find_turn(const uint8_t *bytes, size_t length);
/* The same of bytes in a file, by way of a block of memory that is given back. */
struct exif_turn exif_read_turn(struct decode_memory *memory, int descriptor, uint64_t offset, uint64_t bytes);

#endif
