#define _GNU_SOURCE
#include "jpeg.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jpeglib.h>
#include <jerror.h>

#include "dataset.h"
#include "exif.h"
#include "mem.h"
#include "resample.h"

/* Real pictures have about ten scans; a crafted one can make each of thousands cost a whole pass. */
#define MOST_SCANS 200
/* Of progressive pictures libjpeg keeps all coefficients: 2 bytes for each of 1.5 to 4 samples a pixel. Those that take
 * more than the first are decoded one at a time in the process and their memory is given back; none may take more than
 * the second. */
#define TURN_BYTES         (UINT64_C(1) << 20)
#define MOST_LIBRARY_BYTES (UINT64_C(1) << 28)

#define EXIF_MARKER (JPEG_APP0 + 1)

struct jpeg_decoder {
    struct jpeg_decompress_struct library;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;                  /* where libjpeg's errors go */
    char message[JMSG_LENGTH_MAX]; /* what the error was */
    bool made;                     /* library is to be destroyed */
    char name[DATASET_PATH];       /* of the open picture */
    void *file;                    /* its bytes, when it was read from a file */
    void *row, *scaled;            /* one row as decoded; as RGB floats of the size wanted */
    size_t file_capacity, row_capacity, scaled_capacity;
    struct resample_axis columns, rows;
    struct exif_turn turn; /* of the open picture */
    uint32_t begin;        /* the first output row that may still gain from the next decoded one */
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

/* ---- Life ---- */

static bool make_library(struct jpeg_decoder *decoder)
{
    if (setjmp(decoder->back)) return false;
    jpeg_create_decompress(&decoder->library);
    decoder->made = true;
    jpeg_save_markers(&decoder->library, EXIF_MARKER, 0xFFFF);
    return true;
}

struct jpeg_decoder *jpeg_decoder_create(struct error *err)
{
    struct jpeg_decoder *decoder = mem_zalloc(MEM_INPUT, 1, sizeof *decoder);
    if (!decoder) {
        error_memory(err, sizeof *decoder, "a JPEG decoder");
        return NULL;
    }
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
    decoder->library.mem->max_memory_to_use = (long)MOST_LIBRARY_BYTES;
    return decoder;
}

void jpeg_decoder_destroy(struct jpeg_decoder *decoder)
{
    if (!decoder) return;
    if (decoder->made) jpeg_destroy_decompress(&decoder->library);
    resample_finish(&decoder->columns);
    resample_finish(&decoder->rows);
    mem_free(decoder->file);
    mem_free(decoder->row);
    mem_free(decoder->scaled);
    mem_free(decoder);
}

/* ---- Opening ---- */

static bool refuse(const struct jpeg_decoder *decoder, struct error *err)
{
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

/* Of several segments the first that is Exif's counts: XMP's has the same marker. */
static struct exif_turn find_turn(const struct jpeg_decompress_struct *library)
{
    for (jpeg_saved_marker_ptr marker = library->marker_list; marker; marker = marker->next)
        if (marker->marker == EXIF_MARKER && marker->data_length >= 4 && memcmp(marker->data, "Exif", 4) == 0)
            return exif_find_turn(marker->data, marker->data_length);
    return (struct exif_turn){false, false, false};
}

static bool read_header(struct jpeg_decoder *decoder, const void *bytes, size_t length)
{
    if (setjmp(decoder->back)) return false;
    jpeg_abort_decompress(&decoder->library);
    jpeg_mem_src(&decoder->library, bytes, length);
    jpeg_read_header(&decoder->library, TRUE);
    return true;
}

bool jpeg_open_bytes(struct jpeg_decoder *decoder, const void *bytes, size_t length, const char *name, uint32_t *width,
                     uint32_t *height, struct error *err)
{
    if (name != decoder->name) snprintf(decoder->name, sizeof decoder->name, "%s", name);
    if (length == 0) return error_set(err, ERROR_FAILED, "%s: is empty; a JPEG is wanted", name);
    const char *other = other_format(bytes, length);
    if (other) return error_set(err, ERROR_FAILED, "%s: is %s, not a JPEG", name, other);
    if (!read_header(decoder, bytes, length)) return refuse(decoder, err);
    decoder->turn = find_turn(&decoder->library);
    uint32_t columns = decoder->library.image_width, rows = decoder->library.image_height;
    if ((uint64_t)columns * rows > JPEG_MOST_PIXELS)
        return error_set(err, ERROR_FAILED, "%s: is %u x %u pixels; at most %u million are decoded", name, columns,
                         rows, JPEG_MOST_PIXELS / 1000000);
    *width = decoder->turn.transposed ? rows : columns;
    *height = decoder->turn.transposed ? columns : rows;
    return true;
}

static bool read_bytes(struct jpeg_decoder *decoder, int descriptor, size_t *length, struct error *err)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0)
        return error_errno(err, ERROR_FAILED, errno, "%s: cannot be read", decoder->name);
    if (!S_ISREG(info.st_mode))
        return error_set(err, ERROR_FAILED, "%s: is not a file; a JPEG is wanted", decoder->name);
    uint64_t size = (uint64_t)info.st_size;
    if (size > JPEG_MOST_FILE_BYTES)
        return error_set(err, ERROR_FAILED, "%s: has %" PRIu64 " bytes; at most %" PRIu64 " are decoded", decoder->name,
                         size, JPEG_MOST_FILE_BYTES);
    if (!mem_grow(MEM_INPUT, &decoder->file, &decoder->file_capacity, size, 1))
        return error_memory(err, size, "a JPEG file");
    size_t used = 0;
    while (used < size) {
        ssize_t got = read(descriptor, (char *)decoder->file + used, size - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(err, ERROR_FAILED, errno, "%s: cannot be read", decoder->name);
        if (got == 0) break;
        used += (size_t)got;
    }
    *length = used;
    return true;
}

bool jpeg_open_file(struct jpeg_decoder *decoder, const char *path, uint32_t *width, uint32_t *height,
                    struct error *err)
{
    snprintf(decoder->name, sizeof decoder->name, "%s", path);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return error_errno(err, ERROR_FAILED, errno, "%s: cannot be opened", path);
    size_t length = 0;
    bool ok = read_bytes(decoder, descriptor, &length, err);
    close(descriptor);
    return ok && jpeg_open_bytes(decoder, decoder->file, length, decoder->name, width, height, err);
}

/* ---- Large progressive pictures ---- */

static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;

/* Baseline pictures may be so too, with a scan for each component. */
static bool has_several_scans(struct jpeg_decoder *decoder)
{
    if (setjmp(decoder->back)) return false; /* no picture is open: decoding will say so */
    return jpeg_has_multiple_scans(&decoder->library) != FALSE;
}

/* What libjpeg will keep of the open picture from its first to its last scan: whole blocks of 8 x 8, as many as its
 * interleaved parts need. */
static uint64_t coefficient_bytes(struct jpeg_decoder *decoder)
{
    const struct jpeg_decompress_struct *library = &decoder->library;
    uint64_t bytes = 0;
    if (!has_several_scans(decoder)) return 0;
    uint64_t across = 8u * (uint64_t)library->max_h_samp_factor, down = 8u * (uint64_t)library->max_v_samp_factor;
    uint64_t parts = (library->image_width + across - 1) / across * ((library->image_height + down - 1) / down);
    for (int i = 0; i < library->num_components; i++) {
        const jpeg_component_info *c = &library->comp_info[i];
        bytes += parts * (uint64_t)c->h_samp_factor * (uint64_t)c->v_samp_factor * sizeof(JBLOCK);
    }
    return bytes;
}

/* Whether the open picture has to wait for its turn, which end_turn ends. */
static bool take_turn(struct jpeg_decoder *decoder, bool *turn, struct error *err)
{
    uint64_t bytes = coefficient_bytes(decoder);
    *turn = bytes > TURN_BYTES;
    if (bytes > MOST_LIBRARY_BYTES)
        return error_set(err, ERROR_FAILED,
                         "%s: is a progressive JPEG of %u x %u pixels, which takes %" PRIu64
                         " MiB to decode; at most %" PRIu64 " are taken: save it as a baseline JPEG, or smaller",
                         decoder->name, decoder->library.image_width, decoder->library.image_height, bytes >> 20,
                         MOST_LIBRARY_BYTES >> 20);
    if (*turn) pthread_mutex_lock(&turn_lock);
    return true;
}

static void end_turn(struct jpeg_decoder *decoder, bool turn)
{
    if (!turn) return;
    jpeg_abort_decompress(&decoder->library);
    mem_trim();
    pthread_mutex_unlock(&turn_lock);
}

/* ---- Decoding ---- */

/* libjpeg's inverse transform can give k/8 of the size for little work; the rest is scaling by less than 2, but for
 * pictures more than eight times too large. */
static unsigned choose_eighths(double side, uint32_t size)
{
    unsigned eighths = 1;
    while (eighths < 8 && side * eighths / 8 < size) eighths++;
    return eighths;
}

static bool start_decoding(struct jpeg_decoder *decoder, unsigned eighths)
{
    struct jpeg_decompress_struct *library = &decoder->library;
    if (setjmp(decoder->back)) return false;
    bool cmyk = library->jpeg_color_space == JCS_CMYK || library->jpeg_color_space == JCS_YCCK;
    library->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    library->scale_num = eighths;
    library->scale_denom = 8;
    library->dct_method = JDCT_ISLOW; /* the same bits on every processor */
    jpeg_start_decompress(library);
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

/* Adds row y, scaled across, to the outputs that have a share of it. */
static void spread_row(struct jpeg_decoder *decoder, uint32_t y, float *out)
{
    const struct resample_axis *rows = &decoder->rows;
    const float *scaled = decoder->scaled;
    size_t width = 3 * (size_t)decoder->columns.size;
    while (decoder->begin < rows->size && rows->first[decoder->begin] + rows->count[decoder->begin] <= y)
        decoder->begin++;
    for (uint32_t output = decoder->begin; output < rows->size && rows->first[output] <= y; output++) {
        uint32_t tap = y - rows->first[output];
        if (tap >= rows->count[output]) continue;
        float weight = rows->weights[(size_t)output * rows->most + tap];
        float *to = out + output * width;
        for (size_t i = 0; i < width; i++) to[i] += weight * scaled[i];
    }
}

static bool decode_rows(struct jpeg_decoder *decoder, float *out)
{
    const struct resample_axis *rows = &decoder->rows;
    uint32_t first = rows->first[0];
    uint32_t end = rows->first[rows->size - 1] + rows->count[rows->size - 1];
    decoder->begin = 0;
    if (setjmp(decoder->back)) return false;
    for (uint32_t y = 0; y < first; y++) read_row(decoder);
    for (uint32_t y = first; y < end; y++) {
        read_row(decoder);
        resample_row(&decoder->columns, decoder->row, decoder->scaled);
        spread_row(decoder, y, out);
    }
    jpeg_abort_decompress(&decoder->library);
    return true;
}

static void flip_columns(float *out, uint32_t size)
{
    for (uint32_t y = 0; y < size; y++) augment_flip_row(out + 3 * (size_t)y * size, size);
}

static void swap_pixels(float *a, float *b)
{
    for (int channel = 0; channel < 3; channel++) {
        float value = a[channel];
        a[channel] = b[channel];
        b[channel] = value;
    }
}

static void flip_rows(float *out, uint32_t size)
{
    for (uint32_t y = 0; y < size / 2; y++)
        for (uint32_t x = 0; x < size; x++)
            swap_pixels(out + 3 * ((size_t)y * size + x), out + 3 * ((size_t)(size - 1 - y) * size + x));
}

static void transpose(float *out, uint32_t size)
{
    for (uint32_t y = 1; y < size; y++)
        for (uint32_t x = 0; x < y; x++)
            swap_pixels(out + 3 * ((size_t)y * size + x), out + 3 * ((size_t)x * size + y));
}

/* The view of the picture as it is seen, in stored pixels. */
static struct augment_view stored_view(const struct jpeg_decoder *decoder, struct augment_view view)
{
    const struct jpeg_decompress_struct *library = &decoder->library;
    struct augment_view stored = view;
    if (decoder->turn.transposed) {
        stored.x = view.y;
        stored.y = view.x;
    }
    if (decoder->turn.from_right) stored.x = library->image_width - stored.x - view.side;
    if (decoder->turn.from_bottom) stored.y = library->image_height - stored.y - view.side;
    return stored;
}

static void turn_pixels(const struct exif_turn *turn, float *out, uint32_t size)
{
    if (turn->from_right) flip_columns(out, size);
    if (turn->from_bottom) flip_rows(out, size);
    if (turn->transposed) transpose(out, size);
}

static bool make_rows(struct jpeg_decoder *decoder, uint32_t size, struct error *err)
{
    size_t row_bytes = (size_t)decoder->library.output_width * (size_t)decoder->library.output_components;
    if (mem_grow(MEM_INPUT, &decoder->row, &decoder->row_capacity, row_bytes, 1) &&
        mem_grow(MEM_INPUT, &decoder->scaled, &decoder->scaled_capacity, 3 * (size_t)size, sizeof(float)))
        return true;
    return error_memory(err, row_bytes, "a row of pixels");
}

static bool decode_view(struct jpeg_decoder *decoder, struct augment_view view, uint32_t size, float *out,
                        struct error *err)
{
    struct jpeg_decompress_struct *library = &decoder->library;
    view = stored_view(decoder, view);
    if (!start_decoding(decoder, choose_eighths(view.side, size))) return refuse(decoder, err);
    double across = (double)library->output_width / library->image_width;
    double down = (double)library->output_height / library->image_height;
    TRY(make_rows(decoder, size, err));
    TRY(resample_prepare(&decoder->columns, view.x * across, view.side * across, library->output_width, size, err));
    TRY(resample_prepare(&decoder->rows, view.y * down, view.side * down, library->output_height, size, err));
    memset(out, 0, (size_t)size * size * 3 * sizeof *out);
    if (!decode_rows(decoder, out)) return refuse(decoder, err);
    turn_pixels(&decoder->turn, out, size);
    if (view.flip) flip_columns(out, size);
    return true;
}

bool jpeg_decode(struct jpeg_decoder *decoder, struct augment_view view, uint32_t size, float *out, struct error *err)
{
    bool turn;
    TRY(take_turn(decoder, &turn, err));
    bool ok = decode_view(decoder, view, size, out, err);
    end_turn(decoder, turn);
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
    if (!start_decoding(decoder, 8)) return refuse(decoder, err);
    TRY(make_rows(decoder, 1, err));
    return finish_decoding(decoder) ? true : refuse(decoder, err);
}

bool jpeg_verify(struct jpeg_decoder *decoder, struct error *err)
{
    bool turn;
    TRY(take_turn(decoder, &turn, err));
    bool ok = verify_rows(decoder, err);
    end_turn(decoder, turn);
    return ok;
}
