/* Decoding: right pixels in the right place, and a sentence for everything that is no good JPEG. */
#include "data_help.h"

#include <math.h>

#include "data_jpeg_help.h"
#include "decode_memory.h"
#include "exif.h"
#include "image.h"
#include "jpeg.h"
#include "mem.h"
#include "resample.h"

static struct decode_memory *memory; /* of all decoders here; gone with the test's process */

static struct jpeg_decoder *create(void)
{
    struct error err = {0};
    if (!memory) memory = decode_memory_create(DECODE_MOST_BYTES, &err);
    cr_assert(memory, "%s", err.text);
    struct jpeg_decoder *decoder = jpeg_decoder_create(memory, &err);
    cr_assert(decoder, "%s", err.text);
    return decoder;
}

/* Decodes a view of a fresh JPEG; out has size x size x 3. */
static void decode(struct help_jpeg jpeg, struct augment_view view, uint32_t size, uint8_t *out)
{
    unsigned char *bytes;
    unsigned long length;
    uint32_t width, height;
    struct error err = {0};
    struct jpeg_decoder *decoder = create();
    help_compress(&jpeg, &bytes, &length);
    cr_assert(jpeg_open_bytes(decoder, bytes, length, "a.jpg", &width, &height, &err), "%s", err.text);
    cr_assert_eq(width, jpeg.width);
    cr_assert_eq(height, jpeg.height);
    cr_assert(jpeg_decode(decoder, view, size, size, out, &err), "%s", err.text);
    jpeg_decoder_destroy(decoder);
    free(bytes);
}

/* The largest difference from the pattern, sampled at the outputs' centres in the picture. */
static double largest_fault(struct help_jpeg jpeg, struct augment_view view, uint32_t size, const uint8_t *out,
                            int channels)
{
    double most = 0, scale = view.side / size;
    for (uint32_t y = 0; y < size; y++)
        for (uint32_t x = 0; x < size; x++)
            for (int channel = 0; channel < channels; channel++) {
                double column = view.x + (view.flip ? size - 1 - x + 0.5 : x + 0.5) * scale;
                double row = view.y + (y + 0.5) * scale;
                double wanted = help_pattern(&jpeg, (uint32_t)column, (uint32_t)row, channel);
                most = fmax(most, fabs(out[(y * size + x) * 3 + (uint32_t)channel] - wanted));
            }
    return most;
}

static uint8_t picture[256 * 256 * 3], other[256 * 256 * 3];

Test(jpeg, a_picture_of_the_size_wanted_is_decoded_pixel_by_pixel)
{
    struct help_jpeg jpeg = {32, 32, 3, false, 0};
    decode(jpeg, augment_centre_view(32, 32, 1), 32, picture);
    cr_assert_lt(largest_fault(jpeg, augment_centre_view(32, 32, 1), 32, picture, 3), 12);
    unsigned char *bytes, *whole = help_decompress(&jpeg, &bytes);
    cr_assert_eq(memcmp(picture, whole, 32 * 32 * 3), 0, "scaling by 1 changes nothing");
    free(whole);
    free(bytes);
}

Test(jpeg, views_of_large_pictures_are_scaled_to_their_place)
{
    const struct help_jpeg jpegs[] = {{500, 375, 3, false, 0}, {301, 977, 3, true, 0}, {1600, 1200, 3, false, 0}};
    for (size_t i = 0; i < 3; i++) {
        struct augment_view views[] = {augment_centre_view(jpegs[i].width, jpegs[i].height, 1),
                                       {.x = 3.25, .y = 40.5, .side = 230, .flip = true},
                                       {.x = 100.75, .y = 10, .side = 100}};
        for (size_t v = 0; v < 3; v++) {
            decode(jpegs[i], views[v], 224, picture);
            double fault = largest_fault(jpegs[i], views[v], 224, picture, 2);
            cr_assert_lt(fault, 8, "picture %zu, view %zu: %f", i, v, fault);
        }
    }
}

Test(jpeg, shrinking_within_the_decoder_and_after_it_agree)
{
    struct help_jpeg jpeg = {1024, 1024, 3, false, 0};
    struct augment_view view = augment_centre_view(1024, 1024, 1);
    decode(jpeg, view, 128, picture);
    cr_assert_lt(largest_fault(jpeg, view, 128, picture, 2), 6);
    decode(jpeg, view, 37, picture);
    cr_assert_lt(largest_fault(jpeg, view, 37, picture, 2), 9, "28 times smaller: no pixel is skipped");
}

Test(jpeg, small_pictures_are_enlarged)
{
    struct help_jpeg jpeg = {20, 9, 3, false, 0};
    decode(jpeg, augment_centre_view(20, 9, 1), 64, picture);
    for (uint32_t y = 0; y < 64; y++)
        for (uint32_t x = 1; x < 64; x++)
            cr_assert_geq(picture[(y * 64 + x) * 3], picture[(y * 64 + x - 1) * 3] - 2, "red grows to the right");
}

Test(jpeg, one_pixel_is_a_picture)
{
    struct help_jpeg jpeg = {1, 1, 3, false, 0};
    decode(jpeg, augment_centre_view(1, 1, 1), 8, picture);
    for (int i = 1; i < 64; i++) cr_assert_eq(picture[3 * i], picture[0]);
}

Test(jpeg, gray_has_three_equal_channels)
{
    struct help_jpeg jpeg = {64, 48, 1, false, 0};
    struct augment_view view = augment_centre_view(64, 48, 1);
    decode(jpeg, view, 48, picture);
    cr_assert_lt(largest_fault(jpeg, view, 48, picture, 1), 6);
    for (int i = 0; i < 48 * 48; i++)
        cr_assert(picture[3 * i] == picture[3 * i + 1] && picture[3 * i] == picture[3 * i + 2]);
}

Test(jpeg, cmyk_is_converted)
{
    struct help_jpeg jpeg = {64, 64, 4, false, 0};
    struct augment_view view = augment_centre_view(64, 64, 1);
    decode(jpeg, view, 64, picture);
    cr_assert_lt(largest_fault(jpeg, view, 64, picture, 3), 8);
}

Test(jpeg, a_flip_mirrors_exactly)
{
    struct help_jpeg jpeg = {300, 200, 3, false, 0};
    struct augment_view view = {.x = 17.3, .y = 4.1, .side = 180.9};
    decode(jpeg, view, 65, picture);
    view.flip = true;
    decode(jpeg, view, 65, other);
    for (uint32_t y = 0; y < 65; y++)
        for (uint32_t x = 0; x < 65; x++)
            cr_assert_eq(memcmp(&picture[(y * 65 + x) * 3], &other[(y * 65 + 64 - x) * 3], 3), 0);
}

Test(jpeg, a_photograph_is_seen_as_its_camera_was_held)
{
    for (int orientation = 1; orientation <= 8; orientation++) {
        struct help_jpeg jpeg = {320, 200, 3, false, 0, orientation};
        struct augment_view views[] = {augment_centre_view(320, 200, 1),
                                       {.x = 7.5, .y = 20.25, .side = 96},
                                       {.x = 200, .y = 3, .side = 64, .flip = true}};
        for (size_t v = 0; v < 3; v++) {
            decode(jpeg, views[v], 65, picture); /* which looks at width and height too */
            double fault = largest_fault(jpeg, views[v], 65, picture, 2);
            cr_assert_lt(fault, 8, "orientation %d, view %zu: %f", orientation, v, fault);
        }
    }
}

/* A view of a JPEG, decoded with all of it or with what lies about the view. */
static void decode_way(const unsigned char *bytes, unsigned long length, bool all, struct augment_view view,
                       uint32_t size, uint8_t *out)
{
    uint32_t width, height;
    struct error err = {0};
    struct jpeg_decoder *decoder = create();
    if (all) jpeg_decode_all(decoder);
    cr_assert(jpeg_open_bytes(decoder, bytes, length, "a.jpg", &width, &height, &err) &&
                  jpeg_decode(decoder, view, size, size, out, &err),
              "%s", err.text);
    jpeg_decoder_destroy(decoder);
}

Test(jpeg, what_lies_outside_a_view_does_not_matter)
{
    const struct help_jpeg jpegs[] = {{401, 307, 3, false, 0, 0, 1, 0, true}, {401, 307, 3, false, 1, 0, 2, 0, true},
                                      {640, 480, 3, false, 2, 6, 2, 0, true}, {333, 500, 1, false, 3, 0, 1, 0, true},
                                      {300, 260, 4, false, 4, 0, 1, 0, true}, {420, 330, 3, true, 5, 0, 2, 0, true},
                                      {450, 351, 3, false, 6, 0, 2, 1, true}, {450, 351, 3, false, 7, 0, 1, 2, true},
                                      {501, 399, 3, false, 8, 0, 4, 1, true}, {450, 351, 3, true, 6, 0, 2, 1, true},
                                      {450, 351, 3, true, 7, 0, 1, 2, true},  {333, 500, 1, true, 3, 0, 1, 0, true},
                                      {300, 260, 4, true, 4, 0, 1, 0, true},  {450, 351, 3, false, 1, 0, 4, 2, true},
                                      {450, 351, 3, false, 2, 0, 2, 4, true}, {450, 351, 3, true, 3, 0, 4, 2, true},
                                      {450, 351, 3, true, 4, 0, 2, 4, true}};
    for (size_t i = 0; i < sizeof jpegs / sizeof jpegs[0]; i++) {
        unsigned char *bytes;
        unsigned long length;
        uint32_t width = jpegs[i].width, height = jpegs[i].height;
        help_compress(&jpegs[i], &bytes, &length);
        for (uint32_t n = 0; n < 24; n++) {
            struct augment_view view = {.side = 20 + (n * 37) % 230, .flip = n % 5 == 0};
            view.x = (width - view.side) * (n % 7) / 6.0;
            view.y = (height - view.side) * (n % 4) / 3.0;
            uint32_t size = n % 3 == 0 ? 32 : n % 3 == 1 ? 65 : 224;
            decode_way(bytes, length, false, view, size, picture);
            decode_way(bytes, length, true, view, size, other);
            cr_assert_eq(memcmp(picture, other, (size_t)size * size * 3), 0,
                         "picture %zu, view %u of %g at (%g, %g) to %u", i, n, view.side, view.x, view.y, size);
        }
        free(bytes);
    }
}

/* Ends a picture where its last scan would begin; returns its length. */
static unsigned long leave_out_scan(unsigned char *bytes, unsigned long length)
{
    unsigned long at = length - 2;
    while (at > 0 && (bytes[at] != 0xff || bytes[at + 1] != 0xda)) at--;
    cr_assert_gt(at, 0);
    bytes[at + 1] = 0xd9;
    return at + 2;
}

/* libjpeg guesses the missing bits from what lies around. */
Test(jpeg, a_progressive_picture_may_lack_its_last_scans)
{
    const struct help_jpeg jpeg = {420, 330, 3, true, 5, 0, 2, 0, true};
    unsigned char *bytes;
    unsigned long length;
    help_compress(&jpeg, &bytes, &length);
    for (int scans = 0; scans < 9; scans++) {
        length = leave_out_scan(bytes, length);
        for (uint32_t n = 0; n < 6; n++) {
            const struct augment_view view = {.x = 20 * n, .y = 100 - 20 * n, .side = 224};
            decode_way(bytes, length, false, view, 224, picture);
            decode_way(bytes, length, true, view, 224, other);
            cr_assert_eq(memcmp(picture, other, sizeof(uint8_t[224 * 224 * 3])), 0, "%d scans less, view %u", scans, n);
        }
    }
    free(bytes);
}

static bool turns(const unsigned char *bytes, size_t length)
{
    unsigned char *exact = malloc(length + 1); /* so that a sanitizer sees a byte too many */
    cr_assert(exact);
    memcpy(exact, bytes, length);
    struct exif_turn turn = exif_find_turn(exact, length);
    free(exact);
    return turn.transposed || turn.from_right || turn.from_bottom;
}

Test(jpeg, damaged_exif_data_turns_nothing)
{
    for (int big = 0; big < 2; big++) {
        unsigned char exif[HELP_EXIF_BYTES], changed[HELP_EXIF_BYTES];
        help_exif(6, big, exif);
        cr_assert(turns(exif, sizeof exif));
        for (size_t length = 0; length < 40; length++) cr_assert_not(turns(exif, length), "cut at %zu", length);
        const int nonsense[] = {0, 9, 255};
        for (int i = 0; i < 3; i++) {
            help_exif(nonsense[i], big, exif);
            cr_assert_not(turns(exif, sizeof exif), "orientation %d", nonsense[i]);
        }
        help_exif(6, big, exif);
        for (size_t at = 0; at < 36; at++) {
            memcpy(changed, exif, sizeof exif);
            changed[at] ^= 0xff;
            bool harmless = at >= 14 && at < 28; /* the number of entries, which the end bounds too; the other one */
            if (!harmless) cr_assert_not(turns(changed, sizeof changed), "byte %zu", at);
        }
    }
}

Test(jpeg, an_orientation_may_be_a_long_number)
{
    for (int big = 0; big < 2; big++) {
        unsigned char exif[HELP_EXIF_BYTES];
        help_exif(6, big, exif);
        exif[big ? 31 : 30] = 4;
        exif[big ? 39 : 36] = 6;
        if (big) exif[37] = 0;
        struct exif_turn turn = exif_find_turn(exif, sizeof exif);
        cr_assert(turn.transposed && !turn.from_right && turn.from_bottom, "byte order %d", big);
        exif[big ? 38 : 37] = 1;
        cr_assert_not(turns(exif, sizeof exif), "262 is no orientation");
    }
}

/* Opens and decodes bytes with what must go wrong. */
static void refused(const void *bytes, size_t length, const char *sentence)
{
    struct jpeg_decoder *decoder = create();
    struct error err = {0};
    uint32_t width, height;
    bool ok = jpeg_open_bytes(decoder, bytes, length, "dir/bad.jpg", &width, &height, &err) &&
              jpeg_decode(decoder, augment_centre_view(width, height, 1), 32, 32, picture, &err);
    cr_assert_not(ok, "accepted, where '%s' was wanted", sentence);
    cr_assert_eq(err.kind, ERROR_FAILED);
    cr_assert(strstr(err.text, "dir/bad.jpg"), "%s", err.text);
    cr_assert(strstr(err.text, sentence), "'%s' does not say '%s'", err.text, sentence);
    /* The decoder is as good as new. */
    struct help_jpeg good = {32, 32, 3, false, 0};
    unsigned char *whole;
    unsigned long whole_length;
    help_compress(&good, &whole, &whole_length);
    cr_assert(jpeg_open_bytes(decoder, whole, whole_length, "good.jpg", &width, &height, &err));
    cr_assert(jpeg_decode(decoder, augment_centre_view(32, 32, 1), 32, 32, picture, &err), "%s", err.text);
    free(whole);
    jpeg_decoder_destroy(decoder);
}

Test(jpeg, what_is_no_jpeg_is_refused)
{
    refused("", 0, "is empty");
    refused("\x89PNG\r\n\x1a\n0000", 12, "is a PNG, not a JPEG");
    refused("GIF89a", 6, "is a GIF");
    refused("RIFF0000WEBPVP8 ", 16, "is a WebP");
    refused("\0\0\0\x18"
            "ftypheic",
            12, "is a HEIC");
    refused("\xff\xd8", 2, "JPEG");
    static const unsigned char zeros[5000];
    refused(zeros, sizeof zeros, "Not a JPEG");
}

Test(jpeg, a_truncated_picture_is_refused_wherever_it_ends)
{
    for (int progressive = 0; progressive < 2; progressive++) {
        struct help_jpeg jpeg = {64, 64, 3, progressive == 1, 0};
        unsigned char *bytes;
        unsigned long length;
        help_compress(&jpeg, &bytes, &length);
        for (unsigned long cut = 1; cut + 2 < length; cut += 37) refused(bytes, cut, "JPEG");
        free(bytes);
    }
}

Test(jpeg, a_header_that_promises_too_much_is_refused)
{
    struct help_jpeg jpeg = {64, 64, 3, false, 0};
    unsigned char *bytes;
    unsigned long length;
    help_compress(&jpeg, &bytes, &length);
    for (unsigned long i = 0; i + 9 < length; i++) {
        if (bytes[i] != 0xff || bytes[i + 1] != 0xc0) continue;
        memset(bytes + i + 5, 0xfd, 4); /* 65,021 x 65,021 */
        break;
    }
    refused(bytes, length, "65021 x 65021");
    free(bytes);
}

Test(jpeg, every_failed_allocation_is_an_error_without_a_leak)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_folder(path);
    help_write_jpeg(help_join(file, path, "a.jpg"), (struct help_jpeg){100, 80, 3, false, 0});
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        cr_assert_lt(n, 50);
        uint64_t before = mem_current_bytes(MEM_INPUT);
        uint32_t width, height;
        struct error err = {0};
        mem_fail_at(n);
        struct decode_memory *own = decode_memory_create(DECODE_MOST_BYTES, &err);
        struct image_decoder *decoder = own ? image_decoder_create(own, &err) : NULL;
        done = decoder && image_open(decoder, file, &width, &height, &err) &&
               image_decode(decoder, augment_centre_view(width, height, 1), 32, picture, &err);
        cr_assert_neq(done, mem_fail_at(0));
        cr_assert(done || err.kind == ERROR_MEMORY, "%s", err.text);
        image_decoder_destroy(decoder);
        decode_memory_destroy(own);
        cr_assert_eq(mem_current_bytes(MEM_INPUT), before);
    }
    help_remove(path);
}

Test(resample, weights_sum_to_one_and_stay_inside)
{
    struct resample_axis axis = {0};
    static float space[1 << 16];
    const double starts[] = {0, 0.3, 5.75, -2, 90}, lengths[] = {1, 7.3, 40, 99.9, 0.01};
    for (uint32_t outputs = 1; outputs < 200; outputs += 13)
        for (int s = 0; s < 5; s++)
            for (int l = 0; l < 5; l++) {
                cr_assert_leq(resample_bytes(lengths[l], 100, outputs), sizeof space);
                resample_prepare(&axis, space, starts[s], lengths[l], 100, outputs);
                cr_assert_eq(axis.most, resample_most(lengths[l], 100, outputs));
                for (uint32_t i = 0; i < outputs; i++) {
                    float sum = 0;
                    cr_assert_leq(axis.first[i] + axis.count[i], 100);
                    cr_assert(axis.count[i] >= 1 && axis.count[i] <= axis.most);
                    for (uint32_t k = 0; k < axis.count[i]; k++) sum += axis.weights[i * axis.most + k];
                    cr_assert_float_eq(sum, 1, 1e-5);
                    cr_assert(i == 0 || axis.first[i] >= axis.first[i - 1], "rows are decoded once, from the top");
                }
            }
}

/* Sums in floats, one input after the other: the same bits whatever vector units there are. */
Test(resample, a_row_is_the_sums_that_its_weights_say)
{
    static float space[1 << 13], numbers[1 << 11], out[1 << 10];
    static uint8_t row[3 * 100];
    for (uint32_t i = 0; i < sizeof row; i++) row[i] = (uint8_t)(i * i * 7 + i % 11 * 13);
    for (uint32_t n = 0; n < 300; n++) {
        struct resample_axis axis = {0};
        const uint32_t outputs = 1 + n * 7 % 223;
        const double start = n * 37 % 500 / 10.0, length = 1 + n * 53 % 490 / 10.0;
        cr_assert(resample_row_from(length, 100, outputs) <= 1 << 11 && resample_row_to(outputs) <= 1 << 10);
        resample_prepare(&axis, space, start, length, 100, outputs);
        memset(numbers, 0, sizeof numbers);
        resample_row(&axis, row, numbers, out);
        for (uint32_t i = 0; i < 3 * outputs; i++) {
            float sum = 0;
            for (uint32_t k = 0; k < axis.count[i / 3]; k++)
                sum += axis.weights[i / 3 * axis.most + k] * row[3 * (axis.first[i / 3] + k) + i % 3];
            cr_assert_eq(out[i], sum, "%g from %g to %u, number %u: %.9g, not %.9g", length, start, outputs, i,
                         (double)out[i], (double)sum);
        }
    }
}

/* Before the second scan, while the picture's block is in use. */
static unsigned char *insert_exif(unsigned char *bytes, unsigned long length)
{
    static const unsigned char head[4] = {0xff, 0xe1, 0, HELP_EXIF_BYTES + 2};
    unsigned char *longer = malloc(length + sizeof head + HELP_EXIF_BYTES);
    unsigned long at = 0;
    cr_assert(longer);
    for (int scans = 0; at + 1 < length; at++)
        if (bytes[at] == 0xff && bytes[at + 1] == 0xda && ++scans == 2) break;
    cr_assert_lt(at + 1, length, "one scan only");
    memcpy(longer, bytes, at);
    memcpy(longer + at, head, sizeof head);
    help_exif(6, false, longer + at + sizeof head);
    memcpy(longer + at + sizeof head + HELP_EXIF_BYTES, bytes + at, length - at);
    return longer;
}

Test(jpeg, exif_data_between_scans_turns_nothing_and_takes_no_memory)
{
    const struct help_jpeg jpeg = {64, 48, 3, true, 0};
    const uint64_t before = mem_current_bytes(MEM_INPUT);
    unsigned char *bytes;
    unsigned long length;
    uint32_t width, height;
    struct error err = {0};
    decode(jpeg, augment_centre_view(64, 48, 1), 32, other);
    decode_memory_destroy(memory);
    help_compress(&jpeg, &bytes, &length);
    unsigned char *longer = insert_exif(bytes, length);
    memory = decode_memory_create(DECODE_MOST_BYTES, &err);
    cr_assert(memory, "%s", err.text);
    struct jpeg_decoder *decoder = create();
    cr_assert(jpeg_open_bytes(decoder, longer, length + 4 + HELP_EXIF_BYTES, "a.jpg", &width, &height, &err), "%s",
              err.text);
    cr_assert(jpeg_decode(decoder, augment_centre_view(64, 48, 1), 32, 32, picture, &err), "%s", err.text);
    cr_assert_eq(memcmp(picture, other, sizeof(uint8_t[32 * 32 * 3])), 0);
    jpeg_decoder_destroy(decoder);
    decode_memory_destroy(memory);
    memory = NULL;
    cr_assert_eq(mem_current_bytes(MEM_INPUT), before);
    free(longer);
    free(bytes);
}

/* The header of a small picture says that it is large: coefficients of 49 million pixels, 6 bytes each. */
Test(jpeg, progressive_pictures_have_a_limit)
{
    struct error err = {0};
    struct jpeg_decoder *decoder = create();
    uint32_t width, height;
    static uint8_t out[32 * 32 * 3];
    unsigned long length;
    unsigned char *bytes;
    const struct help_jpeg jpeg = {64, 64, 3, true, 0, 0};
    help_compress(&jpeg, &bytes, &length);
    unsigned char *frame = bytes;
    while (frame[0] != 0xff || frame[1] != 0xc2) frame++;
    const unsigned char dims[4] = {7000 >> 8, 7000 & 255, 7000 >> 8, 7000 & 255};
    memcpy(frame + 5, dims, sizeof dims);
    cr_assert(jpeg_open_bytes(decoder, bytes, length, "large.jpg", &width, &height, &err), "%s", err.text);
    cr_assert_not(jpeg_decode(decoder, augment_centre_view(width, height, 1), 32, 32, out, &err));
    cr_expect(strstr(err.text, "large.jpg: is a progressive JPEG of 7000 x 7000 pixels"), "%s", err.text);
    cr_expect(strstr(err.text, "at most 256 MiB are taken: save it as a baseline JPEG"), "%s", err.text);
    /* The same decoder goes on with others, also with one that waits for its turn and is damaged. */
    const unsigned char smaller[4] = {1000 >> 8, 1000 & 255, 1000 >> 8, 1000 & 255};
    for (int i = 0; i < 2; i++) {
        memcpy(frame + 5, smaller, sizeof smaller);
        err = (struct error){0};
        cr_assert(jpeg_open_bytes(decoder, bytes, length, "turn.jpg", &width, &height, &err), "%s", err.text);
        cr_expect_not(jpeg_decode(decoder, augment_centre_view(width, height, 1), 32, 32, out, &err));
    }
    free(bytes);
    jpeg_decoder_destroy(decoder);
}
