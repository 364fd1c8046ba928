#define _GNU_SOURCE
#include "dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "mem.h"

#define SCAN_RECORDS     256u
#define MOST_NAMES_BYTES 65536u

static const char cifar10_names[] = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";

static size_t record_bytes(const struct cifar *cifar) { return cifar->label_bytes + CIFAR_PIXELS; }

static const char *format_name(const struct dataset *dataset)
{
    return dataset->info.format == DATA_CIFAR100 ? "CIFAR-100" : "CIFAR-10";
}

static bool check_file(const struct dataset *dataset, struct cifar_file *file, const char *path, struct error *err)
{
    const size_t record = record_bytes(dataset->cifar);
    struct stat info;
    if (fstat(file->descriptor, &info) != 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", path);
    if (!S_ISREG(info.st_mode))
        return error_set(err, ERROR_INPUT, "%s: is %s; a file of %s records is wanted", path,
                         S_ISDIR(info.st_mode) ? "a folder" : "not a plain file", format_name(dataset));
    uint64_t size = (uint64_t)info.st_size;
    if (size % record != 0)
        return error_set(err, ERROR_INPUT,
                         "%s: has %" PRIu64 " bytes, which is %" PRIu64 " records of %zu bytes and %" PRIu64
                         " bytes more; %s files hold whole records (as published: 10,000 of them in %zu bytes%s)",
                         path, size, size / record, record, size % record, format_name(dataset), 10000 * record,
                         dataset->info.format == DATA_CIFAR100 ? ", 50,000 in train.bin" : "");
    file->records = size / record;
    return true;
}

/* Opens one file of a part; the dataset owns the descriptor at once. */
static bool open_file(struct dataset *dataset, enum dataset_part part, const char *name, struct error *err)
{
    struct cifar *cifar = dataset->cifar;
    char path[DATASET_PATH];
    TRY(dataset_join(path, dataset->path, name, err));
    struct cifar_file *file = &cifar->files[part][cifar->counts[part]];
    snprintf(file->name, sizeof file->name, "%s", name);
    /* Without O_NONBLOCK a pipe of this name would block for ever. */
    file->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->descriptor < 0)
        return error_errno(err, ERROR_INPUT, errno, "%s: the %s images of %s cannot be opened", path,
                           part == DATASET_TRAIN ? "training" : "test", format_name(dataset));
    cifar->counts[part]++;
    TRY(check_file(dataset, file, path, err));
    if (part == DATASET_TRAIN)
        dataset->info.train_images += file->records;
    else
        dataset->info.test_images += file->records;
    return true;
}

void cifar_file_name(uint32_t file, char name[CIFAR_FILE_NAME])
{
    if (file == CIFAR_TRAIN_FILES)
        snprintf(name, CIFAR_FILE_NAME, "test_batch.bin");
    else
        snprintf(name, CIFAR_FILE_NAME, "data_batch_%u.bin", file + 1);
}

/* Fewer than five batches are a smaller training set, but a gap is a file that got lost. */
static bool open_batches(struct dataset *dataset, struct error *err)
{
    uint32_t last = 0;
    char name[CIFAR_FILE_NAME], path[DATASET_PATH];
    for (uint32_t file = 0; file < CIFAR_TRAIN_FILES; file++) {
        cifar_file_name(file, name);
        TRY(dataset_join(path, dataset->path, name, err));
        if (access(path, F_OK) == 0) last = file;
    }
    for (uint32_t file = 0; file <= last; file++) {
        cifar_file_name(file, name);
        TRY(open_file(dataset, DATASET_TRAIN, name, err));
    }
    cifar_file_name(CIFAR_TRAIN_FILES, name);
    return open_file(dataset, DATASET_TEST, name, err);
}

static bool open_files(struct dataset *dataset, struct error *err)
{
    if (dataset->info.format == DATA_CIFAR10) {
        TRY(open_batches(dataset, err));
    } else {
        TRY(open_file(dataset, DATASET_TRAIN, "train.bin", err));
        TRY(open_file(dataset, DATASET_TEST, "test.bin", err));
    }
    if (dataset->info.train_images == 0)
        return error_set(err, ERROR_INPUT, "%s: the training files are empty; at least one image is needed",
                         dataset->path);
    return true;
}

/* The names that belong to a dataset without a file of names. */
static char *default_names(enum data_format format)
{
    if (format == DATA_CIFAR10) return mem_strdup(MEM_INPUT, cifar10_names);
    const size_t line = sizeof "class-00"; /* with its line's end instead of the NUL */
    char *lines = mem_alloc(MEM_INPUT, 100 * line + 1, 1);
    for (unsigned label = 0; lines && label < 100; label++)
        snprintf(lines + label * line, line + 1, "class-%02u\n", label);
    return lines;
}

bool cifar_name_classes(struct dataset *dataset, struct error *err)
{
    char path[DATASET_PATH], *lines;
    size_t length;
    bool cifar10 = dataset->info.format == DATA_CIFAR10;
    TRY(dataset_join(path, dataset->path, cifar10 ? "batches.meta.txt" : "fine_label_names.txt", err));
    if (access(path, F_OK) == 0) {
        TRY(files_read(path, MOST_NAMES_BYTES, &lines, &length, err));
    } else {
        lines = default_names(dataset->info.format);
        if (!lines) return error_memory(err, 100, "class names");
    }
    return dataset_take_names(dataset, lines, cifar10 ? CIFAR_MOST_CLASSES : 100, path, err);
}

struct scan {
    uint8_t *records; /* SCAN_RECORDS of them */
    uint64_t sums[3], squares[3];
};

static void sum_pixels(struct scan *scan, const uint8_t *pixels)
{
    for (int channel = 0; channel < 3; channel++) {
        const uint8_t *plane = pixels + (size_t)channel * CIFAR_PLANE;
        uint32_t sum = 0, squares = 0; /* at most 1024 * 255 * 255 */
        for (size_t i = 0; i < CIFAR_PLANE; i++) {
            uint32_t value = plane[i];
            sum += value;
            squares += value * value;
        }
        scan->sums[channel] += sum;
        scan->squares[channel] += squares;
    }
}

static bool check_label(const struct dataset *dataset, const struct cifar_file *file, uint64_t number,
                        const uint8_t *record, struct error *err)
{
    uint32_t label_bytes = dataset->cifar->label_bytes, label = record[label_bytes - 1];
    if (label >= dataset->info.classes)
        return error_set(err, ERROR_INPUT, "%s/%s: record %" PRIu64 " (the first is 0) has label %u; 0 to %u are right",
                         dataset->path, file->name, number, label, dataset->info.classes - 1);
    if (label_bytes == 2 && record[0] >= 20)
        return error_set(err, ERROR_INPUT,
                         "%s/%s: record %" PRIu64 " (the first is 0) has coarse label %u; 0 to 19 are right",
                         dataset->path, file->name, number, record[0]);
    return true;
}

static bool read_exactly(const struct dataset *dataset, const struct cifar_file *file, uint8_t *bytes, size_t length,
                         uint64_t offset, struct error *err)
{
    while (length > 0) {
        ssize_t got = pread(file->descriptor, bytes, length, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return error_errno(err, ERROR_FAILED, errno, "%s/%s: cannot be read at byte %" PRIu64, dataset->path,
                               file->name, offset);
        if (got == 0)
            return error_set(err, ERROR_FAILED,
                             "%s/%s: ends at byte %" PRIu64 "; it had %" PRIu64 " records when it was opened",
                             dataset->path, file->name, offset, file->records);
        bytes += got;
        length -= (size_t)got;
        offset += (uint64_t)got;
    }
    return true;
}

static bool scan_file(struct dataset *dataset, enum dataset_part part, const struct cifar_file *file, struct scan *scan,
                      struct error *err)
{
    const struct cifar *cifar = dataset->cifar;
    const size_t record = record_bytes(cifar);
    for (uint64_t first = 0; first < file->records; first += SCAN_RECORDS) {
        uint64_t count = file->records - first < SCAN_RECORDS ? file->records - first : SCAN_RECORDS;
        TRY(read_exactly(dataset, file, scan->records, count * record, first * record, err));
        for (uint64_t i = 0; i < count; i++) {
            const uint8_t *bytes = scan->records + i * record;
            TRY(check_label(dataset, file, first + i, bytes, err));
            dataset->class_images[part][bytes[cifar->label_bytes - 1]]++;
            if (part == DATASET_TRAIN) sum_pixels(scan, bytes + cifar->label_bytes);
        }
    }
    return true;
}

/* One pass over all files: labels in range, images by class, mean and deviation of the training set. */
static bool scan_files(struct dataset *dataset, struct error *err)
{
    struct scan scan = {.records = mem_alloc(MEM_INPUT, SCAN_RECORDS, CIFAR_MOST_RECORD)};
    if (!scan.records) return error_memory(err, SCAN_RECORDS * CIFAR_MOST_RECORD, "reading a dataset");
    bool ok = true;
    for (int part = 0; part < DATASET_PARTS; part++)
        for (uint32_t i = 0; ok && i < dataset->cifar->counts[part]; i++)
            ok = scan_file(dataset, (enum dataset_part)part, &dataset->cifar->files[part][i], &scan, err);
    if (ok) dataset_set_statistics(&dataset->info, dataset->info.train_images * CIFAR_PLANE, scan.sums, scan.squares);
    mem_free(scan.records);
    return ok;
}

bool cifar_open(struct dataset *dataset, struct error *err)
{
    dataset->cifar = mem_zalloc(MEM_INPUT, 1, sizeof *dataset->cifar);
    if (!dataset->cifar) return error_memory(err, sizeof *dataset->cifar, "a dataset");
    dataset->cifar->label_bytes = dataset->info.format == DATA_CIFAR100 ? 2 : 1;
    dataset->info.height = dataset->info.width = CIFAR_SIDE;
    TRY(open_files(dataset, err));
    TRY(cifar_name_classes(dataset, err));
    return scan_files(dataset, err);
}

void cifar_close(struct cifar *cifar)
{
    if (!cifar) return;
    for (int part = 0; part < DATASET_PARTS; part++)
        for (uint32_t i = 0; i < cifar->counts[part]; i++) close(cifar->files[part][i].descriptor);
    mem_free(cifar);
}

bool cifar_read(const struct dataset *dataset, enum dataset_part part, uint64_t index,
                uint8_t record[CIFAR_MOST_RECORD], const uint8_t **pixels, uint32_t *label, struct error *err)
{
    const struct cifar *cifar = dataset->cifar;
    const struct cifar_file *file = cifar->files[part];
    while (index >= file->records) index -= file++->records;
    TRY(read_exactly(dataset, file, record, record_bytes(cifar), index * record_bytes(cifar), err));
    TRY(check_label(dataset, file, index, record, err));
    *label = record[cifar->label_bytes - 1];
    *pixels = record + cifar->label_bytes;
    return true;
}
