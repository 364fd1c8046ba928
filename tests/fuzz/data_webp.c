/* The WebP decoder over any bytes: it ends, within the memory that it said it needs, with pixels or with a sentence. */
#include "fuzz_picture.h"

#include "webp_decoder.h"

static bool open_picture(void *decoder, int descriptor, uint32_t *width, uint32_t *height, struct error *err)
{
    return webp_decoder_open(decoder, descriptor, "input", width, height, err);
}

static bool decode(void *decoder, struct augment_view view, uint32_t columns, uint32_t rows, uint8_t *out,
                   struct error *err)
{
    if (webp_decoder_needs(decoder, view, columns, rows) == 0) abort();
    return webp_decoder_decode(decoder, view, columns, rows, out, err);
}

static bool verify(void *decoder, struct error *err) { return webp_decoder_verify(decoder, err); }

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error err = {0};
    struct decode_memory *memory = decode_memory_create(DECODE_MOST_BYTES, &err);
    struct webp_decoder *decoder = memory ? webp_decoder_create(memory, &err) : NULL;
    if (!decoder) abort();
    fuzz_picture((struct fuzz_picture){decoder, open_picture, decode, verify}, bytes, length);
    webp_decoder_destroy(decoder);
    decode_memory_destroy(memory);
    if (mem_current_bytes(MEM_INPUT) != 0) abort();
    return 0;
}
