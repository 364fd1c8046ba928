#define _GNU_SOURCE
#include "jpeg.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "cutout.h"
#include "dataset.h"
#include "decode_memory.h"
#include "exif.h"
#include "jpeg_input.h"
#include "jpeg_memory.h"
#include "mem.h"

/* Real pictures have about ten scans; a crafted one can make each of thousands cost a whole pass. */
#define MOST_SCANS 200

#define EXIF_MARKER (JPEG_APP0 + 1)

struct jpeg_decoder {
    struct jpeg_memory memory; /* first: aligned as the decoder is */
    struct jpeg_input input;
    struct jpeg_decompress_struct library;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;                  /* where libjpeg's errors go */
    char message[JMSG_LENGTH_MAX]; /* what the error was */
    bool made;                     /* library is to be destroyed */
    char name[DATASET_PATH];       /* of the open picture */
    struct decode_memory *shared;
    struct decode_block block; /* of it, for the open picture */
    uint8_t *row;              /* one as decoded */
    bool all;                  /* no part of a picture is left out */
    struct cutout cutout;
    bool has_exif;         /* a segment was read whose turn counts */
    struct exif_turn turn; /* of the open picture */
};

/* ---- libjpeg's callbacks: it never exits and never prints ---- */

static struct jpeg_decoder *decoder_of(j_common_ptr library) { return library->client_data; }

_Noreturn static void leave(j_common_ptr library)
{
    struct jpeg_decoder *decoder = decoder_of(library);
    library->err->format_message(library, decoder->message);
    longjmp(decoder->back, 1);
}

/* Warnings that mean missing or damaged pixels are errors here. The others (bytes between segments, an unknown Adobe
 * transform, odd scan scripts) are common in good pictures. */
static void judge_message(j_common_ptr library, int level)
{
    if (level >= 0) return;
    switch (library->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC: leave(library);
    default: return;
    }
}

static void ignore_message(j_common_ptr library) { (void)library; }

static void watch_progress(j_common_ptr library)
{
    struct jpeg_decoder *decoder = decoder_of(library);
    if (decoder->library.input_scan_number <= MOST_SCANS) return;
    snprintf(decoder->message, sizeof decoder->message, "has more than %d scans", MOST_SCANS);
    longjmp(decoder->back, 1);
}

/* ---- Exif ---- */

static void read_exif_bytes(j_decompress_ptr library, size_t count)
{
    struct jpeg_decoder *decoder = decoder_of((j_common_ptr)library);
    uint8_t *bytes = decoder->block.bytes;
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)jpeg_input_byte(library);
    decoder->has_exif = count >= 4 && memcmp(bytes, "Exif", 4) == 0;
    if (decoder->has_exif) decoder->turn = exif_find_turn(bytes, count);
}

/* Of several segments the first that is Exif's counts: XMP's has the same marker. Those between scans do not: the block
 * then holds the picture. */
static boolean read_exif(j_decompress_ptr library)
{
    struct jpeg_decoder *decoder = decoder_of((j_common_ptr)library);
    size_t high = jpeg_input_byte(library), length = high << 8 | jpeg_input_byte(library);
    size_t count = length > 2 ? length - 2 : 0;
    if (decoder->has_exif || decoder->block.bytes) {
        library->src->skip_input_data(library, (long)count);
        return TRUE;
    }
    if (!decode_memory_take(decoder->shared, EXIF_MOST_BYTES, &decoder->block, NULL))
        ERREXIT1(library, JERR_OUT_OF_MEMORY, 0);
    read_exif_bytes(library, count);
    decode_memory_give(decoder->shared, &decoder->block);
    return TRUE;
}

/* ---- Life ---- */

/* Ends the open picture, if any. */
static void end_picture(struct jpeg_decoder *decoder)
{
    if (decoder->made) jpeg_abort_decompress(&decoder->library);
    jpeg_input_end(&decoder->input);
    decode_memory_give(decoder->shared, &decoder->block);
}

static bool make_library(struct jpeg_decoder *decoder)
{
    if (setjmp(decoder->back)) return false;
    jpeg_create_decompress(&decoder->library);
    decoder->made = true;
    jpeg_set_marker_processor(&decoder->library, EXIF_MARKER, read_exif);
    return true;
}

struct jpeg_decoder *jpeg_decoder_create(struct decode_memory *memory, struct error *err)
{
    struct jpeg_decoder *decoder = mem_map(MEM_INPUT, sizeof *decoder);
    if (!decoder) {
        error_memory(err, sizeof *decoder, "a JPEG decoder");
        return NULL;
    }
    decoder->shared = memory;
    decoder->input.descriptor = -1;
    decoder->library.err = jpeg_std_error(&decoder->errors);
    decoder->errors.error_exit = leave;
    decoder->errors.emit_message = judge_message;
    decoder->errors.output_message = ignore_message;
    decoder->library.client_data = decoder;
    if (!make_library(decoder)) {
        error_set(err, ERROR_FAILED, "a JPEG decoder cannot be made: %s", decoder->message);
        jpeg_decoder_destroy(decoder);
        return NULL;
    }
    decoder->progress.progress_monitor = watch_progress;
    decoder->library.progress = &decoder->progress;
    jpeg_input_init(&decoder->input, &decoder->library);
    jpeg_memory_init(&decoder->memory, &decoder->library);
    return decoder;
}

void jpeg_decoder_destroy(struct jpeg_decoder *decoder)
{
    if (!decoder) return;
    end_picture(decoder);
    if (decoder->memory.own) jpeg_memory_finish(&decoder->memory, &decoder->library);
    if (decoder->made) jpeg_destroy_decompress(&decoder->library);
    mem_unmap(MEM_INPUT, decoder, sizeof *decoder);
}

/* ---- Opening ---- */

static bool refuse(struct jpeg_decoder *decoder, struct error *err)
{
    int failure = decoder->input.failure;
    end_picture(decoder);
    if (failure) return error_errno(err, ERROR_FAILED, failure, "%s: cannot be read", decoder->name);
    return error_set(err, ERROR_FAILED, "%s: cannot be decoded as a JPEG: %s", decoder->name, decoder->message);
}

/* What is often found under a JPEG's name; ImageNet has one. */
static const char *other_format(const uint8_t *bytes, size_t length)
{
    static const struct {
        const char *name, *magic;
        size_t at, length;
    } formats[] = {{"a PNG", "\x89PNG", 0, 4},  {"a GIF", "GIF8", 0, 4},      {"a BMP", "BM", 0, 2},
                   {"a WebP", "WEBP", 8, 4},    {"a TIFF", "II*\0", 0, 4},    {"a TIFF", "MM\0*", 0, 4},
                   {"a HEIC", "ftyphei", 4, 7}, {"an AVIF", "ftypavif", 4, 8}};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (length >= formats[i].at + formats[i].length &&
            memcmp(bytes + formats[i].at, formats[i].magic, formats[i].length) == 0)
            return formats[i].name;
    return NULL;
}

/* That of a format which other builds decode. */
static const char *missing_library(const char *format)
{
#ifndef FATHOM_PNG
    if (strcmp(format, "a PNG") == 0) return "libpng";
#endif
#ifndef FATHOM_WEBP
    if (strcmp(format, "a WebP") == 0) return "libwebp";
#endif
    (void)format;
    return NULL;
}

static bool read_header(struct jpeg_decoder *decoder)
{
    if (setjmp(decoder->back)) return false;
    jpeg_read_header(&decoder->library, TRUE);
    return true;
}

/* Of a picture whose first bytes are there. */
static bool open_picture(struct jpeg_decoder *decoder, uint32_t *width, uint32_t *height, struct error *err)
{
    const struct jpeg_source_mgr *source = &decoder->input.table;
    const char *name = decoder->name;
    if (source->bytes_in_buffer == 0) return error_set(err, ERROR_FAILED, "%s: is empty; a JPEG is wanted", name);
    const char *other = other_format(source->next_input_byte, source->bytes_in_buffer);
    if (other && missing_library(other))
        return error_set(err, ERROR_FAILED, "%s: is %s, and this fathom was built without %s, which decodes those",
                         name, other, missing_library(other));
    if (other) return error_set(err, ERROR_FAILED, "%s: is %s, not a JPEG", name, other);
    decoder->has_exif = false;
    decoder->turn = (struct exif_turn){false, false, false};
    if (!read_header(decoder)) return refuse(decoder, err);
    uint32_t columns = decoder->library.image_width, rows = decoder->library.image_height;
    if ((uint64_t)columns * rows > JPEG_MOST_PIXELS)
        return error_set(err, ERROR_FAILED, "%s: is %u x %u pixels; at most %u million are decoded", name, columns,
                         rows, JPEG_MOST_PIXELS / 1000000);
    *width = decoder->turn.transposed ? rows : columns;
    *height = decoder->turn.transposed ? columns : rows;
    return true;
}

bool jpeg_open_bytes(struct jpeg_decoder *decoder, const void *bytes, size_t length, const char *name, uint32_t *width,
                     uint32_t *height, struct error *err)
{
    end_picture(decoder);
    snprintf(decoder->name, sizeof decoder->name, "%s", name);
    jpeg_input_bytes(&decoder->input, bytes, length);
    return open_picture(decoder, width, height, err);
}

bool jpeg_open_descriptor(struct jpeg_decoder *decoder, int descriptor, const char *name, uint32_t *width,
                          uint32_t *height, struct error *err)
{
    end_picture(decoder);
    snprintf(decoder->name, sizeof decoder->name, "%s", name);
    if (!jpeg_input_file(&decoder->input, descriptor))
        return error_errno(err, ERROR_FAILED, decoder->input.failure, "%s: cannot be read", name);
    return open_picture(decoder, width, height, err);
}

/* ---- Memory ---- */

/* libjpeg's inverse transform can give k/8 of the size for little work; the rest is scaling by less than 2, but for
 * pictures more than eight times too large. An eighth, a quarter, a half and all of it are done by vector code; by 3,
 * 5, 6 or 7 eighths costs more than all of it. */
static unsigned choose_eighths(struct augment_view view, uint32_t columns, uint32_t rows)
{
    double down = view.down > 0 ? view.down : view.side;
    unsigned eighths = 1;
    while (eighths < 8 && (view.side * eighths / 8 < columns || down * eighths / 8 < rows)) eighths *= 2;
    return eighths;
}

/* Baseline pictures may be so too, with a scan for each component. */
static bool has_several_scans(struct jpeg_decoder *decoder)
{
    if (setjmp(decoder->back)) return false; /* no picture is open: decoding will say so */
    return jpeg_has_multiple_scans(&decoder->library) != FALSE;
}

static uint64_t whole_row_bytes(const struct jpeg_decompress_struct *library)
{
    return (uint64_t)library->output_width * (uint64_t)library->output_components + 2 * JPEG_MEMORY_ALIGN;
}

static bool set_scale(struct jpeg_decoder *decoder, unsigned eighths)
{
    struct jpeg_decompress_struct *library = &decoder->library;
    if (setjmp(decoder->back)) return false;
    bool cmyk = library->jpeg_color_space == JCS_CMYK || library->jpeg_color_space == JCS_YCCK;
    library->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    library->scale_num = eighths;
    library->scale_denom = 8;
    library->dct_method = JDCT_ISLOW; /* the same bits on every processor */
    jpeg_calc_output_dimensions(library);
    return true;
}

/* A view of the open picture, whose scale is set. */
static struct cutout_place place_view(const struct jpeg_decoder *decoder, struct augment_view view, uint32_t columns,
                                      uint32_t rows)
{
    const struct jpeg_decompress_struct *library = &decoder->library;
    const struct cutout_picture picture = {library->image_width, library->image_height, library->output_width,
                                           library->output_height, decoder->turn};
    return cutout_place_view(&picture, view, columns, rows);
}

static uint64_t needs_of(struct jpeg_decoder *decoder, uint64_t cutout)
{
    return jpeg_memory_needs(&decoder->library, has_several_scans(decoder)) + whole_row_bytes(&decoder->library) +
           cutout + JPEG_MEMORY_ALIGN;
}

uint64_t jpeg_needs(struct jpeg_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows)
{
    if (!set_scale(decoder, choose_eighths(view, columns, rows))) return 0;
    struct cutout_place place = place_view(decoder, view, columns, rows);
    return needs_of(decoder, cutout_bytes(&place));
}

/* Takes what the open picture needs, whose scale is set, with so much for a cutout. */
static bool take_memory(struct jpeg_decoder *decoder, uint64_t cutout, struct error *err)
{
    bool scans = has_several_scans(decoder);
    const struct decode_picture picture = {decoder->name, scans ? "a progressive JPEG" : "a baseline JPEG",
                                           scans ? ": save it as a baseline JPEG, or smaller" : "",
                                           decoder->library.image_width, decoder->library.image_height};
    TRY(decode_memory_take_picture(decoder->shared, needs_of(decoder, cutout), &picture, &decoder->block, err));
    jpeg_memory_use(&decoder->memory, decoder->block.bytes, decoder->block.size);
    return true;
}

/* Off the alignment on which libjpeg-turbo's vector code writes past the caches: the row is read at once. */
static void take_row(struct jpeg_decoder *decoder)
{
    uint8_t *room = jpeg_memory_take(&decoder->memory, whole_row_bytes(&decoder->library));
    decoder->row = room + JPEG_MEMORY_ALIGN / 4;
}

/* ---- Decoding ---- */

static bool start_decoding(struct jpeg_decoder *decoder)
{
    if (setjmp(decoder->back)) return false;
    jpeg_start_decompress(&decoder->library);
    return true;
}

/* Adobe's files hold inverted inks; others are taken at their word. */
static void convert_cmyk(uint8_t *row, uint32_t width, bool inverted)
{
    for (uint32_t i = 0; i < width; i++) {
        uint8_t ink[4];
        memcpy(ink, row + 4 * i, 4);
        unsigned black = inverted ? ink[3] : 255u - ink[3];
        for (uint32_t channel = 0; channel < 3; channel++) {
            unsigned light = inverted ? ink[channel] : 255u - ink[channel];
            row[3 * i + channel] = (uint8_t)((light * black + 127) / 255);
        }
    }
}

static void read_row(struct jpeg_decoder *decoder)
{
    struct jpeg_decompress_struct *library = &decoder->library;
    JSAMPROW row = decoder->row;
    jpeg_read_scanlines(library, &row, 1);
    if (library->out_color_space == JCS_CMYK)
        convert_cmyk(row, library->output_width, library->saw_Adobe_marker != FALSE);
}

#ifdef FATHOM_JPEG_REGION
/* Smooth enlarging of chroma looks a pixel beyond, and takes the edge of what is decoded for the picture's. */
#define EDGE_COLUMNS 4u

/* Whether a colour is enlarged in part by its inverse transform and for the rest after it, as in 4:1:0 at half the
 * size: jpeg_crop_scanline then takes its rows for shorter than they are, and smooth enlarging leaves their ends
 * unwritten. */
static bool is_enlarged_twice(const struct jpeg_decompress_struct *library)
{
    const int least = jpeg_least_side(library);
    for (int i = 0; i < library->num_components; i++) {
        const jpeg_component_info *colour = &library->comp_info[i];
        const int across = colour->h_samp_factor * jpeg_side(colour), down = colour->v_samp_factor * jpeg_side(colour);
        bool done = across == library->max_h_samp_factor * least && down == library->max_v_samp_factor * least;
        if (jpeg_side(colour) != least && !done) return true;
    }
    return false;
}

/* Coefficients are read, and transformed only within the columns and rows of the view: whole units of the picture
 * (libjpeg.txt, "jpeg_crop_scanline", "jpeg_skip_scanlines"). */
static void leave_out(struct jpeg_decoder *decoder)
{
    struct jpeg_decompress_struct *library = &decoder->library;
    const uint32_t first = cutout_first_column(&decoder->cutout), end = cutout_end_column(&decoder->cutout);
    JDIMENSION offset = first > EDGE_COLUMNS ? first - EDGE_COLUMNS : 0;
    JDIMENSION last = end + EDGE_COLUMNS < library->output_width ? end + EDGE_COLUMNS : library->output_width;
    JDIMENSION width = last - offset;
    jpeg_crop_scanline(library, &offset, &width);
    cutout_leave_out(&decoder->cutout, offset);
    jpeg_skip_scanlines(library, cutout_first_row(&decoder->cutout));
}
#else
static bool is_enlarged_twice(const struct jpeg_decompress_struct *library)
{
    (void)library;
    return false;
}

static void leave_out(struct jpeg_decoder *decoder) { (void)decoder; }
#endif

/* The first coefficients of a block, whose missing bits libjpeg guesses from the blocks around (jdcoefct.c). */
#define GUESSED 9

/* Whether the scans that there are leave such bits out. What lies around a view counts then. */
static bool is_guessed(const struct jpeg_decompress_struct *library)
{
    if (!library->coef_bits) return false;
    for (int i = 0; i < library->num_components; i++)
        for (int k = 0; k <= GUESSED; k++)
            if (library->coef_bits[i][k] != 0) return true;
    return false;
}

static bool decode_rows(struct jpeg_decoder *decoder)
{
    uint32_t first = cutout_first_row(&decoder->cutout), end = cutout_end_row(&decoder->cutout);
    bool whole = decoder->all || is_guessed(&decoder->library) || is_enlarged_twice(&decoder->library);
    if (setjmp(decoder->back)) return false;
    if (!whole) leave_out(decoder);
    while (decoder->library.output_scanline < first) read_row(decoder);
    for (uint32_t y = first; y < end; y++) {
        read_row(decoder);
        cutout_add_row(&decoder->cutout, y, decoder->row);
    }
    return true;
}

void jpeg_decode_all(struct jpeg_decoder *decoder) { decoder->all = true; }

static bool decode_view(struct jpeg_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows,
                        uint8_t *out, struct error *err)
{
    if (!set_scale(decoder, choose_eighths(view, columns, rows))) return refuse(decoder, err);
    struct cutout_place place = place_view(decoder, view, columns, rows);
    size_t cutout = cutout_bytes(&place);
    TRY(take_memory(decoder, cutout, err));
    cutout_begin(&decoder->cutout, &place, jpeg_memory_take(&decoder->memory, cutout), out);
    take_row(decoder);
    return (start_decoding(decoder) && decode_rows(decoder)) || refuse(decoder, err);
}

bool jpeg_decode(struct jpeg_decoder *decoder, struct augment_view view, uint32_t columns, uint32_t rows, uint8_t *out,
                 struct error *err)
{
    bool ok = decode_view(decoder, view, columns, rows, out, err);
    end_picture(decoder);
    return ok;
}

static bool finish_decoding(struct jpeg_decoder *decoder)
{
    if (setjmp(decoder->back)) return false;
    while (decoder->library.output_scanline < decoder->library.output_height) read_row(decoder);
    jpeg_finish_decompress(&decoder->library);
    return true;
}

static bool verify_rows(struct jpeg_decoder *decoder, struct error *err)
{
    if (!set_scale(decoder, 8)) return refuse(decoder, err);
    TRY(take_memory(decoder, 0, err));
    take_row(decoder);
    return start_decoding(decoder) && finish_decoding(decoder) ? true : refuse(decoder, err);
}

bool jpeg_verify(struct jpeg_decoder *decoder, struct error *err)
{
    bool ok = verify_rows(decoder, err);
    end_picture(decoder);
    return ok;
}
