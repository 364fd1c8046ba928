#define _GNU_SOURCE
#include "canvas.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "printable.h"

#define BRAILLE           0x2800u
#define BLOCK_LEFT_EIGHTH 0x258Fu /* seven eighths is 0x2589, full 0x2588 */

bool canvas_init(struct canvas *canvas, uint32_t rows, uint32_t columns, bool ascii, struct error *err)
{
    struct cell *cells = mem_zalloc(MEM_SCREEN, (size_t)rows * columns, sizeof *cells);
    if (!cells) return error_memory(err, (size_t)rows * columns * sizeof *cells, "the screen");
    *canvas = (struct canvas){.rows = rows, .columns = columns, .cells = cells, .ascii = ascii};
    return true;
}

void canvas_finish(struct canvas *canvas)
{
    mem_free(canvas->cells);
    *canvas = (struct canvas){0};
}

void canvas_clear(struct canvas *canvas)
{
    memset(canvas->cells, 0, (size_t)canvas->rows * canvas->columns * sizeof *canvas->cells);
}

bool canvas_next_change(const struct canvas *canvas, const struct canvas *shown, uint32_t *row, uint32_t *column)
{
    for (; *row < canvas->rows; ++*row, *column = 0) {
        size_t at = (size_t)*row * canvas->columns + *column, left = canvas->columns - *column;
        const struct cell *now = canvas->cells + at, *then = shown->cells ? shown->cells + at : NULL;
        if (then && memcmp(now, then, left * sizeof *now) == 0) continue;
        while (left > 0 && then && memcmp(now, then, sizeof *now) == 0) now++, then++, left--;
        *column = canvas->columns - (uint32_t)left;
        if (left > 0) return true;
    }
    return false;
}

void canvas_copy(struct canvas *to, const struct canvas *from)
{
    if (to->cells) memcpy(to->cells, from->cells, (size_t)from->rows * from->columns * sizeof *from->cells);
}

static struct cell *cell_at(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column)
{
    if (row >= area.rows || column >= area.columns) return NULL;
    row += area.row;
    column += area.column;
    if (row >= canvas->rows || column >= canvas->columns) return NULL;
    return &canvas->cells[(size_t)row * canvas->columns + column];
}

void canvas_glyph(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t glyph, enum ink ink)
{
    struct cell *cell = cell_at(canvas, area, row, column);
    if (!cell) return;
    cell->glyph = glyph;
    cell->ink = (uint8_t)ink;
}

/* The next code point of UTF-8; a byte that starts none, and what a terminal would obey, become '?'. */
static uint32_t next_point(const char **text)
{
    uint32_t point = (unsigned char)**text;
    if (point >= 0x20 && point < 0x7F) return ++*text, point; /* nearly all of a screen's */
    point = '?';
    size_t length = utf8_character(*text, strnlen(*text, 4), &point);
    *text += length ? length : 1;
    return printable_point(point) ? point : '?';
}

/* The dashboard's own signs have one cell each. Where the locale has no Unicode the canvas is shown as ASCII. */
static int point_cells(uint32_t point) { return canvas_ascii(point) != '?' ? 1 : printable_cells(point); }

/* The next character that has a cell of its own. One that has two would move all that follows in its row, and becomes
 * '?'; accents and other marks on the character before go. */
static uint32_t next_glyph(const char **text)
{
    uint32_t glyph = next_point(text);
    for (const char *next = *text; (unsigned char)*next >= 0x80 && point_cells(next_point(&next)) == 0;) *text = next;
    return glyph < 0x80 || point_cells(glyph) == 1 ? glyph : '?';
}

uint32_t canvas_width(const char *text)
{
    uint32_t count = 0;
    for (; *text; count++) next_glyph(&text);
    return count;
}

static uint32_t draw_text(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, enum ink ink,
                          const char *text)
{
    for (; *text; column++) canvas_glyph(canvas, area, row, column, next_glyph(&text), ink);
    return column;
}

/* Begins at the column, or ends there. */
static uint32_t draw_formatted(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, bool ends,
                               enum ink ink, const char *format, va_list args)
{
    char text[512];
    if (vsnprintf(text, sizeof text, format, args) >= (int)sizeof text)
        text[utf8_whole_length(text, strlen(text))] = '\0';
    uint32_t length = ends ? canvas_width(text) : 0;
    return length <= column ? draw_text(canvas, area, row, column - length, ink, text) : column;
}

uint32_t canvas_text(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, enum ink ink,
                     const char *format, ...)
{
    va_list args;
    va_start(args, format);
    column = draw_formatted(canvas, area, row, column, false, ink, format, args);
    va_end(args);
    return column;
}

void canvas_text_right(struct canvas *canvas, struct rect area, uint32_t row, uint32_t end, enum ink ink,
                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    draw_formatted(canvas, area, row, end, true, ink, format, args);
    va_end(args);
}

uint32_t canvas_text_cut(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t cells,
                         bool tail, enum ink ink, const char *text)
{
    const uint32_t ellipsis = 0x2026;
    uint32_t length = canvas_width(text);
    if (length <= cells) return draw_text(canvas, area, row, column, ink, text);
    if (cells == 0) return column;
    if (tail) canvas_glyph(canvas, area, row, column++, ellipsis, ink);
    for (uint32_t i = 0; tail && i < length - (cells - 1); i++) next_glyph(&text);
    for (uint32_t i = 1; i < cells; i++) canvas_glyph(canvas, area, row, column++, next_glyph(&text), ink);
    if (!tail) canvas_glyph(canvas, area, row, column++, ellipsis, ink);
    return column;
}

static uint32_t item_width(const struct canvas_item *item)
{
    return canvas_width(item->text) + (item->label ? canvas_width(item->label) + 1 : 0);
}

/* The item that goes next; `count` when none is left. */
static size_t least_wanted(const struct canvas_item *items, const bool *dropped, size_t count)
{
    size_t found = count;
    for (size_t i = 0; i < count; i++)
        if (!dropped[i] && (found == count || items[i].rank >= items[found].rank)) found = i;
    return found;
}

static void drop_items(const struct canvas_item *items, bool *dropped, size_t count, uint32_t gap, uint32_t room)
{
    for (;;) {
        uint32_t width = 0;
        for (size_t i = 0; i < count; i++)
            if (!dropped[i]) width += item_width(&items[i]) + (width ? gap : 0);
        size_t next = least_wanted(items, dropped, count);
        if (width <= room || next == count) return;
        dropped[next] = true;
    }
}

void canvas_place_items(const struct canvas_item *items, size_t count, uint32_t column, uint32_t end, uint32_t gap,
                        uint32_t *columns)
{
    bool dropped[CANVAS_MOST_ITEMS] = {false}, any = false;
    drop_items(items, dropped, count, gap, end > column ? end - column : 0);
    for (size_t i = 0; i < count; i++) {
        columns[i] = CANVAS_NOWHERE;
        if (dropped[i]) continue;
        if (any) column += gap;
        columns[i] = column;
        column += item_width(&items[i]);
        any = true;
    }
}

uint32_t canvas_items(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t end,
                      uint32_t gap, const struct canvas_item *items, size_t count)
{
    uint32_t columns[CANVAS_MOST_ITEMS];
    if (count > CANVAS_MOST_ITEMS) count = CANVAS_MOST_ITEMS;
    canvas_place_items(items, count, column, end, gap, columns);
    for (size_t i = 0; i < count; i++) {
        if (columns[i] == CANVAS_NOWHERE) continue;
        column = columns[i];
        if (items[i].label) column = draw_text(canvas, area, row, column, INK_DIM, items[i].label) + 1;
        column = draw_text(canvas, area, row, column, items[i].ink, items[i].text);
    }
    return column;
}

void canvas_style(struct canvas *canvas, struct rect area, uint32_t row, bool bold, bool reverse)
{
    for (uint32_t column = 0; column < area.columns; column++) {
        struct cell *cell = cell_at(canvas, area, row, column);
        if (!cell) return;
        cell->bold = bold;
        cell->reverse = reverse;
    }
}

struct rect canvas_frame(struct canvas *canvas, struct rect area, const char *title, bool active)
{
    if (area.rows < 2 || area.columns < 4) return (struct rect){area.row, area.column, 0, 0};
    enum ink ink = active ? INK_TITLE : INK_DIM;
    uint32_t bottom = area.rows - 1, right = area.columns - 1;
    for (uint32_t column = 1; column < right; column++) {
        canvas_glyph(canvas, area, 0, column, 0x2500, ink);
        canvas_glyph(canvas, area, bottom, column, 0x2500, ink);
    }
    for (uint32_t row = 1; row < bottom; row++) {
        canvas_glyph(canvas, area, row, 0, 0x2502, ink);
        canvas_glyph(canvas, area, row, right, 0x2502, ink);
    }
    canvas_glyph(canvas, area, 0, 0, 0x256D, ink);
    canvas_glyph(canvas, area, 0, right, 0x256E, ink);
    canvas_glyph(canvas, area, bottom, 0, 0x2570, ink);
    canvas_glyph(canvas, area, bottom, right, 0x256F, ink);
    if (area.columns < 8) return (struct rect){area.row + 1, area.column + 1, area.rows - 2, area.columns - 2};
    uint32_t after =
        canvas_text_cut(canvas, area, 0, 3, area.columns - 5, false, active ? INK_TITLE : INK_PLAIN, title);
    canvas_glyph(canvas, area, 0, 2, ' ', ink);
    canvas_glyph(canvas, area, 0, after, ' ', ink);
    return (struct rect){area.row + 1, area.column + 1, area.rows - 2, area.columns - 2};
}

void canvas_bar(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t columns, double part,
                enum ink ink)
{
    if (!(part > 0)) return;
    uint32_t eighths = (uint32_t)lround(fmin(part, 1) * columns * 8);
    for (uint32_t i = 0; i < eighths / 8; i++) canvas_glyph(canvas, area, row, column + i, 0x2588, ink);
    if (eighths % 8) canvas_glyph(canvas, area, row, column + eighths / 8, BLOCK_LEFT_EIGHTH + 1 - eighths % 8, ink);
}

/* Dot (x, y) of a cell's 2 x 4 braille pattern, y downward. */
static uint32_t braille_bit(uint32_t x, uint32_t y)
{
    static const uint8_t bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    return bits[y][x];
}

static void plot_dot(struct canvas *canvas, struct rect area, uint32_t x, uint32_t y, enum ink ink)
{
    struct cell *cell = cell_at(canvas, area, y / 4, x / 2);
    if (!cell) return;
    if (cell->glyph < BRAILLE || cell->glyph > BRAILLE + 0xFF) cell->glyph = BRAILLE;
    cell->glyph |= braille_bit(x % 2, y % 4);
    cell->ink = (uint8_t)ink;
}

/* Of fewer values than columns: on the line between two of them; beside an unknown one in the other's own column alone.
 */
static double value_between(const double *values, size_t count, uint32_t x, uint32_t width)
{
    double each = (double)(width - 1) / (double)(count - 1), at = x / each, part = at - floor(at);
    const double *left = &values[(size_t)at], *right = left + ((size_t)at + 1 < count);
    if (isfinite(*left) && isfinite(*right)) return *left + part * (*right - *left);
    return part * each < 0.5 ? *left : (1 - part) * each < 0.5 ? *right : (double)NAN;
}

/* Mean of the values that fall into column x of `width`; NAN when none does. */
static double column_value(const double *values, size_t count, uint32_t x, uint32_t width)
{
    if (count > 1 && count < width) return value_between(values, count, x, width);
    size_t from = (size_t)((double)x * (double)count / width), to = (size_t)((double)(x + 1) * (double)count / width);
    if (to <= from) to = from + 1;
    double sum = 0;
    size_t known = 0;
    for (size_t i = from; i < to && i < count; i++) {
        if (!isfinite(values[i])) continue;
        sum += values[i];
        known++;
    }
    return known ? sum / (double)known : NAN;
}

size_t canvas_plot_means(const double *values, size_t count, uint32_t columns, double *means)
{
    uint32_t width = columns * 2;
    for (size_t i = 0; count <= width && i < count; i++) means[i] = values[i];
    for (uint32_t x = 0; count > width && x < width; x++) means[x] = column_value(values, count, x, width);
    return count > width ? width : count;
}

void canvas_plot(struct canvas *canvas, struct rect area, const double *values, size_t count, double low, double high,
                 enum ink ink)
{
    uint32_t width = area.columns * 2, height = area.rows * 4;
    if (count == 0 || width == 0 || height == 0) return;
    if (!(high > low)) high = low + 1;
    bool joined = false;
    uint32_t before = 0;
    for (uint32_t x = 0; x < width; x++) {
        double value = column_value(values, count, x, width);
        if (!isfinite(value)) {
            joined = false;
            continue;
        }
        double part = fmin(fmax((value - low) / (high - low), 0), 1);
        uint32_t y = (uint32_t)lround((1 - part) * (height - 1));
        uint32_t from = joined && before < y ? before + 1 : y, to = joined && before > y ? before - 1 : y;
        for (uint32_t dot = from < y ? from : y; dot <= (to > y ? to : y); dot++) plot_dot(canvas, area, x, dot, ink);
        before = y;
        joined = true;
    }
}

uint32_t canvas_ascii(uint32_t glyph)
{
    if (glyph < 0x80) return glyph;
    if (glyph > BRAILLE && glyph <= BRAILLE + 0xFF) return '*';
    if (glyph >= 0x2591 && glyph <= 0x2593) return (uint32_t) ".:="[glyph - 0x2591];
    if (glyph >= 0x2580 && glyph <= 0x259F) return glyph >= 0x258C && glyph <= 0x258F ? '-' : '#';
    switch (glyph) {
    case 0x2500: return '-';
    case 0x2502: return '|';
    case 0x256D:
    case 0x256E:
    case 0x256F:
    case 0x2570: return '+';
    case 0x25B8: return '>'; /* closed node */
    case 0x25BE: return 'v'; /* open node */
    case 0x25B2: return '^';
    case 0x25BC: return 'v';
    case 0x2013: return '-';
    case 0x2026: return '~';
    case 0xB7: return '.';
    case 0xD7: return 'x';
    case 0xB5: return 'u';
    default: return '?';
    }
}

void canvas_utf8(uint32_t glyph, char out[5])
{
    char *to = out;
    if (glyph < 0x80) {
        *to++ = (char)glyph;
    } else if (glyph < 0x800) {
        *to++ = (char)(0xC0 | glyph >> 6);
        *to++ = (char)(0x80 | (glyph & 0x3F));
    } else if (glyph < 0x10000) {
        *to++ = (char)(0xE0 | glyph >> 12);
        *to++ = (char)(0x80 | (glyph >> 6 & 0x3F));
        *to++ = (char)(0x80 | (glyph & 0x3F));
    } else {
        *to++ = (char)(0xF0 | (glyph >> 18 & 7));
        *to++ = (char)(0x80 | (glyph >> 12 & 0x3F));
        *to++ = (char)(0x80 | (glyph >> 6 & 0x3F));
        *to++ = (char)(0x80 | (glyph & 0x3F));
    }
    *to = '\0';
}

void canvas_print(const struct canvas *canvas, struct text *text)
{
    for (uint32_t row = 0; row < canvas->rows; row++) {
        const struct cell *cells = &canvas->cells[(size_t)row * canvas->columns];
        uint32_t end = canvas->columns;
        while (end > 0 && (cells[end - 1].glyph == 0 || cells[end - 1].glyph == ' ')) end--;
        for (uint32_t column = 0; column < end; column++) {
            uint32_t glyph = cells[column].glyph ? cells[column].glyph : ' ';
            char utf8[5];
            canvas_utf8(canvas->ascii ? canvas_ascii(glyph) : glyph, utf8);
            text_add(text, "%s", utf8);
        }
        text_add(text, "\n");
    }
}
