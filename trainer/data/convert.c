#define _GNU_SOURCE
#include "data.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "augment.h"
#include "dataset.h"
#include "decode_memory.h"
#include "files.h"
#include "image.h"
#include "mem.h"
#include "parallel_for.h"
#include "partial.h"
#include "printable.h"
#include "text.h"

#define ORDER_SEED   1u
#define RECORD_BYTES (1u + CIFAR_PIXELS)

/* ---- Decoders, one a thread ---- */

struct decoders {
    struct decode_memory *memory;
    struct image_decoder **each;
    uint32_t count;
};

static void finish_decoders(struct decoders *decoders)
{
    for (uint32_t i = 0; decoders->each && i < decoders->count; i++) image_decoder_destroy(decoders->each[i]);
    mem_free(decoders->each);
    decode_memory_destroy(decoders->memory);
}

/* To be finished also after a failure. */
static bool init_decoders(struct decoders *decoders, uint32_t threads, struct error *err)
{
    *decoders = (struct decoders){.each = mem_zalloc(MEM_INPUT, threads, sizeof *decoders->each)};
    if (!decoders->each) return error_memory(err, threads * sizeof *decoders->each, "image decoders");
    TRY((decoders->memory = decode_memory_create(DECODE_MOST_BYTES, err)) != NULL);
    for (; decoders->count < threads; decoders->count++)
        TRY((decoders->each[decoders->count] = image_decoder_create(decoders->memory, err)) != NULL);
    return true;
}

/* ---- Conversion ---- */

struct conversion {
    const struct dataset *dataset;
    struct decoders decoders;
    char *partial; /* the folder being filled */
    int folder;    /* its descriptor and those of its files; -1 when not open */
    int files[CIFAR_FILES];
    atomic_uint_fast64_t resized;
};

/* Where training image `index` goes: the files differ by one record at most. */
static uint32_t place_record(uint64_t images, uint64_t index, uint64_t *record)
{
    uint32_t file = 0;
    while (images * (file + 1) / CIFAR_TRAIN_FILES <= index) file++;
    *record = index - images * file / CIFAR_TRAIN_FILES;
    return file;
}

static bool write_record(const struct conversion *conversion, uint32_t file, uint64_t record, const uint8_t *bytes,
                         struct error *err)
{
    size_t done = 0;
    while (done < RECORD_BYTES) {
        ssize_t put =
            pwrite(conversion->files[file], bytes + done, RECORD_BYTES - done, (off_t)(record * RECORD_BYTES + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            char name[CIFAR_FILE_NAME];
            int cause = errno;
            cifar_file_name(file, name);
            return error_errno(err, ERROR_FAILED, cause, "%s/%s: cannot be written", conversion->partial, name);
        }
        done += (size_t)put;
    }
    return true;
}

static bool decode_record(struct conversion *conversion, struct image_decoder *decoder, enum dataset_part part,
                          uint64_t image, uint8_t *bytes, struct error *err)
{
    char path[DATASET_PATH];
    uint8_t pixels[CIFAR_PIXELS];
    uint32_t label, width, height;
    TRY(folders_find(conversion->dataset, part, image, path, &label, err));
    TRY(image_open(decoder, path, &width, &height, err));
    TRY(image_decode(decoder, augment_centre_view(width, height, 1), CIFAR_SIDE, pixels, err));
    if (width != CIFAR_SIDE || height != CIFAR_SIDE) conversion->resized++;
    bytes[0] = (uint8_t)label;
    for (uint32_t i = 0; i < CIFAR_PIXELS; i++) bytes[1 + i % 3 * CIFAR_PLANE + i / 3] = pixels[i];
    return true;
}

/* The training images in their new order, then the test images. */
static bool convert_image(void *context, uint32_t thread, uint64_t index, struct error *err)
{
    struct conversion *conversion = context;
    struct image_decoder *decoder = conversion->decoders.each[thread];
    uint64_t train = conversion->dataset->info.train_images, record;
    uint8_t bytes[RECORD_BYTES];
    if (index >= train) {
        TRY(decode_record(conversion, decoder, DATASET_TEST, index - train, bytes, err));
        return write_record(conversion, CIFAR_TRAIN_FILES, index - train, bytes, err);
    }
    uint64_t image = augment_order(ORDER_SEED, 0, train, index);
    TRY(decode_record(conversion, decoder, DATASET_TRAIN, image, bytes, err));
    uint32_t file = place_record(train, index, &record);
    return write_record(conversion, file, record, bytes, err);
}

/* ---- The folder, whole or not there ---- */

static bool check_target(const char *folder, struct error *err)
{
    DIR *stream = opendir(folder);
    if (!stream && errno == ENOENT) return true;
    if (!stream) return error_errno(err, ERROR_INPUT, errno, "%s: a new or an empty folder is wanted", folder);
    bool empty = true;
    const struct dirent *entry;
    while (empty && (entry = readdir(stream)))
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(stream);
    return empty ? true : error_set(err, ERROR_INPUT, "%s: is not empty; a new or an empty folder is wanted", folder);
}

/* The folder beside the target and its files, all of them new. */
static bool begin_folder(struct conversion *conversion, const char *folder, struct error *err)
{
    conversion->folder = partial_create_folder(folder, &conversion->partial);
    if (conversion->folder < 0)
        return error_errno(err, errno == ENOMEM ? ERROR_MEMORY : ERROR_INPUT, errno, "%s: cannot be made", folder);
    for (uint32_t file = 0; file < CIFAR_FILES; file++) {
        char name[CIFAR_FILE_NAME];
        cifar_file_name(file, name);
        conversion->files[file] =
            openat(conversion->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (conversion->files[file] < 0)
            return error_errno(err, ERROR_FAILED, errno, "%s/%s: cannot be written", conversion->partial, name);
    }
    return true;
}

static bool write_names(const struct conversion *conversion, struct error *err)
{
    struct text lines = {0};
    char path[DATASET_PATH];
    const struct dataset *dataset = conversion->dataset;
    for (uint32_t label = 0; label < dataset->info.classes; label++) text_add(&lines, "%s\n", dataset->names[label]);
    bool ok = !lines.failed ? true : error_memory(err, lines.length, "class names");
    ok = ok && dataset_join(path, conversion->partial, "batches.meta.txt", err) &&
         files_write(path, lines.bytes, lines.length, err);
    text_finish(&lines);
    return ok;
}

static bool commit_folder(struct conversion *conversion, const char *folder, struct error *err)
{
    for (uint32_t file = 0; file < CIFAR_FILES; file++)
        if (fsync(conversion->files[file]) != 0)
            return error_errno(err, ERROR_FAILED, errno, "%s: cannot be written", conversion->partial);
    TRY(write_names(conversion, err));
    if (rename(conversion->partial, folder) != 0)
        return error_errno(err, ERROR_FAILED, errno, "%s: cannot be given its name", conversion->partial);
    mem_free(conversion->partial);
    conversion->partial = NULL;
    return true;
}

/* Closes the files and removes a folder that was not finished. */
static void end_folder(struct conversion *conversion)
{
    for (uint32_t file = 0; file < CIFAR_FILES; file++)
        if (conversion->files[file] >= 0) close(conversion->files[file]);
    if (conversion->partial) partial_remove_folder(conversion->partial);
    if (conversion->folder >= 0) close(conversion->folder);
    mem_free(conversion->partial);
}

static bool check_source(const struct dataset *dataset, struct error *err)
{
    if (!dataset->folders) return error_set(err, ERROR_INPUT, "%s: holds CIFAR binaries already", dataset->path);
    if (dataset->info.classes <= CIFAR_MOST_CLASSES) return true;
    return error_set(
        err, ERROR_INPUT,
        "%s: has %u classes; the label's byte takes %u (`fathom train --data` reads folders of pictures too)",
        dataset->path, dataset->info.classes, CIFAR_MOST_CLASSES);
}

static bool convert_dataset(struct dataset *dataset, const char *folder, uint32_t threads, data_progress *progress,
                            void *context, struct data_converted *converted, struct error *err)
{
    TRY(check_source(dataset, err));
    struct conversion conversion = {.dataset = dataset, .folder = -1};
    memset(conversion.files, -1, sizeof conversion.files);
    uint64_t images = dataset->info.train_images + dataset->info.test_images;
    bool ok = init_decoders(&conversion.decoders, threads, err) && begin_folder(&conversion, folder, err) &&
              parallel_for(images, threads, convert_image, &conversion, progress, context, err) &&
              commit_folder(&conversion, folder, err);
    end_folder(&conversion);
    finish_decoders(&conversion.decoders);
    if (ok)
        *converted = (struct data_converted){dataset->info.train_images, dataset->info.test_images, conversion.resized,
                                             dataset->info.classes};
    return ok;
}

/* The folder that is to be made, without links, and its parent, which is made. */
static bool find_target(const char *folder, char target[FILES_PATH], char parent[FILES_PATH], struct error *err)
{
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    if (length > FILES_PATH - 64)
        return error_set(err, ERROR_INPUT, "%s: the path is too long", PRINTABLE_CUT(folder, 200));
    snprintf(target, FILES_PATH, "%.*s", (int)length, folder);
    snprintf(parent, FILES_PATH, "%s", target);
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = '\0';
    else
        strcpy(parent, ".");
    return true;
}

static bool convert_to(struct dataset *dataset, const char *out_folder, uint32_t threads, data_progress *progress,
                       void *context, struct data_converted *converted, struct error *err)
{
    char target[FILES_PATH], parent[FILES_PATH], real[FILES_PATH];
    if (dataset_reads(dataset->path, out_folder))
        return error_set(err, ERROR_INPUT, "%s: would be a part of the images in %s; name another folder", out_folder,
                         dataset->path);
    TRY(find_target(out_folder, target, parent, err));
    size_t there = files_folder_there(parent);
    bool ok = files_make_folder(parent, err);
    if (ok && !files_resolve(target, real)) ok = error_errno(err, ERROR_INPUT, errno, "%s: cannot be made", out_folder);
    ok = ok && convert_dataset(dataset, real, threads, progress, context, converted, err);
    if (!ok) files_unmake_folder(parent, there);
    return ok;
}

bool data_convert(const char *jpeg_folder, const char *out_folder, uint32_t threads, data_progress *progress,
                  void *context, struct data_converted *converted, struct error *err)
{
    struct dataset *dataset;
    TRY(check_target(out_folder, err));
    TRY(dataset_open(jpeg_folder, &dataset, err));
    threads = parallel_for_threads(threads, PARALLEL_FOR_MOST_THREADS);
    bool ok = convert_to(dataset, out_folder, threads, progress, context, converted, err);
    dataset_close(dataset);
    return ok;
}

/* ---- Checking ---- */

struct check {
    const struct dataset *dataset;
    struct decoders decoders;
    void (*fault)(void *context, const char *text);
    void *context;
    pthread_mutex_t lock; /* over faults, and for one call of fault at a time */
    uint64_t faults;
};

static bool verify_image(const struct check *check, uint32_t thread, uint64_t index, struct error *err)
{
    uint64_t train = check->dataset->info.train_images;
    char path[DATASET_PATH];
    uint32_t label, width, height;
    TRY(index < train ? folders_find(check->dataset, DATASET_TRAIN, index, path, &label, err)
                      : folders_find(check->dataset, DATASET_TEST, index - train, path, &label, err));
    TRY(image_open(check->decoders.each[thread], path, &width, &height, err));
    return image_verify(check->decoders.each[thread], err);
}

/* A damaged image is counted and the check goes on; running out of memory ends it. */
static bool check_image(void *context, uint32_t thread, uint64_t index, struct error *err)
{
    struct check *check = context;
    struct error found = {0};
    if (verify_image(check, thread, index, &found)) return true;
    if (found.kind == ERROR_MEMORY) return error_set(err, found.kind, "%s", found.text);
    pthread_mutex_lock(&check->lock);
    check->faults++;
    check->fault(check->context, found.text);
    pthread_mutex_unlock(&check->lock);
    return true;
}

bool dataset_check(struct dataset *dataset, uint32_t threads, data_progress *progress, void *context,
                   void (*fault)(void *fault_context, const char *text), void *fault_context, uint64_t *faults,
                   struct error *err)
{
    *faults = 0;
    if (!dataset->folders) return true;
    threads = parallel_for_threads(threads, PARALLEL_FOR_MOST_THREADS);
    struct check check = {.dataset = dataset, .fault = fault, .context = fault_context};
    pthread_mutex_init(&check.lock, NULL);
    bool ok = init_decoders(&check.decoders, threads, err) &&
              parallel_for(dataset->info.train_images + dataset->info.test_images, threads, check_image, &check,
                           progress, context, err);
    pthread_mutex_destroy(&check.lock);
    finish_decoders(&check.decoders);
    *faults = check.faults;
    return ok;
}
