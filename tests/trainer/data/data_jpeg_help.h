/* JPEGs made for tests: their pixels are known up to the compression. */
#ifndef FATHOM_DATA_JPEG_HELP_H
#define FATHOM_DATA_JPEG_HELP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

struct help_jpeg {
    uint32_t width, height;
    int components; /* 1 gray, 3 RGB, 4 CMYK as Adobe stores it (inverted) */
    bool progressive;
    unsigned variant; /* of the pattern */
};

/* A smooth pattern, so that compression changes little: channel c at (x, y), 0..255. */
static inline unsigned char help_pattern(const struct help_jpeg *jpeg, uint32_t x, uint32_t y, int channel)
{
    uint32_t across = 200 * x / (jpeg->width + 1), down = 200 * y / (jpeg->height + 1);
    switch (channel) {
    case 0: return (unsigned char)(20 + across);
    case 1: return (unsigned char)(20 + down);
    default: return (unsigned char)(20 + (across + down + jpeg->variant * 16) / 2 % 216);
    }
}

static inline void help_fill_row(const struct help_jpeg *jpeg, uint32_t y, unsigned char *row)
{
    for (uint32_t x = 0; x < jpeg->width; x++)
        for (int channel = 0; channel < jpeg->components; channel++)
            row[x * (uint32_t)jpeg->components + (uint32_t)channel] =
                channel == 3 ? 255 : help_pattern(jpeg, x, y, channel);
}

/* Compresses at quality 95 without subsampling; the caller frees *bytes with free(). */
static inline void help_compress(const struct help_jpeg *jpeg, unsigned char **bytes, unsigned long *length)
{
    struct jpeg_compress_struct library;
    struct jpeg_error_mgr errors;
    library.err = jpeg_std_error(&errors);
    jpeg_create_compress(&library);
    *bytes = NULL;
    *length = 0;
    jpeg_mem_dest(&library, bytes, length);
    library.image_width = jpeg->width;
    library.image_height = jpeg->height;
    library.input_components = jpeg->components;
    library.in_color_space = jpeg->components == 1 ? JCS_GRAYSCALE : jpeg->components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&library);
    if (jpeg->components == 4) library.write_Adobe_marker = TRUE;
    library.comp_info[0].h_samp_factor = library.comp_info[0].v_samp_factor = 1;
    jpeg_set_quality(&library, 95, TRUE);
    if (jpeg->progressive) jpeg_simple_progression(&library);
    jpeg_start_compress(&library, TRUE);
    unsigned char *row = malloc((size_t)jpeg->width * (size_t)jpeg->components);
    for (uint32_t y = 0; row && y < jpeg->height; y++) {
        help_fill_row(jpeg, y, row);
        jpeg_write_scanlines(&library, &row, 1);
    }
    free(row);
    jpeg_finish_compress(&library);
    jpeg_destroy_compress(&library);
}

static inline void help_write_bytes(const char *path, const void *bytes, size_t length)
{
    FILE *stream = fopen(path, "wb");
    if (!stream || fwrite(bytes, 1, length, stream) != length || fclose(stream) != 0) abort();
}

static inline void help_write_jpeg(const char *path, struct help_jpeg jpeg)
{
    unsigned char *bytes;
    unsigned long length;
    help_compress(&jpeg, &bytes, &length);
    help_write_bytes(path, bytes, length);
    free(bytes);
}

#endif
