/* What the user names: a model of the family, with the papers' defaults filled in.
 *
 * He et al., "Deep Residual Learning" (arXiv:1512.03385) and "Identity Mappings" (arXiv:1603.05027) define the units,
 * shortcuts and depths; Simonyan and Zisserman (arXiv:1409.1556) VGG-A and VGG-D. */
#ifndef FATHOM_MODEL_H
#define FATHOM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

enum dataset_kind { DATASET_CIFAR10, DATASET_CIFAR100, DATASET_IMAGENET };
enum model_family { FAMILY_RESNET, FAMILY_VGG };
enum unit_kind {
    UNIT_ORIGINAL,
    UNIT_PREACT,
    UNIT_BN_AFTER_ADD,
    UNIT_RELU_BEFORE_ADD,
    UNIT_RELU_ONLY_PREACT,
    UNIT_NO_FINAL_RELU,
    UNIT_PLAIN, /* no shortcut */
};
enum shortcut_kind {
    SHORTCUT_A,              /* identity; zero-padded channels where the shape changes */
    SHORTCUT_B,              /* projection where the shape changes */
    SHORTCUT_C,              /* projection everywhere */
    SHORTCUT_SCALING,        /* both branches times 0.5 (arXiv:1603.05027, table 1) */
    SHORTCUT_EXCLUSIVE_GATE, /* F g + x (1 - g), g = sigmoid(1x1 convolution) */
    SHORTCUT_SHORTCUT_GATE,  /* F + x (1 - g) */
    SHORTCUT_CONV1X1,        /* a 1x1 convolution on every shortcut */
    SHORTCUT_DROPOUT,        /* dropout 0.5 on the shortcut */
};

#define MODEL_NAME 40

/* A plain value; compare and hash field by field. */
struct model_spec {
    char name[MODEL_NAME]; /* canonical, "resnet-1001", "vgg-d" */
    enum model_family family;
    enum dataset_kind dataset;
    enum unit_kind unit;
    enum shortcut_kind shortcut;
    bool bottleneck;
    uint32_t depth;
    uint32_t units[4];    /* per stage; 3 stages on CIFAR (units[3] = 0), 4 on ImageNet */
    uint32_t image_size;  /* square input: 32 or 224; or its height, beside */
    uint32_t image_width; /* 0 = as high: a square */
    uint32_t classes;
};

/* What the command line may override; -1 (or 0 for sizes) = the family's default. */
struct model_options {
    int dataset;  /* enum dataset_kind or -1 */
    int unit;     /* enum unit_kind or -1 */
    int shortcut; /* enum shortcut_kind or -1 */
    uint32_t classes;    /* 0 = the dataset's */
    uint32_t image_size; /* 0 = the dataset's */
    uint32_t image_width; /* 0 = a square */
};
#define MODEL_OPTIONS_DEFAULT ((struct model_options){-1, -1, -1, 0, 0, 0})

/* "resnet-<depth>", "plain-<depth>", "vgg-a", "vgg-d". Unknown names and depths are ERROR_INPUT with the nearest depths
 * that exist. */
bool model_parse(const char *name, const struct model_options *options, struct model_spec *spec, struct error *err);

static inline uint32_t model_image_width(const struct model_spec *spec)
{
    return spec->image_width ? spec->image_width : spec->image_size;
}

/* All depths at which a model of the same family and form exists (its data set, unit and basic or bottleneck blocks),
 * ascending, into depths (NULL = count only); returns how many. None for VGG. */
#define MODEL_DEEPEST 100000u
size_t model_form_depths(const struct model_spec *spec, uint32_t *depths);
/* The same form at one of these depths. */
struct model_spec model_at_depth(const struct model_spec *spec, uint32_t depth);

/* Names for files and flags: "cifar10", "preact", "projection-b" ...; the parsers name the flag and list the choices. */
const char *dataset_kind_name(enum dataset_kind kind);
const char *unit_kind_name(enum unit_kind kind);
const char *shortcut_kind_name(enum shortcut_kind kind);
bool dataset_kind_parse(const char *text, enum dataset_kind *kind, struct error *err);
bool unit_kind_parse(const char *text, enum unit_kind *kind, struct error *err);
bool shortcut_kind_parse(const char *text, enum shortcut_kind *kind, struct error *err);

#endif
