/* The list of kernels: what ops started on a GPU. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "panels.h"
#include "units.h"

/* Number columns, the most important ones first: where they do not all fit, the last ones are left out. The device is
 * there where lines are of one each. */
enum kernel_column {
    COLUMN_DEVICE,
    COLUMN_PART,
    COLUMN_STEP,
    COLUMN_MEAN,
    COLUMN_P50,
    COLUMN_MOST,
    COLUMN_COUNT,
    COLUMN_GRID,
    COLUMN_STREAM,
    KERNEL_COLUMNS
};
static const struct {
    const char *title;
    uint32_t width;
} columns[KERNEL_COLUMNS] = {{"Dev", 4}, {"Step %", 7}, {"A step", 8}, {"Mean", 8},  {"p50", 8},
                             {"Max", 8}, {"/step", 7},  {"Grid", 13},  {"Stream", 7}};

#define ALWAYS     COLUMN_P50 /* number columns before it that leave only LEAST_TEXT to the text */
#define LEAST_TEXT 14
#define SMALL_TEXT 38 /* a name that can be told, and a layer */
#define MOST_NAME  64

/* Columns in `width` cells. */
struct kernel_table {
    uint32_t first, end;        /* number columns */
    uint32_t text;              /* where the text begins */
    uint32_t name, kind, layer; /* cells; 0 = left out */
};

static struct kernel_table arrange(uint32_t width, bool devices)
{
    struct kernel_table t = {.first = devices ? COLUMN_DEVICE : COLUMN_PART};
    uint32_t used = 0;
    for (t.end = t.first; t.end < KERNEL_COLUMNS; t.end++) {
        uint32_t end = used + columns[t.end].width;
        if (end + (t.end < ALWAYS ? LEAST_TEXT : SMALL_TEXT) > width) break;
        used = end;
    }
    t.text = used + 2;
    uint32_t room = width > t.text ? width - t.text : 0;
    t.name = room >= 30 ? room / 2 : room;
    if (t.name > MOST_NAME) t.name = MOST_NAME;
    uint32_t rest = room > t.name + 1 ? room - t.name - 1 : 0;
    if (rest >= 32) t.kind = 16;
    uint32_t taken = t.kind ? t.kind + 1 : 0;
    t.layer = rest >= 8 + taken ? rest - taken : 0;
    return t;
}

/* ---- Text ---- */

/* Names differ at both ends: what does not fit is left out in the middle. */
static void draw_name(struct canvas *canvas, struct rect area, uint32_t line, uint32_t column, uint32_t cells,
                      const char *name)
{
    uint32_t head = cells / 2;
    if (canvas_width(name) <= cells || cells < 4) {
        canvas_text_cut(canvas, area, line, column, cells, false, INK_PLAIN, name);
        return;
    }
    canvas_text_cut(canvas, area, line, column, head + 1, false, INK_PLAIN, name);
    const char *tail = name + strlen(name);
    for (uint32_t left = cells - head - 1; left > 0 && tail > name; left -= ((unsigned char)*tail & 0xC0) != 0x80)
        tail--;
    canvas_text_cut(canvas, area, line, column + head + 1, cells - head - 1, true, INK_PLAIN, tail);
}

static const char *owner_words(const struct op_row *row)
{
    if (row->pass && strcmp(row->pass, TRACE_RUN_PASS) == 0) return "the run's own";
    return row->pass && !row->pass[0] ? "no op" : NULL;
}

static void draw_text(struct canvas *canvas, struct rect area, uint32_t line, const struct op_row *row,
                      const struct kernel_table *t)
{
    char several[UNITS_TEXT];
    snprintf(several, sizeof several, "%u kernels", row->ops);
    draw_name(canvas, area, line, t->text, t->name, row->name ? row->name : several);
    uint32_t at = t->text + t->name + 1;
    const char *owner = owner_words(row);
    if (owner) {
        uint32_t cells = t->layer + (t->kind ? t->kind + 1 : 0);
        canvas_text_cut(canvas, area, line, at, cells, false, INK_DIM, owner);
        return;
    }
    enum ink ink = row->pass ? pass_ink(row->pass) : INK_DIM;
    if (t->kind) canvas_text_cut(canvas, area, line, at, t->kind, false, ink, row->kind ? row->kind : "any");
    if (t->kind) at += t->kind + 1;
    if (t->layer)
        canvas_text_cut(canvas, area, line, at, t->layer, true, row->layer ? INK_PLAIN : INK_DIM,
                        row->layer ? row->layer : "any layer");
}

/* ---- Numbers ---- */

static const char unknown[] = "–";

static const char *write_grid(const uint32_t grid[3], char text[UNITS_TEXT])
{
    if (grid[0] == 0) return unknown;
    if (grid[2] > 1)
        snprintf(text, UNITS_TEXT, "%u×%u×%u", grid[0], grid[1], grid[2]);
    else if (grid[1] > 1)
        snprintf(text, UNITS_TEXT, "%u×%u", grid[0], grid[1]);
    else
        snprintf(text, UNITS_TEXT, "%u", grid[0]);
    return text;
}

/* Whole where every step has as many. */
static const char *write_count(const struct op_row *row, char text[UNITS_TEXT])
{
    if (row->timed_steps == 0) return unknown;
    double count = (double)row->count / (double)row->timed_steps;
    snprintf(text, UNITS_TEXT, row->count % row->timed_steps == 0 ? "%.0f" : "%.1f", count);
    return text;
}

static const char *write_cell(enum kernel_column column, const struct op_row *row, char text[UNITS_TEXT])
{
    switch (column) {
    case COLUMN_PART:
        if (!isfinite(row->step_share)) return unknown;
        snprintf(text, UNITS_TEXT, "%.1f", 100 * row->step_share);
        break;
    case COLUMN_STEP: return isfinite(row->step_ns) ? format_ns((uint64_t)row->step_ns, text) : unknown;
    case COLUMN_MEAN: format_ns(row->total_ns / row->count, text); break;
    case COLUMN_P50: format_ns(row->p50_ns, text); break;
    case COLUMN_MOST: format_ns(row->most_ns, text); break;
    case COLUMN_COUNT: return write_count(row, text);
    case COLUMN_GRID: return write_grid(row->grid, text);
    case COLUMN_STREAM:
        if (row->stream == ROW_STREAMS) return unknown;
        snprintf(text, UNITS_TEXT, "%u", row->stream);
        break;
    case COLUMN_DEVICE:
        if (row->device == ROW_DEVICES) return unknown;
        snprintf(text, UNITS_TEXT, "%u", row->device);
        break;
    case KERNEL_COLUMNS: break;
    }
    return text;
}

static void draw_head(const struct dashboard *dashboard, struct canvas *canvas, struct rect area,
                      const struct kernel_table *t)
{
    static const enum kernel_column sorted_by[OP_SORTS] = {
        [SORT_TOTAL] = COLUMN_STEP,  [SORT_MEAN] = COLUMN_MEAN,    [SORT_P99] = KERNEL_COLUMNS,
        [SORT_COUNT] = COLUMN_COUNT, [SORT_RATE] = KERNEL_COLUMNS, [SORT_ORDER] = KERNEL_COLUMNS,
        [SORT_NAME] = KERNEL_COLUMNS};
    enum kernel_column sorted = sorted_by[dashboard_sort(dashboard, true)];
    uint32_t end = 0, at = t->text + t->name + 1;
    for (uint32_t i = t->first; i < t->end; i++) {
        bool here = sorted == (enum kernel_column)i;
        end += columns[i].width;
        canvas_text_right(canvas, area, 0, end, here ? INK_TITLE : INK_DIM, "%s%s", here ? "▼" : "",
                          i == COLUMN_PART ? panel_share_title(&dashboard->kernels) : columns[i].title);
    }
    canvas_text_cut(canvas, area, 0, t->text, t->name, false, INK_DIM, "Kernel");
    if (t->kind) canvas_text(canvas, area, 0, at, INK_DIM, "Op");
    if (t->kind) at += t->kind + 1;
    if (t->layer) canvas_text(canvas, area, 0, at, INK_DIM, "Layer");
}

static void draw_row(struct canvas *canvas, struct rect area, uint32_t line, const struct op_row *row,
                     const struct kernel_table *t)
{
    uint32_t end = 0;
    for (uint32_t i = t->first; i < t->end; i++) {
        char text[UNITS_TEXT];
        end += columns[i].width;
        canvas_text_right(canvas, area, line, end, INK_PLAIN, "%s", write_cell((enum kernel_column)i, row, text));
    }
    draw_text(canvas, area, line, row, t);
}

/* ---- The panel ---- */

static void write_title(const struct dashboard *dashboard, const struct rollup *rollup, char *out, size_t size)
{
    static const char *const groups[GROUPS] = {"Kernels", "Kernel names", "Kernels' layers", "Kernels' passes"};
    char of[120] = "", devices[40] = "";
    if (dashboard->only_op && dashboard->only_op <= rollup->op_count) {
        const struct rollup_op *op = &rollup->ops[dashboard->only_op - 1];
        snprintf(of, sizeof of, " of %.40s %.60s", op->kind, op->layer);
    }
    if (rollup->device_count > 1 && !dashboard_devices_apart(dashboard))
        snprintf(devices, sizeof devices, ", %u devices together", rollup->device_count);
    snprintf(out, size, "%s%s: %zu by %s%s%s%s", groups[dashboard->group], of, dashboard->kernels.count,
             op_sort_name(dashboard_sort(dashboard, true)), devices, dashboard->filter[0] ? ", with " : "",
             dashboard->filter);
}

void panel_kernels(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    char title[320];
    struct row_list *list = &dashboard->kernels;
    write_title(dashboard, rollup, title, sizeof title);
    struct rect inside = canvas_frame(canvas, area, title, true);
    if (inside.rows < 2) return;
    struct kernel_table table = arrange(inside.columns, rollup->device_count > 1 && dashboard_devices_apart(dashboard));
    draw_head(dashboard, canvas, inside, &table);
    size_t shown = panel_show_lines(dashboard, list, inside);
    const struct op_row *lines = row_list_show(list, rollup, list->scroll, shown);
    for (uint32_t i = 0; lines && i < shown; i++) {
        draw_row(canvas, inside, i + 1, &lines[i], &table);
        if (list->scroll + i == list->selected) canvas_style(canvas, inside, i + 1, true, true);
    }
    if (list->count == 0)
        canvas_text_cut(canvas, inside, 1, 1, inside.columns - 1, false, INK_DIM,
                        rollup->kernel_count ? "no kernel matches the filter"
                                             : "no kernel has been recorded: a run on a GPU with --trace has them");
}
