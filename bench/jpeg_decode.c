/* How fast training pictures are made of JPEGs, beside libjpeg alone: bench_jpeg_decode FOLDER [SIZE [SECONDS]]. All
 * *.jpg below the folder are read first, up to 512 MiB of them. The ways take turns, a pass over the pictures each, on
 * one thread:
 *
 *   whole    libjpeg decodes all of each picture at its full size
 *   scaled   libjpeg decodes all of each picture, as much smaller as the views allow
 *   view     a random view is decoded, scaled, normalised and mirrored (what loaders do), all up to its last row
 *   region   the same, of what lies about the view
 *
 * Prints images for each second of processor time and ratios; augmentation as in training. */
#define _GNU_SOURCE
#include <ftw.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "augment.h"
#include "clock.h"
#include "decode_memory.h"
#include "files.h"
#include "jpeg.h"
#include "mem.h"
#include "normalise.h"

#define MOST_PICTURES 20000
#define MOST_BYTES    (512u << 20)
#define MOST_SIZE     512u

enum way { WAY_WHOLE, WAY_SCALED, WAY_VIEW, WAY_REGION, WAYS };

static struct picture {
    char *bytes;
    size_t length;
} pictures[MOST_PICTURES];
static size_t picture_count, total_bytes;

static int take(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    const char *dot = strrchr(path, '.');
    struct picture *picture = &pictures[picture_count];
    (void)info, (void)where;
    if (kind != FTW_F || !dot || strcmp(dot, ".jpg") != 0) return 0;
    if (picture_count == MOST_PICTURES || total_bytes > MOST_BYTES) return 1;
    if (!files_read(path, MOST_BYTES, &picture->bytes, &picture->length, NULL)) return 0;
    total_bytes += picture->length;
    picture_count++;
    return 0;
}

/* ---- The ways ---- */

static double sink; /* so that nothing is left out */

static unsigned eighths_of(struct augment_view view, uint32_t size)
{
    unsigned eighths = 1;
    while (eighths < 8 && view.side * eighths / 8 < size) eighths *= 2;
    return eighths;
}

static void decode_alone(const struct picture *picture, bool scaled, uint64_t image, uint32_t size)
{
    static struct jpeg_decompress_struct library;
    static struct jpeg_error_mgr errors;
    static bool made;
    static JSAMPLE row[1 << 18];
    JSAMPROW at = row;
    if (!made) {
        library.err = jpeg_std_error(&errors);
        jpeg_create_decompress(&library);
        made = true;
    }
    jpeg_mem_src(&library, (unsigned char *)picture->bytes, picture->length);
    jpeg_read_header(&library, TRUE);
    library.out_color_space = JCS_RGB;
    if (scaled) {
        library.scale_num =
            eighths_of(augment_choose_view(1, 0, image, library.image_width, library.image_height, size), size);
        library.scale_denom = 8;
    }
    jpeg_start_decompress(&library);
    while (library.output_scanline < library.output_height) jpeg_read_scanlines(&library, &at, 1);
    sink += row[0];
    jpeg_finish_decompress(&library);
}

static void decode_view(struct jpeg_decoder *decoder, const struct picture *picture, uint64_t image, uint32_t size)
{
    static uint8_t bytes[MOST_SIZE * MOST_SIZE * 3];
    static float out[MOST_SIZE * MOST_SIZE * 3];
    static struct normalise_table table;
    uint32_t width, height;
    struct error err = {0};
    if (table.numbers[0][1] == 0)
        normalise_prepare(&table, (float[]){0.45f, 0.45f, 0.45f}, (float[]){0.22f, 0.22f, 0.22f});
    if (!jpeg_open_bytes(decoder, picture->bytes, picture->length, "picture", &width, &height, &err)) return;
    struct augment_view view = augment_choose_view(1, 0, image, width, height, size);
    if (!jpeg_decode(decoder, view, size, size, bytes, &err)) return;
    normalise_pixels(&table, bytes, (size_t)size * size, out);
    sink += (double)out[7];
}

static void pass(enum way way, struct jpeg_decoder *const decoders[WAYS], uint32_t size)
{
    for (size_t i = 0; i < picture_count; i++)
        if (way < WAY_VIEW)
            decode_alone(&pictures[i], way == WAY_SCALED, i, size);
        else
            decode_view(decoders[way], &pictures[i], i, size);
}

static void run(struct jpeg_decoder *const decoders[WAYS], uint32_t size, double seconds)
{
    static const char *const names[WAYS] = {"whole", "scaled", "view", "region"};
    uint64_t used[WAYS] = {0}, passes = 0;
    for (int way = 0; way < WAYS; way++) pass((enum way)way, decoders, size);
    for (uint64_t begin = clock_now_ns(); passes == 0 || (double)(clock_now_ns() - begin) < seconds * 1e9; passes++)
        for (int way = 0; way < WAYS; way++) {
            uint64_t before = clock_process_cpu_ns();
            pass((enum way)way, decoders, size);
            used[way] += clock_process_cpu_ns() - before;
        }
    printf("%zu pictures to %u x %u, %llu passes\n", picture_count, size, size, (unsigned long long)passes);
    for (int way = 0; way < WAYS; way++)
        printf("  %-6s  %8.1f images/s of processor time, %.2f of whole, %.2f of scaled\n", names[way],
               (double)(passes * picture_count) * 1e9 / (double)used[way], (double)used[WAY_WHOLE] / (double)used[way],
               (double)used[WAY_SCALED] / (double)used[way]);
}

int main(int argc, char **argv)
{
    uint32_t size = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 224;
    double seconds = argc > 3 ? strtod(argv[3], NULL) : 10;
    struct error err = {0};
    struct jpeg_decoder *decoders[WAYS] = {NULL};
    struct decode_memory *memory = decode_memory_create(DECODE_MOST_BYTES, &err);
    if (memory) decoders[WAY_VIEW] = jpeg_decoder_create(memory, &err);
    if (memory) decoders[WAY_REGION] = jpeg_decoder_create(memory, &err);
    if (!decoders[WAY_VIEW] || !decoders[WAY_REGION] || size > MOST_SIZE) return 1;
    jpeg_decode_all(decoders[WAY_VIEW]);
    if (argc > 1) nftw(argv[1], take, 16, FTW_PHYS);
    if (picture_count == 0) {
        fprintf(stderr, "a folder with JPEGs (*.jpg) is wanted\n");
        return 2;
    }
    run(decoders, size, seconds);
    for (size_t i = 0; i < picture_count; i++) mem_free(pictures[i].bytes);
    jpeg_decoder_destroy(decoders[WAY_VIEW]);
    jpeg_decoder_destroy(decoders[WAY_REGION]);
    decode_memory_destroy(memory);
    return sink < 0;
}
