/* Text from outside (names in files and on the command line, what a parser quotes) on its way out. Its control characters
 * must not reach a terminal, where they move the cursor, colour, rename the window or turn the reading direction round. */
#ifndef FATHOM_PRINTABLE_H
#define FATHOM_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "printable.h"
#include "text.h"

/* Bytes of the UTF-8 character at the start of `text`, of which `left` bytes remain; 0 when it is none: overlong forms,
 * surrogates and what is cut off are none (RFC 3629). Its code point goes to *point. */
size_t utf8_character(const char *text, size_t left, uint32_t *point);
/* Length of `text` without a character that its end cuts through. */
size_t utf8_whole_length(const char *text, size_t length);
/* False for what a terminal may obey or that hides the order of letters: C0, DEL and C1 controls, line separators, and
 * the controls of bidirectional text (Unicode's property Bidi_Control), and what is no character at all. */
bool printable_point(uint32_t point);

/* Cells of a terminal that a printable character takes: 2 of most of China's, Japan's and Korea's and of pictures, 0 of a
 * mark on the character before it, as LC_CTYPE says; 1 where the locale has no Unicode, -1 of what it does not know. */
int printable_cells(uint32_t point);
/* The same of so many bytes of printable text. */
size_t printable_width(const char *text, size_t length);

#define PRINTABLE_ROOM 2048
struct printable {
    char text[PRINTABLE_ROOM];
};
/* `plain` as a terminal may show it, into *room: control characters and bytes that are no UTF-8 are escaped ("\n", "\x1b",
 * "\xc0", "\u202e"). NULL is the empty text. What does not fit is cut at a character and ends with "…". Returns
 * room->text. */
const char *printable(const char *plain, struct printable *room);
/* The same in at most `cells` cells of a terminal. */
const char *printable_cut(const char *plain, size_t cells, struct printable *room);
/* The same in exactly `cells` cells: blanks follow a shorter text, or stand before it when `right`. `cells` is at most
 * 500. */
const char *printable_fit(const char *plain, size_t cells, bool right, struct printable *room);
/* For arguments of printf: the room lives as long as the block around the call. */
#define PRINTABLE(plain)            printable((plain), &(struct printable){{0}})
#define PRINTABLE_CUT(plain, cells) printable_cut((plain), (cells), &(struct printable){{0}})

/* Whether printable() would change nothing in it. */
bool is_printable(const char *plain);

/* printable() without a limit. */
void text_add_printable(struct text *text, const char *plain);
/* The same with XML's five special characters escaped: XML 1.0 has no place for most control characters. */
void text_add_xml(struct text *text, const char *plain);

/* A JSON string with its quotes (RFC 8259). Characters that printable() escapes become \uXXXX, which a reader turns back;
 * bytes that are no UTF-8 become '?'. */
void printable_write_json(FILE *out, const char *text, size_t length);
/* A field of CSV (RFC 4180): quoted when it holds commas, quotes, line ends or anything that is not printable. For files
 * that are read again: every byte is kept. */
void printable_write_csv(FILE *out, const char *text);
/* The same for what people see, a report or a terminal: of the control characters only line feeds are kept, in quotes. */
void printable_write_csv_report(FILE *out, const char *text);

#endif
