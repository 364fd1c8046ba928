#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ascii.h"
#include "jpeg.h"
#include "mem.h"
#ifdef FATHOM_PNG
#include "png_decoder.h"
#endif
#ifdef FATHOM_WEBP
#include "riff.h"
#include "webp_decoder.h"
#endif

struct image_decoder {
    struct decode_memory *memory;
    struct jpeg_decoder *jpeg;
    struct png_decoder *png; /* made for the first PNG */
    struct webp_decoder *webp;
    bool is_png, is_webp;   /* the open picture */
    uint32_t width, height; /* of the open picture as it is seen */
};

struct image_decoder *image_decoder_create(struct decode_memory *memory, struct error *err)
{
    struct image_decoder *decoder = mem_zalloc(MEM_INPUT, 1, sizeof *decoder);
    if (!decoder) {
        error_memory(err, sizeof *decoder, "a decoder");
        return NULL;
    }
    decoder->memory = memory;
    decoder->jpeg = jpeg_decoder_create(memory, err);
    if (decoder->jpeg) return decoder;
    mem_free(decoder);
    return NULL;
}

void image_decoder_destroy(struct image_decoder *decoder)
{
    if (!decoder) return;
    jpeg_decoder_destroy(decoder->jpeg);
#ifdef FATHOM_PNG
    png_decoder_destroy(decoder->png);
#endif
#ifdef FATHOM_WEBP
    webp_decoder_destroy(decoder->webp);
#endif
    mem_free(decoder);
}

#ifdef FATHOM_PNG
static bool is_png(int descriptor)
{
    char start[PNG_DECODER_SIGNATURE_BYTES];
    return pread(descriptor, start, sizeof start, 0) == (ssize_t)sizeof start &&
           memcmp(start, PNG_DECODER_SIGNATURE, sizeof start) == 0;
}

static bool open_png(struct image_decoder *decoder, int descriptor, const char *path, uint32_t *width, uint32_t *height,
                     struct error *err)
{
    if (!decoder->png) decoder->png = png_decoder_create(decoder->memory, err);
    if (decoder->png) return png_decoder_open(decoder->png, descriptor, path, width, height, err);
    close(descriptor);
    return false;
}
#endif

#ifdef FATHOM_WEBP
static bool open_webp(struct image_decoder *decoder, int descriptor, const char *path, uint32_t *width,
                      uint32_t *height, struct error *err)
{
    if (!decoder->webp) decoder->webp = webp_decoder_create(decoder->memory, err);
    if (decoder->webp) return webp_decoder_open(decoder->webp, descriptor, path, width, height, err);
    close(descriptor);
    return false;
}
#endif

static bool check_file(int descriptor, const char *path, struct error *err)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0) return error_errno(err, ERROR_FAILED, errno, "%s: cannot be read", path);
    if (S_ISREG(info.st_mode)) return true;
    return error_set(err, ERROR_FAILED, "%s: is not a file; a picture is wanted", path);
}

static bool open_any(struct image_decoder *decoder, const char *path, uint32_t *width, uint32_t *height,
                     struct error *err)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return error_errno(err, ERROR_FAILED, errno, "%s: cannot be opened", path);
    if (!check_file(descriptor, path, err)) {
        close(descriptor);
        return false;
    }
    decoder->is_png = decoder->is_webp = false;
#ifdef FATHOM_PNG
    decoder->is_png = is_png(descriptor);
    if (decoder->is_png) return open_png(decoder, descriptor, path, width, height, err);
#endif
#ifdef FATHOM_WEBP
    decoder->is_webp = riff_is_webp(descriptor);
    if (decoder->is_webp) return open_webp(decoder, descriptor, path, width, height, err);
#endif
    return jpeg_open_descriptor(decoder->jpeg, descriptor, path, width, height, err);
}

bool image_open(struct image_decoder *decoder, const char *path, uint32_t *width, uint32_t *height, struct error *err)
{
    TRY(open_any(decoder, path, width, height, err));
    decoder->width = *width;
    decoder->height = *height;
    return true;
}

static uint64_t needs_of(struct image_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows)
{
#ifdef FATHOM_PNG
    if (decoder->is_png) return png_decoder_needs(decoder->png, view, columns, rows);
#endif
#ifdef FATHOM_WEBP
    if (decoder->is_webp) return webp_decoder_needs(decoder->webp, view, columns, rows);
#endif
    return jpeg_needs(decoder->jpeg, view, columns, rows);
}

static bool decode(struct image_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows,
                   uint8_t *out, struct error *err)
{
#ifdef FATHOM_PNG
    if (decoder->is_png) return png_decoder_decode(decoder->png, view, columns, rows, out, err);
#endif
#ifdef FATHOM_WEBP
    if (decoder->is_webp) return webp_decoder_decode(decoder->webp, view, columns, rows, out, err);
#endif
    return jpeg_decode(decoder->jpeg, view, columns, rows, out, err);
}

static struct augment_view whole_view(const struct image_decoder *decoder)
{
    return (struct augment_view){.side = decoder->width, .down = decoder->height};
}

uint64_t image_needs(struct image_decoder *decoder, double side, uint32_t size)
{
    return needs_of(decoder, (struct augment_view){.side = side}, size, size);
}

uint64_t image_needs_view(struct image_decoder *decoder, double across, double down, uint32_t size)
{
    double width = decoder->width, height = decoder->height;
    const struct augment_view view = {.side = across < width ? across : width, .down = down < height ? down : height};
    return needs_of(decoder, view, size, size);
}

uint64_t image_needs_whole(struct image_decoder *decoder, uint32_t columns, uint32_t rows)
{
    return needs_of(decoder, whole_view(decoder), columns, rows);
}

bool image_decode(struct image_decoder *decoder, struct augment_view view, uint32_t size, uint8_t *out,
                  struct error *err)
{
    return decode(decoder, view, size, size, out, err);
}

bool image_decode_whole(struct image_decoder *decoder, uint32_t columns, uint32_t rows, uint8_t *out, struct error *err)
{
    return decode(decoder, whole_view(decoder), columns, rows, out, err);
}

bool image_verify(struct image_decoder *decoder, struct error *err)
{
#ifdef FATHOM_PNG
    if (decoder->is_png) return png_decoder_verify(decoder->png, err);
#endif
#ifdef FATHOM_WEBP
    if (decoder->is_webp) return webp_decoder_verify(decoder->webp, err);
#endif
    return jpeg_verify(decoder->jpeg, err);
}

bool image_names_one(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot) return false;
    if (ascii_same(dot, ".jpg") || ascii_same(dot, ".jpeg") || ascii_same(dot, ".webp")) return true;
#ifdef FATHOM_PNG
    return ascii_same(dot, ".png");
#else
    return false;
#endif
}

const char *image_kinds(void)
{
#if defined FATHOM_PNG && defined FATHOM_WEBP
    return "JPEGs, PNGs or WebPs (*.jpg, *.jpeg, *.png, *.webp)";
#elif defined FATHOM_PNG
    return "JPEGs or PNGs (*.jpg, *.jpeg, *.png)";
#elif defined FATHOM_WEBP
    return "JPEGs or WebPs (*.jpg, *.jpeg, *.webp)";
#else
    return "JPEGs (*.jpg, *.jpeg)";
#endif
}
