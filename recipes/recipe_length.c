/* How many images and steps a run by a recipe is. */
#include <math.h>

#include "recipe.h"

#define CIFAR_IMAGES    50000u
#define IMAGENET_IMAGES 1281167u

uint64_t recipe_images(const struct recipe *recipe)
{
    return recipe->iterations ? recipe->iterations * recipe->batch : recipe->epochs * recipe->training_images;
}

uint64_t recipe_images_over(const struct recipe *recipe, uint64_t images)
{
    if (images == recipe->training_images) return recipe_images(recipe);
    double shown = (double)recipe_images(recipe) / (double)recipe->training_images * (double)images;
    return shown > 1 ? (uint64_t)ceil(shown) : 1;
}

static uint64_t steps_of(uint64_t images, uint64_t batch) { return images / batch + (images % batch != 0); }

uint64_t recipe_steps(const struct recipe *recipe, uint64_t batch) { return steps_of(recipe_images(recipe), batch); }

uint64_t recipe_steps_over(const struct recipe *recipe, uint64_t images, uint64_t batch)
{
    return steps_of(recipe_images_over(recipe, images), batch);
}

uint64_t recipe_epoch_images(enum dataset_kind dataset)
{
    return dataset == DATASET_IMAGENET ? IMAGENET_IMAGES : CIFAR_IMAGES;
}

uint64_t recipe_test_images(enum dataset_kind dataset) { return dataset == DATASET_IMAGENET ? 50000 : 10000; }
