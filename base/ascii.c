#include "ascii.h"

#include <stdint.h>
#include <string.h>

char ascii_lower(char byte) { return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte; }

bool ascii_is_alnum(char byte)
{
    char lower = ascii_lower(byte);
    return (lower >= 'a' && lower <= 'z') || (byte >= '0' && byte <= '9');
}

bool ascii_same(const char *a, const char *b) { return ascii_same_first(a, b, SIZE_MAX); }

bool ascii_same_first(const char *a, const char *b, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (ascii_lower(a[i]) != ascii_lower(b[i])) return false;
        if (!a[i]) return true;
    }
    return true;
}

bool ascii_holds(const char *text, const char *words)
{
    size_t length = strlen(words);
    while (*text && !ascii_same_first(text, words, length)) text++;
    return *text || length == 0;
}
