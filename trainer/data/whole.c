#include "whole.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "augment.h"
#include "dataset.h"
#include "decode_memory.h"
#include "image.h"
#include "mem.h"
#include "normalise.h"
#include "parallel_for.h"

#define MOST_THREADS 16u

struct whole_reader {
    const struct whole_set *set;
    struct decode_memory *memory;
    struct image_decoder *decoders[MOST_THREADS];
    uint32_t threads;
    struct normalise_table table;
    /* What is read now: */
    uint64_t first;
    uint32_t columns, rows;
    float *out;
    int32_t *labels;
};

/* ---- Decoders, one a thread ---- */

static bool make_decoders(struct whole_reader *reader, const struct whole_set *set, uint64_t limit, struct error *err)
{
    reader->set = set;
    normalise_prepare(&reader->table, set->dataset->info.mean, set->dataset->info.deviation);
    reader->memory = decode_memory_create(limit, err);
    uint32_t threads = parallel_for_threads(set->options.threads, MOST_THREADS);
    while (reader->memory && reader->threads < threads) {
        struct image_decoder *decoder = image_decoder_create(reader->memory, err);
        if (!decoder) return false;
        reader->decoders[reader->threads++] = decoder;
    }
    return reader->memory != NULL;
}

static void end_decoders(struct whole_reader *reader)
{
    while (reader->threads > 0) image_decoder_destroy(reader->decoders[--reader->threads]);
    decode_memory_destroy(reader->memory);
}

/* Whether what went wrong is a picture that may be left out; notes it. */
static bool leave_out(const struct whole_set *set, const struct error *found, struct error *err)
{
    if (set->options.broken && found->kind == ERROR_FAILED) {
        broken_images_add(set->options.broken, found->text);
        return true;
    }
    return error_set(err, found->kind, "%s", found->text);
}

/* ---- The set ---- */

void whole_size(const struct whole_set *set, const struct whole_image *image, uint32_t scale, uint32_t *columns,
                uint32_t *rows)
{
    bool wide = image->width >= image->height;
    double shorter = wide ? image->height : image->width, longer = wide ? image->width : image->height;
    double step = set->options.step, length = round(scale * fmin(longer / shorter, WHOLE_MOST_ASPECT) / step) * step;
    uint32_t whole = length > scale ? (uint32_t)length : scale;
    *columns = wide ? whole : scale;
    *rows = wide ? scale : whole;
}

struct measuring {
    struct whole_set *set;
    struct whole_reader reader;
    uint64_t tests;
    pthread_mutex_t lock; /* over largest */
    uint64_t largest;
};

static uint64_t most_needed(const struct whole_set *set, const struct whole_image *image, struct image_decoder *decoder)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < set->options.scale_count; i++) {
        uint32_t columns, rows;
        whole_size(set, image, set->options.scales[i], &columns, &rows);
        uint64_t needs = image_needs_whole(decoder, columns, rows);
        if (needs > most) most = needs;
    }
    return most;
}

static bool measure_image(void *context, uint32_t thread, uint64_t index, struct error *err)
{
    struct measuring *m = context;
    struct whole_image *image = &m->set->images[index];
    struct image_decoder *decoder = m->reader.decoders[thread];
    char path[DATASET_PATH];
    uint32_t label;
    struct error found = {0};
    image->image = augment_sample(m->tests, m->set->count, index);
    TRY(folders_find(m->set->dataset, DATASET_TEST, image->image, path, &label, err));
    if (!image_open(decoder, path, &image->width, &image->height, &found)) return leave_out(m->set, &found, err);
    uint64_t needs = most_needed(m->set, image, decoder);
    pthread_mutex_lock(&m->lock);
    if (needs > m->largest) m->largest = needs;
    pthread_mutex_unlock(&m->lock);
    return true;
}

/* By aspect; those of one aspect by their numbers. */
static int compare(const void *a, const void *b)
{
    const struct whole_image *x = a, *y = b;
    uint64_t left = (uint64_t)x->width * y->height, right = (uint64_t)y->width * x->height;
    if (left != right) return left < right ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

/* Those that could not be read have no size. */
static void sort_images(struct whole_set *set)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < set->count; i++)
        if (set->images[i].width > 0) set->images[count++] = set->images[i];
    set->count = count;
    qsort(set->images, count, sizeof *set->images, compare);
}

static bool measure_images(struct whole_set *set, struct error *err)
{
    struct measuring m = {.set = set, .tests = set->dataset->info.test_images};
    pthread_mutex_init(&m.lock, NULL);
    bool ok = make_decoders(&m.reader, set, DECODE_MOST_BYTES, err) &&
              parallel_for(set->count, m.reader.threads, measure_image, &m, NULL, NULL, err);
    const struct dataset_decoding decoding = {.looked_at = set->count, .largest_bytes = m.largest};
    set->decode_bytes = dataset_decoding_bytes(&decoding, m.reader.threads);
    end_decoders(&m.reader);
    pthread_mutex_destroy(&m.lock);
    return ok;
}

bool whole_set_init(struct whole_set *set, const struct dataset *dataset, const struct whole_options *options,
                    struct error *err)
{
    *set = (struct whole_set){.dataset = dataset, .options = *options};
    if (!dataset->folders)
        return error_set(
            err, ERROR_INPUT,
            "%s: its images are %u x %u and seen as they are; whole images are taken of folders of pictures",
            dataset->path, CIFAR_SIDE, CIFAR_SIDE);
    set->count = dataset->info.test_images;
    if (options->images > 0 && options->images < set->count) set->count = options->images;
    set->images = mem_zalloc(MEM_INPUT, set->count, sizeof *set->images);
    if (!set->images) return error_memory(err, set->count * sizeof *set->images, "the images' sizes");
    TRY(measure_images(set, err));
    sort_images(set);
    return true;
}

void whole_set_finish(struct whole_set *set)
{
    mem_free(set->images);
    *set = (struct whole_set){0};
}

/* ---- Reading ---- */

struct whole_reader *whole_reader_create(const struct whole_set *set, struct error *err)
{
    struct whole_reader *reader = mem_zalloc(MEM_INPUT, 1, sizeof *reader);
    uint32_t threads = parallel_for_threads(set->options.threads, MOST_THREADS);
    if (!reader) error_memory(err, sizeof *reader, "a reader of images");
    if (reader && make_decoders(reader, set, dataset_decoding_room(set->decode_bytes, threads, 0), err)) return reader;
    whole_reader_destroy(reader);
    return NULL;
}

void whole_reader_destroy(struct whole_reader *reader)
{
    if (!reader) return;
    end_decoders(reader);
    mem_free(reader);
}

/* The bytes are decoded into the last quarter of their floats' place: each is read before a float covers it. */
static bool read_image(void *context, uint32_t thread, uint64_t index, struct error *err)
{
    struct whole_reader *reader = context;
    struct image_decoder *decoder = reader->decoders[thread];
    size_t numbers = (size_t)reader->columns * reader->rows * 3;
    float *out = reader->out + index * numbers;
    uint8_t *bytes = (uint8_t *)out + (sizeof *out - 1) * numbers;
    char path[DATASET_PATH];
    uint32_t label, width, height;
    struct error found = {0};
    TRY(folders_find(reader->set->dataset, DATASET_TEST, reader->set->images[reader->first + index].image, path, &label,
                     err));
    if (!image_open(decoder, path, &width, &height, &found) ||
        !image_decode_whole(decoder, reader->columns, reader->rows, bytes, &found)) {
        memset(out, 0, numbers * sizeof *out);
        reader->labels[index] = -1;
        return leave_out(reader->set, &found, err);
    }
    normalise_pixels(&reader->table, bytes, numbers / 3, out);
    reader->labels[index] = (int32_t)label;
    return true;
}

bool whole_reader_read(struct whole_reader *reader, uint64_t first, uint32_t count, uint32_t columns, uint32_t rows,
                       float *out, int32_t *labels, struct error *err)
{
    reader->first = first;
    reader->columns = columns;
    reader->rows = rows;
    reader->out = out;
    reader->labels = labels;
    return parallel_for(count, reader->threads, read_image, reader, NULL, NULL, err);
}
