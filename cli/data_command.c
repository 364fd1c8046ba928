#define _GNU_SOURCE
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "choice.h"
#include "clock.h"
#include "data.h"
#include "json.h"
#include "json_print.h"
#include "printable.h"
#include "stop.h"
#include "units.h"

#define PRINTED_CLASSES 20u
#define CLASS_CELLS     20 /* of a class's name */

static const char *const manual[] = {
    "NAME\n"
    "    fathom data - make, convert and look at datasets\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom data synth DIR [--train N] [--test N] [--seed S]\n"
    "    fathom data convert PICTURE_DIR OUT_DIR [--threads N]\n"
    "    fathom data info DIR [--json] [--check] [--threads N]\n"
    "\n",

    "DESCRIPTION\n"
    "    synth makes ten classes of shapes and textures in CIFAR-10's format, for a\n"
    "    first run with no data at hand. The same arguments give the same files;\n"
    "    other images in DIR are never overwritten.\n"
    "\n"
    "    convert makes CIFAR-10 binaries of folders: classes in alphabetical\n"
    "    order, named in batches.meta.txt, training images shuffled (always in the\n"
    "    same way) over five files. Images that are not 32 x 32 are cut to their\n"
    "    middle square and scaled. OUT_DIR must be new or empty; it is there when all\n"
    "    is done, or not at all.\n"
    "\n"
    "    info opens a dataset as `fathom train` does, checks every file's size and\n"
    "    every label, and says what is there. Datasets are folders:\n"
    "        CIFAR-10      data_batch_1.bin ... data_batch_5.bin (or fewer),\n"
    "                      test_batch.bin; batches.meta.txt with the names of the\n"
    "                      classes may be there\n"
    "        CIFAR-100     train.bin, test.bin; fine_label_names.txt may be there\n"
    "        pictures      train/CLASS/*.jpg and test/CLASS/*.jpg (or val/, or none),\n"
    "                      or CLASS/*.jpg alone, of which every tenth is for tests\n"
    "                      (none of a class of fewer than six);\n"
    "                      *.jpeg, *.png, *.webp (where fathom is built with libwebp)\n"
    "                      and capitals too: what a file holds is seen from its\n"
    "                      first bytes. Photographs are turned as their Exif\n"
    "                      data says. Mean and deviation are those of up to 8192 of\n"
    "                      them.\n"
    "\n",

    "OPTIONS\n"
    "    --train N    synth: training images, 10000 if not given\n"
    "    --test N     synth: test images, 2000 if not given\n"
    "    --seed S     synth: 1 if not given\n"
    "    --json       info: one JSON object: path, format (cifar10, cifar100,\n"
    "                 folders), divided (every tenth picture of a class is for\n"
    "                 tests), classes (each name, train_images, test_images),\n"
    "                 train_images, test_images, height, width (0 for folders),\n"
    "                 mean, deviation (of R, G, B as 0..1), with --check also faults\n"
    "    --check      info: decode every picture and name those that cannot be\n"
    "    --threads N  convert, info --check: one for each processor if not given\n"
    "\n",

    "EXIT STATUS\n"
    "    0 done; 1 a file could not be read or written; 2 the command or the dataset\n"
    "    is wrong, or --check found damaged images; 128 + N when signal N (2 for\n"
    "    Ctrl-C) stopped it: then nothing was changed\n"
    "\n"
    "EXAMPLES\n"
    "    fathom data synth shapes\n"
    "    fathom data convert my-photos my-photos-32\n"
    "    fathom data info cifar-10-batches-bin --json\n"
    "    fathom data info imagenet --check\n",
    NULL,
};

/* ---- Progress of long work ---- */

struct meter {
    const char *doing;
    bool terminal;
    uint64_t started_ns, told_ns;
};

#define LINE_EVERY_NS UINT64_C(5000000000) /* where there is no terminal */

static void meter_begin(struct meter *meter, const char *doing)
{
    *meter = (struct meter){.doing = doing, .terminal = isatty(STDERR_FILENO) == 1, .started_ns = clock_now_ns()};
    meter->told_ns = meter->started_ns;
    stop_catch();
}

static void meter_end(struct meter *meter)
{
    if (meter->terminal) fputs("\r\033[K", stderr);
}

static bool tell_progress(void *context, uint64_t done, uint64_t total)
{
    struct meter *meter = context;
    uint64_t now = clock_now_ns();
    char text[3][UNITS_TEXT];
    if (!meter->terminal && now - meter->told_ns < LINE_EVERY_NS) return !*stop_flag();
    meter->told_ns = now;
    double seconds = (double)(now - meter->started_ns) / 1e9;
    double rate = (double)done / (seconds > 0 ? seconds : 1);
    fprintf(stderr, "%s%s: %s of %s images, %s images/s", meter->terminal ? "\r" : "", meter->doing,
            units_format_count(done, text[0]), units_format_count(total, text[1]),
            units_format_count((uint64_t)rate, text[2]));
    if (done < total)
        fprintf(stderr, ", %s left",
                done ? units_format_seconds((double)(total - done) / rate, text[0]) : "an unknown time");
    fputs(meter->terminal ? "\033[K" : "\n", stderr);
    return !*stop_flag();
}

/* ---- The actions ---- */

/* The options of an action that is about so many folders. */
static bool parse_folders(int argc, char **argv, const struct option_spec *specs, size_t count, const char *folders[],
                          size_t wanted, const char *usage, struct error *err)
{
    size_t found;
    TRY(options_parse(argc, argv, specs, count, folders, wanted, &found, err));
    return found == wanted || error_set(err, ERROR_INPUT, "%s wanted: fathom data %s",
                                        wanted == 1 ? "one folder is" : "two folders are", usage);
}

static bool run_synth(int argc, char **argv, struct error *err)
{
    uint64_t train = 10000, test = 2000, seed = 1;
    const struct option_spec specs[] = {{"train", 0, OPTION_COUNT, &train, 1, 1e7},
                                        {"test", 0, OPTION_COUNT, &test, 0, 1e7},
                                        {"seed", 0, OPTION_COUNT, &seed, 0, 0}};
    const char *folder;
    TRY(parse_folders(argc, argv, specs, sizeof specs / sizeof specs[0], &folder, 1, "synth DIR", err));
    struct meter meter;
    meter_begin(&meter, "drawing");
    bool ok = data_synthesize(folder, train, test, seed, tell_progress, &meter, err);
    meter_end(&meter);
    if (!ok) return false;
    char text[2][UNITS_TEXT];
    printf("%s: %s training and %s test images of ten classes, as CIFAR-10 binaries\n", PRINTABLE(folder),
           units_format_count(train, text[0]), units_format_count(test, text[1]));
    return true;
}

static bool run_convert(int argc, char **argv, struct error *err)
{
    uint64_t threads = 0;
    const struct option_spec specs[] = {{"threads", 0, OPTION_COUNT, &threads, 1, 256}};
    const char *folders[2];
    TRY(parse_folders(argc, argv, specs, sizeof specs / sizeof specs[0], folders, 2, "convert PICTURE_DIR OUT_DIR",
                      err));
    struct meter meter;
    struct data_converted converted;
    meter_begin(&meter, "converting");
    bool ok = data_convert(folders[0], folders[1], (uint32_t)threads, tell_progress, &meter, &converted, err);
    meter_end(&meter);
    if (!ok) return false;
    char text[3][UNITS_TEXT];
    printf("%s: %s training and %s test images of %u classes, as CIFAR-10 binaries\n", PRINTABLE(folders[1]),
           units_format_count(converted.train_images, text[0]), units_format_count(converted.test_images, text[1]),
           converted.classes);
    if (converted.resized)
        printf("%s of them were not 32 x 32: the middle square of each was scaled\n",
               units_format_count(converted.resized, text[2]));
    return true;
}

static const char *format_text(enum data_format format)
{
    static const char *const names[] = {"CIFAR-10 binaries", "CIFAR-100 binaries", "pictures in folders by class"};
    return names[format];
}

/* `faults` is NULL when the images were not checked. */
static void print_info(const char *path, const struct dataset *dataset, const uint64_t *faults)
{
    const struct dataset_info *info = dataset_info(dataset);
    char text[2][UNITS_TEXT];
    printf("%s: %s\n", PRINTABLE(path), format_text(info->format));
    printf("  images     %s training, %s test", units_format_count(info->train_images, text[0]),
           units_format_count(info->test_images, text[1]));
    if (info->width)
        printf(", %u x %u\n", info->width, info->height);
    else
        printf(", scaled when they are read\n");
    if (info->divided)
        printf("             (no train/ and test/: every tenth of a class is for tests, of fewer than %u none)\n",
               DATA_TEST_LEAST);
    if (faults && *faults == 0)
        printf("  checked    every image can be decoded\n");
    else if (faults)
        printf("  checked    %s cannot be decoded\n", units_format_count(*faults, text[0]));
    printf("  mean       %.4f %.4f %.4f   (R G B of the training set as 0..1)\n", (double)info->mean[0],
           (double)info->mean[1], (double)info->mean[2]);
    printf("  deviation  %.4f %.4f %.4f\n", (double)info->deviation[0], (double)info->deviation[1],
           (double)info->deviation[2]);
    printf("  %u classes  %-20s %10s %10s\n", info->classes, "", "training", "test");
    for (uint32_t label = 0; label < info->classes && label < PRINTED_CLASSES; label++)
        printf("    %3u      %s %10" PRIu64 " %10" PRIu64 "\n", label,
               printable_fit(dataset_class_name(dataset, label), CLASS_CELLS, false, &(struct printable){{0}}),
               dataset_class_images(dataset, true, label), dataset_class_images(dataset, false, label));
    if (info->classes > PRINTED_CLASSES)
        printf("    ... and %u more (--json has all)\n", info->classes - PRINTED_CLASSES);
}

static json_t *class_list(const struct dataset *dataset)
{
    json_t *list = json_array();
    for (uint32_t label = 0; label < dataset_info(dataset)->classes; label++)
        json_array_append_new(list, json_pack("{s:o, s:I, s:I}", "name", json_text(dataset_class_name(dataset, label)),
                                              "train_images", (json_int_t)dataset_class_images(dataset, true, label),
                                              "test_images", (json_int_t)dataset_class_images(dataset, false, label)));
    return list;
}

static void print_fault(void *context, const char *text)
{
    const struct meter *meter = context;
    fprintf(stderr, "%s%s\n", meter->terminal ? "\r\033[K" : "", PRINTABLE(text));
}

static bool check_images(struct dataset *dataset, uint32_t threads, uint64_t *faults, struct error *err)
{
    struct meter meter;
    meter_begin(&meter, "checking");
    bool ok = dataset_check(dataset, threads, tell_progress, &meter, print_fault, &meter, faults, err);
    meter_end(&meter);
    return ok;
}

/* faults is NULL when the images were not checked. */
static bool print_json(const char *path, const struct dataset *dataset, const uint64_t *faults, struct error *err)
{
    static const char *const names[] = {"cifar10", "cifar100", "folders"};
    const struct dataset_info *info = dataset_info(dataset);
    json_t *object = json_pack("{s:o, s:s, s:b, s:o, s:I, s:I, s:i, s:i, s:[f,f,f], s:[f,f,f]}", "path",
                               json_text(path), "format", names[info->format], "divided", (int)info->divided, "classes",
                               class_list(dataset), "train_images", (json_int_t)info->train_images, "test_images",
                               (json_int_t)info->test_images, "height", (int)info->height, "width", (int)info->width,
                               "mean", (double)info->mean[0], (double)info->mean[1], (double)info->mean[2], "deviation",
                               (double)info->deviation[0], (double)info->deviation[1], (double)info->deviation[2]);
    if (faults) json_object_set_new(object, "faults", json_integer((json_int_t)*faults));
    return json_print(object, 9, stdout, err);
}

static bool show_dataset(const char *path, struct dataset *dataset, bool json, bool check, uint32_t threads,
                         struct error *err)
{
    uint64_t faults = 0;
    if (check) TRY(check_images(dataset, threads, &faults, err));
    if (json)
        TRY(print_json(path, dataset, check ? &faults : NULL, err));
    else
        print_info(path, dataset, check ? &faults : NULL);
    if (faults == 0) return true;
    return error_set(err, ERROR_INPUT, "%s: %" PRIu64 " of its images cannot be decoded; they are named above", path,
                     faults);
}

static bool run_info(int argc, char **argv, struct error *err)
{
    bool json = false, check = false;
    uint64_t threads = 0;
    const struct option_spec specs[] = {{"json", 0, OPTION_FLAG, &json, 0, 0},
                                        {"check", 0, OPTION_FLAG, &check, 0, 0},
                                        {"threads", 0, OPTION_COUNT, &threads, 1, 256}};
    const char *folder;
    TRY(parse_folders(argc, argv, specs, sizeof specs / sizeof specs[0], &folder, 1, "info DIR", err));
    struct dataset *dataset;
    TRY(dataset_open(folder, &dataset, err));
    bool ok = show_dataset(folder, dataset, json, check, (uint32_t)threads, err);
    dataset_close(dataset);
    return ok;
}

/* As a shell tells of a process that a signal has ended. */
static int end_action(bool ok, struct error *err)
{
    int number = *stop_flag();
    if (ok || !number) return ok ? 0 : 1;
    error_set(err, ERROR_FAILED, "stopped by %s; nothing was changed", stop_name(number));
    return 128 + number;
}

static int run(int argc, char **argv, struct error *err)
{
    static const struct {
        const char *name;
        bool (*run)(int argc, char **argv, struct error *err);
    } actions[] = {{"synth", run_synth}, {"convert", run_convert}, {"info", run_info}};
    const char *names[sizeof actions / sizeof actions[0]];
    const size_t count = sizeof actions / sizeof actions[0];
    size_t chosen;
    for (size_t i = 0; i < count; i++) names[i] = actions[i].name;
    if (argc > 1 && choice_parse(argv[1], "action", names, count, NULL, 0, &chosen, err))
        return end_action(actions[chosen].run(argc - 1, argv + 1, err), err);
    if (argc < 2)
        error_set(err, ERROR_INPUT, "an action is wanted: synth, convert or info (`fathom help data` explains them)");
    return 2;
}

const struct command command_data = {"data", "make, convert and look at datasets", manual, run};
