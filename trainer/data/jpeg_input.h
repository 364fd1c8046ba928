/* Where libjpeg's bytes come from: memory, or a file that is read by pieces, so that its size does not matter. */
#ifndef FATHOM_JPEG_INPUT_H
#define FATHOM_JPEG_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

#define JPEG_INPUT_PIECE (16u << 10)

struct jpeg_input {
    struct jpeg_source_mgr table; /* first: libjpeg has its address */
    int descriptor;               /* -1 = memory */
    int failure;                  /* errno of a read that failed, else 0 */
    uint8_t piece[JPEG_INPUT_PIECE];
};

void jpeg_input_init(struct jpeg_input *input, struct jpeg_decompress_struct *library);
/* The next picture is in this memory, borrowed. */
void jpeg_input_bytes(struct jpeg_input *input, const void *bytes, size_t length);
/* The next picture is in this file, which the input closes. Reads the first piece; false with `failure` set. */
bool jpeg_input_file(struct jpeg_input *input, int descriptor);
/* Ends the picture: closes its file. */
void jpeg_input_end(struct jpeg_input *input);

/* One byte, for a marker's own reader. */
unsigned jpeg_input_byte(struct jpeg_decompress_struct *library);

#endif
