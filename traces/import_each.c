/* What is asked at each event of a trace that is imported: the number of its name, and whether to go on. */
#include <string.h>

#include "import_private.h"

bool import_add_name(struct import *import, const char *text, uint32_t *number, struct error *err)
{
    return tables_add_name(&import->names, text, number) || error_memory(err, strlen(text), "a name of a trace");
}

bool import_is_stopped(struct import *import, struct error *err)
{
    if (++import->seen % 1024 != 0 || !import->stop || !*import->stop) return false;
    error_set(err, ERROR_FAILED, "%s: stopped; nothing was written", import->path);
    return true;
}
