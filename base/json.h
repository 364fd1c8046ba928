/* Reading JSON with errors that name the file and the field (on top of jansson). */
#ifndef FATHOM_JSON_H
#define FATHOM_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "errors.h"

/* Parses text that is a file's (json_tables.h reads files); the caller ends it with json_decref. Errors give line and
 * column. */
json_t *json_parse(const char *bytes, size_t length, const char *path, struct error *err);
/* The same of text that begins in that line of its file. */
json_t *json_parse_line(const char *bytes, size_t length, const char *path, uint64_t line, struct error *err);

/* Fields of an object. `where` is the file and the object's place in it ("plan.json: devices[1]"). Missing fields and
 * wrong types are ERROR_INPUT; the out argument is then untouched. Strings are borrowed from the object. */
bool json_get_u64(const json_t *object, const char *field, const char *where, uint64_t most, uint64_t *value,
                  struct error *err);
bool json_get_real(const json_t *object, const char *field, const char *where, double *value, struct error *err);
bool json_get_bool(const json_t *object, const char *field, const char *where, bool *value, struct error *err);
bool json_get_string(const json_t *object, const char *field, const char *where, const char **value, struct error *err);
json_t *json_get_array(const json_t *object, const char *field, const char *where, struct error *err);
json_t *json_get_object(const json_t *object, const char *field, const char *where, struct error *err);

/* A string of any bytes, for a new reference: those that are no UTF-8 become '?', where json_string() would fail. */
json_t *json_text(const char *text);
/* null for what is not finite. */
json_t *json_real_or_null(double value);
/* As json_dumpf, but what JSON lets through and a terminal would obey (DEL, C1, bidirectional controls) is escaped too. */
bool json_write(const json_t *json, FILE *to, size_t flags);

#endif
