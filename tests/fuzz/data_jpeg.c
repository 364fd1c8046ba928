/* The JPEG decoder over any bytes: it ends, within its memory, with pixels from 0 to 255 or with a sentence. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "jpeg.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_pixels(const float *pixels, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!(pixels[i] >= -0.01f && pixels[i] <= 255.01f)) abort();
}

static void decode(struct jpeg_decoder *decoder, const uint8_t *bytes, size_t length, uint32_t size)
{
    static float pixels[64 * 64 * 3];
    struct error err = {0};
    uint32_t width, height;
    if (jpeg_open_bytes(decoder, bytes, length, "input", &width, &height, &err) &&
        (uint64_t)width * height <= 1 << 20) {
        struct augment_view view = augment_centre_view(width, height, 1);
        view.flip = length % 2 == 1;
        if (jpeg_decode(decoder, view, size, pixels, &err)) check_pixels(pixels, (size_t)size * size * 3);
    }
    if (err.kind != ERROR_NONE && (err.kind != ERROR_FAILED || !err.text[0])) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error err = {0};
    struct jpeg_decoder *decoder = jpeg_decoder_create(&err);
    if (!decoder) abort();
    decode(decoder, bytes, length, 32);
    decode(decoder, bytes, length, 5);
    uint32_t width, height;
    if (jpeg_open_bytes(decoder, bytes, length, "input", &width, &height, &err) && (uint64_t)width * height <= 1 << 20)
        jpeg_verify(decoder, &err);
    jpeg_decoder_destroy(decoder);
    if (mem_current_bytes(MEM_INPUT) != 0) abort();
    return 0;
}
