/* CIFAR binaries: what is accepted, and each way in which they can be wrong. */
#include "data_help.h"

#include <math.h>

#include "mem.h"

Test(cifar, ten_classes_are_opened)
{
    char path[HELP_PATH];
    help_cifar10(path);
    struct dataset *dataset;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    const struct dataset_info *info = dataset_info(dataset);
    cr_assert_eq(info->format, DATA_CIFAR10);
    cr_assert_eq(info->classes, 10);
    cr_assert_eq(info->train_images, 20);
    cr_assert_eq(info->test_images, 7);
    cr_assert_eq(info->height, 32);
    cr_assert_str_eq(dataset_class_name(dataset, 9), "truck");
    cr_assert_null(dataset_class_name(dataset, 10));
    cr_assert_eq(dataset_class_images(dataset, true, 3), 2);
    cr_assert_eq(dataset_class_images(dataset, false, 8), 0);
    dataset_close(dataset);
    help_remove(path);
}

Test(cifar, statistics_are_those_of_the_training_set)
{
    char path[HELP_PATH];
    help_cifar10(path);
    struct dataset *dataset;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    for (unsigned channel = 0; channel < 3; channel++) {
        double sum = 0, squares = 0;
        for (unsigned image = 0; image < 20; image++)
            for (unsigned i = 0; i < 1024; i++) {
                double value = help_pixel(0, image, channel * 1024 + i) / 255.0;
                sum += value;
                squares += value * value;
            }
        double mean = sum / 20480, deviation = sqrt(squares / 20480 - mean * mean);
        cr_assert_float_eq(dataset_info(dataset)->mean[channel], mean, 1e-6);
        cr_assert_float_eq(dataset_info(dataset)->deviation[channel], deviation, 1e-6);
    }
    dataset_close(dataset);
    help_remove(path);
}

Test(cifar, images_that_never_vary_are_not_divided_by_zero)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_folder(path);
    unsigned char record[3073] = {1};
    const char *const names[] = {"data_batch_1.bin", "test_batch.bin"};
    for (int i = 0; i < 2; i++) {
        FILE *stream = fopen(help_join(file, path, names[i]), "wb");
        fwrite(record, sizeof record, 1, stream);
        fclose(stream);
    }
    struct dataset *dataset;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    cr_assert_eq(dataset_info(dataset)->deviation[1], 1.0f);
    dataset_close(dataset);
    help_remove(path);
}

Test(cifar, hundred_classes_are_opened)
{
    char path[HELP_PATH];
    help_folder(path);
    help_records(path, "train.bin", 0, 0, 130, 100, 2);
    help_records(path, "test.bin", 1, 0, 3, 100, 2);
    struct dataset *dataset;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    cr_assert_eq(dataset_info(dataset)->format, DATA_CIFAR100);
    cr_assert_eq(dataset_info(dataset)->classes, 100);
    cr_assert_eq(dataset_class_images(dataset, true, 29), 2);
    cr_assert_eq(dataset_class_images(dataset, true, 99), 1);
    cr_assert_str_eq(dataset_class_name(dataset, 99), "class-99");
    struct loader_options options = {.batch = 130, .image_size = 32, .threads = 1};
    struct loader *loader;
    struct batch batch;
    cr_assert(loader_create(dataset, &options, &loader, &err), "%s", err.text);
    cr_assert(loader_next(loader, &batch, &err), "%s", err.text);
    cr_assert_eq(batch.labels[2], 2, "the fine label is wanted");
    loader_destroy(loader);
    dataset_close(dataset);
    help_remove(path);
}

Test(cifar, names_come_from_the_file_of_names)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_cifar10(path);
    help_join(file, path, "batches.meta.txt");
    FILE *stream = fopen(file, "w");
    fputs("a\r\nb\nc\nd\ne\nf\ng\nh\ni\nlast\n\n", stream);
    fclose(stream);
    struct dataset *dataset;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    cr_assert_eq(dataset_info(dataset)->classes, 10);
    cr_assert_str_eq(dataset_class_name(dataset, 0), "a");
    cr_assert_str_eq(dataset_class_name(dataset, 9), "last");
    dataset_close(dataset);
    stream = fopen(file, "w");
    fputs("one\ntwo\n", stream);
    fclose(stream);
    help_refused(path, ERROR_INPUT, "data_batch_1.bin: record 2 ", "label 2; 0 to 1");
    stream = fopen(file, "w");
    fclose(stream);
    help_refused(path, ERROR_INPUT, "batches.meta.txt", "names 0 classes");
    help_remove(path);
}

Test(cifar, a_cut_file_is_named_with_its_size)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_cifar10(path);
    cr_assert_eq(truncate(help_join(file, path, "data_batch_2.bin"), 3073 * 4 + 17), 0);
    help_refused(path, ERROR_INPUT, "data_batch_2.bin: has 12309 bytes", "4 records of 3073 bytes and 17 bytes more");
    help_remove(path);
}

Test(cifar, a_file_that_is_too_long_is_refused)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_cifar10(path);
    FILE *stream = fopen(help_join(file, path, "test_batch.bin"), "ab");
    fputc(0, stream);
    fclose(stream);
    help_refused(path, ERROR_INPUT, "test_batch.bin: has 21512 bytes", "7 records of 3073 bytes and 1 bytes more");
    help_remove(path);
}

Test(cifar, a_wrong_label_is_named_with_its_record)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_cifar10(path);
    FILE *stream = fopen(help_join(file, path, "data_batch_1.bin"), "r+b");
    fseek(stream, 3073 * 11, SEEK_SET);
    fputc(10, stream);
    fclose(stream);
    help_refused(path, ERROR_INPUT, "data_batch_1.bin: record 11 ", "has label 10; 0 to 9 are right");
    help_remove(path);
}

Test(cifar, a_wrong_coarse_label_is_named)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_folder(path);
    help_records(path, "train.bin", 0, 0, 5, 100, 2);
    help_records(path, "test.bin", 1, 0, 3, 100, 2);
    FILE *stream = fopen(help_join(file, path, "test.bin"), "r+b");
    fseek(stream, 3074 * 2, SEEK_SET);
    fputc(20, stream);
    fclose(stream);
    help_refused(path, ERROR_INPUT, "test.bin: record 2 ", "coarse label 20; 0 to 19");
    help_remove(path);
}

Test(cifar, missing_files_are_named)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_cifar10(path);
    unlink(help_join(file, path, "test_batch.bin"));
    help_refused(path, ERROR_INPUT, "test_batch.bin: the test images of CIFAR-10", "No such file");
    help_records(path, "test_batch.bin", 1, 0, 7, 10, 1);
    help_records(path, "data_batch_4.bin", 0, 0, 7, 10, 1);
    help_refused(path, ERROR_INPUT, "data_batch_3.bin", "No such file");
    help_remove(path);
    help_folder(path);
    help_records(path, "test.bin", 1, 0, 3, 100, 2);
    help_refused(path, ERROR_INPUT, "train.bin: the training images of CIFAR-100", "No such file");
    help_remove(path);
}

Test(cifar, a_folder_in_the_place_of_a_file_is_refused)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_cifar10(path);
    unlink(help_join(file, path, "test_batch.bin"));
    cr_assert_eq(mkdir(file, 0777), 0);
    help_refused(path, ERROR_INPUT, "test_batch.bin: is a folder", "CIFAR-10 records");
    cr_assert_eq(rmdir(file), 0);
    cr_assert_eq(mkfifo(file, 0666), 0);
    help_refused(path, ERROR_INPUT, "test_batch.bin: is not a plain file", "CIFAR-10 records");
    help_remove(path);
}

Test(cifar, an_unreadable_file_is_refused)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_cifar10(path);
    unlink(help_join(file, path, "test_batch.bin"));
    cr_assert_eq(symlink("test_batch.bin", file), 0); /* even root cannot follow it */
    help_refused(path, ERROR_INPUT, "test_batch.bin", "levels of symbolic links");
    help_remove(path);
}

Test(cifar, what_is_not_a_dataset_is_explained)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_folder(path);
    help_refused(path, ERROR_INPUT, path, "no dataset was found");
    help_refused("/nonexistent/cifar", ERROR_INPUT, "/nonexistent/cifar", "No such file");
    cr_assert_eq(mkdir(help_join(file, path, "cifar-10-batches-bin"), 0777), 0);
    help_refused(path, ERROR_INPUT, "holds one; give", "cifar-10-batches-bin");
    help_remove(path);
    help_folder(path);
    help_records(path, "data_batch_1", 0, 0, 1, 10, 1);
    help_refused(path, ERROR_INPUT, "Python version", "binary version");
    help_refused(help_join(file, path, "data_batch_1"), ERROR_INPUT, "data_batch_1", "is a file; the folder");
    help_remove(path);
}

Test(cifar, no_training_images_is_an_error_but_no_test_images_is_a_set_without_tests)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_cifar10(path);
    cr_assert_eq(truncate(help_join(file, path, "test_batch.bin"), 0), 0);
    struct dataset *dataset;
    struct error err = {0};
    cr_assert(dataset_open(path, &dataset, &err), "%s", err.text);
    cr_assert_eq(dataset_info(dataset)->test_images, 0);
    struct loader_options options = {.batch = 2, .image_size = 32};
    struct loader *loader = NULL;
    cr_assert_not(loader_create(dataset, &options, &loader, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, "no test images"), "%s", err.text);
    dataset_close(dataset);
    cr_assert_eq(truncate(help_join(file, path, "data_batch_1.bin"), 0), 0);
    cr_assert_eq(truncate(help_join(file, path, "data_batch_2.bin"), 0), 0);
    help_refused(path, ERROR_INPUT, path, "training files are empty");
    help_remove(path);
}

Test(cifar, every_failed_allocation_is_an_error_without_a_leak)
{
    char path[HELP_PATH];
    help_cifar10(path);
    bool opened = false;
    for (uint64_t n = 1; !opened; n++) {
        cr_assert_lt(n, 100);
        uint64_t general = mem_current_bytes(MEM_GENERAL), input = mem_current_bytes(MEM_INPUT);
        struct dataset *dataset = NULL;
        struct error err = {0};
        mem_fail_at(n);
        opened = dataset_open(path, &dataset, &err);
        bool fired = mem_fail_at(0);
        cr_assert_neq(opened, fired, "allocation %d failed unnoticed", (int)n);
        if (!opened) {
            cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
            cr_assert_null(dataset);
        }
        dataset_close(dataset);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), general);
        cr_assert_eq(mem_current_bytes(MEM_INPUT), input);
    }
    help_remove(path);
}
