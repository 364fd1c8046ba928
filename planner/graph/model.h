/* What the user names: a model of the family, with the papers' defaults filled in.
 *
 * He et al., "Deep Residual Learning" (arXiv:1512.03385) and "Identity Mappings" (arXiv:1603.05027) define the units,
 * shortcuts and depths; Simonyan and Zisserman (arXiv:1409.1556) VGG-A and VGG-D; Ioffe and
 * Szegedy (arXiv:1502.03167) BN-Inception, Szegedy et al. (arXiv:1512.00567) Inception-v3. */
#ifndef FATHOM_MODEL_H
#define FATHOM_MODEL_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "text.h"

enum dataset_kind { DATASET_CIFAR10, DATASET_CIFAR100, DATASET_IMAGENET };
enum model_family { FAMILY_RESNET, FAMILY_VGG, FAMILY_BN_INCEPTION, FAMILY_INCEPTION_V3 };
enum unit_kind {
    UNIT_ORIGINAL,
    UNIT_PREACT,
    UNIT_BN_AFTER_ADD,
    UNIT_RELU_BEFORE_ADD,
    UNIT_RELU_ONLY_PREACT,
    UNIT_NO_FINAL_RELU,
    UNIT_PLAIN, /* no shortcut */
    UNIT_BN_AFTER_ADD_NO_RELU,
    UNIT_KINDS
};
enum shortcut_kind {
    SHORTCUT_A,              /* identity; zero-padded channels where the shape changes */
    SHORTCUT_B,              /* projection where the shape changes */
    SHORTCUT_C,              /* projection everywhere */
    SHORTCUT_SCALING,        /* shortcut and branch times constants (arXiv:1603.05027, table 1) */
    SHORTCUT_EXCLUSIVE_GATE, /* F g + x (1 - g), g = sigmoid(1x1 convolution) */
    SHORTCUT_SHORTCUT_GATE,  /* F + x (1 - g) */
    SHORTCUT_CONV1X1,        /* a 1x1 convolution on every shortcut */
    SHORTCUT_DROPOUT,        /* dropout on the shortcut */
};
#define SHORTCUT_KINDS (SHORTCUT_DROPOUT + 1)
/* Where a bottleneck that halves the image has its stride; units of two 3x3 convolutions have it in the first. */
enum stride_place { STRIDE_IN_1X1, STRIDE_IN_3X3 };
#define STRIDE_PLACES (STRIDE_IN_3X3 + 1)

/* Numbers of a form, those that table 1 of arXiv:1603.05027 varies; each is of some kinds of shortcut. */
enum model_number {
    NUMBER_SHORTCUT_SCALE, /* 0 = there is no shortcut */
    NUMBER_BRANCH_SCALE,
    NUMBER_GATE_BIAS,      /* of a gate's convolution, at first */
    NUMBER_DROPOUT,        /* which part of the shortcut is dropped */
    MODEL_NUMBERS
};
struct model_number_info {
    const char *flag, *field; /* "--gate-bias", and "gate_bias" in files */
    const char *shortcuts;    /* the kinds that have it, in words */
    uint32_t kinds;           /* the same: bit 1 << enum shortcut_kind */
    double least, most, usual;
};
const struct model_number_info *model_number_info(enum model_number number);

#define MODEL_NAME 40

/* A plain value; compare and hash field by field. */
struct model_spec {
    char name[MODEL_NAME]; /* canonical, "resnet-1001", "vgg-d" */
    enum model_family family;
    enum dataset_kind dataset;
    enum unit_kind unit;
    enum shortcut_kind shortcut;
    bool bottleneck;
    enum stride_place stride_in;
    double number[MODEL_NUMBERS]; /* 0 where the shortcut has no such number */
    uint32_t depth;
    uint32_t units[4];    /* per stage; 3 stages on CIFAR (units[3] = 0), 4 on ImageNet */
    uint32_t image_size;  /* square input: 32, 224 or 299; or its height, beside */
    uint32_t image_width; /* 0 = as high: a square */
    uint32_t classes;
};

/* What the command line may override; -1 (0 for sizes, no number for numbers) = the family's default. */
struct model_options {
    int dataset;  /* enum dataset_kind or -1 */
    int unit;     /* enum unit_kind or -1 */
    int shortcut; /* enum shortcut_kind or -1 */
    int stride_in; /* enum stride_place or -1 */
    uint32_t classes;    /* 0 = the dataset's */
    uint32_t image_size; /* 0 = the dataset's */
    uint32_t image_width; /* 0 = a square */
    double number[MODEL_NUMBERS]; /* NAN = the usual */
};
#define MODEL_OPTIONS_DEFAULT                                                                                          \
    ((struct model_options){                                                                                           \
        .dataset = -1, .unit = -1, .shortcut = -1, .stride_in = -1, .number = {NAN, NAN, NAN, NAN}})

/* "resnet-<depth>", "plain-<depth>", "vgg-a", "vgg-d", "bn-inception", "inception-v3". Unknown names and depths are ERROR_INPUT with the nearest depths
 * that exist. */
bool model_parse(const char *name, const struct model_options *options, struct model_spec *spec, struct error *err);

static inline uint32_t model_image_width(const struct model_spec *spec)
{
    return spec->image_width ? spec->image_width : spec->image_size;
}

/* All depths at which a model of the same family and form exists (its data set, unit and basic or bottleneck blocks),
 * ascending, into depths (NULL = count only); returns how many. None for other nets. */
#define MODEL_DEEPEST 100000u
size_t model_form_depths(const struct model_spec *spec, uint32_t *depths);
/* The same form at one of these depths. */
struct model_spec model_at_depth(const struct model_spec *spec, uint32_t depth);

/* Whether the model has this number; and whether it is another than the usual one. */
bool model_has_number(const struct model_spec *spec, enum model_number number);
bool model_number_is_told(const struct model_spec *spec, enum model_number number);
/* Its numbers and the place of its stride become the usual ones of its form. */
void model_take_usual(struct model_spec *spec);
/* Appends what must be said beside the name so that it is this form, as flags: " --unit original --gate-bias -6". Nothing of
 * classes and image sizes. */
void model_add_flags(const struct model_spec *spec, struct text *text);
/* Names for files and flags: "cifar10", "preact", "projection-b" ...; the parsers name the flag and list the choices. */
const char *dataset_kind_name(enum dataset_kind kind);
const char *unit_kind_name(enum unit_kind kind);
const char *shortcut_kind_name(enum shortcut_kind kind);
const char *stride_place_name(enum stride_place place);
bool dataset_kind_parse(const char *text, enum dataset_kind *kind, struct error *err);
bool unit_kind_parse(const char *text, enum unit_kind *kind, struct error *err);
bool shortcut_kind_parse(const char *text, enum shortcut_kind *kind, struct error *err);
bool stride_place_parse(const char *text, enum stride_place *place, struct error *err);

#endif
