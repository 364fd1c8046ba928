/* Recipes as files: one table of keys serves reading, writing and what is said of a key that there is not. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choice.h"
#include "files.h"
#include "json.h"
#include "mem.h"
#include "recipe_private.h"

#define MOST_BYTES (64u << 10)
#define MOST_COUNT 1e9

enum key_kind { KEY_NAME, KEY_SOURCE, KEY_COUNT, KEY_REAL, KEY_FLAG, KEY_SCHEDULE, KEY_DROPS, KEY_OPTIMIZER, KEY_INIT };

struct key {
    const char *name;
    enum key_kind kind;
    size_t offset;
    double least, most; /* of counts, reals and drops */
    bool needed;
};

#define KEY(field, kind, least, most, needed)                                                                          \
    {                                                                                                                  \
#field, kind, offsetof(struct recipe, field), least, most, needed                                              \
    }

static const struct key keys[] = {
    KEY(name, KEY_NAME, 0, 0, false),
    KEY(source, KEY_SOURCE, 0, 0, false),
    KEY(batch, KEY_COUNT, 1, 1 << 20, true),
    KEY(training_images, KEY_COUNT, 1, MOST_COUNT, true),
    KEY(iterations, KEY_COUNT, 1, MOST_COUNT, false),
    KEY(epochs, KEY_COUNT, 1, 1e6, false),
    KEY(schedule, KEY_SCHEDULE, 0, 0, true),
    KEY(learning_rate, KEY_REAL, 1e-12, 1000, true),
    KEY(drops, KEY_DROPS, 1, MOST_COUNT, false),
    KEY(drop_factor, KEY_REAL, 1e-6, 1, false),
    KEY(patience, KEY_COUNT, 1, 1e6, false),
    KEY(warm_up_iterations, KEY_COUNT, 1, MOST_COUNT, false),
    KEY(warm_up_rate, KEY_REAL, 1e-12, 1000, false),
    KEY(warm_up_until_error, KEY_REAL, 1e-6, 1, false),
    KEY(optimizer, KEY_OPTIMIZER, 0, 0, false),
    KEY(momentum, KEY_REAL, 0, 0.9999, true),
    KEY(nesterov, KEY_FLAG, 0, 0, false),
    KEY(beta1, KEY_REAL, 0, 0.9999999, false),
    KEY(beta2, KEY_REAL, 0, 0.9999999, false),
    KEY(epsilon, KEY_REAL, 1e-30, 1, false),
    KEY(weight_decay, KEY_REAL, 0, 1, true),
    KEY(decay_all, KEY_FLAG, 0, 0, false),
    KEY(clip_norm, KEY_REAL, 1e-12, 1e12, false),
    KEY(average_weights, KEY_REAL, 1e-6, 0.9999999, false),
    KEY(label_smoothing, KEY_REAL, 0, 0.9999, false),
    KEY(bn_momentum, KEY_REAL, 1e-6, 1, false),
    KEY(bn_recompute, KEY_COUNT, 1, MOST_COUNT, false),
    KEY(augment, KEY_FLAG, 0, 0, false),
    KEY(area_crops, KEY_FLAG, 0, 0, false),
    KEY(color_jitter, KEY_REAL, 0, 1, false),
    KEY(lighting, KEY_REAL, 0, 10, false),
    KEY(init, KEY_INIT, 0, 0, false),
};
#define KEYS (sizeof keys / sizeof keys[0])

static const char *const schedules[] = {"constant", "steps", "plateau", "cosine"}; /* as enum schedule_kind */

/* Whether they have momentum is told by "momentum". */
static const struct {
    const char *name;
    enum optimizer optimizer;
} optimizers[] = {{"sgd", OPTIMIZER_MOMENTUM},      {"rmsprop", OPTIMIZER_RMSPROP}, {"adagrad", OPTIMIZER_ADAGRAD},
                  {"adadelta", OPTIMIZER_ADADELTA}, {"adam", OPTIMIZER_ADAM},       {"adamw", OPTIMIZER_ADAMW}};
#define OPTIMIZER_NAMES (sizeof optimizers / sizeof optimizers[0])

bool recipe_parse_optimizer(const char *word, const char *flag, enum optimizer *optimizer, bool *nesterov,
                            struct error *err)
{
    const char *names[OPTIMIZER_NAMES + 1];
    size_t choice;
    for (size_t i = 0; i < OPTIMIZER_NAMES; i++) names[i] = optimizers[i].name;
    names[OPTIMIZER_NAMES] = "nesterov";
    TRY(choice_parse(word, flag, names, OPTIMIZER_NAMES + 1, NULL, 0, &choice, err));
    *optimizer = choice < OPTIMIZER_NAMES ? optimizers[choice].optimizer : OPTIMIZER_MOMENTUM;
    *nesterov = *nesterov || choice == OPTIMIZER_NAMES;
    return true;
}

static const char *const inits[] = {"he", "he-fan-in", "torch", "xavier", "lecun"}; /* as enum init_kind */

const char *recipe_init_name(enum init_kind init) { return inits[init]; }

bool recipe_parse_init(const char *word, const char *flag, enum init_kind *init, struct error *err)
{
    static const struct choice_synonym synonyms[] = {{"kaiming", "he"},    {"msra", "he"},
                                                     {"he-fan-out", "he"}, {"kaiming-fan-in", "he-fan-in"},
                                                     {"pytorch", "torch"}, {"glorot", "xavier"}};
    size_t choice;
    TRY(choice_parse(word, flag, inits, sizeof inits / sizeof inits[0], synonyms, sizeof synonyms / sizeof synonyms[0],
                     &choice, err));
    *init = (enum init_kind)choice;
    return true;
}

/* ---- Reading ---- */

static bool check_key(const char *name, const char *path, struct error *err)
{
    const char *nearest = keys[0].name;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < KEYS; i++) {
        if (strcmp(name, keys[i].name) == 0) return true;
        size_t distance = choice_distance(name, keys[i].name, SIZE_MAX);
        if (distance >= least) continue;
        least = distance;
        nearest = keys[i].name;
    }
    return error_set(err, ERROR_INPUT, "%s: there is no '%.60s' in a recipe; the nearest is '%s'", path, name, nearest);
}

static bool out_of_range(const struct key *key, const char *path, double found, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: field '%s' is %g; %g to %g is possible", path, key->name, found, key->least,
                     key->most);
}

static bool read_text(const json_t *json, const struct key *key, const char *path, char *out, size_t size,
                      struct error *err)
{
    const char *text;
    TRY(json_get_string(json, key->name, path, &text, err));
    if (text[0] == '\0' || strlen(text) >= size)
        return error_set(err, ERROR_INPUT, "%s: field '%s' has %zu bytes; 1 to %zu are possible", path, key->name,
                         strlen(text), size - 1);
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static bool read_count(const json_t *json, const struct key *key, const char *path, uint64_t *count, struct error *err)
{
    uint64_t found;
    TRY(json_get_u64(json, key->name, path, (uint64_t)key->most, &found, err));
    if ((double)found < key->least) return out_of_range(key, path, (double)found, err);
    *count = found;
    return true;
}

static bool read_real(const json_t *json, const struct key *key, const char *path, double *real, struct error *err)
{
    double found;
    TRY(json_get_real(json, key->name, path, &found, err));
    if (!(found >= key->least && found <= key->most)) return out_of_range(key, path, found, err);
    *real = found;
    return true;
}

static bool read_schedule(const json_t *json, const struct key *key, const char *path, enum schedule_kind *schedule,
                          struct error *err)
{
    const char *text;
    char what[160];
    size_t choice;
    TRY(json_get_string(json, key->name, path, &text, err));
    snprintf(what, sizeof what, "%.120s: field '%s'", path, key->name);
    TRY(choice_parse(text, what, schedules, sizeof schedules / sizeof schedules[0], NULL, 0, &choice, err));
    *schedule = (enum schedule_kind)choice;
    return true;
}

static bool read_optimizer(const json_t *json, const struct key *key, const char *path, struct recipe *recipe,
                           struct error *err)
{
    const char *text;
    char what[160];
    TRY(json_get_string(json, key->name, path, &text, err));
    snprintf(what, sizeof what, "%.120s: field '%s'", path, key->name);
    return recipe_parse_optimizer(text, what, &recipe->optimizer, &recipe->nesterov, err);
}

static bool read_init(const json_t *json, const struct key *key, const char *path, enum init_kind *init,
                      struct error *err)
{
    const char *text;
    char what[160];
    TRY(json_get_string(json, key->name, path, &text, err));
    snprintf(what, sizeof what, "%.120s: field '%s'", path, key->name);
    return recipe_parse_init(text, what, init, err);
}

static bool read_drops(const json_t *json, const struct key *key, const char *path, struct recipe *recipe,
                       struct error *err)
{
    const json_t *list = json_get_array(json, key->name, path, err);
    if (!list) return false;
    size_t count = json_array_size(list);
    if (count == 0 || count > RECIPE_MOST_DROPS)
        return error_set(err, ERROR_INPUT, "%s: field '%s' has %zu numbers; 1 to %d are possible", path, key->name,
                         count, RECIPE_MOST_DROPS);
    for (size_t i = 0; i < count; i++) {
        const json_t *found = json_array_get(list, i);
        json_int_t before = i ? (json_int_t)recipe->drops[i - 1] : 0, number = json_integer_value(found);
        if (!json_is_integer(found) || number <= before || (double)number > key->most)
            return error_set(err, ERROR_INPUT,
                             "%s: field '%s': a whole number above %" JSON_INTEGER_FORMAT " is wanted in place %zu",
                             path, key->name, before, i + 1);
        recipe->drops[i] = (uint64_t)number;
    }
    recipe->drop_count = (uint32_t)count;
    return true;
}

static bool read_key(const json_t *json, const struct key *key, const char *path, struct recipe *recipe,
                     struct error *err)
{
    void *field = (char *)recipe + key->offset;
    if (!key->needed && !json_object_get(json, key->name)) return true;
    switch (key->kind) {
    case KEY_NAME: return read_text(json, key, path, field, RECIPE_NAME, err);
    case KEY_SOURCE: return read_text(json, key, path, field, RECIPE_SOURCE, err);
    case KEY_COUNT: return read_count(json, key, path, field, err);
    case KEY_REAL: return read_real(json, key, path, field, err);
    case KEY_FLAG: return json_get_bool(json, key->name, path, field, err);
    case KEY_SCHEDULE: return read_schedule(json, key, path, field, err);
    case KEY_DROPS: return read_drops(json, key, path, recipe, err);
    case KEY_OPTIMIZER: return read_optimizer(json, key, path, recipe, err);
    case KEY_INIT: return read_init(json, key, path, field, err);
    }
    return false;
}

/* What goes with what. */
static bool check_recipe(const struct recipe *r, const char *path, struct error *err)
{
    const char *kind = schedules[r->schedule];
    if ((r->iterations > 0) == (r->epochs > 0))
        return error_set(err, ERROR_INPUT, "%s: one of 'iterations' and 'epochs' is wanted; %s is there", path,
                         r->epochs ? "both" : "neither");
    if ((r->schedule == SCHEDULE_STEPS) != (r->drop_count > 0))
        return error_set(err, ERROR_INPUT, "%s: 'drops' %s beside schedule '%s'; they go with 'steps'", path,
                         r->drop_count ? "are" : "are missing", kind);
    if ((r->schedule == SCHEDULE_PLATEAU) != (r->patience > 0))
        return error_set(err, ERROR_INPUT, "%s: 'patience' is %s schedule '%s'; it goes with 'plateau'", path,
                         r->patience ? "beside" : "missing beside", kind);
    uint64_t length = r->iterations ? r->iterations : r->epochs;
    if (r->drop_count && r->drops[r->drop_count - 1] >= length)
        return error_set(err, ERROR_INPUT, "%s: field 'drops' has %" PRIu64 ", and the run ends after %" PRIu64 " %s",
                         path, r->drops[r->drop_count - 1], length, r->iterations ? "iterations" : "epochs");
    if ((r->warm_up_iterations > 0) != (r->warm_up_rate > 0))
        return error_set(err, ERROR_INPUT, "%s: 'warm_up_iterations' and 'warm_up_rate' go together; one is missing",
                         path);
    if (r->warm_up_until_error > 0 && !r->warm_up_iterations)
        return error_set(err, ERROR_INPUT, "%s: 'warm_up_until_error' goes with 'warm_up_iterations'", path);
    if (r->warm_up_iterations >= recipe_steps(r, r->batch))
        return error_set(err, ERROR_INPUT, "%s: field 'warm_up_iterations' is %" PRIu64 ", and the run has %" PRIu64,
                         path, r->warm_up_iterations, recipe_steps(r, r->batch));
    return true;
}

static bool read_object(json_t *json, const char *path, struct recipe *recipe, struct error *err)
{
    const char *name;
    json_t *value;
    *recipe = (struct recipe){.drop_factor = 0.1, .bn_momentum = 0.1, .decay_all = true, .augment = true};
    snprintf(recipe->name, sizeof recipe->name, "%.*s", RECIPE_NAME - 1,
             strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
    if (!json_is_object(json)) return error_set(err, ERROR_INPUT, "%s: is no object; {\"batch\": ...} is wanted", path);
    json_object_foreach(json, name, value) TRY(check_key(name, path, err));
    for (size_t i = 0; i < KEYS; i++) TRY(read_key(json, &keys[i], path, recipe, err));
    return check_recipe(recipe, path, err);
}

bool recipe_read_file(const char *path, struct recipe *recipe, struct error *err)
{
    char *bytes;
    size_t length;
    struct recipe read;
    TRY(files_read(path, MOST_BYTES, &bytes, &length, err));
    json_t *json = json_parse(bytes, length, path, err);
    bool ok = json && read_object(json, path, &read, err);
    json_decref(json);
    mem_free(bytes);
    if (ok) *recipe = read;
    return ok;
}

/* ---- Writing ---- */

/* The fewest digits that are that number. */
static void add_real(struct text *text, double real)
{
    char digits[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, real);
        if (strtod(digits, NULL) == real) break;
    }
    text_add(text, "%s", digits);
}

static void add_string(struct text *text, const char *string)
{
    char quoted[6 * RECIPE_SOURCE + 2]; /* a byte is six at most: \u001b */
    json_t *json = json_text(string);
    size_t length = json ? json_dumpb(json, quoted, sizeof quoted, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : 0;
    if (length > 0 && length <= sizeof quoted)
        text_add_bytes(text, quoted, length);
    else
        text->failed = true;
    json_decref(json);
}

static void add_drops(struct text *text, const struct recipe *recipe)
{
    for (uint32_t i = 0; i < recipe->drop_count; i++) text_add(text, "%s%" PRIu64, i ? ", " : "[", recipe->drops[i]);
    text_add(text, "]");
}

static bool is_there(const struct recipe *recipe, const struct key *key)
{
    const void *field = (const char *)recipe + key->offset;
    switch (key->kind) {
    case KEY_NAME:
    case KEY_SOURCE: return *(const char *)field != '\0';
    case KEY_COUNT: return *(const uint64_t *)field > 0;
    case KEY_REAL: return key->needed || *(const double *)field > 0;
    case KEY_DROPS: return recipe->drop_count > 0;
    case KEY_OPTIMIZER: return recipe->optimizer != OPTIMIZER_MOMENTUM;
    case KEY_INIT: return recipe->init != INIT_HE;
    case KEY_FLAG: return field != &recipe->decay_all || !recipe->decay_all;
    case KEY_SCHEDULE: return true;
    }
    return false;
}

static void add_value(struct text *text, const struct recipe *recipe, const struct key *key)
{
    const void *field = (const char *)recipe + key->offset;
    switch (key->kind) {
    case KEY_NAME:
    case KEY_SOURCE: add_string(text, field); break;
    case KEY_COUNT: text_add(text, "%" PRIu64, *(const uint64_t *)field); break;
    case KEY_REAL: add_real(text, *(const double *)field); break;
    case KEY_FLAG: text_add(text, *(const bool *)field ? "true" : "false"); break;
    case KEY_SCHEDULE: add_string(text, schedules[recipe->schedule]); break;
    case KEY_DROPS: add_drops(text, recipe); break;
    case KEY_OPTIMIZER: add_string(text, optimizer_name(recipe->optimizer)); break;
    case KEY_INIT: add_string(text, recipe_init_name(recipe->init)); break;
    }
}

void recipe_write(const struct recipe *recipe, struct text *text)
{
    const char *before = "{";
    for (size_t i = 0; i < KEYS; i++) {
        if (!is_there(recipe, &keys[i])) continue;
        text_add(text, "%s\n  \"%s\": ", before, keys[i].name);
        add_value(text, recipe, &keys[i]);
        before = ",";
    }
    text_add(text, "\n}\n");
}
