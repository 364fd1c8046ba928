#include "screen_layout.h"

#define HEADER_ROWS 4
#define OPS_COLUMNS 128 /* of the op table with all its numbers and whole names */
#define WIDE        168 /* from which the layers stand beside it, without taking any of its numbers */

static struct rect body_of(uint32_t rows, uint32_t columns)
{
    uint32_t used = HEADER_ROWS + 1;
    return (struct rect){HEADER_ROWS, 0, rows > used ? rows - used : 0, columns};
}

/* Splits `area` into a left part of `columns` and the rest. */
static struct rect take_left(struct rect *area, uint32_t columns)
{
    struct rect left = {area->row, area->column, area->rows, columns};
    area->column += columns;
    area->columns -= columns;
    return left;
}

static struct rect take_top(struct rect *area, uint32_t rows)
{
    struct rect top = {area->row, area->column, rows, area->columns};
    area->row += rows;
    area->rows -= rows;
    return top;
}

#define LEAST_OVERVIEW 12 /* rows with room for anything below the table */

static uint32_t table_rows(struct rect body, struct layout_below below)
{
    if (!below.memory && !below.loss) return body.rows;
    uint32_t table = body.rows * 6 / 10;
    if (body.rows - table < 8) table = body.rows > 16 ? body.rows - 8 : body.rows / 2;
    return table;
}

static void split_overview(struct layout *layout, struct rect body, struct layout_below below)
{
    if (body.rows < LEAST_OVERVIEW) {
        layout->ops = body;
        return;
    }
    struct rect top = take_top(&body, table_rows(body, below));
    if (top.columns >= WIDE)
        layout->layers = take_left(&top, top.columns - OPS_COLUMNS < top.columns * 4 / 10 ? top.columns - OPS_COLUMNS
                                                                                          : top.columns * 4 / 10);
    layout->ops = top;
    if (below.memory) layout->memory = take_left(&body, below.loss ? body.columns / 2 : body.columns);
    if (below.loss) layout->loss = body;
}

static uint32_t gpu_rows(uint32_t rows, size_t gpus)
{
    size_t most = rows < 12 ? 0 : rows < 30 ? 1 : rows < 45 ? 4 : 8;
    return (uint32_t)(gpus < most ? gpus : most);
}

struct layout layout_for(enum view view, uint32_t rows, uint32_t columns, size_t gpus, struct layout_below below)
{
    struct layout layout = {.header = {0, 0, HEADER_ROWS < rows ? HEADER_ROWS : rows, columns}};
    if (rows > HEADER_ROWS) layout.footer = (struct rect){rows - 1, 0, 1, columns};
    struct rect body = body_of(rows, columns);
    layout.gpus = take_top(&body, gpu_rows(rows, gpus));
    switch (view) {
    case VIEW_OVERVIEW: split_overview(&layout, body, below); break;
    case VIEW_OPS: layout.ops = body; break;
    case VIEW_LAYERS: layout.layers = body; break;
    case VIEW_MEMORY: layout.memory = body; break;
    case VIEW_LOSS: layout.loss = body; break;
    case VIEW_KERNELS: layout.kernels = body; break;
    case VIEWS: break;
    }
    return layout;
}
