/* A growing string, for JSON lines, SVG and messages put together in parts. */
#ifndef FATHOM_TEXT_H
#define FATHOM_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct text {
    char *bytes; /* NUL-terminated once anything was added; NULL before */
    size_t length;
    size_t capacity;
    bool failed; /* an addition ran out of memory: the content is not to be used */
};

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void text_add(struct text *text, const char *format, ...);
void text_add_list(struct text *text, const char *format, va_list args);
void text_add_bytes(struct text *text, const void *bytes, size_t length);
/* Takes zeroed objects. */
void text_finish(struct text *text);

/* Levenshtein's distance (insertions, deletions, changes), for suggesting the word that was meant. Only the first
 * TEXT_WORD bytes of b count. */
#define TEXT_WORD 63
size_t text_distance(const char *a, const char *b);

#endif
