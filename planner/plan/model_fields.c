#include "model_fields.h"

#include <string.h>

#include "json.h"

/* Numbers and the place of the stride are there where they can be another: what had no such choice stays readable. */
json_t *model_fields(const struct model_spec *spec)
{
    json_t *fields =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "name", spec->name, "dataset", dataset_kind_name(spec->dataset),
                  "unit", unit_kind_name(spec->unit), "shortcut", shortcut_kind_name(spec->shortcut), "image_size",
                  (json_int_t)spec->image_size, "classes", (json_int_t)spec->classes);
    bool ok = fields;
    if (spec->image_width)
        ok = ok && json_object_set_new(fields, "image_width", json_integer((json_int_t)spec->image_width)) == 0;
    if (spec->bottleneck)
        ok = ok && json_object_set_new(fields, "stride_in", json_string(stride_place_name(spec->stride_in))) == 0;
    for (size_t i = 0; i < MODEL_NUMBERS; i++)
        if (model_has_number(spec, (enum model_number)i))
            ok = ok && json_object_set_new(fields, model_number_info((enum model_number)i)->field,
                                           json_real(spec->number[i])) == 0;
    if (ok) return fields;
    json_decref(fields);
    return NULL;
}

/* Units and shortcuts are an option of residual nets alone: others are as their names say. */
static bool parse_spec(const char *name, const struct model_options *told, enum unit_kind unit,
                       enum shortcut_kind shortcut, struct model_spec *spec, struct error *err)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT, whole = *told;
    options.dataset = told->dataset;
    options.image_size = told->image_size;
    options.image_width = told->image_width;
    options.classes = told->classes;
    TRY(model_parse(name, &options, spec, err));
    if (spec->unit != unit || spec->shortcut != shortcut) {
        whole.unit = (int)unit;
        whole.shortcut = (int)shortcut;
    }
    return model_parse(name, &whole, spec, err);
}

static bool read_numbers(const json_t *object, const char *where, struct model_options *options, struct error *err)
{
    const char *stride;
    enum stride_place place;
    for (size_t i = 0; i < MODEL_NUMBERS; i++) {
        const char *field = model_number_info((enum model_number)i)->field;
        if (json_object_get(object, field)) TRY(json_get_real(object, field, where, &options->number[i], err));
    }
    if (!json_object_get(object, "stride_in")) return true;
    TRY(json_get_string(object, "stride_in", where, &stride, err));
    TRY(stride_place_parse(stride, &place, err) || error_prefix(err, "%s", where));
    options->stride_in = (int)place;
    return true;
}

/* What is said of a model's name begins with "model: "; where `where` ends with that word it is said once. */
static bool spec_fail(const char *where, struct error *err)
{
    static const char word[] = "model: ";
    size_t length = sizeof word - 1, end = strlen(where);
    bool twice = err && end >= length - 2 && strcmp(where + end - (length - 2), "model") == 0 &&
                 strncmp(err->text, word, length) == 0;
    if (twice) memmove(err->text, err->text + length, strlen(err->text + length) + 1);
    return error_prefix(err, "%s", where);
}

bool model_fields_read(const json_t *object, const char *where, struct model_spec *spec, struct error *err)
{
    const char *name, *dataset, *unit, *shortcut;
    enum dataset_kind dataset_kind;
    enum unit_kind unit_kind;
    enum shortcut_kind shortcut_kind;
    uint64_t image_size, image_width = 0, classes;
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    TRY(json_get_string(object, "name", where, &name, err));
    TRY(json_get_string(object, "dataset", where, &dataset, err));
    TRY(json_get_string(object, "unit", where, &unit, err));
    TRY(json_get_string(object, "shortcut", where, &shortcut, err));
    TRY(json_get_u64(object, "image_size", where, UINT32_MAX, &image_size, err));
    if (json_object_get(object, "image_width"))
        TRY(json_get_u64(object, "image_width", where, UINT32_MAX, &image_width, err));
    TRY(json_get_u64(object, "classes", where, UINT32_MAX, &classes, err));
    options.image_size = (uint32_t)image_size;
    options.image_width = (uint32_t)image_width;
    options.classes = (uint32_t)classes;
    if (!dataset_kind_parse(dataset, &dataset_kind, err) || !unit_kind_parse(unit, &unit_kind, err) ||
        !shortcut_kind_parse(shortcut, &shortcut_kind, err))
        return error_prefix(err, "%s", where);
    options.dataset = (int)dataset_kind;
    TRY(read_numbers(object, where, &options, err));
    return parse_spec(name, &options, unit_kind, shortcut_kind, spec, err) || spec_fail(where, err);
}
