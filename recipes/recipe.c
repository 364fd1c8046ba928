#include "recipe.h"

#include <math.h>
#include <stddef.h>

#define CIFAR_IMAGES    50000u
#define IMAGENET_IMAGES 1281167u

/* Torch's default of batch normalisation, with which the authors' releases trained. */
#define BN_MOMENTUM 0.1f

#define CIFAR_RUN  .batch = 128, .images = 64000u * 128u, .first = 2, .last = 4
#define RESIDUAL   .rate = 0.1, .factor = 0.1, .momentum = 0.9, .weight_decay = 1e-4, .bn_momentum = BN_MOMENTUM
#define VGG        .rate = 0.01, .factor = 0.1, .momentum = 0.9, .weight_decay = 5e-4, .bn_momentum = BN_MOMENTUM
#define AT_PLATEAU .patience = 3

enum { CIFAR, CIFAR_DEEP, CIFAR_DEEP_ORIGINAL, CIFAR_VGG, IMAGENET, IMAGENET_PREACT, IMAGENET_VGG };

static const struct recipe recipes[] = {
    [CIFAR] = {"cifar",
               "arXiv:1512.03385, 4.2: batch 128, rate 0.1, divided by 10 at 32k and 48k of 64k iterations, weight decay "
               "1e-4, momentum 0.9",
               CIFAR_RUN, RESIDUAL},
    [CIFAR_DEEP] = {"cifar-deep",
                    "arXiv:1603.05027, appendix: as arXiv:1512.03385, with rate 0.01 in the first 400 iterations",
                    CIFAR_RUN, RESIDUAL, .warm_steps = 400},
    [CIFAR_DEEP_ORIGINAL] = {"cifar-110",
                             "arXiv:1512.03385, 4.2: ResNet-110 warms up at 0.01 until the training error is below 80 %, "
                             "about 400 iterations",
                             CIFAR_RUN, RESIDUAL, .warm_steps = 400, .warm_until_error = 0.8},
    [CIFAR_VGG] = {"cifar-vgg", "the run of arXiv:1512.03385, 4.2, with rate and weight decay of arXiv:1409.1556, 3.1",
                   CIFAR_RUN, VGG},
    [IMAGENET] = {"imagenet",
                  "arXiv:1512.03385, 3.4: batch 256, rate 0.1, divided by 10 when the error plateaus, up to 60 x 10^4 "
                  "iterations",
                  .batch = 256, .images = 600000u * 256u, AT_PLATEAU, RESIDUAL},
    [IMAGENET_PREACT] = {"imagenet-preact",
                         "arXiv:1603.05027, appendix: batch 256, rate 0.1, divided by 10 at epochs 30 and 60, no warm-up; 90 "
                         "epochs, as the release (fb.resnet.torch) runs",
                         .batch = 256, .images = (uint64_t)90 * IMAGENET_IMAGES, .first = 3, .last = 3, RESIDUAL},
    [IMAGENET_VGG] = {"imagenet-vgg",
                      "arXiv:1409.1556, 3.1: batch 256, rate 0.01, divided by 10 when the error plateaus, 370k iterations, "
                      "weight decay 5e-4",
                      .batch = 256, .images = 370000u * 256u, AT_PLATEAU, VGG},
};

const struct recipe *recipe_for(const struct model_spec *spec)
{
    bool vgg = spec->family == FAMILY_VGG;
    if (spec->dataset == DATASET_IMAGENET)
        return &recipes[vgg ? IMAGENET_VGG : spec->unit == UNIT_PREACT ? IMAGENET_PREACT : IMAGENET];
    if (vgg) return &recipes[CIFAR_VGG];
    if (spec->depth < 110 && spec->unit != UNIT_PREACT) return &recipes[CIFAR];
    return &recipes[spec->unit == UNIT_ORIGINAL ? CIFAR_DEEP_ORIGINAL : CIFAR_DEEP];
}

uint64_t recipe_steps(const struct recipe *recipe, uint32_t batch)
{
    return recipe->images / batch + (recipe->images % batch != 0);
}

uint64_t recipe_epoch_images(enum dataset_kind dataset)
{
    return dataset == DATASET_IMAGENET ? IMAGENET_IMAGES : CIFAR_IMAGES;
}

uint64_t recipe_steps_over(const struct recipe *recipe, enum dataset_kind papers, uint64_t images, uint32_t batch)
{
    if (images == recipe_epoch_images(papers)) return recipe_steps(recipe, batch);
    double shown = (double)recipe->images / (double)recipe_epoch_images(papers) * (double)images;
    return shown > batch ? (uint64_t)ceil(shown / batch) : 1;
}
