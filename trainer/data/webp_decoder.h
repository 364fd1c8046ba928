/* Decoding a part of a WebP by libwebp, shrunk by it where it is much larger than is wanted. Built where libwebp is. */
#ifndef FATHOM_WEBP_DECODER_H
#define FATHOM_WEBP_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment.h"
#include "errors.h"

struct decode_memory;

/* One thread's decoder, used for one picture after another. */
struct webp_decoder;

struct webp_decoder *webp_decoder_create(struct decode_memory *memory, struct error *err);
/* Takes NULL. */
void webp_decoder_destroy(struct webp_decoder *decoder);

/* Reads the headers of the file at a descriptor, which the decoder closes; `name` is for errors. width and height are of the
 * picture as it is seen, turned as its Exif data says. Ends the picture before. ERROR_FAILED: no WebP, damaged, too large, an
 * animation. */
bool webp_decoder_open(struct webp_decoder *decoder, int descriptor, const char *name, uint32_t *width, uint32_t *height,
                       struct error *err);
/* What decoding a view of the open picture takes, wherever it lies: the picture's bytes in the file, the view's pixels, and what
 * libwebp allocates itself, as its sources have it: of a lossless picture all pixels. */
uint64_t webp_decoder_needs(const struct webp_decoder *decoder, struct augment_view view, uint32_t columns,
                            uint32_t rows);
/* The view, into columns x rows x 3 bytes, R G B; what is transparent shows its colour. The picture is ended. ERROR_FAILED
 * when data is damaged or missing, or there is too little memory. */
bool webp_decoder_decode(struct webp_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows,
                         uint8_t *out, struct error *err);
/* Decodes the whole picture for its faults alone. */
bool webp_decoder_verify(struct webp_decoder *decoder, struct error *err);

#endif
