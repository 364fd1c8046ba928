#include "picture.h"

#include <math.h>

#include "image.h"
#include "mem.h"

/* Pictures up to this side are treated as the papers treat CIFAR (padded, shifted), larger ones as they treat ImageNet
 * (scaled, cut). */
#define MOST_SHIFTED_SIDE 95u

bool data_cuts_views(uint32_t image_size) { return image_size > MOST_SHIFTED_SIDE; }

uint32_t data_shorter_side(uint32_t image_size, uint32_t crops)
{
    if (!data_cuts_views(image_size) && crops <= 1) return image_size;
    return (uint32_t)(((uint64_t)image_size * 256 + 112) / 224);
}

static uint32_t shorter_of(uint32_t size, uint32_t shorter_side, uint32_t crops)
{
    return shorter_side ? shorter_side : data_shorter_side(size, crops);
}

bool picture_init(struct picture_reader *reader, const struct dataset *dataset, const struct loader_options *options,
                  struct decode_memory *memory, struct error *err)
{
    *reader = (struct picture_reader){.dataset = dataset,
                                      .part = options->train || options->of_training ? DATASET_TRAIN : DATASET_TEST,
                                      .size = options->image_size,
                                      .shorter = shorter_of(options->image_size, options->shorter_side, options->crops),
                                      .seed = options->seed,
                                      .augment = options->train && options->augment,
                                      .area_crops = options->area_crops,
                                      .colour = options->colour};
    normalise_prepare(&reader->table, dataset->info.mean, dataset->info.deviation);
    if (dataset->cifar && options->image_size != CIFAR_SIDE)
        return error_set(err, ERROR_INPUT, "%s: its images are %u x %u; pictures of %u x %u are not made of them",
                         dataset->path, CIFAR_SIDE, CIFAR_SIDE, options->image_size, options->image_size);
    if (dataset->cifar && !options->train && (options->crops > 1 || reader->shorter > reader->size))
        return error_set(err, ERROR_INPUT,
                         "%s: its images are %u x %u and seen whole; crops are taken of folders of pictures",
                         dataset->path, CIFAR_SIDE, CIFAR_SIDE);
    if (dataset->folders && !(reader->decoder = image_decoder_create(memory, err))) return false;
    reader->shifts = !data_cuts_views(reader->size);
    if (options->as_bytes || !reader->shifts || !reader->augment) return true;
    reader->plain = mem_alloc(MEM_INPUT, (size_t)reader->size * reader->size * 3, sizeof *reader->plain);
    if (!reader->plain) return error_memory(err, (size_t)reader->size * reader->size * 12, "a picture");
    return true;
}

void picture_finish(struct picture_reader *reader)
{
    image_decoder_destroy(reader->decoder);
    mem_free(reader->plain);
    *reader = (struct picture_reader){0};
}

/* A record of CIFAR, pixel by pixel. */
static bool read_cifar(const struct picture_reader *reader, uint64_t image, uint8_t *out, int32_t *label,
                       struct error *err)
{
    uint8_t record[CIFAR_MOST_RECORD];
    const uint8_t *planes;
    uint32_t found;
    TRY(cifar_read(reader->dataset, reader->part, image, record, &planes, &found, err));
    for (uint32_t i = 0; i < CIFAR_PLANE; i++)
        for (uint32_t channel = 0; channel < 3; channel++) out[3 * i + channel] = planes[channel * CIFAR_PLANE + i];
    *label = (int32_t)found;
    return true;
}

static struct augment_view choose_view(const struct picture_reader *reader, struct picture_choice choice,
                                       uint32_t width, uint32_t height)
{
    if (reader->augment && !reader->shifts && reader->area_crops)
        return augment_choose_area(reader->seed, choice.epoch, choice.image, width, height);
    if (reader->augment && !reader->shifts)
        return augment_choose_view(reader->seed, choice.epoch, choice.image, width, height, reader->size);
    return augment_crop_view(width, height, reader->size, reader->shorter, choice.crop);
}

/* An area view's sides are rounded to whole pixels. */
double picture_least_side(const struct dataset_views *views, uint32_t width, uint32_t height)
{
    uint32_t size = views->image_size;
    double shorter = width < height ? width : height, share = data_cuts_views(size) ? AUGMENT_LEAST_SHARE : 1;
    double least = shorter * fmin(share, (double)size / shorter_of(size, views->shorter_side, 1));
    if (!views->area_crops || !data_cuts_views(size)) return least;
    double area = AUGMENT_LEAST_AREA * width * height;
    return fmin(least, fmax(1, floor(sqrt(area / AUGMENT_MOST_ASPECT) - 0.5)));
}

uint64_t picture_reader_bytes(uint32_t size)
{
    return data_cuts_views(size) ? 0 : (uint64_t)size * size * 3 * sizeof(float);
}

/* A picture's view in bytes. Where *flip is asked for, that says whether it is to be mirrored; else it is already. */
static bool decode_picture(struct picture_reader *reader, struct picture_choice choice, uint8_t *out, bool *flip,
                           int32_t *label, struct error *err)
{
    char path[DATASET_PATH];
    uint32_t found, width, height;
    TRY(folders_find(reader->dataset, reader->part, choice.image, path, &found, err));
    TRY(image_open(reader->decoder, path, &width, &height, err));
    struct augment_view view = choose_view(reader, choice, width, height);
    if (flip) {
        *flip = view.flip;
        view.flip = false;
    }
    TRY(image_decode(reader->decoder, view, reader->size, out, err));
    *label = found == FOLDERS_NO_LABEL ? 0 : (int32_t)found; /* any will do that does not say "left out" */
    return true;
}

/* The picture in bytes, with its colours changed, before it is shifted; mirrored where `flip` is NULL. */
static bool read_pixels(struct picture_reader *reader, struct picture_choice choice, uint8_t *out, bool *flip,
                        int32_t *label, struct error *err)
{
    if (flip) *flip = false;
    if (reader->decoder)
        TRY(decode_picture(reader, choice, out, flip, label, err));
    else
        TRY(read_cifar(reader, choice.image, out, label, err));
    if (!reader->augment || !colour_changes(reader->colour)) return true;
    struct colour_choice colours = colour_choose(reader->colour, reader->seed, choice.epoch, choice.image);
    colour_change(&colours, out, (size_t)reader->size * reader->size);
    return true;
}

/* The bytes are read into the last quarter of their floats' place: each is read before a float covers it. */
static bool load_pixels(struct picture_reader *reader, struct picture_choice choice, float *out, int32_t *label,
                        struct error *err)
{
    size_t numbers = (size_t)reader->size * reader->size * 3;
    uint8_t *bytes = (uint8_t *)out + (sizeof *out - 1) * numbers;
    TRY(read_pixels(reader, choice, bytes, NULL, label, err));
    normalise_pixels(&reader->table, bytes, numbers / 3, out);
    return true;
}

static struct augment_shift choose_shift(const struct picture_reader *reader, struct picture_choice choice)
{
    return augment_choose_shift(reader->seed, choice.epoch, choice.image, reader->size / 8);
}

bool picture_load(struct picture_reader *reader, struct picture_choice choice, float *out, int32_t *label,
                  struct error *err)
{
    bool shift = reader->augment && reader->shifts;
    float *to = shift ? reader->plain : out;
    TRY(load_pixels(reader, choice, to, label, err));
    if (shift) augment_apply_shift(to, reader->size, choose_shift(reader, choice), out);
    return true;
}

bool picture_load_bytes(struct picture_reader *reader, struct picture_choice choice, uint8_t *out,
                        struct augment_shift *shift, int32_t *label, struct error *err)
{
    *shift = (struct augment_shift){0};
    TRY(read_pixels(reader, choice, out, &shift->flip, label, err));
    if (reader->augment && reader->shifts) *shift = choose_shift(reader, choice);
    return true;
}
