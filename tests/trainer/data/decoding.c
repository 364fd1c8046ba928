/* What decoding takes is known before, and never exceeded. */
#include "data_help.h"

#include "data_jpeg_help.h"
#include "decode_memory.h"
#include "image.h"
#include "mem.h"

static uint8_t picture[224 * 224 * 3];

/* Opens a JPEG within a limit of memory, and decodes its middle. */
static bool decode_within(const char *file, uint64_t limit, uint32_t size, uint64_t *needs, struct error *err)
{
    uint32_t width, height;
    struct decode_memory *memory = decode_memory_create(limit, err);
    cr_assert(memory, "%s", err->text);
    struct image_decoder *decoder = image_decoder_create(memory, err);
    cr_assert(decoder && image_open(decoder, file, &width, &height, err), "%s", err->text);
    struct augment_view view = augment_centre_view(width, height, 1);
    *needs = image_needs(decoder, view.side, size);
    bool ok = image_decode(decoder, view, size, picture, err);
    image_decoder_destroy(decoder);
    decode_memory_destroy(memory);
    return ok;
}

Test(decoding, a_picture_takes_no_more_than_was_said)
{
    const struct help_jpeg jpegs[] = {{500, 375, 3, false, 0},         {500, 375, 3, true, 0},
                                      {1700, 1100, 3, false, 0, 0, 2}, {1700, 1100, 3, true, 0, 0, 2},
                                      {1100, 1700, 1, true, 0},        {333, 444, 4, false, 0},
                                      {40, 3000, 3, true, 0, 6},       {3000, 40, 3, false, 0, 0, 2},
                                      {1, 1, 3, true, 0, 0, 2},        {901, 77, 3, false, 0, 0, 2}};
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_folder(path);
    help_join(file, path, "a.jpg");
    for (size_t i = 0; i < sizeof jpegs / sizeof jpegs[0]; i++)
        for (uint32_t size = 32; size <= 224; size += 96) {
            struct error err = {0};
            uint64_t needs, before = mem_current_bytes(MEM_INPUT);
            help_write_jpeg(file, jpegs[i]);
            cr_assert(decode_within(file, DECODE_MOST_BYTES, size, &needs, &err), "picture %zu: %s", i, err.text);
            cr_assert(decode_within(file, needs, size, &needs, &err), "picture %zu to %u: %s", i, size, err.text);
            cr_assert_not(decode_within(file, needs - 1, size, &needs, &err), "picture %zu", i);
            cr_assert(strstr(err.text, "which takes") && strstr(err.text, "a.jpg"), "%s", err.text);
            cr_assert_eq(mem_current_bytes(MEM_INPUT), before);
        }
    help_remove(path);
}

/* Every coefficient of a progressive picture waits for the last scan: 2 bytes for each of 3 samples a pixel. */
Test(decoding, what_a_progressive_picture_takes_is_its_coefficients)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    struct error err = {0};
    uint64_t progressive, baseline;
    help_folder(path);
    help_write_jpeg(help_join(file, path, "a.jpg"), (struct help_jpeg){1600, 1200, 3, true, 0});
    cr_assert(decode_within(file, DECODE_MOST_BYTES, 224, &progressive, &err), "%s", err.text);
    help_write_jpeg(file, (struct help_jpeg){1600, 1200, 3, false, 0});
    cr_assert(decode_within(file, DECODE_MOST_BYTES, 224, &baseline, &err), "%s", err.text);
    uint64_t coefficients = UINT64_C(1600) * 1200 * 3 * 2;
    cr_assert_geq(progressive, baseline + coefficients);
    cr_assert_leq(progressive, baseline + coefficients + (32u << 10));
    cr_assert_lt(baseline, 256u << 10, "a picture's pixels are never all in memory");
    help_remove(path);
}

/* Pictures of all kinds in two classes; the largest is the last of class a. */
#define PICTURES 12
static void make_folders(char path[HELP_PATH])
{
    char file[3 * HELP_PATH];
    help_folder(path);
    for (unsigned i = 0; i < PICTURES; i++) {
        char folder[2 * HELP_PATH];
        const char *part = i < 8 ? "train" : "test";
        snprintf(folder, sizeof folder, "mkdir -p %s/%s/%c", path, part, i % 2 ? 'b' : 'a');
        cr_assert_eq(system(folder), 0);
        snprintf(file, sizeof file, "%s/%s/%c/%u.jpg", path, part, i % 2 ? 'b' : 'a', i);
        help_write_jpeg(file, (struct help_jpeg){i == 6 ? 900 : 100 + i, i == 6 ? 700 : 90, 3, i % 3 == 0, i, 0, 2});
    }
}

Test(decoding, headers_tell_what_a_dataset_takes)
{
    char path[HELP_PATH];
    struct dataset *dataset;
    struct dataset_decoding decoding;
    struct error err = {0};
    make_folders(path);
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    cr_assert(dataset_measure(dataset, &(struct dataset_views){.image_size = 112}, NULL, NULL, &decoding, &err), "%s",
              err.text);
    cr_assert_eq(decoding.looked_at, PICTURES);
    cr_assert(strstr(decoding.largest, "/train/a/6.jpg"), "%s", decoding.largest);
    uint64_t one = dataset_decoding_bytes(&decoding, 1), four = dataset_decoding_bytes(&decoding, 4);
    cr_assert_geq(dataset_decoding_room(one, 1, 112), decoding.largest_bytes);
    cr_assert_geq(dataset_decoding_room(four, 4, 112), 4 * decoding.largest_bytes, "all threads decode at once");
    decoding.largest_bytes = 40u << 20;
    four = dataset_decoding_bytes(&decoding, 4);
    cr_assert_geq(dataset_decoding_room(four, 4, 112), 40u << 20);
    cr_assert_lt(four, 64u << 20, "large pictures wait for each other");
    dataset_close(dataset);
    help_remove(path);
    help_cifar10(path);
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    cr_assert(dataset_measure(dataset, &(struct dataset_views){.image_size = 32}, NULL, NULL, &decoding, &err), "%s",
              err.text);
    cr_assert(decoding.looked_at == 0 && dataset_decoding_bytes(&decoding, 4) == 0, "no picture is decoded");
    dataset_close(dataset);
    help_remove(path);
}

/* The first 40 positions as bytes. */
#define POSITIONS 40
static void deliver(struct dataset *dataset, bool area_crops, uint32_t threads, uint64_t decode_bytes, uint8_t *pixels)
{
    struct loader_options options = {.batch = 8,
                                     .image_size = 112,
                                     .seed = 5,
                                     .train = true,
                                     .augment = true,
                                     .area_crops = area_crops,
                                     .as_bytes = true,
                                     .threads = threads,
                                     .decode_bytes = decode_bytes};
    const size_t batch_bytes = 8 * 112 * 112 * 3;
    struct loader *loader;
    struct batch batch;
    struct error err = {0};
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    for (size_t i = 0; i < POSITIONS / 8; i++) {
        cr_assert(loader_next(loader, &batch, &err), "%s", err.text);
        memcpy(pixels + i * batch_bytes, batch.pixels, batch_bytes);
    }
    uint64_t most = loader_bytes(&options) + decode_bytes, held = mem_current_bytes(MEM_INPUT);
    loader_destroy(loader);
    held -= mem_current_bytes(MEM_INPUT);
    cr_assert_leq(held, most, "%u threads hold %llu of %llu", threads, (unsigned long long)held,
                  (unsigned long long)most);
}

static void check_loader_memory(bool area_crops)
{
    static uint8_t expected[POSITIONS * 112 * 112 * 3], found[sizeof expected];
    char path[HELP_PATH];
    struct dataset *dataset;
    struct dataset_decoding decoding;
    struct error err = {0};
    make_folders(path);
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    cr_assert(dataset_measure(dataset, &(struct dataset_views){.image_size = 112, .area_crops = area_crops}, NULL, NULL,
                              &decoding, &err),
              "%s", err.text);
    deliver(dataset, area_crops, 1, dataset_decoding_bytes(&decoding, 1), expected);
    const uint32_t threads[] = {1, 2, 4, 7};
    for (size_t i = 0; i < 4; i++) {
        uint64_t all = dataset_decoding_bytes(&decoding, threads[i]);
        deliver(dataset, area_crops, threads[i], all, found);
        cr_assert_eq(memcmp(found, expected, sizeof found), 0, "%u threads", threads[i]);
        /* With room for one large picture alone its decoders take turns. */
        uint64_t room = dataset_decoding_room(all, threads[i], 112), least = all - room + decoding.largest_bytes;
        deliver(dataset, area_crops, threads[i], least, found);
        cr_assert_eq(memcmp(found, expected, sizeof found), 0, "%u threads in turn", threads[i]);
    }
    dataset_close(dataset);
    help_remove(path);
}

Test(decoding, a_loader_keeps_to_its_memory_and_the_pixels_are_the_same)
{
    check_loader_memory(false);
    check_loader_memory(true);
}

Test(decoding, a_picture_too_large_for_the_memory_is_named)
{
    char path[HELP_PATH];
    struct dataset *dataset;
    struct loader *loader;
    struct batch batch;
    struct error err = {0};
    make_folders(path);
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    struct loader_options options = {
        .batch = 8, .image_size = 112, .train = true, .as_bytes = true, .threads = 2, .decode_bytes = 1 << 20};
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    cr_assert_not(loader_next(loader, &batch, &err));
    cr_assert_eq(err.kind, ERROR_FAILED);
    cr_assert(strstr(err.text, "/train/a/6.jpg: is a progressive JPEG of 900 x 700 pixels, which takes"), "%s",
              err.text);
    cr_assert(strstr(err.text, "--decode-memory"), "%s", err.text);
    loader_destroy(loader);
    dataset_close(dataset);
    help_remove(path);
}
