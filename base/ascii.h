/* Letters of ASCII. What <ctype.h> and strcasecmp() take for letters, and for the same letter, the locale says: in Turkish
 * I is not the capital of i. */
#ifndef FATHOM_ASCII_H
#define FATHOM_ASCII_H

#include <stdbool.h>
#include <stddef.h>

/* A to Z as a to z, any other byte as it is. */
char ascii_lower(char byte);
/* Whether a letter or digit of ASCII. */
bool ascii_is_alnum(char byte);
/* Whether both are the same but for the case of A to Z. */
bool ascii_same(const char *a, const char *b);
/* The same of their first `length` bytes, or of all where one is shorter. */
bool ascii_same_first(const char *a, const char *b, size_t length);
/* Whether the words are somewhere in the text, whatever the case of A to Z; "" is in all. */
bool ascii_holds(const char *text, const char *words);

#endif
