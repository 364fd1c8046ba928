#include "sweep_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ascii.h"
#include "choice.h"
#include "files.h"
#include "mem.h"

#define MOST_BYTES (1u << 20)
#define WHERE      (FILES_PATH + 160)

static const char *const keys[] = {"name", "source", "model", "options", "seeds", "compare", "rows"};
static const char *const row_keys[] = {"name", "model", "options", "published"};
static const char *const figures[] = {"top1_error", "best_top1_error", "top5_error", "loss"}; /* as enum sweep_figure */
static const char *const figure_words[] = {"test error, top-1", "best test error, top-1", "test error, top-5",
                                           "training loss"};
/* The sweep's own: what every run is told. */
static const char *const reserved[] = {"seed", "run", "save", "log", "trace", "resume", "restarts", "top"};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

const char *sweep_figure_words(enum sweep_figure figure) { return figure_words[figure]; }

const char *sweep_figure_name(enum sweep_figure figure) { return figures[figure]; }

/* The option of `names` that a word of so many letters is, or count: getopt takes the beginning of a name for it. */
static size_t find_begun(const char *word, size_t length, const char *const *names, size_t count)
{
    size_t i = 0;
    while (i < count && (length == 0 || strncmp(word, names[i], length) != 0)) i++;
    return i;
}

/* "--log", "--log=FILE", "--lo" */
bool sweep_check_words(const char *const *words, size_t count, struct error *err)
{
    static const char *const data[] = {"data", "data-dir"};
    for (size_t i = 0; i < count; i++) {
        size_t length = strncmp(words[i], "--", 2) == 0 ? strcspn(words[i] + 2, "=") : 0;
        size_t own = find_begun(words[i] + 2, length, reserved, COUNT(reserved));
        if (own < COUNT(reserved))
            return error_set(err, ERROR_INPUT, "%.80s after --: is the sweep's own, which tells each run its own%s",
                             words[i], own == 0 ? "; 'seeds' of the file lists them" : "");
        if (find_begun(words[i] + 2, length, data, COUNT(data)) < COUNT(data))
            return error_set(err, ERROR_INPUT, "%.80s after --: the images of all runs are named before it", words[i]);
    }
    return true;
}

/* ---- Reading ---- */

static bool check_keys(json_t *json, const char *where, const char *const *names, size_t count, const char *what,
                       struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value)
    {
        const char *nearest = names[0];
        size_t least = SIZE_MAX;
        for (size_t i = 0; i < count && least > 0; i++) {
            size_t distance = strcmp(name, names[i]) == 0 ? 0 : 1 + choice_distance(name, names[i], SIZE_MAX - 1);
            if (distance >= least) continue;
            least = distance;
            nearest = names[i];
        }
        if (least > 0)
            return error_set(err, ERROR_INPUT, "%s: there is no '%.60s' in %s; the nearest is '%s'", where, name, what,
                             nearest);
    }
    return true;
}

static bool read_text(const json_t *json, const char *field, const char *where, const char **text, struct error *err)
{
    if (!json_object_get(json, field)) return true;
    TRY(json_get_string(json, field, where, text, err));
    if (**text) return true;
    return error_set(err, ERROR_INPUT, "%s: field '%s' is empty", where, field);
}

static bool check_options(json_t *options, const char *where, struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(options, name, value)
    {
        size_t own = find_begun(name, strlen(name), reserved, COUNT(reserved));
        if (own < COUNT(reserved))
            return error_set(err, ERROR_INPUT, "%s: option '%s' is the sweep's own%s", where, name,
                             own == 0 ? "; 'seeds' lists them" : "");
        if (name[0] == '\0' || name[0] == '-' || strpbrk(name, "= "))
            return error_set(err, ERROR_INPUT, "%s: option '%.60s': its name alone is wanted, like \"batch\"", where,
                             name);
        if (json_is_object(value) || json_is_array(value))
            return error_set(err, ERROR_INPUT, "%s: option '%s': text, a number, true or false is wanted", where, name);
    }
    return true;
}

static bool read_options(const json_t *json, const char *where, json_t **options, struct error *err)
{
    if (!json_object_get(json, "options")) return true;
    json_t *found = json_get_object(json, "options", where, err);
    *options = found;
    return found && check_options(found, where, err);
}

static bool read_seeds(const json_t *json, const char *path, struct sweep *s, struct error *err)
{
    const json_t *list;
    s->seed_count = 1;
    if (!json_object_get(json, "seeds")) return true;
    TRY((list = json_get_array(json, "seeds", path, err)) != NULL);
    s->seed_count = json_array_size(list);
    if (s->seed_count == 0 || s->seed_count > SWEEP_MOST_SEEDS)
        return error_set(err, ERROR_INPUT, "%s: field 'seeds' has %zu numbers; 1 to %d are possible", path,
                         s->seed_count, SWEEP_MOST_SEEDS);
    for (size_t i = 0; i < s->seed_count; i++) {
        const json_t *found = json_array_get(list, i);
        if (!json_is_integer(found) || json_integer_value(found) < 0)
            return error_set(err, ERROR_INPUT, "%s: field 'seeds': a whole number is wanted in place %zu", path, i + 1);
        s->seeds[i] = (uint64_t)json_integer_value(found);
        for (size_t k = 0; k < i; k++)
            if (s->seeds[k] == s->seeds[i])
                return error_set(err, ERROR_INPUT, "%s: field 'seeds' has %" PRIu64 " twice", path, s->seeds[i]);
    }
    return true;
}

/* Letters, digits, points and hyphens stay. */
static void name_folder(const char *name, char folder[SWEEP_NAME + 1])
{
    size_t length = 0;
    for (; *name && length < SWEEP_NAME; name++) {
        bool kept = ascii_is_alnum(*name) || (*name == '.' && length > 0);
        if (kept)
            folder[length++] = ascii_lower(*name);
        else if (length > 0 && folder[length - 1] != '-')
            folder[length++] = '-';
    }
    while (length > 1 && folder[length - 1] == '-') length--;
    folder[length] = '\0';
    if (length == 0) snprintf(folder, SWEEP_NAME + 1, "row");
}

/* A figure, or words like "fail". */
static bool read_published(const json_t *json, const char *where, struct sweep *s, size_t number, struct error *err)
{
    const json_t *found = json_object_get(json, "published");
    struct sweep_row *row = &s->rows[number];
    if (!found || json_is_null(found)) return true;
    if (json_is_string(found)) {
        row->published = json_string_value(found);
        return true;
    }
    if (!json_is_number(found))
        return error_set(err, ERROR_INPUT, "%s: field 'published': a number or a text is wanted", where);
    snprintf(s->texts[number], sizeof s->texts[number], "%.6g", json_number_value(found));
    row->published = s->texts[number];
    return true;
}

static bool check_names(const struct sweep *s, size_t number, const char *path, struct error *err)
{
    static const char *const own[] = {"curves.svg", "fathom.lock"};
    const struct sweep_row *row = &s->rows[number];
    for (size_t i = 0; i < COUNT(own); i++)
        if (strcmp(row->folder, own[i]) == 0)
            return error_set(err, ERROR_INPUT, "%s: row '%s': %s is a file of the sweep's folder; name it otherwise",
                             path, row->name, own[i]);
    for (size_t i = 0; i < number; i++)
        if (strcmp(row->folder, s->rows[i].folder) == 0)
            return error_set(err, ERROR_INPUT,
                             "%s: row '%s' and row '%s' are both called %s; each needs a name of its own", path,
                             s->rows[i].name, row->name, row->folder);
    return true;
}

static bool read_row(json_t *json, const char *path, struct sweep *s, size_t number, const char *model,
                     struct error *err)
{
    char where[WHERE];
    struct sweep_row *row = &s->rows[number];
    *row = (struct sweep_row){.model = model};
    snprintf(where, sizeof where, "%s: rows[%zu]", path, number);
    if (!json_is_object(json)) return error_set(err, ERROR_INPUT, "%s: is no object; {\"name\": ...} is wanted", where);
    TRY(json_get_string(json, "name", where, &row->name, err));
    if (!*row->name || strlen(row->name) > SWEEP_NAME)
        return error_set(err, ERROR_INPUT, "%s: field 'name' has %zu bytes; 1 to %d are possible", where,
                         strlen(row->name), SWEEP_NAME);
    snprintf(where, sizeof where, "%s: row '%s'", path, row->name);
    TRY(check_keys(json, where, row_keys, COUNT(row_keys), "a sweep's row", err));
    TRY(read_text(json, "model", where, &row->model, err));
    if (!row->model) return error_set(err, ERROR_INPUT, "%s: field 'model' is missing, here and for all rows", where);
    TRY(read_options(json, where, &row->options, err) && read_published(json, where, s, number, err));
    name_folder(row->name, row->folder);
    return check_names(s, number, path, err);
}

static bool read_rows(const json_t *json, const char *path, struct sweep *s, const char *model, struct error *err)
{
    const json_t *list = json_get_array(json, "rows", path, err);
    if (!list) return false;
    s->row_count = json_array_size(list);
    if (s->row_count == 0 || s->row_count > SWEEP_MOST_ROWS)
        return error_set(err, ERROR_INPUT, "%s: field 'rows' has %zu; 1 to %d are possible", path, s->row_count,
                         SWEEP_MOST_ROWS);
    for (size_t i = 0; i < s->row_count; i++) TRY(read_row(json_array_get(list, i), path, s, i, model, err));
    return true;
}

static bool read_compare(const json_t *json, const char *path, struct sweep *s, struct error *err)
{
    const char *text = figures[0];
    char what[WHERE];
    size_t choice;
    TRY(read_text(json, "compare", path, &text, err));
    snprintf(what, sizeof what, "%s: field 'compare'", path);
    TRY(choice_parse(text, what, figures, COUNT(figures), NULL, 0, &choice, err));
    s->compare = (enum sweep_figure)choice;
    return true;
}

static bool read_object(json_t *json, const char *path, struct sweep *s, struct error *err)
{
    const char *model = NULL, *base = strrchr(path, '/');
    snprintf(s->own_name, sizeof s->own_name, "%.*s", SWEEP_NAME, base ? base + 1 : path);
    s->own_name[strcspn(s->own_name, ".")] = '\0';
    s->name = s->own_name;
    s->source = "";
    if (!json_is_object(json)) return error_set(err, ERROR_INPUT, "%s: is no object; {\"rows\": ...} is wanted", path);
    TRY(check_keys(json, path, keys, COUNT(keys), "a sweep", err));
    TRY(read_text(json, "name", path, &s->name, err) && read_text(json, "source", path, &s->source, err));
    TRY(read_text(json, "model", path, &model, err) && read_options(json, path, &s->options, err));
    return read_compare(json, path, s, err) && read_seeds(json, path, s, err) && read_rows(json, path, s, model, err);
}

bool sweep_read(const char *path, struct sweep *s, struct error *err)
{
    char *bytes;
    size_t length;
    memset(s, 0, sizeof *s);
    TRY(files_read(path, MOST_BYTES, &bytes, &length, err));
    s->json = json_parse(bytes, length, path, err);
    mem_free(bytes);
    if (s->json && read_object(s->json, path, s, err)) return true;
    sweep_finish(s);
    return false;
}

void sweep_finish(struct sweep *s)
{
    json_decref(s->json);
    s->json = NULL;
}

bool sweep_has_data(const struct sweep *s) { return s->options && json_object_get(s->options, "data"); }

/* ---- Commands ---- */

bool sweep_add_word(struct sweep_words *w, const char *word, struct error *err)
{
    if (!mem_grow(MEM_GENERAL, (void **)&w->words, &w->capacity, w->count + 2, sizeof *w->words))
        return error_memory(err, (w->count + 2) * sizeof *w->words, "a command");
    w->words[w->count] = mem_strdup(MEM_GENERAL, word);
    if (!w->words[w->count]) return error_memory(err, strlen(word), "a command");
    w->words[++w->count] = NULL;
    return true;
}

/* The fewest digits that are that number. */
static void format_real(double real, char text[40])
{
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, 40, "%.*g", precision, real);
        if (strtod(text, NULL) == real) return;
    }
}

/* true is the flag alone; false and null leave an option out that all others have. */
static bool add_option(struct sweep_words *w, const char *name, const json_t *value, struct error *err)
{
    char flag[80], number[40];
    if (json_is_false(value) || json_is_null(value)) return true;
    snprintf(flag, sizeof flag, "--%.70s", name);
    TRY(sweep_add_word(w, flag, err));
    if (json_is_true(value)) return true;
    if (json_is_string(value)) return sweep_add_word(w, json_string_value(value), err);
    if (json_is_integer(value))
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        format_real(json_real_value(value), number);
    return sweep_add_word(w, number, err);
}

static bool add_options(struct sweep_words *w, json_t *options, const json_t *but, struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(options, name, value) if (!json_object_get(but, name)) TRY(add_option(w, name, value, err));
    return true;
}

bool sweep_add_command(const struct sweep *s, size_t number, uint64_t seed, const char *const *more, size_t more_count,
                       struct sweep_words *w, struct error *err)
{
    char text[32];
    const struct sweep_row *row = &s->rows[number];
    TRY(sweep_add_word(w, "train", err) && sweep_add_word(w, row->model, err));
    TRY(add_options(w, s->options, row->options, err) && add_options(w, row->options, NULL, err));
    for (size_t i = 0; i < more_count; i++) TRY(sweep_add_word(w, more[i], err));
    snprintf(text, sizeof text, "%" PRIu64, seed);
    return sweep_add_word(w, "--seed", err) && sweep_add_word(w, text, err);
}

void sweep_words_finish(struct sweep_words *w)
{
    for (size_t i = 0; i < w->count; i++) mem_free(w->words[i]);
    mem_free(w->words);
    *w = (struct sweep_words){0};
}
