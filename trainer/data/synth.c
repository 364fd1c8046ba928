#define _GNU_SOURCE
#include "data.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "augment.h"
#include "clock.h"
#include "dataset.h"
#include "files.h"
#include "locks.h"
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

/* ---- Files ---- */

#define NAMES_FILE  "batches.meta.txt"
#define NAMES_BYTES 256u
#define TELL_NS     100000000u

struct synthesis {
    const char *folder;
    uint64_t seed, images[DATASET_PARTS];
    data_progress *progress;
    void *context;
    uint64_t done, told_ns;
    struct files_writer names, files[CIFAR_FILES];
};

static bool is_wanted(struct synthesis *s, bool ended)
{
    uint64_t now = clock_now_ns();
    if (!s->progress || (!ended && now - s->told_ns < TELL_NS)) return true;
    s->told_ns = now;
    return s->progress(s->context, s->done, s->images[DATASET_TRAIN] + s->images[DATASET_TEST]);
}

static bool write_records(struct synthesis *s, struct files_writer *writer, enum dataset_part part, uint64_t first,
                          uint64_t end, struct error *err)
{
    for (uint64_t index = first; index < end && !ferror(writer->stream); index++, s->done++) {
        uint8_t record[1 + CIFAR_PIXELS];
        if (!is_wanted(s, false)) return error_set(err, ERROR_FAILED, "stopped");
        draw_record(s->seed, part, s->images[part], index, record);
        fwrite(record, sizeof record, 1, writer->stream);
    }
    return files_flush(writer, err);
}

static bool write_file(struct synthesis *s, uint32_t file, struct error *err)
{
    char name[CIFAR_FILE_NAME], path[DATASET_PATH];
    uint64_t train = s->images[DATASET_TRAIN];
    cifar_file_name(file, name);
    TRY(dataset_join(path, s->folder, name, err));
    TRY(files_begin(&s->files[file], path, err));
    if (file == CIFAR_TRAIN_FILES)
        return write_records(s, &s->files[file], DATASET_TEST, 0, s->images[DATASET_TEST], err);
    return write_records(s, &s->files[file], DATASET_TRAIN, train * file / CIFAR_TRAIN_FILES,
                         train * (file + 1) / CIFAR_TRAIN_FILES, err);
}

static size_t format_names(char lines[NAMES_BYTES])
{
    int used = 0;
    for (uint32_t i = 0; i < SYNTH_CLASSES; i++)
        used += snprintf(lines + used, NAMES_BYTES - (size_t)used, "%s\n", synth_names[i]);
    return (size_t)used;
}

static bool write_names(struct synthesis *s, struct error *err)
{
    char path[DATASET_PATH], lines[NAMES_BYTES];
    TRY(dataset_join(path, s->folder, NAMES_FILE, err));
    TRY(files_begin(&s->names, path, err));
    fwrite(lines, 1, format_names(lines), s->names.stream);
    return files_flush(&s->names, err);
}

static bool has_images(const char *folder)
{
    char name[CIFAR_FILE_NAME], path[DATASET_PATH];
    for (uint32_t file = 0; file < CIFAR_FILES; file++) {
        cifar_file_name(file, name);
        if (dataset_join(path, folder, name, NULL) && access(path, F_OK) == 0) return true;
    }
    return false;
}

/* A mistyped path must not cost the user the published images: only what was made here is made again. */
static bool may_replace(const char *folder, struct error *err)
{
    char path[DATASET_PATH], lines[NAMES_BYTES], *found;
    size_t length;
    if (!has_images(folder)) return true;
    TRY(dataset_join(path, folder, NAMES_FILE, err));
    bool ours = false;
    if (access(path, F_OK) == 0) {
        TRY(files_read(path, UINT64_C(1) << 20, &found, &length, err));
        ours = length == format_names(lines) && memcmp(found, lines, length) == 0;
        mem_free(found);
    }
    if (ours) return true;
    return error_set(err, ERROR_INPUT, "%s: holds other images; name another folder or remove them", folder);
}

/* The names first: a folder with these is ours. Without test images it is no dataset, so that old files and new ones
 * are not taken for one. */
static bool commit_files(struct synthesis *s, struct error *err)
{
    if (unlink(s->files[CIFAR_TRAIN_FILES].path) != 0 && errno != ENOENT)
        return error_errno(err, ERROR_FAILED, errno, "%s: cannot be replaced", s->files[CIFAR_TRAIN_FILES].path);
    TRY(files_commit(&s->names, err));
    for (uint32_t file = 0; file < CIFAR_FILES; file++) TRY(files_commit(&s->files[file], err));
    return true;
}

static bool write_files(struct synthesis *s, struct error *err)
{
    TRY(may_replace(s->folder, err));
    TRY(write_names(s, err));
    for (uint32_t file = 0; file < CIFAR_FILES; file++) TRY(write_file(s, file, err));
    if (!is_wanted(s, true)) return error_set(err, ERROR_FAILED, "stopped");
    return commit_files(s, err);
}

static bool fill_folder(struct synthesis *s, struct error *err)
{
    struct folder_lock lock;
    TRY(files_make_folder(s->folder, err));
    TRY(locks_enter_folder(&lock, s->folder, err));
    bool ok = write_files(s, err);
    files_abandon(&s->names);
    for (uint32_t file = 0; file < CIFAR_FILES; file++) files_abandon(&s->files[file]);
    locks_leave_folder(&lock);
    return ok;
}

bool data_synthesize(const char *folder, uint64_t train_images, uint64_t test_images, uint64_t seed,
                     data_progress *progress, void *context, struct error *err)
{
    if (train_images < 1 || train_images > MOST_IMAGES || test_images > MOST_IMAGES)
        return error_set(err, ERROR_INPUT,
                         "%" PRIu64 " training and %" PRIu64 " test images were asked for; 1 to %u and 0 to %u are "
                         "possible",
                         train_images, test_images, MOST_IMAGES, MOST_IMAGES);
    struct synthesis synthesis = {.folder = folder,
                                  .seed = seed,
                                  .images = {[DATASET_TRAIN] = train_images, [DATASET_TEST] = test_images},
                                  .progress = progress,
                                  .context = context,
                                  .told_ns = clock_now_ns()};
    size_t there = files_folder_there(folder);
    bool ok = fill_folder(&synthesis, err);
    if (!ok) files_unmake_folder(folder, there);
    return ok;
}
