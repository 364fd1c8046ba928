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
    int orientation;  /* Exif's, 1 to 8: the pattern is stored so turned, and width and height are as it is seen; 0 = none */
    int sampling;     /* the first colour has so many samples across and down for one of the others; 0 = 1 */
    int sampling_down; /* down, where that is another number; 0 = as many */
    bool noisy;        /* no pattern: neighbours differ */
};

/* Where stored pixel (x, y) is seen, for a stored picture of width x height: by the standard's words, value by value. */
static inline void help_turn(int orientation, uint32_t width, uint32_t height, uint32_t *x, uint32_t *y)
{
    uint32_t column = *x, row = *y;
    switch (orientation) {
    case 2: *x = width - 1 - column; break;
    case 3: *x = width - 1 - column; *y = height - 1 - row; break;
    case 4: *y = height - 1 - row; break;
    case 5: *x = row; *y = column; break;
    case 6: *x = height - 1 - row; *y = column; break;
    case 7: *x = height - 1 - row; *y = width - 1 - column; break;
    case 8: *x = row; *y = width - 1 - column; break;
    default: break;
    }
}

/* An APP1 segment: byte order, one other entry, then the orientation. */
#define HELP_EXIF_BYTES 44
static inline void help_exif(int orientation, bool big_endian, unsigned char bytes[HELP_EXIF_BYTES])
{
    static const unsigned char little[HELP_EXIF_BYTES] = "Exif\0\0II*\0\x08\0\0\0\x02\0"
                                                         "\x00\x01\x04\0\x01\0\0\0\x40\0\0\0"
                                                         "\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0";
    static const unsigned char big[HELP_EXIF_BYTES] = "Exif\0\0MM\0*\0\0\0\x08\0\x02"
                                                      "\x01\x00\0\x04\0\0\0\x01\0\0\0\x40"
                                                      "\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0";
    for (int i = 0; i < HELP_EXIF_BYTES; i++) bytes[i] = big_endian ? big[i] : little[i];
    bytes[big_endian ? 37 : 36] = (unsigned char)orientation;
}

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

static inline void help_fill_row(const struct help_jpeg *jpeg, uint32_t width, uint32_t height, uint32_t y,
                                 unsigned char *row)
{
    for (uint32_t x = 0; x < width; x++) {
        uint32_t column = x, line = y;
        help_turn(jpeg->orientation, width, height, &column, &line);
        for (int channel = 0; channel < jpeg->components; channel++)
            row[x * (uint32_t)jpeg->components + (uint32_t)channel] =
                channel == 3 ? 255 : help_pattern(jpeg, column, line, channel);
    }
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
    uint32_t width = jpeg->orientation < 5 ? jpeg->width : jpeg->height;
    uint32_t height = jpeg->orientation < 5 ? jpeg->height : jpeg->width;
    library.image_width = width;
    library.image_height = height;
    library.input_components = jpeg->components;
    library.in_color_space = jpeg->components == 1 ? JCS_GRAYSCALE : jpeg->components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&library);
    if (jpeg->components == 4) library.write_Adobe_marker = TRUE;
    library.comp_info[0].h_samp_factor = library.comp_info[0].v_samp_factor = jpeg->sampling ? jpeg->sampling : 1;
    if (jpeg->sampling_down) library.comp_info[0].v_samp_factor = jpeg->sampling_down;
    jpeg_set_quality(&library, 95, TRUE);
    if (jpeg->progressive) jpeg_simple_progression(&library);
    jpeg_start_compress(&library, TRUE);
    if (jpeg->orientation) {
        static const unsigned char xmp[] = "http://ns.adobe.com/xap/1.0/";
        unsigned char exif[HELP_EXIF_BYTES];
        help_exif(jpeg->orientation, jpeg->orientation % 2 == 0, exif);
        jpeg_write_marker(&library, JPEG_APP0 + 1, xmp, sizeof xmp);
        jpeg_write_marker(&library, JPEG_APP0 + 1, exif, sizeof exif);
    }
    unsigned char *row = malloc((size_t)width * (size_t)jpeg->components);
    for (uint32_t y = 0; row && y < height; y++) {
        help_fill_row(jpeg, width, height, y, row);
        for (uint32_t x = 0; jpeg->noisy && x < width * (uint32_t)jpeg->components; x++)
            row[x] = (unsigned char)((x * 2654435761u ^ y * 2246822519u ^ x * y * 374761393u) >> 13);
        jpeg_write_scanlines(&library, &row, 1);
    }
    free(row);
    jpeg_finish_compress(&library);
    jpeg_destroy_compress(&library);
}

/* Compresses, and decompresses by libjpeg alone: width x height x 3 of a picture of that many components. The caller frees
 * both. */
static inline unsigned char *help_decompress(const struct help_jpeg *jpeg, unsigned char **bytes)
{
    struct jpeg_decompress_struct library;
    struct jpeg_error_mgr errors;
    unsigned long length;
    help_compress(jpeg, bytes, &length);
    library.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&library);
    jpeg_mem_src(&library, *bytes, length);
    jpeg_read_header(&library, TRUE);
    library.out_color_space = JCS_RGB;
    jpeg_start_decompress(&library);
    size_t row_bytes = 3 * (size_t)library.output_width;
    unsigned char *pixels = malloc(row_bytes * library.output_height);
    while (pixels && library.output_scanline < library.output_height) {
        JSAMPROW row = pixels + row_bytes * library.output_scanline;
        jpeg_read_scanlines(&library, &row, 1);
    }
    jpeg_destroy_decompress(&library);
    return pixels;
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
