/* `fathom classify` and `fathom features`: what a trained net makes of pictures. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "choice.h"
#include "command.h"
#include "dataset_features.h"
#include "json_print.h"
#include "mem.h"
#include "npy.h"
#include "outputs.h"
#include "printable.h"
#include "scoring.h"
#include "stop.h"

static const char *const classify_manual[] = {
    "NAME\n"
    "    fathom classify - what a trained net sees in pictures\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom classify CHECKPOINT IMAGE|FOLDER... [OPTIONS]\n"
    "\n"
    "DESCRIPTION\n"
    "    Says for each JPEG, PNG or WebP the most likely classes, with probabilities.\n"
    "    Of a folder its pictures and those of the folders in it are taken, in the\n"
    "    order of names. The middle of a picture is looked at, as in a test.\n"
    "    CHECKPOINT is a file, or a folder whose newest one is taken. The names of\n"
    "    the classes and the images' scale are in data.json beside it, which `fathom\n"
    "    train --save` writes; of older runs --data names the dataset that the net\n"
    "    was trained on. Weights of others (torchvision's, timm's) for ImageNet have\n"
    "    its scale, and their classes are numbers.\n"
    "\n"
    "OPTIONS\n"
    "    --top K             so many classes; 5 if not given\n"
    "    --json              one JSON object: model, checkpoint, step, scale, images:\n"
    "                        a list of image and classes, each with name and\n"
    "                        probability; and skipped, how many of them were\n"
    "    --strict            a picture that cannot be decoded is a failure; else it\n"
    "                        is skipped and named on standard error\n"
    "    --crops 10, --resize S\n"
    "                        as in `fathom help eval`\n"
    "    --data DIR          where names and scale come from\n"
    "    --dtype T           what activations are held in, as in `fathom help plan`;\n"
    "                        f32 if not given\n"
    "    -b, --batch N       images at once; as many as there are, up to 16 (of nets\n"
    "                        for less than 96 x 96 up to 128), if not given\n",

    SCORING_MANUAL("--backend NAME, --loader-threads N, --image-size N"),

    "EXAMPLES\n"
    "    fathom classify run bird.jpg frog.jpg\n"
    "    fathom classify run/best.safetensors holidays --top 1 --json\n",
    NULL,
};

static const char *const features_manual[] = {
    "NAME\n"
    "    fathom features - what a trained net makes of pictures, for other programs\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom features CHECKPOINT IMAGE|FOLDER... -o FILE.npy [OPTIONS]\n"
    "    fathom features CHECKPOINT --data DIR -o FILE.npy [OPTIONS]\n"
    "\n"
    "DESCRIPTION\n"
    "    Writes what the classifier reads of each picture, in a ResNet the pooled\n"
    "    features, as a NumPy array of float32, a row for each picture. FILE.npy.txt\n"
    "    has the pictures' paths, a line for each row (a pipe or a device has no file\n"
    "    beside it). Pictures are looked at as `fathom classify` does.\n"
    "\n"
    "    Without IMAGE it is all test images of the dataset DIR, or its training\n"
    "    images, in their order, whatever their classes are and however many there\n"
    "    are. FILE.labels.npy then has their labels, int32.\n"
    "\n"
    "    An image that cannot be decoded has a row of NaN, of a dataset the label -1,\n"
    "    and is named.\n"
    "\n"
    "OPTIONS\n"
    "    -o, --output FILE   the array\n"
    "    --data DIR          the dataset; with IMAGE where the images' scale comes\n"
    "                        from, without data.json\n"
    "    --part PART         of the dataset: test (if not given) or train\n"
    "    --strict            an image that cannot be decoded is a failure\n"
    "    -b, --batch N       images at once; of a dataset 32 if not given, and of\n"
    "                        pictures as in `fathom help classify`\n",

    SCORING_MANUAL("--backend NAME, --loader-threads N, --image-size N"),

    "EXAMPLES\n"
    "    fathom features run/best.safetensors --data photos --part train -o train.npy\n"
    "    fathom features run *.jpg -o features.npy\n"
    "    python3 -c 'import numpy; print(numpy.load(\"features.npy\").shape)'\n",
    NULL,
};

/* Names and scale of the dataset that --data names. */
static bool take_dataset(struct scoring *s, struct error *err)
{
    struct train_command *c = &s->train;
    if (!c->options.data_path && s->known) return true;
    s->guessed_scale = !c->options.data_path && !s->checkpoint.known && s->checkpoint.spec.dataset == DATASET_IMAGENET;
    if (s->guessed_scale) return trained_on_imagenet(&s->trained), true;
    if (!c->options.data_path)
        return error_set(
            err, ERROR_INPUT,
            "%s: has no data.json beside it, which says what its classes are: name the dataset that it was "
            "trained on with --data",
            c->checkpoint);
    TRY(dataset_open(c->options.data_path, &s->named, err) || error_prefix(err, "--data"));
    const struct dataset_info *info = dataset_info(s->named);
    if (info->classes != s->checkpoint.spec.classes)
        return error_set(err, ERROR_INPUT, "--data: %s has %u classes; the net of %s has %u", c->options.data_path,
                         info->classes, c->checkpoint, s->checkpoint.spec.classes);
    trained_on_finish(&s->trained);
    memcpy(s->trained.mean, info->mean, sizeof info->mean);
    memcpy(s->trained.deviation, info->deviation, sizeof info->deviation);
    return true;
}

/* "class 207" where nobody has named it. */
#define CLASS_NUMBER 24
static const char *class_name(const struct scoring *s, uint32_t class, char number[CLASS_NUMBER])
{
    if (class < s->trained.classes) return s->trained.names[class];
    const char *name = s->named ? dataset_class_name(s->named, class) : NULL;
    if (name) return name;
    snprintf(number, CLASS_NUMBER, "class %" PRIu32, class);
    return number;
}

static void say_scale(const struct scoring *s)
{
    if (s->guessed_scale)
        puts("the scale of the images is taken to be ImageNet's, as torchvision has it; --data says otherwise");
}

/* What is no number comes after all numbers, and before what is taken. */
static float rank_of(float probability) { return isnan(probability) ? -0.5f : probability; }

/* The most likely class that is not among those taken; its probability becomes -1. */
static uint32_t take_best(float *probabilities, uint32_t classes, double *probability)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < classes; i++)
        if (rank_of(probabilities[i]) > rank_of(probabilities[best])) best = i;
    *probability = (double)probabilities[best];
    probabilities[best] = -1;
    return best;
}

static uint64_t picture_count(const struct scoring *s) { return dataset_info(s->train.options.dataset)->test_images; }

static const char *picture_path(const struct scoring *s, uint64_t picture)
{
    return dataset_picture_path(s->train.options.dataset, picture);
}

static void print_picture(const struct scoring *s, const char *path, float *probabilities)
{
    uint32_t classes = s->checkpoint.spec.classes;
    double probability;
    char number[CLASS_NUMBER];
    printf("%s\n", PRINTABLE(path));
    for (uint64_t k = 0; k < s->top && k < classes; k++) {
        uint32_t class = take_best(probabilities, classes, &probability);
        if (isnan(probability))
            printf("  %8s  %s\n", "unknown", PRINTABLE(class_name(s, class, number)));
        else
            printf("  %6.2f %%  %s\n", 100 * probability, PRINTABLE(class_name(s, class, number)));
    }
}

static json_t *picture_json(const struct scoring *s, const char *path, float *probabilities)
{
    uint32_t classes = s->checkpoint.spec.classes;
    json_t *list = json_array();
    double probability;
    char number[CLASS_NUMBER];
    for (uint64_t k = 0; k < s->top && k < classes; k++) {
        uint32_t class = take_best(probabilities, classes, &probability);
        json_array_append_new(list,
                              json_pack("{s:o, s:o}", "name", json_text(class_name(s, class, number)), "probability",
                                        isnan(probability) ? json_null() : json_real(probability)));
    }
    return json_pack("{s:o, s:o}", "image", json_text(path), "classes", list);
}

static bool print_json(const struct scoring *s, float *probabilities, struct error *err)
{
    json_t *list = json_array();
    json_int_t skipped = 0;
    for (uint64_t i = 0; i < picture_count(s); i++)
        if (s->left_out[i])
            skipped++;
        else
            json_array_append_new(list,
                                  picture_json(s, picture_path(s, i), probabilities + i * s->checkpoint.spec.classes));
    json_t *object = json_pack("{s:s, s:o, s:o, s:s?, s:o, s:I}", "model", s->checkpoint.spec.name, "checkpoint",
                               json_text(s->train.checkpoint), "step", scoring_step(s), "scale",
                               s->guessed_scale ? "imagenet" : NULL, "images", list, "skipped", skipped);
    return json_print(object, 6, stdout, err);
}

static void print_pictures(const struct scoring *s, float *probabilities)
{
    for (uint64_t i = 0; i < picture_count(s); i++)
        if (!s->left_out[i]) print_picture(s, picture_path(s, i), probabilities + i * s->checkpoint.spec.classes);
    say_scale(s);
}

/* How many images go together where nobody says: of small ones many, as a batch of them is soon computed. */
static uint64_t choose_batch(const struct scoring *s)
{
    uint64_t most = data_cuts_views((uint32_t)s->train.flags.image_size) ? 16 : 128;
    uint64_t views = s->crops > 1 ? picture_count(s) * s->crops : picture_count(s);
    return views < most ? views : most;
}

/* The pictures that words name become the dataset; the plan for them is for one device. */
static bool plan_pictures(struct scoring *s, const char *checkpoint, const char *const *words, size_t count,
                          struct error *err)
{
    struct train_command *c = &s->train;
    TRY(scoring_open(s, checkpoint, err) && take_dataset(s, err));
    TRY(dataset_of_pictures(words, count, &c->options.dataset, err));
    if (!c->strict) TRY((c->options.broken = broken_images_create(err)) != NULL);
    s->left_out = mem_zalloc(MEM_GENERAL, picture_count(s), sizeof *s->left_out);
    if (!s->left_out) return error_memory(err, picture_count(s) * sizeof *s->left_out, "pictures to leave out");
    dataset_normalise_by(c->options.dataset, s->trained.mean, s->trained.deviation);
    TRY(train_command_measure(c, (uint32_t)c->flags.image_size, true, err));
    if (c->flags.batch == 0) c->flags.batch = choose_batch(s);
    TRY(scoring_plan(s, err));
    if (s->plan->device_count == 1) return true;
    return error_set(err, ERROR_INPUT, "--gpus: found %zu devices; pictures are looked at on one",
                     s->plan->device_count);
}

/* On standard error, so that answers are alone where programs read them. */
static void say_left_out(const struct scoring *s, const char *command, const char *what)
{
    const struct broken_images *broken = s->train.options.broken;
    uint64_t named = 0, count = broken_images_count(broken);
    for (const char *text; (text = broken_images_text(broken, named)); named++)
        fprintf(stderr, "%s: %s; %s\n", command, PRINTABLE(text), what);
    if (count > named) fprintf(stderr, "%s: so it is with %" PRIu64 " more\n", command, count - named);
}

static bool classify(struct scoring *s, const char *const *words, size_t count, struct error *err)
{
    struct train_command *c = &s->train;
    if (count < 2)
        return error_set(err, ERROR_INPUT, "a checkpoint and images are wanted: fathom classify CHECKPOINT IMAGE...");
    TRY(plan_pictures(s, words[0], words + 1, count - 1, err));
    uint64_t pictures = picture_count(s);
    float *probabilities = mem_zalloc(MEM_GENERAL, pictures, s->checkpoint.spec.classes * sizeof *probabilities);
    if (!probabilities)
        return error_memory(err, pictures * s->checkpoint.spec.classes * sizeof(float), "probabilities");
    bool ok = score_pictures(s->plan, c->runs_on, &c->options, probabilities, s->left_out, err);
    if (ok) say_left_out(s, "fathom classify", "it is skipped");
    if (ok && s->json)
        ok = print_json(s, probabilities, err);
    else if (ok)
        print_pictures(s, probabilities);
    mem_free(probabilities);
    return ok;
}

/* ---- Features ---- */

static bool parse_part(const struct scoring *s, bool *train, struct error *err)
{
    static const char *const parts[] = {"test", "train"};
    size_t part = 0;
    if (s->part) TRY(choice_parse(s->part, "--part", parts, 2, NULL, 0, &part, err));
    *train = part == 1;
    return true;
}

/* No file that is read may be replaced; there may be many. */
static bool check_files(const struct scoring *s, uint64_t count, struct error *err)
{
    char labels[FEATURES_PATH], names[FEATURES_PATH + 8];
    TRY(features_labels_path(s->output, labels, err));
    snprintf(names, sizeof names, "%s.txt", s->output);
    for (uint64_t i = 0; i <= count; i++) {
        struct outputs outputs = {0};
        TRY(outputs_reads(&outputs, "fathom features", i < count ? picture_path(s, i) : s->train.checkpoint, err));
        TRY(outputs_writes(&outputs, "--output", s->output, err) && outputs_writes(&outputs, "--output", names, err));
        if (count == 0) TRY(outputs_writes(&outputs, "--output", labels, err));
    }
    return true;
}

/* What is new there would be an image the next time. */
static bool check_output(const struct scoring *s, struct error *err)
{
    char labels[FEATURES_PATH];
    const char *data = s->train.options.data_path;
    TRY(features_labels_path(s->output, labels, err));
    if (!dataset_reads(data, s->output) && !dataset_reads(data, labels)) return true;
    return error_set(err, ERROR_INPUT, "--output: %s would be a part of the dataset in %s; name another place",
                     s->output, data);
}

static bool dataset_features(struct scoring *s, const char *checkpoint, struct error *err)
{
    struct train_command *c = &s->train;
    bool train;
    TRY(parse_part(s, &train, err) && check_output(s, err) && scoring_open(s, checkpoint, err) &&
        check_files(s, 0, err) && scoring_data(s, !train, err));
    const struct dataset_info *info = dataset_info(c->options.dataset);
    uint64_t images = train ? info->train_images : info->test_images;
    if (images == 0)
        return error_set(err, ERROR_INPUT, "%s: has no test images; --part train takes the others",
                         c->options.data_path);
    if (!c->strict) TRY((c->options.broken = broken_images_create(err)) != NULL);
    if (c->flags.batch == 0) c->flags.batch = 32;
    TRY(scoring_plan(s, err));
    stop_catch();
    TRY(score_dataset_features(s->plan, c->runs_on, &c->options, train, s->output, err));
    printf("%s: %" PRIu64 " x %u float32, %s of %s\n", PRINTABLE(s->output), images, score_feature_count(s->plan),
           s->checkpoint.spec.name, PRINTABLE(c->checkpoint));
    progress_broken(c->options.broken);
    return true;
}

/* The array, and the paths beside it. */
static bool write_array(const struct scoring *s, const float *values, uint32_t columns, struct error *err)
{
    uint64_t pictures = picture_count(s);
    const char **paths = mem_zalloc(MEM_GENERAL, pictures, sizeof *paths);
    bool ok = paths || error_memory(err, pictures * sizeof *paths, "the pictures' paths");
    for (uint64_t i = 0; ok && i < pictures; i++) paths[i] = picture_path(s, i);
    ok = ok && npy_write(s->output, values, pictures, columns, paths, err);
    mem_free(paths);
    return ok;
}

static bool picture_features(struct scoring *s, const char *checkpoint, const char *const *words, size_t count,
                             struct error *err)
{
    struct train_command *c = &s->train;
    TRY(plan_pictures(s, checkpoint, words, count, err) && check_files(s, picture_count(s), err));
    uint64_t pictures = picture_count(s);
    uint32_t columns = score_feature_count(s->plan);
    float *values = mem_zalloc(MEM_GENERAL, pictures, columns * sizeof *values);
    if (!values) return error_memory(err, pictures * columns * sizeof *values, "features");
    bool ok = score_features(s->plan, c->runs_on, &c->options, values, s->left_out, err) &&
              write_array(s, values, columns, err);
    mem_free(values);
    if (ok)
        printf("%s: %" PRIu64 " x %u float32, %s of %s\n", PRINTABLE(s->output), pictures, columns,
               s->checkpoint.spec.name, PRINTABLE(c->checkpoint));
    if (ok) say_scale(s);
    if (ok) say_left_out(s, "fathom features", "its row is NaN");
    return ok;
}

static bool features(struct scoring *s, const char *const *words, size_t count, struct error *err)
{
    const char *data = s->train.options.data_path;
    if (count == 0 || (count < 2 && !data))
        return error_set(err, ERROR_INPUT,
                         "a checkpoint and images, or a dataset (--data), are wanted: fathom features CHECKPOINT "
                         "IMAGE...");
    if (!s->output)
        return error_set(err, ERROR_INPUT, "--output: a file for the array is wanted, like -o features.npy");
    if (count < 2) return dataset_features(s, words[0], err);
    if (s->part) return error_set(err, ERROR_INPUT, "--part: found beside images; it is a part of --data alone");
    return picture_features(s, words[0], words + 1, count - 1, err);
}

static int run_pictures(int argc, char **argv, struct scoring *s, const struct option_spec *specs, size_t spec_count,
                        bool (*go)(struct scoring *, const char *const *, size_t, struct error *), struct error *err)
{
    size_t most = (size_t)argc + 1, count = 0;
    const char **words = mem_zalloc(MEM_GENERAL, most, sizeof *words);
    bool ok = words || error_memory(err, most * sizeof *words, "the images' names");
    if (ok && options_parse(argc, argv, specs, spec_count, words, most, &count, err)) {
        s->train.options.loader_threads = (uint32_t)s->train.loader_threads;
        s->train.options.stop = stop_flag();
        go(s, words, count, err);
    }
    scoring_finish(s);
    mem_free(words);
    return error_exit_code(err);
}

static int run_classify(int argc, char **argv, struct error *err)
{
    struct scoring s = {.top = 5, .train.update = update_flags_none()};
    struct train_command *c = &s.train;
    const struct option_spec specs[] = {{"top", 0, OPTION_COUNT, &s.top, 1, 1e6},
                                        {"crops", 0, OPTION_COUNT, &s.crops, 1, 1e3},
                                        {"resize", 0, OPTION_COUNT, &s.resize, 1, 1 << 15},
                                        {"json", 0, OPTION_FLAG, &s.json, 0, 0},
                                        {"strict", 0, OPTION_FLAG, &c->strict, 0, 0},
                                        {"dtype", 0, OPTION_TEXT, &c->flags.dtype, 0, 0},
                                        {"loader-threads", 0, OPTION_COUNT, &c->loader_threads, 1, 256},
                                        {"data", 0, OPTION_TEXT, &c->options.data_path, 0, 0},
                                        SCORING_SPECS(s)};
    return run_pictures(argc, argv, &s, specs, sizeof specs / sizeof specs[0], classify, err);
}

static int run_features(int argc, char **argv, struct error *err)
{
    struct scoring s = {.train.update = update_flags_none()};
    struct train_command *c = &s.train;
    const struct option_spec specs[] = {{"output", 'o', OPTION_TEXT, &s.output, 0, 0},
                                        {"part", 0, OPTION_TEXT, &s.part, 0, 0},
                                        {"strict", 0, OPTION_FLAG, &c->strict, 0, 0},
                                        {"loader-threads", 0, OPTION_COUNT, &c->loader_threads, 1, 256},
                                        {"data", 0, OPTION_TEXT, &c->options.data_path, 0, 0},
                                        SCORING_SPECS(s)};
    return run_pictures(argc, argv, &s, specs, sizeof specs / sizeof specs[0], features, err);
}

const struct command command_features = {"features", "what it makes of them, as a NumPy array", features_manual,
                                         run_features};

const struct command command_classify = {"classify", "what a trained net sees in pictures", classify_manual,
                                         run_classify};
