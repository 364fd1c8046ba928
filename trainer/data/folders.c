#define _GNU_SOURCE
#include "dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "decode_memory.h"
#include "folder_names.h"
#include "image.h"
#include "mem.h"
#include "printable.h"
#include "text.h"

#define MOST_CLASSES 100000u
/* Mean and deviation come from pictures that are evenly spread over the training set, each scaled to at most this side:
 * as many as give 8 million pixels, which is the third digit. Opening ImageNet stays a matter of seconds. */
#define SAMPLE_SIDE   128u
#define SAMPLE_PIXELS (512u * SAMPLE_SIDE * SAMPLE_SIDE)
#define SAMPLE_LEAST  512u
#define SAMPLE_MOST   8192u

/* ---- Classes ---- */

static bool list_classes(const char *path, struct folder_names *list, struct error *err)
{
    struct folder_others others;
    TRY(folder_names_list(path, true, list, &others, err));
    if (list->count == 0) return folder_refuse_empty(path, "folders of classes", &others, err);
    for (size_t i = 0; i < list->count; i++)
        if (strpbrk(folder_names_at(list, i), "\r\n"))
            return error_set(err, ERROR_INPUT, "%s: the name of a class's folder has a line's end in it", path);
    return true;
}

static bool take_classes(struct dataset *dataset, const char *path, struct error *err)
{
    struct folder_names list = {0};
    struct text lines = {0};
    bool ok = list_classes(path, &list, err);
    for (size_t i = 0; ok && i < list.count; i++) text_add(&lines, "%s\n", folder_names_at(&list, i));
    folder_names_finish(&list);
    if (ok && lines.failed) ok = error_memory(err, lines.length, "class names");
    if (ok) return dataset_take_names(dataset, lines.bytes, MOST_CLASSES, path, err);
    text_finish(&lines);
    return false;
}

static int compare_class(const void *key, const void *element) { return strcmp(key, *(char *const *)element); }

/* The test part's classes are some of the training part's; true in present[] for each. */
static bool match_classes(const struct dataset *dataset, const char *path, bool *present, struct error *err)
{
    struct folder_names list = {0};
    bool ok = list_classes(path, &list, err);
    for (size_t i = 0; ok && i < list.count; i++) {
        char **found = bsearch(folder_names_at(&list, i), dataset->names, dataset->info.classes, sizeof *dataset->names,
                               compare_class);
        if (found)
            present[found - dataset->names] = true;
        else
            ok = error_set(err, ERROR_INPUT, "%s: has a class '%s' that the training set has not", path,
                           PRINTABLE_CUT(folder_names_at(&list, i), 200));
    }
    folder_names_finish(&list);
    return ok;
}

/* ---- One part ---- */

static bool list_class(const struct dataset *dataset, const char *path, uint32_t label, struct folder_names *names,
                       struct error *err)
{
    char folder[DATASET_PATH];
    struct folder_others others;
    size_t before = names->count;
    TRY(dataset_join(folder, path, dataset->names[label], err));
    TRY(folder_names_list(folder, false, names, &others, err));
    return names->count > before ? true : folder_refuse_empty(folder, image_kinds(), &others, err);
}

/* Of a class's pictures, from number `first` on: those of one part. */
static void keep_part(struct folder_names *names, size_t first, enum dataset_part part)
{
    size_t kept = first;
    for (size_t i = first; i < names->count; i++) {
        bool tests = (i - first) % DATA_TEST_EVERY == DATA_TEST_EVERY / 2;
        if (tests == (part == DATASET_TEST)) names->offsets[kept++] = names->offsets[i];
    }
    names->count = kept;
}

/* present is NULL when all classes are there. */
static bool list_part(struct dataset *dataset, enum dataset_part part, const char *path, const bool *present,
                      struct error *err)
{
    struct folder_list *list = &dataset->folders->lists[part];
    struct folder_names names = {0};
    bool ok = true;
    list->class_first = mem_zalloc(MEM_INPUT, dataset->info.classes + 1, sizeof *list->class_first);
    if (!list->class_first) return error_memory(err, dataset->info.classes * sizeof(uint64_t), "a dataset");
    for (uint32_t label = 0; ok && label < dataset->info.classes; label++) {
        size_t first = names.count;
        if (!present || present[label]) ok = list_class(dataset, path, label, &names, err);
        if (dataset->info.divided) keep_part(&names, first, part);
        list->class_first[label + 1] = names.count;
        dataset->class_images[part][label] = names.count - list->class_first[label];
    }
    list->names = names.bytes;
    list->name_offsets = names.offsets;
    list->images = names.count;
    return ok;
}

/* The folder of a part's classes: of a divided dataset its own. */
static bool join_part(char path[DATASET_PATH], const struct dataset *dataset, const char *part, struct error *err)
{
    if (!dataset->info.divided) return dataset_join(path, dataset->path, part, err);
    int length = snprintf(path, DATASET_PATH, "%s", dataset->path);
    if (length >= 0 && length < DATASET_PATH) return true;
    return error_set(err, ERROR_INPUT, "%s: the path has %d characters; at most %d are possible",
                     PRINTABLE_CUT(path, 200), length, DATASET_PATH - 1);
}

bool folders_name_classes(struct dataset *dataset, struct error *err)
{
    char path[DATASET_PATH];
    return join_part(path, dataset, "train", err) && take_classes(dataset, path, err);
}

static bool open_train(struct dataset *dataset, struct error *err)
{
    struct folder_list *list = &dataset->folders->lists[DATASET_TRAIN];
    char path[DATASET_PATH];
    snprintf(list->folder, sizeof list->folder, "train");
    TRY(join_part(path, dataset, list->folder, err));
    TRY(take_classes(dataset, path, err));
    TRY(list_part(dataset, DATASET_TRAIN, path, NULL, err));
    dataset->info.train_images = list->images;
    return true;
}

static bool has_folders(const char *path, bool *has, struct error *err)
{
    struct folder_names list = {0};
    struct folder_others others;
    bool ok = folder_names_list(path, true, &list, &others, err);
    *has = list.count > 0;
    folder_names_finish(&list);
    return ok;
}

/* Finds test/ or val/. ImageNet's test/ has no labels: a val/ is taken when test/ holds no classes. */
static bool find_test(const struct dataset *dataset, struct folder_list *list, char path[DATASET_PATH], bool *found,
                      struct error *err)
{
    static const char *const names[] = {"test", "val"};
    bool classes = false;
    *found = false;
    for (size_t i = 0; i < 2 && !classes; i++) {
        char candidate[DATASET_PATH];
        TRY(dataset_join(candidate, dataset->path, names[i], err));
        if (access(candidate, F_OK) != 0) continue;
        TRY(has_folders(candidate, &classes, err));
        if (*found && !classes) continue;
        *found = true;
        memcpy(path, candidate, DATASET_PATH);
        snprintf(list->folder, sizeof list->folder, "%s", names[i]);
    }
    return true;
}

/* The same folders once more. */
static bool open_divided_test(struct dataset *dataset, struct error *err)
{
    struct folder_list *list = &dataset->folders->lists[DATASET_TEST];
    TRY(list_part(dataset, DATASET_TEST, dataset->path, NULL, err));
    dataset->info.test_images = list->images;
    return true;
}

static bool open_test(struct dataset *dataset, struct error *err)
{
    struct folder_list *list = &dataset->folders->lists[DATASET_TEST];
    char path[DATASET_PATH];
    bool found;
    if (dataset->info.divided) return open_divided_test(dataset, err);
    TRY(find_test(dataset, list, path, &found, err));
    if (!found) return true; /* a dataset to train on alone */
    bool *present = mem_zalloc(MEM_INPUT, dataset->info.classes, sizeof *present);
    if (!present) return error_memory(err, dataset->info.classes, "a dataset");
    bool ok = match_classes(dataset, path, present, err) && list_part(dataset, DATASET_TEST, path, present, err);
    mem_free(present);
    dataset->info.test_images = list->images;
    return ok;
}

/* ---- Statistics ---- */

struct sample {
    struct image_decoder *decoder;
    uint8_t *pixels; /* SAMPLE_SIDE x SAMPLE_SIDE x 3 */
    uint64_t count, sums[3], squares[3];
};

static void add_pixels(struct sample *sample, uint32_t side)
{
    for (size_t i = 0; i < (size_t)side * side; i++)
        for (size_t channel = 0; channel < 3; channel++) {
            uint64_t value = sample->pixels[3 * i + channel];
            sample->sums[channel] += value;
            sample->squares[channel] += value * value;
        }
    sample->count += (uint64_t)side * side;
}

static bool sample_picture(const struct dataset *dataset, struct sample *sample, uint64_t index, struct error *err)
{
    char path[DATASET_PATH];
    uint32_t label, width, height;
    TRY(folders_find(dataset, DATASET_TRAIN, index, path, &label, err));
    TRY(image_open(sample->decoder, path, &width, &height, err));
    uint32_t side = width < height ? width : height;
    if (side > SAMPLE_SIDE) side = SAMPLE_SIDE;
    TRY(image_decode(sample->decoder, augment_centre_view(width, height, 1), side, sample->pixels, err));
    add_pixels(sample, side);
    return true;
}

/* How many pictures, when the first one gave so many pixels. */
static uint64_t choose_sample(uint64_t images, uint64_t first_pixels)
{
    uint64_t pictures = SAMPLE_PIXELS / first_pixels;
    if (pictures < SAMPLE_LEAST) pictures = SAMPLE_LEAST;
    if (pictures > SAMPLE_MOST) pictures = SAMPLE_MOST;
    return pictures < images ? pictures : images;
}

/* A damaged picture is left out here; whoever wants it is told. Fails when none is whole. */
static bool sample_all(const struct dataset *dataset, struct sample *sample, struct error *err)
{
    uint64_t images = dataset->info.train_images, pictures = images;
    struct error first = {0};
    bool sized = false;
    for (uint64_t i = 0; i < pictures; i++) {
        struct error found = {0};
        bool ok = sample_picture(dataset, sample, i * images / pictures, &found);
        if (found.kind == ERROR_MEMORY) return error_set(err, found.kind, "%s", found.text);
        if (!ok && first.kind == ERROR_NONE) first = found;
        if (ok && !sized) pictures = choose_sample(images, sample->count);
        sized = sized || ok;
    }
    if (sample->count == 0) return error_set(err, first.kind, "%s", first.text);
    return true;
}

static bool sample_with(struct dataset *dataset, struct sample *sample, struct decode_memory *memory, struct error *err)
{
    sample->decoder = image_decoder_create(memory, err);
    bool ok = sample->decoder && sample_all(dataset, sample, err);
    if (ok) dataset_set_statistics(&dataset->info, sample->count, sample->sums, sample->squares);
    image_decoder_destroy(sample->decoder);
    return ok;
}

bool folders_sample(struct dataset *dataset, struct error *err)
{
    struct sample sample = {.pixels = mem_alloc(MEM_INPUT, SAMPLE_SIDE * SAMPLE_SIDE, 3)};
    if (!sample.pixels) return error_memory(err, SAMPLE_SIDE * SAMPLE_SIDE * 3, "sampling pictures");
    struct decode_memory *memory = decode_memory_create(DECODE_MOST_BYTES, err);
    bool ok = memory && sample_with(dataset, &sample, memory, err);
    decode_memory_destroy(memory);
    mem_free(sample.pixels);
    return ok;
}

/* ---- The part's face ---- */

static bool has_pictures(const char *path, const char *class)
{
    struct folder_names list = {0};
    struct folder_others others;
    char folder[DATASET_PATH];
    bool has = dataset_join(folder, path, class, NULL) && folder_names_list(folder, false, &list, &others, NULL);
    has = has && list.count > 0;
    folder_names_finish(&list);
    return has;
}

bool folders_hold_classes(const char *path)
{
    struct folder_names list = {0};
    struct folder_others others;
    bool holds = false;
    bool listed = folder_names_list(path, true, &list, &others, NULL) && list.count > 1;
    for (size_t i = 0; listed && i < list.count && !holds; i++) holds = has_pictures(path, folder_names_at(&list, i));
    folder_names_finish(&list);
    return holds;
}

bool folders_open(struct dataset *dataset, struct error *err)
{
    dataset->folders = mem_zalloc(MEM_INPUT, 1, sizeof *dataset->folders);
    if (!dataset->folders) return error_memory(err, sizeof *dataset->folders, "a dataset");
    return open_train(dataset, err) && open_test(dataset, err);
}

void folders_close(struct folders *folders)
{
    if (!folders) return;
    for (int part = 0; part < DATASET_PARTS; part++) {
        mem_free(folders->lists[part].class_first);
        mem_free(folders->lists[part].name_offsets);
        mem_free(folders->lists[part].names);
    }
    mem_free(folders);
}

/* Of pictures without classes the names are whole paths. */
static bool take_path(const struct folder_list *list, uint64_t index, char path[DATASET_PATH], uint32_t *label,
                      struct error *err)
{
    const char *name = list->names + list->name_offsets[index];
    *label = FOLDERS_NO_LABEL;
    if (snprintf(path, DATASET_PATH, "%s", name) < DATASET_PATH) return true;
    return error_set(err, ERROR_INPUT, "%s: the path is too long", PRINTABLE_CUT(name, 200));
}

bool folders_find(const struct dataset *dataset, enum dataset_part part, uint64_t index, char path[DATASET_PATH],
                  uint32_t *label, struct error *err)
{
    const struct folder_list *list = &dataset->folders->lists[part];
    if (dataset->info.classes == 0) return take_path(list, index, path, label, err);
    uint32_t low = 0, high = dataset->info.classes; /* class_first[low] <= index < class_first[high] */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (list->class_first[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    *label = low;
    char folder[DATASET_PATH], class[DATASET_PATH];
    return join_part(folder, dataset, list->folder, err) && dataset_join(class, folder, dataset->names[low], err) &&
           dataset_join(path, class, list->names + list->name_offsets[index], err);
}
