/* The keys. */
#include <string.h>

#include "panels.h"

#define KEYS 13 /* cells of the keys; what they do follows */

static const struct {
    const char *keys, *words;
} lines[] = {
    {"1-6, Tab", "overview, ops, layers, memory, loss, kernels"},
    {"Up Down j k", "select a line;  PgUp PgDn Home End, the mouse"},
    {"Enter", "open: a group's ops, an op's kernels, their layer"},
    {"Left Right", "close and open in the tree; else step back and forth"},
    {"s, S", "sort by the next, the previous column"},
    {"g, G", "ops one by one, or together by kind, layer or pass"},
    {"Peak",
     "of ops: time at the device's peak over theirs; f: of its FLOP/s, b: of its memory; caches give over 100 %"},
    {"D", "a line for each device, or devices together"},
    {"/", "filter by layer, kind, pass or kernel; Esc clears"},
    {"d", "next device in the memory panel"},
    {"+ -", "zoom the loss curve"},
    {"Space", "pause and go on; the run does not notice"},
    {"n, p, < >", "of a replay: next, previous step; slower, faster"},
    {"r", "have the run record its next 64 steps, op by op"},
    {"q", "quit (the run goes on)"},
};
#define LINES  (sizeof lines / sizeof lines[0])
#define WIDTH  68u /* at which only one entry takes two rows */
#define NARROW 40u /* below, what keys do begins on a row of its own */

/* The words that fit into so many cells; one that never does is cut. *next: where the others begin. */
static size_t take_words(const char *words, uint32_t cells, const char **next)
{
    size_t length = 0, whole = strlen(words);
    for (size_t i = 1; i <= whole && i <= cells; i++)
        if (words[i] == ' ' || words[i] == '\0') length = i;
    if (length == 0) length = cells < whole ? cells : whole;
    *next = words + length;
    while (**next == ' ') ++*next;
    return length;
}

/* Draws those of all rows that `inside` shows from the first on; returns how many there are. */
static uint32_t draw_keys(struct canvas *canvas, struct rect inside, uint32_t first)
{
    uint32_t row = 0, at = inside.columns < NARROW - 2 ? 3 : 1 + KEYS;
    uint32_t cells = inside.columns > at ? inside.columns - at : 1;
    for (size_t i = 0; i < LINES; i++) {
        if (row >= first) canvas_text(canvas, inside, row - first, 1, INK_TITLE, "%s", lines[i].keys);
        row += at < KEYS;
        for (const char *words = lines[i].words, *next; *words; words = next, row++) {
            int length = (int)take_words(words, cells, &next);
            if (row >= first) canvas_text(canvas, inside, row - first, at, INK_PLAIN, "%.*s", length, words);
        }
    }
    return row;
}

void panel_help(struct dashboard *dashboard, struct canvas *canvas)
{
    uint32_t columns = canvas->columns < WIDTH ? canvas->columns : WIDTH;
    const struct rect nowhere = {canvas->rows, 0, 0, columns > 2 ? columns - 2 : 0};
    uint32_t all = draw_keys(canvas, nowhere, 0), rows = all + 2 < canvas->rows ? all + 2 : canvas->rows;
    uint32_t shown = rows > 2 ? rows - 2 : 0;
    struct rect area = {(canvas->rows - rows) / 2, (canvas->columns - columns) / 2, rows, columns};
    if (dashboard->help_scroll + shown > all) dashboard->help_scroll = all - shown;
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++) canvas_glyph(canvas, area, row, column, ' ', INK_PLAIN);
    struct rect inside = canvas_frame(canvas, area, shown < all ? "Keys: Up and Down show more" : "Keys", true);
    draw_keys(canvas, inside, dashboard->help_scroll);
}
