/* The numbers of a form. */
#include "model_private.h"

static const struct model_number_info numbers[MODEL_NUMBERS] = {
    [NUMBER_SHORTCUT_SCALE] = {"--shortcut-scale", "shortcut_scale", "scaling", 1u << SHORTCUT_SCALING, 0, 10, 0.5},
    [NUMBER_BRANCH_SCALE] = {"--branch-scale", "branch_scale", "scaling", 1u << SHORTCUT_SCALING, 1e-6, 10, 0.5},
    [NUMBER_GATE_BIAS] = {"--gate-bias", "gate_bias", "exclusive-gate or shortcut-gate",
                          1u << SHORTCUT_EXCLUSIVE_GATE | 1u << SHORTCUT_SHORTCUT_GATE, -50, 50, 0},
    [NUMBER_DROPOUT] = {"--dropout", "dropout", "dropout", 1u << SHORTCUT_DROPOUT, 0, 0.999, 0.5},
};

const struct model_number_info *model_number_info(enum model_number number) { return &numbers[number]; }

bool model_has_number(const struct model_spec *spec, enum model_number number)
{
    return spec->shortcut <= SHORTCUT_DROPOUT && numbers[number].kinds >> spec->shortcut & 1;
}

bool model_number_is_told(const struct model_spec *spec, enum model_number number)
{
    return model_has_number(spec, number) && spec->number[number] != numbers[number].usual;
}

void model_take_usual(struct model_spec *spec)
{
    bool late = !spec->bottleneck || spec->dataset == DATASET_IMAGENET;
    spec->stride_in = late ? STRIDE_IN_3X3 : STRIDE_IN_1X1;
    for (size_t i = 0; i < MODEL_NUMBERS; i++)
        spec->number[i] = model_has_number(spec, (enum model_number)i) ? numbers[i].usual : 0;
}

static bool take_number(const struct model_number_info *info, bool has, double given, struct model_spec *spec,
                        double *number, struct error *err)
{
    bool none = spec->unit == UNIT_PLAIN;
    if (!has)
        return error_set(err, ERROR_INPUT, "%s: found for %s, %s%s; it goes with --shortcut %s", info->flag, spec->name,
                         none ? "which has no shortcuts" : "whose shortcuts are ",
                         none ? "" : shortcut_kind_name(spec->shortcut), info->shortcuts);
    if (!(given >= info->least && given <= info->most))
        return error_set(err, ERROR_INPUT, "%s: found %g, expected %g to %g", info->flag, given, info->least,
                         info->most);
    *number = given;
    return true;
}

bool model_fill_numbers(const struct model_options *options, struct model_spec *spec, struct error *err)
{
    model_take_usual(spec);
    for (size_t i = 0; i < MODEL_NUMBERS; i++) {
        bool has = model_has_number(spec, (enum model_number)i);
        if (!isnan(options->number[i]))
            TRY(take_number(&numbers[i], has, options->number[i], spec, &spec->number[i], err));
    }
    if (options->stride_in < 0) return true;
    if (!spec->bottleneck)
        return error_set(err, ERROR_INPUT, "--stride-in: found %s for %s, which has no bottlenecks (resnet-50 has)",
                         stride_place_name((enum stride_place)options->stride_in), spec->name);
    spec->stride_in = (enum stride_place)options->stride_in;
    return true;
}
