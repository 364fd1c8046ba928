#include "picture.h"

#include "augment.h"
#include "mem.h"

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
    if (options->image_size != CIFAR_SIDE)
        return error_set(err, ERROR_INPUT, "%s: its images are %u x %u, pictures of %u x %u cannot be made of them",
                         dataset->path, CIFAR_SIDE, CIFAR_SIDE, options->image_size, options->image_size);
    reader->plain = mem_alloc(MEM_INPUT, (size_t)reader->size * reader->size * 3, sizeof *reader->plain);
    if (!reader->plain) return error_memory(err, (size_t)reader->size * reader->size * 12, "a picture");
    return true;
}

void picture_finish(struct picture_reader *reader)
{
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

bool picture_load(struct picture_reader *reader, uint64_t epoch, uint64_t image, float *out, int32_t *label,
                  struct error *err)
{
    if (!reader->augment) return load_cifar(reader, image, out, label, err);
    TRY(load_cifar(reader, image, reader->plain, label, err));
    augment_apply_shift(reader->plain, reader->size, augment_choose_shift(reader->seed, epoch, image, reader->size / 8),
                        out);
    return true;
}
