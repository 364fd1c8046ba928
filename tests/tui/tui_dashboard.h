/* A dashboard over a run by hand: its lines, its keys, its screen as text. */
#ifndef FATHOM_TUI_DASHBOARD_H
#define FATHOM_TUI_DASHBOARD_H

#include <criterion/criterion.h>

#include "dashboard.h"
#include "tui_rollup.h"

static inline struct dashboard ready_in(enum view view, const struct rollup *rollup)
{
    struct dashboard dashboard;
    struct error err = {0};
    dashboard_init(&dashboard);
    dashboard.view = view;
    cr_assert(dashboard_update(&dashboard, rollup, &err), "%s", err.text);
    return dashboard;
}

static inline struct dashboard ready(const struct rollup *rollup) { return ready_in(VIEW_OVERVIEW, rollup); }

static inline const struct op_row *lines_of(struct row_list *list, const struct rollup *rollup)
{
    const struct op_row *lines = row_list_show(list, rollup, 0, list->count);
    cr_assert(lines);
    return lines;
}

static inline void press(struct dashboard *dashboard, const struct rollup *rollup, const char *keys)
{
    for (; *keys; keys++) dashboard_key(dashboard, rollup, (uint32_t)*keys);
    struct error err = {0};
    cr_assert(dashboard_update(dashboard, rollup, &err), "%s", err.text);
}

/* The screen of a dashboard as text, which the caller finishes. */
static inline struct text draw_as(struct dashboard *dashboard, const struct rollup *rollup, uint32_t rows,
                                  uint32_t columns, bool ascii)
{
    struct canvas canvas;
    struct error err = {0};
    struct text text = {0};
    cr_assert(canvas_init(&canvas, rows, columns, ascii, &err));
    dashboard_draw(dashboard, rollup, &canvas);
    canvas_print(&canvas, &text);
    cr_assert(!text.failed);
    canvas_finish(&canvas);
    return text;
}

static inline struct text draw_text(struct dashboard *dashboard, const struct rollup *rollup, uint32_t rows,
                                    uint32_t columns)
{
    return draw_as(dashboard, rollup, rows, columns, false);
}

static inline const char *line_of(const struct text *text, uint32_t row, char *out, size_t size)
{
    const char *line = text->bytes;
    while (row-- > 0) line = strchr(line, '\n') + 1;
    snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
    return out;
}

#endif
