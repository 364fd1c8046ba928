/* Folders of pictures made into files: every image once, whole, or nothing. */
#include <math.h>

#include "data_set_help.h"

/* Which training image of the set a record is: labels and pixels, found by the pattern's third channel. */
static unsigned find_image(const unsigned char *record)
{
    const unsigned labels[] = {1, 0, 2}, train[] = {4, 6, 3}; /* bee, ant, cat */
    unsigned best = 0;
    double least = 1e9;
    for (unsigned c = 0; c < 3; c++)
        for (unsigned i = 0; i < train[c]; i++) {
            struct help_jpeg jpeg = {32, 32, 3, false, c * 8 + 9 - i};
            double sum = labels[c] == record[0] ? 0 : 1e8;
            for (unsigned p = 0; p < HELP_PIXELS; p++)
                sum += fabs((double)record[1 + p] - help_pattern(&jpeg, p % 32, p / 32 % 32, (int)(p / 1024)));
            if (sum >= least) continue;
            least = sum;
            best = c * 8 + i;
        }
    cr_assert_lt(least / HELP_PIXELS, 3, "no image is like this record: %f", least / HELP_PIXELS);
    return best;
}

Test(conversions, a_conversion_has_every_image_once_with_its_label_and_is_repeatable)
{
    char path[HELP_PATH], out[HELP_PATH + 8], file[2 * HELP_PATH];
    make_set(path, 32);
    unsigned char records[2][13][3073];
    struct data_converted converted;
    struct error err = {0};
    for (uint32_t run = 0; run < 2; run++) {
        snprintf(out, sizeof out, "%s-bin", path);
        cr_assert(data_convert(path, out, 1 + 2 * run, NULL, NULL, &converted, &err), "%s", err.text);
        unsigned count = 0;
        for (int batch = 1; batch <= 5; batch++) {
            char name[32];
            snprintf(name, sizeof name, "data_batch_%d.bin", batch);
            FILE *stream = fopen(help_join(file, out, name), "rb");
            cr_assert(stream);
            while (count < 13 && fread(records[run][count], 3073, 1, stream) == 1) count++;
            fclose(stream);
        }
        cr_assert_eq(count, 13);
        help_remove(out);
    }
    cr_assert_eq(memcmp(records[0], records[1], sizeof records[0]), 0, "the number of threads changes nothing");
    bool seen[32] = {false}, in_order = true;
    for (unsigned i = 0; i < 13; i++) {
        unsigned image = find_image(records[0][i]);
        cr_assert_not(seen[image]);
        seen[image] = true;
        in_order = in_order && (i == 0 || records[0][i][0] >= records[0][i - 1][0]);
    }
    cr_assert_not(in_order, "the classes are mixed over the files");
    help_remove(path);
}

Test(conversions, other_sizes_are_resized_and_counted)
{
    char path[HELP_PATH], out[HELP_PATH + 8];
    make_set(path, 32);
    put_jpeg(path, "train/cat/big.jpg", (struct help_jpeg){200, 120, 3, false, 0});
    snprintf(out, sizeof out, "%s-bin", path);
    struct data_converted converted;
    struct error err = {0};
    cr_assert_eq(mkdir(out, 0777), 0, "an empty folder will do");
    cr_assert(data_convert(path, out, 1, NULL, NULL, &converted, &err), "%s", err.text);
    cr_assert_eq(converted.resized, 1);
    help_remove(out);
    help_remove(path);
}

static bool stop_at_once(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    *(uint64_t *)context = total;
    return false;
}

Test(conversions, a_conversion_that_fails_leaves_nothing)
{
    char path[HELP_PATH], out[HELP_PATH + 8], file[2 * HELP_PATH], pattern[2 * HELP_PATH];
    make_set(path, 32);
    snprintf(out, sizeof out, "%s-bin", path);
    snprintf(pattern, sizeof pattern, "ls -d %s* 2>/dev/null | wc -l | grep -qx 1", out);
    struct data_converted converted = {.resized = 77};
    struct error err = {0};
    uint64_t total = 0;
    cr_assert_not(data_convert(path, out, 1, stop_at_once, &total, &converted, &err));
    cr_assert(err.kind == ERROR_FAILED && strstr(err.text, "stopped"), "%s", err.text);
    cr_assert_eq(total, 16);
    put_bytes(path, "train/bee/bad.jpg", "no JPEG at all");
    cr_assert_not(data_convert(path, out, 3, NULL, NULL, &converted, &err));
    cr_assert(err.kind == ERROR_FAILED && strstr(err.text, "train/bee/bad.jpg"), "%s", err.text);
    cr_assert_eq(converted.resized, 77, "outputs are untouched");
    cr_assert_neq(access(out, F_OK), 0);
    cr_assert_eq(mkdir(out, 0777), 0);
    cr_assert_eq(system(pattern), 0, "a partial folder was left");
    put_bytes(out, "mine", "precious");
    cr_assert_not(data_convert(path, out, 1, NULL, NULL, &converted, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "is not empty"), "%s", err.text);
    cr_assert_eq(access(help_join(file, out, "mine"), F_OK), 0);
    help_remove(out);
    cr_assert_not(data_convert("/nonexistent", out, 1, NULL, NULL, &converted, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    help_remove(path);
    help_cifar10(path);
    cr_assert_not(data_convert(path, out, 1, NULL, NULL, &converted, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "CIFAR binaries already"), "%s", err.text);
    help_remove(path);
}
