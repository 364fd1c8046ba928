/* What every kind of dataset needs: paths in its folder, the names of its classes, the statistics of its pixels. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dataset.h"
#include "mem.h"
#include "printable.h"

bool dataset_join(char out[DATASET_PATH], const char *folder, const char *name, struct error *err)
{
    int length = snprintf(out, DATASET_PATH, "%s/%s", folder, name);
    if (length >= 0 && length < DATASET_PATH) return true;
    return error_set(err, ERROR_INPUT, "%s: the path has %d characters; at most %d are possible",
                     PRINTABLE_CUT(folder, 200), length, DATASET_PATH - 1);
}

/* Ends each line with a NUL and stores where it begins, when names is not NULL; returns how many are not empty. */
static size_t split_lines(char *lines, char **names)
{
    size_t count = 0;
    for (char *line = lines, *next; *line; line = next) {
        size_t length = strcspn(line, "\r\n");
        next = line + length;
        if (names && *next) *next++ = '\0';
        next += strspn(next, "\r\n");
        if (length == 0) continue;
        if (names) names[count] = line;
        count++;
    }
    return count;
}

bool dataset_take_names(struct dataset *dataset, char *lines, uint32_t most, const char *where, struct error *err)
{
    dataset->name_text = lines;
    size_t count = split_lines(lines, NULL);
    if (count < 2 || count > most)
        return error_set(err, ERROR_INPUT, "%s: names %zu class%s; 2 to %u are possible", where, count,
                         count == 1 ? "" : "es", most);
    dataset->names = mem_zalloc(MEM_INPUT, count, sizeof *dataset->names);
    bool ok = dataset->names != NULL;
    for (int part = 0; part < DATASET_PARTS; part++) {
        dataset->class_images[part] = mem_zalloc(MEM_INPUT, count, sizeof(uint64_t));
        ok = ok && dataset->class_images[part];
    }
    if (!ok) return error_memory(err, count * sizeof(uint64_t), "class names");
    split_lines(lines, dataset->names);
    dataset->info.classes = (uint32_t)count;
    return true;
}

void dataset_set_statistics(struct dataset_info *info, uint64_t pixels, const uint64_t sums[3],
                            const uint64_t squares[3])
{
    for (int channel = 0; channel < 3; channel++) {
        double mean = (double)sums[channel] / (double)pixels;
        double variance = (double)squares[channel] / (double)pixels - mean * mean;
        info->mean[channel] = (float)(mean / 255.0);
        info->deviation[channel] = variance > 1e-6 ? (float)(sqrt(variance) / 255.0) : 1.0f;
    }
}
