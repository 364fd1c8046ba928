/* The JPEG decoder over any bytes: it ends, within the memory that it said it needs, with pixels or with a sentence. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "decode_memory.h"
#include "jpeg.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define GUARD 0xA5

static void decode(struct jpeg_decoder *decoder, const uint8_t *bytes, size_t length, uint32_t size)
{
    static uint8_t pixels[64 * 64 * 3];
    struct error err = {0};
    uint32_t width, height;
    memset(pixels, GUARD, sizeof pixels);
    if (jpeg_open_bytes(decoder, bytes, length, "input", &width, &height, &err) &&
        (uint64_t)width * height <= 1 << 20) {
        struct augment_view view = augment_centre_view(width, height, 1);
        view.flip = length % 2 == 1;
        if (jpeg_needs(decoder, view, size, size) == 0) abort();
        jpeg_decode(decoder, view, size, size, pixels, &err);
    }
    if (pixels[(size_t)size * size * 3] != GUARD) abort();
    if (err.kind != ERROR_NONE && (err.kind != ERROR_FAILED || !err.text[0])) abort();
    if (strstr(err.text, "nsufficient memory")) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error err = {0};
    struct decode_memory *memory = decode_memory_create(DECODE_MOST_BYTES, &err);
    struct jpeg_decoder *decoder = memory ? jpeg_decoder_create(memory, &err) : NULL;
    if (!decoder) abort();
    decode(decoder, bytes, length, 32);
    decode(decoder, bytes, length, 5);
    uint32_t width, height;
    if (jpeg_open_bytes(decoder, bytes, length, "input", &width, &height, &err) && (uint64_t)width * height <= 1 << 20)
        jpeg_verify(decoder, &err);
    jpeg_decoder_destroy(decoder);
    decode_memory_destroy(memory);
    if (mem_current_bytes(MEM_INPUT) != 0) abort();
    return 0;
}
