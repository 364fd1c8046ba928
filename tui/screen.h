/* The terminal: the only part of the dashboard that knows ncurses. */
#ifndef FATHOM_SCREEN_H
#define FATHOM_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "canvas.h"
#include "errors.h"

/* Takes over the terminal of standard input and output; ERROR_FAILED when there is none or TERM is unknown. One screen
 * at a time. Colours follow NO_COLOR, TERM and COLORTERM. */
bool screen_open(struct error *err);
/* Gives the terminal back as it was. May be called when nothing is open, and from an atexit handler. */
void screen_close(void);

void screen_size(uint32_t *rows, uint32_t *columns);
/* Shows a canvas of the screen's size; only changed cells are sent. */
void screen_show(const struct canvas *canvas);

struct screen_key {
    uint32_t key;         /* enum key or a character; 0 = none came in time, or the size changed */
    uint32_t row, column; /* of a click */
};
struct screen_key screen_wait_key(uint32_t milliseconds);

/* Whether the locale can show UTF-8; sets LC_CTYPE, and nothing else, from the environment. */
bool screen_has_utf8(void);

#endif
