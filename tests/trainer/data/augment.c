/* Order and augmentation as functions of (seed, epoch, image): bijections, ranges, distributions. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "augment.h"

#define MOST 5000

Test(augment, an_epoch_is_a_permutation)
{
    static const uint64_t counts[] = {1, 2, 3, 7, 63, 64, 65, 100, 1023, 1025, 4099, MOST};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            bool seen[MOST] = {false};
            for (uint64_t i = 0; i < counts[c]; i++) {
                uint64_t image = augment_order(9, epoch, counts[c], i);
                cr_assert_lt(image, counts[c]);
                cr_assert_not(seen[image]);
                seen[image] = true;
            }
        }
}

/* However the classes stand in the set, a sample has each in its share: but for the stretches at both its ends where
 * they are sorted, by chance where they alternate. */
Test(augment, a_sample_is_spread_over_the_set)
{
    static const uint64_t wanted[] = {1, 7, 500, 999, 1000, 4999, MOST};
    for (size_t w = 0; w < sizeof wanted / sizeof wanted[0]; w++) {
        unsigned sorted[10] = {0}, alternating[10] = {0};
        uint64_t after = 0;
        for (uint64_t i = 0; i < wanted[w]; i++) {
            uint64_t image = augment_sample(MOST, wanted[w], i);
            cr_assert(image >= after && image < MOST);
            cr_assert_eq(image, augment_sample(MOST, wanted[w], i));
            if (wanted[w] == MOST) cr_assert_eq(image, i);
            after = image + 1;
            sorted[image / (MOST / 10)]++;
            alternating[image % 10]++;
        }
        double share = (double)wanted[w] / 10;
        for (int c = 0; c < 10; c++) {
            cr_assert_lt(fabs(sorted[c] - share), 2, "%lu: class %d: %u", (unsigned long)wanted[w], c, sorted[c]);
            cr_assert_leq(fabs(alternating[c] - share), 4 * sqrt(share) + 1, "%lu: class %d: %u",
                          (unsigned long)wanted[w], c, alternating[c]);
        }
    }
    cr_assert_lt(augment_sample(UINT32_MAX, 3, 2), UINT32_MAX);
}

Test(augment, large_counts_stay_in_range)
{
    for (uint64_t i = 0; i < 1000; i++) {
        cr_assert_lt(augment_order(1, 0, 1281167, i * 1281), 1281167);
        uint64_t most = (UINT64_C(1) << 62) - 3;
        cr_assert_lt(augment_order(1, 0, most, most - 1 - i), most);
    }
}

Test(augment, orders_look_random)
{
    /* In a random permutation: one fixed point, n / 3 away on average, half of the neighbours in rising order. */
    const uint64_t n = 50000;
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        uint64_t fixed = 0, rising = 0, before = 0;
        double away = 0;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t image = augment_order(2, epoch, n, i);
            fixed += image == i;
            away += fabs((double)image - (double)i);
            rising += i > 0 && image > before;
            before = image;
        }
        cr_assert_leq(fixed, 8);
        cr_assert_float_eq(away / (double)n, (double)n / 3, 300);
        cr_assert_float_eq((double)rising, (double)n / 2, 500);
    }
}

Test(augment, small_counts_reach_every_order)
{
    unsigned found[6] = {0};
    for (uint64_t epoch = 0; epoch < 6000; epoch++) {
        unsigned a = (unsigned)augment_order(5, epoch, 3, 0), b = (unsigned)augment_order(5, epoch, 3, 1);
        found[a * 2 + (b > a ? b - 1 : b)]++;
    }
    for (int i = 0; i < 6; i++) cr_assert(found[i] > 850 && found[i] < 1150, "order %d: %u of 6000", i, found[i]);
}

Test(augment, shifts_are_uniform_and_independent)
{
    unsigned across[9] = {0}, down[9] = {0}, corner = 0, flips = 0, flipped_left = 0;
    for (uint64_t image = 0; image < 18000; image++) {
        struct augment_shift shift = augment_choose_shift(3, image / 600, image % 600, 4);
        cr_assert(shift.dx >= -4 && shift.dx <= 4 && shift.dy >= -4 && shift.dy <= 4);
        across[shift.dx + 4]++;
        down[shift.dy + 4]++;
        corner += shift.dx == -4 && shift.dy == -4;
        flips += shift.flip;
        flipped_left += shift.flip && shift.dx < 0;
    }
    for (int i = 0; i < 9; i++) {
        cr_assert(abs((int)across[i] - 2000) < 220, "%u", across[i]);
        cr_assert(abs((int)down[i] - 2000) < 220, "%u", down[i]);
    }
    cr_assert(abs((int)corner - 222) < 75, "%u", corner);
    cr_assert(abs((int)flips - 9000) < 350, "%u", flips);
    cr_assert(abs((int)flipped_left - 4000) < 300, "%u", flipped_left);
}

Test(augment, another_seed_epoch_or_image_is_another_draw)
{
    unsigned same[3] = {0};
    for (uint64_t image = 0; image < 1000; image++) {
        struct augment_view view = augment_choose_view(1, 2, image, 500, 375, 224);
        same[0] += augment_choose_view(2, 2, image, 500, 375, 224).x == view.x;
        same[1] += augment_choose_view(1, 3, image, 500, 375, 224).x == view.x;
        same[2] += augment_choose_view(1, 2, image + 1, 500, 375, 224).x == view.x;
        cr_assert_eq(augment_choose_view(1, 2, image, 500, 375, 224).x, view.x);
    }
    for (int i = 0; i < 3; i++) cr_assert_eq(same[i], 0);
}

/* The definition, pixel by pixel. */
static float shifted(const float *from, int side, struct augment_shift shift, int x, int y, int channel)
{
    int column = (shift.flip ? side - 1 - x : x) + shift.dx, row = y + shift.dy;
    if (column < 0 || column >= side || row < 0 || row >= side) return 0;
    return from[(row * side + column) * 3 + channel];
}

Test(augment, a_shift_moves_each_pixel_where_it_belongs)
{
    enum { SIDE = 7 };
    float from[SIDE * SIDE * 3], to[SIDE * SIDE * 3];
    for (int i = 0; i < SIDE * SIDE * 3; i++) from[i] = (float)(i + 1);
    for (int dx = -8; dx <= 8; dx++)
        for (int dy = -8; dy <= 8; dy++)
            for (int flip = 0; flip < 2; flip++) {
                struct augment_shift shift = {dx, dy, flip == 1};
                memset(to, 0x7f, sizeof to);
                augment_apply_shift(from, SIDE, shift, to);
                for (int i = 0; i < SIDE * SIDE * 3; i++)
                    cr_assert_eq(to[i], shifted(from, SIDE, shift, i / 3 % SIDE, i / 3 / SIDE, i % 3));
            }
}

Test(augment, views_lie_within_the_picture)
{
    static const uint32_t sizes[][2] = {{500, 375}, {375, 500}, {1, 1}, {10000, 20}, {224, 224}, {256, 300}};
    unsigned flips = 0;
    double least = 1e9, most = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (uint64_t image = 0; image < 2000; image++) {
            double width = sizes[s][0], height = sizes[s][1], shorter = fmin(width, height);
            struct augment_view view = augment_choose_view(8, 1, image, sizes[s][0], sizes[s][1], 224);
            cr_assert(view.x >= 0 && view.y >= 0 && view.side > 0);
            cr_assert(view.x + view.side <= width + 1e-9 && view.y + view.side <= height + 1e-9);
            least = fmin(least, view.side / shorter);
            most = fmax(most, view.side / shorter);
            flips += view.flip;
        }
    cr_assert_float_eq(least, 224.0 / 480, 0.002);
    cr_assert_float_eq(most, 224.0 / 256, 0.002);
    cr_assert(abs((int)flips - 6000) < 250, "%u", flips);
    struct augment_view centre = augment_centre_view(500, 256, 256.0 / 224);
    cr_assert_eq(centre.side, 224);
    cr_assert_eq(centre.x, 138);
    cr_assert_eq(centre.y, 16);
    cr_assert_not(centre.flip);
}

/* As torchvision's Resize(256) and CenterCrop(224) or FiveCrop(224) have it: 341 x 256 in whole pixels, of which 58.5 is 58. */
Test(augment, crops_are_of_whole_pixels_of_the_scaled_picture)
{
    const double wide = 1000.0 / 341, high = 750.0 / 256;
    static const double places[][2] = {{58, 16}, {0, 0}, {117, 0}, {0, 32}, {117, 32}};
    for (uint32_t crop = 0; crop < 10; crop++) {
        struct augment_view view = augment_crop_view(1000, 750, 224, 256, crop);
        cr_expect_float_eq(view.x, places[crop % 5][0] * wide, 1e-9, "%u: %g", crop, view.x);
        cr_expect_float_eq(view.y, places[crop % 5][1] * high, 1e-9, "%u: %g", crop, view.y);
        cr_expect_float_eq(view.side, 224 * wide, 1e-9);
        cr_expect_float_eq(view.down, 224 * high, 1e-9);
        cr_expect_eq(view.flip, crop >= 5);
    }
    struct augment_view whole = augment_crop_view(50, 77, 32, 32, 4);
    cr_expect(whole.x == 0 && whole.side == 50 && whole.y + whole.down == 77);
}

/* torchvision's RandomResizedCrop: shares of the area and logarithms of the aspect are even, but for what does not fit.
 */
Test(augment, area_views_have_the_law_that_is_said)
{
    static const uint32_t sizes[][2] = {{500, 400}, {400, 500}, {1, 1}, {3000, 20}, {20, 3000}, {300, 300}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        double width = sizes[s][0], height = sizes[s][1], small = 0, wide = 0, count = 4000, flips = 0;
        for (uint64_t image = 0; image < 4000; image++) {
            struct augment_view view = augment_choose_area(3, 2, image, sizes[s][0], sizes[s][1]);
            double share = view.side * view.down / (width * height), aspect = view.side / view.down;
            cr_assert(view.x >= 0 && view.y >= 0 && view.side >= 1 && view.down >= 1);
            cr_assert(view.x + view.side <= width + 1e-9 && view.y + view.down <= height + 1e-9);
            if (fmin(width, height) < 100) continue;
            cr_assert(share > 0.079 && aspect > 0.74 && aspect < 1.35, "%g, %g", share, aspect);
            small += share < 0.54;
            wide += aspect > 1;
            flips += view.flip;
        }
        if (fmin(width, height) < 100) continue;
        cr_assert(small / count > 0.50 && small / count < 0.70, "%g", small / count); /* large ones fit more seldom */
        if (sizes[s][0] == sizes[s][1]) cr_assert_float_eq(wide / count, 0.5, 0.03);
        cr_assert_float_eq(flips / count, 0.5, 0.03);
    }
    struct augment_view long_one = augment_choose_area(3, 2, 0, 3000, 20);
    cr_assert(long_one.down == 20 && long_one.side <= 27, "%g", long_one.side);
}
