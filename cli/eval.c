/* `fathom eval`: the error of a trained net on a dataset. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "json_print.h"
#include "printable.h"
#include "scales.h"
#include "scoring.h"
#include "stop.h"
#include "units.h"

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
    "    the shorter side, or ten crops, or all at several scales. Nothing is\n"
    "    written.\n"
    "\n"
    "OPTIONS\n"
    "    --data DATA         the same as DATA, as `fathom train` has it\n"
    "    --images N          of the test images, spread over them; all if not given\n"
    "    --crops 10          of photographs the four corners and the middle, and the\n"
    "                        same mirrored; the error is that of the mean of the ten\n"
    "                        answers' probabilities\n"
    "    --resize S          photographs are scaled until their shorter side is S,\n"
    "                        then cut; if not given 8/7 of the image size\n"
    "    --scales S,S,...    whole photographs, their shorter side S long, through\n"
    "                        the net as it is, which pools over images of any size;\n"
    "                        the error is that of the probabilities' mean over all\n"
    "                        scales. The papers' are 224,256,384,480,640. Images of\n"
    "                        one size go together, up to --batch of them, under a\n"
    "                        plan that is made for them; the longer side is a\n"
    "                        multiple of 32 (of 8 in nets for 32 x 32), at most four\n"
    "                        times the shorter one\n"
    "    --json              one JSON object: model, checkpoint, step, data, images,\n"
    "                        crops, planned_bytes (of the first device), loss,\n"
    "                        top1_error, top5_error (of more than five classes),\n"
    "                        skipped; with --scales scales and plans in place of\n"
    "                        crops, and planned_bytes of the largest\n"
    "    --strict            an image that cannot be decoded is a failure; else it is\n"
    "                        skipped and named\n"
    "    --dtype T           what activations are held in, as in `fathom help plan`;\n"
    "                        f32 if not given\n"
    "    -b, --batch N       images at once; 32 if not given\n",

    SCORING_MANUAL("--backend NAME, --loader-threads N, --image-size N"),

    "EXAMPLES\n"
    "    fathom eval run cifar-10-batches-bin\n"
    "    fathom eval run/best.safetensors other-photos --json\n"
    "    fathom eval resnet50.safetensors imagenet --crops 10\n"
    "    fathom eval run photos --scales 224,256,384,480,640 -b 8\n",
    NULL,
};

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

static void print_score(const struct scoring *s, const char *data, const char *how, const struct score *score)
{
    char text[UNITS_TEXT];
    printf("%s, ", s->checkpoint.spec.name);
    if (s->checkpoint.known) printf("step %" PRIu64 ", ", s->checkpoint.step);
    printf("on %s test image%s of %s%s\n", units_format_count(score->images, text), score->images == 1 ? "" : "s",
           PRINTABLE(data), how);
    printf("  top-1 error  %.2f %%\n", 100 * score->top1_error);
    if (!isnan(score->top5_error)) printf("  top-5 error  %.2f %%\n", 100 * score->top5_error);
    printf("  loss         %.4f\n", score->loss);
    if (!s->known) puts("  the scale of the images is this dataset's: the run has not kept its own");
}

/* Takes `how`, what is said beside. */
static bool print_score_json(const struct scoring *s, const char *data, json_t *how, const struct score *score,
                             struct error *err)
{
    json_t *object = json_pack("{s:s, s:o, s:o, s:o, s:I, s:o, s:o, s:o*, s:I}", "model", s->checkpoint.spec.name,
                               "checkpoint", json_text(s->train.checkpoint), "step", scoring_step(s), "data",
                               json_text(data), "images", (json_int_t)score->images, "loss",
                               json_real_or_null(score->loss), "top1_error", json_real_or_null(score->top1_error),
                               "top5_error", isnan(score->top5_error) ? NULL : json_real(score->top5_error), "skipped",
                               (json_int_t)broken_images_count(s->train.options.broken));
    json_object_update(object, how);
    json_decref(how);
    return json_print(object, 9, stdout, err);
}

/* ---- Crops ---- */

static bool eval_crops(struct scoring *s, const char *data, struct error *err)
{
    struct train_command *c = &s->train;
    struct score score;
    bool ten = s->crops > 1;
    TRY(scoring_plan(s, err) && train_check_dataset(s->plan, &c->options, c->options.dataset, err));
    stop_catch();
    TRY(score_dataset(s->plan, c->runs_on, &c->options, &score, err));
    json_int_t planned = (json_int_t)s->plan->devices[0].peak_bytes;
    json_t *how = s->json ? json_pack("{s:i, s:I}", "crops", ten ? (int)s->crops : 1, "planned_bytes", planned) : NULL;
    if (s->json) return print_score_json(s, data, how, &score, err);
    print_score(s, data, ten ? ", ten crops of each" : "", &score);
    return true;
}

/* ---- Scales ---- */

static bool parse_scales(const struct scoring *s, struct whole_options *options, struct error *err)
{
    const char *at = s->scales;
    for (;;) {
        char word[24];
        uint64_t scale;
        size_t length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", length < sizeof word ? (int)length : (int)sizeof word - 1, at);
        TRY(units_parse_count(word, "--scales", 8, 4096, &scale, err));
        if (options->scale_count == WHOLE_MOST_SCALES)
            return error_set(err, ERROR_INPUT, "--scales: found more than %u; up to so many are possible",
                             WHOLE_MOST_SCALES);
        options->scales[options->scale_count++] = (uint32_t)scale;
        if (!at[length]) return true;
        at += length + 1;
    }
}

static bool check_scales(const struct scoring *s, struct error *err)
{
    if (s->crops > 1 || s->resize > 0)
        return error_set(err, ERROR_INPUT, "--scales: found beside --%s; whole images are not cut",
                         s->crops > 1 ? "crops" : "resize");
    if (s->image_size > 0)
        return error_set(err, ERROR_INPUT, "--scales: found beside --image-size; scales are the sizes");
    if (s->checkpoint.spec.family != FAMILY_VGG) return true;
    return error_set(err, ERROR_INPUT, "--scales: %s reads images of one size alone; it goes with residual nets",
                     s->checkpoint.spec.name);
}

/* Nothing of it is trained, so that it takes what an evaluation does. */
static bool plan_whole(void *context, uint32_t columns, uint32_t rows, uint32_t batch, struct plan **plan,
                       const struct backend **backend, struct error *err)
{
    struct scoring *s = context;
    struct train_command *c = &s->train;
    c->flags.image_size = rows;
    c->flags.image_width = columns;
    c->flags.batch = batch;
    c->flags.float_images = true;
    TRY(scoring_plan(s, err));
    *plan = s->plan;
    *backend = c->runs_on;
    s->plan = NULL;
    if ((*plan)->device_count == 1) return true;
    size_t devices = (*plan)->device_count;
    plan_destroy(*plan);
    return error_set(err, ERROR_INPUT, "--gpus: found %zu devices; whole images are looked at on one", devices);
}

static void print_scales(const struct scoring *s, const char *data, const struct scales_answer *answer)
{
    char bytes[UNITS_TEXT], how[160];
    snprintf(how, sizeof how, ", whole at %.120s", s->scales);
    print_score(s, data, how, &answer->score);
    printf("  %" PRIu32 " plan%s, the largest %s, of images of %" PRIu32 " x %" PRIu32 "\n", answer->plans,
           answer->plans == 1 ? "" : "s", units_format_bytes(answer->planned_bytes, bytes), answer->columns,
           answer->rows);
}

static bool print_scales_json(const struct scoring *s, const char *data, const struct whole_options *options,
                              const struct scales_answer *answer, struct error *err)
{
    json_t *scales = json_array();
    for (uint32_t i = 0; i < options->scale_count; i++)
        json_array_append_new(scales, json_integer((json_int_t)options->scales[i]));
    json_t *how = json_pack("{s:o, s:I, s:I}", "scales", scales, "plans", (json_int_t)answer->plans, "planned_bytes",
                            (json_int_t)answer->planned_bytes);
    return print_score_json(s, data, how, &answer->score, err);
}

static bool eval_scales(struct scoring *s, const char *data, struct error *err)
{
    struct train_command *c = &s->train;
    struct whole_set set = {0};
    struct scales_answer answer;
    bool imagenet = s->checkpoint.spec.dataset == DATASET_IMAGENET;
    struct whole_options options = {.images = s->images,
                                    .step = imagenet ? 32 : 8,
                                    .threads = c->options.loader_threads,
                                    .broken = c->options.broken};
    struct scales_request request = {.options = &c->options,
                                     .set = &set,
                                     .classes = s->checkpoint.spec.classes,
                                     .batch = (uint32_t)c->flags.batch,
                                     .make_plan = plan_whole,
                                     .context = s};
    TRY(check_scales(s, err) && parse_scales(s, &options, err));
    stop_catch();
    bool ok = whole_set_init(&set, c->options.dataset, &options, err);
    c->flags.decode_otherwise = set.decode_bytes;
    ok = ok && score_scales(&request, &answer, err);
    if (ok && s->json)
        ok = print_scales_json(s, data, &options, &answer, err);
    else if (ok)
        print_scales(s, data, &answer);
    whole_set_finish(&set);
    return ok;
}

/* ---- The command ---- */

static bool eval(struct scoring *s, const char *checkpoint, const char *data, struct error *err)
{
    struct train_command *c = &s->train;
    c->options.data_path = data;
    c->options.evaluate_images = s->images;
    c->options.stop = stop_flag();
    TRY(scoring_open(s, checkpoint, err));
    TRY(scoring_data(s, true, err) && check_classes(s, data, err));
    if (!c->strict) TRY((c->options.broken = broken_images_create(err)) != NULL);
    TRY(s->scales ? eval_scales(s, data, err) : eval_crops(s, data, err));
    if (!s->json) progress_broken(c->options.broken);
    return true;
}

static int run_eval(int argc, char **argv, struct error *err)
{
    struct scoring s = {.train.update = update_flags_none()};
    struct train_command *c = &s.train;
    const struct option_spec specs[] = {{"images", 0, OPTION_COUNT, &s.images, 1, 1e15},
                                        {"crops", 0, OPTION_COUNT, &s.crops, 1, 1e3},
                                        {"resize", 0, OPTION_COUNT, &s.resize, 1, 1 << 15},
                                        {"scales", 0, OPTION_TEXT, &s.scales, 0, 0},
                                        {"data", 0, OPTION_TEXT, &c->options.data_path, 0, 0},
                                        {"json", 0, OPTION_FLAG, &s.json, 0, 0},
                                        {"strict", 0, OPTION_FLAG, &c->strict, 0, 0},
                                        SCORING_SPECS(s),
                                        {"dtype", 0, OPTION_TEXT, &c->flags.dtype, 0, 0},
                                        {"loader-threads", 0, OPTION_COUNT, &c->loader_threads, 1, 256}};
    const char *words[2];
    size_t count;
    bool ok = options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], words, 2, &count, err);
    if (ok && count == 1 && c->options.data_path)
        words[count++] = c->options.data_path;
    else if (ok && count == 2 && c->options.data_path)
        ok = error_set(err, ERROR_INPUT, "--data: found beside a dataset as a word; one of them says which");
    if (ok && count != 2)
        ok = error_set(err, ERROR_INPUT, "a checkpoint and a dataset are wanted: fathom eval CHECKPOINT DATA");
    c->options.loader_threads = (uint32_t)c->loader_threads;
    if (c->flags.batch == 0) c->flags.batch = 32;
    if (ok) eval(&s, words[0], words[1], err);
    scoring_finish(&s);
    return error_exit_code(err);
}

const struct command command_eval = {"eval", "the error of a trained net on a dataset", eval_manual, run_eval};
