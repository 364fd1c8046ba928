/* JSON whose tables are read row by row. */
#define _GNU_SOURCE
#include "json_tables.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "mem.h"

static char path[] = "/tmp/fathom-json-XXXXXX";

static void enter(void)
{
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    close(file);
}

static void leave(void) { unlink(path); }

TestSuite(json_tables, .init = enter, .fini = leave);

static const char *const names[] = {"rows", "more", NULL};
static const struct json_limits limits = {1 << 20, 100, names};

static bool read_text(const char *text, struct json_document *document, struct error *err)
{
    cr_assert(files_write(path, text, strlen(text), err), "%s", err->text);
    return json_document_read(path, &limits, document, err);
}

static size_t count_rows(const struct json_document *document, const json_t *object, const char *field, size_t *cells)
{
    struct error err = {0};
    const struct json_table *table = json_document_table(document, object, field, "here", &err);
    cr_assert(table, "%s", err.text);
    const char *at = table->begin;
    size_t count = 0;
    for (json_t *row;; count++, json_decref(row)) {
        cr_assert(json_table_next(table, &at, "here", field, &row, &err), "%s", err.text);
        if (!row) break;
        *cells += json_array_size(row);
    }
    cr_assert_eq(count, table->rows);
    return count;
}

Test(json_tables, rows_come_one_by_one)
{
    struct json_document document;
    struct error err = {0};
    size_t cells = 0;
    cr_assert(read_text("{\"a\": [1, 2], \"rows\": [\n[1, [2, 3], \"],[\\\"\"],\n [] , {\"x\": [4, 5]}\n], "
                        "\"b\": {\"more\" : [[1]], \"rows\":[]}, \"c\": \"rows\"}",
                        &document, &err),
              "%s", err.text);
    json_t *b = json_object_get(document.root, "b");
    cr_assert_eq(count_rows(&document, document.root, "rows", &cells), 3);
    cr_assert_eq(cells, 3);
    cr_assert_eq(count_rows(&document, b, "more", &cells), 1);
    cr_assert_eq(count_rows(&document, b, "rows", &cells), 0);
    cr_assert_eq(json_array_size(json_object_get(document.root, "a")), 2);
    cr_assert_null(json_document_table(&document, document.root, "c", "here", &err));
    cr_assert(strstr(err.text, "here: field 'c'"), "%s", err.text);
    cr_assert_null(json_document_table(&document, document.root, "a", "here", &err));
    json_document_finish(&document);
}

static void refuse(const char *text, const char *named)
{
    struct json_document document;
    struct error err = {0};
    cr_assert_not(read_text(text, &document, &err), "%s was read", text);
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, named), "'%s' is not in: %s", named, err.text);
    json_document_finish(&document);
}

Test(json_tables, files_that_are_none)
{
    refuse("", "JSON");
    refuse("{\"rows\": [[1], 2", "has no ']'");
    refuse("{\"rows\": [[1]", "has no ']'");
    refuse("{\"rows\": [[1]}", "has no ']'");
    refuse("{\"rows\": [\"a]", "has no ']'");
    refuse("{\"rows\": [[1]]", "line 1");
    refuse("{\"rows\": [[1],\n[2]],\n\n!}", "line 4, column 1");
    refuse("{\"rows\": [], \"rows\": []}", "duplicate");
    refuse("{\"row\\u0073\": [0], \"rows\": [[1]]}", "'\\'");
    refuse("{\"rows\": [[1]]} 2", "JSON");
    refuse("\"", "JSON");
    refuse("{\"rows\"", "JSON");
    refuse("{\"rows\":", "JSON");
}

static void refuse_row(const char *text, const char *named)
{
    struct json_document document;
    struct error err = {0};
    cr_assert(read_text(text, &document, &err), "%s: %s", text, err.text);
    const struct json_table *table = json_document_table(&document, document.root, "rows", "here", &err);
    cr_assert(table);
    const char *at = table->begin;
    bool ok = true;
    for (size_t i = 0; ok && i < table->rows; i++) {
        json_t *row;
        ok = json_table_next(table, &at, "here", "rows", &row, &err);
        json_decref(row);
    }
    cr_assert_not(ok, "%s was read", text);
    cr_assert(strstr(err.text, named), "'%s' is not in: %s", named, err.text);
    cr_assert(strstr(err.text, "here: field 'rows'"), "%s", err.text);
    json_document_finish(&document);
}

Test(json_tables, rows_that_are_none)
{
    refuse_row("{\"rows\": [[1], [2], ]}", "','");
    refuse_row("{\"rows\": [[1] [2]]}", "','");
    refuse_row("{\"rows\": [[1],, [2]]}", "JSON");
    refuse_row("{\"rows\": [, [2]]}", "JSON");
    refuse_row("{\"rows\": [[1}, [2]]}", "JSON");
    refuse_row("{\"rows\": [[1, ], [2]]}", "JSON");
    refuse_row("{\"rows\": [nothing]}", "JSON");
    static char text[8000] = "{\"rows\": [[1], [";
    memset(text + strlen(text), ' ', 7000);
    memcpy(text + 7500, "]]}", 4);
    for (size_t i = 0; i < 7500; i++)
        if (text[i] == '\0') text[i] = ' ';
    refuse_row(text, "4096 bytes");
}

/* Values outside tables are counted before any is parsed; those in tables are not. */
Test(json_tables, values_are_limited)
{
    static char text[2000] = "{\"a\": [0";
    for (size_t i = 0; i < 200; i++) strcat(text, ",0");
    strcat(text, "]}");
    refuse(text, "more than the 100 values");
    strcpy(text, "{\"rows\": [0");
    for (size_t i = 0; i < 200; i++) strcat(text, ",0");
    strcat(text, "]}");
    struct json_document document;
    struct error err = {0};
    size_t cells = 0;
    cr_assert(read_text(text, &document, &err), "%s", err.text);
    cr_assert_eq(count_rows(&document, document.root, "rows", &cells), 201);
    json_document_finish(&document);
}

Test(json_tables, memory_that_runs_out_leaves_nothing)
{
    struct json_document document;
    struct error err = {0};
    uint64_t before = mem_current_bytes(MEM_GENERAL), n = 0;
    cr_assert(files_write(path, "{\"rows\": [[1]], \"a\": 2}", 23, &err));
    for (bool done = false; !done;) {
        mem_fail_at(++n);
        bool ok = json_document_read(path, &limits, &document, &err);
        done = !mem_fail_at(0);
        cr_assert_eq(ok, done);
        if (!done) cr_assert_eq(err.kind, ERROR_MEMORY);
        json_document_finish(&document);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before);
    }
    cr_assert_gt(n, 2);
}
