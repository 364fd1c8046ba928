#include "engine_book.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "files.h"
#include "hash.h"
#include "json_tables.h"
#include "mem.h"
#include "printable.h"

#define FORMAT       "fathom-engines"
#define VERSION      1
#define MOST_BYTES   (256u << 20)
#define LEAST_SLOTS  256
#define MOST_ROW     (32u << 20) /* an engine with its plan */
#define MOST_ENGINES 1024        /* of one answer */
#define PLAIN_CELLS  (3 + ENGINE_QUESTION_FIELDS)

struct engine_entry {
    struct engine_question question;
    size_t first, count;
};

void engine_book_finish(struct engine_book *book)
{
    mem_free(book->entries);
    mem_free(book->engines);
    mem_free(book->slots);
    for (size_t i = 0; i < book->plan_count; i++) mem_free(book->plans[i]);
    mem_free(book->plans);
    *book = (struct engine_book){0};
}

/* ---- Looking up ---- */

/* The slot of a question, or the free one where it would go. The table always has a free one. */
static uint32_t *find_slot(uint32_t *slots, size_t slot_count, const struct engine_entry *entries,
                           const struct engine_question *question)
{
    size_t at = hash_bytes(question, sizeof *question, 0) & (slot_count - 1);
    while (slots[at] && !engine_question_same(&entries[slots[at] - 1].question, question))
        at = (at + 1) & (slot_count - 1);
    return &slots[at];
}

bool engine_book_find(const struct engine_book *book, const struct engine_question *question,
                      struct engine_answer *answer)
{
    const uint32_t *slot = book->slots ? find_slot(book->slots, book->slot_count, book->entries, question) : NULL;
    if (!slot || !*slot) return false;
    const struct engine_entry *entry = &book->entries[*slot - 1];
    *answer = (struct engine_answer){*question, book->engines + entry->first, entry->count};
    return true;
}

/* ---- Adding ---- */

static bool grow_slots(struct engine_book *book, struct error *err)
{
    size_t wanted = book->slot_count ? 2 * book->slot_count : LEAST_SLOTS;
    if (2 * (book->count + 1) <= book->slot_count) return true;
    uint32_t *slots = mem_zalloc(MEM_PLAN, wanted, sizeof *slots);
    if (!slots) return error_memory(err, wanted * sizeof *slots, "engines");
    for (size_t i = 0; i < book->count; i++)
        *find_slot(slots, wanted, book->entries, &book->entries[i].question) = (uint32_t)i + 1;
    mem_free(book->slots);
    book->slots = slots;
    book->slot_count = wanted;
    return true;
}

bool engine_book_add(struct engine_book *book, const struct engine_answer *answer, struct error *err)
{
    struct engine_answer there;
    if (engine_book_find(book, &answer->question, &there)) return true;
    TRY(grow_slots(book, err));
    if (!mem_grow(MEM_PLAN, (void **)&book->entries, &book->capacity, book->count + 1, sizeof *book->entries) ||
        !mem_grow(MEM_PLAN, (void **)&book->engines, &book->engine_capacity, book->engine_count + answer->count + 1,
                  sizeof *book->engines))
        return error_memory(err, answer->count * sizeof *book->engines, "engines");
    book->entries[book->count++] = (struct engine_entry){answer->question, book->engine_count, answer->count};
    if (answer->count)
        memcpy(book->engines + book->engine_count, answer->engines, answer->count * sizeof *answer->engines);
    book->engine_count += answer->count;
    *find_slot(book->slots, book->slot_count, book->entries, &answer->question) = (uint32_t)book->count;
    return true;
}

/* ---- Plans ---- */

bool engine_same(const struct engine *a, const struct engine *b)
{
    return a->id == b->id && strcmp(a->knobs, b->knobs) == 0;
}

const char *engine_book_plan(const struct engine_book *book, const struct engine *engine)
{
    return engine->plan ? book->plans[engine->plan - 1] : NULL;
}

/* Owns the text. */
static bool add_plan(struct engine_book *book, char *text, uint32_t *number, struct error *err)
{
    if (text &&
        mem_grow(MEM_PLAN, (void **)&book->plans, &book->plan_capacity, book->plan_count + 1, sizeof *book->plans)) {
        book->plans[book->plan_count++] = text;
        *number = (uint32_t)book->plan_count;
        return true;
    }
    mem_free(text);
    return error_memory(err, sizeof *book->plans, "plans of engines");
}

bool engine_book_set_plan(struct engine_book *book, const struct engine_question *question, const struct engine *engine,
                          const char *text, struct error *err)
{
    struct engine_answer answer;
    if (!engine_book_find(book, question, &answer)) return true;
    for (size_t i = 0; i < answer.count; i++) {
        struct engine *own = &book->engines[answer.engines - book->engines + (ptrdiff_t)i];
        if (engine_same(own, engine)) return add_plan(book, mem_strdup(MEM_PLAN, text), &own->plan, err);
    }
    return true;
}

/* ---- Files: reading ---- */

struct reader {
    const char *path;
    struct json_document document;
    struct engine_book *into;
    struct engine *engines; /* of one answer */
    struct error *err;
};

static bool damaged(const struct reader *r, const char *what)
{
    return error_set(r->err, ERROR_INPUT, "%s: %s; it is damaged, remove it and let it be made again", r->path, what);
}

static bool parse_notes(const char *letters, uint32_t *notes)
{
    *notes = 0;
    for (; *letters; letters++) {
        const char *known = strchr(ENGINE_LETTERS, *letters);
        if (!known) return false;
        *notes |= 1u << (known - ENGINE_LETTERS);
    }
    return true;
}

bool engine_parse(const json_t *row, struct engine *engine)
{
    const json_t *id = json_array_get(row, 0), *bytes = json_array_get(row, 1);
    const char *letters = json_string_value(json_array_get(row, 2)), *knobs = json_string_value(json_array_get(row, 3));
    if (json_array_size(row) < 4 || json_array_size(row) > 5 || !json_is_integer(id) || !json_is_integer(bytes) ||
        !letters || !knobs)
        return false;
    json_int_t number = json_integer_value(id), size = json_integer_value(bytes);
    if (number < 0 || number > INT32_MAX || size < 0 || strlen(knobs) >= ENGINE_KNOBS) return false;
    for (const char *c = knobs; *c; c++)
        if (!strchr("0123456789=,-", *c)) return false;
    if (json_array_size(row) == 5 && !json_is_string(json_array_get(row, 4))) return false;
    engine->id = (uint32_t)number;
    engine->plan = 0;
    engine->workspace_bytes = (uint64_t)size;
    memcpy(engine->knobs, knobs, strlen(knobs) + 1);
    return parse_notes(letters, &engine->notes);
}

/* Beside the others: what a convolution does besides, and the type of its weights where that is not the activations'.
 */
static bool parse_besides(const json_t *row, struct engine_question *question)
{
    const json_t *fused = json_array_get(row, PLAIN_CELLS), *weights = json_array_get(row, PLAIN_CELLS + 1);
    question->fused = 0;
    question->weights = question->dtype;
    if (json_array_size(row) == PLAIN_CELLS) return true;
    return json_array_size(row) == PLAIN_CELLS + 2 && json_is_string(fused) && json_is_string(weights) &&
           engine_fused_find(json_string_value(fused), &question->fused) &&
           engine_dtype_find(json_string_value(weights), &question->weights);
}

static bool parse_number(const json_t *cell, json_int_t most, uint32_t *number)
{
    json_int_t value = json_integer_value(cell);
    *number = (uint32_t)value;
    return json_is_integer(cell) && value >= 0 && value <= most;
}

/* Of rows and columns: a number, or two that differ. */
static bool parse_field(const json_t *cell, const struct engine_question_field *field, uint32_t *numbers)
{
    bool two = field->two && json_array_size(cell) == 2;
    TRY(parse_number(two ? json_array_get(cell, 0) : cell, INT32_MAX, &numbers[field->at]));
    if (!field->two) return true;
    numbers[field->at + 1] = numbers[field->at];
    return !two || parse_number(json_array_get(cell, 1), INT32_MAX, &numbers[field->at + 1]);
}

/* [pass, dtype, images, ..., padding, engines] or [..., engines, fused, weights] */
static bool parse_question(const json_t *row, struct engine_question *question, size_t *engines)
{
    const char *pass = json_string_value(json_array_get(row, 0)), *dtype = json_string_value(json_array_get(row, 1));
    TRY(pass && dtype && engine_pass_find(pass, &question->pass) && engine_dtype_find(dtype, &question->dtype) &&
        parse_besides(row, question));
    for (size_t i = 0; i < ENGINE_QUESTION_FIELDS; i++)
        TRY(parse_field(json_array_get(row, 2 + i), &engine_question_fields[i], question->numbers));
    uint32_t count;
    TRY(parse_number(json_array_get(row, 2 + ENGINE_QUESTION_FIELDS), MOST_ENGINES, &count));
    *engines = count;
    return true;
}

static bool read_engines(const struct reader *r, const struct json_table *table, const char **at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_t *row;
        TRY(json_table_next(table, at, r->path, "engines", &row, r->err));
        bool good = row && engine_parse(row, &r->engines[i]);
        const char *plan = json_string_value(json_array_get(row, 4));
        bool kept = !good || !plan || add_plan(r->into, mem_strdup(MEM_PLAN, plan), &r->engines[i].plan, r->err);
        json_decref(row);
        if (!good) return damaged(r, "a row of engines is no engine");
        TRY(kept);
    }
    return true;
}

static bool read_answers(const struct reader *r)
{
    const struct json_table *questions, *engines;
    questions = json_document_table(&r->document, r->document.root, "questions", r->path, r->err);
    engines = questions ? json_document_table(&r->document, r->document.root, "engines", r->path, r->err) : NULL;
    if (!engines) return false;
    const char *at = questions->begin, *engine_at = engines->begin;
    for (;;) {
        struct engine_answer answer = {.engines = r->engines};
        json_t *row;
        TRY(json_table_next(questions, &at, r->path, "questions", &row, r->err));
        if (!row) return true;
        bool good = parse_question(row, &answer.question, &answer.count);
        json_decref(row);
        if (!good) return damaged(r, "a row of questions is no question");
        TRY(read_engines(r, engines, &engine_at, answer.count) && engine_book_add(r->into, &answer, r->err));
    }
}

static const struct engine_device *device_named(const char *name)
{
    size_t count;
    const struct engine_device *all = engine_device_entries(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].name, name) == 0) return &all[i];
    return NULL;
}

static bool check_head(const struct reader *r)
{
    const struct engine_device *device = r->into->device;
    const json_t *root = r->document.root;
    const char *format, *name, *description;
    char hash[HASH_TEXT], found[ENGINE_VERSION_TEXT], wanted[ENGINE_VERSION_TEXT];
    uint64_t version, cudnn;
    TRY(json_get_string(root, "format", r->path, &format, r->err) &&
        json_get_u64(root, "version", r->path, UINT32_MAX, &version, r->err));
    if (strcmp(format, FORMAT) != 0 || version != VERSION)
        return error_set(r->err, ERROR_INPUT, "%s: is no file of engines of this version of fathom", r->path);
    TRY(json_get_string(root, "device", r->path, &name, r->err) &&
        json_get_string(root, "description", r->path, &description, r->err) &&
        json_get_u64(root, "cudnn", r->path, UINT32_MAX, &cudnn, r->err));
    if (cudnn == 0) return damaged(r, "field 'cudnn' is 0, which is no version");
    if (!device) device = device_named(name);
    if (!device)
        return error_set(r->err, ERROR_INPUT, "%s: has the engines of '%s', which is not known", r->path, name);
    if (strcmp(name, device->name) != 0 || strcmp(description, hash_format(engine_device_hash(device), hash)) != 0)
        return error_set(r->err, ERROR_INPUT, "%s: has the engines of %s%s; those of %s are wanted", r->path, name,
                         strcmp(name, device->name) == 0 ? " as it was described before" : "", device->name);
    if (r->into->cudnn && r->into->cudnn != cudnn)
        return error_set(r->err, ERROR_INPUT,
                         "%s: has the engines of cuDNN %s, and here is %s; remove it and let it be made again", r->path,
                         engine_version_words((uint32_t)cudnn, found), engine_version_words(r->into->cudnn, wanted));
    r->into->cudnn = (uint32_t)cudnn;
    r->into->device = device;
    return true;
}

bool engine_book_read(struct engine_book *book, const char *path, struct error *err)
{
    static const char *const tables[] = {"questions", "engines", NULL};
    const struct json_limits limits = {.bytes = MOST_BYTES, .values = 64, .row_bytes = MOST_ROW, .tables = tables};
    struct reader r = {.path = path, .into = book, .err = err};
    r.engines = mem_alloc(MEM_PLAN, MOST_ENGINES, sizeof *r.engines);
    bool ok = r.engines || error_memory(err, MOST_ENGINES * sizeof *r.engines, "engines");
    ok = ok && json_document_read(path, &limits, &r.document, err) && check_head(&r) && read_answers(&r);
    json_document_finish(&r.document);
    mem_free(r.engines);
    return ok;
}

/* ---- Files: writing ---- */

static bool is_wanted(const struct engine_question *question, const struct engine_question *wanted)
{
    return !wanted || (question->dtype == wanted->dtype && question->images == wanted->images);
}

static void write_question(FILE *out, const struct engine_entry *entry)
{
    const struct engine_question *question = &entry->question;
    char fused[ENGINE_FUSED_TEXT], number[ENGINE_NUMBER_TEXT];
    fprintf(out, "[\"%s\", \"%s\"", engine_pass_name((enum engine_pass)question->pass),
            dtype_name((enum dtype)question->dtype));
    for (size_t i = 0; i < ENGINE_QUESTION_FIELDS; i++)
        fprintf(out, ", %s", engine_question_number(question, &engine_question_fields[i], number));
    fprintf(out, ", %zu", entry->count);
    if (question->fused || question->weights != question->dtype)
        fprintf(out, ", \"%s\", \"%s\"", engine_fused_words(question->fused, fused),
                dtype_name((enum dtype)question->weights));
    fputc(']', out);
}

char *engine_letters(uint32_t notes, char out[ENGINE_LETTERS_TEXT])
{
    size_t length = 0;
    for (size_t i = 0; i < ENGINE_NOTES; i++)
        if (notes >> i & 1) out[length++] = ENGINE_LETTERS[i];
    out[length] = '\0';
    return out;
}

static void write_engine(FILE *out, const struct engine *engine, const char *plan)
{
    char letters[ENGINE_LETTERS_TEXT];
    fprintf(out, "[%" PRIu32 ", %" PRIu64 ", \"%s\", \"%s\"", engine->id, engine->workspace_bytes,
            engine_letters(engine->notes, letters), engine->knobs);
    if (plan) {
        fputs(", ", out);
        printable_write_json(out, plan, strlen(plan));
    }
    fputc(']', out);
}

static void write_questions(const struct engine_book *book, const struct engine_question *wanted, FILE *out)
{
    const char *before = "";
    for (size_t i = 0; i < book->count; i++) {
        if (!is_wanted(&book->entries[i].question, wanted)) continue;
        fprintf(out, "%s\n", before);
        write_question(out, &book->entries[i]);
        before = ",";
    }
}

/* Caches of answers have no plans: the trainer keeps them apart. */
static void write_engines(const struct engine_book *book, const struct engine_question *wanted, bool plans, FILE *out)
{
    const char *before = "";
    for (size_t i = 0; i < book->count; i++)
        for (size_t k = 0; is_wanted(&book->entries[i].question, wanted) && k < book->entries[i].count; k++) {
            fprintf(out, "%s\n", before);
            const struct engine *engine = &book->engines[book->entries[i].first + k];
            write_engine(out, engine, plans ? engine_book_plan(book, engine) : NULL);
            before = ",";
        }
}

bool engine_book_write(const struct engine_book *book, const struct engine_question *wanted, const char *path,
                       struct error *err)
{
    struct files_writer writer;
    char hash[HASH_TEXT];
    TRY(files_begin(&writer, path, err));
    fprintf(writer.stream,
            "{\"format\": \"" FORMAT "\", \"version\": %d, \"cudnn\": %" PRIu32
            ", \"device\": \"%s\", \"description\": \"%s\",\n\"questions\": [",
            VERSION, book->cudnn, book->device->name, hash_format(engine_device_hash(book->device), hash));
    write_questions(book, wanted, writer.stream);
    fprintf(writer.stream, "],\n\"engines\": [");
    write_engines(book, wanted, !wanted, writer.stream);
    fprintf(writer.stream, "]}\n");
    return files_commit(&writer, err);
}

char *engine_version_words(uint32_t cudnn, char out[ENGINE_VERSION_TEXT])
{
    snprintf(out, ENGINE_VERSION_TEXT, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, cudnn / 10000, cudnn / 100 % 100,
             cudnn % 100);
    return out;
}
