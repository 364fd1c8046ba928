/* Pictures of any format: told by their first bytes, decoded to the same pixels, refused in one sentence. */
#include "data_help.h"

#include "data_jpeg_help.h"
#include "decode_memory.h"
#include "image.h"
#include "mem.h"

static struct decode_memory *memory; /* gone with the test's process */

static struct image_decoder *create_image(void)
{
    struct error err = {0};
    if (!memory) memory = decode_memory_create(DECODE_MOST_BYTES, &err);
    struct image_decoder *decoder = memory ? image_decoder_create(memory, &err) : NULL;
    cr_assert(decoder, "%s", err.text);
    return decoder;
}

Test(image, files_that_cannot_be_read_are_named)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    uint32_t width, height;
    help_folder(path);
    struct image_decoder *decoder = create_image();
    struct error err = {0};
    cr_assert_not(image_open(decoder, help_join(file, path, "none.jpg"), &width, &height, &err));
    cr_assert(err.kind == ERROR_FAILED && strstr(err.text, "none.jpg"), "%s", err.text);
    cr_assert_not(image_open(decoder, path, &width, &height, &err));
    cr_assert(err.kind == ERROR_FAILED && strstr(err.text, "is not a file"), "%s", err.text);
    help_write_bytes(help_join(file, path, "empty.jpg"), "", 0);
    cr_assert_not(image_open(decoder, file, &width, &height, &err));
    cr_assert(err.kind == ERROR_FAILED && strstr(err.text, "empty.jpg: is empty"), "%s", err.text);
    image_decoder_destroy(decoder);
    help_remove(path);
}

/* All of a picture into an oblong, however it is stored. */
Test(image, whole_pictures_are_scaled_to_any_shape)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    static uint8_t out[72 * 40 * 3];
    help_folder(path);
    help_join(file, path, "a.jpg");
    struct image_decoder *decoder = create_image();
    for (int orientation = 1; orientation <= 8; orientation++) {
        struct help_jpeg jpeg = {144, 80, 3, false, 0, orientation};
        uint32_t width, height;
        struct error err = {0};
        help_write_jpeg(file, jpeg);
        cr_assert(image_open(decoder, file, &width, &height, &err), "%s", err.text);
        cr_assert_gt(image_needs_whole(decoder, 72, 40), 0);
        cr_assert(image_decode_whole(decoder, 72, 40, out, &err), "%s", err.text);
        for (uint32_t y = 0; y < 40; y++)
            for (uint32_t x = 0; x < 72; x++)
                for (int c = 0; c < 2; c++) {
                    int found = out[(y * 72 + x) * 3 + (uint32_t)c],
                        wanted = help_pattern(&jpeg, 2 * x + 1, 2 * y + 1, c);
                    cr_assert(abs(found - wanted) < 8, "orientation %d, (%u, %u): %d, not %d", orientation, x, y, found,
                              wanted);
                }
    }
    image_decoder_destroy(decoder);
    help_remove(path);
}

#ifdef FATHOM_PNG
#include <png.h>
#include <zlib.h>

#define WIDTH  53u
#define HEIGHT 41u

static unsigned char value_at(uint32_t x, uint32_t y, int channel)
{
    return (unsigned char)(channel == 0 ? x * 4 : channel == 1 ? y * 5 : (x + y) * 2);
}

/* A PNG of the pattern; gray ones have its first channel. */
static void write_png(const char *path, int type, int depth, bool interlaced)
{
    FILE *stream = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_color palette[256];
    unsigned char rows[HEIGHT][WIDTH * 8] = {{0}};
    int channels = type == PNG_COLOR_TYPE_RGB ? 3 : type == PNG_COLOR_TYPE_RGBA ? 4 : 1;
    cr_assert(stream && png && info);
    for (int i = 0; i < 256; i++) palette[i] = (png_color){(png_byte)i, (png_byte)(255 - i), (png_byte)(i / 2)};
    png_init_io(png, stream);
    png_set_IHDR(png, info, WIDTH, HEIGHT, depth, type, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 256);
    png_write_info(png, info);
    png_bytep pointers[HEIGHT];
    for (uint32_t y = 0; y < HEIGHT; y++) {
        pointers[y] = rows[y];
        for (uint32_t x = 0; x < WIDTH; x++)
            for (int c = 0; c < channels; c++) {
                unsigned char value = c == 3 ? (unsigned char)(x + y) : value_at(x, y, c);
                uint32_t at = (x * (uint32_t)channels + (uint32_t)c) * (uint32_t)depth / 8;
                rows[y][at] = value;
                if (depth == 16) rows[y][at + 1] = value;
            }
    }
    png_write_image(png, pointers);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(stream);
}

/* The middle square, which has a pixel for each of the picture's. */
static void check_middle(int type, const uint8_t *out)
{
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < HEIGHT; x++)
            for (int c = 0; c < 3; c++) {
                uint32_t column = x + (WIDTH - HEIGHT) / 2;
                int value = value_at(column, y, type & PNG_COLOR_MASK_COLOR && type != PNG_COLOR_TYPE_PALETTE ? c : 0);
                if (type == PNG_COLOR_TYPE_PALETTE) value = c == 0 ? value : c == 1 ? 255 - value : value / 2;
                cr_assert_eq(out[3 * (y * HEIGHT + x) + (uint32_t)c], value, "type %d at %u, %u, %d", type, x, y, c);
            }
}

Test(image, every_kind_of_png_gives_its_pixels)
{
    const int kinds[][2] = {{PNG_COLOR_TYPE_RGB, 8},  {PNG_COLOR_TYPE_RGBA, 8},    {PNG_COLOR_TYPE_GRAY, 8},
                            {PNG_COLOR_TYPE_RGB, 16}, {PNG_COLOR_TYPE_PALETTE, 8}, {PNG_COLOR_TYPE_RGBA, 16}};
    static uint8_t out[HEIGHT * HEIGHT * 3];
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_folder(path);
    help_join(file, path, "a.JPEG"); /* its name is not asked */
    for (size_t i = 0; i < 2 * sizeof kinds / sizeof kinds[0]; i++) {
        struct image_decoder *decoder = create_image();
        struct error err = {0};
        uint32_t width, height;
        write_png(file, kinds[i / 2][0], kinds[i / 2][1], i % 2);
        cr_assert(image_open(decoder, file, &width, &height, &err), "%s", err.text);
        cr_assert(width == WIDTH && height == HEIGHT);
        uint64_t needs = image_needs(decoder, HEIGHT, HEIGHT);
        cr_assert(image_decode(decoder, augment_centre_view(width, height, 1), HEIGHT, out, &err), "%s", err.text);
        check_middle(kinds[i / 2][0], out);
        cr_assert(image_open(decoder, file, &width, &height, &err) && image_verify(decoder, &err), "%s", err.text);
        image_decoder_destroy(decoder);
        struct decode_memory *exact = decode_memory_create(needs, &err),
                             *little = decode_memory_create(needs - 1, &err);
        decoder = image_decoder_create(exact, &err);
        cr_assert(image_open(decoder, file, &width, &height, &err), "%s", err.text);
        cr_assert(image_decode(decoder, augment_centre_view(width, height, 1), HEIGHT, out, &err), "%s", err.text);
        image_decoder_destroy(decoder);
        decoder = image_decoder_create(little, &err);
        cr_assert(image_open(decoder, file, &width, &height, &err), "%s", err.text);
        cr_assert_not(image_decode(decoder, augment_centre_view(width, height, 1), HEIGHT, out, &err));
        cr_assert(strstr(err.text, "PNG of 53 x 41 pixels, which takes"), "%s", err.text);
        image_decoder_destroy(decoder);
        decode_memory_destroy(exact);
        decode_memory_destroy(little);
    }
    help_remove(path);
}

Test(image, a_damaged_png_is_refused_wherever_it_is)
{
    static uint8_t out[32 * 32 * 3];
    char path[HELP_PATH], file[2 * HELP_PATH], bytes[1 << 14];
    help_folder(path);
    write_png(help_join(file, path, "a.png"), PNG_COLOR_TYPE_RGB, 8, false);
    FILE *stream = fopen(file, "rb");
    cr_assert(stream);
    size_t length = fread(bytes, 1, sizeof bytes, stream);
    fclose(stream);
    struct image_decoder *decoder = create_image();
    for (size_t cut = 8; cut < length - 16; cut += 9)
        for (int flip = 0; flip < 2; flip++) {
            struct error err = {0};
            uint32_t width, height;
            bytes[cut] ^= (char)(flip ? 0x55 : 0);
            help_write_bytes(file, bytes, flip ? length : cut);
            bool ok = image_open(decoder, file, &width, &height, &err) && image_verify(decoder, &err);
            bytes[cut] ^= (char)(flip ? 0x55 : 0);
            cr_assert_not(ok, "cut or changed at %zu", cut);
            cr_assert(err.kind == ERROR_FAILED && strstr(err.text, "a.png: "), "%s", err.text);
        }
    help_write_bytes(file, bytes, length);
    struct error err = {0};
    uint32_t width, height;
    cr_assert(image_open(decoder, file, &width, &height, &err) &&
                  image_decode(decoder, augment_centre_view(width, height, 1), 32, out, &err),
              "the decoder is as good as new: %s", err.text);
    image_decoder_destroy(decoder);
    help_remove(path);
}
/* The same PNG with Exif data, in front of its pixels or behind them. */
static void add_exif(const char *path, int orientation, bool behind)
{
    static unsigned char bytes[1 << 16], exif[HELP_EXIF_BYTES];
    const unsigned char head[8] = {0, 0, 0, HELP_EXIF_BYTES - 6, 'e', 'X', 'I', 'f'};
    FILE *stream = fopen(path, "rb");
    cr_assert(stream);
    size_t length = fread(bytes, 1, sizeof bytes, stream), at = behind ? length - 12 : 33;
    fclose(stream);
    help_exif(orientation, orientation % 2, exif);
    uint32_t check = (uint32_t)crc32(crc32(0, head + 4, 4), exif + 6, HELP_EXIF_BYTES - 6);
    const unsigned char tail[4] = {(unsigned char)(check >> 24), (unsigned char)(check >> 16),
                                   (unsigned char)(check >> 8), (unsigned char)check};
    stream = fopen(path, "wb");
    cr_assert(stream);
    fwrite(bytes, 1, at, stream);
    fwrite(head, 1, sizeof head, stream);
    fwrite(exif + 6, 1, HELP_EXIF_BYTES - 6, stream);
    fwrite(tail, 1, sizeof tail, stream);
    fwrite(bytes + at, 1, length - at, stream);
    fclose(stream);
}

Test(image, pngs_are_seen_as_their_cameras_were_held)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    static uint8_t out[WIDTH * HEIGHT * 3];
    help_folder(path);
    help_join(file, path, "a.png");
    struct image_decoder *decoder = create_image();
    for (int orientation = 1; orientation <= 8; orientation++)
        for (int interlaced = 0; interlaced < 2; interlaced++) {
            uint32_t width, height;
            struct error err = {0};
            write_png(file, PNG_COLOR_TYPE_RGB, 8, interlaced);
            add_exif(file, orientation, orientation % 3 == 0);
            cr_assert(image_open(decoder, file, &width, &height, &err), "%s", err.text);
            cr_assert_eq(width, orientation > 4 ? HEIGHT : WIDTH);
            cr_assert(image_decode_whole(decoder, width, height, out, &err), "%s", err.text);
            for (uint32_t y = 0; y < HEIGHT; y++)
                for (uint32_t x = 0; x < WIDTH; x++) {
                    uint32_t column = x, row = y;
                    help_turn(orientation, WIDTH, HEIGHT, &column, &row);
                    for (int c = 0; c < 3; c++)
                        cr_assert_eq(out[(row * width + column) * 3 + (uint32_t)c], value_at(x, y, c), "orientation %d",
                                     orientation);
                }
        }
    image_decoder_destroy(decoder);
    help_remove(path);
}
#endif
