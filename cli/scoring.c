/* From a checkpoint to a plan. */
#include "scoring.h"

#include <inttypes.h>
#include <string.h>

#include "mem.h"

/* The model's form as flags, where its name does not say it. */
static bool describe_model(struct scoring *s, struct error *err)
{
    const struct model_spec *spec = &s->checkpoint.spec;
    struct plan_flags *flags = &s->train.flags;
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct model_spec named;
    options.dataset = (int)spec->dataset;
    TRY(model_parse(spec->name, &options, &named, err));
    flags->dataset = dataset_kind_name(spec->dataset);
    if (named.unit != spec->unit) flags->unit = unit_kind_name(spec->unit);
    if (named.shortcut != spec->shortcut) flags->shortcut = shortcut_kind_name(spec->shortcut);
    if (named.stride_in != spec->stride_in) flags->stride_in = stride_place_name(spec->stride_in);
    for (size_t i = 0; i < MODEL_NUMBERS; i++) {
        if (!model_number_is_told(spec, (enum model_number)i)) continue;
        snprintf(s->numbers[i], sizeof s->numbers[i], "%.17g", spec->number[i]);
        flags->number[i] = s->numbers[i];
    }
    flags->classes = spec->classes;
    flags->image_size = s->image_size ? s->image_size : spec->image_size;
    s->train.word = spec->name;
    return true;
}

/* Which crops of a picture are looked at, once the size of images is known. */
static bool choose_crops(struct scoring *s, struct error *err)
{
    struct train_options *o = &s->train.options;
    uint32_t size = (uint32_t)s->train.flags.image_size;
    if (s->crops > 1 && s->crops != DATA_CROPS)
        return error_set(err, ERROR_INPUT, "--crops: found %" PRIu64 "; 1 (the middle) or %u is possible", s->crops,
                         DATA_CROPS);
    if (s->resize > 0 && s->resize < size)
        return error_set(err, ERROR_INPUT, "--resize: found %" PRIu64 ", less than the net's image size, %u", s->resize,
                         size);
    o->crops = (uint32_t)s->crops;
    o->shorter_side = (uint32_t)s->resize;
    if (o->shorter_side == 0 && o->crops > 1) o->shorter_side = data_shorter_side(size, o->crops);
    return true;
}

bool scoring_open(struct scoring *s, const char *word, struct error *err)
{
    struct checkpoint_file *file;
    struct train_command *c = &s->train;
    TRY(checkpoint_find(word, c->checkpoint, err) && checkpoint_open(c->checkpoint, &file, &s->checkpoint, err));
    bool ok = s->checkpoint.known || checkpoint_guess(file, &s->checkpoint.spec, err);
    checkpoint_close(file);
    TRY(ok);
    c->options.weights = c->checkpoint;
    c->options.evaluates_only = true;
    return trained_on_read(c->checkpoint, &s->trained, &s->known, err) && describe_model(s, err) &&
           choose_crops(s, err);
}

bool scoring_data(struct scoring *s, bool tests_alone, struct error *err)
{
    struct train_command *c = &s->train;
    const char *path = c->options.data_path;
    bool ok = s->known ? dataset_open_scaled(path, s->trained.mean, s->trained.deviation, &c->options.dataset, err)
                       : dataset_open(path, &c->options.dataset, err);
    if (!ok) return error_prefix(err, "--data");
    return train_command_measure(c, (uint32_t)c->flags.image_size, tests_alone, err);
}

bool scoring_plan(struct scoring *s, struct error *err)
{
    struct train_command *c = &s->train;
    c->flags.freeze = "all-but-classifier"; /* nothing is trained: nothing is kept, no gradient has room */
    s->plan = train_command_plan(c, err);
    if (!s->plan) return false;
    c->part = train_part(s->plan, NULL);
    return train_command_backend(c, s->plan, err);
}

void scoring_finish(struct scoring *s)
{
    dataset_close(s->train.options.dataset);
    dataset_close(s->named);
    broken_images_destroy(s->train.options.broken);
    trained_on_finish(&s->trained);
    plan_destroy(s->plan);
    mem_free(s->left_out);
}

json_t *scoring_step(const struct scoring *s)
{
    return s->checkpoint.known ? json_integer((json_int_t)s->checkpoint.step) : json_null();
}
