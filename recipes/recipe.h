/* What the papers and their releases train with, each once: the planner's lengths and prices of whole runs and the
 * trainer's schedules are read off the same rows. */
#ifndef FATHOM_RECIPE_H
#define FATHOM_RECIPE_H

#include <stdint.h>

#include "model.h"

struct recipe {
    const char *name;
    const char *source;      /* where the figures come from */
    uint32_t batch;          /* of a step, for which rate and warm_steps are given */
    uint64_t images;         /* shown in the whole run, each as often as it is seen */
    double rate;             /* of learning, at first */
    double factor;           /* by which it is multiplied when it falls */
    uint32_t first, last;    /* it falls after 1/first of the run and 1/last before its end; 0 = at plateaus */
    uint32_t patience;       /* at plateaus: evaluations without a better error */
    uint64_t warm_steps;     /* at a tenth of the rate before that; 0 = none */
    double warm_until_error; /* > 0: or until the training error is below this */
    double momentum, weight_decay;
    float bn_momentum;       /* running = (1 - m) running + m batch */
};

/* The recipe of a model. Never NULL. */
const struct recipe *recipe_for(const struct model_spec *spec);

/* Steps of a whole run at another batch: the same images, the last step's rounded up. */
uint64_t recipe_steps(const struct recipe *recipe, uint32_t batch);

/* Training images of a dataset: CIFAR's 50,000, or ImageNet's 1,281,167 (ILSVRC 2012). */
uint64_t recipe_epoch_images(enum dataset_kind dataset);

/* Steps of as many passes as the papers' over other training images, of which there are so many; at least one. */
uint64_t recipe_steps_over(const struct recipe *recipe, enum dataset_kind papers, uint64_t images, uint32_t batch);

#endif
