/* What decoding a dataset's pictures takes, found from their headers before anything is planned. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "data.h"
#include "dataset.h"
#include "decode_memory.h"
#include "image.h"
#include "mem.h"
#include "parallel_for.h"
#include "picture.h"
#include "system_limits.h"

#define MOST_LOOKED_AT (UINT64_C(1) << 18)
#define MOST_THREADS   16u
#define TOGETHER_BYTES (UINT64_C(64) << 20)
/* libjpeg's code and constants, as far as they are read. */
#define CODE_BYTES (UINT64_C(512) << 10)
/* A thread's decoder, reader and the part of its stack that it uses. */
#define THREAD_BYTES (UINT64_C(128) << 10)

struct measuring {
    const struct dataset *dataset;
    struct dataset_views views;
    uint64_t train, tests; /* pictures that there are */
    uint64_t pictures;     /* of them, that are looked at */
    struct image_decoder *decoders[MOST_THREADS];
    pthread_mutex_t lock; /* over what follows */
    struct dataset_decoding *decoding;
};

/* Picture `index` of those that are looked at. */
static bool find_picture(const struct measuring *m, uint64_t index, char path[DATASET_PATH], struct error *err)
{
    uint64_t image = index * (m->train + m->tests) / m->pictures;
    uint32_t label;
    return image < m->train ? folders_find(m->dataset, DATASET_TRAIN, image, path, &label, err)
                            : folders_find(m->dataset, DATASET_TEST, image - m->train, path, &label, err);
}

/* The more of that and what is taken by views of this side, which may be longer the other way. */
static uint64_t more_needed(const struct measuring *m, struct image_decoder *decoder, double side, uint64_t needs)
{
    double longer = m->views.area_crops ? side * AUGMENT_MOST_ASPECT : side;
    uint64_t wide = image_needs_view(decoder, longer, side, m->views.image_size);
    uint64_t high = image_needs_view(decoder, side, longer, m->views.image_size);
    uint64_t most = wide > high ? wide : high;
    return most > needs ? most : needs;
}

#define MOST_SHRINK 16 /* a step further the side just below takes hardly more than the one just above */

/* Of all views of a picture that readers choose. Decoders shrink by whole numbers (libjpeg by 2, 4 and 8); the less
 * they do the more is left to scale, so that of the sides that are shrunk alike the largest takes most. */
static uint64_t most_needed(const struct measuring *m, struct image_decoder *decoder, double least, double most)
{
    double size = m->views.image_size;
    uint64_t needs = more_needed(m, decoder, most, more_needed(m, decoder, least, 0));
    for (double side = 2 * size; side <= MOST_SHRINK * size; side += size)
        if (side > least && side <= most) needs = more_needed(m, decoder, nextafter(side, 0), needs);
    return needs;
}

static void keep(struct measuring *m, const char *path, uint64_t bytes)
{
    pthread_mutex_lock(&m->lock);
    struct dataset_decoding *decoding = m->decoding;
    decoding->looked_at++;
    bool first = bytes == decoding->largest_bytes && strcmp(path, decoding->largest) < 0; /* the same on every run */
    if (bytes > decoding->largest_bytes || first) {
        decoding->largest_bytes = bytes;
        snprintf(decoding->largest, sizeof decoding->largest, "%s", path);
    }
    pthread_mutex_unlock(&m->lock);
}

static bool measure_picture(void *context, uint32_t thread, uint64_t index, struct error *err)
{
    struct measuring *m = context;
    char path[DATASET_PATH];
    uint32_t width, height;
    struct error unreadable = {0};
    TRY(find_picture(m, index, path, err));
    if (!image_open(m->decoders[thread], path, &width, &height, &unreadable)) return true;
    double least = picture_least_side(&m->views, width, height);
    keep(m, path, most_needed(m, m->decoders[thread], least, width < height ? width : height));
    return true;
}

static bool measure_all(struct measuring *m, struct decode_memory *memory, data_progress *progress, void *context,
                        struct error *err)
{
    uint32_t threads = parallel_for_threads(0, MOST_THREADS), made = 0;
    bool ok = true;
    for (; ok && made < threads; made += ok) ok = (m->decoders[made] = image_decoder_create(memory, err)) != NULL;
    ok = ok && parallel_for(m->pictures, threads, measure_picture, m, progress, context, err);
    while (made > 0) image_decoder_destroy(m->decoders[--made]);
    return ok;
}

bool dataset_measure(const struct dataset *dataset, const struct dataset_views *views, data_progress *progress,
                     void *context, struct dataset_decoding *decoding, struct error *err)
{
    *decoding = (struct dataset_decoding){.image_size = views->image_size};
    if (!dataset->folders) return true;
    uint64_t train = views->tests_alone ? 0 : dataset->info.train_images, tests = dataset->info.test_images;
    uint64_t pictures = train + tests;
    struct measuring m = {.dataset = dataset,
                          .views = *views,
                          .train = train,
                          .tests = tests,
                          .pictures = pictures < MOST_LOOKED_AT ? pictures : MOST_LOOKED_AT,
                          .decoding = decoding};
    struct decode_memory *memory = decode_memory_create(DECODE_MOST_BYTES, err);
    if (!memory) return false;
    pthread_mutex_init(&m.lock, NULL);
    bool ok = measure_all(&m, memory, progress, context, err);
    pthread_mutex_destroy(&m.lock);
    decode_memory_destroy(memory);
    return ok;
}

/* Blocks are whole ones. */
static uint64_t block_of(uint64_t bytes) { return (bytes + DECODE_BLOCK - 1) / DECODE_BLOCK * DECODE_BLOCK; }

/* What is taken whatever is decoded. */
static uint64_t fixed_bytes(uint32_t threads, uint32_t image_size)
{
    return CODE_BYTES + threads * (THREAD_BYTES + picture_reader_bytes(image_size));
}

uint64_t dataset_decoding_bytes(const struct dataset_decoding *decoding, uint32_t threads)
{
    if (decoding->looked_at == 0) return 0;
    uint64_t each = block_of(decoding->largest_bytes), together = each * threads;
    if (together > TOGETHER_BYTES) together = each > TOGETHER_BYTES ? each : TOGETHER_BYTES / each * each;
    return fixed_bytes(threads, decoding->image_size) + together;
}

uint64_t dataset_decoding_room(uint64_t decode_bytes, uint32_t threads, uint32_t image_size)
{
    uint64_t given = decode_bytes ? decode_bytes : DATA_DECODE_BYTES, fixed = fixed_bytes(threads, image_size);
    return given > fixed + 4 * DECODE_BLOCK ? given - fixed : 4 * DECODE_BLOCK;
}
