/* Decoding a square of a JPEG straight to the size wanted, row by row: a photograph's pixels are never all in memory.
 */
#ifndef FATHOM_JPEG_H
#define FATHOM_JPEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment.h"
#include "errors.h"

#define JPEG_MOST_PIXELS     (UINT32_C(1) << 27) /* 134 million: larger pictures are refused, not decoded for minutes */
#define JPEG_MOST_FILE_BYTES (UINT64_C(1) << 28)

/* One thread's decoder, used for one picture after another. */
struct jpeg_decoder;

struct jpeg_decoder *jpeg_decoder_create(struct error *err);
void jpeg_decoder_destroy(struct jpeg_decoder *decoder);

/* Reads a file's header. width and height are of the picture as it is seen, turned as its Exif data says; damaged Exif
 * data turns nothing. ERROR_FAILED names the file: unreadable, empty, no JPEG, damaged, too large. Ends the picture
 * before. */
bool jpeg_open_file(struct jpeg_decoder *decoder, const char *path, uint32_t *width, uint32_t *height,
                    struct error *err);
/* The same from memory, which is borrowed until the next opening; `name` stands for the file in errors. */
bool jpeg_open_bytes(struct jpeg_decoder *decoder, const void *bytes, size_t length, const char *name, uint32_t *width,
                     uint32_t *height, struct error *err);

/* Decodes the view of the open picture, which lies within it, into size x size x 3 floats, R G B from 0 to 255. Gray
 * pictures have three equal channels; CMYK is converted. Large pictures are shrunk while they are decoded (by libjpeg,
 * to no less than the size wanted), then scaled. The picture is ended, so that each opening gives one decoding.
 * ERROR_FAILED when the data within the view is damaged or missing. */
bool jpeg_decode(struct jpeg_decoder *decoder, struct augment_view view, uint32_t size, float *out, struct error *err);

/* Decodes the whole picture for its faults alone. */
bool jpeg_verify(struct jpeg_decoder *decoder, struct error *err);

#endif
