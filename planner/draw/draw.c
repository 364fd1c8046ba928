#include "draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "boxes.h"
#include "draw_private.h"
#include "files.h"
#include "mem.h"
#include "occupancy.h"
#include "plan_words.h"
#include "printable.h"
#include "units.h"

#define MOST_BOXES      24000 /* about 50 bytes each */
#define BLOCK_COLUMNS   720
#define BLOCK_MOST_ROWS 200

static double map_y(const struct drawing *d, uint64_t bytes)
{
    return MAP_BOTTOM - MAP_HEIGHT * (double)bytes / (double)d->bytes_high;
}

#define TITLE_LENGTH 100 /* what fits the page's width at 26 px */

/* A long title takes two lines, broken at the last comma or colon of the first. */
static void draw_title(struct drawing *d, const char *title)
{
    char first[128];
    size_t length = strlen(title), cut = 125;
    if (length <= TITLE_LENGTH) {
        svg_label(&d->svg, MAP_LEFT, 56, "font-size=\"26\" font-weight=\"600\"", title);
        return;
    }
    if (length < cut) cut = length;
    for (size_t i = cut; i > 60; i--)
        if (title[i - 1] == ' ' && strchr(",:;", title[i - 2])) {
            cut = i;
            break;
        }
    cut = utf8_whole_length(title, cut);
    snprintf(first, sizeof first, "%.*s", (int)cut, title);
    svg_label(&d->svg, MAP_LEFT, 36, "font-size=\"19\" font-weight=\"600\"", first);
    svg_label(&d->svg, MAP_LEFT, 60, "font-size=\"19\" font-weight=\"600\"", title + cut);
}

static void draw_head(struct drawing *d, const char *title)
{
    char line[256], bytes[UNITS_TEXT], bound[UNITS_TEXT], ops[UNITS_TEXT], tensors[UNITS_TEXT];
    svg_begin(&d->svg, PAGE_WIDTH, KEY_BOTTOM + draw_schedule_height(d) + 10, title);
    draw_title(d, title);
    snprintf(line, sizeof line, "A training step of %u images on %s: %s ops, %s tensors. Arena %s; lower bound %s%s",
             d->device->images, d->device->spec.name, units_format_count(d->program->op_count, ops),
             units_format_count(d->program->tensor_count, tensors), units_format_bytes(d->variant->arena_bytes, bytes),
             units_format_bytes(d->variant->lower_bound_bytes, bound),
             d->variant->proved_optimal ? ": no smaller arena exists" : "");
    svg_label(&d->svg, MAP_LEFT, 86, "fill=\"" SVG_SOFT "\"", line);
}

/* A round step (1, 2 or 5 times a power of two's unit) that gives four to nine ticks. */
static uint64_t tick_bytes(uint64_t high)
{
    uint64_t step = 1;
    while (high / step > 8) step *= 2;
    return step;
}

static void draw_axes(struct drawing *d)
{
    uint64_t step = tick_bytes(d->bytes_high);
    for (uint64_t at = 0; at <= d->bytes_high; at += step) {
        char bytes[UNITS_TEXT];
        double y = map_y(d, at);
        svg_line(&d->svg, MAP_LEFT - 5, y, MAP_LEFT + MAP_WIDTH, y, "stroke=\"" SVG_HAIR "\" stroke-width=\"1\"");
        svg_label(&d->svg, MAP_LEFT - 12, y + 5, "text-anchor=\"end\" font-size=\"13\" fill=\"" SVG_SOFT "\"",
                  at ? units_format_bytes(at, bytes) : "0");
    }
    svg_label(&d->svg, MAP_LEFT - 12, MAP_TOP - 16, "text-anchor=\"end\" font-size=\"13\" fill=\"" SVG_SOFT "\"",
              "address");
}

/* Kept activations are most of many maps: neighbouring stages get neighbouring tones. */
static const char *box_colour(const struct box *box)
{
    static const char *const tones[] = {"#007f5c", "#009e73", "#2fb38c", "#5cc7a5", "#84d6bb"};
    return box->class == MEMORY_KEPT ? tones[box->stage < 5 ? box->stage : 4] : draw_class_colour(box->class);
}

#define EDGED_SIDE  4    /* pixels; a white edge would hide what is smaller */
#define LEAST_SIDE  1    /* pixels of a region that has a title of its own */
#define MOST_TITLED 8000 /* about 150 bytes each */

static bool is_large(const struct boxes *boxes, const struct box *box, double side)
{
    return (box->right - box->left) * boxes->pixels >= side && (box->top - box->bottom) * boxes->pixels >= side;
}

/* The side from which on regions have titles of their own, so that not too many have. */
static double titled_side(const struct boxes *boxes)
{
    double side = LEAST_SIDE;
    for (size_t count = SIZE_MAX; count > MOST_TITLED; side += 1) {
        count = 0;
        for (size_t i = 0; i < boxes->count; i++) count += is_large(boxes, &boxes->items[i], side);
        if (count <= MOST_TITLED) break;
    }
    return side;
}

static void add_path(struct drawing *d, const struct box *box)
{
    uint32_t width = box->right - box->left;
    text_add(&d->svg, "M%u %uh%uv%uh-%uz", box->left, box->bottom, width, box->top - box->bottom, width);
}

/* "stage1/unit1/conv1.output: 8.00 MiB, ops 2 to 5,676, kept activations" */
static void title_box(const struct drawing *d, const struct box *box, char *out, size_t size)
{
    const struct plan_tensor *tensor = &d->program->tensors[box->tensor];
    char name[TENSOR_NAME] = "workspace", bytes[UNITS_TEXT], first[UNITS_TEXT], last[UNITS_TEXT], more[48] = "";
    if (tensor->origin != NO_TENSOR) graph_tensor_name(d->variant->graph, tensor->origin, name);
    if (box->tensors > 1) snprintf(more, sizeof more, " and %u like it one after the other", box->tensors - 1);
    snprintf(out, size, "%s%s: %s, ops %s to %s, %s", name, more, units_format_bytes(tensor->bytes, bytes),
             units_format_count(tensor->first + 1, first), units_format_count(box->last_op + 1, last),
             words_memory_class(&d->variant->graph->options.update, box->class));
}

static void draw_titled(struct drawing *d, const struct box *box)
{
    char title[TENSOR_NAME + 200];
    text_add(&d->svg, "<path d=\"");
    add_path(d, box);
    text_add(&d->svg, "\">");
    title_box(d, box, title, sizeof title);
    svg_title(&d->svg, title);
    text_add(&d->svg, "</path>\n");
}

/* Boxes of their own title: large ones with an edge, or the smaller ones. */
static void draw_apart(struct drawing *d, const struct boxes *boxes, size_t first, size_t end, double side, bool edged)
{
    bool any = false;
    for (size_t i = first; i < end; i++) {
        const struct box *box = &boxes->items[i];
        if (!is_large(boxes, box, side) || is_large(boxes, box, EDGED_SIDE) != edged) continue;
        if (!any)
            text_add(&d->svg, "<g fill=\"%s\"%s>\n", box_colour(box),
                     edged ? " stroke=\"#ffffff\" stroke-width=\"0.5\"" : "");
        any = true;
        draw_titled(d, box);
    }
    if (any) text_add(&d->svg, "</g>\n");
}

/* What is too small to be pointed at is one region. */
static void draw_small(struct drawing *d, const struct boxes *boxes, size_t first, size_t end, double side)
{
    char title[120];
    bool any = false;
    for (size_t i = first; i < end; i++) {
        const struct box *box = &boxes->items[i];
        if (is_large(boxes, box, side)) continue;
        if (!any) text_add(&d->svg, "<path fill=\"%s\" d=\"", box_colour(box));
        any = true;
        add_path(d, box);
    }
    if (!any) return;
    text_add(&d->svg, "\">");
    snprintf(title, sizeof title, "%s, small ones",
             words_memory_class(&d->variant->graph->options.update, boxes->items[first].class));
    svg_title(&d->svg, title);
    text_add(&d->svg, "</path>\n");
}

static bool draw_boxes(struct drawing *d, struct error *err)
{
    struct boxes boxes;
    TRY(boxes_make(d->variant->graph, d->program, d->bytes_high, MAP_WIDTH, MAP_HEIGHT, MOST_BOXES, &boxes, err));
    double side = titled_side(&boxes);
    text_add(&d->svg, "<g transform=\"translate(%.1f %.1f) scale(%g -%g)\">\n", MAP_LEFT, MAP_BOTTOM, boxes.pixels,
             boxes.pixels);
    for (size_t first = 0, end; first < boxes.count; first = end) {
        const char *colour = box_colour(&boxes.items[first]);
        for (end = first + 1; end < boxes.count && box_colour(&boxes.items[end]) == colour;) end++;
        draw_small(d, &boxes, first, end, side);
        draw_apart(d, &boxes, first, end, side, false);
        draw_apart(d, &boxes, first, end, side, true);
    }
    text_add(&d->svg, "</g>\n");
    boxes_finish(&boxes);
    return true;
}

/* The largest live sum of each pixel column, as steps. */
static void draw_live_curve(struct drawing *d, const uint64_t *live)
{
    const char *const styles[] = {"stroke=\"#ffffff\" stroke-width=\"3.2\" stroke-opacity=\"0.6\"",
                                  "stroke=\"" SVG_INK "\" stroke-width=\"1.6\""};
    for (int pass = 0; pass < 2; pass++) {
        text_add(&d->svg, "<path fill=\"none\" stroke-linejoin=\"round\" %s d=\"", styles[pass]);
        double column = -1;
        uint64_t most = 0;
        for (size_t i = 0; i < d->program->op_count; i++) {
            if (live[i] > most) most = live[i];
            double next = floor(map_x(d, (double)i + 1));
            if (next == column && i + 1 < d->program->op_count) continue;
            if (column < 0)
                text_add(&d->svg, "M%.0f %.1fH%.0f", MAP_LEFT, map_y(d, most), next);
            else
                text_add(&d->svg, "V%.1fH%.0f", map_y(d, most), next);
            column = next;
            most = 0;
        }
        text_add(&d->svg, "\"/>\n");
    }
}

static void op_label(const struct drawing *d, uint32_t index, char *out, size_t size)
{
    const struct graph *graph = d->variant->graph;
    const struct plan_op *op = &d->program->ops[index];
    const struct op *source = &graph->ops[op->op];
    snprintf(out, size, "%s, %s", graph->layers[source->layer].path, op_kind_name(source->kind));
}

#define CURVE_LINE "stroke=\"" SVG_INK "\" stroke-width=\"1.6\""
#define ARENA_LINE "stroke=\"" SVG_INK "\" stroke-width=\"1.2\" stroke-dasharray=\"14 3\""
#define BOUND_LINE "stroke=\"" SVG_INK "\" stroke-width=\"1.2\" stroke-dasharray=\"4 4\""
#define LIMIT_LINE "stroke=\"" SVG_DANGER "\" stroke-width=\"2.2\""

static void draw_limits(struct drawing *d)
{
    double arena = map_y(d, d->variant->arena_bytes), bound = map_y(d, d->variant->lower_bound_bytes);
    double peak = map_x(d, d->variant->peak_op + 0.5);
    bool right = peak < MAP_LEFT + MAP_WIDTH / 2;
    char label[256], name[200], bytes[UNITS_TEXT];
    svg_line(&d->svg, MAP_LEFT, arena, MAP_LEFT + MAP_WIDTH, arena, ARENA_LINE);
    if (d->variant->arena_bytes != d->variant->lower_bound_bytes)
        svg_line(&d->svg, MAP_LEFT, bound, MAP_LEFT + MAP_WIDTH, bound, BOUND_LINE);
    if (d->limit_bytes <= d->bytes_high) {
        double limit = map_y(d, d->limit_bytes);
        svg_line(&d->svg, MAP_LEFT, limit, MAP_LEFT + MAP_WIDTH, limit, LIMIT_LINE);
    }
    svg_line(&d->svg, peak, MAP_TOP - 4, peak, MAP_BOTTOM,
             "stroke=\"" SVG_DANGER "\" stroke-width=\"1.2\" stroke-dasharray=\"2 3\"");
    text_add(&d->svg,
             "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" fill=\"" SVG_DANGER
             "\" stroke=\"#ffffff\" stroke-width=\"1.5\"/>\n",
             peak, bound);
    op_label(d, d->variant->peak_op, name, sizeof name);
    snprintf(label, sizeof label, "peak %s: %s", units_format_bytes(d->variant->lower_bound_bytes, bytes), name);
    svg_label(&d->svg, right ? peak + 8 : peak - 8, MAP_TOP - 12,
              right ? "font-size=\"13\" fill=\"" SVG_DANGER "\""
                    : "font-size=\"13\" text-anchor=\"end\" fill=\"" SVG_DANGER "\"",
              label);
}

/* Messages and copies run beside the ops around them: the ribbons show the op before. */
static const struct plan_op *ribbon_op(const struct drawing *d, size_t op)
{
    while (op > 0 && (d->program->ops[op].pass == PASS_COMM || plan_op_copies(&d->program->ops[op]))) op--;
    return &d->program->ops[op];
}

/* Which part of the step an op belongs to: recomputation is part of backward. */
static enum op_pass ribbon_pass(const struct drawing *d, size_t index)
{
    const struct plan_op *op = ribbon_op(d, index);
    return plan_op_repeats(op) ? PASS_BACKWARD : op->pass;
}

static const struct graph_layer *ribbon_layer(const struct drawing *d, size_t op)
{
    const struct graph *graph = d->variant->graph;
    return &graph->layers[graph->ops[ribbon_op(d, op)->op].layer];
}

static void draw_segment(struct drawing *d, size_t first, size_t end, double y, const char *fill, const char *label)
{
    double x = map_x(d, (double)first), width = map_x(d, (double)end) - x;
    char attributes[96], title[128], from[UNITS_TEXT], to[UNITS_TEXT];
    snprintf(attributes, sizeof attributes, "fill=\"%s\" stroke=\"#ffffff\"", fill);
    snprintf(title, sizeof title, "%s: ops %s to %s", *label ? label : "update", units_format_count(first + 1, from),
             units_format_count(end, to));
    svg_titled_rect(&d->svg, x, y, width, 22, attributes, title);
    if (width > 8.0 * (double)strlen(label))
        svg_label(&d->svg, x + width / 2, y + 16, "text-anchor=\"middle\" font-size=\"13\"", label);
}

static void draw_passes(struct drawing *d)
{
    static const char *const fills[OP_PASSES] = {
        [PASS_FORWARD] = "#e3ecf7", [PASS_BACKWARD] = "#f7e6da", [PASS_UPDATE] = "#e6e1f2"};
    size_t count = d->program->op_count;
    for (size_t first = 0, end; first < count; first = end) {
        enum op_pass pass = ribbon_pass(d, first);
        for (end = first + 1; end < count && ribbon_pass(d, end) == pass;) end++;
        draw_segment(d, first, end, MAP_BOTTOM + 10, fills[pass] ? fills[pass] : "#eceff3", op_pass_name(pass));
    }
}

static void draw_stages(struct drawing *d)
{
    size_t count = d->program->op_count;
    for (size_t first = 0, end; first < count; first = end) {
        char label[40] = "";
        bool update = ribbon_pass(d, first) == PASS_UPDATE;
        uint32_t stage = ribbon_layer(d, first)->stage;
        for (end = first + 1; end < count; end++)
            if ((ribbon_pass(d, end) == PASS_UPDATE) != update || (!update && ribbon_layer(d, end)->stage != stage))
                break;
        const char *path = ribbon_layer(d, end - 1)->path;
        if (!update) snprintf(label, sizeof label, "%.*s", (int)strcspn(path, "/"), path);
        draw_segment(d, first, end, MAP_BOTTOM + 34, stage % 2 ? "#f1f3f6" : "#e7eaef", label);
    }
}

/* Returns where the next entry may begin. */
static double draw_key_line(struct drawing *d, double x, const char *attributes, const char *label)
{
    double y = MAP_BOTTOM + 82;
    svg_line(&d->svg, x, y, x + 28, y, attributes);
    svg_label(&d->svg, x + 36, y + 5, "font-size=\"13\" fill=\"" SVG_SOFT "\"", label);
    return x + 36 + 6.9 * (double)strlen(label) + 24;
}

static void draw_key(struct drawing *d)
{
    const struct plan_variant *variant = d->variant;
    bool equal = variant->arena_bytes == variant->lower_bound_bytes;
    char label[160], bytes[UNITS_TEXT];
    double x = draw_key_line(d, MAP_LEFT, CURVE_LINE, "bytes live at each op");
    snprintf(label, sizeof label, "arena%s, %s", equal ? " and its lower bound" : "",
             units_format_bytes(variant->arena_bytes, bytes));
    x = draw_key_line(d, x, ARENA_LINE, label);
    snprintf(label, sizeof label, "lower bound, %s", units_format_bytes(variant->lower_bound_bytes, bytes));
    if (!equal) x = draw_key_line(d, x, BOUND_LINE, label);
    snprintf(label, sizeof label, "what the device has left for the arena, %s%s",
             units_format_bytes(d->limit_bytes, bytes), d->limit_bytes > d->bytes_high ? " (beyond the picture)" : "");
    draw_key_line(d, x, LIMIT_LINE, label);
}

static bool draw_all(struct drawing *d, const char *title, struct error *err)
{
    TRY(block_grid_make(d->variant->graph, d->program, BLOCK_COLUMNS, BLOCK_MOST_ROWS, &d->grid, err));
    uint64_t *live = occupancy_curve(d->variant->graph, d->program, err);
    if (!live) return false;
    draw_head(d, title);
    draw_axes(d);
    bool ok = draw_boxes(d, err);
    if (ok) {
        draw_live_curve(d, live);
        draw_limits(d);
        draw_passes(d);
        draw_stages(d);
        draw_bar(d);
        draw_key(d);
        draw_schedule(d, KEY_BOTTOM);
        svg_end(&d->svg);
    }
    mem_free(live);
    if (ok && d->svg.failed) return error_memory(err, d->svg.length, "the drawing");
    return ok;
}

/* The device's memory is drawn where it leaves enough of the height to the arena. */
static void find_heights(struct drawing *d)
{
    const uint64_t *classes = d->device->classes;
    uint64_t apart = classes[MEMORY_COMMUNICATION] + classes[MEMORY_CONTEXT];
    uint64_t memory = device_usable_bytes(&d->device->spec), high = d->variant->arena_bytes;
    d->limit_bytes = memory > apart ? memory - apart : 0;
    if (d->limit_bytes > high && d->limit_bytes - high <= high / 2) high = d->limit_bytes;
    d->bytes_high = high + high / 32;
}

bool draw_plan(const struct plan *plan, uint32_t device, const char *title, const char *path, struct error *err)
{
    const struct plan_device *drawn = &plan->devices[device];
    const struct plan_variant *variant = &plan->variants[drawn->variant];
    struct drawing d = {.plan = plan, .device = drawn, .variant = variant, .program = &variant->train};
    find_heights(&d);
    bool ok = draw_all(&d, title, err) && files_write(path, d.svg.bytes, d.svg.length, err);
    text_finish(&d.svg);
    block_grid_finish(&d.grid);
    return ok;
}

uint32_t draw_fullest_device(const struct plan *plan)
{
    uint32_t fullest = 0;
    double most = -1;
    for (uint32_t i = 0; i < plan->device_count; i++) {
        const struct plan_device *device = &plan->devices[i];
        double share = (double)(device->peak_bytes + device->spec.reserve_bytes) / (double)device->spec.memory_bytes;
        if (share <= most) continue;
        most = share;
        fullest = i;
    }
    return fullest;
}
