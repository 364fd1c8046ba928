#include "model_fields.h"

#include "json.h"

json_t *model_fields(const struct model_spec *spec)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "name", spec->name, "dataset", dataset_kind_name(spec->dataset),
                     "unit", unit_kind_name(spec->unit), "shortcut", shortcut_kind_name(spec->shortcut), "image_size",
                     (json_int_t)spec->image_size, "classes", (json_int_t)spec->classes);
}

/* Units and shortcuts are an option of residual nets alone: others are as their names say. */
static bool parse_spec(const char *name, struct model_options options, enum unit_kind unit, enum shortcut_kind shortcut,
                       struct model_spec *spec, struct error *err)
{
    TRY(model_parse(name, &options, spec, err));
    if (spec->unit == unit && spec->shortcut == shortcut) return true;
    options.unit = (int)unit;
    options.shortcut = (int)shortcut;
    return model_parse(name, &options, spec, err);
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
    return parse_spec(name, options, unit_kind, shortcut_kind, spec, err) || error_prefix(err, "%s", where);
}
