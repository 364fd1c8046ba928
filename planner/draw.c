#include "draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "boxes.h"
#include "files.h"
#include "mem.h"
#include "text.h"
#include "units.h"
#include "words.h"

/* 16:9, as slides are. */
#define PAGE_WIDTH  1600.0
#define PAGE_HEIGHT 900.0
#define MAP_LEFT    110.0
#define MAP_TOP     132.0
#define MAP_WIDTH   1080.0
#define MAP_HEIGHT  640.0
#define MAP_BOTTOM  (MAP_TOP + MAP_HEIGHT)
#define BAR_LEFT    1266.0
#define BAR_WIDTH   52.0
#define MOST_BOXES  24000 /* about 50 bytes each */

#define INK    "#1b2430"
#define SOFT   "#5b6675"
#define HAIR   "#d5dae1"
#define DANGER "#b3261e"

/* Okabe and Ito's palette, told apart by colour-blind readers; greys for what is not tensors. */
static const char *const colours[MEMORY_CLASSES] = {
    [MEMORY_WEIGHTS] = "#0072b2", [MEMORY_GRADIENTS] = "#d55e00",     [MEMORY_MOMENTUM] = "#cc79a7",
    [MEMORY_KEPT] = "#009e73",    [MEMORY_TRANSIENT] = "#e69f00",     [MEMORY_WORKSPACE] = "#7a6a53",
    [MEMORY_INPUT] = "#56b4e9",   [MEMORY_COMMUNICATION] = "#f0e442", [MEMORY_CONTEXT] = "#a3adba",
    [MEMORY_RESERVE] = "#d3d9e0"};

struct drawing {
    const struct plan *plan;
    const struct plan_device *device;
    const struct plan_variant *variant;
    const struct plan_program *program;
    uint64_t bytes_high; /* the map's upper edge */
    struct text svg;
};

static double map_x(const struct drawing *d, double op)
{
    return MAP_LEFT + MAP_WIDTH * op / (double)d->program->op_count;
}

static double map_y(const struct drawing *d, uint64_t bytes)
{
    return MAP_BOTTOM - MAP_HEIGHT * (double)bytes / (double)d->bytes_high;
}

static void add_label(struct drawing *d, double x, double y, const char *attributes, const char *plain)
{
    text_add(&d->svg, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    text_add_xml(&d->svg, plain);
    text_add(&d->svg, "</text>\n");
}

static void add_line(struct drawing *d, double x1, double y1, double x2, double y2, const char *attributes)
{
    text_add(&d->svg, "<path d=\"M%.1f %.1fL%.1f %.1f\" %s/>\n", x1, y1, x2, y2, attributes);
}

static void add_rect(struct drawing *d, double x, double y, double width, double height, const char *attributes)
{
    text_add(&d->svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" %s/>\n", x, y, width, height,
             attributes);
}

#define TITLE_LENGTH 100 /* what fits the page's width at 26 px */

/* A long title takes two lines, broken at the last comma or colon of the first. */
static void draw_title(struct drawing *d, const char *title)
{
    char first[128];
    size_t length = strlen(title), cut = 125;
    if (length <= TITLE_LENGTH) {
        add_label(d, MAP_LEFT, 56, "font-size=\"26\" font-weight=\"600\"", title);
        return;
    }
    if (length < cut) cut = length;
    for (size_t i = cut; i > 60; i--)
        if (title[i - 1] == ' ' && strchr(",:;", title[i - 2])) {
            cut = i;
            break;
        }
    snprintf(first, sizeof first, "%.*s", (int)cut, title);
    add_label(d, MAP_LEFT, 36, "font-size=\"19\" font-weight=\"600\"", first);
    add_label(d, MAP_LEFT, 60, "font-size=\"19\" font-weight=\"600\"", title + cut);
}

static void draw_head(struct drawing *d, const char *title)
{
    char line[256], bytes[UNITS_TEXT], bound[UNITS_TEXT], ops[UNITS_TEXT], tensors[UNITS_TEXT];
    text_add(&d->svg,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
             "font-family=\"Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"15\" "
             "fill=\"" INK "\">\n",
             PAGE_WIDTH, PAGE_HEIGHT, PAGE_WIDTH, PAGE_HEIGHT);
    text_add(&d->svg, "<title>");
    text_add_xml(&d->svg, title);
    text_add(&d->svg, "</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
    draw_title(d, title);
    snprintf(line, sizeof line, "A training step of %u images on %s: %s ops, %s tensors. Arena %s; lower bound %s%s",
             d->device->images, d->device->spec.name, units_format_count(d->program->op_count, ops),
             units_format_count(d->program->tensor_count, tensors), units_format_bytes(d->variant->arena_bytes, bytes),
             units_format_bytes(d->variant->lower_bound_bytes, bound),
             d->variant->proved_optimal ? ": no smaller arena exists" : "");
    add_label(d, MAP_LEFT, 86, "fill=\"" SOFT "\"", line);
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
        add_line(d, MAP_LEFT - 5, y, MAP_LEFT + MAP_WIDTH, y, "stroke=\"" HAIR "\" stroke-width=\"1\"");
        add_label(d, MAP_LEFT - 12, y + 5, "text-anchor=\"end\" font-size=\"13\" fill=\"" SOFT "\"",
                  at ? units_format_bytes(at, bytes) : "0");
    }
    add_label(d, MAP_LEFT - 12, MAP_TOP - 16, "text-anchor=\"end\" font-size=\"13\" fill=\"" SOFT "\"", "address");
}

/* Kept activations are most of many maps: neighbouring stages get neighbouring tones. */
static const char *box_colour(const struct box *box)
{
    static const char *const tones[] = {"#007f5c", "#009e73", "#2fb38c", "#5cc7a5", "#84d6bb"};
    return box->class_ == MEMORY_KEPT ? tones[box->stage < 5 ? box->stage : 4] : colours[box->class_];
}

static bool is_large(const struct boxes *boxes, const struct box *box)
{
    return (box->right - box->left) * boxes->pixels >= 4 && (box->top - box->bottom) * boxes->pixels >= 4;
}

/* One path per colour and size: large boxes have a white edge, which would hide small ones. */
static void draw_run(struct drawing *d, const struct boxes *boxes, size_t first, size_t end, bool large)
{
    bool any = false;
    for (size_t i = first; i < end; i++) {
        const struct box *box = &boxes->items[i];
        if (is_large(boxes, box) != large) continue;
        if (!any)
            text_add(&d->svg, "<path fill=\"%s\"%s d=\"", box_colour(box),
                     large ? " stroke=\"#ffffff\" stroke-width=\"0.5\"" : "");
        any = true;
        uint32_t width = box->right - box->left;
        text_add(&d->svg, "M%u %uh%uv%uh-%uz", box->left, box->bottom, width, box->top - box->bottom, width);
    }
    if (any) text_add(&d->svg, "\"/>\n");
}

static bool draw_boxes(struct drawing *d, struct error *err)
{
    struct boxes boxes;
    TRY(boxes_make(d->variant->graph, d->program, d->bytes_high, MAP_WIDTH, MAP_HEIGHT, MOST_BOXES, &boxes, err));
    text_add(&d->svg, "<g transform=\"translate(%.1f %.1f) scale(%g -%g)\">\n", MAP_LEFT, MAP_BOTTOM, boxes.pixels,
             boxes.pixels);
    for (size_t first = 0, end; first < boxes.count; first = end) {
        const char *colour = box_colour(&boxes.items[first]);
        for (end = first + 1; end < boxes.count && box_colour(&boxes.items[end]) == colour;) end++;
        draw_run(d, &boxes, first, end, false);
        draw_run(d, &boxes, first, end, true);
    }
    text_add(&d->svg, "</g>\n");
    boxes_finish(&boxes);
    return true;
}

/* What an op's outputs take over from inputs that end there: those bytes hold two tensors while it runs. */
static uint64_t shared_bytes(const struct plan_program *program, uint32_t index)
{
    const struct plan_op *op = &program->ops[index];
    uint64_t shared = 0;
    for (size_t o = 0; o < OP_MOST_OUTPUTS; o++)
        for (size_t i = 0; i < OP_MOST_INPUTS; i++) {
            if (op->out[o] >= program->tensor_count || op->in[i] >= program->tensor_count) continue;
            const struct plan_tensor *out = &program->tensors[op->out[o]], *in = &program->tensors[op->in[i]];
            if (out->first != index || in->last != index || out->offset != in->offset || out->host != in->host)
                continue;
            shared += out->bytes < in->bytes ? out->bytes : in->bytes;
        }
    return shared;
}

/* The tensors of the program that hold bytes of their own, each with the life of all that are views into it: the plan
 * tensor of a graph tensor that is a base, else the tensor itself. */
static void extend_bases(const struct drawing *d, struct plan_tensor *own, uint32_t *of_base)
{
    const struct graph *graph = d->variant->graph;
    size_t count = d->program->tensor_count;
    memset(of_base, 0xff, graph->tensor_count * sizeof *of_base);
    for (uint32_t i = 0; i < count; i++) {
        own[i] = d->program->tensors[i];
        if (own[i].origin != NO_TENSOR) of_base[own[i].origin] = i;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t base = own[i].origin == NO_TENSOR ? NO_TENSOR : graph->tensors[own[i].origin].view_of;
        if (own[i].host) own[i].bytes = 0;
        if (base == NO_TENSOR || of_base[base] == NO_TENSOR) continue;
        struct plan_tensor *to = &own[of_base[base]];
        if (own[i].first < to->first) to->first = own[i].first;
        if (own[i].last > to->last) to->last = own[i].last;
        own[i].bytes = 0;
    }
}

static void sum_live(const struct drawing *d, const struct plan_tensor *own, uint64_t *live)
{
    for (size_t i = 0; i < d->program->tensor_count; i++) {
        live[own[i].first] += own[i].bytes;
        live[own[i].last + 1] -= own[i].bytes; /* wraps; the running sum comes back */
    }
    for (size_t i = 1; i < d->program->op_count; i++) live[i] += live[i - 1];
    for (uint32_t i = 0; i < d->program->op_count; i++) live[i] -= shared_bytes(d->program, i);
}

/* live[i]: bytes that are held while op i runs. The caller frees it. */
static uint64_t *live_bytes(const struct drawing *d, struct error *err)
{
    uint64_t *live = mem_zalloc(MEM_PLAN, d->program->op_count + 1, sizeof *live);
    struct plan_tensor *own = mem_alloc(MEM_PLAN, d->program->tensor_count, sizeof *own);
    uint32_t *of_base = mem_alloc(MEM_PLAN, d->variant->graph->tensor_count, sizeof *of_base);
    bool ok = live && own && of_base;
    if (ok) {
        extend_bases(d, own, of_base);
        sum_live(d, own, live);
    } else {
        error_memory(err, d->program->tensor_count * sizeof *own, "the drawing's live bytes");
        mem_free(live);
    }
    mem_free(own);
    mem_free(of_base);
    return ok ? live : NULL;
}

/* The largest live sum of each pixel column, as steps. */
static void draw_live_curve(struct drawing *d, const uint64_t *live)
{
    const char *const styles[] = {"stroke=\"#ffffff\" stroke-width=\"3.2\" stroke-opacity=\"0.6\"",
                                  "stroke=\"" INK "\" stroke-width=\"1.6\""};
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

static void draw_limits(struct drawing *d)
{
    double arena = map_y(d, d->variant->arena_bytes), bound = map_y(d, d->variant->lower_bound_bytes);
    double peak = map_x(d, d->variant->peak_op + 0.5);
    bool right = peak < MAP_LEFT + MAP_WIDTH / 2;
    char label[256], name[200], bytes[UNITS_TEXT];
    add_line(d, MAP_LEFT, arena, MAP_LEFT + MAP_WIDTH, arena, "stroke=\"" INK "\" stroke-width=\"1.2\"");
    if (d->variant->arena_bytes != d->variant->lower_bound_bytes)
        add_line(d, MAP_LEFT, bound, MAP_LEFT + MAP_WIDTH, bound,
                 "stroke=\"" INK "\" stroke-width=\"1.2\" stroke-dasharray=\"6 4\"");
    add_line(d, peak, MAP_TOP - 4, peak, MAP_BOTTOM,
             "stroke=\"" DANGER "\" stroke-width=\"1.2\" stroke-dasharray=\"2 3\"");
    text_add(&d->svg,
             "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" fill=\"" DANGER "\" stroke=\"#ffffff\" stroke-width=\"1.5\"/>\n",
             peak, bound);
    op_label(d, d->variant->peak_op, name, sizeof name);
    snprintf(label, sizeof label, "peak %s: %s", units_format_bytes(d->variant->lower_bound_bytes, bytes), name);
    add_label(d, right ? peak + 8 : peak - 8, MAP_TOP - 12,
              right ? "font-size=\"13\" fill=\"" DANGER "\""
                    : "font-size=\"13\" text-anchor=\"end\" fill=\"" DANGER "\"",
              label);
}

/* Messages and copies run beside the ops around them: the ribbons show the op before. */
static const struct plan_op *ribbon_op(const struct drawing *d, size_t op)
{
    while (op > 0 && (d->program->ops[op].pass == PASS_COMM || plan_op_copies(&d->program->ops[op]))) op--;
    return &d->program->ops[op];
}

/* Which part of the step an op belongs to: recomputation is part of backward. */
static enum op_pass ribbon_pass(const struct drawing *d, size_t op)
{
    enum op_pass pass = ribbon_op(d, op)->pass;
    return pass == PASS_RECOMPUTE ? PASS_BACKWARD : pass;
}

static const struct graph_layer *ribbon_layer(const struct drawing *d, size_t op)
{
    const struct graph *graph = d->variant->graph;
    return &graph->layers[graph->ops[ribbon_op(d, op)->op].layer];
}

static void draw_segment(struct drawing *d, size_t first, size_t end, double y, const char *fill, const char *label)
{
    double x = map_x(d, (double)first), width = map_x(d, (double)end) - x;
    char attributes[96];
    snprintf(attributes, sizeof attributes, "fill=\"%s\" stroke=\"#ffffff\"", fill);
    add_rect(d, x, y, width, 22, attributes);
    if (width > 8.0 * (double)strlen(label))
        add_label(d, x + width / 2, y + 16, "text-anchor=\"middle\" font-size=\"13\"", label);
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

/* Ticks where an op runs for the second time, one per pixel column. */
static void draw_recomputed(struct drawing *d)
{
    double last = -1;
    for (size_t i = 0; i < d->program->op_count; i++) {
        double x = floor(map_x(d, (double)i));
        if (d->program->ops[i].pass != PASS_RECOMPUTE || x == last) continue;
        if (last < 0) text_add(&d->svg, "<path stroke=\"#d55e00\" stroke-width=\"1\" d=\"");
        text_add(&d->svg, "M%.1f %.1fv6", x + 0.5, MAP_BOTTOM + 60);
        last = x;
    }
    if (last < 0) return;
    text_add(&d->svg, "\"/>\n");
    char label[96];
    snprintf(label, sizeof label, "ops that run again: %.1f %% more computation",
             100 * d->variant->extra_flops_fraction);
    add_label(d, MAP_LEFT, MAP_BOTTOM + 86, "font-size=\"13\" fill=\"" SOFT "\"", label);
}

struct bar_label {
    double wanted, y;
    const char *name, *colour;
    uint64_t bytes;
};

/* Labels at their segments' middles, pushed apart to a line's height and kept inside the bar. */
static void spread_labels(struct bar_label *labels, size_t count)
{
    const double line = 25;
    for (size_t i = 0; i < count; i++) { /* from the floor upward: y falls */
        labels[i].y = labels[i].wanted;
        if (i > 0 && labels[i].y > labels[i - 1].y - line) labels[i].y = labels[i - 1].y - line;
    }
    double highest = MAP_TOP + 8;
    for (size_t i = count; i-- > 0; highest = labels[i].y + line)
        if (labels[i].y < highest) labels[i].y = highest;
}

static void draw_bar_labels(struct drawing *d, struct bar_label *labels, size_t count)
{
    spread_labels(labels, count);
    for (size_t i = 0; i < count; i++) {
        char bytes[UNITS_TEXT], attributes[64];
        double x = BAR_LEFT + BAR_WIDTH;
        text_add(&d->svg,
                 "<path d=\"M%.1f %.1fh6L%.1f %.1fh5\" fill=\"none\" stroke=\"" SOFT "\" stroke-width=\"0.8\"/>\n",
                 x + 2, labels[i].wanted, x + 22, labels[i].y);
        snprintf(attributes, sizeof attributes, "rx=\"2\" fill=\"%s\" stroke=\"" HAIR "\"", labels[i].colour);
        add_rect(d, x + 30, labels[i].y - 6, 12, 12, attributes);
        add_label(d, x + 50, labels[i].y + 5, "font-size=\"14\"", labels[i].name);
        add_label(d, PAGE_WIDTH - 24, labels[i].y + 5, "font-size=\"14\" text-anchor=\"end\"",
                  units_format_bytes(labels[i].bytes, bytes));
    }
}

/* The whole memory of the device as one bar: the legend, drawn to scale. */
static void draw_bar(struct drawing *d)
{
    const struct plan_device *device = d->device;
    uint64_t memory = device->spec.memory_bytes;
    double high = (double)(device->peak_bytes > memory ? device->peak_bytes : memory), y = MAP_BOTTOM;
    struct bar_label labels[MEMORY_CLASSES + 1];
    size_t count = 0;
    for (int i = 0; i < MEMORY_CLASSES; i++) {
        if (device->classes[i] == 0) continue;
        double height = MAP_HEIGHT * (double)device->classes[i] / high;
        char attributes[64];
        snprintf(attributes, sizeof attributes, "fill=\"%s\"", colours[i]);
        add_rect(d, BAR_LEFT, y - height, BAR_WIDTH, height, attributes);
        labels[count++] = (struct bar_label){y - height / 2, 0, words_memory_class((enum memory_class)i), colours[i],
                                             device->classes[i]};
        y -= height;
    }
    if (device->peak_bytes < memory)
        labels[count++] = (struct bar_label){(y + MAP_TOP) / 2, 0, "free", "#ffffff", memory - device->peak_bytes};
    double capacity = MAP_BOTTOM - MAP_HEIGHT * (double)memory / high;
    add_rect(d, BAR_LEFT, MAP_TOP, BAR_WIDTH, MAP_HEIGHT, "fill=\"none\" stroke=\"" SOFT "\"");
    if (device->peak_bytes > memory)
        add_line(d, BAR_LEFT - 12, capacity, BAR_LEFT + BAR_WIDTH + 12, capacity,
                 "stroke=\"" DANGER "\" stroke-width=\"3\"");
    draw_bar_labels(d, labels, count);
    char label[128], bytes[UNITS_TEXT];
    snprintf(label, sizeof label, "device memory, %s", units_format_bytes(memory, bytes));
    add_label(d, BAR_LEFT, MAP_TOP - 12, "font-weight=\"600\"", label);
}

static void draw_key(struct drawing *d)
{
    double y = MAP_BOTTOM + 82, x = MAP_LEFT + MAP_WIDTH - 330;
    add_line(d, x, y, x + 28, y, "stroke=\"" INK "\" stroke-width=\"1.6\"");
    add_label(d, x + 36, y + 5, "font-size=\"13\" fill=\"" SOFT "\"", "live bytes and arena");
    add_line(d, x + 190, y, x + 218, y, "stroke=\"" INK "\" stroke-width=\"1.2\" stroke-dasharray=\"6 4\"");
    add_label(d, x + 226, y + 5, "font-size=\"13\" fill=\"" SOFT "\"", "lower bound");
}

static bool draw_all(struct drawing *d, const char *title, struct error *err)
{
    uint64_t *live = live_bytes(d, err);
    if (!live) return false;
    draw_head(d, title);
    draw_axes(d);
    bool ok = draw_boxes(d, err);
    if (ok) {
        draw_live_curve(d, live);
        draw_limits(d);
        draw_passes(d);
        draw_stages(d);
        draw_recomputed(d);
        draw_bar(d);
        draw_key(d);
        text_add(&d->svg, "</svg>\n");
    }
    mem_free(live);
    if (ok && d->svg.failed) return error_memory(err, d->svg.length, "the drawing");
    return ok;
}

bool draw_plan(const struct plan *plan, uint32_t device, const char *title, const char *path, struct error *err)
{
    const struct plan_device *drawn = &plan->devices[device];
    const struct plan_variant *variant = &plan->variants[drawn->variant];
    struct drawing d = {.plan = plan, .device = drawn, .variant = variant, .program = &variant->train};
    d.bytes_high = variant->arena_bytes + variant->arena_bytes / 32;
    bool ok = draw_all(&d, title, err) && files_write(path, d.svg.bytes, d.svg.length, err);
    text_finish(&d.svg);
    return ok;
}

uint32_t draw_fullest_device(const struct plan *plan)
{
    uint32_t fullest = 0;
    double most = -1;
    for (uint32_t i = 0; i < plan->device_count; i++) {
        double share = (double)plan->devices[i].peak_bytes / (double)plan->devices[i].spec.memory_bytes;
        if (share <= most) continue;
        most = share;
        fullest = i;
    }
    return fullest;
}
