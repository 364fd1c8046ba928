/* Decoding a part of a JPEG straight to the size wanted, row by row: a photograph's pixels are never all in memory.
 */
#ifndef FATHOM_JPEG_H
#define FATHOM_JPEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment.h"
#include "errors.h"

#define JPEG_MOST_PIXELS (UINT32_C(1) << 27) /* 134 million: larger pictures are refused, not decoded for minutes */

struct decode_memory;

/* One thread's decoder, used for one picture after another. */
struct jpeg_decoder;

/* Memory is shared with other decoders and outlives them all; what a picture takes comes from there, for the time of its
 * decoding. */
struct jpeg_decoder *jpeg_decoder_create(struct decode_memory *memory, struct error *err);
void jpeg_decoder_destroy(struct jpeg_decoder *decoder);

/* Reads the header of an open file, which the decoder closes; `name` stands for it in errors. width and height are of the
 * picture as it is seen, turned as its Exif data says; damaged Exif data turns nothing. ERROR_FAILED: unreadable, empty, no
 * JPEG, damaged, too large. Ends the picture before. */
bool jpeg_open_descriptor(struct jpeg_decoder *decoder, int descriptor, const char *name, uint32_t *width,
                          uint32_t *height, struct error *err);
/* The same from memory, which is borrowed until the next opening; `name` stands for the file in errors. */
bool jpeg_open_bytes(struct jpeg_decoder *decoder, const void *bytes, size_t length, const char *name, uint32_t *width,
                     uint32_t *height, struct error *err);

/* How much of the memory a view of the open picture takes, wherever it lies; 0 where its data is damaged. */
uint64_t jpeg_needs(struct jpeg_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows);

/* Decodes the view of the open picture, which lies within it, into columns x rows x 3 bytes, R G B. Gray pictures have three
 * equal channels; CMYK is converted. Large pictures are shrunk while they are decoded (by libjpeg,
 * to no less than the size wanted), then scaled. Of most pictures only what lies about the view is transformed, with the same
 * pixels as if all were. The picture is ended, so that each opening gives one decoding.
 * ERROR_FAILED when the data within the view is damaged or missing, or when it takes more than there is memory for. */
bool jpeg_decode(struct jpeg_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows, uint8_t *out,
                 struct error *err);

/* For tests and measurements: from now on all of a picture is decoded up to a view's last row, whether it counts or not. */
void jpeg_decode_all(struct jpeg_decoder *decoder);

/* Decodes the whole picture for its faults alone. */
bool jpeg_verify(struct jpeg_decoder *decoder, struct error *err);

#endif
