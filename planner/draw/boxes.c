#include "boxes.h"

#include <math.h>
#include <stdlib.h>

#include "mem.h"

static int compare_numbers(uint32_t a, uint32_t b) { return (a > b) - (a < b); }

static int compare_boxes(const void *left, const void *right)
{
    const struct box *a = left, *b = right;
    int order = compare_numbers(a->class, b->class);
    if (!order) order = compare_numbers(a->stage, b->stage);
    if (!order) order = compare_numbers(a->bottom, b->bottom);
    if (!order) order = compare_numbers(a->top, b->top);
    if (!order) order = compare_numbers(a->left, b->left);
    return order;
}

static uint32_t on_grid(double share, double units) { return (uint32_t)lround(share * units); }

static uint32_t stage_of(const struct graph *graph, const struct plan_tensor *t)
{
    return t->origin == NO_TENSOR ? 0 : graph->layers[graph->tensors[t->origin].layer].stage;
}

/* Boxes that the grid makes empty are left out: their neighbours' edges round the other way as often. */
static size_t fill_boxes(const struct graph *graph, const struct plan_program *program, uint64_t bytes_high,
                         double columns, double rows, struct box *items)
{
    size_t count = 0;
    double ops = (double)program->op_count, bytes = (double)bytes_high;
    for (size_t i = 0; i < program->tensor_count; i++) {
        const struct plan_tensor *t = &program->tensors[i];
        struct box box = {.class = t->class,
                          .stage = stage_of(graph, t),
                          .tensor = (uint32_t)i,
                          .tensors = 1,
                          .last_op = t->last,
                          .left = on_grid(t->first / ops, columns),
                          .right = on_grid((t->last + 1.0) / ops, columns),
                          .bottom = on_grid((double)t->offset / bytes, rows),
                          .top = on_grid((double)(t->offset + t->bytes) / bytes, rows)};
        if (!t->host && box.left < box.right && box.bottom < box.top) items[count++] = box;
    }
    return count;
}

static size_t merge_in_time(struct box *items, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct box *last = kept ? &items[kept - 1] : NULL;
        bool touches = last && last->class == items[i].class && last->stage == items[i].stage &&
                       last->bottom == items[i].bottom && last->top == items[i].top && items[i].left <= last->right;
        if (!touches) {
            items[kept++] = items[i];
            continue;
        }
        last->tensors++;
        if (items[i].last_op > last->last_op) last->last_op = items[i].last_op;
        if (items[i].right > last->right) last->right = items[i].right;
    }
    return kept;
}

#define FINEST_PIXELS 0.5

bool boxes_make(const struct graph *graph, const struct plan_program *program, uint64_t bytes_high, double width,
                double height, size_t most, struct boxes *boxes, struct error *err)
{
    struct box *items = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *items);
    if (!items) return error_memory(err, program->tensor_count * sizeof *items, "the drawing's rectangles");
    double pixels = FINEST_PIXELS;
    size_t count;
    for (;; pixels *= 2) {
        count = fill_boxes(graph, program, bytes_high, floor(width / pixels), floor(height / pixels), items);
        qsort(items, count, sizeof *items, compare_boxes);
        count = merge_in_time(items, count);
        if (count <= most || pixels > height) break;
    }
    *boxes = (struct boxes){items, count, pixels};
    return true;
}

void boxes_finish(struct boxes *boxes)
{
    mem_free(boxes->items);
    *boxes = (struct boxes){0};
}
