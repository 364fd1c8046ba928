#include "errors.h"

#include <stdio.h>
#include <string.h>

#include "printable.h"

/* A sentence that is too long ends at a whole character. */
static void end_text(struct error *err) { err->text[utf8_whole_length(err->text, strlen(err->text))] = '\0'; }

static void write_text(struct error *err, enum error_kind kind, const char *format, va_list args)
{
    err->kind = kind;
    if (vsnprintf(err->text, sizeof err->text, format, args) >= (int)sizeof err->text) end_text(err);
}

bool error_set(struct error *err, enum error_kind kind, const char *format, ...)
{
    if (!err) return false;
    va_list args;
    va_start(args, format);
    write_text(err, kind, format, args);
    va_end(args);
    return false;
}

bool error_memory(struct error *err, size_t bytes, const char *purpose)
{
    if (bytes == 0) return error_set(err, ERROR_MEMORY, "out of memory for %s", purpose);
    return error_set(err, ERROR_MEMORY, "out of memory: %zu bytes for %s", bytes, purpose);
}

bool error_errno(struct error *err, enum error_kind kind, int errnum, const char *format, ...)
{
    if (!err) return false;
    va_list args;
    va_start(args, format);
    write_text(err, kind, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(errnum));
    end_text(err);
    return false;
}

bool error_prefix(struct error *err, const char *format, ...)
{
    if (!err) return false;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, format);
    write_text(err, err->kind, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", old);
    end_text(err);
    return false;
}

int error_exit_code(const struct error *err)
{
    switch (err->kind) {
    case ERROR_NONE: return 0;
    case ERROR_INPUT: return 2;
    case ERROR_FAILED:
    case ERROR_MEMORY:
    case ERROR_LATE:
    case ERROR_PEER:
    case ERROR_UNFIT:
    case ERROR_STOPPED: return 1;
    }
    return 1;
}
