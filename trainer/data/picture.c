#include "picture.h"

#include "augment.h"
#include "jpeg.h"
#include "mem.h"

/* Pictures up to this side are treated as the papers treat CIFAR (padded, shifted), larger ones as they treat ImageNet
 * (scaled, cut). */
#define MOST_SHIFTED_SIDE 95u
/* The papers' single-crop test takes 224 of a shorter side of 256. */
#define TEST_MARGIN (256.0 / 224.0)

static void fill_table(struct picture_reader *reader, const struct dataset_info *info)
{
    for (int channel = 0; channel < 3; channel++)
        for (int value = 0; value < 256; value++)
            reader->table[channel][value] = ((float)value / 255.0f - info->mean[channel]) / info->deviation[channel];
}

bool picture_init(struct picture_reader *reader, const struct dataset *dataset, const struct loader_options *options,
                  struct error *err)
{
    *reader = (struct picture_reader){.dataset = dataset,
                                      .part = options->train ? DATASET_TRAIN : DATASET_TEST,
                                      .size = options->image_size,
                                      .seed = options->seed,
                                      .augment = options->train && options->augment};
    fill_table(reader, &dataset->info);
    if (dataset->cifar && options->image_size != CIFAR_SIDE)
        return error_set(err, ERROR_INPUT, "%s: its images are %u x %u; pictures of %u x %u are not made of them",
                         dataset->path, CIFAR_SIDE, CIFAR_SIDE, options->image_size, options->image_size);
    if (dataset->folders && !(reader->jpeg = jpeg_decoder_create(err))) return false;
    if (reader->size > MOST_SHIFTED_SIDE) return true;
    reader->plain = mem_alloc(MEM_INPUT, (size_t)reader->size * reader->size * 3, sizeof *reader->plain);
    if (!reader->plain) return error_memory(err, (size_t)reader->size * reader->size * 12, "a picture");
    return true;
}

void picture_finish(struct picture_reader *reader)
{
    jpeg_decoder_destroy(reader->jpeg);
    mem_free(reader->plain);
    *reader = (struct picture_reader){0};
}

static bool load_cifar(struct picture_reader *reader, uint64_t image, float *out, int32_t *label, struct error *err)
{
    uint8_t record[CIFAR_MOST_RECORD];
    const uint8_t *planes;
    uint32_t found;
    TRY(cifar_read(reader->dataset, reader->part, image, record, &planes, &found, err));
    for (uint32_t i = 0; i < CIFAR_PLANE; i++)
        for (uint32_t channel = 0; channel < 3; channel++)
            out[3 * i + channel] = reader->table[channel][planes[channel * CIFAR_PLANE + i]];
    *label = (int32_t)found;
    return true;
}

static void normalise(const struct picture_reader *reader, float *pixels)
{
    const struct dataset_info *info = &reader->dataset->info;
    for (size_t i = 0; i < (size_t)reader->size * reader->size; i++)
        for (size_t channel = 0; channel < 3; channel++) {
            float *value = &pixels[3 * i + channel];
            *value = (*value / 255.0f - info->mean[channel]) / info->deviation[channel];
        }
}

static struct augment_view choose_view(const struct picture_reader *reader, uint64_t epoch, uint64_t image,
                                       uint32_t width, uint32_t height)
{
    if (reader->plain) return augment_centre_view(width, height, 1);
    if (!reader->augment) return augment_centre_view(width, height, TEST_MARGIN);
    return augment_choose_view(reader->seed, epoch, image, width, height, reader->size);
}

static bool load_jpeg(struct picture_reader *reader, uint64_t epoch, uint64_t image, float *out, int32_t *label,
                      struct error *err)
{
    char path[DATASET_PATH];
    uint32_t found, width, height;
    TRY(folders_find(reader->dataset, reader->part, image, path, &found, err));
    TRY(jpeg_open_file(reader->jpeg, path, &width, &height, err));
    TRY(jpeg_decode(reader->jpeg, choose_view(reader, epoch, image, width, height), reader->size, out, err));
    normalise(reader, out);
    *label = (int32_t)found;
    return true;
}

bool picture_load(struct picture_reader *reader, uint64_t epoch, uint64_t image, float *out, int32_t *label,
                  struct error *err)
{
    bool shift = reader->augment && reader->plain;
    float *to = shift ? reader->plain : out;
    if (reader->jpeg)
        TRY(load_jpeg(reader, epoch, image, to, label, err));
    else
        TRY(load_cifar(reader, image, to, label, err));
    if (shift)
        augment_apply_shift(to, reader->size, augment_choose_shift(reader->seed, epoch, image, reader->size / 8), out);
    return true;
}
