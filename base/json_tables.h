/* JSON files, which may be made to take memory: a tree takes up to twenty times its text. Values are counted before they
 * are parsed; the rows of tables, which make up large files, are left as text and parsed one at a time. */
#ifndef FATHOM_JSON_TABLES_H
#define FATHOM_JSON_TABLES_H

#include <stddef.h>

#include "json.h"

/* The rows of one array, as text. */
struct json_table {
    const char *begin, *end; /* between the brackets */
    size_t rows;             /* as many as commas say; each is at least one byte */
    size_t row_bytes;        /* of a row at most; 0 = 4096 */
};

struct json_document {
    json_t *root; /* of everything but the tables' rows */
    char *bytes;  /* of the file */
    struct json_table *tables;
    size_t table_count, table_capacity;
};

/* What a file may be like. */
struct json_limits {
    uint64_t bytes;            /* of the file */
    size_t values;             /* outside the tables */
    const char *const *tables; /* fields whose arrays are tables, wherever they are; ends with NULL */
    size_t row_bytes;          /* of a table's row; 0 = 4096 */
};

/* Reads a file; the caller ends *document with json_document_finish, also after a failure. What is too much is refused
 * before it is parsed: memory stays within a few times the file's bytes. Errors give line and column. */
bool json_document_read(const char *path, const struct json_limits *limits, struct json_document *document,
                        struct error *err);
/* Takes a zeroed document. */
void json_document_finish(struct json_document *document);

/* A table of an object of the tree, by one of limits.tables: borrowed, NULL and ERROR_INPUT when there is none. */
const struct json_table *json_document_table(const struct json_document *document, const json_t *object,
                                             const char *field, const char *where, struct error *err);

/* The row at *at, which begins at table->begin, into *row: the caller ends it with json_decref. *at moves on; at the end
 * of the table *row is NULL. `where` and `field` are for errors. */
bool json_table_next(const struct json_table *table, const char **at, const char *where, const char *field,
                     json_t **row, struct error *err);

#endif
