/* What the papers train with: the planner's runs and the trainer's are the same ones. */
#include <criterion/criterion.h>

#include <math.h>

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
    "resnet-18", "resnet-34", "resnet-50", "resnet-101", "resnet-152",  "resnet-200", "resnet-20",
    "resnet-32", "resnet-44", "resnet-56", "resnet-110", "resnet-1202", "resnet-164", "resnet-1001",
    "resnet-29", "plain-20",  "plain-56",  "plain-18",   "plain-34",    "vgg-a",      "vgg-d"};
#define MODELS (sizeof models / sizeof models[0])

/* As `fathom plan` tells it, and as `fathom train` would run it. */
static void check_length(const struct model_spec *spec, uint32_t batch)
{
    struct plan plan = {.spec = *spec, .batch = batch, .device_count = 1, .step_seconds = 1};
    struct whole_run run;
    cr_assert(whole_run_estimate(&plan, 0, 0, &run));
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
    cr_expect_eq(recipe_steps_over(cifar, DATASET_CIFAR10, 50000, 128), 64000);
    cr_expect_eq(recipe_steps_over(cifar, DATASET_CIFAR10, 10000, 128), 12800);
    cr_expect_eq(recipe_steps_over(imagenet, DATASET_IMAGENET, 1281167, 256), 600000);
    cr_expect_eq(recipe_steps_over(imagenet, DATASET_IMAGENET, 100, 32), 375); /* 119.9 passes */
    cr_expect_eq(recipe_steps_over(imagenet, DATASET_IMAGENET, 1, 256), 1);
}

Test(recipe, every_row_says_where_it_is_from)
{
    for (size_t m = 0; m < MODELS; m++) {
        struct model_spec spec = spec_of(models[m]);
        const struct recipe *recipe = recipe_for(&spec);
        cr_expect_not_null(strstr(recipe->source, "arXiv:"), "%s", recipe->name);
        cr_expect(recipe->rate > 0 && recipe->momentum > 0 && recipe->bn_momentum > 0 && recipe->batch > 0);
        cr_expect((recipe->first > 0) == (recipe->last > 0) && (recipe->first > 0) != (recipe->patience > 0));
    }
}
