/* JPEG folders by class: what is listed, what is refused, and what the loader makes of them. */
#include "data_set_help.h"
#include "mem.h"

Test(folders, a_broken_image_counts_once_however_many_there_are)
{
    struct error err = {0};
    struct broken_images *broken = broken_images_create(&err);
    char text[64];
    cr_assert(broken);
    for (unsigned epoch = 0; epoch < 3; epoch++)
        for (unsigned i = 0; i < 3000; i++) {
            snprintf(text, sizeof text, "%u.jpg: is empty", i);
            broken_images_add(broken, text);
        }
    cr_expect_eq(broken_images_count(broken), 3000);
    cr_expect_str_eq(broken_images_text(broken, 999), "999.jpg: is empty");
    cr_expect_null(broken_images_text(broken, 1000));
    broken_images_destroy(broken);
}

Test(folders, classes_are_alphabetical_and_counted)
{
    char path[HELP_PATH];
    make_set(path, 32);
    put_bytes(path, "train/ant/notes.txt", "not an image");
    put_bytes(path, "train/ant/.hidden.jpg", "not an image");
    struct dataset *dataset = open_set(path);
    const struct dataset_info *info = dataset_info(dataset);
    cr_assert_eq(info->format, DATA_FOLDERS);
    cr_assert_eq(info->classes, 3);
    cr_assert_str_eq(dataset_class_name(dataset, 0), "ant");
    cr_assert_str_eq(dataset_class_name(dataset, 2), "cat");
    cr_assert_eq(info->train_images, 13);
    cr_assert_eq(info->test_images, 3);
    cr_assert_eq(dataset_class_images(dataset, true, 0), 6);
    cr_assert_eq(dataset_class_images(dataset, false, 2), 0);
    cr_assert(info->width == 0 && info->height == 0, "they are scaled to what is wanted");
    dataset_close(dataset);
    help_remove(path);
}

Test(folders, val_stands_for_test_and_neither_is_needed)
{
    char path[HELP_PATH], from[2 * HELP_PATH], to[2 * HELP_PATH];
    make_set(path, 32);
    cr_assert_eq(rename(help_join(from, path, "test"), help_join(to, path, "val")), 0);
    struct dataset *dataset = open_set(path);
    cr_assert_eq(dataset_info(dataset)->test_images, 3);
    dataset_close(dataset);
    make_folder(path, "test");
    put_bytes(path, "test/00001.JPEG", "a test set without labels, as ImageNet's");
    dataset = open_set(path);
    cr_assert_eq(dataset_info(dataset)->test_images, 3, "val/ has labels, test/ has none");
    dataset_close(dataset);
    cr_assert_eq(rename(to, help_join(from, path, "other")), 0);
    help_refused(path, ERROR_INPUT, "/test: holds no folders of classes", "00001.JPEG");
    unlink(help_join(from, path, "test/00001.JPEG"));
    help_refused(path, ERROR_INPUT, "/test: is empty", "folders of classes");
    cr_assert_eq(rmdir(help_join(from, path, "test")), 0);
    dataset = open_set(path);
    cr_assert_eq(dataset_info(dataset)->test_images, 0);
    dataset_close(dataset);
    help_remove(path);
}

/* As people have them: classes alone. Of each every tenth, in the order of names, is for tests. */
Test(folders, what_nobody_divided_is_divided)
{
    char path[HELP_PATH], name[DATA_IMAGE_NAME], file[2 * HELP_PATH];
    struct error err = {0};
    help_folder(path);
    for (unsigned c = 0; c < 2; c++) {
        make_folder(path, c ? "dog" : "cat");
        for (unsigned i = 0; i < (c ? 5 : 26); i++) {
            snprintf(name, sizeof name, "%s/%02u.jpg", c ? "dog" : "cat", i);
            put_jpeg(path, name, (struct help_jpeg){32, 32, 3, false, c * 8 + i});
        }
    }
    put_bytes(path, "notes.txt", "mine");
    cr_expect_not(dataset_reads(path, "/tmp/run"));
    cr_expect(dataset_reads(path, help_join(file, path, "run")), "a folder there would be a class");
    struct dataset *dataset = open_set(path);
    const struct dataset_info *info = dataset_info(dataset);
    cr_expect(info->divided);
    cr_expect_eq(info->train_images, 23 + 5);
    cr_expect_eq(info->test_images, 3);
    cr_expect_eq(dataset_class_images(dataset, false, 1), 0);
    static const char *const tested[] = {"/cat/05.jpg", "/cat/15.jpg", "/cat/25.jpg"};
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(dataset_image_name(dataset, false, i, name, &err), "%s", err.text);
        cr_expect_str_eq(name, help_join(file, path, tested[i] + 1));
    }
    for (unsigned i = 0; i < info->train_images; i++) {
        cr_assert(dataset_image_name(dataset, true, i, name, &err), "%s", err.text);
        for (unsigned t = 0; t < 3; t++) cr_expect_null(strstr(name, tested[t]), "%s", name);
    }
    dataset_close(dataset);
    put_bytes(path, "test.bin", "");
    cr_expect_not(dataset_reads(path, help_join(file, path, "run")), "it would be opened as CIFAR-100");
    cr_expect(dataset_reads(path, help_join(file, path, "test.bin")));
    cr_assert_eq(unlink(help_join(file, path, "test.bin")), 0);
    make_folder(path, "eel");
    snprintf(file, sizeof file, "%s/eel: is empty", path);
    help_refused(path, ERROR_INPUT, file, "JPEGs");
    make_folder(path, "val");
    help_refused(path, ERROR_INPUT, path, "no dataset was found");
    help_remove(path);
}

Test(folders, faults_are_named)
{
    char path[HELP_PATH];
    make_set(path, 32);
    make_folder(path, "train/dog");
    help_refused(path, ERROR_INPUT, "train/dog: is empty", "JPEGs");
    put_bytes(path, "train/dog/a.gif", "");
    help_refused(path, ERROR_INPUT, "train/dog: holds no JPEGs", "1 other entry such as 'a.gif'");
    put_jpeg(path, "train/dog/a.jpg", (struct help_jpeg){32, 32, 3, false, 0});
    make_folder(path, "test/eel");
    help_refused(path, ERROR_INPUT, "/test: has a class 'eel'", "training set has not");
    help_remove(path);
    help_folder(path);
    make_folder(path, "train");
    help_refused(path, ERROR_INPUT, "/train: is empty", "folders of classes");
    make_folder(path, "train/only");
    put_jpeg(path, "train/only/a.jpg", (struct help_jpeg){32, 32, 3, false, 0});
    help_refused(path, ERROR_INPUT, "names 1 class;", "2 to");
    help_remove(path);
    help_folder(path);
    put_bytes(path, "train", "a file");
    help_refused(path, ERROR_INPUT, "/train: the folder cannot be opened", "Not a directory");
    help_remove(path);
}

/* Loads `count` positions in batches. */
static bool load(struct dataset *dataset, struct loader_options options, uint64_t count, float *pixels, int32_t *labels,
                 struct error *err)
{
    struct loader *loader;
    size_t image = (size_t)options.image_size * options.image_size * 3;
    cr_assert(loader_create(dataset, &options, &loader, err), "%s", err->text);
    bool ok = true;
    for (uint64_t done = 0; ok && done < count; done += options.batch) {
        struct batch batch;
        ok = loader_next(loader, &batch, err);
        if (!ok) break;
        memcpy(pixels + done * image, batch.images, options.batch * image * sizeof *pixels);
        memcpy(labels + done, batch.labels, options.batch * sizeof *labels);
    }
    loader_destroy(loader);
    return ok;
}

static float first[24 * 112 * 112 * 3], second[24 * 112 * 112 * 3];

Test(folders, position_alone_decides_the_pixels_of_large_pictures)
{
    char path[HELP_PATH];
    make_set(path, 150);
    struct dataset *dataset = open_set(path);
    int32_t labels[24], again[24];
    struct error err = {0};
    struct loader_options options = {
        .batch = 24, .image_size = 112, .seed = 5, .train = true, .augment = true, .threads = 1};
    cr_assert(load(dataset, options, 24, first, labels, &err), "%s", err.text);
    const uint32_t batches[] = {1, 4, 12}, threads[] = {3, 1, 2};
    for (int i = 0; i < 3; i++) {
        options.batch = batches[i];
        options.threads = threads[i];
        cr_assert(load(dataset, options, 24, second, again, &err), "%s", err.text);
        cr_assert_eq(memcmp(first, second, sizeof first), 0);
        cr_assert_eq(memcmp(labels, again, sizeof labels), 0);
    }
    options.first = 17;
    options.batch = 7;
    cr_assert(load(dataset, options, 7, second, again, &err), "%s", err.text);
    cr_assert_eq(memcmp(first + 17 * 112 * 112 * 3, second, 7 * 112 * 112 * 3 * sizeof *first), 0);
    dataset_close(dataset);
    help_remove(path);
}

/* Small pictures, which are shifted, and large ones, which are cut and mirrored. */
Test(folders, bytes_are_the_same_images)
{
    static const uint32_t sides[] = {32, 95, 112};
    char path[HELP_PATH];
    make_set(path, 150);
    struct dataset *dataset = open_set(path);
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        struct loader_options options = {
            .batch = 6, .image_size = sides[i], .seed = 5, .train = true, .augment = true, .threads = 2};
        help_check_bytes(dataset, options, 4);
        help_check_bytes(dataset, (struct loader_options){.batch = 2, .image_size = sides[i], .threads = 1}, 3);
    }
    dataset_close(dataset);
    help_remove(path);
}

Test(folders, small_pictures_come_as_from_cifar_binaries)
{
    char path[HELP_PATH], out[HELP_PATH + 8], order[2 * HELP_PATH];
    make_set(path, 32);
    snprintf(out, sizeof out, "%s-bin", path);
    struct error err = {0};
    struct data_converted converted = {0};
    cr_assert(data_convert(path, out, 2, NULL, NULL, &converted, &err), "%s", err.text);
    cr_assert_eq(converted.train_images, 13);
    cr_assert_eq(converted.test_images, 3);
    cr_assert_eq(converted.resized, 0);
    cr_assert_eq(converted.classes, 3);
    cr_assert_neq(access(help_join(order, out, "data_batch_5.bin"), R_OK), -1);
    struct dataset *jpegs = open_set(path), *binaries = open_set(out);
    cr_assert_eq(dataset_info(binaries)->classes, 3);
    cr_assert_str_eq(dataset_class_name(binaries, 1), "bee");
    for (unsigned label = 0; label < 3; label++)
        cr_assert_eq(dataset_class_images(binaries, true, label), dataset_class_images(jpegs, true, label));
    for (int channel = 0; channel < 3; channel++) {
        cr_assert_float_eq(dataset_info(binaries)->mean[channel], dataset_info(jpegs)->mean[channel], 1e-6);
        cr_assert_float_eq(dataset_info(binaries)->deviation[channel], dataset_info(jpegs)->deviation[channel], 1e-6);
    }
    int32_t labels[3], again[3];
    struct loader_options options = {.batch = 3, .image_size = 32};
    cr_assert(load(jpegs, options, 3, first, labels, &err), "%s", err.text);
    cr_assert(load(binaries, options, 3, second, again, &err), "%s", err.text);
    cr_assert_eq(memcmp(labels, again, sizeof labels), 0, "test images keep their order");
    cr_assert_eq(memcmp(first, second, 3 * 3072 * sizeof *first), 0, "the same pixels, normalised alike");
    dataset_close(jpegs);
    dataset_close(binaries);
    help_remove(out);
    help_remove(path);
}

static void collect(void *context, const char *text)
{
    char *all = context;
    strcat(all, text);
    strcat(all, "\n");
}

Test(folders, damaged_images_do_not_stop_opening_but_are_named_when_wanted)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    make_set(path, 32);
    put_bytes(path, "train/ant/zero.jpg", "");
    put_bytes(path, "train/bee/text.jpg", "hello");
    put_jpeg(path, "test/ant/cut.jpg", (struct help_jpeg){64, 64, 3, false, 0});
    cr_assert_eq(truncate(help_join(file, path, "test/ant/cut.jpg"), 900), 0);
    struct dataset *dataset = open_set(path);
    char found[4096] = "";
    uint64_t faults;
    struct error err = {0};
    cr_assert(dataset_check(dataset, 2, NULL, NULL, collect, found, &faults, &err), "%s", err.text);
    cr_assert_eq(faults, 3);
    cr_assert(strstr(found, "train/ant/zero.jpg: is empty"), "%s", found);
    cr_assert(strstr(found, "train/bee/text.jpg: cannot be decoded as a JPEG: Not a JPEG"), "%s", found);
    cr_assert(strstr(found, "test/ant/cut.jpg: cannot be decoded as a JPEG: "), "%s", found);
    int32_t labels[24];
    struct loader_options options = {.batch = 5, .image_size = 32, .train = true, .threads = 3};
    cr_assert_not(load(dataset, options, 15, first, labels, &err));
    cr_assert_eq(err.kind, ERROR_FAILED);
    cr_assert(strstr(err.text, "zero.jpg") || strstr(err.text, "text.jpg"), "%s", err.text);
    char before[sizeof err.text];
    strcpy(before, err.text);
    options.threads = 1;
    cr_assert_not(load(dataset, options, 15, first, labels, &err));
    cr_assert_str_eq(err.text, before, "the first failure by position, whatever the threads");
    dataset_close(dataset);
    help_remove(path);
}

/* The same picture, stored in eight ways: the loader and the conversion see it once. */
Test(folders, turned_photographs_are_seen_upright)
{
    char path[HELP_PATH], out[HELP_PATH + 8], file[2 * HELP_PATH];
    static float upright[9 * 3 * 64 * 64];
    static unsigned char records[9][1 + HELP_PIXELS];
    int32_t labels[9];
    struct error err = {0};
    struct data_converted converted;
    help_folder(path);
    const char *const folders[] = {"train", "test", "train/a", "train/b", "test/a"};
    for (int i = 0; i < 5; i++) make_folder(path, folders[i]);
    put_jpeg(path, "train/b/0.jpg", (struct help_jpeg){80, 64, 3, false, 0});
    put_jpeg(path, "train/a/0.jpg", (struct help_jpeg){80, 64, 3, false, 0});
    for (int orientation = 0; orientation <= 8; orientation++) {
        char name[32];
        snprintf(name, sizeof name, "test/a/%d.jpg", orientation);
        put_jpeg(path, name, (struct help_jpeg){80, 64, 3, false, 0, orientation});
    }
    struct dataset *dataset = open_set(path);
    struct loader_options options = {.batch = 9, .image_size = 64, .limit = 9};
    cr_assert(load(dataset, options, 9, upright, labels, &err), "%s", err.text);
    for (size_t i = 64 * 64 * 3; i < 9 * 64 * 64 * 3; i++)
        cr_assert_float_eq(upright[i], upright[i % (64 * 64 * 3)], 0.2, "orientation %zu", i / (64 * 64 * 3));
    dataset_close(dataset);
    snprintf(out, sizeof out, "%s-bin", path);
    cr_assert(data_convert(path, out, 1, NULL, NULL, &converted, &err), "%s", err.text);
    FILE *stream = fopen(help_join(file, out, "test_batch.bin"), "rb");
    cr_assert(stream && fread(records, sizeof records[0], 9, stream) == 9 && fclose(stream) == 0);
    for (int i = 1; i < 9; i++)
        for (int k = 1; k <= HELP_PIXELS; k++)
            cr_assert(abs(records[i][k] - records[0][k]) <= 8, "orientation %d, byte %d", i, k);
    help_remove(out);
    help_remove(path);
}

Test(folders, a_set_without_one_whole_image_is_refused)
{
    char path[HELP_PATH];
    help_folder(path);
    make_folder(path, "train");
    make_folder(path, "train/a");
    make_folder(path, "train/b");
    put_bytes(path, "train/a/1.jpg", "xxxxxxxx");
    put_bytes(path, "train/b/1.jpg", "y");
    help_refused(path, ERROR_FAILED, "train/a/1.jpg", "Not a JPEG");
    help_remove(path);
}

Test(folders, every_failed_allocation_is_an_error_without_a_leak)
{
    char path[HELP_PATH], out[HELP_PATH + 8];
    make_set(path, 32);
    snprintf(out, sizeof out, "%s-bin", path);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        cr_assert_lt(n, 300);
        uint64_t general = mem_current_bytes(MEM_GENERAL), input = mem_current_bytes(MEM_INPUT);
        struct data_converted converted;
        struct error err = {0};
        mem_fail_at(n);
        done = data_convert(path, out, 2, NULL, NULL, &converted, &err);
        bool fired = mem_fail_at(0);
        cr_assert_neq(done, fired, "allocation %d: %s", (int)n, err.text);
        cr_assert(done || err.kind == ERROR_MEMORY, "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), general);
        cr_assert_eq(mem_current_bytes(MEM_INPUT), input);
        cr_assert(done || access(out, F_OK) != 0);
    }
    help_remove(out);
    help_remove(path);
}
