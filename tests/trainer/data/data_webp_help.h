/* WebPs made for tests; where libwebp is. */
#ifndef FATHOM_DATA_WEBP_HELP_H
#define FATHOM_DATA_WEBP_HELP_H

#include <criterion/criterion.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <webp/encode.h>

#include "data_jpeg_help.h"

struct help_webp {
    uint32_t width, height; /* as it is stored */
    int quality;            /* of a lossy one, to 100; 0 = lossless */
    bool transparent;       /* it has an alpha channel */
    int orientation;        /* Exif's; 0 = it has none */
    bool named;             /* the Exif data begins with its name, as some write it */
};

static inline void help_put(FILE *stream, const char *name, const void *bytes, uint32_t count)
{
    fwrite(name, 1, 4, stream);
    for (int i = 0; i < 4; i++) fputc((int)(count >> (8 * i) & 0xFF), stream);
    fwrite(bytes, 1, count, stream);
    if (count % 2) fputc(0, stream);
}

/* The picture and Exif data after it, in the extended format. */
static inline void help_extend(FILE *stream, const struct help_webp *webp, const uint8_t *file, size_t length)
{
    unsigned char exif[HELP_EXIF_BYTES], extended[10] = {0x08};
    uint32_t skip = webp->named ? 0 : 6, chunk = (uint32_t)length - 12;
    for (int i = 0; i < 3; i++) {
        extended[4 + i] = (unsigned char)((webp->width - 1) >> (8 * i));
        extended[7 + i] = (unsigned char)((webp->height - 1) >> (8 * i));
    }
    help_exif(webp->orientation, webp->orientation % 2, exif);
    uint32_t whole = 4 + 18 + chunk + 8 + HELP_EXIF_BYTES - skip;
    fwrite("RIFF", 1, 4, stream);
    for (int i = 0; i < 4; i++) fputc((int)(whole >> (8 * i) & 0xFF), stream);
    fwrite("WEBP", 1, 4, stream);
    help_put(stream, "VP8X", extended, sizeof extended);
    fwrite(file + 12, 1, chunk, stream);
    help_put(stream, "EXIF", exif + skip, HELP_EXIF_BYTES - skip);
}

/* An animation of the picture in the file, twice, on a canvas so many pixels wider. */
static inline void help_animate(const char *path, uint32_t width, uint32_t height, uint32_t wider)
{
    static uint8_t bytes[1 << 20], frame[(1 << 20) + 16], extended[10] = {0x02}, loops[6];
    FILE *stream = fopen(path, "rb");
    cr_assert(stream);
    uint32_t chunk = (uint32_t)fread(bytes, 1, sizeof bytes, stream) - 12;
    fclose(stream);
    for (int i = 0; i < 3; i++) {
        extended[4 + i] = (uint8_t)((width + wider - 1) >> (8 * i));
        extended[7 + i] = (uint8_t)((height - 1) >> (8 * i));
        frame[6 + i] = (uint8_t)((width - 1) >> (8 * i));
        frame[9 + i] = (uint8_t)((height - 1) >> (8 * i));
    }
    memcpy(frame + 16, bytes + 12, chunk);
    stream = fopen(path, "wb");
    cr_assert(stream);
    fwrite(bytes, 1, 12, stream);
    help_put(stream, "VP8X", extended, sizeof extended);
    help_put(stream, "ANIM", loops, sizeof loops);
    for (int i = 0; i < 2; i++) help_put(stream, "ANMF", frame, 16 + chunk);
    fclose(stream);
}

/* pixels: width x height x 3, R G B. */
static inline void help_write_webp(const char *path, struct help_webp webp, const uint8_t *pixels)
{
    int width = (int)webp.width, height = (int)webp.height;
    uint8_t *file = NULL, *with = calloc(webp.width, 4 * (size_t)webp.height);
    size_t length = 0;
    cr_assert(with);
    for (size_t i = 0; i < (size_t)webp.width * webp.height; i++) {
        memcpy(with + 4 * i, pixels + 3 * i, 3);
        with[4 * i + 3] = (uint8_t)(i % 251 + 4);
    }
    if (webp.transparent)
        length = webp.quality ? WebPEncodeRGBA(with, width, height, 4 * width, (float)webp.quality, &file)
                              : WebPEncodeLosslessRGBA(with, width, height, 4 * width, &file);
    else
        length = webp.quality ? WebPEncodeRGB(pixels, width, height, 3 * width, (float)webp.quality, &file)
                              : WebPEncodeLosslessRGB(pixels, width, height, 3 * width, &file);
    FILE *stream = fopen(path, "wb");
    cr_assert(length > 0 && stream);
    if (webp.orientation)
        help_extend(stream, &webp, file, length);
    else
        fwrite(file, 1, length, stream);
    fclose(stream);
    WebPFree(file);
    free(with);
}

#endif
