/* A picture that is looked at several times: ten crops, whole at several scales; where PNGs are read. */
#define _GNU_SOURCE
#include <math.h>

#include "score_help.h"

#ifndef FATHOM_PNG
Test(views, are_of_pngs_here) { cr_skip("libpng was not there when this was built"); }
#else
#include "data_png_help.h"

TestSuite(views, .init = trained, .fini = removed);

#define CROP    32u
#define SHORTER 40u

static uint8_t wide_pixel(unsigned picture, uint32_t x, uint32_t y, uint32_t channel)
{
    return (uint8_t)(128 + 60 * sin(x * 0.31 + picture) + 60 * cos(y * (0.2 + 0.05 * channel) + 2.0 * picture));
}

/* A part of a picture as a file of its own, mirrored or not. */
static void write_part(const char *path, unsigned picture, uint32_t left, uint32_t top, uint32_t width, uint32_t height,
                       bool mirrored)
{
    static uint8_t pixels[64 * 64 * 3];
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t channel = 0; channel < 3; channel++)
                pixels[(y * width + x) * 3 + channel] =
                    wide_pixel(picture, left + (mirrored ? width - 1 - x : x), top + y, channel);
    help_write_png(path, pixels, width, height);
}

/* Six pictures whose shorter side is SHORTER, and in parts/ ten crops of each, cut here. */
static void make_parts(void)
{
    static const char *const classes[] = {"ant", "bee", "cat"};
    cr_assert_eq(system("mkdir -p parts wide/val/ant wide/val/bee wide/val/cat && cp -r photos/train wide/"), 0);
    for (unsigned i = 0; i < 6; i++) {
        char path[64];
        uint32_t width = i % 2 ? SHORTER : 48, height = i % 2 ? 56 : SHORTER, right = width - CROP, low = height - CROP;
        const uint32_t places[5][2] = {{right / 2, low / 2}, {0, 0}, {right, 0}, {0, low}, {right, low}};
        snprintf(path, sizeof path, "wide/val/%s/%u.png", classes[i / 2], i);
        write_part(path, i, 0, 0, width, height, false);
        for (unsigned crop = 0; crop < 10; crop++) {
            snprintf(path, sizeof path, "parts/%02u.png", i * 10 + crop);
            write_part(path, i, places[crop % 5][0], places[crop % 5][1], CROP, CROP, crop >= 5);
        }
    }
}

/* Adds what image `i` of an answer says of each class, the names in their order, times a weight. */
static void add_classes(const json_t *seen, size_t i, double weight, double sums[3])
{
    const json_t *classes = json_object_get(json_array_get(json_object_get(seen, "images"), i), "classes");
    static const char *const names[] = {"ant", "bee", "cat"};
    for (size_t n = 0; n < 3; n++)
        for (int k = 0; k < 3; k++)
            if (strcmp(json_string_value(json_object_get(json_array_get(classes, n), "name")), names[k]) == 0)
                sums[k] += weight * number(json_array_get(classes, n), "probability");
}

/* Ten files, each looked at by itself, then their mean. */
Test(views, ten_crops_are_the_mean_of_ten_pictures)
{
    make_parts();
    json_t *parts = answer("classify run parts/*.png --json --top 3");
    json_t *seen = answer("classify run wide/val/*/*.png --json --top 3 --crops 10 --resize 40 --batch 7");
    double loss = 0, wrong = 0, furthest = 0;
    for (unsigned i = 0; i < 6; i++) {
        double wanted[3] = {0}, found[3] = {0}, middle[3] = {0};
        for (unsigned crop = 0; crop < 10; crop++) add_classes(parts, i * 10 + crop, 0.1, wanted);
        add_classes(parts, (size_t)i * 10, 1, middle);
        add_classes(seen, i, 1, found);
        for (int k = 0; k < 3; k++) {
            cr_assert_float_eq(found[k], wanted[k], 2e-5, "picture %u, class %d: %g, %g", i, k, found[k], wanted[k]);
            furthest = fmax(furthest, fabs(middle[k] - wanted[k]));
        }
        loss -= log(wanted[i / 2]) / 6;
        for (unsigned k = 0; k < 3; k++)
            if (k != i / 2 && wanted[k] > wanted[i / 2]) {
                wrong += 1;
                break;
            }
    }
    cr_assert_gt(furthest, 1e-3, "the middle alone would have passed");
    const char *const ways[] = {"eval run wide --json --crops 10 --resize 40 --batch 7",
                                "eval run wide --json --crops 10 --resize 40 --batch 10 --gpus 2xcpu"};
    for (int i = 0; i < 2; i++) {
        json_t *error = answer(ways[i]);
        cr_assert_eq(number(error, "images"), 6);
        cr_assert_eq(number(error, "crops"), 10);
        cr_assert_float_eq(number(error, "loss"), loss, 1e-4);
        cr_assert_float_eq(number(error, "top1_error"), wrong / 6, 1e-9);
        json_decref(error);
    }
    json_decref(parts);
    json_decref(seen);
    /* A picture that breaks off within its last rows has whole crops, and does not count all the same. */
    cr_assert_eq(system("head -c -300 wide/val/bee/2.png > cut && mv cut wide/val/bee/2.png"), 0);
    json_t *error = answer("eval run wide --json --crops 10 --resize 40");
    cr_assert_eq(number(error, "images"), 5);
    cr_assert_eq(number(error, "skipped"), 1);
    json_decref(error);
}

/* Squares: whole at a scale is the plain test at that size, so that the mean over scales can be taken by hand. */
Test(views, scales_are_the_mean_of_tests_at_their_sizes)
{
    static const char *const classes[] = {"ant", "bee", "cat"};
    cr_assert_eq(system("mkdir -p even/val/ant even/val/bee even/val/cat && cp -r photos/train even/"), 0);
    for (unsigned i = 0; i < 6; i++) {
        char path[64];
        snprintf(path, sizeof path, "even/val/%s/%u.png", classes[i / 2], i);
        write_part(path, i, 0, 0, 60, 60, i % 2);
    }
    json_t *small = answer("classify run even/val/*/*.png --json --top 3 --image-size 32 --resize 32");
    json_t *large = answer("classify run even/val/*/*.png --json --top 3 --image-size 48 --resize 48");
    json_t *found = answer("eval run even --json --scales 32,48 --batch 4");
    double loss = 0;
    for (unsigned i = 0; i < 6; i++) {
        double mean[3] = {0};
        add_classes(small, i, 0.5, mean);
        add_classes(large, i, 0.5, mean);
        loss -= log(mean[i / 2]) / 6;
    }
    cr_assert_eq(number(found, "images"), 6);
    cr_assert_eq(number(found, "plans"), 2, "one for each size");
    cr_assert_gt(number(found, "planned_bytes"), 1 << 20);
    cr_assert_float_eq(number(found, "loss"), loss, 1e-4);
    json_decref(small);
    json_decref(large);
    json_decref(found);
}

/* Pictures that are no squares: by the fast kernels as by the readable loops, whatever goes together. */
Test(views, whole_pictures_have_the_same_scores_by_all_ways)
{
    make_parts();
    help_write_bytes("wide/val/ant/broken.png", "\x89PNG\r\n\x1a\n and so on", 18);
    json_t *loops = answer("eval run wide --json --scales 32 --images 3 --backend cpu-reference");
    json_t *fast = answer("eval run wide --json --scales 32 --images 3 --batch 1");
    const char *const keys[] = {"images", "skipped", "loss", "top1_error"};
    for (size_t i = 0; i < 4; i++)
        cr_assert_float_eq(number(loops, keys[i]), number(fast, keys[i]), 1e-5, "%s", keys[i]);
    json_decref(fast);
    fast = answer("eval run wide --json --scales 32,40 --batch 2");
    cr_assert_eq(number(fast, "images"), 6);
    cr_assert_eq(number(fast, "skipped"), 1);
    cr_assert_eq(number(fast, "plans"), 4, "48 x 40 and 40 x 56, at two scales");
    json_decref(loops);
    json_decref(fast);
}
#endif
