/* A grid of character cells that panels draw into: what the terminal, `--once` and the tests all show. Knows no
 * terminal. */
#ifndef FATHOM_CANVAS_H
#define FATHOM_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "text.h"

/* What a cell means; the screen chooses the colour. Never the only carrier of a meaning. */
enum ink {
    INK_PLAIN,
    INK_DIM,
    INK_TITLE,
    INK_GOOD,
    INK_WARN,
    INK_BAD,
    INK_FORWARD,
    INK_RECOMPUTE,
    INK_BACKWARD,
    INK_COMM,
    INK_UPDATE,
    INK_CLASS, /* first of INK_CLASSES inks for memory classes */
    INK_CLASSES = 10,
    INKS = INK_CLASS + INK_CLASSES
};

struct cell {
    uint32_t glyph; /* Unicode; 0 = blank */
    uint8_t ink;
    bool bold, reverse;
};

struct canvas {
    uint32_t rows, columns;
    struct cell *cells; /* rows x columns, row by row */
    bool ascii;         /* boxes, blocks and braille fall back to ASCII when read */
};

struct rect {
    uint32_t row, column, rows, columns;
};

bool canvas_init(struct canvas *canvas, uint32_t rows, uint32_t columns, bool ascii, struct error *err);
/* Takes zeroed objects. */
void canvas_finish(struct canvas *canvas);
void canvas_clear(struct canvas *canvas);

/* Goes on from cell (*row, *column) to the first that differs from what is shown, a canvas of the same size or one without
 * cells, from which all differ. False when there is none. */
bool canvas_next_change(const struct canvas *canvas, const struct canvas *shown, uint32_t *row, uint32_t *column);
/* The cells of a canvas of the same size; one without cells stays without. */
void canvas_copy(struct canvas *to, const struct canvas *from);

/* Everything outside `area` or the canvas is cut off. Positions are relative to the area. */
void canvas_glyph(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t glyph, enum ink ink);
/* Draws UTF-8 text and returns the column after it. A character that takes two cells is shown as '?', and marks on another
 * are left out: which those are LC_CTYPE says (screen_has_utf8 sets it). */
uint32_t canvas_text(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, enum ink ink,
                     const char *format, ...) __attribute__((format(printf, 6, 7)));
/* As canvas_text, ending at column `end` (exclusive). */
void canvas_text_right(struct canvas *canvas, struct rect area, uint32_t row, uint32_t end, enum ink ink,
                       const char *format, ...) __attribute__((format(printf, 6, 7)));
/* Draws text in at most `cells` cells and returns the column after it; of a longer one the beginning, or with `tail` the
 * end, is kept beside an ellipsis. */
uint32_t canvas_text_cut(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t cells,
                         bool tail, enum ink ink, const char *text);
void canvas_style(struct canvas *canvas, struct rect area, uint32_t row, bool bold, bool reverse);

/* Part of a line that is shown whole or not at all. */
#define CANVAS_ITEM 96
struct canvas_item {
    uint8_t rank; /* where they do not all fit, the highest goes first; of equals the last */
    enum ink ink;
    const char *label; /* dim, before the text; NULL = none */
    char text[CANVAS_ITEM];
};
#define CANVAS_MOST_ITEMS 16
#define CANVAS_NOWHERE    UINT32_MAX
/* Where those items that fit between two columns go, with `gap` blanks between them: CANVAS_NOWHERE for the others. At most
 * CANVAS_MOST_ITEMS. */
void canvas_place_items(const struct canvas_item *items, size_t count, uint32_t column, uint32_t end, uint32_t gap,
                        uint32_t *columns);
/* Draws those items that fit between two columns, in their order with `gap` blanks between them, and returns the column
 * after the last. */
uint32_t canvas_items(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t end, uint32_t gap,
                      const struct canvas_item *items, size_t count);
/* Cells of a text. */
uint32_t canvas_width(const char *text);
/* A frame with a title, cut where it is too long; returns the area inside it. */
struct rect canvas_frame(struct canvas *canvas, struct rect area, const char *title, bool active);
/* A horizontal bar of `part` (0..1) of `columns` cells, in eighths of a cell. */
void canvas_bar(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t columns, double part,
                enum ink ink);
/* Values that are plotted as all of these are in so many columns, two of each at most; returns how many. */
size_t canvas_plot_means(const double *values, size_t count, uint32_t columns, double *means);
/* A curve of `count` values in [low, high] over the whole area, 2 x 4 dots a cell, with lines between values that have more
 * than a dot each; NAN leaves a gap. */
void canvas_plot(struct canvas *canvas, struct rect area, const double *values, size_t count, double low, double high,
                 enum ink ink);

/* The glyph that stands for `glyph` in plain ASCII. */
uint32_t canvas_ascii(uint32_t glyph);
/* UTF-8 of a glyph into out[5], NUL-terminated. */
void canvas_utf8(uint32_t glyph, char out[5]);
/* The canvas as lines of text without trailing blanks. */
void canvas_print(const struct canvas *canvas, struct text *text);

#endif
