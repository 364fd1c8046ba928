#define _GNU_SOURCE
#include "data.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "augment.h"
#include "clock.h"
#include "dataset.h"
#include "decode_memory.h"
#include "mem.h"
#include "parallel_for.h"
#include "picture.h"
#include "thread.h"

#define MOST_BATCH          (1u << 20)
#define MOST_SIDE           4096u
#define MOST_AHEAD          1024u
#define MOST_THREADS        256u
#define MOST_POSITION       (UINT64_C(1) << 62)
#define DEFAULT_AHEAD       2u
#define MOST_CHOSEN_THREADS 16u
#define CIFAR_CLAIM         16u /* images taken at a time: they are so quick that the lock would be felt */
#define STACK_BYTES         (512u * 1024u)
#define PLACEMENT           4u /* numbers of an image's */

/* One batch being filled, ready, or in the trainer's hands. Batch b lives in slot b % slots. */
struct slot {
    void *images; /* f32, or bytes */
    int32_t *labels;
    int32_t *placements; /* of bytes, else NULL */
    uint32_t done;       /* images that are filled or have failed */
    uint32_t failed_at;  /* the first image that failed, with its error; batch when none has */
    struct error error;
};

struct worker {
    struct loader *loader;
    pthread_t thread;
    struct picture_reader reader;
};

struct loader {
    const struct dataset *dataset;
    struct loader_options options; /* with every 0 replaced by what was chosen */
    uint64_t images;               /* of an epoch or a pass, each as often as it is cut */
    uint64_t batches;              /* of this loader: UINT64_MAX in training */
    uint32_t claim;
    int32_t *block; /* the slots' labels, placements and images: loader_bytes */
    struct slot *slots;
    uint32_t slot_count;
    struct decode_memory *decoding; /* shared by the workers; of folders of pictures */
    struct worker *workers;
    uint32_t readers, running; /* workers whose reader is made, whose thread runs */
    uint64_t waited_ns;        /* of the consumer's thread alone */

    pthread_mutex_t lock; /* over what follows and the slots' done, failed_at, error */
    pthread_cond_t room, ready;
    uint64_t next_batch; /* where the next claim begins */
    uint32_t next_image;
    uint64_t taken; /* calls of loader_next so far: batch taken - 1 is in the trainer's hands */
    bool stop;
};

static uint32_t chosen_ahead(const struct loader_options *options)
{
    return options->ahead ? options->ahead : DEFAULT_AHEAD;
}

static size_t image_bytes(const struct loader_options *options)
{
    size_t numbers = (size_t)options->image_size * options->image_size * 3;
    return options->as_bytes ? numbers : numbers * sizeof(float);
}

uint64_t loader_bytes(const struct loader_options *options)
{
    uint64_t numbers = options->as_bytes ? 1 + PLACEMENT : 1;
    return ((uint64_t)chosen_ahead(options) + 1) * options->batch * (image_bytes(options) + numbers * sizeof(int32_t));
}

/* A claim is a run of images within one batch. */
struct claim {
    uint64_t batch;
    uint32_t first, count;
};

/* Batches below taken - 1 are given back; the one in the trainer's hands and those ready fill the other slots. */
static bool has_room(const struct loader *loader)
{
    uint64_t released = loader->taken > 0 ? loader->taken - 1 : 0;
    return loader->next_batch < released + loader->slot_count;
}

/* Waits for room; false when there is nothing more to do. */
static bool take_claim(struct loader *loader, struct claim *claim)
{
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop && loader->next_batch < loader->batches && !has_room(loader))
        pthread_cond_wait(&loader->room, &loader->lock);
    bool more = !loader->stop && loader->next_batch < loader->batches;
    if (more) {
        uint32_t left = loader->options.batch - loader->next_image;
        *claim = (struct claim){loader->next_batch, loader->next_image, left < loader->claim ? left : loader->claim};
        if (claim->first == 0) {
            struct slot *slot = &loader->slots[claim->batch % loader->slot_count];
            slot->done = 0;
            slot->failed_at = loader->options.batch;
        }
        loader->next_image += claim->count;
        if (loader->next_image == loader->options.batch) {
            loader->next_image = 0;
            loader->next_batch++;
        }
    }
    pthread_mutex_unlock(&loader->lock);
    return more;
}

static void set_placement(struct slot *slot, uint32_t i, struct augment_shift shift)
{
    const int32_t placement[PLACEMENT] = {shift.dx, shift.dy, shift.flip, 0};
    memcpy(slot->placements + (size_t)i * PLACEMENT, placement, sizeof placement);
}

/* Image i of a slot. */
static bool load_image(struct worker *worker, struct slot *slot, uint32_t i, struct picture_choice choice,
                       struct error *err)
{
    const struct loader_options *options = &worker->loader->options;
    uint8_t *out = (uint8_t *)slot->images + i * image_bytes(options);
    struct augment_shift shift;
    if (!options->as_bytes) return picture_load(&worker->reader, choice, (float *)(void *)out, &slot->labels[i], err);
    TRY(picture_load_bytes(&worker->reader, choice, out, &shift, &slot->labels[i], err));
    set_placement(slot, i, shift);
    return true;
}

/* Past the end: zeros once they are normalised, and no label. */
static void leave_out(const struct loader *loader, struct slot *slot, uint32_t i)
{
    size_t bytes = image_bytes(&loader->options);
    memset((uint8_t *)slot->images + i * bytes, 0, bytes);
    if (loader->options.as_bytes) set_placement(slot, i, augment_all_padding(loader->options.image_size));
    slot->labels[i] = -1;
}

static uint64_t images_of(const struct dataset *dataset, const struct loader_options *options)
{
    return options->train || options->of_training ? dataset->info.train_images : dataset->info.test_images;
}

/* How many images in a row may be broken. */
#define MOST_BROKEN 32u

/* Whether what went wrong is a broken image that may be skipped; notes it. */
static bool skip_broken(const struct loader *loader, struct error *err)
{
    if (!loader->options.broken || err->kind != ERROR_FAILED) return false;
    broken_images_add(loader->options.broken, err->text);
    *err = (struct error){0};
    return true;
}

/* A training image, or the next that is whole. */
static bool fill_training(struct worker *worker, struct slot *slot, uint32_t i, uint64_t epoch, uint64_t image,
                          struct error *err)
{
    const struct loader *loader = worker->loader;
    struct error last = {0};
    for (uint32_t tries = 0; tries < MOST_BROKEN; tries++) {
        const struct picture_choice choice = {.epoch = epoch, .image = (image + tries) % loader->images};
        if (load_image(worker, slot, i, choice, err)) return true;
        last = *err;
        if (!skip_broken(loader, err)) return false;
    }
    return error_set(err, last.kind, "%s; so are the %u images before it", last.text, MOST_BROKEN - 1);
}

static bool fill_image(struct worker *worker, struct slot *slot, uint32_t i, uint64_t position, struct error *err)
{
    const struct loader *loader = worker->loader;
    uint64_t epoch = position / loader->images, index = position % loader->images;
    if (loader->options.train) {
        uint64_t image = augment_order(loader->options.seed, epoch, loader->images, index);
        return fill_training(worker, slot, i, epoch, image, err);
    }
    if (epoch == 0) {
        uint32_t crops = loader->options.crops;
        uint64_t image =
            augment_sample(images_of(loader->dataset, &loader->options), loader->images / crops, index / crops);
        const struct picture_choice choice = {.image = image, .crop = (uint32_t)(index % crops)};
        if (load_image(worker, slot, i, choice, err)) return true;
        if (!skip_broken(loader, err)) return false;
    }
    leave_out(loader, slot, i);
    return true;
}

/* Which worker fails first is chance; the first image that failed is not. */
static void end_claim(struct loader *loader, struct slot *slot, const struct claim *claim, uint32_t failed_at,
                      const struct error *error)
{
    pthread_mutex_lock(&loader->lock);
    if (failed_at < slot->failed_at) {
        slot->failed_at = failed_at;
        slot->error = *error;
    }
    slot->done += claim->count;
    if (slot->done == loader->options.batch) pthread_cond_signal(&loader->ready);
    pthread_mutex_unlock(&loader->lock);
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct loader *loader = worker->loader;
    struct claim claim;
    while (take_claim(loader, &claim)) {
        struct slot *slot = &loader->slots[claim.batch % loader->slot_count];
        uint32_t failed_at = loader->options.batch;
        struct error error = {0};
        uint64_t position = loader->options.first + claim.batch * loader->options.every;
        for (uint32_t i = claim.first; i < claim.first + claim.count && failed_at == loader->options.batch; i++)
            if (!fill_image(worker, slot, i, position + i, &error)) failed_at = i;
        end_claim(loader, slot, &claim, failed_at, &error);
    }
    return NULL;
}

static bool check_range(const char *what, uint64_t value, uint64_t least, uint64_t most, struct error *err)
{
    if (value >= least && value <= most) return true;
    return error_set(err, ERROR_INPUT, "loader: %s is %" PRIu64 "; %" PRIu64 " to %" PRIu64 " are possible", what,
                     value, least, most);
}

static bool check_options(const struct dataset *dataset, const struct loader_options *options, struct error *err)
{
    TRY(check_range("batch", options->batch, 1, MOST_BATCH, err));
    TRY(check_range("image_size", options->image_size, 1, MOST_SIDE, err));
    TRY(check_range("threads", options->threads, 0, PARALLEL_FOR_MOST_THREADS, err));
    TRY(check_range("ahead", options->ahead, 0, MOST_AHEAD, err));
    TRY(check_range("crops", options->crops > 1 ? options->crops : DATA_CROPS, DATA_CROPS, DATA_CROPS, err));
    if (options->shorter_side)
        TRY(check_range("shorter_side", options->shorter_side, options->image_size, 8 * MOST_SIDE, err));
    TRY(check_range("every", options->every ? options->every : options->batch, options->batch, UINT32_MAX, err));
    TRY(check_range("first", options->first, 0, MOST_POSITION, err));
    if (images_of(dataset, options) == 0)
        return error_set(err, ERROR_INPUT, "%s: has no test images, so that nothing can be evaluated", dataset->path);
    return true;
}

/* Decoding JPEGs is worth every processor; reading CIFAR records keeps far ahead of any training with one. */
uint32_t loader_threads(const struct dataset *dataset, uint32_t asked)
{
    if (asked) return asked;
    return dataset->info.format == DATA_FOLDERS ? parallel_for_threads(0, MOST_CHOSEN_THREADS) : 1;
}

static void resolve_options(struct loader *loader, const struct dataset *dataset, const struct loader_options *options)
{
    loader->dataset = dataset;
    loader->options = *options;
    loader->options.ahead = chosen_ahead(options);
    loader->options.crops = options->crops > 1 ? options->crops : 1;
    loader->options.every = options->every ? options->every : options->batch;
    loader->options.threads = loader_threads(dataset, options->threads);
    loader->slot_count = loader->options.ahead + 1;
    loader->claim = dataset->info.format == DATA_FOLDERS ? 1 : CIFAR_CLAIM;
    loader->images = images_of(dataset, options);
    loader->batches = UINT64_MAX;
    if (options->train) return;
    if (options->limit && options->limit < loader->images) loader->images = options->limit;
    loader->images *= loader->options.crops;
    uint64_t left = options->first < loader->images ? loader->images - options->first : 0;
    loader->batches = (left + loader->options.every - 1) / loader->options.every;
}

static bool make_slots(struct loader *loader, struct error *err)
{
    const struct loader_options *options = &loader->options;
    uint64_t bytes = loader_bytes(options);
    loader->slots = mem_zalloc(MEM_INPUT, loader->slot_count, sizeof *loader->slots);
    loader->block = mem_map(MEM_INPUT, bytes);
    if (!loader->slots || !loader->block) return error_memory(err, bytes, "batches of images");
    size_t batch = options->batch, all = loader->slot_count * batch;
    int32_t *placements = loader->block + all;
    uint8_t *images = (uint8_t *)(placements + (options->as_bytes ? all * PLACEMENT : 0));
    for (uint32_t i = 0; i < loader->slot_count; i++) {
        loader->slots[i].labels = loader->block + i * batch;
        loader->slots[i].placements = options->as_bytes ? placements + i * batch * PLACEMENT : NULL;
        loader->slots[i].images = images + i * batch * image_bytes(options);
    }
    return true;
}

static bool make_readers(struct loader *loader, struct error *err)
{
    uint32_t threads = loader->options.threads;
    uint64_t room = dataset_decoding_room(loader->options.decode_bytes, threads, loader->options.image_size);
    if (loader->dataset->folders) TRY((loader->decoding = decode_memory_create(room, err)) != NULL);
    loader->workers = mem_zalloc(MEM_INPUT, threads, sizeof *loader->workers);
    if (!loader->workers) return error_memory(err, threads * sizeof *loader->workers, "loader threads");
    for (; loader->readers < threads; loader->readers++) {
        struct worker *worker = &loader->workers[loader->readers];
        worker->loader = loader;
        if (!picture_init(&worker->reader, loader->dataset, &loader->options, loader->decoding, err)) {
            picture_finish(&worker->reader);
            return false;
        }
    }
    return true;
}

static bool start_workers(struct loader *loader, struct error *err)
{
    int code = 0;
    for (; code == 0 && loader->running < loader->options.threads; loader->running += code == 0) {
        struct worker *worker = &loader->workers[loader->running];
        code = thread_start(&worker->thread, STACK_BYTES, "loader", run_worker, worker);
    }
    if (code != 0)
        return error_errno(err, ERROR_FAILED, code, "loader: thread %u of %u cannot be started", loader->running + 1,
                           loader->options.threads);
    return true;
}

bool loader_create(struct dataset *dataset, const struct loader_options *options, struct loader **loader,
                   struct error *err)
{
    TRY(check_options(dataset, options, err));
    struct loader *made = mem_zalloc(MEM_INPUT, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a loader");
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->room, NULL);
    pthread_cond_init(&made->ready, NULL);
    resolve_options(made, dataset, options);
    if (make_slots(made, err) && make_readers(made, err) && start_workers(made, err)) {
        *loader = made;
        return true;
    }
    loader_destroy(made);
    return false;
}

void loader_destroy(struct loader *loader)
{
    if (!loader) return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->room);
    pthread_mutex_unlock(&loader->lock);
    for (uint32_t i = 0; i < loader->running; i++) pthread_join(loader->workers[i].thread, NULL);
    for (uint32_t i = 0; i < loader->readers; i++) picture_finish(&loader->workers[i].reader);
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->room);
    pthread_mutex_destroy(&loader->lock);
    decode_memory_destroy(loader->decoding);
    mem_free(loader->workers);
    mem_free(loader->slots);
    mem_unmap(MEM_INPUT, loader->block, loader_bytes(&loader->options));
    mem_free(loader);
}

/* Past the end of a pass no worker touches any slot. */
static void give_empty(struct loader *loader, struct slot *slot)
{
    slot->done = loader->options.batch;
    slot->failed_at = loader->options.batch;
    for (uint32_t i = 0; i < loader->options.batch; i++) leave_out(loader, slot, i);
}

/* Gives the last batch back and waits for the next one. */
static struct slot *wait_for_slot(struct loader *loader, uint64_t number)
{
    struct slot *slot = &loader->slots[number % loader->slot_count];
    uint64_t start = clock_now_ns();
    pthread_mutex_lock(&loader->lock);
    loader->taken = number + 1;
    pthread_cond_broadcast(&loader->room);
    if (number >= loader->batches) {
        give_empty(loader, slot);
    } else {
        while (loader->next_batch <= number || slot->done < loader->options.batch)
            pthread_cond_wait(&loader->ready, &loader->lock);
    }
    pthread_mutex_unlock(&loader->lock);
    loader->waited_ns += clock_now_ns() - start;
    return slot;
}

bool loader_next(struct loader *loader, struct batch *batch, struct error *err)
{
    uint64_t number = loader->taken;
    struct slot *slot = wait_for_slot(loader, number);
    if (slot->failed_at < loader->options.batch) {
        pthread_mutex_lock(&loader->lock);
        loader->taken = number; /* the same failure when asked again */
        pthread_mutex_unlock(&loader->lock);
        return error_set(err, slot->error.kind, "%s", slot->error.text);
    }
    uint64_t position = loader->options.first + number * loader->options.every;
    uint64_t left = position < loader->images ? loader->images - position : 0;
    uint32_t count = loader->options.batch;
    if (!loader->options.train && left < count) count = (uint32_t)left;
    bool bytes = loader->options.as_bytes;
    *batch = (struct batch){.images = bytes ? NULL : slot->images,
                            .pixels = bytes ? slot->images : NULL,
                            .placements = slot->placements,
                            .labels = slot->labels,
                            .count = count,
                            .position = position};
    return true;
}

uint64_t loader_waited_ns(const struct loader *loader) { return loader->waited_ns; }
