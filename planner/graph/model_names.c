/* Names of data sets, units, shortcuts and strides, for files and flags. */
#include "choice.h"
#include "model.h"

static const char *const dataset_names[] = {"cifar10", "cifar100", "imagenet"};
static const char *const unit_names[] = {"original",         "preact",        "bn-after-add", "relu-before-add",
                                         "relu-only-preact", "no-final-relu", "plain",        "bn-after-add-no-relu"};
static const char *const shortcut_names[] = {"identity-a",     "projection-b",  "projection-c", "scaling",
                                             "exclusive-gate", "shortcut-gate", "conv1x1",      "dropout"};
static const char *const stride_names[] = {"1x1", "3x3"};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

const char *dataset_kind_name(enum dataset_kind kind) { return dataset_names[kind]; }
const char *unit_kind_name(enum unit_kind kind) { return unit_names[kind]; }
const char *shortcut_kind_name(enum shortcut_kind kind) { return shortcut_names[kind]; }
const char *stride_place_name(enum stride_place place) { return stride_names[place]; }

bool dataset_kind_parse(const char *text, enum dataset_kind *kind, struct error *err)
{
    static const struct choice_synonym synonyms[] = {
        {"cifar", "cifar10"}, {"imagenet1k", "imagenet"}, {"ilsvrc2012", "imagenet"}, {"ilsvrc", "imagenet"}};
    size_t choice;
    TRY(choice_parse(text, "--dataset", dataset_names, COUNT(dataset_names), synonyms, COUNT(synonyms), &choice, err));
    *kind = (enum dataset_kind)choice;
    return true;
}

bool unit_kind_parse(const char *text, enum unit_kind *kind, struct error *err)
{
    static const struct choice_synonym synonyms[] = {
        {"pre-activation", "preact"}, {"v2", "preact"}, {"post-activation", "original"}, {"v1", "original"}};
    size_t choice;
    TRY(choice_parse(text, "--unit", unit_names, COUNT(unit_names), synonyms, COUNT(synonyms), &choice, err));
    *kind = (enum unit_kind)choice;
    return true;
}

bool shortcut_kind_parse(const char *text, enum shortcut_kind *kind, struct error *err)
{
    static const struct choice_synonym synonyms[] = {
        {"a", "identity-a"},          {"b", "projection-b"},        {"c", "projection-c"}, {"option-a", "identity-a"},
        {"option-b", "projection-b"}, {"option-c", "projection-c"}, {"1x1", "conv1x1"}};
    size_t choice;
    TRY(choice_parse(text, "--shortcut", shortcut_names, COUNT(shortcut_names), synonyms, COUNT(synonyms), &choice,
                     err));
    *kind = (enum shortcut_kind)choice;
    return true;
}

bool stride_place_parse(const char *text, enum stride_place *place, struct error *err)
{
    static const struct choice_synonym synonyms[] = {{"1", "1x1"}, {"3", "3x3"}};
    size_t choice;
    TRY(choice_parse(text, "--stride-in", stride_names, COUNT(stride_names), synonyms, COUNT(synonyms), &choice, err));
    *place = (enum stride_place)choice;
    return true;
}
