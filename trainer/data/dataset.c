#define _GNU_SOURCE
#include "dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "files.h"
#include "hash.h"
#include "mem.h"

static bool exists(const char *folder, const char *name)
{
    char path[DATASET_PATH];
    struct stat info;
    return dataset_join(path, folder, name, NULL) && stat(path, &info) == 0;
}

static bool has_cifar10(const char *path)
{
    for (char batch[] = "data_batch_1.bin"; batch[11] <= '0' + (int)CIFAR_TRAIN_FILES; batch[11]++)
        if (exists(path, batch)) return true;
    return exists(path, "test_batch.bin");
}

/* Nothing known is in the folder: the two mistakes that are easily made get their own advice. */
static bool refuse_folder(const char *path, struct error *err)
{
    static const char *const inner[] = {"cifar-10-batches-bin", "cifar-100-binary"};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
        if (exists(path, inner[i]))
            return error_set(err, ERROR_INPUT, "%s: is not a dataset but holds one; give %s/%s", path, path, inner[i]);
    if (exists(path, "data_batch_1") || exists(path, "meta"))
        return error_set(err, ERROR_INPUT,
                         "%s: holds CIFAR's Python version; the binary version is read (data_batch_1.bin ... and "
                         "test_batch.bin, or train.bin and test.bin)",
                         path);
    return error_set(
        err, ERROR_INPUT,
        "%s: no dataset was found; CIFAR-10 binaries (data_batch_1.bin ... and test_batch.bin), CIFAR-100 "
        "binaries (train.bin, test.bin) or pictures in folders by class (train/CLASS/*.jpg and test/ or val/, or "
        "CLASS/*.jpg alone) are read",
        path);
}

static bool is_undivided(const char *path)
{
    return !exists(path, "test") && !exists(path, "val") && folders_hold_classes(path);
}

/* What a folder is read as; false where it is no dataset. */
static bool recognise(const char *path, enum data_format *format, bool *divided)
{
    *divided = false;
    if (has_cifar10(path))
        *format = DATA_CIFAR10;
    else if (exists(path, "train.bin") || exists(path, "test.bin"))
        *format = DATA_CIFAR100;
    else if (exists(path, "train"))
        *format = DATA_FOLDERS;
    else if (is_undivided(path)) {
        *format = DATA_FOLDERS;
        *divided = true;
    } else
        return false;
    return true;
}

static bool find_format(struct dataset *dataset, struct error *err)
{
    struct dataset_info *info = &dataset->info;
    return recognise(dataset->path, &info->format, &info->divided) || refuse_folder(dataset->path, err);
}

static bool open_as_found(struct dataset *dataset, struct error *err)
{
    return dataset->info.format == DATA_FOLDERS ? folders_open(dataset, err) : cifar_open(dataset, err);
}

struct dataset *dataset_create(const char *path, struct error *err)
{
    struct dataset *made = mem_zalloc(MEM_INPUT, 1, sizeof *made);
    if (made) made->path = mem_strdup(MEM_INPUT, path);
    if (made && made->path) return made;
    error_memory(err, sizeof *made, "a dataset");
    mem_free(made);
    return NULL;
}

static bool check_folder(const char *path, struct error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) return error_errno(err, ERROR_INPUT, errno, "%s: the dataset cannot be opened", path);
    if (!S_ISDIR(info.st_mode))
        return error_set(err, ERROR_INPUT, "%s: is a file; the folder that holds the dataset is wanted", path);
    return true;
}

/* Mean and deviation of folders of pictures are taken where they are wanted. */
static bool open_dataset(const char *path, bool sample, struct dataset **dataset, struct error *err)
{
    TRY(check_folder(path, err));
    struct dataset *made = dataset_create(path, err);
    if (!made) return false;
    bool ok = find_format(made, err) && open_as_found(made, err);
    if (ok && sample && made->folders) ok = folders_sample(made, err);
    if (ok)
        *dataset = made;
    else
        dataset_close(made);
    return ok;
}

bool dataset_open(const char *path, struct dataset **dataset, struct error *err)
{
    return open_dataset(path, true, dataset, err);
}

bool dataset_open_scaled(const char *path, const float mean[3], const float deviation[3], struct dataset **dataset,
                         struct error *err)
{
    TRY(open_dataset(path, false, dataset, err));
    dataset_normalise_by(*dataset, mean, deviation);
    return true;
}

bool dataset_count_classes(const char *path, uint32_t *classes, struct error *err)
{
    TRY(check_folder(path, err));
    struct dataset *made = dataset_create(path, err);
    if (!made) return false;
    bool ok = find_format(made, err) &&
              (made->info.format == DATA_FOLDERS ? folders_name_classes(made, err) : cifar_name_classes(made, err));
    if (ok) *classes = made->info.classes;
    dataset_close(made);
    return ok;
}

static bool is_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

static bool is_at(const char *wanted, const char *folder, const char *name)
{
    char path[DATASET_PATH], found[FILES_PATH];
    return dataset_join(path, folder, name, NULL) && files_resolve(path, found) && strcmp(found, wanted) == 0;
}

/* As much of the path as its folders exist for and one name more: the rest would be made below that. */
static bool resolve_made(const char *file, char out[FILES_PATH])
{
    char path[DATASET_PATH];
    if (snprintf(path, sizeof path, "%s", file) >= (int)sizeof path) return false;
    while (!files_resolve(path, out)) {
        char *slash = strrchr(path, '/');
        if (!slash || slash == path) return false;
        *slash = '\0';
    }
    return true;
}

bool dataset_reads(const char *folder, const char *file)
{
    static const char *const files[] = {"batches.meta.txt", "train.bin", "test.bin", "fine_label_names.txt"};
    static const char *const parts[] = {"train", "test", "val"};
    char name[CIFAR_FILE_NAME], wanted[FILES_PATH], path[DATASET_PATH], found[FILES_PATH];
    enum data_format format;
    bool divided;
    if (!resolve_made(file, wanted)) return false;
    if (recognise(folder, &format, &divided) && divided) return files_resolve(folder, found) && is_below(wanted, found);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (is_at(wanted, folder, files[i])) return true;
    for (uint32_t i = 0; i < CIFAR_FILES; i++) {
        cifar_file_name(i, name);
        if (is_at(wanted, folder, name)) return true;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (dataset_join(path, folder, parts[i], NULL) && files_resolve(path, found) && is_below(wanted, found))
            return true;
    return false;
}

void dataset_close(struct dataset *dataset)
{
    if (!dataset) return;
    cifar_close(dataset->cifar);
    folders_close(dataset->folders);
    for (int part = 0; part < DATASET_PARTS; part++) mem_free(dataset->class_images[part]);
    mem_free(dataset->names);
    mem_free(dataset->name_text);
    mem_free(dataset->path);
    mem_free(dataset);
}

const struct dataset_info *dataset_info(const struct dataset *dataset) { return &dataset->info; }

void dataset_normalise_by(struct dataset *dataset, const float mean[3], const float deviation[3])
{
    memcpy(dataset->info.mean, mean, sizeof dataset->info.mean);
    memcpy(dataset->info.deviation, deviation, sizeof dataset->info.deviation);
}

/* Mean and deviation are of all pixels: other images have others. */
static uint64_t hash_statistics(const struct dataset_info *info)
{
    uint64_t hash = hash_bytes(info->mean, sizeof info->mean, 0);
    hash = hash_bytes(info->deviation, sizeof info->deviation, hash);
    uint64_t words[] = {info->classes, info->train_images};
    return hash_bytes(words, sizeof words, hash);
}

static uint64_t hash_names(const struct dataset *dataset)
{
    const struct folder_list *list = &dataset->folders->lists[DATASET_TRAIN];
    uint64_t hash = 0;
    for (uint32_t label = 0; label < dataset->info.classes; label++)
        hash = hash_bytes(dataset->names[label], strlen(dataset->names[label]) + 1, hash);
    hash = hash_bytes(list->class_first, (dataset->info.classes + 1) * sizeof *list->class_first, hash);
    for (uint64_t i = 0; i < list->images; i++) {
        const char *name = list->names + list->name_offsets[i];
        hash = hash_bytes(name, strlen(name) + 1, hash);
    }
    return hash;
}

uint64_t dataset_hash(const struct dataset *dataset)
{
    return dataset->folders ? hash_names(dataset) : hash_statistics(&dataset->info);
}

bool dataset_has_hash(const struct dataset *dataset, uint64_t hash)
{
    return hash == dataset_hash(dataset) || hash == hash_statistics(&dataset->info);
}

const char *dataset_class_name(const struct dataset *dataset, uint32_t label)
{
    return label < dataset->info.classes ? dataset->names[label] : NULL;
}

bool dataset_image_name(const struct dataset *dataset, bool train, uint64_t image, char name[DATA_IMAGE_NAME],
                        struct error *err)
{
    enum dataset_part part = train ? DATASET_TRAIN : DATASET_TEST;
    uint32_t label, file = 0;
    if (dataset->folders) return folders_find(dataset, part, image, name, &label, err);
    const struct cifar *cifar = dataset->cifar;
    while (file + 1 < cifar->counts[part] && image >= cifar->files[part][file].records)
        image -= cifar->files[part][file++].records;
    snprintf(name, DATA_IMAGE_NAME, "%s:%" PRIu64, cifar->files[part][file].name, image);
    return true;
}

uint64_t dataset_class_images(const struct dataset *dataset, bool train, uint32_t label)
{
    if (label >= dataset->info.classes) return 0;
    return dataset->class_images[train ? DATASET_TRAIN : DATASET_TEST][label];
}
