#define _GNU_SOURCE
#include "png_decoder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <png.h>

#include "cutout.h"
#include "dataset.h"
#include "decode_memory.h"
#include "jpeg.h"
#include "mem.h"

#define HEADER_BYTES 33u /* signature and IHDR (ISO/IEC 15948, 5.2 and 11.2.2) */
#define CHUNK_HEAD   8u  /* length and name; after the contents comes a check */
#define CHUNK_CHECK  4u
#define MOST_CHUNKS  10000u /* that are looked through */
#define ALIGN        16u
/* libpng's and zlib's states and window, the palette and what other chunks leave: 60 KiB with libpng 1.6. */
#define LIBRARY_BYTES (192u << 10)
#define MOST_CHUNK    (32u << 10)
#define MOST_MESSAGE  200

struct png_decoder {
    struct decode_memory *shared;
    struct decode_block block; /* for the open picture */
    size_t used;               /* of it */
    int descriptor;            /* -1 = none */
    jmp_buf back;              /* where libpng's errors go */
    char message[MOST_MESSAGE];
    char name[DATASET_PATH];
    uint32_t width, height;
    bool interlaced;
    struct exif_turn turn;
    png_structp library;
    png_infop info;
    struct cutout cutout;
};

/* ---- libpng's callbacks ---- */

_Noreturn static void leave(png_structp library, png_const_charp message)
{
    struct png_decoder *decoder = png_get_error_ptr(library);
    snprintf(decoder->message, sizeof decoder->message, "%s", message);
    longjmp(decoder->back, 1);
}

static void ignore(png_structp library, png_const_charp message)
{
    (void)library;
    (void)message;
}

static void *take(struct png_decoder *decoder, size_t bytes)
{
    size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (rounded < bytes || rounded > decoder->block.size - decoder->used) return NULL;
    void *at = (uint8_t *)decoder->block.bytes + decoder->used;
    decoder->used += rounded;
    return at;
}

static png_voidp allocate(png_structp library, png_alloc_size_t bytes) { return take(png_get_mem_ptr(library), bytes); }

/* All goes with the picture. */
static void release(png_structp library, png_voidp block)
{
    (void)library;
    (void)block;
}

static void read_bytes(png_structp library, png_bytep out, size_t count)
{
    const struct png_decoder *decoder = png_get_io_ptr(library);
    while (count > 0) {
        ssize_t got = read(decoder->descriptor, out, count);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) png_error(library, strerrordesc_np(errno));
        if (got == 0) png_error(library, "it ends too early");
        out += got;
        count -= (size_t)got;
    }
}

/* ---- Life ---- */

static void end_picture(struct png_decoder *decoder)
{
    if (decoder->library) png_destroy_read_struct(&decoder->library, &decoder->info, NULL);
    if (decoder->descriptor >= 0) close(decoder->descriptor);
    decoder->descriptor = -1;
    decoder->used = 0;
    decode_memory_give(decoder->shared, &decoder->block);
}

struct png_decoder *png_decoder_create(struct decode_memory *memory, struct error *err)
{
    struct png_decoder *decoder = mem_zalloc(MEM_INPUT, 1, sizeof *decoder);
    if (!decoder) {
        error_memory(err, sizeof *decoder, "a PNG decoder");
        return NULL;
    }
    decoder->shared = memory;
    decoder->descriptor = -1;
    return decoder;
}

void png_decoder_destroy(struct png_decoder *decoder)
{
    if (!decoder) return;
    end_picture(decoder);
    mem_free(decoder);
}

/* ---- Opening ---- */

static bool refuse(struct png_decoder *decoder, const char *message, struct error *err)
{
    end_picture(decoder);
    return error_set(err, ERROR_FAILED, "%s: cannot be decoded as a PNG: %s", decoder->name, message);
}

static uint32_t big_endian(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Of the eXIf chunk (PNG, third edition, 11.3.3.5), which may come before or after the pixels. */
static struct exif_turn find_turn(const struct png_decoder *decoder)
{
    uint8_t head[CHUNK_HEAD];
    uint64_t offset = HEADER_BYTES;
    for (unsigned i = 0; i < MOST_CHUNKS; i++) {
        if (pread(decoder->descriptor, head, sizeof head, (off_t)offset) != (ssize_t)sizeof head) break;
        uint64_t bytes = big_endian(head);
        if (memcmp(head + 4, "IEND", 4) == 0) break;
        if (memcmp(head + 4, "eXIf", 4) == 0)
            return exif_read_turn(decoder->shared, decoder->descriptor, offset + CHUNK_HEAD, bytes);
        offset += CHUNK_HEAD + bytes + CHUNK_CHECK;
    }
    return (struct exif_turn){false, false, false};
}

bool png_decoder_open(struct png_decoder *decoder, int descriptor, const char *name, uint32_t *width, uint32_t *height,
                      struct error *err)
{
    uint8_t header[HEADER_BYTES];
    end_picture(decoder);
    decoder->descriptor = descriptor;
    snprintf(decoder->name, sizeof decoder->name, "%s", name);
    if (pread(descriptor, header, sizeof header, 0) != (ssize_t)sizeof header ||
        memcmp(header, PNG_DECODER_SIGNATURE, PNG_DECODER_SIGNATURE_BYTES) != 0 || memcmp(header + 12, "IHDR", 4) != 0)
        return refuse(decoder, "its header is damaged", err);
    uint32_t columns = decoder->width = big_endian(header + 16), rows = decoder->height = big_endian(header + 20);
    decoder->interlaced = header[28] != 0;
    if (columns == 0 || rows == 0) return refuse(decoder, "it has no pixels", err);
    if ((uint64_t)columns * rows > JPEG_MOST_PIXELS) {
        end_picture(decoder);
        return error_set(err, ERROR_FAILED, "%s: is %u x %u pixels; at most %u million are decoded", name, columns,
                         rows, JPEG_MOST_PIXELS / 1000000);
    }
    decoder->turn = find_turn(decoder);
    *width = decoder->turn.transposed ? rows : columns;
    *height = decoder->turn.transposed ? columns : rows;
    return true;
}

/* ---- Memory ---- */

/* Our rows, RGB: one, or all of an interlaced picture, which comes in seven passes. */
static uint64_t row_bytes(const struct png_decoder *decoder)
{
    return 3 * (uint64_t)decoder->width * (decoder->interlaced ? decoder->height : 1);
}

/* libpng's own rows, two of at most 8 bytes a pixel. */
static uint64_t needs_of(const struct png_decoder *decoder, uint64_t cutout)
{
    return LIBRARY_BYTES + 2 * (8 * (uint64_t)(decoder->width + 8) + 128) + row_bytes(decoder) + cutout + 4 * ALIGN;
}

static struct cutout_place place_view(const struct png_decoder *decoder, struct augment_view view, uint32_t columns,
                                      uint32_t rows)
{
    const struct cutout_picture picture = {decoder->width, decoder->height, decoder->width, decoder->height,
                                           decoder->turn};
    return cutout_place_view(&picture, view, columns, rows);
}

uint64_t png_decoder_needs(const struct png_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows)
{
    struct cutout_place place = place_view(decoder, view, columns, rows);
    return needs_of(decoder, cutout_bytes(&place));
}

static bool take_memory(struct png_decoder *decoder, uint64_t cutout, struct error *err)
{
    const struct decode_picture picture = {decoder->name, decoder->interlaced ? "an interlaced PNG" : "a PNG", "",
                                           decoder->width, decoder->height};
    return decode_memory_take_picture(decoder->shared, needs_of(decoder, cutout), &picture, &decoder->block, err);
}

/* ---- Decoding ---- */

/* Profiles and texts can be large and change nothing here. */
static void leave_out_texts(png_structp library)
{
    static const png_byte names[] = "iCCP\0tEXt\0zTXt\0iTXt\0eXIf\0sPLT\0hIST\0";
    png_set_keep_unknown_chunks(library, PNG_HANDLE_CHUNK_NEVER, names, 7);
    png_set_chunk_malloc_max(library, MOST_CHUNK);
}

/* Up to the first row; whatever the picture holds comes as three bytes a pixel. */
static bool begin_decoding(struct png_decoder *decoder)
{
    decoder->message[0] = '\0';
    if (setjmp(decoder->back)) return false;
    decoder->library =
        png_create_read_struct_2(PNG_LIBPNG_VER_STRING, decoder, leave, ignore, decoder, allocate, release);
    decoder->info = decoder->library ? png_create_info_struct(decoder->library) : NULL;
    if (!decoder->info) return false;
    leave_out_texts(decoder->library);
    png_set_read_fn(decoder->library, decoder, read_bytes);
    png_read_info(decoder->library, decoder->info);
    png_set_expand(decoder->library);
    png_set_scale_16(decoder->library);
    png_set_gray_to_rgb(decoder->library);
    png_set_strip_alpha(decoder->library);
    png_set_interlace_handling(decoder->library);
    png_read_update_info(decoder->library, decoder->info);
    if (png_get_rowbytes(decoder->library, decoder->info) != 3 * (size_t)decoder->width)
        png_error(decoder->library, "its pixels are of no known kind");
    return true;
}

/* Rows [0, end), of which those from `first` on go into the cutout. */
static bool decode_rows(struct png_decoder *decoder, uint8_t *row, uint32_t first, uint32_t end)
{
    if (setjmp(decoder->back)) return false;
    for (uint32_t y = 0; y < end; y++) {
        png_read_row(decoder->library, row, NULL);
        if (y >= first) cutout_add_row(&decoder->cutout, y, row);
    }
    return true;
}

#define PASSES 7u

static bool decode_passes(struct png_decoder *decoder, uint8_t *rows, uint32_t first, uint32_t end)
{
    size_t bytes = 3 * (size_t)decoder->width;
    if (setjmp(decoder->back)) return false;
    for (uint32_t pass = 0; pass < PASSES; pass++)
        for (uint32_t y = 0; y < decoder->height; y++) png_read_row(decoder->library, rows + y * bytes, NULL);
    for (uint32_t y = first; y < end; y++) cutout_add_row(&decoder->cutout, y, rows + y * bytes);
    return true;
}

static bool decode_all(struct png_decoder *decoder, uint32_t first, uint32_t end, struct error *err)
{
    if (!begin_decoding(decoder))
        return refuse(decoder, *decoder->message ? decoder->message : "too little memory", err);
    uint8_t *rows = take(decoder, row_bytes(decoder));
    if (!rows) return refuse(decoder, "too little memory", err);
    bool ok = decoder->interlaced ? decode_passes(decoder, rows, first, end) : decode_rows(decoder, rows, first, end);
    return ok || refuse(decoder, decoder->message, err);
}

static bool decode_view(struct png_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows,
                        uint8_t *out, struct error *err)
{
    struct cutout_place place = place_view(decoder, view, columns, rows);
    size_t cutout = cutout_bytes(&place);
    TRY(take_memory(decoder, cutout, err));
    cutout_begin(&decoder->cutout, &place, take(decoder, cutout), out);
    return decode_all(decoder, cutout_first_row(&decoder->cutout), cutout_end_row(&decoder->cutout), err);
}

bool png_decoder_decode(struct png_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows,
                        uint8_t *out, struct error *err)
{
    bool ok = decode_view(decoder, view, columns, rows, out, err);
    end_picture(decoder);
    return ok;
}

bool png_decoder_verify(struct png_decoder *decoder, struct error *err)
{
    bool ok = take_memory(decoder, 0, err) && decode_all(decoder, decoder->height, decoder->height, err);
    end_picture(decoder);
    return ok;
}
