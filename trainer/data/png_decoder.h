/* Decoding a part of a PNG, row by row as of a JPEG (jpeg.h). Built where libpng is. */
#ifndef FATHOM_PNG_DECODER_H
#define FATHOM_PNG_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment.h"
#include "errors.h"

struct decode_memory;

/* One thread's decoder, used for one picture after another. */
struct png_decoder;

#define PNG_DECODER_SIGNATURE "\x89PNG\r\n\x1a\n"
#define PNG_DECODER_SIGNATURE_BYTES 8u

struct png_decoder *png_decoder_create(struct decode_memory *memory, struct error *err);
/* Takes NULL. */
void png_decoder_destroy(struct png_decoder *decoder);

/* Reads the header of the file at a descriptor, which the decoder closes; `name` is for errors. Ends the picture before.
 * ERROR_FAILED: no PNG, damaged, too large. */
bool png_decoder_open(struct png_decoder *decoder, int descriptor, const char *name, uint32_t *width, uint32_t *height,
                      struct error *err);
/* What decoding a view of the open picture takes: of an interlaced picture all pixels. */
uint64_t png_decoder_needs(const struct png_decoder *decoder, struct augment_view view, uint32_t columns,
                           uint32_t rows);
/* The view, into columns x rows x 3 bytes, R G B; what is transparent shows its colour, 16 bits become 8. The picture is
 * ended. ERROR_FAILED when data within the view is damaged or missing, or there is too little memory. */
bool png_decoder_decode(struct png_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows,
                        uint8_t *out, struct error *err);
/* Decodes the whole picture for its faults alone. */
bool png_decoder_verify(struct png_decoder *decoder, struct error *err);

#endif
