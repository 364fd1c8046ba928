#define _GNU_SOURCE
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"

static bool make_room(struct text *text, size_t extra)
{
    if (text->failed) return false;
    void *array = text->bytes;
    text->failed = !mem_grow(MEM_GENERAL, &array, &text->capacity, text->length + extra + 1, 1);
    text->bytes = array;
    return !text->failed;
}

void text_add_list(struct text *text, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0 || !make_room(text, (size_t)length)) return;
    vsnprintf(text->bytes + text->length, (size_t)length + 1, format, args);
    text->length += (size_t)length;
}

void text_add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_add_list(text, format, args);
    va_end(args);
}

void text_add_bytes(struct text *text, const void *bytes, size_t length)
{
    if (!make_room(text, length)) return;
    if (length > 0) memcpy(text->bytes + text->length, bytes, length); /* nothing may come as NULL */
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_finish(struct text *text)
{
    mem_free(text->bytes);
    *text = (struct text){0};
}

size_t text_distance(const char *a, const char *b)
{
    size_t row[TEXT_WORD + 1], n = strnlen(b, TEXT_WORD);
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best) best = above + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[n];
}
