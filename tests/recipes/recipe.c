/* What the papers train with: the planner's runs and the trainer's are the same ones. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rate.h"
#include "recipe.h"
#include "scaling.h"

/* dataset -1: the model's own. */
static bool find_spec(const char *name, int dataset, struct model_spec *spec, struct error *err)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    options.dataset = dataset;
    return model_parse(name, &options, spec, err);
}

static struct model_spec spec_of(const char *name)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(find_spec(name, -1, &spec, &err), "%s", err.text);
    return spec;
}

static const char *const models[] = {
    "resnet-18", "resnet-34", "resnet-50",  "resnet-101",  "resnet-152", "resnet-200",  "resnet-20", "resnet-32",
    "resnet-44", "resnet-56", "resnet-110", "resnet-1202", "resnet-164", "resnet-1001", "resnet-29", "plain-20",
    "plain-56",  "plain-18",  "plain-34",   "vgg-a",       "vgg-d",      "bn-inception"};
#define MODELS (sizeof models / sizeof models[0])

/* As `fathom plan` tells it, and as `fathom train` would run it. */
static void check_length(const struct model_spec *spec, uint32_t batch)
{
    struct plan plan = {.spec = *spec, .batch = batch, .device_count = 1, .step_seconds = 1};
    struct whole_run run;
    cr_assert(whole_run_estimate(&plan, recipe_images(recipe_for(spec)), recipe_epoch_images(spec->dataset), 0, &run));
    struct schedule schedule = schedule_for(recipe_for(spec), 0, batch);
    cr_expect_eq(run.steps, schedule.iterations, "%s at %u: %lu, not %lu", spec->name, batch, (unsigned long)run.steps,
                 (unsigned long)schedule.iterations);
    cr_expect_eq(run.steps, recipe_steps(recipe_for(spec), batch));
}

Test(recipe, plans_tell_of_the_runs_that_would_be_trained)
{
    static const uint32_t batches[] = {1, 32, 100, 128, 256, 4096};
    size_t found = 0;
    for (size_t m = 0; m < MODELS; m++)
        for (int dataset = DATASET_CIFAR10; dataset <= DATASET_IMAGENET; dataset++) {
            struct model_spec spec;
            struct error err = {0};
            if (!find_spec(models[m], dataset, &spec, &err)) continue; /* a depth of the other family */
            found++;
            for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) check_length(&spec, batches[b]);
        }
    cr_expect_geq(found, MODELS);
}

Test(recipe, lengths_are_those_of_the_papers)
{
    static const struct {
        const char *model;
        uint32_t batch;
        uint64_t steps;
    } rows[] = {
        {"resnet-110", 128, 64000},  /* arXiv:1512.03385, 4.2 */
        {"resnet-1001", 128, 64000}, /* arXiv:1603.05027, appendix */
        {"resnet-50", 256, 600000},  /* arXiv:1512.03385, 3.4 */
        {"resnet-200", 256, 450411}, /* 90 epochs of 1,281,167 images */
        {"vgg-d", 256, 370000},      /* arXiv:1409.1556, 3.1 */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_spec spec = spec_of(rows[i].model);
        cr_expect_eq(recipe_steps(recipe_for(&spec), rows[i].batch), rows[i].steps, "%s", rows[i].model);
    }
}

/* As many passes over 100 photographs as over ImageNet are no 600,000 steps. */
Test(recipe, passes_are_those_of_the_papers_over_any_images)
{
    struct model_spec small = spec_of("resnet-110"), large = spec_of("resnet-50");
    const struct recipe *cifar = recipe_for(&small), *imagenet = recipe_for(&large);
    cr_expect_eq(recipe_steps_over(cifar, 50000, 128), 64000);
    cr_expect_eq(recipe_steps_over(cifar, 10000, 128), 12800);
    cr_expect_eq(recipe_steps_over(imagenet, 1281167, 256), 600000);
    cr_expect_eq(recipe_steps_over(imagenet, 100, 32), 375); /* 119.9 passes */
    cr_expect_eq(recipe_steps_over(imagenet, 1, 256), 1);
}

/* ResNet-200 on 400 photographs in batches of 4: 90 passes, and no 28,826,258 steps. */
Test(recipe, a_small_set_ends_in_sight)
{
    struct model_spec spec = spec_of("resnet-200");
    const struct recipe *recipe = recipe_for(&spec);
    uint64_t steps = recipe_steps_over(recipe, 400, 4);
    struct schedule schedule = schedule_for(recipe, steps, 4);
    cr_expect_eq(recipe_steps(recipe, 4), 28826258);
    cr_expect_eq(steps, 9000);
    cr_expect_eq(schedule.drops[0], 3000);
    cr_expect_eq(schedule.drops[1], 6000);
}

/* ---- By name and as files ---- */

static struct recipe read_recipe(const char *word)
{
    struct recipe recipe;
    struct error err = {0};
    cr_assert(recipe_read(word, "--recipe", &recipe, &err), "%s: %s", word, err.text);
    return recipe;
}

static void check_same_text(const struct recipe *a, const struct recipe *b)
{
    struct text texts[2] = {0};
    recipe_write(a, &texts[0]);
    recipe_write(b, &texts[1]);
    cr_assert_not(texts[0].failed || texts[1].failed);
    cr_expect_str_eq(texts[0].bytes, texts[1].bytes);
    text_finish(&texts[0]);
    text_finish(&texts[1]);
}

Test(recipe, those_that_are_built_in_are_the_files)
{
    size_t count = 0;
    for (const struct recipe *recipe; (recipe = recipe_at(count)); count++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/recipes/%s.json", getenv("FATHOM_SOURCE"), recipe->name);
        struct recipe file = read_recipe(path), named = read_recipe(recipe->name);
        check_same_text(&file, recipe);
        check_same_text(&named, recipe);
    }
    cr_expect_geq(count, 10);
}

Test(recipe, releases_train_as_their_code_says)
{
    struct recipe deep = read_recipe("cifar-release"), torch = read_recipe("imagenet-torch");
    struct schedule schedule = schedule_for(&deep, 0, 64);
    cr_expect_eq(schedule.iterations, 156250); /* 200 epochs of 50,000 images */
    cr_expect_eq(schedule.drops[0], 62500);    /* 80 epochs */
    cr_expect_eq(schedule.drops[1], 94531);    /* 121 */
    cr_expect_float_eq(schedule.base, 0.1, 1e-12);
    cr_expect(deep.nesterov && torch.nesterov && torch.epochs == 90 && torch.batch == 256);
}

/* A recipe with other figures, in a file of the caller's. */
static bool read_text(const char *json, struct recipe *recipe, struct error *err)
{
    char path[] = "/tmp/fathom-recipe-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, json, strlen(json)) == (ssize_t)strlen(json) && close(fd) == 0);
    bool ok = recipe_read(path, "--recipe", recipe, err);
    cr_assert_eq(unlink(path), 0);
    return ok;
}

#define BASE "\"batch\": 10, \"training_images\": 1000, \"learning_rate\": 0.2, \"momentum\": 0.5, \"weight_decay\": 0"

Test(recipe, a_file_of_ones_own_is_scaled_as_the_papers)
{
    struct recipe recipe;
    struct error err = {0};
    cr_assert(read_text("{" BASE
                        ", \"epochs\": 8, \"schedule\": \"steps\", \"drops\": [2, 4, 6], \"drop_factor\": 0.5, "
                        "\"warm_up_iterations\": 80, \"warm_up_rate\": 0.05}",
                        &recipe, &err),
              "%s", err.text);
    cr_expect(recipe.augment && !recipe.nesterov && recipe.bn_momentum > 0);
    struct schedule schedule = schedule_for(&recipe, recipe_steps_over(&recipe, 500, 10), 10);
    struct schedule_state state = schedule_begin();
    static const struct {
        uint64_t step;
        double rate;
    } rows[] = {{0, 0.05}, {39, 0.05}, {40, 0.2}, {99, 0.2}, {100, 0.1}, {200, 0.05}, {300, 0.025}};
    cr_expect_eq(schedule.iterations, 400);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_float_eq(schedule_rate_at(&schedule, &state, rows[i].step), rows[i].rate, 1e-12, "step %lu",
                           (unsigned long)rows[i].step);
    struct schedule_change change = {NULL, 0.4, UINT64_MAX}; /* an option wins; the warm-up keeps its share */
    cr_assert(schedule_change(&schedule, &change, &err));
    cr_expect_float_eq(schedule_rate_at(&schedule, &state, 0), 0.1, 1e-12);
    cr_expect_float_eq(schedule_rate_at(&schedule, &state, 40), 0.4, 1e-12);
}

Test(recipe, faults_of_a_file_are_named)
{
    static const struct {
        const char *json, *says;
    } rows[] = {
        {"[]", "object"},
        {"{}", "'batch'"},
        {"{" BASE ", \"epoch\": 8, \"schedule\": \"constant\"}", "'epoch' in a recipe; the nearest is 'epochs'"},
        {"{" BASE ", \"schedule\": \"constant\"}", "neither"},
        {"{" BASE ", \"epochs\": 8, \"iterations\": 9, \"schedule\": \"constant\"}", "both"},
        {"{" BASE ", \"epochs\": 0, \"schedule\": \"constant\"}", "1 to 1e+06"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"step\"}", "did you mean steps"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"steps\"}", "missing"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"cosine\", \"drops\": [3]}", "they go with 'steps'"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"steps\", \"drops\": [3, 3]}", "above 3 is wanted in place 2"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"steps\", \"drops\": [3, 8]}", "ends after 8 epochs"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"steps\", \"drops\": []}", "0 numbers"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"constant\", \"patience\": 2}", "it goes with 'plateau'"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"constant\", \"warm_up_rate\": 0.1}", "go together"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"constant\", \"warm_up_rate\": 0.1, \"warm_up_iterations\": 800}",
         "the run has 800"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"constant\", \"bn_momentum\": 2}", "'bn_momentum' is 2"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"constant\", \"label_smoothing\": 1}", "'label_smoothing' is 1"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"constant\", \"init\": \"lecunn\"}", "did you mean lecun"},
        {"{" BASE ", \"epochs\": 8, \"schedule\": \"constant\", \"name\": \"\"}", "'name' has 0 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct recipe recipe;
        struct error err = {0};
        cr_expect_not(read_text(rows[i].json, &recipe, &err), "%s", rows[i].json);
        cr_expect_eq(err.kind, ERROR_INPUT);
        cr_expect(strstr(err.text, rows[i].says), "%s: %s", rows[i].json, err.text);
    }
}

Test(recipe, every_row_says_where_it_is_from)
{
    for (size_t m = 0; m < MODELS; m++) {
        struct model_spec spec = spec_of(models[m]);
        const struct recipe *recipe = recipe_for(&spec);
        cr_expect_not_null(strstr(recipe->source, "arXiv:"), "%s", recipe->name);
        cr_expect(recipe->learning_rate > 0 && recipe->momentum > 0 && recipe->bn_momentum > 0 && recipe->batch > 0);
        cr_expect((recipe->drop_count > 0) != (recipe->patience > 0));
        cr_expect_eq(recipe->training_images, recipe_epoch_images(spec.dataset), "%s", recipe->name);
    }
}
