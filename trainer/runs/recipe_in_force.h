/* The recipe by which a run really goes, once options have had their say. */
#ifndef FATHOM_RECIPE_IN_FORCE_H
#define FATHOM_RECIPE_IN_FORCE_H

#include "recipe.h"
#include "train.h"

/* base with what the options say of the schedule and of learning, at the run's own batch and over its own training
 * images: a run of the same plan and images by that recipe has the same rates and updates. Updates are base's own
 * already. */
struct recipe recipe_in_force(const struct recipe *base, const struct train_options *options, uint32_t batch,
                              uint64_t training_images);

#endif
