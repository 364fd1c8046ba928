#include "json_tables.h"

#include <string.h>

#include "files.h"
#include "mem.h"
#include "text.h"

#define MOST_ROW_BYTES 4096u

/* ---- Text ---- */

/* After a string that begins at `at`, or `end` when it does not close. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\' && at + 1 < end) at++;
    return at < end ? at + 1 : end;
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

/* Where the array or object at `at` ends, or NULL when it does not before `most`. *commas counts those between its own
 * elements. Which bracket closes which is the parser's to check. */
static const char *skip_brackets(const char *at, const char *most, size_t *commas)
{
    size_t depth = 0;
    for (*commas = 0; at < most;) {
        if (*at == '"') {
            at = skip_string(at, most);
            continue;
        }
        if (*at == '[' || *at == '{') depth++;
        if ((*at == ']' || *at == '}') && --depth == 0) return at + 1;
        *commas += *at == ',' && depth == 1;
        at++;
    }
    return NULL;
}

/* ---- Documents ---- */

/* The file being taken apart: what the parser gets is copied to `rest`. */
struct scan {
    const char *path;
    const struct json_limits *limits;
    struct json_document *document;
    struct text rest;
    const char *copied, *end; /* up to where it was copied; of the file */
    size_t values;
    struct error *err;
};

static bool is_table(const struct scan *scan, const char *key, size_t length)
{
    for (const char *const *name = scan->limits->tables; *name; name++)
        if (strlen(*name) == length && memcmp(*name, key, length) == 0) return true;
    return false;
}

/* Puts the table's number in place of its rows, and as many lines as they had. */
static bool put_number(struct scan *scan, const struct json_table *table)
{
    text_add_bytes(&scan->rest, scan->copied, (size_t)(table->begin - scan->copied));
    text_add(&scan->rest, "%zu", scan->document->table_count);
    for (const char *line = table->begin; (line = memchr(line, '\n', (size_t)(table->end - line))) != NULL; line++)
        text_add_bytes(&scan->rest, "\n", 1);
    scan->copied = table->end;
    return !scan->rest.failed || error_memory(scan->err, scan->rest.length, scan->path);
}

/* The table whose '[' is at `at`; *after is behind its ']'. */
static bool take_table(struct scan *scan, const char *at, const char **after)
{
    struct json_document *document = scan->document;
    size_t commas;
    *after = skip_brackets(at, scan->end, &commas);
    if (!*after || (*after)[-1] != ']')
        return error_set(scan->err, ERROR_INPUT, "%s: not JSON: a '[' at byte %zu has no ']'", scan->path,
                         (size_t)(at - document->bytes));
    struct json_table table = {at + 1, *after - 1, 0};
    if (skip_space(table.begin, table.end) < table.end) table.rows = commas + 1;
    if (!mem_grow(MEM_GENERAL, (void **)&document->tables, &document->table_capacity, document->table_count + 1,
                  sizeof table))
        return error_memory(scan->err, (document->table_count + 1) * sizeof table, scan->path);
    TRY(put_number(scan, &table));
    document->tables[document->table_count++] = table;
    return true;
}

/* A string, and when it is the name of a table, that. Names with escapes are refused: they could be a table's in
 * disguise, and its numbers then be taken for those of tables. */
static bool scan_string(struct scan *scan, const char **at)
{
    const char *key = *at + 1, *after = skip_string(*at, scan->end), *colon = skip_space(after, scan->end);
    *at = after;
    if (colon == scan->end || *colon != ':') return true;
    size_t length = (size_t)(after - 1 - key);
    if (memchr(key, '\\', length))
        return error_set(scan->err, ERROR_INPUT, "%s: the name of the field at byte %zu has a '\\'", scan->path,
                         (size_t)(key - scan->document->bytes));
    const char *value = skip_space(colon + 1, scan->end);
    if (value == scan->end || *value != '[' || !is_table(scan, key, length)) return true;
    scan->values++;
    return take_table(scan, value, at);
}

static bool scan_file(struct scan *scan)
{
    for (const char *at = scan->copied; at < scan->end;) {
        if (*at == '"')
            TRY(scan_string(scan, &at));
        else
            scan->values += *at == ',' || *at == '[' || *at == '{', at++;
        if (scan->values > scan->limits->values)
            return error_set(scan->err, ERROR_INPUT, "%s: has more than the %zu values that such a file can have",
                             scan->path, scan->limits->values);
    }
    text_add_bytes(&scan->rest, scan->copied, (size_t)(scan->end - scan->copied));
    return !scan->rest.failed || error_memory(scan->err, scan->rest.length, scan->path);
}

bool json_document_read(const char *path, const struct json_limits *limits, struct json_document *document,
                        struct error *err)
{
    size_t length;
    *document = (struct json_document){0};
    TRY(files_read(path, limits->bytes, &document->bytes, &length, err));
    struct scan scan = {.path = path,
                        .limits = limits,
                        .document = document,
                        .copied = document->bytes,
                        .end = document->bytes + length,
                        .err = err};
    bool ok = scan_file(&scan);
    for (size_t i = 0; i < document->table_count; i++) document->tables[i].row_bytes = limits->row_bytes;
    if (ok) document->root = json_parse(scan.rest.bytes ? scan.rest.bytes : "", scan.rest.length, path, err);
    text_finish(&scan.rest);
    return ok && document->root;
}

void json_document_finish(struct json_document *document)
{
    json_decref(document->root);
    mem_free(document->tables);
    mem_free(document->bytes);
    *document = (struct json_document){0};
}

/* ---- Tables ---- */

const struct json_table *json_document_table(const struct json_document *document, const json_t *object,
                                             const char *field, const char *where, struct error *err)
{
    const json_t *found = json_get_array(object, field, where, err);
    if (!found) return NULL;
    json_int_t number = json_integer_value(json_array_get(found, 0));
    bool is_number = json_array_size(found) == 1 && json_is_integer(json_array_get(found, 0));
    if (is_number && (uint64_t)number < document->table_count) return &document->tables[number];
    error_set(err, ERROR_INPUT, "%s: field '%s' is no table", where, field);
    return NULL;
}

/* Where the row at `at` ends; NULL when it is too long. */
static const char *find_row_end(const char *at, const char *end, size_t row_bytes)
{
    const char *most = (size_t)(end - at) > row_bytes ? at + row_bytes : end;
    size_t commas;
    if (*at == '[' || *at == '{') return skip_brackets(at, most, &commas);
    const char *after = memchr(at, ',', (size_t)(most - at));
    return after || most < end ? after : end;
}

bool json_table_next(const struct json_table *table, const char **at, const char *where, const char *field,
                     json_t **row, struct error *err)
{
    const char *from = skip_space(*at, table->end);
    *row = NULL;
    if (from == table->end) return true;
    const size_t row_bytes = table->row_bytes ? table->row_bytes : MOST_ROW_BYTES;
    const char *after = find_row_end(from, table->end, row_bytes);
    if (!after)
        return error_set(err, ERROR_INPUT, "%s: field '%s': has a row of more than %zu bytes", where, field, row_bytes);
    json_error_t found;
    *row = json_loadb(from, (size_t)(after - from), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &found);
    if (!*row) return error_set(err, ERROR_INPUT, "%s: field '%s': a row is not JSON: %s", where, field, found.text);
    *at = skip_space(after, table->end);
    bool more = *at < table->end && **at == ',' && skip_space(*at + 1, table->end) < table->end;
    if (more) ++*at;
    if (more || *at == table->end) return true;
    json_decref(*row);
    *row = NULL;
    return error_set(err, ERROR_INPUT, "%s: field '%s': not JSON: one ',' is wanted between two rows", where, field);
}
