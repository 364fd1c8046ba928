/* The two lists: ops and layers. */
#include <stdio.h>
#include <string.h>

#include "panels.h"
#include "units.h"

/* First line to show so that the selected one is inside a window of `rows`. */
static size_t scroll_to(size_t scroll, size_t selected, size_t count, size_t rows)
{
    if (rows == 0) return 0;
    if (selected < scroll) scroll = selected;
    if (selected >= scroll + rows) scroll = selected + 1 - rows;
    if (count <= rows) return 0;
    return scroll + rows > count ? count - rows : scroll;
}

/* Right ends of the op table's number columns; those that do not fit are left out, from the right of the list. */
enum op_column {
    COLUMN_PART,
    COLUMN_TOTAL,
    COLUMN_MEAN,
    COLUMN_P50,
    COLUMN_P99,
    COLUMN_COUNT,
    COLUMN_FLOPS,
    COLUMN_BYTES,
    OP_COLUMNS
};
static const struct {
    const char *title;
    uint32_t width;
} op_columns[OP_COLUMNS] = {{"Time %", 7}, {"Total", 9}, {"Mean", 9},   {"p50", 9},
                            {"p99", 9},    {"Count", 8}, {"FLOP/s", 9}, {"B/s", 9}};

static const uint32_t name_width = 58; /* pass, kind and a layer's path */

static uint32_t columns_that_fit(uint32_t width)
{
    uint32_t used = name_width, fit = 0;
    while (fit < OP_COLUMNS && used + op_columns[fit].width <= width) used += op_columns[fit++].width;
    return fit;
}

static void write_cell(enum op_column column, const struct op_row *row, uint64_t all_ns, char *out, size_t size)
{
    char text[UNITS_TEXT];
    uint64_t mean = row->count ? row->total_ns / row->count : 0;
    *out = '\0';
    switch (column) {
    case COLUMN_PART: snprintf(out, size, "%.1f", all_ns ? 100.0 * (double)row->total_ns / (double)all_ns : 0); break;
    case COLUMN_TOTAL: format_ns(row->total_ns, out); break;
    case COLUMN_MEAN: format_ns(mean, out); break;
    case COLUMN_P50: format_ns(row->p50_ns, out); break;
    case COLUMN_P99: format_ns(row->p99_ns, out); break;
    case COLUMN_COUNT: snprintf(out, size, "%llu", (unsigned long long)row->count); break;
    case COLUMN_FLOPS:
        snprintf(out, size, "%s", row->flops_per_second > 0 ? units_format_si(row->flops_per_second, text) : "-");
        break;
    case COLUMN_BYTES:
        snprintf(out, size, "%s", row->bytes_per_second > 0 ? units_format_si(row->bytes_per_second, text) : "-");
        break;
    case OP_COLUMNS: break;
    }
}

static void draw_op_head(const struct dashboard *dashboard, struct canvas *canvas, struct rect area, uint32_t fit)
{
    static const enum op_column sorted_by[OP_SORTS] = {
        [SORT_TOTAL] = COLUMN_TOTAL, [SORT_MEAN] = COLUMN_MEAN, [SORT_P99] = COLUMN_P99, [SORT_COUNT] = COLUMN_COUNT,
        [SORT_RATE] = COLUMN_FLOPS,  [SORT_ORDER] = OP_COLUMNS, [SORT_NAME] = OP_COLUMNS};
    uint32_t end = 0;
    for (uint32_t i = 0; i < fit; i++) {
        end += op_columns[i].width;
        bool sorted = sorted_by[dashboard->sort] == (enum op_column)i;
        canvas_text_right(canvas, area, 0, end, sorted ? INK_TITLE : INK_DIM, "%s%s", sorted ? "▼" : "",
                          op_columns[i].title);
    }
    canvas_text(canvas, area, 0, end + 2, INK_DIM, "Pass        Op");
    canvas_text(canvas, area, 0, end + 32, INK_DIM, dashboard->group_kinds ? "Ops" : "Layer");
}

static void draw_op_row(struct canvas *canvas, struct rect area, uint32_t line, const struct op_row *row,
                        uint64_t all_ns, uint32_t fit)
{
    uint32_t end = 0;
    for (uint32_t i = 0; i < fit; i++) {
        char text[UNITS_TEXT];
        write_cell((enum op_column)i, row, all_ns, text, sizeof text);
        end += op_columns[i].width;
        canvas_text_right(canvas, area, line, end, INK_PLAIN, "%s", text);
    }
    canvas_text(canvas, area, line, end + 2, pass_ink(row->pass), "%-11.11s", row->pass);
    canvas_text(canvas, area, line, end + 14, INK_PLAIN, "%-17.17s", row->kind);
    if (row->layer)
        canvas_text(canvas, area, line, end + 32, INK_PLAIN, "%s", row->layer);
    else
        canvas_text(canvas, area, line, end + 32, INK_DIM, "%u", row->ops);
}

void panel_ops(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    char title[128];
    snprintf(title, sizeof title, "Ops: %zu by %s%s%s", dashboard->row_count, op_sort_name(dashboard->sort),
             dashboard->filter[0] ? ", with " : "", dashboard->filter);
    bool active = dashboard->view == VIEW_OVERVIEW || dashboard->view == VIEW_OPS;
    struct rect inside = canvas_frame(canvas, area, title, active);
    if (inside.rows < 2) return;
    uint32_t fit = columns_that_fit(inside.columns);
    size_t rows = inside.rows - 1;
    uint64_t all_ns = rollup_total_ns(rollup);
    draw_op_head(dashboard, canvas, inside, fit);
    dashboard->scroll = scroll_to(dashboard->scroll, dashboard->selected, dashboard->row_count, rows);
    dashboard->page_rows = rows;
    dashboard->list_row = inside.row + 1;
    for (size_t i = 0; i < rows && dashboard->scroll + i < dashboard->row_count; i++) {
        draw_op_row(canvas, inside, (uint32_t)i + 1, &dashboard->rows[dashboard->scroll + i], all_ns, fit);
        if (dashboard->scroll + i == dashboard->selected) canvas_style(canvas, inside, (uint32_t)i + 1, true, true);
    }
    if (dashboard->row_count == 0)
        canvas_text(canvas, inside, 1, 1, INK_DIM,
                    rollup->op_count ? "no op matches the filter" : "no op has been timed yet");
}

/* A bar of forward, recompute, backward and other time, over the time of the largest sibling. */
static void draw_pass_bar(struct canvas *canvas, struct rect area, uint32_t line, uint32_t column, uint32_t columns,
                          const struct tree_node *node, uint64_t most_ns)
{
    static const enum ink inks[TREE_PASSES] = {INK_FORWARD, INK_RECOMPUTE, INK_BACKWARD, INK_UPDATE};
    if (most_ns == 0) return;
    uint64_t before = 0;
    for (int pass = 0; pass < TREE_PASSES; pass++) {
        uint32_t from = (uint32_t)(before * columns / most_ns);
        before += node->ns[pass];
        uint32_t to = (uint32_t)(before * columns / most_ns);
        for (uint32_t i = from; i < to; i++) canvas_glyph(canvas, area, line, column + i, 0x2588, inks[pass]);
    }
}

static void draw_node(struct canvas *canvas, struct rect area, uint32_t line, const struct tree_node *node,
                      const struct rollup *rollup, uint64_t all_ns)
{
    char total[16];
    uint32_t indent = 2 * (node->depth - 1), bar = area.columns > 60 ? area.columns / 4 : 0;
    uint32_t numbers = area.columns > bar ? area.columns - bar - (bar ? 1 : 0) : 0;
    struct rect names = {area.row, area.column, area.rows, numbers > 18 ? numbers - 17 : 0};
    if (node->first_child != TREE_NONE)
        canvas_glyph(canvas, names, line, indent, node->open ? 0x25BE : 0x25B8, INK_DIM);
    enum ink ink = node->op == TREE_NONE ? INK_PLAIN : pass_ink(rollup->ops[node->op].pass);
    canvas_text(canvas, names, line, indent + 2, ink, "%.*s", (int)node->length, node->name);
    canvas_text_right(canvas, area, line, numbers, INK_PLAIN, "%s", format_ns(node->total_ns, total));
    canvas_text_right(canvas, area, line, numbers > 10 ? numbers - 10 : 0, INK_PLAIN, "%.1f%%",
                      all_ns ? 100.0 * (double)node->total_ns / (double)all_ns : 0);
    if (bar) draw_pass_bar(canvas, area, line, numbers + 1, bar, node, all_ns);
}

void panel_layers(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    bool active = dashboard->view == VIEW_LAYERS;
    struct rect inside = canvas_frame(canvas, area, "Layers: forward, recompute, backward", active);
    const struct tree *tree = &dashboard->tree;
    if (dashboard->tree_selected >= tree->visible_count)
        dashboard->tree_selected = tree->visible_count ? tree->visible_count - 1 : 0;
    dashboard->tree_scroll =
        scroll_to(dashboard->tree_scroll, dashboard->tree_selected, tree->visible_count, inside.rows);
    if (active) {
        dashboard->page_rows = inside.rows;
        dashboard->list_row = inside.row;
    }
    uint64_t all_ns = tree->node_count ? tree->nodes[0].total_ns : 0;
    for (size_t i = 0; i < inside.rows && dashboard->tree_scroll + i < tree->visible_count; i++) {
        size_t line = dashboard->tree_scroll + i;
        draw_node(canvas, inside, (uint32_t)i, &tree->nodes[tree->visible[line]], rollup, all_ns);
        if (active && line == dashboard->tree_selected) canvas_style(canvas, inside, (uint32_t)i, true, true);
    }
}
