/* Changes of colours: those of the release, one step after another, and nothing but functions of seed, epoch and image.
 */
#include "data_help.h"

#include <math.h>

#include "colour.h"
#include "data_jpeg_help.h"
#include "normalise.h"

#define PIXELS 400u

static void make_pixels(uint8_t pixels[PIXELS * 3])
{
    for (unsigned i = 0; i < PIXELS * 3; i++) pixels[i] = (uint8_t)(60 + (i * 37 + i / 3 * 11) % 130);
}

static double gray_of(const double pixel[3]) { return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]; }

/* fb.resnet.torch's Brightness, Contrast and Saturation, each over the whole picture; pixels as 0..1. */
static void take_step(double pixels[PIXELS][3], enum colour_step step, double factor)
{
    double mean = 0;
    for (unsigned i = 0; i < PIXELS; i++) mean += gray_of(pixels[i]) / PIXELS;
    for (unsigned i = 0; i < PIXELS; i++) {
        double other = step == COLOUR_BRIGHTNESS ? 0 : step == COLOUR_CONTRAST ? mean : gray_of(pixels[i]);
        for (int c = 0; c < 3; c++) pixels[i][c] = factor * pixels[i][c] + (1 - factor) * other;
    }
}

Test(colour, all_steps_at_once_are_the_steps_one_by_one)
{
    uint8_t pixels[PIXELS * 3];
    double wanted[PIXELS][3], most = 0;
    for (uint64_t image = 0; image < 50; image++) {
        struct colour_choice choice = colour_choose((struct colour_amounts){0.4, 0.1}, 3, 1, image);
        make_pixels(pixels);
        for (unsigned i = 0; i < PIXELS * 3; i++) wanted[i / 3][i % 3] = pixels[i] / 255.0;
        for (int i = 0; i < COLOUR_STEPS; i++) take_step(wanted, choice.order[i], choice.factor[choice.order[i]]);
        colour_change(&choice, pixels, PIXELS);
        for (unsigned i = 0; i < PIXELS * 3; i++) {
            double value = fmin(255, fmax(0, 255 * (wanted[i / 3][i % 3] + choice.light[i % 3])));
            most = fmax(most, fabs(value - pixels[i]));
        }
    }
    cr_assert_lt(most, 0.51, "%f", most);
}

Test(colour, what_is_drawn_has_the_law_that_is_said)
{
    unsigned orders[27] = {0}, kinds = 0, count = 6000;
    double least = 2, largest = 0, squares[3] = {0};
    for (uint64_t image = 0; image < count; image++) {
        struct colour_choice choice = colour_choose((struct colour_amounts){0.4, 0.1}, 1, 2, image);
        orders[choice.order[0] * 9 + choice.order[1] * 3 + choice.order[2]]++;
        for (int i = 0; i < COLOUR_STEPS; i++) {
            least = fmin(least, choice.factor[i]);
            largest = fmax(largest, choice.factor[i]);
        }
        for (int c = 0; c < 3; c++) squares[c] += choice.light[c] * choice.light[c] / count;
    }
    for (int i = 0; i < 27; i++) {
        if (orders[i] == 0) continue;
        kinds++;
        cr_assert(orders[i] > count / 6 * 0.85 && orders[i] < count / 6 * 1.15, "%u", orders[i]);
    }
    cr_assert_eq(kinds, 6, "every order, each as often");
    cr_assert(least >= 0.6 && least < 0.602 && largest <= 1.4 && largest > 1.398, "%f, %f", least, largest);
    /* Red: 0.1 sqrt(sum of (eigenvector x eigenvalue)^2). */
    double red = 0.1 * sqrt(pow(0.5675 * 0.2175, 2) + pow(0.7192 * 0.0188, 2) + pow(0.4009 * 0.0045, 2));
    cr_assert_float_eq(sqrt(squares[0]) / red, 1, 0.05);
}

Test(colour, one_amount_does_not_change_what_the_other_does)
{
    struct colour_choice both = colour_choose((struct colour_amounts){0.4, 0.1}, 5, 6, 7);
    struct colour_choice jitter = colour_choose((struct colour_amounts){0.4, 0}, 5, 6, 7);
    struct colour_choice light = colour_choose((struct colour_amounts){0, 0.1}, 5, 6, 7);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(both.factor[i], jitter.factor[i]);
        cr_assert_eq(both.light[i], light.light[i]);
        cr_assert_eq(jitter.light[i], 0);
        cr_assert_eq(light.factor[i], 1);
    }
}

/* ---- Through the loader ---- */

#define NUMBERS (16u * 112 * 112 * 3)

static void deliver(struct dataset *dataset, struct loader_options options, uint32_t side, float *out)
{
    struct loader *loader;
    struct batch batch;
    struct error err = {0};
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    for (uint32_t done = 0; done < 8; done += options.batch) {
        size_t numbers = (size_t)options.batch * side * side * 3;
        float *to = out + (size_t)done * side * side * 3;
        cr_assert(loader_next(loader, &batch, &err), "%s", err.text);
        if (options.as_bytes)
            help_make_images(dataset_info(dataset), &batch, options.batch, side, to);
        else
            memcpy(to, batch.images, numbers * sizeof *to);
    }
    loader_destroy(loader);
}

static void check_loader(const char *path, uint32_t side)
{
    static float plain[NUMBERS], first[NUMBERS], other[NUMBERS];
    size_t bytes = 8 * (size_t)side * side * 3 * sizeof(float);
    struct dataset *dataset;
    struct error err = {0};
    struct loader_options options = {
        .batch = 8, .image_size = side, .seed = 4, .train = true, .augment = true, .threads = 1};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    deliver(dataset, options, side, plain);
    options.colour = (struct colour_amounts){0.4, 0.1};
    deliver(dataset, options, side, first);
    cr_assert_neq(memcmp(first, plain, bytes), 0, "colours change");
    options.threads = 3;
    options.batch = 2;
    deliver(dataset, options, side, other);
    cr_assert_eq(memcmp(first, other, bytes), 0, "threads and batches change nothing");
    options.as_bytes = true;
    deliver(dataset, options, side, other);
    cr_assert_eq(memcmp(first, other, bytes), 0, "bytes are the same pictures");
    options.as_bytes = options.augment = false;
    deliver(dataset, options, side, first);
    options.colour = (struct colour_amounts){0};
    deliver(dataset, options, side, other);
    cr_assert_eq(memcmp(first, other, bytes), 0, "not without augmentation");
    dataset_close(dataset);
}

Test(colour, records_are_changed_by_seed_epoch_and_image_alone)
{
    char path[HELP_PATH];
    help_cifar10(path);
    check_loader(path, 32);
    help_remove(path);
}

Test(colour, photographs_are_changed_by_seed_epoch_and_image_alone)
{
    char path[HELP_PATH], file[2 * HELP_PATH], command[3 * HELP_PATH];
    help_folder(path);
    snprintf(command, sizeof command, "mkdir -p %s/train/a %s/train/b", path, path);
    cr_assert_eq(system(command), 0);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(file, sizeof file, "%s/train/%c/%u.jpg", path, i % 2 ? 'a' : 'b', i);
        help_write_jpeg(file, (struct help_jpeg){160 + i, 130, 3, false, i});
    }
    check_loader(path, 112);
    help_remove(path);
}

/* The same bits as the formula's, also over the bytes that they are made of. */
Test(normalise, numbers_are_the_formula_s)
{
    static float out[3 * 259];
    const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
    struct normalise_table table;
    normalise_prepare(&table, mean, deviation);
    for (size_t pixels = 250; pixels < 259; pixels++) {
        uint8_t *bytes = (uint8_t *)out + 9 * pixels;
        for (size_t i = 0; i < 3 * pixels; i++) bytes[i] = (uint8_t)(i * 5 / 3);
        normalise_pixels(&table, bytes, pixels, out);
        for (size_t i = 0; i < 3 * pixels; i++) {
            float wanted = ((float)(uint8_t)(i * 5 / 3) / 255.0f - mean[i % 3]) / deviation[i % 3];
            cr_assert_eq(out[i], wanted, "number %zu of %zu pixels", i, pixels);
        }
    }
}
