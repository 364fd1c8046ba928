#include "json_print.h"

bool json_print(json_t *object, size_t digits, FILE *to, struct error *err)
{
    bool ok = object && json_write(object, to, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
    json_decref(object);
    if (!ok) return ferror(to) || error_memory(err, 4096, "the JSON output");
    fputc('\n', to);
    return true;
}
