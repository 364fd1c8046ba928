/* What a checkpoint says of its run, as JSON. Reals are text in C's hexadecimal notation, which keeps every bit. */
#include "checkpoint_private.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "model_fields.h"

/* ---- Writing ---- */

static json_t *exact(double value)
{
    char text[64];
    snprintf(text, sizeof text, "%a", value);
    return json_string(text);
}

static json_t *number(uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return json_string(text);
}

static json_t *schedule_fields(const struct schedule_state *s)
{
    return json_pack("{s:b, s:o, s:o, s:I, s:I, s:b}", "warmed", s->warmed, "train_error", exact(s->train_error),
                     "best_error", exact(s->best_error), "stale", (json_int_t)s->stale, "plateaus",
                     (json_int_t)s->plateaus, "waiting", s->waiting);
}

static json_t *scale_fields(const struct loss_scale *s)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "scale", exact((double)s->scale), "streak", exact((double)s->streak),
                     "found", exact((double)s->found), "skipped", exact((double)s->skipped));
}

static json_t *run_fields(const struct checkpoint *c)
{
    json_t *run =
        json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:s, s:b, s:o}", "version", (json_int_t)CHECKPOINT_VERSION,
                  "model", model_fields(&c->spec), "step", number(c->step), "seed", number(c->seed), "position",
                  number(c->position), "dataset_hash", number(c->dataset_hash), "batch", (json_int_t)c->batch,
                  "devices", (json_int_t)c->devices, "optimizer", optimizer_name(c->optimizer), "averages_weights",
                  c->averages, "schedule", schedule_fields(&c->schedule));
    bool ok = run;
    if (ok && c->scaled) ok = json_object_set_new(run, "loss_scale", scale_fields(&c->loss_scale)) == 0;
    if (ok && !isnan(c->top1_error)) ok = json_object_set_new(run, "top1_error", exact(c->top1_error)) == 0;
    if (ok) return run;
    json_decref(run);
    return NULL;
}

static int add_part(const char *part, size_t length, void *text)
{
    text_add_bytes(text, part, length);
    return 0;
}

bool checkpoint_fields_write(const struct checkpoint *checkpoint, struct text *text, struct error *err)
{
    json_t *run = run_fields(checkpoint);
    bool ok = run && json_dump_callback(run, add_part, text, JSON_COMPACT) == 0 && !text->failed;
    json_decref(run);
    return ok || error_memory(err, sizeof *checkpoint, "a checkpoint's header");
}

/* ---- Reading ---- */

static bool get_exact(const json_t *object, const char *field, const char *where, double *value, struct error *err)
{
    const char *text;
    char *end;
    TRY(json_get_string(object, field, where, &text, err));
    *value = strtod(text, &end);
    if (end != text && *end == '\0') return true;
    return error_set(err, ERROR_INPUT, "%s: field '%s' is no number", where, field);
}

static bool get_float(const json_t *object, const char *field, const char *where, float *value, struct error *err)
{
    double real;
    TRY(get_exact(object, field, where, &real, err));
    *value = (float)real;
    return true;
}

static bool get_number(const json_t *object, const char *field, const char *where, uint64_t *value, struct error *err)
{
    const char *text;
    char *end;
    TRY(json_get_string(object, field, where, &text, err));
    errno = 0;
    *value = strtoull(text, &end, 10);
    if (errno == 0 && *text >= '0' && *text <= '9' && *end == '\0') return true;
    return error_set(err, ERROR_INPUT, "%s: field '%s' is no whole number", where, field);
}

static bool get_u32(const json_t *object, const char *field, const char *where, uint32_t *value, struct error *err)
{
    uint64_t wide;
    TRY(json_get_u64(object, field, where, UINT32_MAX, &wide, err));
    *value = (uint32_t)wide;
    return true;
}

static bool read_schedule(const json_t *run, const char *where, struct schedule_state *s, struct error *err)
{
    const json_t *object = json_get_object(run, "schedule", where, err);
    return object && json_get_bool(object, "warmed", where, &s->warmed, err) &&
           get_exact(object, "train_error", where, &s->train_error, err) &&
           get_exact(object, "best_error", where, &s->best_error, err) &&
           get_u32(object, "stale", where, &s->stale, err) && get_u32(object, "plateaus", where, &s->plateaus, err) &&
           json_get_bool(object, "waiting", where, &s->waiting, err);
}

bool checkpoint_check_scale(const char *path, const struct loss_scale *s, struct error *err)
{
    bool usable = s->scale >= LOSS_SCALE_LEAST && s->scale <= LOSS_SCALE_MOST && s->streak >= 0 &&
                  s->streak < (float)UINT32_MAX && s->skipped >= 0 && s->skipped < (float)UINT32_MAX;
    if (usable) return true;
    return error_set(err, ERROR_INPUT, "%s: its loss scale is %g after %g good steps; %g to %g is possible", path,
                     (double)s->scale, (double)s->streak, (double)LOSS_SCALE_LEAST, (double)LOSS_SCALE_MOST);
}

static bool read_scale(const json_t *run, const char *path, struct checkpoint *c, struct error *err)
{
    struct loss_scale *s = &c->loss_scale;
    const json_t *object = json_object_get(run, "loss_scale");
    c->scaled = object != NULL;
    return !object ||
           (get_float(object, "scale", path, &s->scale, err) && get_float(object, "streak", path, &s->streak, err) &&
            get_float(object, "found", path, &s->found, err) && get_float(object, "skipped", path, &s->skipped, err) &&
            checkpoint_check_scale(path, s, err));
}

static bool read_update(const json_t *run, const char *where, struct checkpoint *c, struct error *err)
{
    const char *name;
    c->says_update = json_object_get(run, "optimizer") != NULL;
    if (!c->says_update) return true;
    TRY(json_get_string(run, "optimizer", where, &name, err));
    int found = 0;
    while (found < OPTIMIZERS && strcmp(optimizer_name((enum optimizer)found), name) != 0) found++;
    if (found == OPTIMIZERS)
        return error_set(err, ERROR_INPUT, "%s: field 'optimizer' is '%.40s', which this program has not", where, name);
    c->optimizer = (enum optimizer)found;
    return json_get_bool(run, "averages_weights", where, &c->averages, err);
}

static bool read_run(const json_t *run, const char *path, struct checkpoint *c, struct error *err)
{
    char where[CHECKPOINT_PATH + 32];
    snprintf(where, sizeof where, "%s: " CHECKPOINT_RUN_KEY, path);
    TRY(get_u32(run, "version", where, &c->version, err));
    if (c->version != CHECKPOINT_VERSION)
        return error_set(err, ERROR_INPUT, "%s: has version %u; this program reads versions up to %u", path, c->version,
                         CHECKPOINT_VERSION);
    const json_t *model = json_get_object(run, "model", where, err);
    TRY(model && model_fields_read(model, where, &c->spec, err));
    c->top1_error = NAN;
    return get_number(run, "step", where, &c->step, err) && get_number(run, "seed", where, &c->seed, err) &&
           get_number(run, "position", where, &c->position, err) &&
           get_number(run, "dataset_hash", where, &c->dataset_hash, err) &&
           get_u32(run, "batch", where, &c->batch, err) && get_u32(run, "devices", where, &c->devices, err) &&
           read_update(run, where, c, err) && read_schedule(run, where, &c->schedule, err) &&
           read_scale(run, where, c, err) &&
           (!json_object_get(run, "top1_error") || get_exact(run, "top1_error", where, &c->top1_error, err));
}

bool checkpoint_fields_read(const char *json, const char *path, struct checkpoint *checkpoint, struct error *err)
{
    struct checkpoint found = {.known = true};
    json_t *run = json_parse(json, strlen(json), path, err);
    bool ok = run && read_run(run, path, &found, err);
    json_decref(run);
    if (ok) *checkpoint = found;
    return ok;
}
