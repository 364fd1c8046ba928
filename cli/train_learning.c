/* `fathom train`: how a net learns, of a recipe and of the options that win over it. */
#define _GNU_SOURCE
#include "train_learning.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "choice.h"
#include "page.h"
#include "printable.h"
#include "units.h"

/* ---- What was given ---- */

void train_learning_specs(struct train_command *c, struct option_spec out[TRAIN_LEARNING_FLAGS])
{
    struct train_options *o = &c->options;
    const struct option_spec specs[TRAIN_LEARNING_OWN] = {
        {"iterations", 0, OPTION_COUNT, &o->iterations, 1, 1e15},
        {"epochs", 0, OPTION_REAL, &c->epochs, 0.001, 1e6},
        {"evaluate-every", 0, OPTION_COUNT, &o->evaluate_every, 1, 1e15},
        {"evaluate-images", 0, OPTION_COUNT, &o->evaluate_images, 1, 1e15},
        {"no-evaluate", 0, OPTION_FLAG, &o->skip_evaluation, 0, 0},
        {"recipe", 0, OPTION_TEXT, &c->recipe_word, 0, 0},
        {"schedule", 0, OPTION_TEXT, &c->change.kind, 0, 0},
        {"learning-rate", 0, OPTION_REAL, &c->change.base, 1e-12, 1000},
        {"warm-up", 0, OPTION_COUNT, &c->change.warm_steps, 0, 1e15},
        {"bn-momentum", 0, OPTION_REAL, &c->bn_momentum, 1e-6, 1},
        {"bn-recompute", 0, OPTION_COUNT, &c->bn_recompute, 0, 1e9},
        {"label-smoothing", 0, OPTION_REAL, &c->label_smoothing, 0, 0.9999},
        {"loss-scale", 0, OPTION_REAL, &c->options.loss_scale, (double)LOSS_SCALE_LEAST, (double)LOSS_SCALE_MOST},
        {"init", 0, OPTION_TEXT, &c->init, 0, 0},
        {"no-augment", 0, OPTION_FLAG, &c->no_augment, 0, 0},
        {"crop", 0, OPTION_TEXT, &c->crop, 0, 0},
        {"color-jitter", 0, OPTION_REAL, &c->color_jitter, 0, 1},
        {"lighting", 0, OPTION_REAL, &c->lighting, 0, 10},
    };
    memcpy(out, specs, sizeof specs);
    update_flags_specs(&c->update, out + TRAIN_LEARNING_OWN);
}

/* A plan has its batch. */
bool train_learning_recipe(struct train_command *c, bool planned, struct error *err)
{
    if (c->init) TRY(recipe_parse_init(c->init, "--init", &c->options.init, err));
    if (!c->recipe_word) return true;
    TRY(recipe_read(c->recipe_word, "--recipe", &c->recipe, err));
    if (!planned && c->flags.batch == 0) c->flags.batch = c->recipe.batch;
    return true;
}

/* Known before the rest: what decoding takes depends on it. */
static bool take_crop(struct train_command *c, struct error *err)
{
    static const char *const laws[] = {"scale", "area"};
    size_t law = c->recipe.area_crops;
    if (c->crop) TRY(choice_parse(c->crop, "--crop", laws, 2, NULL, 0, &law, err));
    c->options.area_crops = law == 1;
    return true;
}

bool train_learning_take(struct train_command *c, const struct model_spec *spec, struct error *err)
{
    if (c->recipe_taken) return true;
    c->recipe_taken = true;
    if (!c->recipe_word) c->recipe = *recipe_for(spec);
    return take_crop(c, err) && update_flags_apply(&c->update, &c->recipe, err);
}

/* ---- What follows from it ---- */

static double or_own(double number, double own) { return number > 0 ? number : own; }

static void choose_update(struct train_options *o, const struct recipe *recipe)
{
    const struct optimizer_defaults own = optimizer_defaults(recipe->optimizer);
    o->optimizer = recipe_update_needs(recipe).optimizer;
    o->momentum = recipe->momentum;
    o->nesterov = recipe->nesterov;
    o->beta1 = or_own(recipe->beta1, own.beta1);
    o->beta2 = or_own(recipe->beta2, own.beta2);
    o->epsilon = or_own(recipe->epsilon, own.epsilon);
    o->weight_decay = recipe->weight_decay;
    o->spares_bn = !recipe->decay_all;
    o->clip_norm = recipe->clip_norm;
    o->average_decay = recipe->average_weights;
}

/* A recipe may say what these images do not have; an option that would do nothing is a mistake. */
static bool check_augmentation(const struct train_command *c, const struct plan *plan, struct error *err)
{
    bool colours = !isnan(c->color_jitter) || !isnan(c->lighting);
    const char *option = c->crop ? "--crop" : !isnan(c->color_jitter) ? "--color-jitter" : "--lighting";
    if (c->no_augment && (c->crop || colours))
        return error_set(err, ERROR_INPUT, "%s: found beside --no-augment, which leaves images as they are", option);
    if (c->crop && !data_cuts_views(plan->spec.image_size))
        return error_set(err, ERROR_INPUT,
                         "--crop: found for images of %u x %u, which are shifted, not cut; it is for "
                         "larger ones",
                         plan->spec.image_size, plan->spec.image_size);
    return true;
}

/* What the recipe says and no option says otherwise. */
static bool choose_schedule(struct train_command *c, const struct plan *plan, struct error *err)
{
    const struct recipe *recipe = &c->recipe;
    c->options.augment = !c->no_augment && recipe->augment;
    c->options.colour.jitter = isnan(c->color_jitter) ? recipe->color_jitter : c->color_jitter;
    c->options.colour.lighting = isnan(c->lighting) ? recipe->lighting : c->lighting;
    c->options.bn_momentum = isnan(c->bn_momentum) ? recipe->bn_momentum : c->bn_momentum;
    c->options.bn_recompute = plan->freeze_bn                 ? 0
                              : c->bn_recompute == UINT64_MAX ? recipe->bn_recompute
                                                              : c->bn_recompute;
    if (!c->init) c->options.init = recipe->init;
    c->options.schedule = schedule_for(recipe, c->options.iterations, plan->batch);
    c->options.label_smoothing = isnan(c->label_smoothing) ? recipe->label_smoothing : c->label_smoothing;
    return schedule_change(&c->options.schedule, &c->change, err);
}

/* As many passes over the images that there are as the recipe makes over its own, where nobody says how many. */
static bool choose_iterations(struct train_command *c, const struct plan *plan, struct error *err)
{
    if (c->options.iterations > 0 && c->epochs > 0)
        return error_set(err, ERROR_INPUT, "--iterations and --epochs say the same thing: one of them is wanted");
    if (c->options.iterations > 0) return true;
    uint64_t images = dataset_info(c->options.dataset)->train_images;
    c->papers_steps = c->epochs <= 0;
    c->options.iterations = c->papers_steps ? recipe_steps_over(&c->recipe, images, plan->batch)
                                            : (uint64_t)ceil(c->epochs * (double)images / plan->batch);
    return true;
}

bool train_learning_choose(struct train_command *c, const struct plan *plan, struct error *err)
{
    TRY(train_learning_take(c, &plan->spec, err));
    choose_update(&c->options, &c->recipe);
    TRY(train_check_update(plan, &c->options, err));
    if (plan->freeze_bn && c->bn_recompute != UINT64_MAX && c->bn_recompute > 0)
        return error_set(err, ERROR_INPUT, "--bn-recompute: found for a plan whose statistics are frozen");
    TRY(choose_iterations(c, plan, err) && check_augmentation(c, plan, err));
    return choose_schedule(c, plan, err);
}

/* ---- Words ---- */

/* What is not as the recipe's own figures are, though nobody asked for it. */
static void add_scaled(const struct train_command *c, const struct plan *plan, struct text *text)
{
    const struct recipe *recipe = &c->recipe;
    const struct schedule *schedule = &c->options.schedule;
    if (isnan(c->change.base) && schedule->base != recipe->learning_rate)
        text_add(text, "; rate %g in place of %g, as the batch is %u in place of %" PRIu64, schedule->base,
                 recipe->learning_rate, plan->batch, recipe->batch);
    if (c->change.warm_steps == UINT64_MAX && recipe->warm_up_iterations > 0 && schedule->warm_steps == 0)
        text_add(text, "; its warm-up would be less than a step of so few, and there is none");
}

/* Which recipe it is, and where the steps come from that nobody asked for. */
void train_learning_say(const struct train_command *c, const struct plan *plan)
{
    const struct recipe *recipe = &c->recipe;
    uint64_t theirs = recipe->training_images, images = dataset_info(c->options.dataset)->train_images;
    char count[3][UNITS_TEXT];
    struct text text = {0};
    text_add(&text, "recipe %s", PRINTABLE(recipe->name));
    if (c->recipe_word && recipe_names_file(c->recipe_word)) text_add(&text, " of %s", PRINTABLE(c->recipe_word));
    if (c->papers_steps && images != theirs)
        text_add(&text,
                 ": as many passes as it makes, %.4g, over %s training images; over its own %s that is %s steps "
                 "(--iterations)",
                 (double)recipe_images(recipe) / (double)theirs, units_format_count(images, count[0]),
                 units_format_count(theirs, count[1]), units_format_count(recipe_steps(recipe, plan->batch), count[2]));
    add_scaled(c, plan, &text);
    page_text(stdout, 0, 2, &text);
}
