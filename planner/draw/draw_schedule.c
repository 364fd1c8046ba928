#include <stdio.h>
#include <string.h>

#include "draw_private.h"
#include "printable.h"

#define ROWS_HEIGHT 200.0 /* at the most */
#define ROW_MOST    16.0
#define HEAD        34.0
#define KEY_LINE    24.0

static const struct {
    enum block_state state;
    const char *colour, *words;
} keys[] = {{BLOCK_FORWARD, "#3f7fcf", "runs forward"},
            {BLOCK_ALL, "#2a9d78", "keeps all that its backward pass needs"},
            {BLOCK_PART, "#74c4a6", "keeps part of what its backward pass needs"},
            {BLOCK_OUTPUT, "#b5dfd0", "keeps its output alone"},
            {BLOCK_HOST, "#e3c7dc", "some of that is in host memory"},
            {BLOCK_COPY, "#a4508b", "is copied"},
            {BLOCK_REDO, "#f2a65a", "runs again, but for convolutions"},
            {BLOCK_AGAIN, "#d55e00", "runs again"},
            {BLOCK_BACKWARD, "#5d4a8f", "runs backward"}};
#define KEYS (sizeof keys / sizeof keys[0])

static double row_pixels(const struct drawing *d)
{
    double pixels = d->grid.rows ? (double)(int)(ROWS_HEIGHT / (double)d->grid.rows) : 0;
    return pixels > ROW_MOST ? ROW_MOST : pixels;
}

double draw_schedule_height(const struct drawing *d)
{
    return d->grid.rows ? HEAD + (double)d->grid.rows * row_pixels(d) + 2 * KEY_LINE + 24 : 0;
}

static size_t run_length(const uint8_t *cells, size_t first, size_t count)
{
    size_t end = first + 1;
    while (end < count && cells[end] == cells[first]) end++;
    return end - first;
}

/* The blocks of a row: "stage1/unit3", or its first and last. */
static void name_row(const struct drawing *d, size_t row, char *out, size_t size)
{
    const struct graph *graph = d->variant->graph;
    size_t first = row * d->grid.group, last = first + d->grid.group - 1;
    if (last >= graph->block_count) last = graph->block_count - 1;
    const char *from = graph->layers[graph->blocks[first].layer].path;
    snprintf(out, size, "%s%s%s", from, last > first ? " to " : "",
             last > first ? graph->layers[graph->blocks[last].layer].path : "");
}

/* What a row does in one way; false when it never does. */
static bool draw_row(struct drawing *d, size_t row, uint8_t state, const char *words)
{
    const struct block_grid *grid = &d->grid;
    const uint8_t *cells = grid->cells + row * grid->columns;
    char name[2 * TENSOR_NAME];
    bool any = false;
    for (size_t c = 0, length; c < grid->columns; c += length) {
        length = run_length(cells, c, grid->columns);
        if (cells[c] != state) continue;
        text_add(&d->svg, "%sM%zu %zuh%zuv1h-%zuz", any ? "" : "<path d=\"", c, row, length, length);
        any = true;
    }
    if (!any) return false;
    name_row(d, row, name, sizeof name);
    text_add(&d->svg, "\"><title>");
    text_add_xml(&d->svg, name);
    text_add(&d->svg, ": %s</title></path>\n", words);
    return true;
}

/* Returns whether the state is anywhere. */
static bool draw_lane(struct drawing *d, enum block_state state, const char *colour, const char *words)
{
    bool any = false;
    text_add(&d->svg, "<g fill=\"%s\">\n", colour);
    for (size_t r = 0; r < d->grid.rows; r++) any |= draw_row(d, r, (uint8_t)state, words);
    text_add(&d->svg, "</g>\n");
    return any;
}

static uint32_t stage_of_row(const struct drawing *d, size_t row)
{
    const struct graph *graph = d->variant->graph;
    return graph->layers[graph->blocks[row * d->grid.group].layer].stage;
}

/* The stages' names beside their rows, where they have room. */
static void draw_stage_names(struct drawing *d, double top, double pixels)
{
    const struct graph *graph = d->variant->graph;
    double last = top - 20;
    for (size_t first = 0, end; first < d->grid.rows; first = end) {
        char name[40];
        for (end = first + 1; end < d->grid.rows && stage_of_row(d, end) == stage_of_row(d, first);) end++;
        const char *path = graph->layers[graph->blocks[first * d->grid.group].layer].path;
        double y = top + pixels * (double)(first + end) / 2 + 4;
        if (y - last < 13) continue;
        last = y;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(path, "/"), path);
        svg_label(&d->svg, MAP_LEFT - 12, y, "text-anchor=\"end\" font-size=\"12\" fill=\"" SVG_SOFT "\"", name);
    }
}

static void draw_head(struct drawing *d, double y)
{
    char line[200], again[80] = "nothing runs again";
    size_t blocks = d->variant->graph->block_count;
    if (d->variant->extra_flops_fraction > 0)
        snprintf(again, sizeof again, "what runs again is %.1f %% more computation",
                 100 * d->variant->extra_flops_fraction);
    if (d->grid.group > 1)
        snprintf(line, sizeof line, "The network's %zu blocks from first to last, %zu to a line; %s", blocks,
                 d->grid.group, again);
    else
        snprintf(line, sizeof line, "The network's %zu blocks from first to last; %s", blocks, again);
    svg_label(&d->svg, MAP_LEFT, y, "font-weight=\"600\"", line);
}

void draw_schedule(struct drawing *d, double top)
{
    double pixels = row_pixels(d), height = pixels * (double)d->grid.rows, x = MAP_LEFT;
    bool used[KEYS] = {false};
    if (d->grid.rows == 0) return;
    draw_head(d, top + 14);
    top += HEAD;
    draw_stage_names(d, top, pixels);
    text_add(&d->svg, "<g transform=\"translate(%.1f %.1f) scale(%.5f %.0f)\" shape-rendering=\"crispEdges\">\n",
             MAP_LEFT, top, MAP_WIDTH / (double)d->grid.columns, pixels);
    for (size_t k = 0; k < KEYS; k++) used[k] = draw_lane(d, keys[k].state, keys[k].colour, keys[k].words);
    text_add(&d->svg, "</g>\n");
    svg_rect(&d->svg, MAP_LEFT, top, MAP_WIDTH, height, "fill=\"none\" stroke=\"" SVG_HAIR "\"");
    double y = top + height + KEY_LINE;
    for (size_t k = 0; k < KEYS; k++) {
        if (!used[k]) continue;
        x = svg_swatch(&d->svg, x, y, keys[k].colour, keys[k].words);
        if (x < MAP_LEFT + MAP_WIDTH - 200) continue;
        x = MAP_LEFT;
        y += KEY_LINE;
    }
}
