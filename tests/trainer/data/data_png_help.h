/* PNGs made for tests; where libpng is. */
#ifndef FATHOM_DATA_PNG_HELP_H
#define FATHOM_DATA_PNG_HELP_H

#include <criterion/criterion.h>

#include <stdint.h>
#include <stdio.h>

#include <png.h>

/* width x height x 3 bytes, R G B. */
static inline void help_write_png(const char *path, const uint8_t *pixels, uint32_t width, uint32_t height)
{
    FILE *stream = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    cr_assert(stream && png && info);
    png_init_io(png, stream);
    png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (uint32_t y = 0; y < height; y++) png_write_row(png, pixels + (size_t)y * width * 3);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(stream);
}

#endif
