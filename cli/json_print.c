#include "json_print.h"

bool json_unmade(struct error *err)
{
    return error_set(err, ERROR_FAILED, "the JSON output cannot be made: out of memory, or a number is not finite");
}

bool json_print(json_t *object, size_t digits, FILE *to, struct error *err)
{
    if (!object) return json_unmade(err);
    bool ok = json_write(object, to, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
    json_decref(object);
    if (!ok) return ferror(to) || error_memory(err, 0, "the JSON output");
    fputc('\n', to);
    return true;
}
