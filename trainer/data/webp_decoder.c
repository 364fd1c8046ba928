#define _GNU_SOURCE
#include "webp_decoder.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <webp/decode.h>

#include "cutout.h"
#include "dataset.h"
#include "decode_memory.h"
#include "jpeg.h"
#include "mem.h"
#include "riff.h"

#define ALIGN 64u

struct webp_decoder {
    struct decode_memory *shared;
    struct decode_block block; /* for the open picture */
    size_t used;               /* of it */
    int descriptor;            /* -1 = none */
    char name[DATASET_PATH];
    struct riff_webp file;
    struct exif_turn turn;
    struct cutout cutout;
};

/* ---- Life ---- */

static void end_picture(struct webp_decoder *decoder)
{
    if (decoder->descriptor >= 0) close(decoder->descriptor);
    decoder->descriptor = -1;
    decoder->used = 0;
    decode_memory_give(decoder->shared, &decoder->block);
}

struct webp_decoder *webp_decoder_create(struct decode_memory *memory, struct error *err)
{
    struct webp_decoder *decoder = mem_zalloc(MEM_INPUT, 1, sizeof *decoder);
    if (!decoder) {
        error_memory(err, sizeof *decoder, "a WebP decoder");
        return NULL;
    }
    decoder->shared = memory;
    decoder->descriptor = -1;
    return decoder;
}

void webp_decoder_destroy(struct webp_decoder *decoder)
{
    if (!decoder) return;
    end_picture(decoder);
    mem_free(decoder);
}

/* ---- Opening ---- */

static bool refuse(struct webp_decoder *decoder, const char *message, struct error *err)
{
    end_picture(decoder);
    return error_set(err, ERROR_FAILED, "%s: cannot be decoded as a WebP: %s", decoder->name, message);
}

bool webp_decoder_open(struct webp_decoder *decoder, int descriptor, const char *name, uint32_t *width,
                       uint32_t *height, struct error *err)
{
    struct riff_webp *file = &decoder->file;
    end_picture(decoder);
    decoder->descriptor = descriptor;
    snprintf(decoder->name, sizeof decoder->name, "%s", name);
    const char *fault = riff_find_webp(descriptor, file);
    if (fault) return refuse(decoder, fault, err);
    if ((uint64_t)file->width * file->height > JPEG_MOST_PIXELS) {
        end_picture(decoder);
        return error_set(err, ERROR_FAILED, "%s: is %u x %u pixels; at most %u million are decoded", name, file->width,
                         file->height, JPEG_MOST_PIXELS / 1000000);
    }
    decoder->turn = exif_read_turn(decoder->shared, descriptor, file->exif_offset, file->exif_bytes);
    *width = decoder->turn.transposed ? file->height : file->width;
    *height = decoder->turn.transposed ? file->width : file->height;
    return true;
}

/* ---- Which pixels ---- */

/* What libwebp cuts out and then shrinks. */
struct region {
    uint32_t left, top, width, height; /* in stored pixels */
    uint32_t columns, rows;            /* as it is given */
};

static struct cutout_place place_view(const struct webp_decoder *decoder, struct augment_view view, uint32_t columns,
                                      uint32_t rows)
{
    const struct cutout_picture picture = {decoder->file.width, decoder->file.height, decoder->file.width,
                                           decoder->file.height, decoder->turn};
    return cutout_place_view(&picture, view, columns, rows);
}

/* By a whole number to no less than is wanted. */
static uint32_t choose_shrink(const struct cutout_place *place)
{
    double most = fmin(place->across / place->columns, place->down / place->rows);
    return most >= 2 ? (uint32_t)most : 1;
}

/* Beyond the view scaling looks at a pixel's width on each side, enlarging of chroma at two, and edges are even. */
static uint32_t margin_of(double length, uint32_t outputs) { return (uint32_t)ceil(fmax(1, length / outputs)) + 4; }

static uint32_t extent_of(double length, uint32_t outputs, uint32_t limit)
{
    double most = ceil(length) + 2 * margin_of(length, outputs) + 2;
    return most < limit ? (uint32_t)most : limit;
}

static uint32_t edge_of(double start, uint32_t margin, uint32_t extent, uint32_t limit)
{
    double edge = floor(start) - margin;
    uint32_t even = edge > 0 ? (uint32_t)edge & ~1u : 0;
    return even + extent > limit ? (limit - extent) & ~1u : even;
}

/* A pixel larger where an even edge would leave out the last one. */
static struct region choose_region(const struct cutout_place *place)
{
    struct region region = {.width = extent_of(place->across, place->columns, place->width),
                            .height = extent_of(place->down, place->rows, place->height)};
    uint32_t shrink = choose_shrink(place);
    region.left = edge_of(place->x, margin_of(place->across, place->columns), region.width, place->width);
    region.top = edge_of(place->y, margin_of(place->down, place->rows), region.height, place->height);
    region.width += region.left + region.width + 1 == place->width;
    region.height += region.top + region.height + 1 == place->height;
    region.columns = (region.width + shrink - 1) / shrink;
    region.rows = (region.height + shrink - 1) / shrink;
    return region;
}

/* The view in the region's pixels as they are given. */
static struct cutout_place place_in_region(const struct cutout_place *place, const struct region *region)
{
    struct cutout_place within = *place;
    double across = (double)region->columns / region->width, down = (double)region->rows / region->height;
    within.width = region->columns;
    within.height = region->rows;
    within.x = (place->x - region->left) * across;
    within.y = (place->y - region->top) * down;
    within.across = place->across * across;
    within.down = place->down * down;
    return within;
}

/* ---- Memory ---- */

/* What libwebp 1.2 allocates: of a lossy picture a row of macroblocks of 16 x 16, with their coefficients, and the rows
 * that its filters look back at (frame_dec.c); of a lossless one all pixels, 17 rows more, images of its transforms and
 * of its codes, each of at most a sixteenth as many (vp8l_dec.c), and the codes' tables, 12 KiB for each of as many
 * groups as encoders make. */
#define FIXED_BYTES      (96u << 10)
#define MACROBLOCK_BYTES 2304u
#define GROUP_BYTES      (12u << 10)
#define MOST_GROUPS      256u

static uint64_t library_bytes(const struct webp_decoder *decoder, uint64_t given_columns)
{
    uint64_t width = decoder->file.width, pixels = width * decoder->file.height;
    uint64_t scaling = 64 * given_columns + 4 * width;
    if (!decoder->file.lossless) return FIXED_BYTES + (width + 15) / 16 * MACROBLOCK_BYTES + scaling;
    uint64_t groups = pixels / 16 + 1 < MOST_GROUPS ? pixels / 16 + 1 : MOST_GROUPS;
    return FIXED_BYTES + 4 * (pixels + 17 * width + 3 * (pixels / 16)) + groups * GROUP_BYTES + scaling;
}

static size_t round_up(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* What we take: the file's bytes, pixels, and what scaling them needs. */
static uint64_t own_bytes(const struct webp_decoder *decoder, const struct region *region, size_t cutout)
{
    return round_up(decoder->file.image_bytes + RIFF_HEAD) + round_up(3 * (size_t)region->columns * region->rows) +
           round_up(cutout);
}

/* The largest wherever the view lies. */
static struct region largest_region(const struct cutout_place *place)
{
    uint32_t shrink = choose_shrink(place);
    struct region region = {.width = extent_of(place->across, place->columns, place->width),
                            .height = extent_of(place->down, place->rows, place->height)};
    region.width += region.width < place->width;
    region.height += region.height < place->height;
    region.columns = (region.width + shrink - 1) / shrink;
    region.rows = (region.height + shrink - 1) / shrink;
    return region;
}

static uint64_t needs_of(const struct webp_decoder *decoder, const struct cutout_place *place)
{
    struct region region = largest_region(place);
    struct cutout_place within = place_in_region(place, &region);
    /* A view's length in given pixels changes a little with the region. */
    return own_bytes(decoder, &region, cutout_bytes(&within) * 9 / 8 + 1024) + library_bytes(decoder, region.columns);
}

uint64_t webp_decoder_needs(const struct webp_decoder *decoder, struct augment_view view, uint32_t columns,
                            uint32_t rows)
{
    struct cutout_place place = place_view(decoder, view, columns, rows);
    return needs_of(decoder, &place);
}

/* The block is for libwebp's allocations too, which are not in it: those pages of it are the kernel's meanwhile. */
static bool take_memory(struct webp_decoder *decoder, uint64_t bytes, uint64_t own, struct error *err)
{
    const struct decode_picture picture = {decoder->name, decoder->file.lossless ? "a lossless WebP" : "a WebP",
                                           decoder->file.lossless ? ": save it as a PNG or a JPEG" : "",
                                           decoder->file.width, decoder->file.height};
    TRY(decode_memory_take_picture(decoder->shared, bytes, &picture, &decoder->block, err));
    if (own < decoder->block.size) mem_drop_pages((uint8_t *)decoder->block.bytes + own, decoder->block.size - own);
    return true;
}

static void *take(struct webp_decoder *decoder, size_t bytes)
{
    void *at = (uint8_t *)decoder->block.bytes + decoder->used;
    decoder->used += round_up(bytes);
    return at;
}

/* ---- Decoding ---- */

static const char *status_words(VP8StatusCode status)
{
    switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return "too little memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "it has a feature that libwebp does not know";
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED: return "it ends too early";
    default: return "its data is damaged";
    }
}

static bool decode_region(struct webp_decoder *decoder, const struct region *region, uint8_t **pixels,
                          struct error *err)
{
    size_t length = decoder->file.image_bytes + RIFF_HEAD, row = 3 * (size_t)region->columns;
    uint8_t *bytes = take(decoder, length);
    WebPDecoderConfig config;
    const char *fault = riff_read_webp(decoder->descriptor, &decoder->file, bytes);
    if (fault) return refuse(decoder, fault, err);
    if (!WebPInitDecoderConfig(&config)) return refuse(decoder, "libwebp is of another version", err);
    *pixels = take(decoder, row * region->rows);
    config.options.use_cropping = 1;
    config.options.crop_left = (int)region->left;
    config.options.crop_top = (int)region->top;
    config.options.crop_width = (int)region->width;
    config.options.crop_height = (int)region->height;
    config.options.use_scaling = region->columns != region->width || region->rows != region->height;
    config.options.scaled_width = (int)region->columns;
    config.options.scaled_height = (int)region->rows;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){*pixels, (int)row, row * region->rows};
    VP8StatusCode status = WebPDecode(bytes, length, &config);
    WebPFreeDecBuffer(&config.output);
    return status == VP8_STATUS_OK || refuse(decoder, status_words(status), err);
}

static bool decode_view(struct webp_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows,
                        uint8_t *out, struct error *err)
{
    struct cutout_place place = place_view(decoder, view, columns, rows);
    struct region region = choose_region(&place);
    struct cutout_place within = place_in_region(&place, &region);
    struct cutout *cutout = &decoder->cutout;
    uint8_t *pixels;
    TRY(take_memory(decoder, needs_of(decoder, &place), own_bytes(decoder, &region, cutout_bytes(&within)), err));
    cutout_begin(cutout, &within, take(decoder, cutout_bytes(&within)), out);
    TRY(decode_region(decoder, &region, &pixels, err));
    for (uint32_t y = cutout_first_row(cutout); y < cutout_end_row(cutout); y++)
        cutout_add_row(cutout, y, pixels + 3 * (size_t)region.columns * y);
    return true;
}

bool webp_decoder_decode(struct webp_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows,
                         uint8_t *out, struct error *err)
{
    bool ok = decode_view(decoder, view, columns, rows, out, err);
    end_picture(decoder);
    return ok;
}

/* Sixteen times smaller: all of it is decoded, and few pixels are kept. */
bool webp_decoder_verify(struct webp_decoder *decoder, struct error *err)
{
    uint32_t width = decoder->file.width, height = decoder->file.height;
    struct region all = {.width = width, .height = height, .columns = (width + 15) / 16, .rows = (height + 15) / 16};
    uint64_t own = own_bytes(decoder, &all, 0);
    uint8_t *pixels;
    bool ok = take_memory(decoder, own + library_bytes(decoder, all.columns), own, err) &&
              decode_region(decoder, &all, &pixels, err);
    end_picture(decoder);
    return ok;
}
