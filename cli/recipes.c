#include "command.h"

#include <inttypes.h>
#include <stdio.h>

#include "page.h"
#include "recipe.h"
#include "units.h"

static const char *const manual[] = {
    "NAME\n"
    "    fathom recipes - what the papers and their releases train with\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom recipes\n"
    "    fathom recipes NAME|FILE\n"
    "\n",

    "DESCRIPTION\n"
    "    Lists the recipes for `fathom train --recipe NAME`, or prints one as a JSON\n"
    "    file, which can be copied, changed and given to --recipe by its path (a word\n"
    "    with a slash or a dot). A recipe and a plan fix a run.\n"
    "\n"
    "    A run is so many passes over the images. On other images than the recipe's,\n"
    "    or in other batches, drops of the rate and the warm-up keep their share of\n"
    "    it, and the rate follows the batch: in proportion above the recipe's, and\n"
    "    below half of it, where the proportion is to that half.\n"
    "\n",

    "KEYS\n"
    "    name, source          what it is called (the file's name if not given) and\n"
    "                          where its figures come from\n"
    "    batch                 of a step, for which iterations and rates are given\n"
    "    training_images       of the data it is for; a pass over them is an epoch\n"
    "    iterations or epochs  of the whole run\n"
    "    schedule              constant, steps, plateau or cosine\n"
    "    learning_rate         at first\n"
    "    drops                 steps: after how many iterations (or epochs, as the\n"
    "                          run is given in) the rate falls, like [30, 60]\n"
    "    drop_factor           by which it is multiplied then; 0.1 if not given\n"
    "    patience              plateau: evaluations without a better error before the\n"
    "                          rate falls\n"
    "    warm_up_iterations, warm_up_rate\n"
    "                          the rate of the first iterations\n"
    "    warm_up_until_error   the warm-up ends once the training error is below this\n"
    "    optimizer             sgd (if not given), rmsprop, adagrad, adadelta, adam\n"
    "                          or adamw\n"
    "    momentum, weight_decay, nesterov (false if not given)\n"
    "    beta1, beta2, epsilon of the optimizer; beta2 is rmsprop's alpha and\n"
    "                          adadelta's rho; torch.optim's if not given\n"
    "    decay_all             whether gamma, beta and biases decay like weights;\n"
    "                          true if not given\n"
    "    clip_norm             of all gradients of a step; not clipped if not given\n"
    "    average_weights       decay of an average of the weights over the steps;\n"
    "                          none if not given\n"
    "    label_smoothing       of the training loss; 0 if not given\n"
    "    bn_momentum           weight of a batch in batch normalisation's running\n"
    "                          statistics; 0.1 if not given\n"
    "    bn_recompute          training images over which they are taken anew before\n"
    "                          each test; none if not given\n"
    "    augment               random crops and flips; true if not given\n"
    "    area_crops            with it photographs are cut by scale and aspect; false\n"
    "                          if not given: by scale\n"
    "    color_jitter          with it brightness, contrast and saturation are each\n"
    "                          multiplied by 1 - J to 1 + J; 0 if not given\n"
    "    lighting              with it deviation of the multiples of the colours'\n"
    "                          principal components that are added; 0 if not given\n"
    "    init                  what weights are drawn from; he if not given, or as\n"
    "                          --init of `fathom help train` says\n"
    "\n",

    "EXIT STATUS\n"
    "    0 done; 2 there is no such recipe, or a file is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom recipes cifar-110 > mine.json\n"
    "    fathom train resnet-110 --recipe ./mine.json --data cifar-10-batches-bin\n",
    NULL,
};

/* ---- One line of the list ---- */

static void add_length(struct text *row, const struct recipe *recipe, uint64_t count)
{
    char text[UNITS_TEXT];
    const char *unit = recipe->iterations ? "iterations" : "epochs";
    text_add(row, "%s %s", units_format_count(count, text), unit);
}

static void add_drops(struct text *row, const struct recipe *recipe)
{
    char text[UNITS_TEXT];
    for (uint32_t i = 0; i < recipe->drop_count; i++) {
        const char *before = i == 0 ? " after" : i + 1 < recipe->drop_count ? "," : " and";
        text_add(row, "%s %s", before, units_format_count(recipe->drops[i], text));
    }
}

static void add_rate(struct text *row, const struct recipe *recipe)
{
    text_add(row, "; rate %g", recipe->learning_rate);
    if (recipe->schedule == SCHEDULE_COSINE) text_add(row, ", falling as a cosine");
    if (recipe->schedule == SCHEDULE_STEPS || recipe->schedule == SCHEDULE_PLATEAU)
        text_add(row, ", times %g", recipe->drop_factor);
    if (recipe->schedule == SCHEDULE_STEPS) add_drops(row, recipe);
    if (recipe->schedule == SCHEDULE_PLATEAU) text_add(row, " where the test error falls no more");
    if (recipe->warm_up_iterations == 0) return;
    char text[UNITS_TEXT];
    text_add(row, "; at first %g for %s iterations", recipe->warm_up_rate,
             units_format_count(recipe->warm_up_iterations, text));
    if (recipe->warm_up_until_error > 0)
        text_add(row, ", or until the training error is below %g %%", 100 * recipe->warm_up_until_error);
}

static void add_update(struct text *row, const struct recipe *recipe)
{
    if (recipe->optimizer != OPTIMIZER_MOMENTUM) text_add(row, "; %s", optimizer_name(recipe->optimizer));
    if (recipe->momentum > 0) text_add(row, "; %smomentum %g", recipe->nesterov ? "Nesterov " : "", recipe->momentum);
    text_add(row, "; weight decay %g", recipe->weight_decay);
}

static void print_row(const struct recipe *recipe)
{
    struct text row = {0};
    text_add(&row, "batch %" PRIu64 ", ", recipe->batch);
    add_length(&row, recipe, recipe->iterations ? recipe->iterations : recipe->epochs);
    add_rate(&row, recipe);
    add_update(&row, recipe);
    text_add(&row, " (%s)", recipe->source);
    page_row_text(stdout, recipe->name, &row);
}

static bool print_recipe(const char *word, struct error *err)
{
    struct recipe recipe;
    struct text text = {0};
    TRY(recipe_read(word, "recipes", &recipe, err));
    recipe_write(&recipe, &text);
    if (text.failed)
        error_memory(err, text.length, "a recipe");
    else
        fputs(text.bytes, stdout);
    text_finish(&text);
    return err->kind == ERROR_NONE;
}

static int run(int argc, char **argv, struct error *err)
{
    const char *word = NULL;
    size_t words;
    if (!options_parse(argc, argv, NULL, 0, &word, 1, &words, err)) return 2;
    if (words > 0) return print_recipe(word, err) ? 0 : 2;
    for (size_t i = 0; recipe_at(i); i++) print_row(recipe_at(i));
    return 0;
}

const struct command command_recipes = {"recipes", "list what the papers train with, or print one", manual, run};
