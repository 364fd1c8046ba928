/* The two lists: ops and layers. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "panels.h"
#include "printable.h"
#include "units.h"

size_t panel_scroll(size_t scroll, size_t selected, size_t count, size_t rows)
{
    if (rows == 0) return 0;
    if (selected < scroll) scroll = selected;
    if (selected >= scroll + rows) scroll = selected + 1 - rows;
    if (count <= rows) return 0;
    return scroll + rows > count ? count - rows : scroll;
}

size_t panel_show_lines(struct dashboard *dashboard, struct row_list *list, struct rect inside)
{
    size_t rows = inside.rows - 1;
    list->scroll = panel_scroll(list->scroll, list->selected, list->count, rows);
    dashboard->page_rows = rows;
    dashboard->list_row = inside.row + 1;
    return list->count - list->scroll < rows ? list->count - list->scroll : rows;
}

const char *panel_share_title(const struct row_list *list) { return list->step_ns ? "Step %" : "Time %"; }

/* ---- Ops ---- */

/* Number columns, the most important ones first: where they do not all fit, the last ones are left out. COLUMN_PEAK is
 * what the row's FLOPs or bytes take at the device's peaks over what they took. */
enum op_column {
    COLUMN_PART,
    COLUMN_STEP,
    COLUMN_MEAN,
    COLUMN_PEAK,
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
} op_columns[OP_COLUMNS] = {{"Step %", 6}, {"A step", 8}, {"Mean", 8},   {"Peak", 8}, {"p50", 8},
                            {"p99", 8},    {"Count", 8},  {"FLOP/s", 8}, {"B/s", 8}};

#define ALWAYS     3  /* number columns that leave only LEAST_TEXT to the text */
#define LEAST_TEXT 14 /* a kind's beginning */
#define SMALL_TEXT 43 /* whole kinds, short passes and whole layers of most nets */
#define WHOLE_TEXT 56 /* whole kinds and passes */
#define DEVICE     5  /* cells, one of them blank */

/* Columns of the op table in `width` cells. The more cells, the more numbers: the text gives way to them first. */
struct op_table {
    bool devices;
    uint32_t numbers; /* columns of them: */
    enum op_column columns[OP_COLUMNS];
    uint32_t text;              /* where the text begins */
    uint32_t pass, kind, layer; /* cells; 0 = left out */
};

static struct op_table arrange_ops(uint32_t width, bool devices, const bool left_out[OP_COLUMNS])
{
    struct op_table t = {.devices = devices};
    uint32_t used = devices ? DEVICE : 0;
    for (int column = 0; column < OP_COLUMNS; column++) {
        uint32_t end = used + op_columns[column].width;
        if (left_out[column]) continue;
        if (end + (t.numbers < ALWAYS ? LEAST_TEXT : SMALL_TEXT) > width) break;
        used = end;
        t.columns[t.numbers++] = (enum op_column)column;
    }
    uint32_t room = width > used + 2 ? width - used - 2 : 0;
    bool whole = room + 2 >= WHOLE_TEXT;
    t.text = used + 2;
    t.kind = whole || room + 2 >= SMALL_TEXT ? 17 : room >= 32 ? 13 : room < 12 ? room : 12;
    t.pass = whole ? 11 : room >= t.kind + 5 ? 4 : 0;
    uint32_t rest = room > t.kind + t.pass + 2 ? room - t.kind - t.pass - 2 : 0;
    t.layer = rest >= 6 ? rest : 0;
    return t;
}

/* In four cells. */
static const char *short_pass(const char *pass)
{
    static const char *const passes[][2] = {{"forward", "fwd"},  {"recompute", "rec"}, {"backward", "bwd"},
                                            {"comm", "comm"},    {"update", "upd"},    {"evaluate", "eval"},
                                            {"offload", "offl"}, {"fetch", "ftch"},    {"reconstruct", "reco"}};
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++)
        if (strcmp(pass, passes[i][0]) == 0) return passes[i][1];
    return pass;
}

static const char unknown[] = "–";

static const char *write_rate(double rate, char text[UNITS_TEXT])
{
    return rate > 0 ? units_format_si(rate, text) : unknown;
}

/* "87% f": at the peak of its FLOP/s; "41% b": of its bytes. By the mean time of a row; above 100 bytes came from
 * caches. */
static const char *write_peak(const struct op_row *row, char text[UNITS_TEXT])
{
    if (row->bound == ROOFLINE_UNKNOWN) return unknown;
    snprintf(text, UNITS_TEXT, "%.0f%% %c", 100 * row->peak_share, row->bound == ROOFLINE_FLOPS ? 'f' : 'b');
    return text;
}

static const char *write_share(double share, char text[UNITS_TEXT])
{
    if (!isfinite(share)) return unknown;
    snprintf(text, UNITS_TEXT, "%.1f", 100 * share);
    return text;
}

static const char *write_step(double step_ns, char text[UNITS_TEXT])
{
    return isfinite(step_ns) ? format_ns((uint64_t)step_ns, text) : unknown;
}

static const char *write_cell(enum op_column column, const struct op_row *row, char text[UNITS_TEXT])
{
    if (column != COLUMN_COUNT && row->count == 0) return unknown;
    switch (column) {
    case COLUMN_PART: return write_share(row->step_share, text);
    case COLUMN_STEP: return write_step(row->step_ns, text);
    case COLUMN_MEAN: format_ns(row->total_ns / row->count, text); break;
    case COLUMN_P50: format_ns(row->p50_ns, text); break;
    case COLUMN_PEAK: return write_peak(row, text);
    case COLUMN_P99: format_ns(row->p99_ns, text); break;
    case COLUMN_COUNT: snprintf(text, UNITS_TEXT, "%" PRIu64, row->count); break;
    case COLUMN_FLOPS: return write_rate(row->flops_per_second, text);
    case COLUMN_BYTES: return write_rate(row->bytes_per_second, text);
    case OP_COLUMNS: break;
    }
    return text;
}

static void draw_op_head(const struct dashboard *dashboard, struct canvas *canvas, struct rect area,
                         const struct op_table *t)
{
    static const enum op_column sorted_by[OP_SORTS] = {
        [SORT_TOTAL] = COLUMN_STEP, [SORT_MEAN] = COLUMN_MEAN, [SORT_P99] = COLUMN_P99, [SORT_COUNT] = COLUMN_COUNT,
        [SORT_RATE] = COLUMN_FLOPS, [SORT_ORDER] = OP_COLUMNS, [SORT_NAME] = OP_COLUMNS};
    uint32_t end = t->devices ? DEVICE : 0, at = t->text;
    if (t->devices) canvas_text_right(canvas, area, 0, end - 1, INK_DIM, "Dev");
    for (uint32_t i = 0; i < t->numbers; i++) {
        enum op_column column = t->columns[i];
        bool sorted = sorted_by[dashboard->sort] == column;
        end += op_columns[column].width;
        canvas_text_right(canvas, area, 0, end, sorted ? INK_TITLE : INK_DIM, "%s%s", sorted ? "▼" : "",
                          column == COLUMN_PART ? panel_share_title(&dashboard->ops) : op_columns[column].title);
    }
    if (t->pass) canvas_text(canvas, area, 0, at, INK_DIM, "Pass");
    if (t->pass) at += t->pass + 1;
    canvas_text(canvas, area, 0, at, INK_DIM, "Op");
    if (t->layer) canvas_text(canvas, area, 0, at + t->kind + 1, INK_DIM, "Layer");
}

/* What the ops of a group have in common. */
static void draw_op_text(struct canvas *canvas, struct rect area, uint32_t line, const struct op_row *row,
                         const struct op_table *t)
{
    uint32_t at = t->text;
    if (t->pass) {
        const char *pass = !row->pass ? "any" : t->pass < 11 ? short_pass(row->pass) : row->pass;
        canvas_text_cut(canvas, area, line, at, t->pass, false, row->pass ? pass_ink(row->pass) : INK_DIM, pass);
        at += t->pass + 1;
    }
    canvas_text_cut(canvas, area, line, at, t->kind, false, row->kind ? INK_PLAIN : INK_DIM,
                    row->kind ? row->kind : "any");
    at += t->kind + 1;
    if (t->layer == 0) return;
    char ops[UNITS_TEXT];
    snprintf(ops, sizeof ops, "%u ops", row->ops);
    canvas_text_cut(canvas, area, line, at, t->layer, true, row->layer ? INK_PLAIN : INK_DIM,
                    row->layer ? row->layer : ops);
}

static void draw_op_row(struct canvas *canvas, struct rect area, uint32_t line, const struct op_row *row,
                        const struct op_table *t)
{
    uint32_t end = 0;
    if (t->devices) {
        end = DEVICE;
        canvas_text_right(canvas, area, line, end - 1, INK_PLAIN, "%u", row->device);
    }
    for (uint32_t i = 0; i < t->numbers; i++) {
        char text[UNITS_TEXT];
        end += op_columns[t->columns[i]].width;
        canvas_text_right(canvas, area, line, end, INK_PLAIN, "%s", write_cell(t->columns[i], row, text));
    }
    draw_op_text(canvas, area, line, row, t);
}

static void write_ops_title(const struct dashboard *dashboard, const struct rollup *rollup, bool apart, char *out,
                            size_t size)
{
    static const char *const names[GROUPS] = {"Ops", "Kinds", "Layers", "Passes"};
    char devices[40] = "";
    if (rollup->device_count > 1 && apart)
        snprintf(devices, sizeof devices, ", each device");
    else if (rollup->device_count > 1)
        snprintf(devices, sizeof devices, ", %u devices together", rollup->device_count);
    snprintf(out, size, "%s: %zu by %s%s%s%s", names[dashboard->group], dashboard->ops.count,
             op_sort_name(dashboard->sort), devices, dashboard->filter[0] ? ", with " : "", dashboard->filter);
}

/* What is unknown, or is in another column: where each op runs once in a step, its mean is what it takes of one. */
static void leave_out(const struct dashboard *dashboard, const struct rollup *rollup, bool left_out[OP_COLUMNS])
{
    bool once = dashboard->group == GROUP_OP && dashboard->sort != SORT_MEAN && rollup->parts.steps > 0;
    for (uint32_t i = 0; i < rollup->device_count && i < ROLLUP_MOST_DEVICES; i++)
        once = once && rollup->devices[i].micro_batches == 1;
    left_out[COLUMN_MEAN] = once;
    left_out[COLUMN_PEAK] = !(rollup->devices[0].peak_flops > 0 || rollup->devices[0].peak_bandwidth > 0);
}

void panel_ops(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    char title[160];
    bool apart = dashboard_devices_apart(dashboard);
    write_ops_title(dashboard, rollup, apart, title, sizeof title);
    bool active = dashboard->view == VIEW_OVERVIEW || dashboard->view == VIEW_OPS;
    struct rect inside = canvas_frame(canvas, area, title, active);
    if (inside.rows < 2) return;
    bool left_out[OP_COLUMNS] = {false};
    leave_out(dashboard, rollup, left_out);
    struct op_table table = arrange_ops(inside.columns, apart && rollup->device_count > 1, left_out);
    struct row_list *list = &dashboard->ops;
    draw_op_head(dashboard, canvas, inside, &table);
    size_t shown = panel_show_lines(dashboard, list, inside);
    const struct op_row *lines = row_list_show(list, rollup, list->scroll, shown);
    for (uint32_t i = 0; lines && i < shown; i++) {
        draw_op_row(canvas, inside, i + 1, &lines[i], &table);
        if (list->scroll + i == list->selected) canvas_style(canvas, inside, i + 1, true, true);
    }
    if (list->count == 0)
        canvas_text(canvas, inside, 1, 1, INK_DIM,
                    rollup->op_count ? "no op matches the filter" : "no op has been timed yet");
}

/* ---- Layers ---- */

/* A bar of forward, recompute, backward and other time, over that of all layers: beside the node's share of a step. */
static void draw_pass_bar(struct canvas *canvas, struct rect area, uint32_t line, uint32_t column, uint32_t columns,
                          const struct tree_node *node, uint64_t most_ns)
{
    static const enum ink inks[TREE_PASSES] = {INK_FORWARD, INK_RECOMPUTE, INK_BACKWARD, INK_UPDATE};
    static const uint32_t glyphs[TREE_PASSES] = {0x2588, 0x2591, 0x2593, 0x2592}; /* as the title says */
    if (most_ns == 0) return;
    uint64_t before = 0;
    for (int pass = 0; pass < TREE_PASSES; pass++) {
        uint32_t from = (uint32_t)(before * columns / most_ns);
        before += node->ns[pass];
        uint32_t to = (uint32_t)(before * columns / most_ns);
        for (uint32_t i = from; i < to; i++) canvas_glyph(canvas, area, line, column + i, glyphs[pass], inks[pass]);
    }
}

#define NODE_STEP 10 /* cells */

static uint32_t bar_columns(struct rect area) { return area.columns > 60 ? area.columns / 4 : 0; }

/* Where a layer's numbers end; its bar follows. */
static uint32_t numbers_end(struct rect area)
{
    uint32_t bar = bar_columns(area);
    return area.columns > bar ? area.columns - bar - (bar ? 1 : 0) : 0;
}

static void draw_layers_head(const struct dashboard *dashboard, struct canvas *canvas, struct rect area)
{
    uint32_t numbers = numbers_end(area);
    if (numbers > 24) canvas_text(canvas, area, 0, 2, INK_DIM, "Layer");
    canvas_text_right(canvas, area, 0, numbers, INK_DIM, "A step");
    canvas_text_right(canvas, area, 0, numbers > NODE_STEP ? numbers - NODE_STEP : 0, INK_DIM, "%s",
                      panel_share_title(&dashboard->ops));
}

static void draw_node(const struct dashboard *dashboard, struct canvas *canvas, struct rect area, uint32_t line,
                      const struct tree_node *node, const struct rollup *rollup)
{
    char text[UNITS_TEXT];
    const struct row_list *list = &dashboard->ops;
    const double step_ns = tree_step_ns(node);
    uint32_t indent = 2 * (node->depth - 1), bar = bar_columns(area), numbers = numbers_end(area);
    struct rect names = {area.row, area.column, area.rows, numbers > 18 ? numbers - 17 : 0};
    if (node->first_child != TREE_NONE)
        canvas_glyph(canvas, names, line, indent, node->open ? 0x25BE : 0x25B8, INK_DIM);
    enum ink ink = node->op == TREE_NONE ? INK_PLAIN : pass_ink(rollup->ops[node->op].pass);
    struct printable name;
    snprintf(name.text, sizeof name.text, "%.*s", (int)node->length, node->name);
    canvas_text_cut(canvas, names, line, indent + 2, names.columns > indent + 2 ? names.columns - indent - 2 : 0, false,
                    ink, name.text);
    if (node->count == 0) {
        canvas_text_right(canvas, area, line, numbers, INK_PLAIN, "%s", unknown);
        return;
    }
    canvas_text_right(canvas, area, line, numbers, INK_PLAIN, "%s", write_step(step_ns, text));
    canvas_text_right(canvas, area, line, numbers > NODE_STEP ? numbers - NODE_STEP : 0, INK_PLAIN, "%s",
                      write_share(row_list_share(list, step_ns, node->total_ns), text));
    if (bar) draw_pass_bar(canvas, area, line, numbers + 1, bar, node, dashboard->tree.nodes[0].total_ns);
}

void panel_layers(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    bool active = dashboard->view == VIEW_LAYERS;
    struct rect inside = canvas_frame(canvas, area, "Layers: █ forward ░ again ▓ backward ▒ other", active);
    const struct tree *tree = &dashboard->tree;
    if (inside.rows < 2) return;
    size_t rows = inside.rows - 1;
    tree_open_to_fit(&dashboard->tree, rows);
    if (dashboard->tree_selected >= tree->visible_count)
        dashboard->tree_selected = tree->visible_count ? tree->visible_count - 1 : 0;
    draw_layers_head(dashboard, canvas, inside);
    dashboard->tree_scroll = panel_scroll(dashboard->tree_scroll, dashboard->tree_selected, tree->visible_count, rows);
    if (active) {
        dashboard->page_rows = rows;
        dashboard->list_row = inside.row + 1;
    }
    for (size_t i = 0; i < rows && dashboard->tree_scroll + i < tree->visible_count; i++) {
        size_t line = dashboard->tree_scroll + i;
        draw_node(dashboard, canvas, inside, (uint32_t)i + 1, &tree->nodes[tree->visible[line]], rollup);
        if (active && line == dashboard->tree_selected) canvas_style(canvas, inside, (uint32_t)i + 1, true, true);
    }
}
