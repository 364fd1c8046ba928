/* Decoding a part of a picture, whatever its format: which one it is is seen from its first bytes, not from its name. */
#ifndef FATHOM_IMAGE_H
#define FATHOM_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment.h"
#include "errors.h"

struct decode_memory;

/* One thread's decoder, used for one picture after another. */
struct image_decoder;

/* Memory is shared with other decoders and outlives them all. */
struct image_decoder *image_decoder_create(struct decode_memory *memory, struct error *err);
/* Takes NULL. */
void image_decoder_destroy(struct image_decoder *decoder);

/* Reads a file's header. width and height are of the picture as it is seen. ERROR_FAILED names the file: unreadable, empty,
 * of no known format, damaged, too large. Ends the picture before. */
bool image_open(struct image_decoder *decoder, const char *path, uint32_t *width, uint32_t *height, struct error *err);
/* How much of the memory a square view of that side of the open picture takes; one that goes so far, at most as far as the
 * picture; all of it. */
uint64_t image_needs(struct image_decoder *decoder, double side, uint32_t size);
uint64_t image_needs_view(struct image_decoder *decoder, double across, double down, uint32_t size);
uint64_t image_needs_whole(struct image_decoder *decoder, uint32_t columns, uint32_t rows);
/* Decodes the view of the open picture, which lies within it, into size x size x 3 bytes, R G B; each opening gives one
 * decoding. ERROR_FAILED when data within the view is damaged or missing, or takes more than there is memory for. */
bool image_decode(struct image_decoder *decoder, struct augment_view view, uint32_t size, uint8_t *out,
                  struct error *err);
/* The same of the whole picture, into columns x rows x 3 bytes. */
bool image_decode_whole(struct image_decoder *decoder, uint32_t columns, uint32_t rows, uint8_t *out,
                        struct error *err);
/* Decodes the whole picture for its faults alone. */
bool image_verify(struct image_decoder *decoder, struct error *err);

/* Whether a file of this name is taken for a picture: *.jpg, *.jpeg, *.webp, and *.png where that can be decoded. */
bool image_names_one(const char *name);
/* "JPEGs (*.jpg, *.jpeg)", or with PNGs and WebPs. */
const char *image_kinds(void);

#endif
