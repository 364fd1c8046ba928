#include "plan_fields.h"

#include <math.h>
#include <string.h>

bool plan_wrong_field(const struct plan_reader *r, const char *where, const char *field, const char *wanted)
{
    return error_set(r->err, ERROR_INPUT, "%s: field '%s': %s is wanted", where, field, wanted);
}

bool plan_check_fields(const struct plan_reader *r, const json_t *object, const char *where, const char *const *names)
{
    const char *field;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, field, value)
    {
        size_t i = 0;
        while (names[i] && strcmp(names[i], field) != 0) i++;
        if (!names[i]) return error_set(r->err, ERROR_INPUT, "%s: unknown field '%s'", where, field);
    }
    return true;
}

bool plan_get_u32(const struct plan_reader *r, const json_t *object, const char *field, const char *where,
                  uint32_t most, uint32_t *value)
{
    uint64_t wide;
    TRY(json_get_u64(object, field, where, most, &wide, r->err));
    *value = (uint32_t)wide;
    return true;
}

bool plan_get_bytes(const struct plan_reader *r, const json_t *object, const char *field, const char *where,
                    uint64_t *value)
{
    return json_get_u64(object, field, where, PLAN_MOST_BYTES, value, r->err);
}

bool plan_get_real(const struct plan_reader *r, const json_t *object, const char *field, const char *where,
                   double *value)
{
    double real;
    TRY(json_get_real(object, field, where, &real, r->err));
    if (!isfinite(real) || real < 0) return plan_wrong_field(r, where, field, "a number that is not negative");
    *value = real;
    return true;
}

bool plan_find_name(const char *text, const char *(*name)(int), int count, int *value)
{
    for (int i = 0; i < count; i++)
        if (strcmp(name(i), text) == 0) {
            *value = i;
            return true;
        }
    return false;
}

bool plan_get_name(const struct plan_reader *r, const json_t *object, const char *field, const char *where,
                   const char *(*name)(int), int count, int *value)
{
    const char *text;
    TRY(json_get_string(object, field, where, &text, r->err));
    if (plan_find_name(text, name, count, value)) return true;
    return error_set(r->err, ERROR_INPUT, "%s: field '%s' is '%s', which is none of its values ('%s', ...)", where,
                     field, text, name(0));
}
