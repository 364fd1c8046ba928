#define _GNU_SOURCE
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "data.h"
#include "json.h"
#include "units.h"

#define PRINTED_CLASSES 20u

static const char manual[] =
    "NAME\n"
    "    fathom data - make and look at datasets\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom data synth DIR [--train N] [--test N] [--seed S]\n"
    "    fathom data info DIR [--json]\n"
    "\n"
    "DESCRIPTION\n"
    "    synth makes ten classes of shapes and textures in CIFAR-10's format, for a first run with no data at hand.\n"
    "    The same arguments give the same files.\n"
    "\n"
    "    info opens a dataset as `fathom train` does, checks every file's size and every label, and says what is\n"
    "    there. Datasets are folders:\n"
    "        CIFAR-10   data_batch_1.bin ... data_batch_5.bin (or fewer), test_batch.bin; batches.meta.txt with\n"
    "                   the names of the classes may be there\n"
    "        CIFAR-100  train.bin, test.bin; fine_label_names.txt may be there\n"
    "\n"
    "OPTIONS\n"
    "    --train N   synth: training images, 10000 if not given\n"
    "    --test N    synth: test images, 2000 if not given\n"
    "    --seed S    synth: 1 if not given\n"
    "    --json      info: one JSON object: path, format, classes (each name, train_images, test_images),\n"
    "                train_images, test_images, height, width, mean, deviation (of R, G, B as 0..1)\n"
    "\n"
    "EXIT STATUS\n"
    "    0 done; 1 a file could not be read or written; 2 the command or the dataset is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom data synth shapes\n"
    "    fathom data info cifar-10-batches-bin --json\n";

static bool one_folder(size_t count, const char *usage, struct error *err)
{
    return count == 1 ? true : error_set(err, ERROR_INPUT, "one folder is wanted: fathom data %s", usage);
}

static bool run_synth(int argc, char **argv, struct error *err)
{
    uint64_t train = 10000, test = 2000, seed = 1;
    const struct option_spec specs[] = {{"train", 0, OPTION_COUNT, &train, 1, 1e7},
                                        {"test", 0, OPTION_COUNT, &test, 0, 1e7},
                                        {"seed", 0, OPTION_COUNT, &seed, 0, 0}};
    const char *folder;
    size_t count;
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], &folder, 1, &count, err));
    TRY(one_folder(count, "synth DIR", err));
    TRY(data_synthesize(folder, train, test, seed, err));
    char text[2][UNITS_TEXT];
    printf("%s: %s training and %s test images of ten classes, as CIFAR-10 binaries\n", folder,
           units_format_count(train, text[0]), units_format_count(test, text[1]));
    return true;
}

static const char *format_text(enum data_format format)
{
    static const char *const names[] = {"CIFAR-10 binaries", "CIFAR-100 binaries", "JPEG folders by class"};
    return names[format];
}

static void print_info(const char *path, const struct dataset *dataset)
{
    const struct dataset_info *info = dataset_info(dataset);
    char text[2][UNITS_TEXT];
    printf("%s: %s\n", path, format_text(info->format));
    printf("  images     %s training, %s test", units_format_count(info->train_images, text[0]),
           units_format_count(info->test_images, text[1]));
    if (info->width)
        printf(", %u x %u\n", info->width, info->height);
    else
        printf(", of several sizes\n");
    printf("  mean       %.4f %.4f %.4f   (R G B of the training set as 0..1)\n", (double)info->mean[0],
           (double)info->mean[1], (double)info->mean[2]);
    printf("  deviation  %.4f %.4f %.4f\n", (double)info->deviation[0], (double)info->deviation[1],
           (double)info->deviation[2]);
    printf("  %u classes  %-20s %10s %10s\n", info->classes, "", "training", "test");
    for (uint32_t label = 0; label < info->classes && label < PRINTED_CLASSES; label++)
        printf("    %3u      %-20s %10" PRIu64 " %10" PRIu64 "\n", label, dataset_class_name(dataset, label),
               dataset_class_images(dataset, true, label), dataset_class_images(dataset, false, label));
    if (info->classes > PRINTED_CLASSES)
        printf("    ... and %u more (--json has all)\n", info->classes - PRINTED_CLASSES);
}

static json_t *class_list(const struct dataset *dataset)
{
    json_t *list = json_array();
    for (uint32_t label = 0; label < dataset_info(dataset)->classes; label++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "name", dataset_class_name(dataset, label),
                                              "train_images", (json_int_t)dataset_class_images(dataset, true, label),
                                              "test_images", (json_int_t)dataset_class_images(dataset, false, label)));
    return list;
}

static bool print_json(const char *path, const struct dataset *dataset, struct error *err)
{
    static const char *const names[] = {"cifar10", "cifar100", "folders"};
    const struct dataset_info *info = dataset_info(dataset);
    json_t *object =
        json_pack("{s:s, s:s, s:o, s:I, s:I, s:i, s:i, s:[f,f,f], s:[f,f,f]}", "path", path, "format",
                  names[info->format], "classes", class_list(dataset), "train_images", (json_int_t)info->train_images,
                  "test_images", (json_int_t)info->test_images, "height", (int)info->height, "width", (int)info->width,
                  "mean", (double)info->mean[0], (double)info->mean[1], (double)info->mean[2], "deviation",
                  (double)info->deviation[0], (double)info->deviation[1], (double)info->deviation[2]);
    if (!object) return error_set(err, ERROR_INPUT, "%s: its path or a class's name is not UTF-8", path);
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
    return true;
}

static bool run_info(int argc, char **argv, struct error *err)
{
    bool json = false;
    const struct option_spec specs[] = {{"json", 0, OPTION_FLAG, &json, 0, 0}};
    const char *folder;
    size_t count;
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], &folder, 1, &count, err));
    TRY(one_folder(count, "info DIR", err));
    struct dataset *dataset;
    TRY(dataset_open(folder, &dataset, err));
    bool ok = true;
    if (json)
        ok = print_json(folder, dataset, err);
    else
        print_info(folder, dataset);
    dataset_close(dataset);
    return ok;
}

static int run(int argc, char **argv, struct error *err)
{
    static const struct {
        const char *name;
        bool (*run)(int argc, char **argv, struct error *err);
    } actions[] = {{"synth", run_synth}, {"info", run_info}};
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(name, actions[i].name) == 0) return actions[i].run(argc - 1, argv + 1, err) ? 0 : 1;
    error_set(err, ERROR_INPUT, "'%s' is no action; synth and info are: fathom data synth DIR, fathom data info DIR",
              name);
    return 2;
}

const struct command command_data = {"data", "make and look at datasets", manual, run};
