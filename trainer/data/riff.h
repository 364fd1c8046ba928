/* Where in a WebP file what is wanted lies (RFC 9649, sections 2 and 3). */
#ifndef FATHOM_RIFF_H
#define FATHOM_RIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIFF_HEAD 12u /* "RIFF", a length, "WEBP" */

struct riff_webp {
    uint32_t width, height;
    bool lossless;
    bool animated;                      /* the first of several pictures is meant */
    uint32_t canvas_width, canvas_height; /* where the extended format says them */
    uint64_t image_offset, image_bytes; /* of the chunk with the pixels, its 8 bytes of header too */
    uint64_t exif_offset, exif_bytes;   /* of what its Exif chunk holds; 0 bytes = it has none */
};

/* Whether the first bytes of a file are a WebP's. */
bool riff_is_webp(int descriptor);
/* Looks through the chunks of a file; a sentence's end where something is wrong, else NULL. */
const char *riff_find_webp(int descriptor, struct riff_webp *webp);
/* The picture, of an animation the first, alone, as a file of RIFF_HEAD + image_bytes bytes: without transparency, profiles
 * and texts. */
const char *riff_read_webp(int descriptor, const struct riff_webp *webp, uint8_t *out);

#endif
