/* WebPs: told by their first bytes, decoded to the same pixels as others, within the memory that was said. */
#define _GNU_SOURCE
#include "data_help.h"

#include <malloc.h>
#include <math.h>
#include <stdatomic.h>

#include "data_webp_help.h"
#include "decode_memory.h"
#include "image.h"
#include "mem.h"
#include "sanitizers.h"

/* ---- What libwebp allocates ---- */

static atomic_llong held, most_held;
static _Thread_local bool counts;

#if !UNDER_SANITIZER
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void __libc_free(void *block);

static void *note(void *block)
{
    if (!block || !counts) return block;
    long long now =
        atomic_fetch_add(&held, (long long)malloc_usable_size(block)) + (long long)malloc_usable_size(block);
    if (now > most_held) most_held = now;
    return block;
}

void *malloc(size_t size) { return note(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return note(__libc_calloc(count, size)); }
void free(void *block)
{
    if (block && counts) atomic_fetch_sub(&held, (long long)malloc_usable_size(block));
    __libc_free(block);
}
#endif

/* ---- Pictures ---- */

static uint8_t pixels[1300 * 1000 * 3], out[256 * 256 * 3];

static const struct help_jpeg *pattern_of(uint32_t width, uint32_t height)
{
    static struct help_jpeg pattern;
    pattern = (struct help_jpeg){.width = width, .height = height};
    return &pattern;
}

static void make_pixels(uint32_t width, uint32_t height)
{
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < 3; c++)
                pixels[(y * width + x) * 3 + c] = help_pattern(pattern_of(width, height), x, y, (int)c);
}

static char folder[HELP_PATH], file[2 * HELP_PATH];

static void begin(void)
{
    help_folder(folder);
    help_join(file, folder, "a.jpg"); /* the name says nothing */
}

static void end(void) { help_remove(folder); }

TestSuite(webp, .init = begin, .fini = end);

static struct decode_memory *memory;

static struct image_decoder *create(uint64_t limit)
{
    struct error err = {0};
    memory = decode_memory_create(limit, &err);
    struct image_decoder *decoder = memory ? image_decoder_create(memory, &err) : NULL;
    cr_assert(decoder, "%s", err.text);
    return decoder;
}

static void finish(struct image_decoder *decoder)
{
    image_decoder_destroy(decoder);
    decode_memory_destroy(memory);
}

static bool decode(struct augment_view view, uint32_t size, uint8_t *to, struct error *err)
{
    uint32_t width, height;
    struct image_decoder *decoder = create(DECODE_MOST_BYTES);
    bool ok = image_open(decoder, file, &width, &height, err) && image_decode(decoder, view, size, to, err);
    finish(decoder);
    return ok;
}

Test(webp, a_lossless_picture_is_decoded_pixel_by_pixel)
{
    for (int transparent = 0; transparent < 2; transparent++) {
        struct error err = {0};
        make_pixels(53, 41);
        help_write_webp(file, (struct help_webp){.width = 53, .height = 41, .transparent = transparent}, pixels);
        cr_assert(decode((struct augment_view){.x = 7, .y = 3, .side = 32}, 32, out, &err), "%s", err.text);
        for (uint32_t y = 0; y < 32; y++)
            cr_assert_eq(memcmp(out + y * 96, pixels + ((y + 3) * 53 + 7) * 3, 96), 0, "row %u", y);
    }
}

/* The largest difference from the pattern, at the outputs' centres. */
static double fault_of(const struct help_jpeg *pattern, struct augment_view view, uint32_t size)
{
    double most = 0, scale = view.side / size;
    for (uint32_t y = 0; y < size; y++)
        for (uint32_t x = 0; x < size; x++)
            for (int c = 0; c < 2; c++) {
                double column = view.x + (view.flip ? size - 1 - x + 0.5 : x + 0.5) * scale,
                       row = view.y + (y + 0.5) * scale;
                int wanted = help_pattern(pattern, (uint32_t)column, (uint32_t)row, c);
                most = fmax(most, abs(out[(y * size + x) * 3 + (uint32_t)c] - wanted));
            }
    return most;
}

Test(webp, views_are_scaled_to_their_place)
{
    const struct help_webp webps[] = {{500, 375, 95, false, 0, false},
                                      {1300, 1000, 95, false, 0, false},
                                      {301, 577, 95, true, 0, false},
                                      {300, 281, 0, false, 0, false}};
    for (size_t i = 0; i < 4; i++) {
        const struct help_jpeg *pattern = pattern_of(webps[i].width, webps[i].height);
        uint32_t width = webps[i].width, height = webps[i].height;
        make_pixels(width, height);
        help_write_webp(file, webps[i], pixels);
        struct augment_view views[] = {augment_centre_view(width, height, 1),
                                       {.x = 3.25, .y = 40.5, .side = 230, .flip = true},
                                       {.x = width - 101, .y = height - 101, .side = 101}};
        for (size_t v = 0; v < 3; v++)
            for (uint32_t size = 32; size <= 224; size += 96) {
                struct error err = {0};
                cr_assert(decode(views[v], size, out, &err), "%s", err.text);
                double fault = fault_of(pattern, views[v], size);
                cr_assert_lt(fault, 9, "picture %zu, view %zu to %u: %f", i, v, size, fault);
            }
    }
}

/* All of it, decoded as it is seen. */
Test(webp, a_photograph_is_seen_as_its_camera_was_held)
{
    make_pixels(60, 44);
    for (int orientation = 1; orientation <= 8; orientation++)
        for (int named = 0; named < 2; named++) {
            uint32_t width, height;
            struct error err = {0};
            struct image_decoder *decoder = create(DECODE_MOST_BYTES);
            help_write_webp(file, (struct help_webp){60, 44, 0, false, orientation, named}, pixels);
            cr_assert(image_open(decoder, file, &width, &height, &err), "%s", err.text);
            cr_assert_eq(width, orientation > 4 ? 44 : 60);
            cr_assert(image_decode_whole(decoder, width, height, out, &err), "%s", err.text);
            for (uint32_t y = 0; y < 44; y++)
                for (uint32_t x = 0; x < 60; x++) {
                    uint32_t column = x, row = y;
                    help_turn(orientation, 60, 44, &column, &row);
                    cr_assert_eq(memcmp(out + (row * width + column) * 3, pixels + (y * 60 + x) * 3, 3), 0,
                                 "orientation %d, (%u, %u)", orientation, x, y);
                }
            finish(decoder);
        }
}

/* ---- Memory ---- */

static bool decode_within(uint64_t limit, struct augment_view view, uint32_t size, uint64_t *needs, struct error *err)
{
    uint32_t width, height;
    struct image_decoder *decoder = create(limit);
    cr_assert(image_open(decoder, file, &width, &height, err), "%s", err->text);
    *needs = image_needs(decoder, view.side, size);
    held = most_held = 0;
    counts = true;
    bool ok = image_decode(decoder, view, size, out, err);
    counts = false;
    finish(decoder);
    return ok;
}

static void check_memory(const struct help_webp *webp, uint32_t size)
{
    struct error err = {0};
    uint64_t needs, before = mem_current_bytes(MEM_INPUT);
    struct augment_view view = augment_centre_view(webp->width, webp->height, 1);
    cr_assert(decode_within(DECODE_MOST_BYTES, view, size, &needs, &err), "%s", err.text);
    cr_assert_lt(most_held, (long long)needs, "to %u: libwebp itself took more", size);
    cr_assert(decode_within(needs, view, size, &needs, &err), "to %u: %s", size, err.text);
    view.x = webp->width - view.side;
    view.y = webp->height - view.side;
    cr_assert(decode_within(needs, view, size, &needs, &err), "to %u: %s", size, err.text);
    cr_assert_not(decode_within(needs - 1, view, size, &needs, &err), "to %u", size);
    cr_assert(strstr(err.text, "which takes") && strstr(err.text, "WebP of"), "%s", err.text);
    cr_assert_eq(mem_current_bytes(MEM_INPUT), before);
}

Test(webp, a_picture_takes_no_more_than_was_said)
{
    const struct help_webp webps[] = {{500, 375, 90, false, 0, false}, {1300, 900, 40, false, 0, false},
                                      {200, 175, 0, false, 0, false},  {210, 170, 0, true, 0, false},
                                      {400, 500, 80, true, 0, false},  {1, 1, 50, false, 0, false},
                                      {1, 1, 0, false, 0, false},      {901, 77, 60, false, 0, false}};
    for (size_t i = 0; i < sizeof webps / sizeof webps[0]; i++) {
        size_t numbers = 3 * (size_t)webps[i].width * webps[i].height;
        make_pixels(webps[i].width, webps[i].height);
        for (size_t at = 0; at < numbers; at += 7) pixels[at] ^= (uint8_t)(at / 7 * 29);
        help_write_webp(file, webps[i], pixels);
        for (uint32_t size = 32; size <= 224; size += 96) check_memory(&webps[i], size);
    }
}

/* ---- Faults ---- */

static void refused(const char *sentence)
{
    uint32_t width, height;
    struct error err = {0};
    struct image_decoder *decoder = create(DECODE_MOST_BYTES);
    bool ok = image_open(decoder, file, &width, &height, &err) && image_verify(decoder, &err);
    cr_assert_not(ok, "%s", sentence);
    cr_assert(err.kind == ERROR_FAILED && strstr(err.text, "a.jpg: ") && strstr(err.text, sentence), "'%s' not in '%s'",
              sentence, err.text);
    finish(decoder);
}

#define write_whole(text) help_write_bytes(file, text, sizeof(text) - 1)

Test(webp, what_is_wrong_is_said)
{
    char command[9 * HELP_PATH];
    uint32_t width, height;
    struct error err = {0};
    make_pixels(200, 100);
    for (int lossless = 0; lossless < 2; lossless++) {
        help_write_webp(file, (struct help_webp){200, 100, lossless ? 0 : 80, false, 0, false}, pixels);
        struct image_decoder *decoder = create(DECODE_MOST_BYTES);
        cr_assert(image_open(decoder, file, &width, &height, &err) && image_verify(decoder, &err), "%s", err.text);
        finish(decoder);
        snprintf(command, sizeof command, "head -c -40 %s > %s.cut && mv %s.cut %s", file, file, file, file);
        cr_assert_eq(system(command), 0);
        refused("it ends too early");
    }
    write_whole("RIFF\x04\0\0\0WEBP");
    refused("it has no picture");
    write_whole("RIFF\x20\0\0\0WEBPANMF\x10\0\0\0 and so on...");
    refused("it is an animation");
    write_whole("RIFF\x20\0\0\0WEBPVP8 \x10\0\0\0 and so on, at length");
    refused("its header is damaged");
    /* Nobody plans for a length that is not there. */
    write_whole("RIFF\x20\0\0\0WEBPVP8 \0\0\0\x70\0\0\0\x9D\x01\x2A\x40\0\x30\0 and so on");
    refused("it ends too early");
}

Test(webp, of_an_animation_the_first_picture_counts)
{
    static uint8_t still[120 * 90 * 3], moving[120 * 90 * 3];
    uint32_t width, height;
    struct error err = {0};
    make_pixels(120, 90);
    for (int quality = 0; quality <= 80; quality += 80)
        for (int animated = 0; animated < 2; animated++) {
            struct image_decoder *decoder = create(DECODE_MOST_BYTES);
            help_write_webp(file, (struct help_webp){120, 90, quality, quality > 0, 0, false}, pixels);
            if (animated) help_animate(file, 120, 90, 0);
            cr_assert(image_open(decoder, file, &width, &height, &err), "%s", err.text);
            cr_assert(width == 120 && height == 90);
            cr_assert(image_decode_whole(decoder, 120, 90, animated ? moving : still, &err), "%s", err.text);
            finish(decoder);
            if (animated) cr_assert_eq(memcmp(still, moving, sizeof still), 0, "quality %d", quality);
        }
    help_write_webp(file, (struct help_webp){120, 90, 80, false, 0, false}, pixels);
    help_animate(file, 120, 90, 1);
    refused("it is an animation whose first picture is only a part of it");
}

Test(webp, folders_of_them_are_datasets)
{
    char path[3 * HELP_PATH];
    struct dataset *dataset;
    struct error err = {0};
    make_pixels(64, 48);
    snprintf(path, sizeof path, "mkdir -p %s/train/a %s/train/b", folder, folder);
    cr_assert_eq(system(path), 0);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/train/%c/%d.webp", folder, 'a' + i % 2, i);
        help_write_webp(path, (struct help_webp){64, 48, i * 30, false, 0, false}, pixels);
    }
    cr_assert(dataset_open(folder, &dataset, &err), "%s", err.text);
    cr_assert_eq(dataset_info(dataset)->train_images, 4);
    dataset_close(dataset);
}
