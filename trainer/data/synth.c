#define _GNU_SOURCE
#include "data.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "augment.h"
#include "dataset.h"
#include "files.h"
#include "mem.h"
#include "random.h"

/* A class is a shape or a texture; its place, scale, turn, colours, brightness and noise say nothing about it, and each
 * stays itself when mirrored or shifted by a few pixels. So pixel statistics alone do not separate the classes, edges
 * and their arrangement do. */
static const char *const synth_names[] = {"disc",       "square",   "triangle", "ring",         "cross",
                                          "horizontal", "vertical", "diagonal", "checkerboard", "dots"};
#define SYNTH_CLASSES 10u
#define MOST_IMAGES   10000000u

struct scene {
    uint32_t label;
    double x, y;         /* centre or phase, in units of half the side */
    double scale;        /* radius of a shape, half period of a texture */
    double cosine, sine; /* of the turn */
    double back[3], fore[3], slope[3];
    double noise;
    double blot_x, blot_y, blot_radius, blot[3]; /* a patch of a third colour that hides a part */
};

static double random_between(struct random *random, double low, double high)
{
    return low + (high - low) * random_real(random);
}

/* Textures keep their direction within a few degrees; shapes may turn as far as they stay themselves. */
static double choose_turn(struct random *random, uint32_t label)
{
    const double eighth = 0.785398163397448; /* pi / 4 */
    if (label == 7) return (random_below(random, 2) ? eighth : -eighth) + random_between(random, -0.17, 0.17);
    if (label < 5) return random_between(random, -0.35, 0.35);
    return random_between(random, -0.17, 0.17);
}

static void choose_colours(struct random *random, struct scene *scene)
{
    double contrast;
    do {
        contrast = 0;
        for (int channel = 0; channel < 3; channel++) {
            scene->back[channel] = random_between(random, 40, 215);
            scene->fore[channel] = random_between(random, 20, 235);
            scene->slope[channel] = random_between(random, -30, 30);
            scene->blot[channel] = random_between(random, 20, 235);
            contrast += fabs(scene->fore[channel] - scene->back[channel]);
        }
    } while (contrast < 90);
}

static struct scene choose_scene(struct random *random, uint32_t label)
{
    struct scene scene = {.label = label};
    double turn = choose_turn(random, label);
    scene.cosine = cos(turn);
    scene.sine = sin(turn);
    scene.x = random_between(random, -0.35, 0.35);
    scene.y = random_between(random, -0.35, 0.35);
    scene.scale = label < 5 ? random_between(random, 0.32, 0.62) : random_between(random, 0.14, 0.3);
    choose_colours(random, &scene);
    scene.noise = random_between(random, 6, 30);
    scene.blot_x = random_between(random, -1, 1);
    scene.blot_y = random_between(random, -1, 1);
    scene.blot_radius = random_between(random, 0.1, 0.35);
    return scene;
}

/* A triangle wave of period 4, from -1 to 1. */
static double wave(double phase) { return fabs(phase - 4 * floor(phase / 4) - 2) - 1; }

/* The signed distance-like value of a class at (u, v) in the scene's own turned coordinates, in units of its scale:
 * positive inside. */
static double shape_value(uint32_t label, double u, double v)
{
    double radius = sqrt(u * u + v * v), across = fabs(u) > fabs(v) ? fabs(u) : fabs(v);
    switch (label) {
    case 0: return 1 - radius;
    case 1: return 0.87 - across;
    case 2: return fmin(0.75 - v, (v + 1.1) / 2 - fabs(u));
    case 3: return 0.3 - fabs(radius - 0.8);
    case 4: return fmin(0.3 - fmin(fabs(u), fabs(v)), 1.1 - across);
    case 5:
    case 7: return wave(2 * v) / 2;
    case 6: return wave(2 * u) / 2;
    case 8: return copysign(fmin(fabs(wave(2 * u)), fabs(wave(2 * v))), wave(2 * u) * wave(2 * v)) / 2;
    default: {
        double du = wave(1.6 * u) / 0.8, dv = wave(1.6 * v) / 0.8;
        return 0.65 - sqrt(du * du + dv * dv);
    }
    }
}

/* How much of the foreground covers a pixel: its edge is one pixel wide. */
static double coverage(const struct scene *scene, double x, double y)
{
    const double pixel = 2.0 / CIFAR_SIDE;
    double dx = (x - scene->x) / scene->scale, dy = (y - scene->y) / scene->scale;
    double u = scene->cosine * dx + scene->sine * dy, v = scene->cosine * dy - scene->sine * dx;
    double covered = shape_value(scene->label, u, v) * scene->scale / pixel + 0.5;
    return covered < 0 ? 0 : covered > 1 ? 1 : covered;
}

/* Four uniform bytes summed: standard deviation 147.8, near enough to a normal. */
static double draw_noise(struct random *random)
{
    uint32_t word = random_next(random);
    int32_t sum = (int32_t)((word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24));
    return (sum - 510) / 147.8;
}

static uint8_t to_byte(double value) { return value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)(value + 0.5); }

static void draw_scene(const struct scene *scene, struct random *random, uint8_t *pixels)
{
    for (uint32_t i = 0; i < CIFAR_PLANE; i++) {
        double x = (i % CIFAR_SIDE + 0.5) * 2 / CIFAR_SIDE - 1, y = (double)(i / CIFAR_SIDE * 2 + 1) / CIFAR_SIDE - 1;
        double covered = coverage(scene, x, y);
        double bx = x - scene->blot_x, by = y - scene->blot_y;
        bool blot = bx * bx + by * by < scene->blot_radius * scene->blot_radius;
        for (int channel = 0; channel < 3; channel++) {
            double back = scene->back[channel] + scene->slope[channel] * (x + y) / 2;
            double value = blot ? scene->blot[channel] : back + covered * (scene->fore[channel] - back);
            pixels[(uint32_t)channel * CIFAR_PLANE + i] = to_byte(value + scene->noise * draw_noise(random));
        }
    }
}

/* Image `index` of a part with `count` images; the classes are as even as count allows, in random order. */
static void draw_record(uint64_t seed, enum dataset_part part, uint64_t count, uint64_t index, uint8_t *record)
{
    struct random random = random_begin(seed, RANDOM_SYNTHETIC, part, index);
    uint32_t label = (uint32_t)(augment_order(seed, part, count, index) % SYNTH_CLASSES);
    struct scene scene = choose_scene(&random, label);
    record[0] = (uint8_t)label;
    draw_scene(&scene, &random, record + 1);
}

static bool write_records(const char *folder, const char *name, uint64_t seed, enum dataset_part part, uint64_t count,
                          uint64_t first, uint64_t end, struct error *err)
{
    char path[DATASET_PATH];
    struct files_writer writer;
    TRY(dataset_join(path, folder, name, err));
    TRY(files_begin(&writer, path, err));
    for (uint64_t index = first; index < end && !ferror(writer.stream); index++) {
        uint8_t record[1 + CIFAR_PIXELS];
        draw_record(seed, part, count, index, record);
        fwrite(record, sizeof record, 1, writer.stream);
    }
    return files_commit(&writer, err);
}

#define NAMES_BYTES 256u

static size_t format_names(char lines[NAMES_BYTES])
{
    int used = 0;
    for (uint32_t i = 0; i < SYNTH_CLASSES; i++)
        used += snprintf(lines + used, NAMES_BYTES - (size_t)used, "%s\n", synth_names[i]);
    return (size_t)used;
}

/* A mistyped path must not cost the user the published images: only what was made here is made again. */
static bool may_replace(const char *folder, struct error *err)
{
    char path[DATASET_PATH], lines[NAMES_BYTES], *found;
    size_t length;
    TRY(dataset_join(path, folder, "data_batch_1.bin", err));
    if (access(path, F_OK) != 0) return true;
    TRY(dataset_join(path, folder, "batches.meta.txt", err));
    bool ours = false;
    if (access(path, F_OK) == 0) {
        TRY(files_read(path, UINT64_C(1) << 20, &found, &length, err));
        ours = length == format_names(lines) && memcmp(found, lines, length) == 0;
        mem_free(found);
    }
    if (ours) return true;
    return error_set(err, ERROR_INPUT, "%s: holds other images; name another folder or remove them", folder);
}

/* First of all files: a folder with these names is ours. */
static bool write_names(const char *folder, struct error *err)
{
    char path[DATASET_PATH], lines[NAMES_BYTES];
    TRY(dataset_join(path, folder, "batches.meta.txt", err));
    return files_write(path, lines, format_names(lines), err);
}

bool data_synthesize(const char *folder, uint64_t train_images, uint64_t test_images, uint64_t seed, struct error *err)
{
    if (train_images < 1 || train_images > MOST_IMAGES || test_images > MOST_IMAGES)
        return error_set(err, ERROR_INPUT,
                         "%" PRIu64 " training and %" PRIu64 " test images were asked for; 1 to %u and 0 to %u are "
                         "possible",
                         train_images, test_images, MOST_IMAGES, MOST_IMAGES);
    TRY(files_make_folder(folder, err));
    TRY(may_replace(folder, err));
    TRY(write_names(folder, err));
    for (uint32_t batch = 0; batch < CIFAR_TRAIN_FILES; batch++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%u.bin", batch + 1);
        TRY(write_records(folder, name, seed, DATASET_TRAIN, train_images, train_images * batch / CIFAR_TRAIN_FILES,
                          train_images * (batch + 1) / CIFAR_TRAIN_FILES, err));
    }
    return write_records(folder, "test_batch.bin", seed, DATASET_TEST, test_images, 0, test_images, err);
}
