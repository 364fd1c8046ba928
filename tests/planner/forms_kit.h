/* Forms of table 1 of arXiv:1603.05027, and both places of a bottleneck's stride. */
#ifndef FATHOM_FORMS_KIT_H
#define FATHOM_FORMS_KIT_H

#include <criterion/criterion.h>

#include "model.h"

struct form {
    const char *model;
    struct model_options options;
};

#define FORMS 17

/* Form i of FORMS, on images of so many pixels a side (0 = as the dataset has them). */
static inline struct form form_at(size_t i, uint32_t image_size)
{
    static const struct {
        const char *model;
        int unit, shortcut, stride_in;
        double shortcut_scale, branch_scale, gate_bias, dropout; /* -99: not given */
    } rows[FORMS] = {
        {"resnet-8", UNIT_ORIGINAL, SHORTCUT_SCALING, -1, 0, 1, -99, -99},
        {"resnet-8", UNIT_ORIGINAL, SHORTCUT_SCALING, -1, 0.5, 1, -99, -99},
        {"resnet-8", UNIT_ORIGINAL, SHORTCUT_SCALING, -1, 0.5, 0.5, -99, -99},
        {"resnet-11", UNIT_PREACT, SHORTCUT_SCALING, -1, 0.75, 0.25, -99, -99},
        {"resnet-11", UNIT_PREACT, SHORTCUT_SCALING, -1, 0, 0.5, -99, -99},
        {"resnet-8", UNIT_ORIGINAL, SHORTCUT_EXCLUSIVE_GATE, -1, -99, -99, 0, -99},
        {"resnet-8", UNIT_ORIGINAL, SHORTCUT_EXCLUSIVE_GATE, -1, -99, -99, -6, -99},
        {"resnet-8", UNIT_ORIGINAL, SHORTCUT_SHORTCUT_GATE, -1, -99, -99, -6, -99},
        {"resnet-11", UNIT_NO_FINAL_RELU, SHORTCUT_SHORTCUT_GATE, -1, -99, -99, -3, -99},
        {"resnet-8", UNIT_ORIGINAL, SHORTCUT_DROPOUT, -1, -99, -99, -99, 0.2},
        {"resnet-8", UNIT_ORIGINAL, SHORTCUT_DROPOUT, -1, -99, -99, -99, 0},
        {"resnet-11", UNIT_PREACT, SHORTCUT_B, STRIDE_IN_3X3, -99, -99, -99, -99},
        {"resnet-11", UNIT_ORIGINAL, SHORTCUT_B, STRIDE_IN_1X1, -99, -99, -99, -99},
        {"resnet-11", UNIT_BN_AFTER_ADD, SHORTCUT_B, STRIDE_IN_3X3, -99, -99, -99, -99},
        {"resnet-8", UNIT_RELU_BEFORE_ADD, SHORTCUT_SCALING, -1, 1, 1, -99, -99},
        {"resnet-11", UNIT_BN_AFTER_ADD_NO_RELU, SHORTCUT_C, -1, -99, -99, -99, -99},
        {"resnet-8", UNIT_BN_AFTER_ADD_NO_RELU, SHORTCUT_A, -1, -99, -99, -99, -99},
    };
    struct form form = {rows[i].model, MODEL_OPTIONS_DEFAULT};
    const double numbers[MODEL_NUMBERS] = {rows[i].shortcut_scale, rows[i].branch_scale, rows[i].gate_bias, rows[i].dropout};
    form.options.unit = rows[i].unit;
    form.options.shortcut = rows[i].shortcut;
    form.options.stride_in = rows[i].stride_in;
    form.options.image_size = image_size;
    for (size_t k = 0; k < MODEL_NUMBERS; k++)
        if (numbers[k] > -99) form.options.number[k] = numbers[k];
    return form;
}

static inline struct model_spec form_spec(size_t i, uint32_t image_size)
{
    struct form form = form_at(i, image_size);
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse(form.model, &form.options, &spec, &err), "form %zu: %s", i, err.text);
    return spec;
}

#endif
