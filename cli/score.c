/* `fathom eval`, `fathom classify` and `fathom features`: a checkpoint put to use. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "mem.h"
#include "npy.h"
#include "printable.h"
#include "score.h"
#include "stop.h"
#include "train_command.h"
#include "units.h"

#define MOST_PICTURES 10000u

static const char *const eval_manual[] = {
    "NAME\n"
    "    fathom eval - the error of a trained net on a dataset\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom eval CHECKPOINT DATA [OPTIONS]\n"
    "\n"
    "DESCRIPTION\n"
    "    Runs the test images of DATA through the net of a checkpoint, or of the\n"
    "    newest one in a folder, and says its loss and its errors. DATA need not be\n"
    "    what the net was trained on: it has the same classes, by name where the run\n"
    "    has kept them (data.json beside the checkpoint). Images are normalised as\n"
    "    the training images were. Of photographs the middle is taken, 224 of 256 of\n"
    "    the shorter side, or ten crops. Nothing is written.\n"
    "\n"
    "OPTIONS\n"
    "    --images N          of the test images, spread over them; all if not given\n"
    "    --crops 10          of photographs the four corners and the middle, and the\n"
    "                        same mirrored; the error is that of the mean of the ten\n"
    "                        answers' probabilities\n"
    "    --resize S          photographs are scaled until their shorter side is S,\n"
    "                        then cut; if not given 8/7 of the image size\n"
    "    --json              one JSON object: model, checkpoint, step, data, images,\n"
    "                        crops, loss, top1_error, top5_error, skipped\n"
    "    --strict            an image that cannot be decoded is a failure; else it is\n"
    "                        skipped and named\n"
    "    -b, --batch N       images at once; 32 if not given\n"
    "    -g, --gpus MACHINE  where; as in `fathom help train`\n"
    "    --backend NAME, --loader-threads N, --image-size N\n"
    "                        as in `fathom help train`\n"
    "\n"
    "EXIT STATUS\n"
    "    0 done; 1 it failed; 2 the command or a file is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom eval run cifar-10-batches-bin\n"
    "    fathom eval run/best.safetensors other-photos --json\n"
    "    fathom eval resnet50.safetensors imagenet --crops 10\n",
    NULL,
};

static const char *const classify_manual[] = {
    "NAME\n"
    "    fathom classify - what a trained net sees in pictures\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom classify CHECKPOINT IMAGE... [OPTIONS]\n"
    "\n"
    "DESCRIPTION\n"
    "    Says for each JPEG or PNG the most likely classes, with their probabilities.\n"
    "    The middle of a picture is looked at, as in a test. CHECKPOINT is a file, or\n"
    "    a folder whose newest one is taken. The names of the classes and the images'\n"
    "    scale are in data.json beside it, which `fathom train --save` writes; of\n"
    "    older runs --data names the dataset that the net was trained on.\n"
    "\n"
    "OPTIONS\n"
    "    --top K             so many classes; 5 if not given\n"
    "    --json              one JSON object: model, checkpoint, step, images: a list\n"
    "                        of image and classes, each with name and probability\n"
    "    --crops 10, --resize S\n"
    "                        as in `fathom help eval`\n"
    "    --data DIR          where names and scale come from\n"
    "    -b, --batch N       images at once; as many as there are, up to 16, if not\n"
    "                        given\n"
    "    -g, --gpus MACHINE  where; as in `fathom help train`\n"
    "    --backend NAME, --image-size N\n"
    "                        as in `fathom help train`\n"
    "\n"
    "EXIT STATUS\n"
    "    0 done; 1 it failed; 2 the command or a file is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom classify run bird.jpg frog.jpg\n"
    "    fathom classify run/best.safetensors *.jpg --top 1 --json\n",
    NULL,
};

static const char *const features_manual[] = {
    "NAME\n"
    "    fathom features - what a trained net makes of pictures, for other programs\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom features CHECKPOINT IMAGE... -o FILE.npy [OPTIONS]\n"
    "\n"
    "DESCRIPTION\n"
    "    Writes what the classifier reads of each JPEG or PNG, in a ResNet the pooled\n"
    "    features, as a NumPy array of float32, a row for each picture. FILE.npy.txt\n"
    "    has the pictures' paths, a line for each row. Pictures are looked at as\n"
    "    `fathom classify` does.\n"
    "\n"
    "OPTIONS\n"
    "    -o, --output FILE   the array\n"
    "    --data DIR          where the images' scale comes from, without data.json\n"
    "    -b, --batch N       images at once; if not given as many as there are, to 16\n"
    "    -g, --gpus MACHINE  where; as in `fathom help train`\n"
    "    --backend NAME, --image-size N\n"
    "                        as in `fathom help train`\n"
    "\n"
    "EXIT STATUS\n"
    "    0 done; 1 it failed; 2 the command or a file is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom features run *.jpg -o features.npy\n"
    "    python3 -c 'import numpy; print(numpy.load(\"features.npy\").shape)'\n",
    NULL,
};

/* ---- From a checkpoint to a plan ---- */

struct scoring {
    struct train_command train;
    uint64_t images, top, image_size, crops, resize;
    bool json;
    const char *output; /* of features */
    struct checkpoint checkpoint;
    struct trained_on trained;
    bool known; /* what it was trained on */
    struct plan *plan;
};

/* The model's form as flags, where its name does not say it. */
static bool describe_model(struct scoring *s, struct error *err)
{
    const struct model_spec *spec = &s->checkpoint.spec;
    struct plan_flags *flags = &s->train.flags;
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct model_spec named;
    options.dataset = (int)spec->dataset;
    TRY(model_parse(spec->name, &options, &named, err));
    flags->dataset = dataset_kind_name(spec->dataset);
    if (named.unit != spec->unit) flags->unit = unit_kind_name(spec->unit);
    if (named.shortcut != spec->shortcut) flags->shortcut = shortcut_kind_name(spec->shortcut);
    flags->classes = spec->classes;
    flags->image_size = s->image_size ? s->image_size : spec->image_size;
    s->train.word = spec->name;
    return true;
}

/* Which crops of a picture are looked at, once the size of images is known. */
static bool choose_crops(struct scoring *s, struct error *err)
{
    struct train_options *o = &s->train.options;
    uint32_t size = (uint32_t)s->train.flags.image_size;
    if (s->crops > 1 && s->crops != DATA_CROPS)
        return error_set(err, ERROR_INPUT, "--crops: found %" PRIu64 "; 1 (the middle) or %u is possible", s->crops,
                         DATA_CROPS);
    if (s->resize > 0 && s->resize < size)
        return error_set(err, ERROR_INPUT, "--resize: found %" PRIu64 ", less than the net's image size, %u", s->resize,
                         size);
    o->crops = (uint32_t)s->crops;
    o->shorter_side = (uint32_t)s->resize;
    if (o->shorter_side == 0 && o->crops > 1) o->shorter_side = data_shorter_side(size, o->crops);
    return true;
}

static bool open_checkpoint(struct scoring *s, const char *word, struct error *err)
{
    struct checkpoint_file *file;
    struct train_command *c = &s->train;
    TRY(checkpoint_find(word, c->checkpoint, err) && checkpoint_open(c->checkpoint, &file, &s->checkpoint, err));
    bool ok = s->checkpoint.known || checkpoint_guess(file, &s->checkpoint.spec, err);
    checkpoint_close(file);
    TRY(ok);
    c->options.weights = c->checkpoint;
    c->options.evaluates_only = true;
    return trained_on_read(c->checkpoint, &s->trained, &s->known, err) && describe_model(s, err) &&
           choose_crops(s, err);
}

static bool make_plan(struct scoring *s, struct error *err)
{
    struct train_command *c = &s->train;
    s->plan = train_command_plan(c, err);
    if (!s->plan) return false;
    c->part = train_part(s->plan, NULL);
    return train_command_backend(c, s->plan, err);
}

static void finish(struct scoring *s)
{
    dataset_close(s->train.options.dataset);
    broken_images_destroy(s->train.options.broken);
    trained_on_finish(&s->trained);
    plan_destroy(s->plan);
}

/* ---- A dataset ---- */

/* The same names in the same order, where they are known. */
static bool check_classes(const struct scoring *s, const char *data, struct error *err)
{
    const struct dataset *dataset = s->train.options.dataset;
    uint32_t classes = dataset_info(dataset)->classes;
    if (classes != s->checkpoint.spec.classes)
        return error_set(err, ERROR_INPUT, "%s: has %u classes; the net of %s has %u", data, classes,
                         s->train.checkpoint, s->checkpoint.spec.classes);
    if (dataset_info(dataset)->test_images == 0)
        return error_set(err, ERROR_INPUT, "%s: has no test images; test/ or val/ is wanted in it", data);
    for (uint32_t i = 0; s->known && i < classes && i < s->trained.classes; i++)
        if (strcmp(dataset_class_name(dataset, i), s->trained.names[i]) != 0)
            return error_set(err, ERROR_INPUT, "%s: its class %u is '%s'; that of %s is '%s'", data, i,
                             PRINTABLE_CUT(dataset_class_name(dataset, i), 60), s->train.checkpoint,
                             PRINTABLE_CUT(s->trained.names[i], 60));
    return true;
}

static void print_score(const struct scoring *s, const char *data, const struct score *score)
{
    char text[UNITS_TEXT];
    printf("%s, ", s->checkpoint.spec.name);
    if (s->checkpoint.known) printf("step %" PRIu64 ", ", s->checkpoint.step);
    printf("on %s test image%s of %s%s\n", units_format_count(score->images, text), score->images == 1 ? "" : "s",
           PRINTABLE(data), s->crops > 1 ? ", ten crops of each" : "");
    printf("  top-1 error  %.2f %%\n", 100 * score->top1_error);
    printf("  top-5 error  %.2f %%\n", 100 * score->top5_error);
    printf("  loss         %.4f\n", score->loss);
    if (!s->known) puts("  the scale of the images is this dataset's: the run has not kept its own");
    progress_broken(s->train.options.broken);
}

/* Weights of others say none. */
static json_t *step_json(const struct scoring *s)
{
    return s->checkpoint.known ? json_integer((json_int_t)s->checkpoint.step) : json_null();
}

static void print_score_json(const struct scoring *s, const char *data, const struct score *score)
{
    json_t *object =
        json_pack("{s:s, s:o, s:o, s:o, s:I, s:i, s:f, s:f, s:f, s:I}", "model", s->checkpoint.spec.name, "checkpoint",
                  json_text(s->train.checkpoint), "step", step_json(s), "data", json_text(data), "images",
                  (json_int_t)score->images, "crops", s->crops > 1 ? (int)s->crops : 1, "loss", score->loss,
                  "top1_error", score->top1_error, "top5_error", score->top5_error, "skipped",
                  (json_int_t)broken_images_count(s->train.options.broken));
    if (object) json_write(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
}

static bool eval(struct scoring *s, const char *checkpoint, const char *data, struct error *err)
{
    struct train_command *c = &s->train;
    struct score score;
    c->options.data_path = data;
    c->options.evaluate_images = s->images;
    c->options.stop = stop_flag();
    TRY(open_checkpoint(s, checkpoint, err));
    TRY(train_command_data(c, (uint32_t)c->flags.image_size, err) && check_classes(s, data, err));
    if (!c->strict) TRY((c->options.broken = broken_images_create(err)) != NULL);
    if (s->known) dataset_normalise_by(c->options.dataset, s->trained.mean, s->trained.deviation);
    TRY(make_plan(s, err) && train_check_dataset(s->plan, &c->options, c->options.dataset, err));
    stop_catch();
    TRY(score_dataset(s->plan, c->runs_on, &c->options, &score, err));
    if (s->json)
        print_score_json(s, data, &score);
    else
        print_score(s, data, &score);
    return true;
}

static int run_eval(int argc, char **argv, struct error *err)
{
    struct scoring s = {.train.update = update_flags_none()};
    struct train_command *c = &s.train;
    const struct option_spec specs[] = {{"images", 0, OPTION_COUNT, &s.images, 1, 1e15},
                                        {"crops", 0, OPTION_COUNT, &s.crops, 1, 1e3},
                                        {"resize", 0, OPTION_COUNT, &s.resize, 1, 1 << 15},
                                        {"json", 0, OPTION_FLAG, &s.json, 0, 0},
                                        {"strict", 0, OPTION_FLAG, &c->strict, 0, 0},
                                        {"batch", 'b', OPTION_COUNT, &c->flags.batch, 1, 1 << 16},
                                        {"gpus", 'g', OPTION_TEXT, &c->flags.gpus, 0, 0},
                                        {"backend", 0, OPTION_TEXT, &c->backend, 0, 0},
                                        {"image-size", 0, OPTION_COUNT, &s.image_size, 1, 1 << 14},
                                        {"loader-threads", 0, OPTION_COUNT, &c->loader_threads, 1, 256}};
    const char *words[2];
    size_t count;
    bool ok = options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], words, 2, &count, err);
    if (ok && count != 2)
        ok = error_set(err, ERROR_INPUT, "a checkpoint and a dataset are wanted: fathom eval CHECKPOINT DATA");
    c->options.loader_threads = (uint32_t)c->loader_threads;
    if (c->flags.batch == 0) c->flags.batch = 32;
    if (ok) eval(&s, words[0], words[1], err);
    finish(&s);
    return error_exit_code(err);
}

const struct command command_eval = {"eval", "the error of a trained net on a dataset", eval_manual, run_eval};

/* ---- Pictures ---- */

/* Names and scale of the dataset that --data names. */
static bool take_dataset(struct scoring *s, struct error *err)
{
    struct train_command *c = &s->train;
    if (!c->options.data_path && s->known) return true;
    if (!c->options.data_path)
        return error_set(
            err, ERROR_INPUT,
            "%s: has no data.json beside it, which says what its classes are: name the dataset that it was "
            "trained on with --data",
            c->checkpoint);
    TRY(dataset_open(c->options.data_path, &c->options.dataset, err) || error_prefix(err, "--data"));
    const struct dataset_info *info = dataset_info(c->options.dataset);
    if (info->classes != s->checkpoint.spec.classes)
        return error_set(err, ERROR_INPUT, "--data: %s has %u classes; the net of %s has %u", c->options.data_path,
                         info->classes, c->checkpoint, s->checkpoint.spec.classes);
    trained_on_finish(&s->trained);
    memcpy(s->trained.mean, info->mean, sizeof info->mean);
    memcpy(s->trained.deviation, info->deviation, sizeof info->deviation);
    return true;
}

static const char *class_name(const struct scoring *s, uint32_t class)
{
    if (class < s->trained.classes) return s->trained.names[class];
    const char *name = s->train.options.dataset ? dataset_class_name(s->train.options.dataset, class) : NULL;
    return name ? name : "";
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

static void print_picture(const struct scoring *s, const char *path, float *probabilities)
{
    uint32_t classes = s->checkpoint.spec.classes;
    double probability;
    printf("%s\n", PRINTABLE(path));
    for (uint64_t k = 0; k < s->top && k < classes; k++) {
        uint32_t class = take_best(probabilities, classes, &probability);
        if (isnan(probability))
            printf("  %8s  %s\n", "unknown", PRINTABLE(class_name(s, class)));
        else
            printf("  %6.2f %%  %s\n", 100 * probability, PRINTABLE(class_name(s, class)));
    }
}

static json_t *picture_json(const struct scoring *s, const char *path, float *probabilities)
{
    uint32_t classes = s->checkpoint.spec.classes;
    json_t *list = json_array();
    double probability;
    for (uint64_t k = 0; k < s->top && k < classes; k++) {
        uint32_t class = take_best(probabilities, classes, &probability);
        json_array_append_new(list, json_pack("{s:o, s:o}", "name", json_text(class_name(s, class)), "probability",
                                              isnan(probability) ? json_null() : json_real(probability)));
    }
    return json_pack("{s:o, s:o}", "image", json_text(path), "classes", list);
}

static void print_pictures(const struct scoring *s, const char *const *paths, size_t count, float *probabilities)
{
    uint32_t classes = s->checkpoint.spec.classes;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        if (s->json)
            json_array_append_new(list, picture_json(s, paths[i], probabilities + i * classes));
        else
            print_picture(s, paths[i], probabilities + i * classes);
    json_t *object = json_pack("{s:s, s:o, s:o, s:o}", "model", s->checkpoint.spec.name, "checkpoint",
                               json_text(s->train.checkpoint), "step", step_json(s), "images", list);
    if (s->json && object) json_write(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    if (s->json) putchar('\n');
    json_decref(object);
}

/* The plan for so many pictures, on one device. */
static bool plan_pictures(struct scoring *s, const char *checkpoint, size_t pictures, struct error *err)
{
    struct train_command *c = &s->train;
    TRY(open_checkpoint(s, checkpoint, err) && take_dataset(s, err));
    if (c->flags.batch == 0) c->flags.batch = pictures < 16 ? pictures : 16;
    c->flags.decode_otherwise = DATA_DECODE_BYTES;
    TRY(make_plan(s, err));
    if (s->plan->device_count == 1) return true;
    return error_set(err, ERROR_INPUT, "--gpus: found %zu devices; pictures are looked at on one",
                     s->plan->device_count);
}

static bool classify(struct scoring *s, const char *const *words, size_t count, struct error *err)
{
    struct train_command *c = &s->train;
    size_t pictures = count - 1;
    if (count < 2)
        return error_set(err, ERROR_INPUT, "a checkpoint and images are wanted: fathom classify CHECKPOINT IMAGE...");
    TRY(plan_pictures(s, words[0], pictures, err));
    float *probabilities = mem_zalloc(MEM_GENERAL, pictures, s->checkpoint.spec.classes * sizeof *probabilities);
    if (!probabilities)
        return error_memory(err, pictures * s->checkpoint.spec.classes * sizeof(float), "probabilities");
    bool ok = score_pictures(s->plan, c->runs_on, &c->options, &s->trained, words + 1, pictures, probabilities, err);
    if (ok) print_pictures(s, words + 1, pictures, probabilities);
    mem_free(probabilities);
    return ok;
}

static bool features(struct scoring *s, const char *const *words, size_t count, struct error *err)
{
    struct train_command *c = &s->train;
    size_t pictures = count - 1;
    if (count < 2)
        return error_set(err, ERROR_INPUT, "a checkpoint and images are wanted: fathom features CHECKPOINT IMAGE...");
    if (!s->output)
        return error_set(err, ERROR_INPUT, "--output: a file for the array is wanted, like -o features.npy");
    TRY(plan_pictures(s, words[0], pictures, err));
    uint32_t columns = score_feature_count(s->plan);
    float *values = mem_zalloc(MEM_GENERAL, pictures, columns * sizeof *values);
    if (!values) return error_memory(err, pictures * columns * sizeof *values, "features");
    bool ok = score_features(s->plan, c->runs_on, &c->options, &s->trained, words + 1, pictures, values, err) &&
              npy_write(s->output, values, pictures, columns, err) &&
              npy_write_names(s->output, words + 1, pictures, err);
    mem_free(values);
    if (ok)
        printf("%s: %zu x %u float32, %s of %s\n", PRINTABLE(s->output), pictures, columns, s->checkpoint.spec.name,
               PRINTABLE(c->checkpoint));
    return ok;
}

static int run_pictures(int argc, char **argv, struct scoring *s, const struct option_spec *specs, size_t spec_count,
                        bool (*go)(struct scoring *, const char *const *, size_t, struct error *), struct error *err)
{
    const char **words = mem_zalloc(MEM_GENERAL, MOST_PICTURES + 1, sizeof *words);
    size_t count = 0;
    bool ok = words || error_memory(err, MOST_PICTURES * sizeof *words, "the images' names");
    if (ok && options_parse(argc, argv, specs, spec_count, words, MOST_PICTURES + 1, &count, err))
        go(s, words, count, err);
    finish(s);
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
                                        {"data", 0, OPTION_TEXT, &c->options.data_path, 0, 0},
                                        {"batch", 'b', OPTION_COUNT, &c->flags.batch, 1, 1 << 16},
                                        {"gpus", 'g', OPTION_TEXT, &c->flags.gpus, 0, 0},
                                        {"backend", 0, OPTION_TEXT, &c->backend, 0, 0},
                                        {"image-size", 0, OPTION_COUNT, &s.image_size, 1, 1 << 14}};
    return run_pictures(argc, argv, &s, specs, sizeof specs / sizeof specs[0], classify, err);
}

static int run_features(int argc, char **argv, struct error *err)
{
    struct scoring s = {.train.update = update_flags_none()};
    struct train_command *c = &s.train;
    const struct option_spec specs[] = {{"output", 'o', OPTION_TEXT, &s.output, 0, 0},
                                        {"data", 0, OPTION_TEXT, &c->options.data_path, 0, 0},
                                        {"batch", 'b', OPTION_COUNT, &c->flags.batch, 1, 1 << 16},
                                        {"gpus", 'g', OPTION_TEXT, &c->flags.gpus, 0, 0},
                                        {"backend", 0, OPTION_TEXT, &c->backend, 0, 0},
                                        {"image-size", 0, OPTION_COUNT, &s.image_size, 1, 1 << 14}};
    return run_pictures(argc, argv, &s, specs, sizeof specs / sizeof specs[0], features, err);
}

const struct command command_features = {"features", "what it makes of them, as a NumPy array", features_manual,
                                         run_features};

const struct command command_classify = {"classify", "what a trained net sees in pictures", classify_manual,
                                         run_classify};
