/* Pictures that are named one by one, or by folders, and folders by class whose scale is known. */
#include "data_help.h"

#include <unistd.h>

#include "data_jpeg_help.h"
#include "mem.h"

#define SIDE  32u
#define IMAGE ((size_t)SIDE * SIDE * 3)

static void make_folder(const char *name) { cr_assert_eq(mkdir(name, 0777), 0); }

static void write_jpeg(const char *name, unsigned seed)
{
    help_write_jpeg(name, (struct help_jpeg){SIDE, SIDE, 3, false, seed, 0, 0});
}

/* In a folder that becomes the current one: two classes of two pictures, one without a name that says so, and a text.
 */
static void make_set(char path[HELP_PATH])
{
    help_folder(path);
    cr_assert_eq(chdir(path), 0);
    make_folder("train");
    make_folder("train/b");
    make_folder("train/a");
    write_jpeg("train/a/2.jpg", 1);
    write_jpeg("train/a/1.jpeg", 2);
    write_jpeg("train/b/1.jpg", 3);
    write_jpeg("train/b/3.JPG", 4);
    write_jpeg("picture", 5);
    help_write_bytes("train/a/notes.txt", "not an image", 12);
}

static void read_batch(struct dataset *dataset, bool of_training, uint32_t images, float *pixels, int32_t *labels)
{
    const struct loader_options options = {
        .batch = images, .image_size = SIDE, .of_training = of_training, .threads = 2};
    struct loader *loader = NULL;
    struct batch batch;
    struct error err = {0};
    cr_assert(loader_create(dataset, &options, &loader, &err) && loader_next(loader, &batch, &err), "%s", err.text);
    cr_assert_eq(batch.count, images);
    memcpy(pixels, batch.images, images * IMAGE * sizeof *pixels);
    memcpy(labels, batch.labels, images * sizeof *labels);
    loader_destroy(loader);
}

Test(pictures, come_in_the_order_of_words_and_names_and_have_no_class)
{
    char path[HELP_PATH];
    make_set(path);
    const char *const words[] = {"picture", "train//"};
    const char *const names[] = {"picture", "train/a/1.jpeg", "train/a/2.jpg", "train/b/1.jpg", "train/b/3.JPG"};
    struct dataset *classes = NULL, *pictures = NULL;
    struct error err = {0};
    cr_assert(dataset_open(".", &classes, &err), "%s", err.text);
    cr_assert(dataset_of_pictures(words, 2, &pictures, &err), "%s", err.text);
    const struct dataset_info *info = dataset_info(pictures);
    cr_assert(info->classes == 0 && info->train_images == 0 && info->test_images == 5);
    for (uint64_t i = 0; i < 5; i++) cr_assert_str_eq(dataset_picture_path(pictures, i), names[i]);
    dataset_normalise_by(pictures, dataset_info(classes)->mean, dataset_info(classes)->deviation);
    static float named[5 * IMAGE], trained[4 * IMAGE];
    int32_t labels[5];
    read_batch(pictures, false, 5, named, labels);
    for (int i = 0; i < 5; i++) cr_expect_eq(labels[i], 0, "it is not left out");
    read_batch(classes, true, 4, trained, labels);
    cr_expect_arr_eq(named + IMAGE, trained, sizeof trained, "the same pixels as of the training set");
    dataset_close(pictures);
    dataset_close(classes);
    help_remove(path);
}

Test(pictures, a_folder_without_any_is_refused_and_so_is_one_that_has_no_end)
{
    char path[HELP_PATH];
    struct dataset *pictures = NULL;
    struct error err = {0};
    make_set(path);
    make_folder("none");
    make_folder("none/below");
    const char *const none[] = {"picture", "none"}, *const endless[] = {"train"}, *const absent[] = {"absent.jpg"};
    cr_assert_not(dataset_of_pictures(none, 2, &pictures, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "none: holds no JPEGs"), "%s", err.text);
    err = (struct error){0};
    cr_assert_not(dataset_of_pictures(absent, 1, &pictures, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "absent.jpg: cannot be opened"), "%s", err.text);
    err = (struct error){0};
    cr_assert_eq(symlink("..", "train/b/up"), 0);
    cr_assert_not(dataset_of_pictures(endless, 1, &pictures, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "folders deep"), "%s", err.text);
    help_remove(path);
}

Test(pictures, every_failed_allocation_is_an_error_without_a_leak)
{
    char path[HELP_PATH];
    make_set(path);
    const char *const words[] = {"train", "picture"};
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        cr_assert_lt(n, 100);
        uint64_t input = mem_current_bytes(MEM_INPUT);
        struct dataset *pictures = NULL;
        struct error err = {0};
        mem_fail_at(n);
        done = dataset_of_pictures(words, 2, &pictures, &err);
        bool fired = mem_fail_at(0);
        cr_assert_neq(done, fired, "allocation %d: %s", (int)n, err.text);
        if (done) dataset_close(pictures);
        cr_assert_eq(mem_current_bytes(MEM_INPUT), input, "allocation %d", (int)n);
    }
    help_remove(path);
}

/* Else thousands are decoded for it: here none can be. */
Test(pictures, of_classes_whose_scale_is_known_are_not_looked_at)
{
    char path[HELP_PATH];
    const float mean[] = {0.5f, 0.25f, 0.75f}, deviation[] = {0.25f, 0.5f, 0.125f};
    struct dataset *dataset = NULL;
    struct error err = {0};
    help_folder(path);
    cr_assert_eq(chdir(path), 0);
    make_folder("train");
    make_folder("train/a");
    make_folder("train/b");
    help_write_bytes("train/a/1.jpg", "xxxxxxxx", 8);
    help_write_bytes("train/b/1.jpg", "y", 1);
    cr_assert(dataset_open_scaled(".", mean, deviation, &dataset, &err), "%s", err.text);
    cr_expect_eq(dataset_info(dataset)->train_images, 2);
    cr_expect_arr_eq(dataset_info(dataset)->mean, mean, sizeof mean);
    cr_expect_arr_eq(dataset_info(dataset)->deviation, deviation, sizeof deviation);
    dataset_close(dataset);
    help_remove(path);
}
