#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "printable.h"
#include "text.h"

json_t *json_parse(const char *bytes, size_t length, const char *path, struct error *err)
{
    return json_parse_line(bytes, length, path, 1, err);
}

json_t *json_parse_line(const char *bytes, size_t length, const char *path, uint64_t line, struct error *err)
{
    json_error_t found;
    json_t *root = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &found);
    if (root) return root;
    if (json_error_code(&found) == json_error_out_of_memory)
        error_memory(err, length, path);
    else
        error_set(err, ERROR_INPUT, "%s: line %" PRIu64 ", column %d: not JSON: %s", path,
                  line + (found.line > 0 ? (uint64_t)found.line - 1 : 0), found.column, found.text);
    return NULL;
}

static const char *type_name(const json_t *value)
{
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a truth value";
    case JSON_NULL: return "null";
    }
    return "something else";
}

static bool wrong_type(const json_t *value, const char *field, const char *where, const char *wanted, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: field '%s' is %s; %s is wanted", where, field, type_name(value), wanted);
}

bool json_get_u64(const json_t *object, const char *field, const char *where, uint64_t most, uint64_t *value,
                  struct error *err)
{
    const json_t *found = json_object_get(object, field);
    if (!json_is_integer(found)) return wrong_type(found, field, where, "a whole number", err);
    json_int_t number = json_integer_value(found);
    if (number < 0 || (uint64_t)number > most)
        return error_set(err, ERROR_INPUT,
                         "%s: field '%s' is %" JSON_INTEGER_FORMAT "; a whole number from 0 to %" PRIu64 " is wanted",
                         where, field, number, most);
    *value = (uint64_t)number;
    return true;
}

bool json_get_real(const json_t *object, const char *field, const char *where, double *value, struct error *err)
{
    const json_t *found = json_object_get(object, field);
    if (!json_is_number(found)) return wrong_type(found, field, where, "a number", err);
    *value = json_number_value(found);
    return true;
}

bool json_get_bool(const json_t *object, const char *field, const char *where, bool *value, struct error *err)
{
    const json_t *found = json_object_get(object, field);
    if (!json_is_boolean(found)) return wrong_type(found, field, where, "true or false", err);
    *value = json_is_true(found);
    return true;
}

bool json_get_string(const json_t *object, const char *field, const char *where, const char **value, struct error *err)
{
    const json_t *found = json_object_get(object, field);
    if (!json_is_string(found)) return wrong_type(found, field, where, "a string", err);
    *value = json_string_value(found);
    return true;
}

json_t *json_get_array(const json_t *object, const char *field, const char *where, struct error *err)
{
    json_t *found = json_object_get(object, field);
    if (json_is_array(found)) return found;
    wrong_type(found, field, where, "an array", err);
    return NULL;
}

json_t *json_get_object(const json_t *object, const char *field, const char *where, struct error *err)
{
    json_t *found = json_object_get(object, field);
    if (json_is_object(found)) return found;
    wrong_type(found, field, where, "an object", err);
    return NULL;
}

json_t *json_real_or_null(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *json_text(const char *text)
{
    struct text whole = {0};
    for (size_t left = strlen(text); left > 0;) {
        uint32_t point;
        size_t width = utf8_character(text, left, &point);
        text_add_bytes(&whole, width ? text : "?", width ? width : 1);
        text += width ? width : 1;
        left -= width ? width : 1;
    }
    json_t *string = whole.failed ? NULL : json_string(whole.bytes ? whole.bytes : "");
    text_finish(&whole);
    return string;
}

/* Line ends are the dump's own: in strings they are escaped already. */
static int write_part(const char *part, size_t length, void *to)
{
    while (length > 0) {
        uint32_t point = 0;
        size_t width = utf8_character(part, length, &point);
        if (width > 1 ? !printable_point(point) : *part == 0x7F)
            fprintf(to, "\\u%04x", width > 1 ? (unsigned)point : 0x7Fu);
        else
            fwrite(part, 1, width ? width : 1, to);
        part += width ? width : 1;
        length -= width ? width : 1;
    }
    return ferror(to) ? -1 : 0;
}

bool json_write(const json_t *json, FILE *to, size_t flags)
{
    return json && json_dump_callback(json, write_part, to, flags) == 0;
}
