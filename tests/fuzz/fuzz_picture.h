/* What the fuzz targets of decoders that read files share. */
#ifndef FATHOM_FUZZ_PICTURE_H
#define FATHOM_FUZZ_PICTURE_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "augment.h"
#include "decode_memory.h"
#include "errors.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct fuzz_picture {
    void *decoder;
    bool (*open)(void *decoder, int descriptor, uint32_t *width, uint32_t *height, struct error *err);
    bool (*decode)(void *decoder, struct augment_view view, uint32_t columns, uint32_t rows, uint8_t *out,
                   struct error *err);
    bool (*verify)(void *decoder, struct error *err);
};

#define FUZZ_GUARD  0xA5
#define FUZZ_PIXELS (1u << 20) /* of larger pictures the header alone is read */

static inline int fuzz_file(const uint8_t *bytes, size_t length)
{
    int descriptor = memfd_create("input", MFD_CLOEXEC);
    if (descriptor < 0 || write(descriptor, bytes, length) != (ssize_t)length) abort();
    return descriptor;
}

/* An error is a sentence about the file, and never that memory was too small which was planned. */
static inline void fuzz_check(bool ok, const struct error *err)
{
    if (ok != (err->kind == ERROR_NONE)) abort();
    if (!ok && (err->kind != ERROR_FAILED || !strstr(err->text, "input: "))) abort();
    if (strstr(err->text, "too little memory")) abort();
}

static inline void fuzz_decode(const struct fuzz_picture *p, const uint8_t *bytes, size_t length, uint32_t columns,
                               uint32_t rows)
{
    static uint8_t pixels[64 * 64 * 3];
    struct error err = {0};
    uint32_t width, height;
    memset(pixels, FUZZ_GUARD, sizeof pixels);
    bool ok = p->open(p->decoder, fuzz_file(bytes, length), &width, &height, &err);
    if (ok && (uint64_t)width * height <= FUZZ_PIXELS) {
        struct augment_view view = {.side = width, .down = height, .flip = length % 2 == 1};
        if (columns == rows) view = augment_centre_view(width, height, 1);
        ok = p->decode(p->decoder, view, columns, rows, pixels, &err);
    }
    if (pixels[(size_t)columns * rows * 3] != FUZZ_GUARD) abort();
    fuzz_check(ok, &err);
}

static inline void fuzz_picture(struct fuzz_picture p, const uint8_t *bytes, size_t length)
{
    struct error err = {0};
    uint32_t width, height;
    fuzz_decode(&p, bytes, length, 32, 32);
    fuzz_decode(&p, bytes, length, 7, 3);
    bool ok = p.open(p.decoder, fuzz_file(bytes, length), &width, &height, &err);
    if (ok && (uint64_t)width * height <= FUZZ_PIXELS) ok = p.verify(p.decoder, &err);
    fuzz_check(ok, &err);
}

#endif
