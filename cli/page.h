/* Pages of 80 columns: what is printed for people fits a terminal, and is the same where there is none. */
#ifndef FATHOM_PAGE_H
#define FATHOM_PAGE_H

#include <stdbool.h>
#include <stdio.h>

#include "text.h"

#define PAGE_COLUMNS 80
#define PAGE_LABEL   20 /* columns of a row's label; its text begins 3 further right */

/* Prints the words broken at spaces, the first line `indent` columns in and the others `hang`. */
void page_wrap(FILE *to, int indent, int hang, const char *plain);
/* The same of what was put together, which it ends. Without memory the line is empty. */
void page_text(FILE *to, int indent, int hang, struct text *text);
__attribute__((format(printf, 4, 5))) void page_say(FILE *to, int indent, int hang, const char *format, ...);
/* "  label      words", the words under each other. */
__attribute__((format(printf, 3, 4))) void page_row(FILE *to, const char *label, const char *format, ...);
void page_row_text(FILE *to, const char *label, struct text *text);
/* The rest of a row of which `column` columns are printed, its other lines under its first; ends the text. */
void page_rest(FILE *to, int column, struct text *text);

/* Columns of the terminal on standard output; PAGE_COLUMNS where there is none. */
int page_columns(void);
/* Whether standard output is a terminal that shows colours and nobody objects (NO_COLOR, TERM=dumb). */
bool page_has_colours(void);
/* Turns what stands before the first colon of a verdict green or red; writes it wrapped. */
void page_verdict(FILE *to, const char *verdict, bool good, bool colours);

#endif
