#define _GNU_SOURCE
#include "model.h"

#include <stdio.h>
#include <string.h>

#include "ascii.h"
#include "choice.h"
#include "model_private.h"
#include "printable.h"

/* Deeper nets would only exhaust the machine that plans them. */
#define DEEPEST         MODEL_DEEPEST
#define MOST_CLASSES    1000000u
#define MOST_IMAGE_SIZE 8192u

struct imagenet_depth {
    uint32_t depth;
    bool bottleneck, preact;
    uint32_t units[4];
};

/* arXiv:1512.03385, table 1; 200 as released with arXiv:1603.05027. */
static const struct imagenet_depth imagenet_depths[] = {
    {18, false, false, {2, 2, 2, 2}},  {34, false, false, {3, 4, 6, 3}},  {50, true, false, {3, 4, 6, 3}},
    {101, true, false, {3, 4, 23, 3}}, {152, true, false, {3, 8, 36, 3}}, {200, true, true, {3, 24, 36, 3}},
};
#define IMAGENET_DEPTHS (sizeof imagenet_depths / sizeof imagenet_depths[0])

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct imagenet_depth *find_imagenet(uint32_t depth)
{
    for (size_t i = 0; i < IMAGENET_DEPTHS; i++)
        if (imagenet_depths[i].depth == depth) return &imagenet_depths[i];
    return NULL;
}

/* 6n+2 layers with basic units, 9n+2 with bottlenecks. */
static bool is_basic_depth(uint32_t depth) { return depth >= 8 && depth % 6 == 2; }
static bool is_bottleneck_depth(uint32_t depth) { return depth >= 11 && depth % 9 == 2; }
static bool is_cifar_depth(uint32_t depth)
{
    return depth <= DEEPEST && (is_basic_depth(depth) || is_bottleneck_depth(depth));
}

/* Depths that are both: those of arXiv:1512.03385 are basic; else from 164 on, where arXiv:1603.05027 begins,
 * bottlenecks, and basic below. */
static bool cifar_bottleneck(uint32_t depth)
{
    if (!is_basic_depth(depth)) return true;
    return is_bottleneck_depth(depth) && depth >= 164;
}

/* Names of other builders' networks, and what comes nearest. */
static const struct choice_synonym meant[] = {
    {"resnext", "resnet"},
    {"wideresnet", "resnet"},
    {"wrn", "resnet"},
    {"seresnet", "resnet"},
    {"resnetv2", "resnet"},
    {"preresnet", "resnet"},
    {"preactresnet", "resnet"},
    {"rn", "resnet"},
    {"residualnet", "resnet"},
    {"res", "resnet"},
    {"", "resnet"},
    {"plainnet", "plain"},
    {"googlenet", "inception"},
    {"inceptionresnet", "inception"},
    {"inceptionv", "inception"},
};

/* What an unknown name's letters come nearest to; NULL for nothing. */
static const char *nearest_family(const char *letters)
{
    static const char *const families[] = {"resnet", "plain", "vgg", "inception"};
    for (size_t i = 0; i < COUNT(meant); i++)
        if (choice_same(letters, meant[i].word)) return meant[i].name;
    for (size_t i = 0; i < COUNT(families); i++)
        if (choice_distance(letters, families[i], 3) < 3) return families[i];
    return NULL;
}

/* A decimal number; depths beyond the deepest are cut to one more. */
static bool read_digits(const char *digits, uint32_t *depth)
{
    if (*digits < '1' || *digits > '9') return false;
    uint32_t value = 0;
    for (; *digits >= '0' && *digits <= '9'; digits++)
        if (value <= DEEPEST) value = value * 10 + (uint32_t)(*digits - '0');
    *depth = value;
    return true;
}

/* The number that ends a name. */
static bool parse_depth(const char *digits, uint32_t *depth)
{
    return digits[strspn(digits, "0123456789")] == '\0' && read_digits(digits, depth);
}

/* The first number in a name that is a depth; 0 for none. */
static uint32_t find_depth(const char *name)
{
    uint32_t depth;
    for (const char *at = name; *at; at += strspn(at, "0123456789")) {
        at += strcspn(at, "0123456789");
        if (read_digits(at, &depth) && (find_imagenet(depth) || is_cifar_depth(depth))) return depth;
    }
    return 0;
}

static bool unknown_model(const char *name, struct error *err)
{
    char letters[32], near[64] = "";
    size_t length = strcspn(name, "0123456789");
    snprintf(letters, sizeof letters, "%.*s", (int)(length < 31 ? length : 31), name);
    const char *family = nearest_family(letters);
    if (family && strcmp(family, "vgg") == 0)
        snprintf(near, sizeof near, "; did you mean vgg-d (16 layers) or vgg-a (11)?");
    else if (family && strcmp(family, "inception") == 0)
        snprintf(near, sizeof near, "; did you mean inception-v3 or bn-inception?");
    else if (family && find_depth(name))
        snprintf(near, sizeof near, "; did you mean %s-%u?", family, find_depth(name));
    return error_set(err, ERROR_INPUT,
                     "model: found \"%s\", expected resnet-<depth>, plain-<depth>, vgg-a, vgg-d, "
                     "bn-inception or inception-v3 (such as resnet-50, resnet-1001, plain-20)%s",
                     PRINTABLE_CUT(name, 60), near);
}

static bool unknown_imagenet_depth(const char *name, struct error *err)
{
    return error_set(err, ERROR_INPUT,
                     "model: found \"%s\" on imagenet, expected a depth of 18, 34, 50, 101, 152 or 200 "
                     "(other depths are CIFAR's: --dataset cifar10)",
                     name);
}

/* The nearest depth of either family from `depth` on in one direction; 0 = none. */
static uint32_t nearest_depth(uint32_t depth, int step, bool cifar_only)
{
    if (depth > DEEPEST) {
        if (step > 0) return 0;
        depth = DEEPEST;
    }
    for (int64_t d = depth; d >= 8 && d <= DEEPEST; d += step)
        if (is_cifar_depth((uint32_t)d) || (!cifar_only && find_imagenet((uint32_t)d))) return (uint32_t)d;
    return step > 0 && depth < 8 ? 8 : 0;
}

static bool unknown_depth(const char *name, const char *prefix, uint32_t depth, bool cifar_only, struct error *err)
{
    uint32_t below = nearest_depth(depth, -1, cifar_only), above = nearest_depth(depth, 1, cifar_only);
    char nearest[80];
    if (below && above)
        snprintf(nearest, sizeof nearest, "%s-%u and %s-%u", prefix, below, prefix, above);
    else
        snprintf(nearest, sizeof nearest, "%s-%u", prefix, below ? below : above);
    return error_set(err, ERROR_INPUT,
                     "model: found \"%s\", expected a depth of 6n+2 or 9n+2%s, at most %u; the nearest: %s", name,
                     cifar_only ? " on CIFAR" : " (CIFAR) or 18, 34, 50, 101, 152, 200 (ImageNet)", DEEPEST, nearest);
}

static void fill_cifar(struct model_spec *spec)
{
    spec->bottleneck = cifar_bottleneck(spec->depth);
    uint32_t n = (spec->depth - 2) / (spec->bottleneck ? 9 : 6);
    for (size_t i = 0; i < 3; i++) spec->units[i] = n;
    spec->unit = spec->bottleneck ? UNIT_PREACT : UNIT_ORIGINAL;
    spec->shortcut = spec->bottleneck ? SHORTCUT_B : SHORTCUT_A;
}

static bool same_form(const struct model_spec *spec, uint32_t depth)
{
    const struct imagenet_depth *row = find_imagenet(depth);
    if (spec->dataset == DATASET_IMAGENET) return row && row->bottleneck == spec->bottleneck;
    return is_cifar_depth(depth) && cifar_bottleneck(depth) == spec->bottleneck;
}

size_t model_form_depths(const struct model_spec *spec, uint32_t *depths)
{
    size_t count = 0;
    if (spec->family != FAMILY_RESNET) return 0;
    for (uint32_t depth = 8; depth <= DEEPEST; depth++) {
        if (!same_form(spec, depth)) continue;
        if (depths) depths[count] = depth;
        count++;
    }
    return count;
}

struct model_spec model_at_depth(const struct model_spec *spec, uint32_t depth)
{
    struct model_spec made = *spec;
    const struct imagenet_depth *row = find_imagenet(depth);
    made.depth = depth;
    for (size_t i = 0; i < 3; i++) made.units[i] = (depth - 2) / (spec->bottleneck ? 9 : 6);
    if (spec->dataset == DATASET_IMAGENET && row) memcpy(made.units, row->units, sizeof row->units);
    snprintf(made.name, sizeof made.name, "%s-%u", spec->unit == UNIT_PLAIN ? "plain" : "resnet", depth);
    return made;
}

static void fill_imagenet(struct model_spec *spec, const struct imagenet_depth *row)
{
    spec->bottleneck = row->bottleneck;
    memcpy(spec->units, row->units, sizeof row->units);
    spec->unit = row->preact ? UNIT_PREACT : UNIT_ORIGINAL;
    spec->shortcut = SHORTCUT_B;
}

static bool override_units(const char *prefix, const struct model_options *options, struct model_spec *spec,
                           struct error *err)
{
    bool plain = strcmp(prefix, "plain") == 0;
    if (plain && options->unit >= 0 && options->unit != UNIT_PLAIN)
        return error_set(err, ERROR_INPUT, "--unit: found %s for %s-%u, expected plain (or the model resnet-%u)",
                         unit_kind_name((enum unit_kind)options->unit), prefix, spec->depth, spec->depth);
    if (options->unit >= 0) spec->unit = (enum unit_kind)options->unit;
    if (plain) spec->unit = UNIT_PLAIN;
    if (spec->unit == UNIT_PLAIN && options->shortcut >= 0)
        return error_set(err, ERROR_INPUT, "--shortcut: found %s for a plain net, which has no shortcuts",
                         shortcut_kind_name((enum shortcut_kind)options->shortcut));
    if (options->shortcut >= 0) spec->shortcut = (enum shortcut_kind)options->shortcut;
    if (spec->unit == UNIT_PLAIN) spec->shortcut = SHORTCUT_A;
    snprintf(spec->name, sizeof spec->name, "%s-%u", spec->unit == UNIT_PLAIN ? "plain" : "resnet", spec->depth);
    return true;
}

static bool parse_resnet(const char *name, const char *prefix, const char *digits, const struct model_options *options,
                         struct model_spec *spec, struct error *err)
{
    uint32_t depth;
    if (!parse_depth(digits, &depth)) return unknown_model(name, err);
    const struct imagenet_depth *row = find_imagenet(depth);
    bool imagenet = options->dataset >= 0 ? options->dataset == DATASET_IMAGENET : row != NULL;
    if (imagenet && !row) return unknown_imagenet_depth(name, err);
    if (!imagenet && !is_cifar_depth(depth)) return unknown_depth(name, prefix, depth, options->dataset >= 0, err);
    spec->family = FAMILY_RESNET;
    spec->depth = depth;
    spec->dataset = options->dataset >= 0 ? (enum dataset_kind)options->dataset
                    : imagenet            ? DATASET_IMAGENET
                                          : DATASET_CIFAR10;
    if (imagenet)
        fill_imagenet(spec, row);
    else
        fill_cifar(spec);
    return override_units(prefix, options, spec, err);
}

/* Nets of one name each. VGG by the paper's letters, and by the layers that others count (arXiv:1409.1556, table 1);
 * the depth of the others is that of their longest branches. */
static const struct {
    const char *written, *name;
    enum model_family family;
    uint32_t depth;
} others[] = {{"vgg-a", "vgg-a", FAMILY_VGG, 11},
              {"vgg-11", "vgg-a", FAMILY_VGG, 11},
              {"vgg-d", "vgg-d", FAMILY_VGG, 16},
              {"vgg-16", "vgg-d", FAMILY_VGG, 16},
              {"bn-inception", "bn-inception", FAMILY_BN_INCEPTION, 34},
              {"inception-bn", "bn-inception", FAMILY_BN_INCEPTION, 34},
              {"inception-v3", "inception-v3", FAMILY_INCEPTION_V3, 48},
              {"inception-3", "inception-v3", FAMILY_INCEPTION_V3, 48}};

static bool parse_other(const char *name, const struct model_options *options, struct model_spec *spec,
                        struct error *err)
{
    size_t i = 0;
    while (i < COUNT(others) && !choice_same(name, others[i].written)) i++;
    if (i == COUNT(others)) return unknown_model(name, err);
    if (options->unit >= 0 || options->shortcut >= 0)
        return error_set(err, ERROR_INPUT, "%s: found for %s, which has no residual units",
                         options->unit >= 0 ? "--unit" : "--shortcut", others[i].name);
    spec->family = others[i].family;
    spec->depth = others[i].depth;
    spec->dataset = options->dataset >= 0 ? (enum dataset_kind)options->dataset : DATASET_IMAGENET;
    spec->unit = UNIT_PLAIN;
    spec->shortcut = SHORTCUT_A;
    snprintf(spec->name, sizeof spec->name, "%s", others[i].name);
    return true;
}

/* A 32nd of the side (an eighth with three stages) must be left; of Inception-v3, which does not pad, one pixel. */
static uint32_t least_image_size(const struct model_spec *spec)
{
    if (spec->family == FAMILY_INCEPTION_V3) return 75;
    return spec->family == FAMILY_RESNET && spec->dataset != DATASET_IMAGENET ? 8 : 32;
}

static uint32_t usual_image_size(const struct model_spec *spec)
{
    if (spec->dataset != DATASET_IMAGENET) return 32;
    return spec->family == FAMILY_INCEPTION_V3 ? 299 : 224;
}

static bool fill_sizes(const struct model_options *options, struct model_spec *spec, struct error *err)
{
    static const uint32_t classes[] = {10, 100, 1000};
    uint32_t least = least_image_size(spec);
    spec->classes = options->classes ? options->classes : classes[spec->dataset];
    spec->image_size = options->image_size ? options->image_size : usual_image_size(spec);
    if (spec->classes < 2 || spec->classes > MOST_CLASSES)
        return error_set(err, ERROR_INPUT, "classes: found %u, expected 2 to %u", spec->classes, MOST_CLASSES);
    spec->image_width = options->image_width == spec->image_size ? 0 : options->image_width;
    if (spec->image_size < least || spec->image_size > MOST_IMAGE_SIZE)
        return error_set(err, ERROR_INPUT, "image size: found %u, expected %u to %u for %s", spec->image_size, least,
                         MOST_IMAGE_SIZE, spec->name);
    uint32_t width = model_image_width(spec);
    if (width < least || width > MOST_IMAGE_SIZE)
        return error_set(err, ERROR_INPUT, "image width: found %u, expected %u to %u for %s", width, least,
                         MOST_IMAGE_SIZE, spec->name);
    return true;
}

/* "resnet", "ResNet-", "resnet_": what follows the family's name, or NULL when that is another. */
static const char *after_family(const char *name, const char *family)
{
    size_t length = strlen(family);
    if (!ascii_same_first(name, family, length)) return NULL;
    return name + length + (name[length] && strchr("-_ ", name[length]));
}

bool model_parse(const char *name, const struct model_options *options, struct model_spec *spec, struct error *err)
{
    struct model_spec parsed = {0};
    const char *digits;
    if ((digits = after_family(name, "resnet")))
        TRY(parse_resnet(name, "resnet", digits, options, &parsed, err));
    else if ((digits = after_family(name, "plain")))
        TRY(parse_resnet(name, "plain", digits, options, &parsed, err));
    else
        TRY(parse_other(name, options, &parsed, err));
    TRY(model_fill_numbers(options, &parsed, err) && fill_sizes(options, &parsed, err));
    *spec = parsed;
    return true;
}

void model_add_flags(const struct model_spec *spec, struct text *text)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct model_spec named;
    if (!model_parse(spec->name, &options, &named, NULL)) return;
    if (named.dataset != spec->dataset) text_add(text, " --dataset %s", dataset_kind_name(spec->dataset));
    options.dataset = (int)spec->dataset;
    if (!model_parse(spec->name, &options, &named, NULL)) return;
    if (named.unit != spec->unit) text_add(text, " --unit %s", unit_kind_name(spec->unit));
    if (named.shortcut != spec->shortcut) text_add(text, " --shortcut %s", shortcut_kind_name(spec->shortcut));
    if (named.stride_in != spec->stride_in) text_add(text, " --stride-in %s", stride_place_name(spec->stride_in));
    for (size_t i = 0; i < MODEL_NUMBERS; i++)
        if (model_number_is_told(spec, (enum model_number)i))
            text_add(text, " %s %.15g", model_number_info((enum model_number)i)->flag, spec->number[i]);
}
