/* What the papers and their releases train with, each once: the planner's lengths and prices of whole runs and the
 * trainer's schedules are read off the same recipes. Each is a file in this folder; others can be read. */
#ifndef FATHOM_RECIPE_H
#define FATHOM_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "model.h"
#include "optimizer.h"
#include "text.h"

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_STEPS, SCHEDULE_PLATEAU, SCHEDULE_COSINE };

/* What weights are drawn from before the first step (trainer/run/init.h). */
enum init_kind { INIT_HE, INIT_HE_FAN_IN, INIT_TORCH, INIT_XAVIER, INIT_LECUN };

#define RECIPE_MOST_DROPS 8
#define RECIPE_NAME       40
#define RECIPE_SOURCE     256

/* The fields are named as the keys of a file. A run is so many passes over the images: on others than the recipe's, or in
 * other batches, all that is counted in iterations or epochs keeps its share of the run. */
struct recipe {
    char name[RECIPE_NAME];
    char source[RECIPE_SOURCE]; /* where the figures come from */
    uint64_t batch;             /* of a step, for which iterations and rates are given */
    uint64_t training_images;   /* of the data that it is for: an epoch */
    uint64_t iterations, epochs; /* of the whole run: one of them, the other 0 */
    enum schedule_kind schedule;
    double learning_rate;                 /* at first */
    uint64_t drops[RECIPE_MOST_DROPS];    /* steps: after so many iterations, or epochs, as the length is given */
    uint32_t drop_count;
    double drop_factor;                   /* steps, plateau: by which the rate is multiplied */
    uint64_t patience;                    /* plateau: evaluations without a better error */
    uint64_t warm_up_iterations;          /* at warm_up_rate before that; 0 = none */
    double warm_up_rate;
    double warm_up_until_error;           /* > 0: or until the training error is below this */
    enum optimizer optimizer;             /* "sgd" is OPTIMIZER_MOMENTUM, whatever the momentum */
    double momentum;
    bool nesterov;
    double beta1, beta2, epsilon;         /* 0 = the optimizer's own (optimizer.h) */
    double weight_decay;
    bool decay_all;                       /* else weights alone decay: not gamma, beta and biases */
    double clip_norm;                     /* of all gradients of a step; 0 = they are not clipped */
    double average_weights;               /* decay of an average over steps, below 1; 0 = none */
    double label_smoothing; /* of the training loss, below 1; 0 = none */
    double bn_momentum;                   /* running = (1 - m) running + m batch */
    uint64_t bn_recompute;                /* training images over which running statistics are taken anew before evaluations; 0 = none */
    bool augment;
    bool area_crops;                      /* of augmentation: pictures are cut by scale and aspect, else by scale */
    double color_jitter, lighting;        /* of augmentation: how much colours change (trainer/data/colour.h); 0 = not */
    enum init_kind init;
};

/* The recipe of a model. Never NULL. */
const struct recipe *recipe_for(const struct model_spec *spec);

/* Recipe i of those that are here, NULL after the last. */
const struct recipe *recipe_at(size_t i);

/* Whether a word is a path: one with a slash or a dot. Names have neither. */
bool recipe_names_file(const char *word);
/* The recipe of that name, or in that file. ERROR_INPUT names the file, the key and what would be right; of a name (with
 * the flag that it was given to) or key that there is not the nearest. */
bool recipe_read(const char *word, const char *flag, struct recipe *recipe, struct error *err);
/* Appends it as such a file. */
void recipe_write(const struct recipe *recipe, struct text *text);

/* One of sgd, nesterov (which sets *nesterov), rmsprop, adagrad, adadelta, adam and adamw; ERROR_INPUT names the flag, or field, and
 * the nearest. */
bool recipe_parse_optimizer(const char *word, const char *flag, enum optimizer *optimizer, bool *nesterov,
                            struct error *err);
/* "he", "he-fan-in", "torch", "xavier", "lecun"; ERROR_INPUT names the flag, or field, and the nearest. */
const char *recipe_init_name(enum init_kind init);
bool recipe_parse_init(const char *word, const char *flag, enum init_kind *init, struct error *err);
/* Another optimizer than the recipe's: its rate, decay and numbers are its own then, and its momentum 0. */
void recipe_take_optimizer(struct recipe *recipe, enum optimizer optimizer);
/* What its updates need of a plan: of SGD and RMSprop without momentum a buffer less. */
struct update_needs recipe_update_needs(const struct recipe *recipe);

/* Training images shown in the whole run, each as often as it is seen. */
uint64_t recipe_images(const struct recipe *recipe);

/* The same passes over other images, of which there are so many; at least one image. */
uint64_t recipe_images_over(const struct recipe *recipe, uint64_t images);

/* Steps of a whole run at another batch: the same images, the last step's rounded up. */
uint64_t recipe_steps(const struct recipe *recipe, uint64_t batch);

/* Training images of a dataset: CIFAR's 50,000, or ImageNet's 1,281,167 (ILSVRC 2012). */
uint64_t recipe_epoch_images(enum dataset_kind dataset);
/* Its test images: CIFAR's 10,000, or ImageNet's 50,000 of validation. */
uint64_t recipe_test_images(enum dataset_kind dataset);

/* Steps of as many passes as the recipe's over other training images, of which there are so many; at least one. */
uint64_t recipe_steps_over(const struct recipe *recipe, uint64_t images, uint64_t batch);

#endif
