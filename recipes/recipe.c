#include "recipe.h"

#include <string.h>

#include "choice.h"
#include "recipe_private.h"
#include RECIPE_TABLE /* made of the files */

#define RECIPES (sizeof recipes / sizeof recipes[0])

const struct recipe *recipe_for(const struct model_spec *spec)
{
    bool vgg = spec->family == FAMILY_VGG;
    if (spec->dataset == DATASET_IMAGENET)
        return &recipes[vgg                         ? RECIPE_IMAGENET_VGG
                        : spec->unit == UNIT_PREACT ? RECIPE_IMAGENET_PREACT
                                                    : RECIPE_IMAGENET];
    if (vgg) return &recipes[RECIPE_CIFAR_VGG];
    if (spec->depth < 110 && spec->unit != UNIT_PREACT) return &recipes[RECIPE_CIFAR];
    return &recipes[spec->unit == UNIT_ORIGINAL ? RECIPE_CIFAR_110 : RECIPE_CIFAR_DEEP];
}

const struct recipe *recipe_at(size_t i) { return i < RECIPES ? &recipes[i] : NULL; }

bool recipe_names_file(const char *word) { return strpbrk(word, "/."); }

bool recipe_read(const char *word, const char *flag, struct recipe *recipe, struct error *err)
{
    const char *names[RECIPES];
    size_t choice;
    if (recipe_names_file(word)) return recipe_read_file(word, recipe, err);
    for (size_t i = 0; i < RECIPES; i++) names[i] = recipes[i].name;
    TRY(choice_parse(word, flag, names, RECIPES, NULL, 0, &choice, err));
    *recipe = recipes[choice];
    return true;
}

void recipe_take_optimizer(struct recipe *recipe, enum optimizer optimizer)
{
    const struct optimizer_defaults own = optimizer_defaults(optimizer);
    if (optimizer == recipe->optimizer) return;
    recipe->warm_up_rate *= own.learning_rate / recipe->learning_rate;
    recipe->optimizer = optimizer;
    recipe->learning_rate = own.learning_rate;
    recipe->weight_decay = own.weight_decay;
    recipe->momentum = recipe->beta1 = recipe->beta2 = recipe->epsilon = 0;
    recipe->nesterov = false;
}

struct update_needs recipe_update_needs(const struct recipe *recipe)
{
    enum optimizer optimizer = recipe->optimizer;
    if (optimizer == OPTIMIZER_MOMENTUM && recipe->momentum <= 0) optimizer = OPTIMIZER_SGD;
    if (optimizer == OPTIMIZER_RMSPROP && recipe->momentum > 0) optimizer = OPTIMIZER_RMSPROP_MOMENTUM;
    return (struct update_needs){optimizer, recipe->clip_norm > 0, recipe->average_weights > 0};
}
