/* The procedural set: repeatable, even, and with something to learn that single pixels do not tell. */
#include "data_help.h"

#include <math.h>

#include "files.h"
#include "mem.h"

static void synthesize(char path[HELP_PATH], uint64_t train, uint64_t test, uint64_t seed)
{
    struct error err = {0};
    help_folder(path);
    cr_assert(data_synthesize(path, train, test, seed, NULL, NULL, &err), "%s", err.text);
}

static unsigned char *read_file(const char *folder, const char *name, size_t *length)
{
    char path[2 * HELP_PATH];
    FILE *stream = fopen(help_join(path, folder, name), "rb");
    cr_assert(stream, "%s", path);
    fseek(stream, 0, SEEK_END);
    *length = (size_t)ftell(stream);
    rewind(stream);
    unsigned char *bytes = malloc(*length + 1);
    cr_assert(bytes && fread(bytes, 1, *length, stream) == *length);
    fclose(stream);
    return bytes;
}

Test(synth, the_same_arguments_give_the_same_files)
{
    char a[HELP_PATH], b[HELP_PATH], c[HELP_PATH];
    synthesize(a, 52, 11, 5);
    synthesize(b, 52, 11, 5);
    synthesize(c, 52, 11, 6);
    const char *const names[] = {"data_batch_1.bin", "data_batch_5.bin", "test_batch.bin"};
    const size_t sizes[] = {10 * 3073, 11 * 3073, 11 * 3073};
    for (int i = 0; i < 3; i++) {
        size_t length[3];
        unsigned char *bytes[3] = {read_file(a, names[i], &length[0]), read_file(b, names[i], &length[1]),
                                   read_file(c, names[i], &length[2])};
        cr_assert_eq(length[0], sizes[i]);
        cr_assert(length[1] == length[0] && memcmp(bytes[0], bytes[1], length[0]) == 0);
        cr_assert(length[2] == length[0] && memcmp(bytes[0], bytes[2], length[0]) != 0);
        for (int k = 0; k < 3; k++) free(bytes[k]);
    }
    help_remove(a);
    help_remove(b);
    help_remove(c);
}

Test(synth, classes_are_even_and_named)
{
    char path[HELP_PATH];
    synthesize(path, 1003, 200, 1);
    struct dataset *dataset;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    const struct dataset_info *info = dataset_info(dataset);
    cr_assert(info->train_images == 1003 && info->test_images == 200 && info->classes == 10);
    cr_assert_str_eq(dataset_class_name(dataset, 8), "checkerboard");
    for (unsigned label = 0; label < 10; label++) {
        uint64_t images = dataset_class_images(dataset, true, label);
        cr_assert(images == 100 || images == 101);
        cr_assert_eq(dataset_class_images(dataset, false, label), 20);
    }
    for (int channel = 0; channel < 3; channel++) {
        cr_assert_float_eq(info->mean[channel], 0.5, 0.03);
        cr_assert_float_eq(info->deviation[channel], 0.22, 0.04);
    }
    dataset_close(dataset);
    help_remove(path);
}

/* Energy of differences across and down, and their share, of a record. */
static double steepness(const unsigned char *record, int step)
{
    double sum = 0;
    for (int channel = 0; channel < 3; channel++)
        for (int y = 0; y < 30; y++)
            for (int x = 0; x < 30; x++) {
                const unsigned char *at = record + 1 + channel * 1024 + y * 32 + x;
                sum += (double)(at[step] - at[0]) * (at[step] - at[0]);
            }
    return sum;
}

Test(synth, edges_tell_what_mean_colours_do_not)
{
    enum { IMAGES = 800 };
    char path[HELP_PATH];
    size_t length;
    synthesize(path, IMAGES * 5, 0, 1);
    unsigned char *records = read_file(path, "data_batch_1.bin", &length);
    cr_assert_eq(length, (size_t)IMAGES * 3073);
    double mean[10] = {0}, share[10] = {0}, count[10] = {0}, total = 0;
    for (int i = 0; i < IMAGES; i++) {
        const unsigned char *record = records + i * 3073;
        double sum = 0, across = steepness(record, 2), down = steepness(record, 64);
        for (int p = 1; p < 3073; p++) sum += record[p];
        mean[record[0]] += sum / 3072;
        share[record[0]] += across / (across + down);
        count[record[0]]++;
        total += sum / 3072;
    }
    for (int label = 0; label < 10; label++) {
        cr_assert_float_eq(mean[label] / count[label], total / IMAGES, 10, "brightness says nothing about class %d",
                           label);
        double wanted = label == 5 ? 0.25 : label == 6 ? 0.75 : 0.5;
        cr_assert_float_eq(share[label] / count[label], wanted, 0.13, "class %d: %f", label,
                           share[label] / count[label]);
    }
    free(records);
    help_remove(path);
}

Test(synth, impossible_requests_are_refused)
{
    struct error err = {0};
    cr_assert_not(data_synthesize("/tmp/fathom-none", 0, 10, 1, NULL, NULL, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert_neq(access("/tmp/fathom-none", F_OK), 0, "nothing was made");
    cr_assert_not(data_synthesize("/proc/none", 10, 10, 1, NULL, NULL, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, "/proc/none"), "%s", err.text);
}

Test(synth, other_images_are_never_overwritten)
{
    char path[HELP_PATH];
    struct error err = {0};
    synthesize(path, 10, 2, 1);
    cr_assert(data_synthesize(path, 20, 2, 2, NULL, NULL, &err), "what was made here is made again: %s", err.text);
    char names[2 * HELP_PATH];
    help_join(names, path, "batches.meta.txt");
    cr_assert(files_write(names, "airplane\nautomobile\n", 20, &err), "%s", err.text);
    cr_assert_not(data_synthesize(path, 10, 2, 1, NULL, NULL, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, "other images"), "%s", err.text);
    struct dataset *dataset;
    cr_assert_not(dataset_open(path, &dataset, &err), "the names of two classes were replaced");
    help_remove(path);
}

Test(synth, every_failed_allocation_is_an_error_without_a_leak)
{
    char path[HELP_PATH];
    help_folder(path);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        cr_assert_lt(n, 100);
        uint64_t before = mem_current_bytes(MEM_GENERAL);
        struct error err = {0};
        mem_fail_at(n);
        done = data_synthesize(path, 10, 2, 1, NULL, NULL, &err);
        cr_assert_neq(done, mem_fail_at(0));
        cr_assert(done || err.kind == ERROR_MEMORY, "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before);
    }
    help_remove(path);
}
